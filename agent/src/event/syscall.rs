//! The system calls the agent knows: native number, event type, kernel family, and where each parameter of the
//! event comes from.
//!
//! Adding an event is a row here, provided its family's kernel program sends what the row names. Pure tables;
//! read by the field getters, by the engine and by whoever fills the kernel's table of wanted calls.

use rampart_common::{abi::SYSCALL_SLOTS, event::Family};
use rampart_rules::{
    catalog::{EventId, event_ids as ev},
    event_set::EventSet,
};

use super::{
    Event, EventKind,
    names::{BitNames, LINKAT_FLAGS},
};

/// Where a parameter's value comes from. The type it is shown with is the catalogue's.
#[derive(Clone, Copy, Debug)]
pub enum Source {
    /// Not delivered by the kernel programs; the field is missing.
    Missing,
    /// Return value.
    Ret,
    /// Argument by position, a number.
    Arg(u8),
    /// Argument by position, a set of bits with names.
    Bits(u8, &'static BitNames),
    /// First path argument, made absolute.
    Path,
    /// Second path argument, made absolute.
    Path2,
    /// First path argument, as given.
    Verbatim,
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
    /// Socket domain in an argument.
    Domain(u8),
    /// Both addresses of the socket.
    Tuple,
    /// Socket address argument.
    Addr,
    /// Ptrace request in an argument.
    Ptrace(u8),
    /// A fact of the process after the event.
    Process(ProcessFact),
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
    /// Sources of the parameters, in the catalogue's order.
    pub params: &'static [Source],
    /// Whether the process table needs it even when no rule does.
    pub state: bool,
}

/// A call of every machine.
macro_rules! every {
    ($name:ident) => {
        Some(libc::$name as u32)
    };
}

/// A call that only x86-64 has.
#[cfg(target_arch = "x86_64")]
macro_rules! legacy {
    ($name:ident) => {
        Some(libc::$name as u32)
    };
}
#[cfg(not(target_arch = "x86_64"))]
macro_rules! legacy {
    ($name:ident) => {
        None
    };
}

use ProcessFact as P;
use Source::{
    Addr, Arg, Bits, Dev, Domain, HowFlags, HowMode, HowResolve, Ino, Missing, Mode, OpenFlags, Path, Path2,
    Process, Ptrace, Ret, Tuple, Verbatim,
};

const EXECVE: &[Source] = &[
    Ret,
    Process(P::Exe),
    Process(P::Args),
    Process(P::Tid),
    Process(P::Pid),
    Process(P::Ptid),
    Process(P::Cwd),
    Missing,
    Missing,
    Missing,
    Missing,
    Missing,
    Missing,
    Process(P::Comm),
    Missing,
    Process(P::Env),
    Process(P::Tty),
    Process(P::Vpgid),
    Process(P::LoginUid),
    Process(P::ExeFlags),
    Process(P::CapInheritable),
    Process(P::CapPermitted),
    Process(P::CapEffective),
    Process(P::ExeIno),
    Process(P::ExeCtime),
    Process(P::ExeMtime),
    Process(P::Uid),
    Process(P::ExePath),
    Process(P::Pgid),
    Process(P::Gid),
    Process(P::Filename),
];

const CLONE: &[Source] = &[
    Ret,
    Process(P::Exe),
    Process(P::Args),
    Process(P::Tid),
    Process(P::Pid),
    Process(P::Ptid),
    Process(P::Cwd),
    Missing,
    Missing,
    Missing,
    Missing,
    Missing,
    Missing,
    Process(P::Comm),
    Missing,
    Missing,
    Process(P::Uid),
    Process(P::Gid),
    Process(P::Vtid),
    Process(P::Vpid),
    Missing,
];

/// All rows.
pub static ROWS: &[Row] = &[
    row(ev::OPEN, legacy!(SYS_open), Family::Open, &[Ret, Path, OpenFlags(1), Mode(2), Dev, Ino]),
    row(ev::OPENAT, every!(SYS_openat), Family::Open, &[Ret, Arg(0), Path, OpenFlags(2), Mode(3), Dev, Ino]),
    row(
        ev::OPENAT2,
        every!(SYS_openat2),
        Family::Open,
        &[Ret, Arg(0), Path, HowFlags, HowMode, HowResolve, Dev, Ino],
    ),
    row(ev::CREAT, legacy!(SYS_creat), Family::Open, &[Ret, Path, Mode(1), Dev, Ino, Missing]),
    row(ev::LINK, legacy!(SYS_link), Family::Path, &[Ret, Path, Path2]),
    row(
        ev::LINKAT,
        every!(SYS_linkat),
        Family::Path,
        &[Ret, Arg(0), Path, Arg(2), Path2, Bits(4, LINKAT_FLAGS)],
    ),
    row(ev::SYMLINK, legacy!(SYS_symlink), Family::Path, &[Ret, Verbatim, Path2]),
    row(ev::SYMLINKAT, every!(SYS_symlinkat), Family::Path, &[Ret, Verbatim, Arg(1), Path2]),
    row(ev::SOCKET, every!(SYS_socket), Family::Net, &[Ret, Domain(0), Arg(1), Arg(2), Missing]),
    row(ev::CONNECT, every!(SYS_connect), Family::Net, &[Ret, Tuple, Arg(0), Addr]),
    row(ev::SENDTO, every!(SYS_sendto), Family::Net, &[Ret, Missing, Arg(0), Arg(2), Tuple]),
    row(ev::SENDMSG, every!(SYS_sendmsg), Family::Net, &[Ret, Missing, Arg(0), Missing, Tuple]),
    row(ev::DUP, every!(SYS_dup), Family::Fd, &[Ret, Arg(0)]),
    row(ev::DUP2, legacy!(SYS_dup2), Family::Fd, &[Ret, Arg(0), Arg(1)]),
    row(ev::DUP3, every!(SYS_dup3), Family::Fd, &[Ret, Arg(0), Arg(1), OpenFlags(2)]),
    row(ev::FINIT_MODULE, every!(SYS_finit_module), Family::Fd, &[Ret, Arg(0), Missing, Arg(2)]),
    state_row(ev::FCHDIR, every!(SYS_fchdir), Family::Fd, &[Ret, Arg(0)]),
    state_row(ev::CHDIR, every!(SYS_chdir), Family::Path, &[Ret, Path]),
    row(ev::PTRACE, every!(SYS_ptrace), Family::Scalar, &[Ret, Arg(2), Arg(3), Ptrace(0), Arg(1)]),
    row(ev::INIT_MODULE, every!(SYS_init_module), Family::Scalar, &[Ret, Missing, Arg(1), Missing]),
    row(ev::EXECVE, every!(SYS_execve), Family::Exec, EXECVE),
    // `execveat` has no `filename` parameter.
    row(ev::EXECVEAT, every!(SYS_execveat), Family::Exec, EXECVE.split_at(30).0),
    state_row(ev::CLONE, None, Family::Process, CLONE),
    state_row(ev::PROCEXIT, None, Family::Process, &[Ret, Missing, Missing, Missing, Missing]),
];

const fn row(event: EventId, number: Option<u32>, family: Family, params: &'static [Source]) -> Row {
    Row { event, number, family, params, state: false }
}

const fn state_row(event: EventId, number: Option<u32>, family: Family, params: &'static [Source]) -> Row {
    Row { event, number, family, params, state: true }
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
    /// Indexes [`ROWS`].
    pub fn new() -> Self {
        let mut by_number = vec![None; SYSCALL_SLOTS as usize];
        for row in ROWS {
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
    ROWS.iter().find(|row| row.event == event)
}

/// Event types of `events` that the agent cannot deliver: rules that name only these never match.
pub fn undeliverable(events: &EventSet) -> impl Iterator<Item = EventId> + '_ {
    events.iter().filter(|event| by_event(*event).is_none())
}

fn execve() -> Option<&'static Row> {
    by_event(ev::EXECVE)
}

#[cfg(test)]
mod tests {
    use rampart_common::event::Family;
    use rampart_rules::{
        catalog::{ParamType, event_ids as ev},
        event_set::EventSet,
    };

