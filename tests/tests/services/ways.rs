//! Ways in which clients connect and backends behave that are not the plain ones.

use std::{
    fs,
    io::{ErrorKind, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    os::fd::{AsFd as _, AsRawFd as _, OwnedFd},
    path::Path,
    process::Command,
    thread,
    time::Duration,
};

use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, SockaddrIn, connect, sendto, socket},
};
use rampart_common::service::{
    abi::{CLIENT_IS_CGROUP, ROUND_ROBIN, Service},
    breaker::State,
    signal::Outcome,
};
use rampart_tests::{netns::Namespace, require_root};

use super::stage::{Manner, SECOND, Server, Stage, ask, nobody, policy, wait};

fn service() -> Service {
    Service { policy: policy(), algorithm: ROUND_ROBIN, ..Service::default() }
}

fn v4(address: SocketAddr) -> SockaddrIn {
    let four = match address {
        SocketAddr::V4(four) => Some(four),
        SocketAddr::V6(_) => None,
    };
    SockaddrIn::from(four.expect("an IPv4 address"))
}

fn stream_socket(flags: SockFlag) -> OwnedFd {
    socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC | flags, None).expect("a socket")
}

fn ip(arguments: &[&str]) {
    let output = Command::new("ip").args(arguments).output().expect("`ip` runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn who_does_not_wait_for_the_connection_gets_one_and_is_heard_of() {
    require_root!("who_does_not_wait_for_the_connection_gets_one_and_is_heard_of");
    let server = Server::new("127.0.0.2:0", Manner::Answer);
    let stage = Stage::new("198.18.69.1:80", 6, &[server.address], service());
    let socket = stream_socket(SockFlag::SOCK_NONBLOCK);
    match connect(socket.as_raw_fd(), &v4(stage.vip)) {
        Ok(()) | Err(Errno::EINPROGRESS) => {}
        Err(error) => panic!("{error}"),
    }
    let mut ready = [PollFd::new(socket.as_fd(), PollFlags::POLLOUT)];
    assert_eq!(poll(&mut ready, PollTimeout::from(10_000_u16)), Ok(1));
    let stream = TcpStream::from(socket);
    assert_eq!(stream.peer_addr().expect("a peer"), stage.vip);
    stream.set_nonblocking(false).expect("a stream");
    assert_eq!(ask(stream).expect("an answer"), server.address.to_string());
    drop(stage);

    // Nobody looks at what became of these.
    let stage = Stage::new("198.18.69.1:80", 6, &[nobody()], service());
    let unheard: Vec<OwnedFd> = (0..5)
        .map(|_| {
            let socket = stream_socket(SockFlag::SOCK_NONBLOCK);
            let _ = connect(socket.as_raw_fd(), &v4(stage.vip));
            socket
        })
        .collect();
    wait(|| stage.state(1) == State::Open);
    assert_eq!(stage.outcomes(1, Outcome::Refused), 5);
    drop(unheard);
}

#[test]
fn data_with_the_first_packet_goes_to_the_backend() {
    require_root!("data_with_the_first_packet_goes_to_the_backend");
    let server = Server::new("127.0.0.2:0", Manner::Answer);
    let stage = Stage::new("198.18.69.2:80", 6, &[server.address], service());
    let fast_open = MsgFlags::from_bits_retain(libc::MSG_FASTOPEN);
    for _ in 0..3 {
        let socket = stream_socket(SockFlag::empty());
        sendto(socket.as_raw_fd(), b"?", &v4(stage.vip), fast_open).expect("it is sent");
        let mut stream = TcpStream::from(socket);
        let mut name = [0; 64];
        let length = stream.read(&mut name).expect("an answer");
        assert_eq!(&name[..length], server.address.to_string().as_bytes());
        assert_eq!(stream.peer_addr().expect("a peer"), stage.vip);
    }
    assert_eq!(stage.services.counts(1).expect("the counts are read").chosen, 3);
    wait(|| stage.outcomes(1, Outcome::Success) == 3);
    drop(stage);

    let stage = Stage::new("198.18.69.2:80", 6, &[nobody()], service());
    for _ in 0..5 {
        let socket = stream_socket(SockFlag::empty());
        sendto(socket.as_raw_fd(), b"?", &v4(stage.vip), fast_open).expect_err("nobody listens");
    }
    assert_eq!(stage.state(1), State::Open);
    let socket = stream_socket(SockFlag::empty());
    let refused = sendto(socket.as_raw_fd(), b"?", &v4(stage.vip), fast_open);
    assert_eq!(refused, Err(Errno::ECONNREFUSED), "by the breaker");
    assert_eq!(stage.services.counts(1).expect("the counts are read").refused, 1);
}

#[test]
fn a_backend_that_accepts_late_is_one_that_works() {
    require_root!("a_backend_that_accepts_late_is_one_that_works");
    let listener = TcpListener::bind("127.0.0.2:0").expect("an address");
    let at = listener.local_addr().expect("an address");
    let settings = Service { slow_ns: SECOND, ..service() };
    let stage = Stage::new("198.18.69.3:80", 6, &[at], settings);
    let server = thread::spawn(move || {
        for _ in 0..3 {
            thread::sleep(Duration::from_millis(200));
            let (mut stream, _) = listener.accept().expect("a connection");
            let mut byte = [0; 1];
            stream.read_exact(&mut byte).expect("a question");
            stream.write_all(b"!").expect("an answer");
        }
    });
    for _ in 0..3 {
        assert_eq!(stage.ask().expect("an answer"), "!");
    }
    server.join().expect("the server");
    wait(|| stage.outcomes(1, Outcome::Success) == 3);
    let tally = stage.services.tally(1).expect("the tally is read");
    assert_eq!((stage.state(1), tally.slow), (State::Closed, 0), "the handshake is not what takes long");
}

#[test]
fn a_backend_that_falls_silent_fails_in_time_and_the_other_takes_over() {
    require_root!("a_backend_that_falls_silent_fails_in_time_and_the_other_takes_over");
    let space = Namespace::new("rsw", &["10.78.2.1/24"], &["10.78.2.2/24"]);
    let far = space.inside(|| Server::new("10.78.2.2:0", Manner::Answer));
    let near = Server::new("127.0.0.3:0", Manner::Answer);
    // 25 jiffies are 25 to 250 ms, and there is one more SYN.
    let settings = Service { syn_timeout: 25, syn_retries: 1, ..service() };
    let stage = Stage::new("198.18.69.4:80", 6, &[far.address, near.address], settings);
    for _ in 0..4 {
        stage.ask().expect("an answer");
    }
    // What is sent there is for nobody from now on.
    let device = space.interface();
    ip(&["neigh", "replace", "10.78.2.2", "lladdr", "02:00:00:00:99:99", "dev", device, "nud", "permanent"]);
    let mut failed = 0;
    wait(|| {
        if let Err(error) = stage.ask() {
            assert_eq!(error.kind(), ErrorKind::TimedOut);
            failed += 1;
        }
        stage.state(1) == State::Open
    });
    // The kernel tells the caller that a handshake timed out just before it tells the hook: one more may slip in, and a
    // socket that is closed in between counts as given up by its owner.
    assert!((5..=7).contains(&failed), "{failed} failed");
    wait(|| stage.outcomes(1, Outcome::TimedOut) >= 5);
    assert!(stage.outcomes(1, Outcome::TimedOut) <= failed);
    for _ in 0..20 {
        assert_eq!(stage.ask().expect("an answer"), near.address.to_string());
    }
}

#[test]
fn on_the_hosts_network_a_client_is_its_control_group() {
    require_root!("on_the_hosts_network_a_client_is_its_control_group");
    let server = Server::new("127.0.0.2:0", Manner::Answer);
    let settings = Service { exclude_ns: 60 * SECOND, flags: CLIENT_IS_CGROUP, ..service() };
    let stage = Stage::new("198.18.69.5:80", 6, &[nobody(), server.address], settings);
    let home = stage.cgroup.path();
    let enter = |group: &Path| {
        fs::write(group.join("cgroup.procs"), std::process::id().to_string()).expect("a control group");
    };
    let groups = ["one", "two"].map(|name| home.join(name));
    for group in &groups {
        fs::create_dir(group).expect("a control group");
        enter(group);
        // One failure for each of them: what one has met, the other has not.
        let failed = (0..30).filter(|_| stage.ask().is_err()).count();
        assert_eq!(failed, 1, "in {}", group.display());
    }
    enter(home);
    for group in &groups {
        fs::remove_dir(group).expect("an empty control group");
    }
    assert_eq!(stage.outcomes(1, Outcome::Refused), 2);
}
