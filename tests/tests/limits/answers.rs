//! Connections over a policy that resets: the client knows at once, on every hook and in both directions.

use std::{
    io::ErrorKind,
    net::{IpAddr, SocketAddr, TcpListener, TcpStream},
    time::{Duration, Instant},
};

use rampart_agent::{
    engine::clock::boot_now_ns,
    kernel::limiter::{Interface, Limiter, LimiterConfig, Rung, Tables, Wish},
};
use rampart_common::limit::{
    abi::{
        Config, Control, ENFORCE, PROG_INGRESS, PROG_XDP_FRAGS, Policy, SERVICE_FIRST, Service, ServiceKey,
    },
    gcra::Limit,
    packet::TCP,
    verdict::{Action, Direction},
};
use rampart_tests::{netns::Namespace, require_root};

use crate::corpus::{From, packet, tcp, udp};

const SECOND: u64 = 1_000_000_000;
const PORT: u16 = 47_781;
/// Connections that a source may begin.
const BURST: u64 = 3;
/// A client that is not told gives up after this time, and one that is told knows long before.
const PATIENCE: Duration = Duration::from_secs(20);
const XDP_DROP: u32 = 1;
const XDP_TX: u32 = 3;
const TC_SHOT: u32 = 2;
const TC_REDIRECT: u32 = 7;

/// One policy on new connections, which resets what is over it.
fn tables(direction: Direction) -> Tables {
    let key = ServiceKey {
        port: PORT,
        protocol: TCP,
        has_protocol: 1,
        direction: direction as u8,
        ..ServiceKey::default()
    };
    Tables {
        config: Config {
            flags: ENFORCE,
            shapes: 0b10,
            seed: 5,
            budget: Limit::new(20_000, SECOND, 1000).expect("a limit"),
            samples: Limit::new(1, SECOND, 1).expect("a limit"),
            ..Config::default()
        },
        policies: vec![
            Policy::default(),
            Policy {
                limit: Limit::new(1, 3600 * SECOND, BURST).expect("a limit"),
                action: Action::Reset as u8,
                key_v4: 128,
                key_v6: 64,
                ..Policy::default()
            },
        ],
        services: vec![(key, Service { number: SERVICE_FIRST, policy: 1 })],
        ..Tables::default()
    }
}

fn limiter(direction: Direction) -> Limiter {
    let mut limiter =
        Limiter::load(&LimiterConfig { entries: 1 << 14, pins: None }).expect("the limiter loads");
    limiter
        .beat(&Control { heartbeat_ns: boot_now_ns(), ..Control::default() })
        .expect("the heartbeat is written");
    limiter.publish(&tables(direction)).expect("the tables are written");
    limiter
}

fn answered(limiter: &Limiter, direction: Direction) -> (u64, u64) {
    let resets = limiter.resets().expect("resets are counted");
    let of =
        |answered| resets.iter().filter(|one| one.0 == answered && one.1 == direction).map(|one| one.2).sum();
    (of(true), of(false))
}

/// Connects until it is refused; gives how often it came about.
fn connect(to: SocketAddr) -> u64 {
    for done in 0..=BURST + 1 {
        let begun = Instant::now();
        match TcpStream::connect_timeout(&to, PATIENCE) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => return done,
            Err(error) => panic!("the client of {to} was not told: {error} after {:?}", begun.elapsed()),
        }
    }
    BURST + 2
}

