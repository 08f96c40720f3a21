//! A flood that never ends, while the agent is killed, started again, and told other settings.

use std::{
    net::{SocketAddr, UdpSocket},
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

use nix::sys::{
    signal::Signal,
    socket::{setsockopt, sockopt},
};
use rampart_tests::{
    agent::Agent,
    netns::{Bpffs, Namespace},
    require_root,
};

const HERE: &str = "198.18.84.1:47783";
const PORT: u16 = 47_783;
/// The policy per source.
const RATE: u64 = 200;
const BURST: u64 = 50;
/// What the flood sends a second, as far as the machine is fast enough.
const FLOOD: u64 = 5000;

/// What was sent and what came, while it goes on.
#[derive(Default)]
struct Counts {
    stop: AtomicBool,
    sent: AtomicU64,
    came: AtomicU64,
}

/// `other`: the rate of a policy that the flood is not about.
fn settings(space: &Namespace, bpffs: &Bpffs, other: u64) -> String {
    format!(
        "limits:
  enabled: true
  mode: enforce
  dead_man_secs: 0
  hash_seed_secs: 1
  pin_dir: {}
  interfaces: {{{}: {{}}}}
  policies:
    datagrams: {{rate: {RATE}/s, burst: {BURST}, unit: packets, match: {{protocol: udp, ports: {PORT}}}}}
    other: {{rate: {other}/s, unit: packets, match: {{protocol: tcp, ports: 1}}}}
",
        bpffs.pins().display(),
        space.interface(),
    )
}

fn flood(counts: &Counts) {
    let socket = UdpSocket::bind("198.18.84.2:0").expect("a socket inside");
    let to: SocketAddr = HERE.parse().expect("an address");
    let start = Instant::now();
    let mut tried = 0;
    while !counts.stop.load(Ordering::Relaxed) {
        let due = start.elapsed().as_nanos() as u64 * FLOOD / 1_000_000_000;
        while tried < due {
            tried += 1;
            counts.sent.fetch_add(u64::from(socket.send_to(&[0; 64], to).is_ok()), Ordering::Relaxed);
        }
        thread::sleep(Duration::from_millis(1));
    }
}

fn receive(socket: &UdpSocket, counts: &Counts) {
    let mut buffer = [0; 128];
    while !counts.stop.load(Ordering::Relaxed) {
        // A timeout is for the look at the flag.
        if socket.recv_from(&mut buffer).is_ok() {
            counts.came.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// What comes while something is done, and for a while after it, is what the policy allows.
fn holds<T>(counts: &Counts, what: &str, work: impl FnOnce() -> T) -> T {
    let look = || (counts.sent.load(Ordering::Relaxed), counts.came.load(Ordering::Relaxed));
    let (begun, before) = (Instant::now(), look());
    let done = work();
    thread::sleep(Duration::from_millis(500));
    let (after, took) = (look(), begun.elapsed());
    let (sent, came) = (after.0 - before.0, after.1 - before.1);
    let allowed = RATE * took.as_millis() as u64 / 1000 + BURST;
    assert!(sent > allowed * 2, "{what}: the flood is one");
    // What waits in the socket's buffer when the count begins is counted too.
    assert!(came <= allowed + allowed / 5 + BURST, "{what}: {came} came, {allowed} may");
    assert!(came > 0, "{what}: the source gets what it may");
    done
}

#[test]
fn limits_hold_under_load_while_the_agent_dies_returns_and_reloads() {
    require_root!("limits_hold_under_load_while_the_agent_dies_returns_and_reloads");
    let scratch = tempfile::tempdir().expect("a scratch directory");
    let rules = scratch.path().join("rules.yaml");
    let rule = "- rule: nothing\n  desc: d\n  condition: evt.type = openat and fd.name = /nowhere\n  output: o\n  priority: INFO\n";
    std::fs::write(&rules, rule).expect("the rules are written");
    let bpffs = Bpffs::mount().expect("a BPF file system is mounted");
    let space = Namespace::new("rpchaos", &["198.18.84.1/24"], &["198.18.84.2/24"]);
    let start = |other| {
        let mut agent = Agent::start_with(&rules, &settings(&space, &bpffs, other));
        agent.until("limiting", |agent| agent.metric("rampart_limits_attached") > 0.0);
        agent
    };
    let socket = UdpSocket::bind(HERE).expect("a socket here");
    setsockopt(&socket, sockopt::RcvBufForce, &(8 << 20)).expect("a large buffer");
    socket.set_read_timeout(Some(Duration::from_millis(100))).expect("a timeout");
    let agent = start(1);
    let counts = Counts::default();
    thread::scope(|scope| {
        scope.spawn(|| space.inside(|| flood(&counts)));
        scope.spawn(|| receive(&socket, &counts));
        // Ends the threads also when an assertion fails.
        let _stop = Stop(&counts);
        holds(&counts, "with the agent", || ());
        holds(&counts, "while it is killed", || {
            agent.signal(Signal::SIGKILL);
            drop(agent);
        });
        let mut agent = holds(&counts, "while it starts again", || start(2));
        holds(&counts, "while it reloads", || {
            for other in 3..8 {
                let generation = agent.metric("rampart_limits_generation");
                agent.reconfigure(&settings(&space, &bpffs, other));
                agent.until("new limits", |agent| agent.metric("rampart_limits_generation") > generation);
            }
        });
        // All the while hashes get another seed each second.
        agent.until("hashing anew", |agent| agent.metric("rampart_limits_seed_changes_total") > 0.0);
        holds(&counts, "while it stops", || assert!(agent.stop().success()));
    });
}

struct Stop<'a>(&'a Counts);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.stop.store(true, Ordering::Relaxed);
    }
}
