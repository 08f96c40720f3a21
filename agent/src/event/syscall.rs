//! The system calls the agent knows: native number, event type, kernel family, which arguments the kernel
//! programs follow, and where each parameter of the event comes from.
//!
//! Adding an event is a row in one of the tables below, provided its family's kernel program sends what the row
//! names. Pure tables; read by the field getters, by the engine and by whoever fills the kernel's table of wanted
//! calls.

#[cfg(target_arch = "aarch64")]
pub mod compat_only;
mod file;
mod generic;
pub mod links;
mod network;
mod numbers;
mod plan;
mod process;
mod system;

use rampart_common::{
    abi::SYSCALL_SLOTS,
    event::{Family, SLOT_NO_BASE, SyscallPlan},
};
use rampart_rules::{
    catalog::{EventId, event_ids as ev},
    event_set::EventSet,
};

pub use self::numbers::numbers;
use super::{Event, EventKind, names::BitNames};

/// Where a parameter's value comes from. The type it is shown with is the catalogue's.
#[derive(Clone, Copy, Debug)]
pub enum Source {
    /// Not delivered by the kernel programs; the field is missing.
    Missing,
    /// Return value.
    Ret,
    /// Return value of a call that succeeded, as a plain number.
    Moved,
    /// Argument by position, a number.
    Arg(u8),
    /// Argument by position, a set of bits with names.
    Bits(u8, &'static BitNames),
    /// Argument by position, one of several named numbers.
    Named(u8, fn(u64) -> Option<&'static str>),
    /// Argument by position, a device number as programs write it.
    Device(u8),
    /// First path argument, made absolute.
    Path,
    /// Second path argument, made absolute.
    Path2,
    /// First path argument, as given.
    Verbatim,
    /// Path of the file behind the descriptor.
    FilePath,
    /// String argument that is not a path.
    Text,
    /// Name argument of `prctl`, for the options that have one.
    TaskName,
    /// Number argument of `prctl`, for the options that have no name.
    TaskNumber,
    /// Start of the data read or written.
    Data,
    /// 32-bit word of the structure argument, by position.
    Word(u8),
    /// 32-bit word of the structure argument, a set of bits with names.
    WordBits(u8, &'static BitNames),
    /// 64-bit word of the structure argument, by position.
    Long(u8),
    /// 64-bit word of the structure argument, a set of bits with names.
    LongBits(u8, &'static BitNames),
    /// Option of a socket: level and option by position.
    Option(u8, u8),
    /// Connections waiting on the listening socket.
    Backlog,
    /// How many connections may wait on it.
    BacklogMax,
    /// How full that queue is, per cent.
    BacklogShare,
    /// Open flags in an argument.
    OpenFlags(u8),
    /// File mode in an argument.
    Mode(u8),
    /// Flags of `open_how`.
    HowFlags,
    /// Mode of `open_how`.
    HowMode,
    /// Resolution flags of `open_how`.
    HowResolve,
    /// Device number of the file.
    Dev,
    /// Inode number of the file.
    Ino,
    /// Both addresses of the socket.
    Tuple,
    /// Socket address argument.
    Addr,
    /// Name of the system call.
    CallName,
    /// Number of the system call.
    CallNumber,
    /// Parts of the status a process ended with.
    Exit(ExitPart),
    /// A fact of the process after the event.
    Process(ProcessFact),
}

/// Parts of the status a process ended with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitPart {
    /// All of it, as `wait` gives it.
    Status,
    /// The code it exited with.
    Code,
    /// The signal that ended it.
    Signal,
    /// Whether it left a core dump.
    Core,
}

/// Facts of the process that exec and fork events carry as parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is named like the parameter it fills")]
pub enum ProcessFact {
    Exe,
    Args,
    Env,
    Comm,
    Cwd,
    Tid,
    Pid,
    Ptid,
    Vtid,
    Vpid,
    Pgid,
    Vpgid,
    Tty,
    LoginUid,
    Uid,
    Gid,
    ExeFlags,
    CapInheritable,
    CapPermitted,
    CapEffective,
    ExeIno,
    ExeCtime,
    ExeMtime,
    ExePath,
    Filename,
    Cgroups,
    PidNsStart,
    FdLimit,
    MajorFaults,
    MinorFaults,
    VmSize,
    VmRss,
    VmSwap,
}

/// One event type of the kernel programs.
#[derive(Debug)]
pub struct Row {
    /// Event type in the rules' catalogue.
    pub event: EventId,
    /// Native system call number; `None` where this machine has no such call, or it is not one.
    pub number: Option<u32>,
    /// Kernel program that handles it.
    pub family: Family,
    /// What the program does with the arguments.
    pub plan: SyscallPlan,
    /// Sources of the parameters, in the catalogue's order.
    pub params: &'static [Source],
    /// When it is captured.
    pub need: Need,
}

/// When an event is captured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// When a rule can match it.
    Rule,
    /// When a rule is on few event types, this one among them: it is so frequent that rules on almost everything do
    /// not mean it.
    NamedByRule,
    /// Always: the process table needs it.
    State,
}

/// A call of every machine.
macro_rules! every {
    ($name:ident) => {
        Some(libc::$name as u32)
    };
}

/// A call that only x86-64 has, and 32-bit programs.
#[cfg(target_arch = "x86_64")]
macro_rules! legacy {
    ($name:ident) => {
        Some(libc::$name as u32)
    };
}
#[cfg(target_arch = "aarch64")]
macro_rules! legacy {
    ($name:ident) => {
        crate::event::syscall::compat_only::number(stringify!($name))
    };
}

use {every, legacy};

/// All rows.
pub fn rows() -> impl Iterator<Item = &'static Row> {
    [file::ROWS, file::NEWER_ROWS, network::ROWS, process::ROWS, system::ROWS, generic::ROWS]
        .into_iter()
        .flatten()
}

/// The calls that `wants` accepts, with what the kernel programs do for each.
pub fn wanted(mut wants: impl FnMut(&Row) -> bool) -> Vec<(u32, SyscallPlan)> {
    let plan = |row: &Row| SyscallPlan { numbers: numbers(row), ..row.plan };
    rows().filter(|row| wants(row)).filter_map(|row| Some((row.number?, plan(row)))).collect()
}

const fn row(
    event: EventId,
    number: Option<u32>,
    family: Family,
    plan: SyscallPlan,
    params: &'static [Source],
) -> Row {
    Row {
        event,
        number,
        family,
        plan: SyscallPlan { family: family as u8, ..plan },
        params,
        need: Need::Rule,
    }
}

impl Row {
    /// The process table needs it.
    const fn always(self) -> Self {
        Self { need: Need::State, ..self }
    }