#[test]
fn a_client_over_its_limit_is_told_at_once() {
    require_root!("a_client_over_its_limit_is_told_at_once");
    let address = |text: &str| -> IpAddr { text.parse().expect("an address") };
    for (rung, direction) in [
        (Rung::Tcx, Direction::Ingress),
        (Rung::Generic, Direction::Ingress),
        (Rung::Native, Direction::Ingress),
        (Rung::Tcx, Direction::Egress),
        (Rung::Clsact, Direction::Ingress),
    ] {
        let space =
            Namespace::new("rprst", &["198.18.82.1/24", "fd82::1/64"], &["198.18.82.2/24", "fd82::2/64"]);
        let interface = Interface::find(space.interface()).expect("the interface is there");
        // A veth takes what XDP sends back only when its peer has a program too: this one has no tables, and lets all
        // pass.
        let _peer = (rung == Rung::Native).then(|| {
            let mut peer =
                Limiter::load(&LimiterConfig { entries: 1 << 10, pins: None }).expect("the limiter loads");
            space.inside(|| {
                let inner = Interface::find("rprst1").expect("the interface is there");
                peer.attach(&inner, Direction::Ingress, Wish::Force(rung)).expect("it attaches inside");
            });
            peer
        });
        let mut limiter = limiter(direction);
        limiter.attach(&interface, direction, Wish::Force(rung)).expect("it attaches");
        for (here, there) in [("198.18.82.1", "198.18.82.2"), ("fd82::1", "fd82::2")] {
            let before = answered(&limiter, direction);
            let done = if direction == Direction::Ingress {
                let _listener = TcpListener::bind((address(here), PORT)).expect("a listener here");
                space.inside(|| connect(SocketAddr::new(address(here), PORT)))
            } else {
                let _listener =
                    space.inside(|| TcpListener::bind((address(there), PORT)).expect("a listener inside"));
                connect(SocketAddr::new(address(there), PORT))
            };
            assert_eq!(done, BURST, "{rung:?} {direction:?} {here}");
            let (sent, not_sent) = answered(&limiter, direction);
            assert!(sent > before.0 && not_sent == 0, "{rung:?} {direction:?} {here}: {sent} {not_sent}");
        }
        limiter.detach_except(&std::collections::BTreeSet::new()).expect("it detaches");
    }
}

#[test]
fn what_cannot_be_answered_is_dropped_and_counted() {
    require_root!("what_cannot_be_answered_is_dropped_and_counted");
    let four = From::Four([192, 0, 2, 9]);
    let six = From::Six([0x20, 1, 0xd, 0xb8, 0, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    let syn = tcp(PORT, 2);
    let answered_frames = [
        packet(four, 0, 0, 6, &syn),
        packet(four, 1, 0, 6, &syn),
        packet(four, 2, 0, 6, &syn),
        packet(four, 0, 3, 6, &syn),
        packet(four, 0, 0, 6, &[&syn[..], &[1; 30]].concat()),
        packet(six, 0, 0, 6, &syn),
        packet(six, 2, 0, 6, &syn),
    ];
    // Below a destination option.
    let extended = [&[6, 0, 1, 4, 0, 0, 0, 0][..], &syn].concat();
    let dropped_frames = [packet(six, 0, 0, 60, &extended), packet(four, 0, 0, 6, &tcp(PORT, 6))];
    for (program, told, silent) in [(PROG_XDP_FRAGS, XDP_TX, XDP_DROP), (PROG_INGRESS, TC_REDIRECT, TC_SHOT)]
    {
        let limiter = limiter(Direction::Ingress);
        let run = |frame: &[u8]| limiter.run(program, frame, 1).expect("it runs").0;
        for from in [four, six] {
            for _ in 0..BURST {
                run(&packet(from, 0, 0, 6, &syn));
            }
        }
        assert_eq!(answered(&limiter, Direction::Ingress), (0, 0));
        for (index, frame) in answered_frames.iter().enumerate() {
            assert_eq!(run(frame), told, "{program}: packet {index}");
        }
        for (index, frame) in dropped_frames.iter().enumerate() {
            assert_eq!(run(frame), silent, "{program}: packet {index} without an answer");
        }
        assert_eq!(answered(&limiter, Direction::Ingress), (7, 2), "{program}");
        // Datagrams are of no such policy.
        assert_ne!(run(&packet(four, 0, 0, 17, &udp(1, PORT, 8))), silent);
    }
}

#[test]
fn answers_have_a_budget() {
    require_root!("answers_have_a_budget");
    let limiter = limiter(Direction::Ingress);
    let frame = packet(From::Four([192, 0, 2, 10]), 0, 0, 6, &tcp(PORT, 2));
    // Answers turn the frame round, so that one frame of a test run is judged once only.
    let begun = Instant::now();
    for _ in 0..4000 {
        limiter.run(PROG_XDP_FRAGS, &frame, 1).expect("it runs");
    }
    let (sent, not_sent) = answered(&limiter, Direction::Ingress);
    assert_eq!(sent + not_sent, 4000 - BURST);
    let most = 1000 + 10_000 * (begun.elapsed().as_secs() + 1);
    assert!(sent >= 1000 && sent <= most, "{sent} answers");
}
