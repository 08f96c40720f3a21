//! Values of rule fields on one event: the record, the state right after it, and texts computed on demand.
//!
//! Called by the evaluator, for each field a condition or an output names. Computed texts live in an arena that is
//! reset after each event, so the hot path does not allocate.

mod args;
mod container;
mod evt;
mod fd;
mod fs_path;
mod process;
mod socket;
mod trading;
mod user;

use std::{
    cell::{Cell, OnceCell},
    fmt,
    sync::Arc,
};

use bumpalo::Bump;
use rampart_common::event::{ATTR_DISCONNECTED, AttrTag, Family};
use rampart_rules::{
    catalog::{Class, FieldId},
    value::{FieldArg, FieldSource, Value},
};

pub(super) use self::{container::metadata::Asked, socket::datagram_peer, user::late as late_name};

use self::fd::Fd;
use super::clock::Clock;
use crate::{
    event::{Event, EventKind, ProcessId, lexical, syscall::Row},
    state::{State, cgroup::Container, container::table::Known, digest::FileVersion, process::Process},
    trading::Trading,
};

/// What an event is seen against. Lives longer than the event.
#[derive(Clone, Copy, Debug)]
pub struct Context<'e> {
    /// State right after the event.
    pub state: &'e State,
    /// Clocks.
    pub clock: &'e Clock,
    /// Name of the node.
    pub hostname: &'e str,
    /// Storage for computed values.
    pub arena: &'e Bump,
    /// Buffers to compute them in.
    pub scratch: &'e Scratch,
    /// Falco's length limit of joined paths, in its strict mode.
    pub path_limit: Option<usize>,
    /// What the fields of trading are.
    pub trading: Option<&'e Trading>,
}

impl<'e> Context<'e> {
    /// Of a node without a name, without trading.
    pub fn nowhere(state: &'e State, clock: &'e Clock, arena: &'e Bump, scratch: &'e Scratch) -> Self {
        Self { state, clock, hostname: "", arena, scratch, path_limit: None, trading: None }
    }

    /// Whether Falco's faults are reproduced.
    fn strict_falco(&self) -> bool {
        self.path_limit.is_some()
    }
}

/// Buffers that are reused from event to event.
#[derive(Default)]
pub struct Scratch {
    text: Cell<Vec<u8>>,
    base: Cell<Vec<u8>>,
}

impl fmt::Debug for Scratch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scratch").finish_non_exhaustive()
    }
}

/// Numbers that belong to the event's place in the stream.
#[derive(Clone, Copy, Debug, Default)]
pub struct Position {
    /// Running number, from 1.
    pub number: u64,
    /// Time of the event before, nanoseconds of the boot clock; 0 when this is the first.
    pub previous_ns: u64,
    /// Time of the first event, nanoseconds of the boot clock.
    pub first_ns: u64,
    /// Whether a datagram went to another peer than the socket's last one.
    pub peer_changed: bool,
}

/// One event with everything its fields need; computed texts are kept.
#[derive(Debug)]
pub struct Facts<'e> {
    event: &'e Event<'e>,
    row: &'static Row,
    context: Context<'e>,
    position: Position,
    process: Option<&'e Process>,
    paths: [OnceCell<Option<&'e [u8]>>; 2],
    real: OnceCell<Option<&'e [u8]>>,
    open_bits: OnceCell<u32>,
    fd: OnceCell<Option<Fd<'e>>>,
}

impl<'e> Facts<'e> {
    /// Prepares an event; computes nothing yet.
    pub fn new(event: &'e Event<'e>, row: &'static Row, context: Context<'e>, position: Position) -> Self {
        Self {
            event,
            row,
            context,
            position,
            process: context.state.process(event.process()),
            paths: [const { OnceCell::new() }; 2],
            real: OnceCell::new(),
            open_bits: OnceCell::new(),
            fd: OnceCell::new(),
        }
    }

    /// A path by its text and the path of the file behind it, when they differ. Then rules on `fd.name` and
    /// `fs.path.*` are tried on both.
    pub fn differing_paths(&self) -> Option<(&'e [u8], &'e [u8])> {
        match (self.event.kind, self.row.family) {
            (EventKind::Syscall, Family::Open) => self.differing_open(),
            (EventKind::Syscall, Family::Path) => {
                [AttrTag::UserPath, AttrTag::UserPath2].into_iter().find_map(|tag| {
                    let (lexical, real) = (self.path(tag)?, self.real_argument(tag)?);
                    (lexical != real).then_some((lexical, real))
                })
            }
            _ => None,
        }
    }

