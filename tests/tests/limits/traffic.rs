//! The agent limits real traffic of a namespace, and its limits outlive it.

use std::{
    io::ErrorKind,
    net::{IpAddr, SocketAddr, TcpListener, UdpSocket},
    path::PathBuf,
    thread,
    time::{Duration, Instant},
};

use nix::sys::{
    signal::Signal,
    socket::{AddressFamily, SockFlag, SockType, SockaddrIn, bind, connect, setsockopt, socket, sockopt},
    time::{TimeVal, TimeValLike as _},
};
use rampart_agent::kernel::limiter;
use rampart_common::limit::gcra::{Limit, Mode, Outcome, STRETCH_ONE};
use rampart_tests::{
    agent::Agent,
    netns::{Bpffs, Namespace},
    require_root,
};

const UDP_PORT: u16 = 47_777;
const TCP_PORT: u16 = 47_778;
/// The policy on UDP, per source.
const RATE: u64 = 200;
const BURST: u64 = 50;
/// The policy on new connections, per source.
const NEW_FLOWS: usize = 5;

fn settings(space: &Namespace, bpffs: &Bpffs, mode: &str) -> String {
    format!(
        "limits:
  enabled: true
  mode: {mode}
  dead_man_secs: 0
  pin_dir: {}
  interfaces: {{{}: {{}}}}
  policies:
    datagrams: {{rate: {RATE}/s, burst: {BURST}, unit: packets, match: {{protocol: udp, ports: {UDP_PORT}}}}}
    connections: {{rate: 1/s, burst: {NEW_FLOWS}, match: {{protocol: tcp, ports: {TCP_PORT}}}}}
",
        bpffs.pins().display(),
        space.interface(),
    )
}

pub(crate) fn rules(scratch: &tempfile::TempDir) -> PathBuf {
    let path = scratch.path().join("rules.yaml");
    let rule = "- rule: nothing\n  desc: d\n  condition: evt.type = openat and fd.name = /nowhere\n  output: o\n  priority: INFO\n";
    std::fs::write(&path, rule).expect("the rules are written");
    path
}

/// Sends datagrams at a steady pace for a time; gives when each of them was sent. Who was held up does not catch up on
/// more than a twentieth of a second, so that no pause becomes a burst.
pub(crate) fn send(
    space: &Namespace,
    from: IpAddr,
    to: SocketAddr,
    per_second: u64,
    span: Duration,
) -> Vec<Duration> {
    space.inside(|| {
        let socket = UdpSocket::bind((from, 0)).expect("a socket inside");
        let start = Instant::now();
        let (mut begun, mut sent) = (0, Vec::new());
        while start.elapsed() < span {
            let due = start.elapsed().as_nanos() as u64 * per_second / 1_000_000_000;
            begun = due.saturating_sub(per_second / 20).max(begun);
            while begun <= due {
                begun += 1;
                let at = start.elapsed();
                // A full queue of the device is a packet not sent.
                if socket.send_to(&[0; 64], to).is_ok() {
                    sent.push(at);
                }
            }
            thread::sleep(Duration::from_millis(1));
        }
        sent
    })
}

/// How many of the datagrams sent at these times the policy allows, at least (the bucket was empty) and at most (it was
/// full). A bucket that is full earns nothing, so a sender that was held up gets less than the rate times the time.
fn allowed(sent: &[Duration]) -> (u64, u64) {
    let limit = Limit::new(RATE, 1_000_000_000, BURST).expect("a limit");
    let step_ns = limit.step_ns(1, STRETCH_ONE);
    let admitted = |mut tat: u64| {
        let mut admitted = 0;
        for at in sent {
            let step = limit.look(tat, at.as_nanos() as u64, step_ns, Mode::Throttle);
            tat = step.next;
            admitted += u64::from(step.outcome == Outcome::Admitted);
        }
        admitted
    };
    (admitted(limit.tau_ns), admitted(0))
}

/// How many datagrams arrived from a source; others are left out.
pub(crate) fn arrived(socket: &UdpSocket, from: IpAddr) -> u64 {
    let mut buffer = [0; 128];
    let mut count = 0;
    loop {
        match socket.recv_from(&mut buffer) {
            Ok((_, peer)) => count += u64::from(peer.ip() == from),
            Err(error) if [ErrorKind::WouldBlock, ErrorKind::TimedOut].contains(&error.kind()) => {
                return count;
            }
            Err(error) => panic!("cannot receive: {error}"),
        }
    }
}

