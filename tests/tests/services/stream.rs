//! TCP with healthy backends: who gets what, and what the programs see.

use std::{
    collections::BTreeMap,
    net::{SocketAddr, TcpStream},
    os::fd::{AsFd as _, AsRawFd as _},
};

use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrIn6, connect, getpeername, setsockopt, socket, sockopt,
};
use rampart_common::service::{
    abi::{LEAST_CONNECTIONS, ROUND_ROBIN, STICKY, Service},
    signal::Outcome,
};
use rampart_tests::require_root;

use super::stage::{MARK, Manner, SECOND, Server, Stage, ask, policy, wait};

fn service(algorithm: u8) -> Service {
    Service { policy: policy(), algorithm, sticky_ns: 3600 * SECOND, ..Service::default() }
}

fn asked(stage: &Stage, times: usize) -> BTreeMap<String, usize> {
    let mut names = BTreeMap::new();
    for _ in 0..times {
        *names.entry(stage.ask().expect("an answer")).or_default() += 1;
    }
    names
}

#[test]
fn connections_are_shared_and_counted_and_show_what_was_asked() {
    require_root!("connections_are_shared_and_counted_and_show_what_was_asked");
    let servers = [Server::new("127.0.0.2:0", Manner::Answer), Server::new("127.0.0.3:0", Manner::Answer)];
    let backends: Vec<SocketAddr> = servers.iter().map(|server| server.address).collect();
    let mut stage = Stage::new("198.18.64.1:80", 6, &backends, service(ROUND_ROBIN));
    let names = asked(&stage, 40);
    // Each CPU takes turns of its own.
    assert_eq!(names.len(), 2, "{names:?}");
    assert!(names.values().all(|count| (15..=25).contains(count)), "{names:?}");

    let stream = TcpStream::connect(stage.vip).expect("a connection");
    assert_eq!(stream.peer_addr().expect("a peer"), stage.vip, "the program sees what it asked for");
    let opened: u64 = [1, 2].map(|backend| stage.breaker(backend).0.opened).iter().sum();
    assert_eq!(opened, 41);
    drop(stream);
    wait(|| {
        [1, 2].into_iter().all(|backend| stage.breaker(backend).0.opened == stage.breaker(backend).0.closed)
    });
    let successes: u64 = [1, 2].map(|backend| stage.outcomes(backend, Outcome::Success)).iter().sum();
    assert_eq!(successes, 41, "a connection that was asked nothing is one too");
    assert_eq!(stage.services.counts(1).expect("the counts are read").chosen, 41);
    let tally = stage.services.tally(1).expect("the tally is read");
    assert_eq!(tally.latencies.iter().sum::<u64>(), tally.outcomes.iter().sum::<u64>());

    // Other addresses are not ours.
    let direct = TcpStream::connect(backends[0]).expect("a connection");
    assert_eq!(ask(direct).expect("an answer"), backends[0].to_string());
    assert_eq!(stage.services.counts(1).expect("the counts are read").chosen, 41);
    assert_eq!(stage.services.events(100).expect("events are read"), []);

    // Switched off, the address leads nowhere.
    stage.services.switch_off().expect("it is switched off");
    let error = TcpStream::connect(stage.vip).expect_err("the route says so");
    assert_eq!(error.raw_os_error(), Some(libc::EHOSTUNREACH));
}

#[test]
fn an_ipv6_socket_may_ask_for_an_ipv4_address() {
    require_root!("an_ipv6_socket_may_ask_for_an_ipv4_address");
    let server = Server::new("127.0.0.2:0", Manner::Answer);
    let _stage = Stage::new("198.18.64.2:80", 6, &[server.address], service(ROUND_ROBIN));
    let socket =
        socket(AddressFamily::Inet6, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).expect("a socket");
    let mapped: SocketAddr = "[::ffff:198.18.64.2]:80".parse().expect("an address");
    let SocketAddr::V6(mapped) = mapped else { panic!("an IPv6 address") };
    connect(socket.as_raw_fd(), &SockaddrIn6::from(mapped)).expect("a connection");
    let peer: SockaddrIn6 = getpeername(socket.as_raw_fd()).expect("a peer");
    assert_eq!(peer.ip().to_ipv4_mapped(), Some([198, 18, 64, 2].into()));
    assert_eq!(peer.port(), 80);
    assert_eq!(ask(TcpStream::from(socket)).expect("an answer"), server.address.to_string());
}

