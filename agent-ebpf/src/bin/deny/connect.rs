//! `socket_connect`: a socket is about to be connected.
//!
//! Prototype: `int socket_connect(struct socket *sock, struct sockaddr *address, int addrlen)`, since 2.6. The address is the
//! one that the program gave, in the kernel's copy.

use aya_ebpf::{macros::lsm, programs::LsmContext};
use rampart_common::{
    deny::{NumberKey, SOCKET_KINDS, armed, socket_class},
    member::Member as M,
    pushdown::ADDRESS_KEY_BITS,
};

use crate::{
    PASS,
    maps::{DENY_ADDRESSES, DENY_PORTS},
    read::{Raw, Typed, current_task},
    scratch::{Held, below},
    subject::{CONNECT, Force, Image, judge},
    tell::About,
};

const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;
const SOCK_STREAM: u16 = 1;
const SOCK_DGRAM: u16 = 2;
const TCP: u16 = 6;
const UDP: u16 = 17;
/// Bytes of `sockaddr_in` and `sockaddr_in6` as far as the address goes.
const V4_BYTES: i32 = 16;
const V6_BYTES: i32 = 24;
/// Where the addresses are in them.
const V4_ADDRESS: u64 = 4;
const V6_ADDRESS: u64 = 8;

#[lsm(hook = "socket_connect")]
fn deny_connect(ctx: LsmContext) -> i32 {
    let Some(force) = Force::now() else { return PASS };
    let socket = Typed(ctx.arg(0));
    let sk = socket.follow(M::SocketSk);
    if sk.is_null() {
        return PASS;
    }
    let (kind, protocol): (u16, u16) = (socket.load(M::SocketType), sk.load(M::SockProtocol));
    let is_udp = kind == SOCK_DGRAM && protocol == UDP;
    let is_tcp = kind == SOCK_STREAM && protocol == TCP;
    if !is_udp && !is_tcp {
        return PASS;
    }
    let (given, len) = (Raw(ctx.arg(1)), ctx.arg::<i32>(2));
    let family: u16 = given.load_at(0);
    let v6 = sk.load::<u16>(M::SockFamily) == AF_INET6;
    if family == AF_INET6 && !v6 {
        return PASS;
    }
    let Some(held) = Held::take() else { return PASS };
    let port = u16::from_be(given.load_at(2));
    let address = match family {
        AF_INET if len >= V4_BYTES => mapped_of(given.load_at(V4_ADDRESS)),
        AF_INET6 if len >= V6_BYTES => whole(given.load_at(V6_ADDRESS), given.load_at(V6_ADDRESS + 8)),
        _ => [0; 4],
    };
    let verdict = judged(held, &force, (v6, protocol, is_udp), (address, port));
    held.release();
    verdict
}

#[inline(always)]
fn judged(
    held: Held,
    force: &Force<'_>,
    (v6, protocol, is_udp): (bool, u16, bool),
    (address, port): ([u32; 4], u16),
) -> i32 {
    let [first, second, third, fourth] = address;
    let mapped = first == 0 && second == 0 && third == 0xffff_u32.to_be();
    // The address that is none stands for the loopback.
    let is_none = first | second == 0 && (third == 0 || mapped) && fourth == 0;
    let class = below::<{ SOCKET_KINDS as u64 }>(socket_class(v6, v6 && mapped, is_udp));
    let terms = force.settings.connect.get(class).copied().unwrap_or(0) & armed(&force.switch);
    if terms == 0 || is_none || port == 0 {
        return PASS;
    }
    let key = &mut held.get().address;
    key.prefix_len = ADDRESS_KEY_BITS + 128;
    key.data.slot = force.slot.to_be_bytes();
    key.data.address = bytes(address);
    let addresses = DENY_ADDRESSES.get(&*key).copied().unwrap_or(0);
    let number = NumberKey { slot: force.slot, number: u32::from(port) };
    // SAFETY: entries of a slot are not removed while it is in force, which is checked before anything is refused.
    let ports = unsafe { DENY_PORTS.get(number) }.copied().unwrap_or(force.settings.other_ports);
    let left = terms & addresses & ports;
    if left == 0 {
        return PASS;
    }
    let about = About {
        operation: CONNECT,
        protocol: protocol as u8,
        number: u32::from(port),
        mode: u32::from(if v6 { AF_INET6 } else { AF_INET }),
    };
    judge(held, force, current_task(), (left, Image::Present), &about)
}

#[inline(always)]
fn mapped_of(address: u32) -> [u32; 4] {
    [0, 0, 0xffff_u32.to_be(), address]
}

#[inline(always)]
fn whole(low: u64, high: u64) -> [u32; 4] {
    [low as u32, (low >> 32) as u32, high as u32, (high >> 32) as u32]
}

#[inline(always)]
fn bytes([a, b, c, d]: [u32; 4]) -> [u8; 16] {
    // SAFETY: as many bytes, and every bit pattern is a value.
    unsafe { core::mem::transmute([a, b, c, d]) }
}