    fn differing_open(&self) -> Option<(&'e [u8], &'e [u8])> {
        let real = self.real_path()?;
        let flags = self.event.attr(AttrTag::RealPath)?.flags;
        if flags & ATTR_DISCONNECTED != 0 {
            return None;
        }
        // The usual case: a clean absolute text equals the real path byte by byte, no join needed.
        let given = self.event.attr(AttrTag::UserPath)?.bytes;
        if given == real {
            return None;
        }
        let lexical = self.path(AttrTag::UserPath)?;
        (lexical != real).then_some((lexical, real))
    }

    /// Identity of the event's process.
    pub fn process_id(&self) -> ProcessId {
        self.event.process()
    }

    /// The control group of the event's process, in the unified hierarchy.
    pub fn cgroup_id(&self) -> u64 {
        self.event.header.task.cgroup_id
    }

    /// Thread and result of the event's call.
    pub fn call(&self) -> (u32, i64) {
        (self.event.header.task.tid, self.event.header.ret)
    }

    /// Whether the event's process is in the table and its ancestors are known for certain.
    pub fn lineage_known(&self) -> Option<bool> {
        Some(self.context.state.processes.lineage_known(self.process?))
    }

    /// What the event is.
    pub fn row(&self) -> &'static Row {
        self.row
    }

    /// Whether the event's process runs in no container.
    pub fn on_host(&self) -> bool {
        self.process.is_some_and(|process| process.container.is_none())
    }

    /// What the fields of trading are.
    pub fn trading(&self) -> Option<&'e Trading> {
        self.context.trading
    }

    /// Whether no session begins or ends soon.
    pub fn is_session_stable(&self) -> bool {
        let wall_ns = self.context.clock.wall_ns(self.time_ns());
        self.context.trading.is_none_or(|trading| trading.is_stable(wall_ns))
    }

    /// Time of the event, nanoseconds of the boot clock.
    pub fn time_ns(&self) -> u64 {
        self.event.header.time_ns
    }

    /// The event's container, while it is being looked up.
    pub fn pending_container(&self) -> Option<&'e Arc<Container>> {
        let container = self.process?.container.as_ref()?;
        matches!(self.context.state.containers.get(container), Known::Pending).then_some(container)
    }

    /// The version of the file that the event's process runs, while it is being read.
    pub fn pending_digest(&self) -> Option<FileVersion> {
        let version = self.process?.image.file.as_ref()?.into();
        self.context.state.digests.is_pending(version).then_some(version)
    }

    /// Whether the call did what it was asked to.
    fn succeeded(&self) -> bool {
        self.event.header.ret >= 0
    }

    /// Builds a text and keeps it for the event's lifetime.
    fn text(&self, build: impl FnOnce(&mut Vec<u8>)) -> &'e [u8] {
        // A text built while another is being built finds the buffer taken and uses one of its own.
        let mut buffer = self.context.scratch.text.take();
        buffer.clear();
        build(&mut buffer);
        let kept = self.context.arena.alloc_slice_copy(&buffer);
        self.context.scratch.text.set(buffer);
        kept
    }

    /// Like [`Facts::text`] for text written as characters.
    fn string(&self, build: impl FnOnce(&mut String)) -> &'e [u8] {
        self.text(|out| {
            let mut text = String::new();
            build(&mut text);
            out.extend_from_slice(text.as_bytes());
        })
    }

    /// Keeps a list for the event's lifetime.
    fn list(&self, values: impl Iterator<Item = Value<'e>>) -> &'e [Value<'e>] {
        let mut kept = bumpalo::collections::Vec::new_in(self.context.arena);
        kept.extend(values);
        kept.into_bump_slice()
    }

    /// A path argument made absolute: [`AttrTag::UserPath`] or [`AttrTag::UserPath2`].
    fn path(&self, tag: AttrTag) -> Option<&'e [u8]> {
        let (cell, base_tag) = match tag {
            AttrTag::UserPath2 => (self.paths.last()?, AttrTag::BaseDir2),
            _ => (self.paths.first()?, AttrTag::BaseDir),
        };
        *cell.get_or_init(|| {
            let given = self.event.attr(tag)?.bytes;
            // A clean absolute path is its own join: borrow it.
            if self.context.path_limit.is_none() && lexical::is_clean(given) {
                return Some(given);
            }
            Some(self.join(given, base_tag))
        })
    }

    /// A text path joined with the directory of `base_tag`, or with the working directory.
    fn join(&self, given: &[u8], base_tag: AttrTag) -> &'e [u8] {
        let mut base = self.context.scratch.base.take();
        base.clear();
        if given.first() != Some(&b'/') {
            self.base_into(base_tag, &mut base);
            if base.last() != Some(&b'/') {
                base.push(b'/');
            }
        }
        let joined = self.text(|out| lexical::join(&base, given, self.context.path_limit, out));
        self.context.scratch.base.set(base);
        joined
    }

    fn base_into(&self, base_tag: AttrTag, out: &mut Vec<u8>) {
        if self.event.path_into(base_tag, out) {
            return;
        }
        match self.process.map(|process| &*process.cwd) {
            Some(cwd) if !cwd.is_empty() => out.extend_from_slice(cwd),
            _ => out.extend_from_slice(b"<UNKNOWN>"),
        }
    }

    /// The path of the file behind the descriptor, as the kernel resolved it.
    fn real_path(&self) -> Option<&'e [u8]> {
        *self.real.get_or_init(|| {
            self.event.attr(AttrTag::RealPath)?;
            Some(self.text(|out| {
                self.event.path_into(AttrTag::RealPath, out);
            }))
        })
    }

    /// Where a path argument really leads, as far as known.
    fn real_argument(&self, tag: AttrTag) -> Option<&'e [u8]> {
        match self.row.family {
            Family::Open if tag == AttrTag::UserPath => self.real_path(),
            _ => self.context.state.place_of(tag == AttrTag::UserPath2),
        }
    }

    /// Facts of the event's descriptor; `None` for events without one.
    fn fd(&self) -> Option<&Fd<'e>> {
        self.fd.get_or_init(|| Fd::of(self)).as_ref()
    }
}

