//! Jobs from the command that asks for them to what a node did, with the real agent and the real collector.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a panic is how a test fails")]

use std::{
    fs,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use nix::sys::signal::Signal;
use rampart_tests::{
    agent::{Agent, rule_on_files as rule},
    collector::{Collector, binary, free_address},
    require_root,
};
use serde_json::Value;

/// Longest wait for anything.
const PATIENCE: Duration = Duration::from_mins(3);

/// A collector, and a folder for an agent.
struct Bench {
    dir: tempfile::TempDir,
    collector: Collector,
}

impl Bench {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let collector = Collector::start(&dir.path().join("store.db"), free_address(), free_address());
        fs::write(dir.path().join("rules.yaml"), rule("Watched", "/watched")).unwrap();
        Self { dir, collector }
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }

    /// Runs `rampart-collector job …` on the store; gives what it says.
    fn job(&self, arguments: &[&str]) -> String {
        let mut command = Command::new(binary("rampart-collector"));
        command.arg("job").args(arguments).env("RAMPART_COLLECTOR_STORE__PATH", self.path("store.db"));
        let output = command.output().unwrap();
        let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        assert!(output.status.success(), "{arguments:?}: {text}");
        text.trim().to_owned()
    }

    fn agent(&self, jobs: &str) -> Agent {
        let url = format!("http://{}", self.collector.grpc);
        let env = [
            ("RAMPART_NODE__STATE_DIR", self.path("state")),
            ("RAMPART_NODE__HOSTNAME", "worker-1".to_owned()),
            ("RAMPART_OUTPUT__COLLECTOR__URL", url),
            ("RAMPART_OUTPUT__COLLECTOR__JOBS", jobs.to_owned()),
        ];
        let env: Vec<(&str, &str)> = env.iter().map(|(name, value)| (*name, value.as_str())).collect();
        Agent::start_in(&self.dir.path().join("rules.yaml"), "", &env)
    }

    /// Waits until a job is in a state.
    fn until(&self, id: &str, state: &str) -> Value {
        let started = Instant::now();
        loop {
            let job = self.collector.json(&format!("/jobs/{id}"));
            if job["state"] == state {
                return job;
            }
            let is_over = ["done", "dead", "cancelled"].iter().any(|over| job["state"] == *over);
            assert!(!is_over && started.elapsed() < PATIENCE, "it is not {state}: {job:#}");
            thread::sleep(Duration::from_millis(100));
        }
    }

    /// The file that came back.
    fn fetch(&self, id: &str, name: &str) -> Vec<u8> {
        let file = self.path(name);
        self.job(&["result", id, "--output", &file]);
        fs::read(file).unwrap()
    }
}

#[test]
fn a_node_packs_records_and_tries_rules_as_it_is_asked_to() {
    require_root!("a_node_packs_records_and_tries_rules_as_it_is_asked_to");
    let bench = Bench::new();
    let agent = bench.agent("diagnostics,capture,backtest,unblock");

    let id = bench.job(&["diagnostics"]);
    let job = bench.until(&id, "done");
    assert_eq!(
        (&job["outcome"]["node"], &job["outcome"]["name"]),
        (&"worker-1".into(), &"diagnostics.tar".into())
    );
    let archive = bench.fetch(&id, "diagnostics.tar");
    assert_eq!(archive.get(257..262), Some(b"ustar".as_slice()));

    let capture = bench.job(&["capture", "--node", "worker-1", "--duration", "20s"]);
    bench.until(&capture, "running");
    let started = Instant::now();
    let (watched, other) = (bench.path("watched"), bench.path("other"));
    for file in [&watched, &other] {
        fs::write(file, "").unwrap();
    }
    while started.elapsed() < PATIENCE
        && bench.collector.json(&format!("/jobs/{capture}"))["state"] == "running"
    {
        drop([fs::File::open(&watched).unwrap(), fs::File::open(&other).unwrap()]);
        thread::sleep(Duration::from_millis(100));
    }
    let job = bench.until(&capture, "done");
    let file = job["outcome"]["file"].as_str().unwrap();
    assert!(file.starts_with(&bench.path("state/captures/")) && fs::metadata(file).is_ok(), "{job:#}");
    let recording = bench.fetch(&capture, "capture.rec");
    assert_eq!(recording, fs::read(file).unwrap());

    // Rules on top of those in force, on that recording.
    fs::write(bench.path("more.yaml"), rule("More", "/other")).unwrap();
    let more = bench.path("more.yaml");
    let id = bench.job(&["backtest", "--node", "worker-1", "--rules", &more, "--capture", &capture]);
    let job = bench.until(&id, "done");
    let text = bench.job(&["result", &id]);
    assert!(job["outcome"]["text"].as_str().is_some_and(|text| text.contains("More")), "{job:#}");
    assert!(text.lines().any(|line| line.starts_with('+') && line.contains("More")), "{text}");
    assert!(!text.lines().any(|line| line.starts_with('-') && line.contains("Watched")), "{text}");

    // What no other try would change is a dead letter at once.
    fs::write(bench.path("bad.yaml"), rule("Bad", "x").replace("fd.name endswith", "nothing.known ="))
        .unwrap();
    let bad = bench.path("bad.yaml");
    let id = bench.job(&["backtest", "--node", "worker-1", "--rules", &bad, "--capture", &capture]);
    let job = bench.until(&id, "dead");
    assert!(job["fault"].as_str().is_some_and(|fault| fault.contains("nothing.known")), "{job:#}");
    let id = bench.job(&["unblock", "--node", "worker-1", "--response", "7"]);
    let job = bench.until(&id, "dead");
    assert!(job["fault"].as_str().is_some_and(|fault| fault.contains('7')), "{job:#}");
    assert_eq!(job["attempts"], 1);

    let list = bench.job(&["list", "--state", "dead"]);
    assert_eq!(list.lines().count(), 2, "{list}");
    assert!(fs::read_dir(bench.path("state/jobs")).unwrap().next().is_none(), "jobs leave nothing behind");
    drop(agent);
}

#[test]
fn a_job_is_taken_back_or_comes_again_when_its_agent_dies() {
    require_root!("a_job_is_taken_back_or_comes_again_when_its_agent_dies");
    let bench = Bench::new();
    let agent = bench.agent("capture");
    // This agent packs nothing.
    let packed = bench.job(&["diagnostics"]);
    let long = bench.job(&["capture", "--duration", "10m"]);
    bench.until(&long, "running");
    bench.job(&["cancel", &long]);
    bench.until(&long, "cancelled");
    // The node is free for the next one long before the ten minutes are over.
    let short = bench.job(&["capture", "--node", "worker-1", "--duration", "5s"]);
    bench.until(&short, "running");
    agent.signal(Signal::SIGKILL);
    drop(agent);
    let again = bench.agent("capture,diagnostics");
    let job = bench.until(&short, "done");
    assert_eq!(job["attempts"], 2, "{job:#}");
    bench.until(&packed, "done");
    drop(again);
}