fn receiver(at: IpAddr) -> UdpSocket {
    let socket = UdpSocket::bind((at, UDP_PORT)).expect("a socket here");
    setsockopt(&socket, sockopt::RcvBufForce, &(8 << 20)).expect("a large buffer");
    socket.set_read_timeout(Some(Duration::from_millis(200))).expect("a timeout");
    socket
}

/// Tries connections from an address; gives how many came about.
fn connections(space: &Namespace, from: [u8; 4], to: [u8; 4], tries: usize) -> usize {
    space.inside(|| {
        let attempt = |_| {
            let socket = socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)
                .expect("a socket inside");
            // A SYN that is dropped is sent again after a second, which is after this.
            setsockopt(&socket, sockopt::SendTimeout, &TimeVal::milliseconds(100)).expect("a timeout");
            let [a, b, c, d] = from;
            bind(std::os::fd::AsRawFd::as_raw_fd(&socket), &SockaddrIn::new(a, b, c, d, 0))
                .expect("an address inside");
            let [a, b, c, d] = to;
            let to = SockaddrIn::new(a, b, c, d, TCP_PORT);
            usize::from(connect(std::os::fd::AsRawFd::as_raw_fd(&socket), &to).is_ok())
        };
        (0..tries).map(attempt).sum()
    })
}

/// What came of a flood, and how much of it the policy allows at least and at most.
struct Flood {
    passed: u64,
    least: u64,
    most: u64,
}

/// A flood of one source is cut to the policy, while another source of half the policy's rate is untouched.
fn flood(space: &Namespace, four: bool) -> Flood {
    let address = |text: &str| -> IpAddr { text.parse().expect("an address") };
    let (here, loud, quiet) = if four {
        (address("198.18.77.1"), address("198.18.77.2"), address("198.18.77.3"))
    } else {
        (address("fd77::1"), address("fd77::2"), address("fd77:0:0:1::3"))
    };
    let socket = receiver(here);
    let to = SocketAddr::new(here, UDP_PORT);
    let span = Duration::from_secs(1);
    let (sent, calm) = thread::scope(|scope| {
        let calm = scope.spawn(|| send(space, quiet, to, RATE / 2, span));
        let flood = send(space, loud, to, 5000, span);
        (flood, calm.join().expect("the quiet source sends"))
    });
    let (least, most) = allowed(&sent);
    assert!(sent.len() as u64 > most * 4, "only {} datagrams were sent", sent.len());
    let mut counts = [0; 2];
    let mut buffer = [0; 128];
    while let Ok((_, peer)) = socket.recv_from(&mut buffer) {
        counts[usize::from(peer.ip() == quiet)] += 1;
    }
    let [passed, from_quiet] = counts;
    assert_eq!(from_quiet, calm.len(), "a source within its limit loses nothing");
    Flood { passed: passed as u64, least, most }
}

/// How many of a few datagrams arrive from an address.
fn trickle(space: &Namespace, from: &str) -> u64 {
    let from: IpAddr = from.parse().expect("an address");
    let socket = receiver("198.18.77.1".parse().expect("an address"));
    let to = socket.local_addr().expect("a bound socket");
    send(space, from, to, 100, Duration::from_millis(100));
    arrived(&socket, from)
}

fn assert_limited(space: &Namespace, when: &str) {
    thread::scope(|scope| {
        for four in [true, false] {
            scope.spawn(move || {
                let Flood { passed, least, most } = flood(space, four);
                // A datagram is judged a little after it was sent.
                assert!(passed <= most + most / 20, "{when}: {passed} passed, {most} may");
                assert!(passed + most / 20 >= least, "{when}: {passed} passed of at least {least}");
            });
        }
    });
}

