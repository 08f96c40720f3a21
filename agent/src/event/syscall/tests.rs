use rampart_common::event::Family;
use rampart_rules::{
    catalog::{ParamType, event_ids as ev},
    event_set::EventSet,
};

use super::{Source, SyscallTable, by_event, rows, undeliverable, wanted};
use crate::event::{EventKind, build::RecordBuilder, decode};

#[test]
fn rows_have_a_source_for_every_parameter() {
    for row in rows() {
        let def = row.event.def().expect("an event of the catalogue");
        assert_eq!(row.params.len(), def.params.len(), "{}", def.name);
        for (source, param) in row.params.iter().zip(def.params) {
            let path = matches!(param.ty, ParamType::Path | ParamType::RelPath);
            let from_path = matches!(source, Source::Path | Source::Path2 | Source::FilePath);
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
    for row in rows() {
        if let Some(number) = row.number {
            assert!(seen.insert(number), "{number} twice");
            assert_eq!(table.number(number).map(|found| found.event), Some(row.event));
        }
    }
    assert!(table.number(u32::MAX).is_none() && table.number(9999).is_none());
}

#[test]
fn events_without_a_row_cannot_be_delivered() {
    let events: EventSet = [ev::OPENAT, ev::SYSCALL, ev::EXECVE].into_iter().collect();
    assert_eq!(undeliverable(&events).collect::<Vec<_>>(), [ev::SYSCALL]);
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
    assert!(by_event(ev::SYSCALL).is_none());
}

#[test]
fn every_row_that_shows_a_path_or_a_socket_has_it_sent() {
    for row in rows().filter(|row| row.number.is_some()) {
        let plan = row.plan;
        let name = row.event.to_string();
        assert_eq!(plan.family, row.family as u8, "{name}");
        let shows = |wanted: fn(&Source) -> bool| row.params.iter().any(wanted);
        if shows(|source| matches!(source, Source::Path | Source::Verbatim)) {
            assert_ne!(plan.path, 0, "{name}");
        }
        if shows(|source| matches!(source, Source::Path2)) {
            assert_ne!(plan.path2, 0, "{name}");
        }
        if shows(|source| matches!(source, Source::Tuple | Source::Dev | Source::Ino | Source::FilePath)) {
            assert_ne!(plan.fd, 0, "{name}");
        }
        if shows(|source| matches!(source, Source::HowFlags | Source::Addr | Source::Backlog))
            || row.family == Family::Exec
        {
            assert_ne!(plan.extra, 0, "{name}");
        }
        if shows(|source| matches!(source, Source::Text | Source::TaskName)) {
            assert_ne!(plan.text, 0, "{name}");
        }
        assert_eq!(shows(|source| matches!(source, Source::Data)), plan.data != 0, "{name}");
        for source in row.params {
            let needed = match source {
                Source::Word(index) | Source::WordBits(index, _) => (index + 1) * 4,
                Source::Long(index) | Source::LongBits(index, _) => (index + 1) * 8,
                _ => 0,
            };
            assert!(needed <= plan.bytes_len && (needed == 0 || plan.bytes != 0), "{name}: {source:?}");
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

#[test]
fn every_call_with_parameters_of_its_own_has_a_row() {
    use rampart_rules::catalog::{EVENTS, EventKind};
    let without: Vec<&str> = EVENTS
        .iter()
        .filter(|def| def.kind == EventKind::Syscall && !def.generic && def.name != "syscall")
        .filter(|def| !rows().any(|row| row.event.def().is_some_and(|own| own.name == def.name)))
        .map(|def| def.name)
        .collect();
    // A call of 32-bit programs alone, translated to `mmap`.
    assert_eq!(without, ["mmap2"]);
}
