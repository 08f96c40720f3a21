//! What comparisons give on an operation of which only the kind is known: the field getters are asked about a record like
//! the one the operation would leave if it succeeded.

use bumpalo::Bump;
use rampart_common::{
    deny::{OPEN_CLASSES, Operation, SOCKET_KINDS, open_class, socket_class},
    event::{AttrTag, EXTRA_OPEN_HOW, EventKind, FileFacts, SocketFacts},
};
use rampart_rules::{
    comparisons::{ComparisonId, Comparisons},
    value::Truth,
};

use crate::{
    engine::{
        clock::Clock,
        fields::{Context, EventFields, Facts, Position, Scratch, View},
    },
    event::{build::RecordBuilder, decode, syscall::Row},
    state::State,
};

/// One kind of an operation: its class, and a record of it for each of its calls.
pub(super) struct Kind {
    pub(super) class: usize,
    record: RecordBuilder,
    row: &'static Row,
}

/// Every kind of an operation by a call.
pub(super) fn kinds(operation: Operation, row: &'static Row) -> Vec<Kind> {
    match operation {
        Operation::Open => (0..OPEN_CLASSES)
            .map(|class| {
                let flags = (class / 2) as u64 | if class % 2 == 1 { libc::O_DIRECTORY as u64 } else { 0 };
                debug_assert_eq!(open_class(class / 2, class % 2 == 1), class);
                Kind { class, record: opened(row, flags), row }
            })
            .collect(),
        Operation::Exec => {
            let mut record = RecordBuilder::new(EventKind::Exec, row.family);
            record.header.syscall = row.number.unwrap_or(u32::MAX);
            vec![Kind { class: 0, record, row }]
        }
        Operation::Connect => (0..SOCKET_KINDS)
            .filter(|class| class & 3 != 3)
            .map(|class| {
                let (v6, mapped, udp) = (class & 3 != 0, class & 3 == 2, class & 4 != 0);
                debug_assert_eq!(socket_class(v6, mapped, udp), class);
                Kind { class, record: connected(row, v6, mapped, udp), row }
            })
            .collect(),
    }
}

fn opened(row: &Row, flags: u64) -> RecordBuilder {
    let mut record = RecordBuilder::syscall(i64::from(row.number.unwrap_or(0)), row.family, 3, &[]);
    if row.plan.extra_kind == EXTRA_OPEN_HOW {
        record = record.open_how(flags, 0, 0);
    }
    // `open` has its flags behind the path, the others behind the directory and the path.
    let at = usize::from(row.plan.path);
    if let Some(argument) = record.header.args.get_mut(at).filter(|_| row.plan.extra_kind != EXTRA_OPEN_HOW) {
        *argument = flags;
    }
    let facts = FileFacts { mode: 0o100_644, ino: 1, dev: 1, ..FileFacts::default() };
    record.text(AttrTag::UserPath, "/x").path(AttrTag::RealPath, "/x").file(&facts)
}

fn connected(row: &Row, v6: bool, mapped: bool, udp: bool) -> RecordBuilder {
    let (kind, protocol) = if udp { (libc::SOCK_DGRAM, 17) } else { (libc::SOCK_STREAM, 6) };
    let family = if v6 { libc::AF_INET6 } else { libc::AF_INET };
    let socket =
        SocketFacts { sock: 1, family: family as u16, kind: kind as u16, protocol, ..SocketFacts::default() };
    let mut address = Vec::new();
    if v6 {
        address.extend((libc::AF_INET6 as u16).to_ne_bytes());
        address.extend([0, 9, 0, 0, 0, 0]);
        address.extend(if mapped {
            std::net::Ipv4Addr::new(192, 0, 2, 1).to_ipv6_mapped().octets()
        } else {
            std::net::Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1).octets()
        });
        address.extend([0; 4]);
    } else {
        address.extend((libc::AF_INET as u16).to_ne_bytes());
        address.extend([0, 9, 192, 0, 2, 1]);
        address.extend([0; 8]);
    }
    RecordBuilder::syscall(i64::from(row.number.unwrap_or(0)), row.family, 0, &[]).socket(&socket).attr_flags(
        AttrTag::SockAddr,
        0,
        &address,
    )
}

impl Kind {
    /// What a comparison gives on all operations of this kind. Only for comparisons that the kind decides.
    pub(super) fn truth(&self, comparisons: &Comparisons, comparison: ComparisonId) -> Truth {
        let record = self.record.build();
        let Ok(event) = decode::decode(&record) else { return Truth::Unknown };
        let (arena, scratch) = (Bump::new(), Scratch::default());
        let (state, clock) = (State::new(crate::state::Config::default()), Clock::fixed(0, 0));
        let context = Context::nowhere(&state, &clock, &arena, &scratch);
        let facts = Facts::new(&event, self.row, context, Position::default());
        comparisons.evaluate(comparison, Some(self.row.event), &EventFields::new(&facts, View::Real))
    }
}
