//! The agent keeps services up, shows and changes them, and what it left goes on without it.

use std::{
    collections::BTreeSet,
    net::{SocketAddr, TcpListener, TcpStream},
    path::PathBuf,
    process::{Command, Output},
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
    time::Duration,
};

use nix::sys::signal::Signal;
use rampart_tests::{
    agent::{Agent, binary},
    cgroup::Cgroup,
    netns::Bpffs,
    require_root,
};
use serde_json::Value;
use tempfile::TempDir;

use crate::stage::{Manner, Server, ask, wait};

/// What one test's agents have in common.
pub(super) struct House {
    scratch: TempDir,
    bpffs: Bpffs,
    cgroup: Cgroup,
    rules: PathBuf,
    pub(super) vip: SocketAddr,
}

impl Drop for House {
    fn drop(&mut self) {
        // What an agent that was killed left.
        let prefix = format!("{}/32", self.vip.ip());
        let _ = Command::new("ip").args(["route", "del", "unreachable", &prefix]).output();
    }
}

impl House {
    pub(super) fn new(vip: &str) -> Self {
        let scratch = tempfile::tempdir().expect("a scratch directory");
        let rules = scratch.path().join("rules.yaml");
        let rule = "- rule: nothing\n  desc: d\n  condition: evt.type = openat and fd.name = /nowhere\n  output: o\n  priority: INFO\n";
        std::fs::write(&rules, rule).expect("the rules are written");
        let vip: SocketAddr = vip.parse().expect("an address");
        Self {
            rules,
            scratch,
            bpffs: Bpffs::mount().expect("a BPF file system is mounted"),
            cgroup: Cgroup::enter("rampart-house").expect("a control group"),
            vip,
        }
    }

    /// Variables that keep run-time directory and state over restarts.
    fn env(&self) -> [(String, String); 2] {
        let path = |name: &str| self.scratch.path().join(name).to_string_lossy().into_owned();
        [
            ("RAMPART_NODE__RUNTIME_DIR".to_owned(), path("run")),
            ("RAMPART_NODE__STATE_DIR".to_owned(), path("state")),
        ]
    }

    pub(super) fn settings(&self, enabled: bool, service: &str) -> String {
        format!(
            "services:\n  enabled: {enabled}\n  vip_cidrs: [{}/32]\n  cgroup: {}\n  pin_dir: {}\n  list:\n    web:\n      vip: {}\n{service}",
            self.vip.ip(),
            self.cgroup.path().display(),
            self.bpffs.pins().display(),
            self.vip,
        )
    }

    pub(super) fn start(&self, service: &str) -> Agent {
        let env = self.env();
        let env: Vec<(&str, &str)> =
            env.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let mut agent = Agent::start_in(&self.rules, &self.settings(true, service), &env);
        agent.until("serving", |agent| agent.metric("rampart_services_generation") > 0.0);
        agent
    }

    pub(super) fn ask(&self) -> std::io::Result<String> {
        ask(TcpStream::connect(self.vip)?)
    }

    /// A file of this test.
    pub(super) fn file(&self, name: &str, text: &str) -> String {
        let path = self.scratch.path().join(name);
        std::fs::write(&path, text).expect("the file is written");
        path.to_string_lossy().into_owned()
    }

    /// What was noted of changes, a line each.
    pub(super) fn audit(&self) -> String {
        std::fs::read_to_string(self.scratch.path().join("state/audit.jsonl")).expect("an audit")
    }

    pub(super) fn rampart(&self, agent: &Agent, arguments: &[&str]) -> Output {
        let mut command = Command::new(binary());
        command.args(arguments).envs(self.env());
        command.env("RAMPART_ADMIN__LISTEN", agent.address().to_string());
        command.output().expect("the command runs")
    }

