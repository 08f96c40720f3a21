//! From an alert to the collector's store, with both sides killed at random.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use rampart_tests::{
    agent::Agent,
    collector::{Collector, free_address},
};
use serde_json::Value;

/// Longest wait for anything.
const PATIENCE: Duration = Duration::from_mins(3);
/// Alerts that each courier raises, if nobody kills it.
const COUNT: u64 = 4000;

fn courier(collector: &str, spool: &Path, journal: &Path) -> Child {
    Command::new(env!("CARGO_BIN_EXE_rampart-courier"))
        .args([collector.as_ref(), spool, journal].map(|path: &Path| path.as_os_str()))
        .arg(COUNT.to_string())
        .stdin(Stdio::null())
        .spawn()
        .expect("the courier starts")
}

/// A generator that need not be good, only different each time and shown when a test fails.
struct Chance(u64);

impl Chance {
    fn new() -> Self {
        let mut bytes = [0; 8];
        fs::File::open("/dev/urandom")
            .and_then(|mut file| std::io::Read::read_exact(&mut file, &mut bytes))
            .expect("random bytes");
        Self(u64::from_le_bytes(bytes))
    }

    fn millis(&mut self, below: u64) -> Duration {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        Duration::from_millis((self.0 >> 33) % below)
    }
}

#[test]
fn whoever_is_killed_each_alert_is_stored_once() {
    let dir = tempfile::tempdir().unwrap();
    let (store, spool, journal) =
        (dir.path().join("store.db"), dir.path().join("spool"), dir.path().join("journal"));
    let (grpc, http) = (free_address(), free_address());
    let mut chance = Chance::new();
    println!("chance begins with {}", chance.0);
    let address = grpc.to_string();
    let mut collector = Collector::start(&store, grpc, http);
    let mut agent = courier(&address, &spool, &journal);
    for round in 0..10 {
        thread::sleep(Duration::from_millis(150) + chance.millis(400));
        if round % 2 == 0 {
            agent.kill().unwrap();
            agent.wait().unwrap();
            agent = courier(&address, &spool, &journal);
        } else {
            collector.kill();
            thread::sleep(chance.millis(200));
            collector = Collector::start(&store, grpc, http);
        }
    }
    let started = Instant::now();
    let ended = loop {
        if let Some(ended) = agent.try_wait().unwrap() {
            break ended;
        }
        if started.elapsed() > PATIENCE {
            agent.kill().unwrap();
            panic!("the spool does not get empty");
        }
        thread::sleep(Duration::from_millis(50));
    };
    assert!(ended.success(), "{ended}");
    let mut stored: BTreeMap<String, u64> = BTreeMap::new();
    for alert in collector.alerts() {
        *stored.entry(alert["alert"]["rule"].as_str().unwrap().to_owned()).or_default() += 1;
    }
    let twice: Vec<_> = stored.iter().filter(|(_, count)| **count > 1).collect();
    assert!(twice.is_empty(), "stored twice: {twice:?}");
    let raised: BTreeSet<String> = fs::read_to_string(&journal).unwrap().lines().map(str::to_owned).collect();
    assert!(raised.len() as u64 > COUNT, "couriers were killed in between: {}", raised.len());
    let lost: Vec<_> = raised.iter().filter(|rule| !stored.contains_key(*rule)).collect();
    assert!(lost.is_empty(), "{} of {} are lost: {lost:?}", lost.len(), raised.len());
    let nodes = collector.json("/nodes");
    // A courier killed while it writes a batch has raised alerts that no spool ever had: the holes are counted.
    let missing = nodes["nodes"][0]["alerts"]["missing"].as_u64().unwrap();
    assert!(missing <= 5 * 7, "{nodes}");
    println!("{} raised, {} stored", raised.len(), stored.len());
}

#[test]
fn an_intrusion_on_a_node_is_in_the_collectors_store() {
    let dir = tempfile::tempdir().unwrap();
    let (grpc, http) = (free_address(), free_address());
    let rules = dir.path().join("rules.yaml");
    fs::write(
        &rules,
        "- rule: Marked file opened\n  desc: d\n  condition: evt.type in (open, openat) and fd.name endswith /marked\n  output: opened %fd.name\n  priority: CRITICAL\n",
    )
    .unwrap();
    let settings = format!(
        "output:\n  collector:\n    url: http://{grpc}\n    spool_dir: {}\n    sync: always\n",
        dir.path().join("spool").display()
    );
    let marked = dir.path().join("marked");
    fs::write(&marked, "").unwrap();
    // The collector comes later than the alert.
    let agent = Agent::start_with(&rules, &settings);
    drop(fs::File::open(&marked).unwrap());
    let collector = Collector::start(&dir.path().join("store.db"), grpc, http);
    let started = Instant::now();
    let found = loop {
        let alerts = collector.json("/alerts?rule=Marked%20file%20opened&priority=critical");
        if let Some(alert) = alerts["alerts"].as_array().and_then(|list| list.first()) {
            break alert.clone();
        }
        assert!(
            started.elapsed() < PATIENCE,
            "the alert does not arrive: {:?}",
            agent.get("/health/detailed")
        );
        thread::sleep(Duration::from_millis(100));
    };
    let text = found["alert"]["output"].as_str().unwrap();
    assert!(text.ends_with("/marked"), "{text}");
    let nodes = collector.json("/nodes");
    let node = &nodes["nodes"][0];
    assert_eq!(
        (&node["active"], &node["heartbeat"]["rules"]),
        (&Value::from(true), &Value::from(1)),
        "{nodes}"
    );
}