    use super::{ROWS, Source, SyscallTable, by_event, undeliverable};
    use crate::event::{EventKind, build::RecordBuilder, decode};

    #[test]
    fn rows_have_a_source_for_every_parameter() {
        for row in ROWS {
            let def = row.event.def().expect("an event of the catalogue");
            assert_eq!(row.params.len(), def.params.len(), "{}", def.name);
            for (source, param) in row.params.iter().zip(def.params) {
                let path = matches!(param.ty, ParamType::Path | ParamType::RelPath);
                let from_path = matches!(source, Source::Path | Source::Path2);
                let fact = matches!(source, Source::Process(_) | Source::Missing);
                assert!(
                    path == from_path || fact || def.name == "chdir",
                    "{}.{}: {source:?}",
                    def.name,
                    param.name
                );
            }
        }
    }

    #[test]
    fn numbers_are_unique_and_found() {
        let table = SyscallTable::new();
        let mut seen = std::collections::HashSet::new();
        for row in ROWS {
            if let Some(number) = row.number {
                assert!(seen.insert(number), "{number} twice");
                assert_eq!(table.number(number).map(|found| found.event), Some(row.event));
            }
        }
        assert!(table.number(u32::MAX).is_none() && table.number(9999).is_none());
    }

    #[test]
    fn events_without_a_row_cannot_be_delivered() {
        let events: EventSet = [ev::OPENAT, ev::REBOOT, ev::EXECVE].into_iter().collect();
        assert_eq!(undeliverable(&events).collect::<Vec<_>>(), [ev::REBOOT]);
    }

    #[test]
    fn tracepoint_records_have_their_event_type() {
        let table = SyscallTable::new();
        for (kind, number, expected) in [
            (EventKind::Exec, u32::MAX, ev::EXECVE),
            (EventKind::Exec, libc::SYS_execveat as u32, ev::EXECVEAT),
            (EventKind::Exec, libc::SYS_openat as u32, ev::EXECVE),
            (EventKind::Fork, u32::MAX, ev::CLONE),
            (EventKind::Exit, u32::MAX, ev::PROCEXIT),
            (EventKind::Syscall, libc::SYS_openat as u32, ev::OPENAT),
        ] {
            let mut record = RecordBuilder::new(kind, Family::Process);
            record.header.syscall = number;
            let bytes = record.build();
            let event = decode::decode(&bytes).expect("a well-formed record");
            assert_eq!(table.of(&event).map(|row| row.event), Some(expected));
        }
        assert!(by_event(ev::REBOOT).is_none());
    }
}