/// Which path `fd.name` and `fs.path.*` show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum View {
    /// The path as the program wrote it, made absolute.
    Lexical,
    /// The path of the file that was opened, or where the path of another call led.
    Real,
}

/// The fields of one event under one view of its path.
#[derive(Clone, Copy, Debug)]
pub struct EventFields<'e, 'f> {
    facts: &'f Facts<'e>,
    view: View,
}

impl<'e, 'f> EventFields<'e, 'f> {
    /// The fields of an event.
    pub fn new(facts: &'f Facts<'e>, view: View) -> Self {
        Self { facts, view }
    }
}

impl FieldSource for EventFields<'_, '_> {
    fn field<'a>(&'a self, field: FieldId, arg: FieldArg<'_>) -> Value<'a> {
        let facts = self.facts;
        let value = match field.def().class {
            Class::Evt => evt::get(facts, field, arg),
            Class::Fd => fd::get(facts, self.view, field, arg),
            Class::FsPath => fs_path::get(facts, self.view, field),
            Class::Process => process::get(facts, field, arg),
            Class::User | Class::Group => Some(user::get(facts, field)),
            Class::Container => container::get(facts, field, arg),
            Class::Trading => trading::get(self, field, arg),
            Class::Fdlist | Class::Util => None,
        };
        value.unwrap_or(Value::Null)
    }
}

/// Whether the agent can fill a field at all; one it cannot is always missing.
pub fn fillable(field: FieldId) -> bool {
    match field.def().class {
        Class::Evt => !evt::UNFILLED.contains(&field),
        Class::Fd => !fd::UNFILLED.contains(&field),
        Class::FsPath | Class::User | Class::Group | Class::Trading => true,
        Class::Process => !process::UNFILLED.contains(&field),
        Class::Container => !container::UNFILLED.contains(&field),
        Class::Fdlist | Class::Util => false,
    }
}

#[cfg(test)]
#[path = "fields/tests.rs"]
mod tests;