    /// The same, which must succeed; what it says.
    pub(super) fn done(&self, agent: &Agent, arguments: &[&str]) -> String {
        let output = self.rampart(agent, arguments);
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "`rampart {}`: {complaint}", arguments.join(" "));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

/// Whether there is a route that leads nowhere.
fn route(to: SocketAddr) -> bool {
    let output =
        Command::new("ip").args(["route", "show", "type", "unreachable"]).output().expect("`ip` runs");
    String::from_utf8_lossy(&output.stdout).contains(&to.ip().to_string())
}

pub(super) fn page(agent: &Agent, name: &str) -> Value {
    let (_, body) = agent.get(name).expect("the agent answers");
    serde_json::from_str(&body).expect("a JSON page")
}

pub(super) fn again(place: SocketAddr) -> Server {
    Server::of(TcpListener::bind(place).expect("the address is free"), Manner::Answer)
}

#[test]
fn the_kernel_goes_on_alone_and_an_agent_takes_over_without_a_gap() {
    require_root!("the_kernel_goes_on_alone_and_an_agent_takes_over_without_a_gap");
    let house = House::new("198.18.67.1:80");
    let [first, second] = ["127.0.0.2:0", "127.0.0.3:0"].map(|at| Server::new(at, Manner::Answer));
    let service = format!(
        "      health: none\n      exclude_secs: 0\n      breaker: {{recovery_timeout_secs: 1}}\n      backends: {{a: '{}', b: '{}'}}\n",
        first.address, second.address
    );
    let agent = house.start(&service);
    assert!(route(house.vip), "a route that leads nowhere is made");
    let names: BTreeSet<String> = (0..20).map(|_| house.ask().expect("an answer")).collect();
    assert_eq!(names.len(), 2);
    // So many that the backend which stays has some of them.
    let held: Vec<TcpStream> =
        (0..16).map(|_| TcpStream::connect(house.vip).expect("a connection")).collect();

    // Nobody of ours is there when a backend dies and comes back.
    agent.signal(Signal::SIGKILL);
    drop(agent);
    let place = first.stop();
    let failed = (0..200).filter(|_| house.ask().is_err()).count();
    assert!(failed <= 5, "{failed} of 200 connects failed");
    let first = again(place);
    wait(|| house.ask().is_ok_and(|name| name == place.to_string()));

    // A new agent finds everything as it is, while connections are made.
    let (is_over, lost, made) = (AtomicBool::new(false), AtomicUsize::new(0), AtomicUsize::new(0));
    let agent = thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Ordering::SeqCst) {
                made.fetch_add(1, Ordering::SeqCst);
                lost.fetch_add(usize::from(house.ask().is_err()), Ordering::SeqCst);
                thread::sleep(Duration::from_millis(2));
            }
        });
        let agent = house.start(&service);
        let before = made.load(Ordering::SeqCst);
        wait(|| made.load(Ordering::SeqCst) > before + 50);
        is_over.store(true, Ordering::SeqCst);
        agent
    });
    assert_eq!(lost.load(Ordering::SeqCst), 0, "of {} connections", made.load(Ordering::SeqCst));
    let total = page(&agent, "/services/web")["backends"][0]["connections_total"].as_u64();
    assert!(total > Some(10), "counters go on: {total:?}");
    for stream in &held {
        assert_eq!(stream.peer_addr().expect("a peer"), house.vip);
    }
    let answers = held.into_iter().filter_map(|stream| ask(stream).ok());
    let stayed = answers.inspect(|name| assert_eq!(*name, second.address.to_string())).count();
    assert!(stayed > 0, "connections of before are of use still");
    assert!(agent.stop().success());
    house.ask().expect("services outlive the agent");

    // Switched off, everything is taken away.
    let agent = Agent::start_with(&house.rules, &house.settings(false, &service));
    assert!(agent.log().contains("are taken away"), "{}", agent.log());
    let mut agent = agent;
    agent.until("without its route", |_| !route(house.vip));
    drop((first, second));
}

