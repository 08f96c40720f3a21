//! What the kernel programs make of an event, over the plan's own tables.

use rampart_common::{
    event::{ATTR_DISCONNECTED, AttrTag, EXTRA_OPEN_HOW, Family},
    pushdown::{CLASS_FAILED, CLASS_PATH, CLASS_SOCKET, CLASS_VERBATIM, CallKey, KEY_NUMBERS, UNKNOWN_CLASS},
};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::{
    event::{
        Event, EventKind, SocketFacts, lexical,
        syscall::{self, Row},
    },
    pushdown::{Plan, paths},
};

/// The keys that the kernel looks up; the event's candidates are those of any. `blind` bits are facts that it fails to
/// see this time.
pub(super) fn keys(plan: &Plan, event: &Event<'_>, row: &Row, blind: u8) -> Vec<CallKey> {
    let failed = event.header.ret < 0 && event.kind == EventKind::Syscall;
    let mut key = CallKey {
        generation: plan.generation(),
        syscall: row.number.unwrap() as u16,
        class: if failed { CLASS_FAILED } else { 0 },
        ..CallKey::default()
    };
    for (to, slot) in key.numbers.iter_mut().zip(syscall::numbers(row)) {
        if let Some(argument) = slot.checked_sub(1) {
            *to = number(event, row, usize::from(argument));
        }
    }
    if let Some(socket) = event.socket()
        && row.family == Family::Net
        && blind & 1 == 0
    {
        key.class |= CLASS_SOCKET;
        key.numbers = numbers_of(plan, &socket, key.numbers, blind);
    }
    let mut views = Vec::new();
    if paths::classified(row) && blind & 2 == 0 {
        views = classify(event, row, failed).unwrap_or_default();
    }
    if views.is_empty() {
        return vec![key];
    }
    let given = event.attr(AttrTag::UserPath).map(|attr| attr.bytes);
    let mut keys = Vec::new();
    for path in &views {
        let verbatim = given == Some(path) && blind & 4 == 0;
        let mut one = key;
        one.class |= CLASS_PATH | if verbatim { CLASS_VERBATIM } else { 0 };
        one.signature = plan.signature(path);
        keys.push(one);
    }
    keys
}

fn number(event: &Event<'_>, row: &Row, argument: usize) -> u64 {
    if row.plan.extra_kind == EXTRA_OPEN_HOW {
        let (words, _) = event.attr(AttrTag::OpenHow).unwrap().bytes.as_chunks::<8>();
        return u64::from_ne_bytes(words[argument]);
    }
    event.header.args[argument]
}

/// The paths to look up: of the file, and as the program gave it. `None` when it cannot be told.
fn classify(event: &Event<'_>, row: &Row, failed: bool) -> Option<Vec<Vec<u8>>> {
    let mut views = Vec::new();
    if row.family == Family::Open && !failed {
        let attr = event.attr(AttrTag::RealPath)?;
        if attr.flags & ATTR_DISCONNECTED != 0 || event.socket().is_some() {
            return None;
        }
        let mut real = Vec::new();
        event.path_into(AttrTag::RealPath, &mut real);
        views.push(real);
    }
    if row.plan.path != 0 {
        let given = event.attr(AttrTag::UserPath)?.bytes;
        let mut base = Vec::new();
        if given.first() != Some(&b'/') && !event.path_into(AttrTag::BaseDir, &mut base) {
            return None;
        }
        let mut path = Vec::new();
        lexical::join_dir(&base, given, None, &mut path);
        if !views.contains(&path) {
            views.push(path);
        }
    }
    Some(views)
}

fn numbers_of(
    plan: &Plan,
    socket: &SocketFacts,
    numbers: [u64; KEY_NUMBERS],
    blind: u8,
) -> [u64; KEY_NUMBERS] {
    let facts = u64::from(socket.family)
        | u64::from(socket.kind) << 16
        | u64::from(socket.protocol) << 32
        | u64::from(socket.role) << 48;
    let v6 = i32::from(socket.family) == libc::AF_INET6;
    let of_kernel = |bytes: &[u8; 16]| {
        if v6 {
            Ipv6Addr::from(*bytes)
        } else {
            Ipv4Addr::new(bytes[0], bytes[1], bytes[2], bytes[3]).to_ipv6_mapped()
        }
    };
    let kernel = (of_kernel(&socket.remote), socket.remote_port);
    let class = |(address, port): (Ipv6Addr, u16)| {
        u64::from(plan.classes.address_class(IpAddr::V6(address))) | u64::from(plan.port_class(port)) << 16
    };
    let unknown = u64::from(UNKNOWN_CLASS) | u64::from(UNKNOWN_CLASS) << 16;
    let local = if blind & 8 == 0 { class((of_kernel(&socket.local), socket.local_port)) } else { unknown };
    let remote = if blind & 16 == 0 { class(kernel) } else { unknown };
    [facts, local | remote << 32, numbers[0]]
}