    /// Whether a path argument is a text that need not be a path: where a link points, what is mounted.
    pub fn is_text(&self, second: bool) -> bool {
        !second && self.plan.dir == SLOT_NO_BASE
    }

    /// It is too frequent to be captured for rules on almost everything.
    const fn when_named(self) -> Self {
        Self { need: Need::NamedByRule, ..self }
    }
}

/// The rows by system call number and by event type.
#[derive(Debug)]
pub struct SyscallTable {
    by_number: Vec<Option<&'static Row>>,
}

impl Default for SyscallTable {
    fn default() -> Self {
        Self::new()
    }
}

impl SyscallTable {
    /// Indexes all rows.
    pub fn new() -> Self {
        let mut by_number = vec![None; SYSCALL_SLOTS as usize];
        for row in rows() {
            if let Some(slot) = row.number.and_then(|number| by_number.get_mut(number as usize)) {
                *slot = Some(row);
            }
        }
        Self { by_number }
    }

    /// The row of a native system call number.
    pub fn number(&self, number: u32) -> Option<&'static Row> {
        self.by_number.get(number as usize).copied().flatten()
    }

    /// The row of a decoded record; `None` for a system call that is not in the table.
    pub fn of(&self, event: &Event<'_>) -> Option<&'static Row> {
        match event.kind {
            EventKind::Syscall => self.number(event.header.syscall),
            EventKind::Exec => {
                self.number(event.header.syscall).filter(|row| row.family == Family::Exec).or_else(execve)
            }
            EventKind::Fork => by_event(ev::CLONE),
            EventKind::Exit => by_event(ev::PROCEXIT),
        }
    }
}

/// The row of an event type.
pub fn by_event(event: EventId) -> Option<&'static Row> {
    rows().find(|row| row.event == event)
}

/// Whether this machine's kernel can deliver an event type.
pub fn deliverable(event: EventId) -> bool {
    by_event(event).is_some_and(|row| row.number.is_some() || row.family == Family::Process)
}

/// Event types of `events` that the agent cannot deliver: rules that name only these never match.
pub fn undeliverable(events: &EventSet) -> impl Iterator<Item = EventId> + '_ {
    events.iter().filter(|event| !deliverable(*event))
}

fn execve() -> Option<&'static Row> {
    by_event(ev::EXECVE)
}

#[cfg(test)]
mod tests;