#[test]
fn health_tiers_and_changes() {
    require_root!("health_tiers_and_changes");
    let house = House::new("198.18.67.2:80");
    let [first, second] = ["127.0.0.2:0", "127.0.0.3:0"].map(|at| Server::new(at, Manner::Answer));
    let service = format!(
        "      health: {{type: tcp, interval_secs: 1, rise: 1, fall: 1}}\n      failback_delay_secs: 0\n      \
         slow_start_secs: 0\n      backends:\n        a: {{address: '{}'}}\n        b: {{address: '{}', tier: 1}}\n",
        first.address, second.address
    );
    let mut agent = house.start(&service);
    let (a, b) = (first.address.to_string(), second.address.to_string());
    assert_eq!(house.ask().expect("an answer"), a);
    agent.until("checking", |agent| {
        page(agent, "/services/web")["backends"][0]["health"]["checks"].as_u64() > Some(0)
    });

    // A backend that nobody uses dies, and checks find it out.
    let place = first.stop();
    let what = |name: &str| {
        let rule = format!("Rampart internal: {name}");
        move |alert: &Value| alert["rule"] == rule.as_str()
    };
    agent.wait_for("a backend that is down", what("backend down"));
    let alert = agent.wait_for("a failover", what("failover"));
    assert_eq!(alert["output_fields"]["service"], "web");
    wait(|| house.ask().is_ok_and(|name| name == b));
    let first = again(place);
    agent.wait_for("a failback", what("failback"));
    wait(|| house.ask().is_ok_and(|name| name == a));

    // Changes, by commands on the socket.
    let shown = house.done(&agent, &["breakers", "force-open", "web/a"]);
    assert!(shown.contains("forced_open"), "{shown}");
    wait(|| house.ask().is_ok_and(|name| name == b));
    assert!(house.done(&agent, &["breakers", "list"]).contains("web/a"));
    for _ in 0..2 {
        let shown = house.done(&agent, &["breakers", "reset", "web/a"]);
        assert!(shown.contains("closed"), "{shown}");
    }
    wait(|| house.ask().is_ok_and(|name| name == a));
    house.done(&agent, &["services", "drain", "web/a"]);
    wait(|| house.ask().is_ok_and(|name| name == b));
    let audit = house.audit();
    assert_eq!(audit.lines().count(), 4, "{audit}");
    assert!(house.rampart(&agent, &["breakers", "reset", "web/x"]).status.code() == Some(1));

    // What was ordered outlives the agent.
    assert!(agent.stop().success());
    let agent = house.start(&service);
    assert_eq!(page(&agent, "/services/web")["backends"][0]["admin"], "drain");
    assert_eq!(house.ask().expect("an answer"), b);
    house.done(&agent, &["services", "enable", "web/a"]);
    wait(|| house.ask().is_ok_and(|name| name == a));

    // A trip is an alert with its causes, and a reset forgets it.
    let place = first.stop();
    wait(|| {
        let _ = house.ask();
        page(&agent, "/circuit-breakers/web/a")["state"] == "open"
            || page(&agent, "/services/web")["tier"] == 1
    });
    assert!(agent.metric("load_balancer_requests_total") > 0.0);
    let (code, _) = agent.get("/circuit-breakers/web/nobody").expect("the agent answers");
    assert_eq!(code, 404);
    drop((second, place));
}

#[test]
fn a_trip_is_an_alert_with_its_causes() {
    require_root!("a_trip_is_an_alert_with_its_causes");
    let house = House::new("198.18.67.3:80");
    let dead = crate::stage::nobody();
    let service = format!("      health: none\n      exclude_secs: 0\n      backends: {{a: '{dead}'}}\n");
    let agent = house.start(&service);
    for _ in 0..5 {
        assert!(house.ask().is_err());
    }
    let alert =
        agent.wait_for("an open breaker", |alert| alert["rule"] == "Rampart internal: circuit breaker open");
    let fields = &alert["output_fields"];
    assert_eq!((&fields["backend"], &fields["consecutive"]), (&"a".into(), &5.into()));
    assert_eq!(fields["causes"][0]["outcome"], "refused");
    let breaker = page(&agent, "/circuit-breakers/web/a");
    assert_eq!(
        (&breaker["state"], &breaker["consecutive"], &breaker["k"]),
        (&"open".into(), &5.into(), &1.into())
    );
    assert_eq!(breaker["last_events"].as_array().map(Vec::len), Some(5));
    assert!(breaker["open_until"].is_string());
    let state = "circuit_breaker_state{backend=\"a\",service=\"web\"}";
    assert!((agent.metric(state) - 1.0).abs() < f64::EPSILON);
    assert!((agent.metric("circuit_breaker_opens_total") - 1.0).abs() < f64::EPSILON);
}
