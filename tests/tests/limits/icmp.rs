//! ICMP end to end: echoes are limited, and what the network itself needs never is.

use std::{
    collections::BTreeSet,
    net::{Ipv4Addr, Ipv6Addr, SocketAddrV4, SocketAddrV6, UdpSocket},
    os::fd::{AsRawFd as _, OwnedFd},
    process::Command,
    time::Duration,
};

use nix::sys::{
    socket::{
        AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn, SockaddrIn6, SockaddrLike,
        recv, sendto, setsockopt, socket, sockopt,
    },
    time::{TimeVal, TimeValLike as _},
};
use rampart_agent::{
    engine::clock::boot_now_ns,
    kernel::limiter::{Interface, Limiter, LimiterConfig, Tables, Wish},
};
use rampart_common::limit::{
    abi::{Config, Control, ENFORCE, Policy, SERVICE_FIRST, STRICT, Service, ServiceKey},
    gcra::Limit,
    packet::{ICMP, ICMP6},
    verdict::{Direction, Reason, Unit},
};
use rampart_tests::{netns::Namespace, require_root};

const SECOND: u64 = 1_000_000_000;
/// Echoes that a source may send.
const BURST: u64 = 4;
const TRIES: u64 = 12;

/// One policy on all ICMP of both versions.
fn tables() -> Tables {
    let service = |protocol| {
        let key = ServiceKey { protocol, has_protocol: 1, ..ServiceKey::default() };
        (key, Service { number: SERVICE_FIRST + u16::from(protocol), policy: 1 })
    };
    Tables {
        config: Config {
            flags: ENFORCE | STRICT,
            shapes: 0b1000,
            seed: 5,
            budget: Limit::new(20_000, SECOND, 1000).expect("a limit"),
            samples: Limit::new(1, SECOND, 1).expect("a limit"),
            ..Config::default()
        },
        policies: vec![
            Policy::default(),
            Policy {
                limit: Limit::new(1, 3600 * SECOND, BURST).expect("a limit"),
                unit: Unit::Packets as u8,
                key_v4: 128,
                key_v6: 64,
                ..Policy::default()
            },
        ],
        services: vec![service(ICMP), service(ICMP6)],
        ..Tables::default()
    }
}

fn counted(limiter: &Limiter, reason: Reason) -> u64 {
    let counted = limiter.tallies().expect("tallies are read");
    counted.iter().filter(|one| one.reason == reason).map(|one| one.tally.packets).sum()
}

fn raw(family: AddressFamily, protocol: SockProtocol) -> OwnedFd {
    let socket = socket(family, SockType::Raw, SockFlag::SOCK_CLOEXEC, protocol).expect("a raw socket");
    setsockopt(&socket, sockopt::ReceiveTimeout, &TimeVal::milliseconds(500)).expect("a timeout");
    socket
}

/// A message with its checksum (which the kernel completes for `ICMPv6`).
fn message(kind: u8, code: u8, number: u8) -> [u8; 8] {
    let mut bytes = [kind, code, 0, 0, 0x52, 0x50, 0, number];
    let sum = bytes.as_chunks::<2>().0.iter().map(|word| u32::from(u16::from_be_bytes(*word)));
    let sum: u32 = sum.sum();
    let sum = !(((sum & 0xffff) + (sum >> 16)) as u16);
    bytes[2..4].copy_from_slice(&sum.to_be_bytes());
    bytes
}

/// Sends echoes; gives how many were answered. `answer`: the answer's type, and where a received message begins.
fn echoes<A: SockaddrLike>(socket: &OwnedFd, request: u8, answer: (u8, usize), to: &A) -> u64 {
    for number in 0..TRIES as u8 {
        sendto(socket.as_raw_fd(), &message(request, 0, number), to, MsgFlags::empty())
            .expect("an echo is sent");
    }
    let mut answered = BTreeSet::new();
    let mut buffer = [0; 256];
    // Other messages come by the same socket.
    while let Ok(length) = recv(socket.as_raw_fd(), &mut buffer, MsgFlags::empty()) {
        let got = &buffer[..length];
        if got.get(answer.1) == Some(&answer.0) {
            answered.extend(got.get(answer.1 + 7).copied());
        }
    }
    answered.len() as u64
}

fn forget_neighbours(arguments: &[&str]) {
    let status = Command::new("ip").args(arguments).status().expect("`ip` runs");
    assert!(status.success());
}

#[test]
fn echoes_are_limited_and_the_network_s_own_messages_are_not() {
    require_root!("echoes_are_limited_and_the_network_s_own_messages_are_not");
    let space =
        Namespace::new("rpicmp", &["198.18.83.1/24", "fd83::1/64"], &["198.18.83.2/24", "fd83::2/64"]);
    let interface = Interface::find(space.interface()).expect("the interface is there");
    let mut limiter =
        Limiter::load(&LimiterConfig { entries: 1 << 14, pins: None }).expect("the limiter loads");
    limiter
        .beat(&Control { heartbeat_ns: boot_now_ns(), ..Control::default() })
        .expect("the heartbeat is written");
    limiter.publish(&tables()).expect("the tables are written");
    limiter.attach(&interface, Direction::Ingress, Wish::Tc).expect("it attaches");

    let four = SockaddrIn::from(SocketAddrV4::new(Ipv4Addr::new(198, 18, 83, 1), 0));
    let six_address: Ipv6Addr = "fd83::1".parse().expect("an address");
    let six = SockaddrIn6::from(SocketAddrV6::new(six_address, 0, 0, 0));
    let vital = space.inside(|| {
        let (raw4, raw6) =
            (raw(AddressFamily::Inet, SockProtocol::Icmp), raw(AddressFamily::Inet6, SockProtocol::IcmpV6));
        assert_eq!(echoes(&raw4, 8, (0, 20), &four), BURST);
        assert_eq!(echoes(&raw6, 128, (129, 0), &six), BURST);
        // "Fragmentation needed" and "packet too big", of which the sources have more than they may send of others.
        for number in 0..TRIES as u8 {
            sendto(raw4.as_raw_fd(), &message(3, 4, number), &four, MsgFlags::empty()).expect("it is sent");
            sendto(raw6.as_raw_fd(), &message(2, 0, number), &six, MsgFlags::empty()).expect("it is sent");
        }
        2 * TRIES
    });
    assert_eq!(counted(&limiter, Reason::Over), 2 * (TRIES - BURST), "{:?}", limiter.tallies());
    assert!(counted(&limiter, Reason::Vital) >= vital, "{:?}", limiter.tallies());

    // Who has used up his echoes is still found: neighbour discovery goes on.
    let before = counted(&limiter, Reason::Vital);
    forget_neighbours(&["-6", "neigh", "flush", "dev", space.interface()]);
    let here = UdpSocket::bind((six_address, 47_782)).expect("a socket here");
    here.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
    space.inside(|| {
        forget_neighbours(&["-6", "neigh", "flush", "dev", "rpicmp1"]);
        let socket = UdpSocket::bind("[fd83::2]:0").expect("a socket inside");
        socket.send_to(&[1; 8], (six_address, 47_782)).expect("a datagram is sent");
    });
    let mut buffer = [0; 16];
    here.recv_from(&mut buffer).expect("the datagram arrives");
    assert!(counted(&limiter, Reason::Vital) > before, "a neighbour was looked for");
}