#[test]
fn ipv6_services_work() {
    require_root!("ipv6_services_work");
    let server = Server::new("[::1]:0", Manner::Answer);
    let stage = Stage::new("[fd00:7261:6d70::1]:80", 6, &[server.address], service(ROUND_ROBIN));
    let stream = TcpStream::connect(stage.vip).expect("a connection");
    assert_eq!(stream.peer_addr().expect("a peer"), stage.vip);
    assert_eq!(ask(stream).expect("an answer"), server.address.to_string());
}

#[test]
fn sticky_clients_stay_and_the_idle_get_more() {
    require_root!("sticky_clients_stay_and_the_idle_get_more");
    let servers = [Server::new("127.0.0.2:0", Manner::Answer), Server::new("127.0.0.3:0", Manner::Answer)];
    let backends: Vec<SocketAddr> = servers.iter().map(|server| server.address).collect();
    let stage = Stage::new("198.18.64.3:80", 6, &backends, service(STICKY));
    assert_eq!(asked(&stage, 20).len(), 1);
    drop(stage);

    let stage = Stage::new("198.18.64.3:80", 6, &backends, service(LEAST_CONNECTIONS));
    let held: Vec<TcpStream> =
        (0..60).map(|_| TcpStream::connect(stage.vip).expect("a connection")).collect();
    let open = [1, 2].map(|backend| stage.breaker(backend).0.opened);
    assert!(open[0].abs_diff(open[1]) <= 12, "connections that stay are shared: {open:?}");
    drop(held);
}

#[test]
fn health_checks_and_other_loadings_are_left_alone() {
    require_root!("health_checks_and_other_loadings_are_left_alone");
    let server = Server::new("127.0.0.2:0", Manner::Answer);
    let mut stage = Stage::new("198.18.64.4:80", 6, &[server.address], service(ROUND_ROBIN));
    let marked =
        socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).expect("a socket");
    setsockopt(&marked.as_fd(), sockopt::Mark, &MARK).expect("a mark");
    let to = nix::sys::socket::SockaddrIn::new(198, 18, 64, 4, 80);
    let error = connect(marked.as_raw_fd(), &to).expect_err("it meets the route");
    assert_eq!(error, nix::errno::Errno::EHOSTUNREACH);
    assert_eq!(stage.services.counts(1).expect("the counts are read").passed, 1);

    // A second agent's programs, on maps of its own and not in charge of these.
    let config = rampart_agent::kernel::services::ServicesConfig {
        cgroup: stage.cgroup.path().to_owned(),
        pins: None,
        probe_mark: 0,
    };
    let mut second = rampart_agent::kernel::services::Services::load(config).expect("the programs load");
    second.attach(1).expect("the programs are attached");
    stage.ask().expect("an answer");
    assert_eq!(stage.services.counts(1).expect("the counts are read").chosen, 1);
    drop(second);
    let tables = stage.tables.clone();
    assert_eq!(stage.services.publish(&tables).expect("the tables are written"), 2);
    stage.ask().expect("an answer from the other slot");
}

#[test]
fn a_socket_that_waits_for_nothing_is_refused_at_once() {
    require_root!("a_socket_that_waits_for_nothing_is_refused_at_once");
    let stage = Stage::new("198.18.64.5:80", 6, &[], service(ROUND_ROBIN));
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = socket(AddressFamily::Inet, SockType::Stream, flags, None).expect("a socket");
    let to = nix::sys::socket::SockaddrIn::new(198, 18, 64, 5, 80);
    let error = connect(socket.as_raw_fd(), &to).expect_err("there is no backend");
    assert_eq!(error, nix::errno::Errno::EHOSTUNREACH);
    assert_eq!(stage.services.counts(1).expect("the counts are read").empty, 1);
}
