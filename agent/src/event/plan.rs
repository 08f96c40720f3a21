//! What the kernel programs do with each call of the syscall table: which arguments are paths, descriptors,
//! structures. One arm per event type of [`super::syscall::ROWS`].

use rampart_common::event::{
    EXTRA_ARGV, EXTRA_MSGHDR, EXTRA_OPEN_HOW, EXTRA_SOCKADDR, SLOT_CWD, SLOT_NO_BASE, SLOT_RETURN,
    SyscallPlan,
};
use rampart_rules::catalog::{EventId, event_ids as ev};

use super::syscall::{ROWS, Row};

/// The table for the kernel: the calls of every row that `wants` accepts.
pub fn wanted(mut wants: impl FnMut(&Row) -> bool) -> Vec<(u32, SyscallPlan)> {
    ROWS.iter().filter(|row| wants(row)).filter_map(|row| Some((row.number?, plan(row)))).collect()
}

/// The plan of one row.
pub fn plan(row: &Row) -> SyscallPlan {
    SyscallPlan { family: row.family as u8, ..arguments(row.event) }
}

fn arguments(event: EventId) -> SyscallPlan {
    let none = SyscallPlan::default();
    match event {
        ev::OPEN | ev::CREAT => SyscallPlan { path: 1, fd: SLOT_RETURN, ..none },
        ev::OPENAT => SyscallPlan { path: 2, dir: 1, fd: SLOT_RETURN, ..none },
        ev::OPENAT2 => {
            SyscallPlan { path: 2, dir: 1, fd: SLOT_RETURN, extra: 3, extra_kind: EXTRA_OPEN_HOW, ..none }
        }
        ev::LINK => SyscallPlan { path: 1, path2: 2, ..none },
        ev::LINKAT => SyscallPlan { path: 2, dir: 1, path2: 4, dir2: 3, ..none },
        ev::SYMLINK => SyscallPlan { path: 1, dir: SLOT_NO_BASE, path2: 2, ..none },
        ev::SYMLINKAT => SyscallPlan { path: 1, dir: SLOT_NO_BASE, path2: 3, dir2: 2, ..none },
        ev::CHDIR => SyscallPlan { path: 1, fd: SLOT_CWD, ..none },
        ev::FCHDIR => SyscallPlan { fd: SLOT_CWD, ..none },
        ev::SOCKET => SyscallPlan { fd: SLOT_RETURN, ..none },
        ev::CONNECT => SyscallPlan { fd: 1, extra: 2, extra_kind: EXTRA_SOCKADDR, ..none },
        ev::SENDTO => SyscallPlan { fd: 1, extra: 5, extra_kind: EXTRA_SOCKADDR, ..none },
        ev::SENDMSG => SyscallPlan { fd: 1, extra: 2, extra_kind: EXTRA_MSGHDR, ..none },
        ev::DUP | ev::DUP2 | ev::DUP3 | ev::FINIT_MODULE => SyscallPlan { fd: 1, ..none },
        ev::EXECVE => SyscallPlan { path: 1, extra: 2, extra_kind: EXTRA_ARGV, ..none },
        ev::EXECVEAT => SyscallPlan { path: 2, dir: 1, extra: 3, extra_kind: EXTRA_ARGV, ..none },
        // Told by their numbers alone.
        _ => none,
    }
}

#[cfg(test)]
mod tests {
    use rampart_common::event::Family;

    use super::{plan, wanted};
    use crate::event::syscall::{ROWS, Source};

    #[test]
    fn every_row_that_shows_a_path_or_a_socket_has_it_sent() {
        for row in ROWS.iter().filter(|row| row.number.is_some()) {
            let plan = plan(row);
            let name = row.event.to_string();
            assert_eq!(plan.family, row.family as u8, "{name}");
            let shows = |wanted: fn(&Source) -> bool| row.params.iter().any(wanted);
            if shows(|source| matches!(source, Source::Path | Source::Verbatim)) {
                assert_ne!(plan.path, 0, "{name}");
            }
            if shows(|source| matches!(source, Source::Path2)) {
                assert_ne!(plan.path2, 0, "{name}");
            }
            if shows(|source| matches!(source, Source::Tuple | Source::Dev | Source::Ino)) {
                assert_ne!(plan.fd, 0, "{name}");
            }
            if shows(|source| matches!(source, Source::HowFlags | Source::Addr)) || row.family == Family::Exec
            {
                assert_ne!(plan.extra, 0, "{name}");
            }
        }
    }

    #[test]
    fn only_what_is_asked_for_is_wanted() {
        assert!(wanted(|_| false).is_empty());
        let opens = wanted(|row| row.family == Family::Open);
        assert!(opens.iter().any(|(number, _)| *number == libc::SYS_openat as u32));
        assert!(opens.iter().all(|(_, plan)| plan.family == Family::Open as u8));
    }
}