#[test]
fn limits_cut_a_flood_and_outlive_the_agent() {
    require_root!("limits_cut_a_flood_and_outlive_the_agent");
    let scratch = tempfile::tempdir().expect("a scratch directory");
    let rules = rules(&scratch);
    let bpffs = Bpffs::mount().expect("a BPF file system is mounted");
    let space = Namespace::new(
        "rplim",
        &["198.18.77.1/24", "fd77::1/48"],
        &["198.18.77.2/24", "198.18.77.3/24", "fd77::2/48", "fd77:0:0:1::3/48"],
    );
    let start = || {
        let mut agent = Agent::start_with(&rules, &settings(&space, &bpffs, "enforce"));
        agent.until("limiting", |agent| agent.metric("rampart_limits_attached") > 0.0);
        agent
    };

    let mut agent = start();
    assert_limited(&space, "with the agent");
    let listener = TcpListener::bind(("198.18.77.1", TCP_PORT)).expect("a listener here");
    let attempts = connections(&space, [198, 18, 77, 2], [198, 18, 77, 1], 20);
    assert!((NEW_FLOWS..=NEW_FLOWS + 3).contains(&attempts), "{attempts} connections came about");
    assert_eq!(connections(&space, [198, 18, 77, 3], [198, 18, 77, 1], NEW_FLOWS), NEW_FLOWS);
    agent.until("counting", |agent| agent.metric("rate_limit_exceeded_total") > 1000.0);
    let exceeded = agent.metric("rate_limit_exceeded_total");
    agent.until("sampling", |agent| agent.metric("rampart_limits_samples_total") > 0.0);
    let (code, page) = agent.get("/limits").expect("the agent answers");
    assert!(code == 200 && page.contains("198.18.77.2") && page.contains("\"rung\":\"tcx\""), "{page}");

    agent.signal(Signal::SIGKILL);
    drop(agent);
    assert_limited(&space, "after the agent was killed");

    let agent = start();
    assert!(agent.log().contains("taken_over=true"), "{}", agent.log());
    assert!(agent.metric("rate_limit_exceeded_total") >= exceeded, "counters go on");
    assert_limited(&space, "with the agent that took over");
    assert!(agent.stop().success());
    assert_limited(&space, "after the agent was stopped");

    // Observing: the same counters, nothing dropped.
    let mut agent = Agent::start_with(&rules, &settings(&space, &bpffs, "observe"));
    agent.until("limiting", |agent| agent.metric("rampart_limits_attached") > 0.0);
    let Flood { passed, most, .. } = flood(&space, true);
    assert!(passed > most * 4, "{passed} passed while observing, {most} may");

    // Settings that change while it runs: first enforced, then with a list.
    let generation = agent.metric("rampart_limits_generation");
    agent.reconfigure(&settings(&space, &bpffs, "enforce"));
    agent.until("enforcing", |agent| agent.metric("rampart_limits_generation") > generation);
    assert_limited(&space, "after a reload");
    let listed = format!("{}  deny: [198.18.77.2]\n", settings(&space, &bpffs, "enforce"));
    let generation = agent.metric("rampart_limits_generation");
    agent.reconfigure(&listed);
    agent.until("denying", |agent| agent.metric("rampart_limits_generation") > generation);
    assert_eq!(trickle(&space, "198.18.77.2"), 0, "a denied source gets nothing through");
    assert!(trickle(&space, "198.18.77.3") > 0, "another one does");
    // The node itself is on nobody's list for long.
    let own = format!("{}  deny: [0.0.0.0/0, 127.0.0.1, 198.18.77.1]\n", settings(&space, &bpffs, "enforce"));
    agent.reconfigure(&own);
    let denied = "rampart_limits_packets_total{direction=\"ingress\",observed=\"false\",policy=\"\",reason=\"denied\"}";
    let before = agent.metric(denied);
    agent.until("denying all", |agent| {
        trickle(&space, "198.18.77.3");
        agent.metric(denied) > before
    });
    // A policy that is faulty changes nothing.
    agent.reconfigure("limits: {enabled: true, policies: {broken: {rate: never}}}\n");
    agent.until("complaining", |agent| agent.log().contains("`limits.policies.broken.rate` must be"));
    assert_eq!(trickle(&space, "198.18.77.3"), 0, "what was in force stays in force");
    assert!(agent.stop().success());

    // Switched off: what the agent before left is taken away.
    let off = settings(&space, &bpffs, "enforce").replace("enabled: true", "enabled: false");
    let agent = Agent::start_with(&rules, &off);
    assert!(agent.log().contains("are taken away"), "{}", agent.log());
    let socket = receiver("198.18.77.1".parse().expect("an address"));
    let from: IpAddr = "198.18.77.2".parse().expect("an address");
    let to = socket.local_addr().expect("a bound socket");
    let sent = send(&space, from, to, 5000, Duration::from_millis(200)).len() as u64;
    assert!(arrived(&socket, from) > sent * 9 / 10, "without pins nothing is limited");
    assert!(!limiter::remove(&bpffs.pins()).expect("pins are looked for"), "no pin is left");
    drop(listener);
}
