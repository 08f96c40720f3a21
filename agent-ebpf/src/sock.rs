//! Sockets behind descriptors.

#![expect(clippy::indexing_slicing, reason = "every port is an index of the table")]

use rampart_common::{
    event::{AttrTag, ROLE_UNKNOWN, SOCKADDR_MAX, SocketFacts},
    member::Member as M,
    pushdown::ADDRESS_KEY_BITS,
    role,
};

use crate::{
    file::{S_IFMT, S_IFSOCK},
    judge::Judge,
    maps::{ADDRESSES, ROLES},
    read::{Raw, has, layout},
    record::Record,
};

const AF_UNIX: u16 = 1;
const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;

/// Writes the facts of the socket behind an open file, if it has any.
#[inline(always)]
pub(crate) fn put(record: Record, file: Raw) -> bool {
    let socket = file.follow(M::FilePrivateData);
    let sk = socket.follow(M::SocketSk);
    if sk.is_null() {
        return false;
    }
    let family: u16 = sk.load(M::SockFamily);
    let peer = if family == AF_UNIX { sk.follow(M::UnixPeer) } else { Raw(0) };
    if let Some((attr, facts)) = record.open_value::<SocketFacts>(AttrTag::Socket) {
        *facts = SocketFacts::default();
        facts.sock = sk.0;
        facts.family = family;
        facts.kind = socket.load(M::SocketType);
        facts.protocol = sk.load(M::SockProtocol);
        facts.state = sk.load(M::SockState);
        // From the record it is a number, where the verifier knew a pointer.
        // SAFETY: written above.
        facts.role = role(unsafe { (&raw const facts.sock).read_volatile() });
        facts.ino = file.follow(M::FileInode).load::<u64>(M::InodeIno) as u32;
        facts.peer = peer.0;
        if family == AF_INET || family == AF_INET6 {
            facts.local_port = sk.load(M::SockNum);
            facts.remote_port = u16::from_be(sk.load(M::SockDport));
        }
        if family == AF_INET {
            facts.local = v4(sk.load(M::SockRcvSaddr));
            facts.remote = v4(sk.load(M::SockDaddr));
        }
        if family == AF_INET6 && has(M::SockV6Daddr) {
            facts.local = v6(sk.load(M::SockV6RcvSaddr));
            facts.remote = v6(sk.load(M::SockV6Daddr));
        }
        record.close_value::<SocketFacts>(attr);
    }
    if family == AF_UNIX {
        put_unix_path(record, sk, peer);
    }
    true
}

/// Makes the facts of the socket, which are the record's first attribute, the numbers of its key.
#[inline(always)]
pub(crate) fn classify(judge: Judge, record: Record) {
    let Some(tables) = judge.tables() else { return };
    let facts: &SocketFacts = record.first();
    let v4 = facts.family == AF_INET;
    let local = address_class(judge, record, &facts.local, v4)
        | u64::from(tables.ports[usize::from(facts.local_port)]) << 16;
    let remote = address_class(judge, record, &facts.remote, v4)
        | u64::from(tables.ports[usize::from(facts.remote_port)]) << 16;
    let kind = u64::from(facts.family)
        | u64::from(facts.kind) << 16
        | u64::from(facts.protocol) << 32
        | u64::from(facts.role) << 48;
    let key = record.key();
    key.numbers = [kind, local | remote << 32, key.numbers[0]];
}

/// The class of an address.
#[inline(always)]
fn address_class(judge: Judge, record: Record, address: &[u8; 16], v4: bool) -> u64 {
    let key = record.address();
    key.prefix_len = ADDRESS_KEY_BITS + 128;
    key.data.slot = (judge.generation() & 1).to_be_bytes();
    if v4 {
        let [a, b, c, d, ..] = *address;
        key.data.address = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d];
    } else {
        key.data.address = *address;
    }
    ADDRESSES.get(&*key).map_or(0, |class| u64::from(*class & 0xffff))
}

/// Writes how many connections wait on a listening socket, and how many may.
#[inline(always)]
pub(crate) fn put_backlog(record: Record, file: Raw) {
    let mode = u32::from(file.follow(M::FileInode).load::<u16>(M::InodeMode));
    if mode & S_IFMT != S_IFSOCK {
        return;
    }
    let sk = file.follow(M::FilePrivateData).follow(M::SocketSk);
    let queue: [u32; 2] = [sk.load(M::SockAckBacklog), sk.load(M::SockMaxAckBacklog)];
    record.put(AttrTag::Backlog, queue);
}

/// The peer's bound path, or the socket's own.
#[inline(always)]
fn put_unix_path(record: Record, sk: Raw, peer: Raw) {
    let mut address = if peer.is_null() { peer } else { peer.follow(M::UnixAddr) };
    if address.is_null() {
        address = sk.follow(M::UnixAddr);
    }
    if address.is_null() {
        return;
    }
    // The length counts the two bytes of the family before the path.
    let len = u64::from(address.load::<u32>(M::UnixAddressLen));
    if len <= 2 || len > SOCKADDR_MAX as u64 {
        return;
    }
    let path = address.plus(layout(M::UnixAddressName) + 2);
    record.put_kernel_bytes(AttrTag::UnixPath, path, len - 2, SOCKADDR_MAX as u64);
}

/// Which side opened the connection, when that was seen.
#[inline(always)]
fn role(sk: u64) -> u8 {
    let Some(set) = ROLES.get(role::set_of(sk)) else { return ROLE_UNKNOWN };
    // SAFETY: a place of the set, read whole.
    role::role_of(|way| unsafe { set.as_ptr().wrapping_add(way).read_volatile() }, sk)
}

#[inline(always)]
fn v4(address: [u8; 4]) -> [u8; 16] {
    let [a, b, c, d] = address;
    [a, b, c, d, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]
}

/// Two words to sixteen bytes, in memory order.
#[inline(always)]
fn v6(words: [u64; 2]) -> [u8; 16] {
    let [high, low] = words;
    let (h, l) = (high.to_ne_bytes(), low.to_ne_bytes());
    [h[0], h[1], h[2], h[3], h[4], h[5], h[6], h[7], l[0], l[1], l[2], l[3], l[4], l[5], l[6], l[7]]
}
