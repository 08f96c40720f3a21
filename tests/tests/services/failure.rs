//! TCP with backends that fail in all ways.

use std::{
    io::{ErrorKind, Read as _},
    net::{SocketAddr, TcpListener, TcpStream},
    os::fd::AsRawFd as _,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

use nix::sys::socket::{Backlog, listen};
use rampart_common::service::{
    abi::{EVENT_END, EVENT_STATE, ROUND_ROBIN, SPREAD, Service},
    breaker::{Mode, Order, Policy, State, stamp},
    signal::Outcome,
};
use rampart_tests::require_root;

use super::stage::{Manner, SECOND, Server, Stage, nobody, policy, wait};

fn service() -> Service {
    Service { policy: policy(), algorithm: ROUND_ROBIN, ..Service::default() }
}

/// As [`service`], with a breaker that tries again soon.
fn quick() -> Service {
    let policy = Policy { recovery_ns: SECOND / 2, probe_ns: SECOND, half_open_ns: 10 * SECOND, ..policy() };
    Service { policy, ..service() }
}

#[test]
fn refusals_open_the_breaker_and_then_the_kernel_refuses() {
    require_root!("refusals_open_the_breaker_and_then_the_kernel_refuses");
    let mut stage = Stage::new("198.18.65.1:80", 6, &[nobody()], service());
    for _ in 0..5 {
        assert_eq!(stage.state(1), State::Closed);
        assert_eq!(stage.ask().expect_err("nobody listens").kind(), ErrorKind::ConnectionRefused);
    }
    assert_eq!((stage.state(1), stage.breaker(1).1.k()), (State::Open, 1));
    assert_eq!(stage.outcomes(1, Outcome::Refused), 5);
    assert_eq!(stage.ask().expect_err("the breaker is open").kind(), ErrorKind::ConnectionRefused);
    assert_eq!(stage.outcomes(1, Outcome::Refused), 5, "the backend was not asked");
    let counts = stage.services.counts(1).expect("the counts are read");
    assert_eq!((counts.chosen, counts.refused), (5, 1));

    let events = stage.services.events(100).expect("events are read");
    let ends = events.iter().filter(|event| event.kind == EVENT_END).count();
    let changes: Vec<(u8, u8)> =
        events.iter().filter(|event| event.kind == EVENT_STATE).map(|event| (event.from, event.to)).collect();
    assert_eq!((ends, changes), (5, vec![(State::Closed as u8, State::Open as u8)]));
    assert!(events.iter().filter(|event| event.kind == EVENT_END).all(|event| event.error == 111));
}

#[test]
fn traffic_moves_to_the_backend_that_is_left() {
    require_root!("traffic_moves_to_the_backend_that_is_left");
    let servers = [Server::new("127.0.0.2:0", Manner::Answer), Server::new("127.0.0.3:0", Manner::Answer)];
    let backends = servers.each_ref().map(|server| server.address);
    let stage = Stage::new("198.18.65.2:80", 6, &backends, quick());
    for _ in 0..10 {
        stage.ask().expect("an answer");
    }
    let [first, second] = servers;
    let place = first.stop();
    let failed = (0..100).filter(|_| stage.ask().is_err()).count();
    assert!(failed <= 5, "{failed} connects failed");
    // It returns, and is found out by the clock and a probe.
    let again = Server::of(TcpListener::bind(place).expect("the address is free"), Manner::Answer);
    wait(|| stage.ask().is_ok_and(|name| name == place.to_string()) && stage.state(1) == State::Closed);
    drop(again);
    drop(second);
}

#[test]
fn a_clients_next_try_goes_elsewhere() {
    require_root!("a_clients_next_try_goes_elsewhere");
    let server = Server::new("127.0.0.2:0", Manner::Answer);
    let settings = Service { exclude_ns: 60 * SECOND, ..service() };
    let stage = Stage::new("198.18.65.3:80", 6, &[nobody(), server.address], settings);
    let failed = (0..50).filter(|_| stage.ask().is_err()).count();
    assert_eq!(failed, 1, "after the first failure the other backend is taken");
    assert_eq!(stage.state(1), State::Closed);
}

#[test]
fn resets_and_empty_replies_before_the_first_byte_are_failures() {
    require_root!("resets_and_empty_replies_before_the_first_byte_are_failures");
    for (manner, outcome) in [(Manner::Reset, Outcome::Reset), (Manner::Empty, Outcome::Empty)] {
        let server = Server::new("127.0.0.2:0", manner);
        let stage = Stage::new("198.18.65.4:80", 6, &[server.address], service());
        for _ in 0..5 {
            assert!(stage.ask().is_err());
        }
        wait(|| stage.state(1) == State::Open);
        assert_eq!(stage.outcomes(1, outcome), 5, "{outcome:?}");
    }
}

#[test]
fn a_full_queue_and_a_black_hole_run_out_of_tries() {
    require_root!("a_full_queue_and_a_black_hole_run_out_of_tries");
    let listener = TcpListener::bind("127.0.0.2:0").expect("an address");
    listen(&listener, Backlog::new(0).expect("a length")).expect("a short queue");
    let full = listener.local_addr().expect("an address");
    // The queue takes one more than its length.
    let held: Vec<TcpStream> =
        (0..2).filter_map(|_| TcpStream::connect_timeout(&full, Duration::from_millis(300)).ok()).collect();
    let settings = Service { syn_retries: 1, syn_timeout: 25, ..service() };
    let stage = Stage::new("198.18.65.5:80", 6, &[full], settings);
    let begin = Instant::now();
    assert_eq!(stage.ask().expect_err("nobody answers").kind(), ErrorKind::TimedOut);
    let took = begin.elapsed();
    wait(|| stage.outcomes(1, Outcome::TimedOut) == 1);
    assert!(took < Duration::from_millis(2900), "without the timer it takes three seconds: {took:?}");
    drop(held);
}

#[test]
fn who_gives_up_after_a_lost_syn_says_something() {
    require_root!("who_gives_up_after_a_lost_syn_says_something");
    let listener = TcpListener::bind("127.0.0.2:0").expect("an address");
    listen(&listener, Backlog::new(0).expect("a length")).expect("a short queue");
    let full = listener.local_addr().expect("an address");
    let held: Vec<TcpStream> =
        (0..2).filter_map(|_| TcpStream::connect_timeout(&full, Duration::from_millis(300)).ok()).collect();
    let stage = Stage::new("198.18.65.6:80", 6, &[full], service());
    let quick = TcpStream::connect_timeout(&stage.vip, Duration::from_millis(20));
    assert!(quick.is_err());
    wait(|| stage.outcomes(1, Outcome::Neutral) == 1);
    assert!(TcpStream::connect_timeout(&stage.vip, Duration::from_millis(1500)).is_err());
    wait(|| stage.outcomes(1, Outcome::Abandoned) == 1);
    drop(held);
}

#[test]
fn a_thousand_clients_make_three_probes() {
    require_root!("a_thousand_clients_make_three_probes");
    let place = nobody();
    let stage = Stage::new("198.18.65.7:80", 6, &[place], quick());
    stage.connect_until(1, State::Open);
    let server = Server::of(TcpListener::bind(place).expect("the address is free"), Manner::Silent);
    // Past the time of recovery, and nobody has asked yet.
    let until = stage.breaker(1).1.open_until(&quick().policy);
    wait(|| rampart_agent::engine::clock::boot_now_ns() > until);
    let through = AtomicUsize::new(0);
    let gate = std::sync::Barrier::new(50);
    thread::scope(|scope| {
        let clients: Vec<_> = (0..50)
            .map(|_| {
                scope.spawn(|| {
                    gate.wait();
                    let streams: Vec<TcpStream> =
                        (0..20).filter_map(|_| TcpStream::connect(stage.vip).ok()).collect();
                    through.fetch_add(streams.len(), Ordering::SeqCst);
                    streams
                })
            })
            .collect();
        let streams: Vec<TcpStream> =
            clients.into_iter().flat_map(|client| client.join().expect("a client")).collect();
        let through = through.load(Ordering::SeqCst);
        assert!((1..=3).contains(&through), "{through} of 1000 got through");
        assert_eq!(stage.state(1), State::HalfOpen);
        drop(streams);
    });
    wait(|| server.accepted.load(Ordering::SeqCst) >= 1);
    assert!(server.accepted.load(Ordering::SeqCst) <= 3);
}

#[test]
fn the_first_byte_of_probes_closes_the_breaker_while_they_last() {
    require_root!("the_first_byte_of_probes_closes_the_breaker_while_they_last");
    let place = nobody();
    let stage = Stage::new("198.18.65.8:80", 6, &[place], quick());
    stage.connect_until(1, State::Open);
    let _server = Server::of(TcpListener::bind(place).expect("the address is free"), Manner::Answer);
    let mut held = Vec::new();
    wait(|| {
        if let Ok(stream) = TcpStream::connect(stage.vip) {
            std::io::Write::write_all(&mut &stream, b"?").expect("it is asked");
            let mut name = [0; 64];
            assert!((&stream).read(&mut name).expect("an answer") > 0);
            // None of them ends.
            held.push(stream);
        }
        stage.state(1) == State::Closed
    });
    assert_eq!(held.len(), 3);
}

#[test]
fn all_down_refuses_or_spreads() {
    require_root!("all_down_refuses_or_spreads");
    let mut stage = Stage::new("198.18.65.9:80", 6, &[nobody(), nobody()], service());
    wait(|| {
        assert!(stage.ask().is_err());
        stage.state(1) == State::Open && stage.state(2) == State::Open
    });
    let asked = stage.services.counts(1).expect("the counts are read").chosen;
    assert!(stage.ask().is_err());
    assert_eq!(stage.services.counts(1).expect("the counts are read").chosen, asked);
    let mut tables = stage.tables.clone();
    tables.services[0].1.flags |= SPREAD;
    stage.services.publish(&tables).expect("the tables are written");
    assert!(stage.ask().is_err());
    assert_eq!(stage.services.counts(1).expect("the counts are read").panics, 1);
}

#[test]
fn orders_are_followed_at_once() {
    require_root!("orders_are_followed_at_once");
    let server = Server::new("127.0.0.2:0", Manner::Answer);
    let mut stage = Stage::new("198.18.65.10:80", 6, &[server.address], service());
    stage.ask().expect("an answer");
    let forced = Order { mode: Mode::ForcedOpen as u32, ..Order::default() };
    stage.services.set_order(1, &forced).expect("it is ordered");
    assert_eq!(stage.ask().expect_err("it is forced open").kind(), ErrorKind::ConnectionRefused);
    let now = rampart_agent::engine::clock::boot_now_ns();
    stage.services.set_order(1, &Order { trip: stamp(now), ..Order::default() }).expect("it is ordered");
    assert!(stage.ask().is_err(), "it is tripped");
    let later = rampart_agent::engine::clock::boot_now_ns() + SECOND / 100;
    stage.services.set_order(1, &Order { reset: stamp(later), ..Order::default() }).expect("it is ordered");
    stage.ask().expect("it is reset");
}

#[test]
fn a_second_connect_and_an_early_close_leak_nothing() {
    require_root!("a_second_connect_and_an_early_close_leak_nothing");
    let server = Server::new("127.0.0.2:0", Manner::Answer);
    let stage = Stage::new("198.18.65.11:80", 6, &[server.address], service());
    // An address that cannot be reached from the one that is bound: no SYN is sent.
    let socket = nix::sys::socket::socket(
        nix::sys::socket::AddressFamily::Inet,
        nix::sys::socket::SockType::Stream,
        nix::sys::socket::SockFlag::SOCK_CLOEXEC,
        None,
    )
    .expect("a socket");
    let SocketAddr::V4(vip) = stage.vip else { panic!("an IPv4 address") };
    for _ in 0..2 {
        let _ = nix::sys::socket::connect(socket.as_raw_fd(), &nix::sys::socket::SockaddrIn::from(vip));
        // The second one begins anew.
        let _ = nix::sys::socket::shutdown(socket.as_raw_fd(), nix::sys::socket::Shutdown::Both);
    }
    drop(socket);
    wait(|| stage.breaker(1).0.opened == stage.breaker(1).0.closed);
}
