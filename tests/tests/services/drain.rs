//! Connections to a backend that is left out are ended, and no others.

use std::{
    collections::BTreeSet,
    io::{ErrorKind, Read as _},
    net::{SocketAddr, TcpListener, TcpStream, UdpSocket},
    thread,
    time::Duration,
};

use rampart_agent::services::drain::{Report, Work};
use rampart_common::service::{
    abi::{ROUND_ROBIN, Service},
    breaker::State,
    signal::Outcome,
};
use rampart_tests::{netns::Namespace, require_root};

use super::stage::{Manner, Server, Stage, ask, policy, tables, wait};

fn service() -> Service {
    Service { policy: policy(), algorithm: ROUND_ROBIN, ..Service::default() }
}

/// Ends the connections to some backends.
fn end(stage: &Stage, backends: &[u16]) -> Report {
    let sockets = stage.services.sockets().expect("the maps are there");
    let work = Work { backends: backends.iter().copied().collect::<BTreeSet<_>>(), sockets };
    // It leaves the thread in another network namespace.
    thread::spawn(move || work.run()).join().expect("it comes to an end")
}

/// Connections to a service with the server each has.
fn connected(stage: &Stage, count: usize) -> Vec<(TcpStream, String)> {
    let open = || {
        let stream = TcpStream::connect(stage.vip).expect("a connection");
        let name = ask(stream.try_clone().expect("a descriptor")).expect("an answer");
        (stream, name)
    };
    (0..count).map(|_| open()).collect()
}

fn is_over(stream: &TcpStream) -> bool {
    stream.set_read_timeout(Some(Duration::from_millis(10))).expect("a timeout");
    let error = (&mut &*stream).read(&mut [0; 1]).expect_err("no byte comes");
    let is_over = error.kind() == ErrorKind::ConnectionAborted;
    assert!(is_over || matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut), "{error}");
    is_over
}

#[test]
fn connections_to_a_backend_that_is_removed_are_ended_in_all_namespaces() {
    require_root!("connections_to_a_backend_that_is_removed_are_ended_in_all_namespaces");
    let space = Namespace::new("rsd", &["10.78.1.1/24"], &["10.78.1.2/24"]);
    let servers = [Server::new("10.78.1.1:0", Manner::Answer), Server::new("10.78.1.1:0", Manner::Answer)];
    let backends = servers.each_ref().map(|server| server.address);
    let mut stage = Stage::new("198.18.68.1:80", 6, &backends, service());
    let mut held = connected(&stage, 12);
    held.extend(space.inside(|| connected(&stage, 12)));
    let direct = TcpStream::connect(backends[0]).expect("a connection");

    let left = tables(stage.vip, 6, &backends, service());
    let mut left = left;
    left.services[0].1.members = [0; 32];
    left.services[0].1.members[0] = 2;
    left.services[0].1.count = 1;
    left.services[0].1.tier_size[0] = 1;
    left.services[0].2 = [2; 256];
    stage.services.publish(&left).expect("the tables are written");
    assert!(held.iter().all(|(stream, _)| !is_over(stream)), "they stay until they are ended");

    let first = backends[0].to_string();
    let own = held.iter().filter(|(_, name)| *name == first).count() as u64;
    assert!((4..=20).contains(&own), "{own} of 24");
    let report = end(&stage, &[1]);
    let ended = report.backends[&1];
    assert_eq!((ended.found, ended.destroyed, ended.gone, ended.failed), (own, own, 0, 0), "{report:?}");
    assert_eq!(ended.namespaces, 2, "{report:?}");
    assert!(report.searched >= 2);
    for (stream, name) in &held {
        assert_eq!(is_over(stream), *name == first);
    }
    ask(direct).expect("who asked the backend itself is left alone");
    assert_eq!(stage.state(1), State::Closed, "it is no fault of the backend");
    wait(|| stage.outcomes(1, Outcome::Neutral) == own);
    wait(|| stage.breaker(1).0.opened == stage.breaker(1).0.closed);
    assert_eq!(end(&stage, &[1]).backends[&1].found, 0);
    assert_eq!(stage.ask().expect("an answer"), backends[1].to_string());
}

#[test]
fn connections_that_were_asked_nothing_say_nothing_when_they_are_ended() {
    require_root!("connections_that_were_asked_nothing_say_nothing_when_they_are_ended");
    let server = Server::new("127.0.0.2:0", Manner::Silent);
    let stage = Stage::new("198.18.68.2:80", 6, &[server.address], service());
    let held: Vec<TcpStream> = (0..8).map(|_| TcpStream::connect(stage.vip).expect("a connection")).collect();
    assert_eq!(end(&stage, &[2]).backends[&2].found, 0, "another backend");
    let report = end(&stage, &[1]);
    assert_eq!(report.backends[&1].destroyed, 8, "{report:?}");
    assert!(held.iter().all(is_over));
    wait(|| stage.outcomes(1, Outcome::Neutral) == 8);
    assert_eq!(stage.state(1), State::Closed);
}

#[test]
fn connected_datagram_sockets_are_ended_and_others_move_on() {
    require_root!("connected_datagram_sockets_are_ended_and_others_move_on");
    let servers = ["127.0.0.2:0", "127.0.0.2:0"].map(|at| UdpSocket::bind(at).expect("a socket"));
    let backends = servers.each_ref().map(|server| server.local_addr().expect("an address"));
    let mut stage = Stage::new("198.18.68.3:53", 17, &backends[..1], service());
    let connected = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    connected.connect(stage.vip).expect("a peer");
    connected.send(b"?").expect("a datagram");
    let loose = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    loose.send_to(b"?", stage.vip).expect("a datagram");
    let direct = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    direct.connect(backends[0]).expect("a peer");

    let SocketAddr::V4(_) = backends[1] else { panic!("an IPv4 address") };
    let mut other = stage.tables.clone();
    other.backends[0].1.port = backends[1].port().to_be();
    stage.services.publish(&other).expect("the tables are written");
    let report = end(&stage, &[1]);
    assert_eq!(report.backends[&1].destroyed, 1, "{report:?}");
    assert_eq!(report.backends[&1].failed, 0);
    assert!(connected.send(b"?").is_err(), "its owner hears of it");
    direct.send(b"?").expect("a datagram");
    loose.send_to(b"!", stage.vip).expect("a datagram");
    let mut byte = [0; 1];
    servers[1].set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout");
    servers[1].recv_from(&mut byte).expect("the next datagram goes to the other");
    assert_eq!(&byte, b"!");
}

#[test]
fn a_listener_and_what_it_accepted_are_left_alone() {
    require_root!("a_listener_and_what_it_accepted_are_left_alone");
    let listener = TcpListener::bind("127.0.0.2:0").expect("an address");
    let at = listener.local_addr().expect("an address");
    let stage = Stage::new("198.18.68.4:80", 6, &[at], service());
    let client = TcpStream::connect(stage.vip).expect("a connection");
    let (accepted, _) = listener.accept().expect("a connection");
    assert_eq!(end(&stage, &[1]).backends[&1].found, 1, "one end of it is ours");
    assert!(is_over(&client));
    // The other end is told by the kernel.
    let mut byte = [0; 1];
    accepted.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout");
    let error = (&accepted).read(&mut byte).expect_err("it was reset");
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    TcpStream::connect(stage.vip).expect("the service goes on");
}
