//! Policy bundles from the command that builds them to the rule that matches on a node, with the real agent and the real
//! collector.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a panic is how a test fails")]

use std::{
    fs,
    path::Path,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use rampart_tests::{
    agent::{self, Agent, rule_on_files as rule},
    collector::{Collector, binary, free_address},
    require_root,
};
use serde_json::Value;

/// Longest wait for anything.
const PATIENCE: Duration = Duration::from_mins(3);

/// Runs `rampart-collector bundle …` on a store; gives what it says, and whether it worked.
fn bundle(store: &Path, arguments: &[&str]) -> (bool, String) {
    let output = Command::new(binary("rampart-collector"))
        .arg("bundle")
        .args(arguments)
        .env("RAMPART_COLLECTOR_STORE__PATH", store)
        .output()
        .unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(text).unwrap())
}

/// A bench of one collector, one key, and policy in a directory.
struct Bench {
    dir: tempfile::TempDir,
    collector: Collector,
    public: String,
}

impl Bench {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let collector = Collector::start(&dir.path().join("store.db"), free_address(), free_address());
        fs::create_dir_all(dir.path().join("policy/rules")).unwrap();
        let mut bench = Self { dir, collector, public: String::new() };
        bench.public = bench.keygen("key");
        bench
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }

    fn run(&self, arguments: &[&str]) -> String {
        let (worked, text) = bundle(&self.dir.path().join("store.db"), arguments);
        assert!(worked, "{arguments:?}: {text}");
        text
    }

    fn keygen(&self, file: &str) -> String {
        self.run(&["keygen", "--output", &self.path(file)]).trim().to_owned()
    }

    /// Builds a bundle of this rule file and settings, and begins its rollout to the canaries, then to all.
    fn roll_out(&self, name: &str, key: &str, rules: &str, settings: &str) {
        fs::write(self.path("policy/rules/more.yaml"), rules).unwrap();
        fs::write(self.path("policy/policy.yaml"), settings).unwrap();
        let (file, key) = (self.path(name), self.path(key));
        self.run(&["build", &self.path("policy"), "--output", &file, "--key", &key, "--name", name]);
        self.run(&["push", &file, "--step", "stage=canary", "--step", "100%", "--bake", "1s"]);
    }

    /// An agent that takes bundles and keeps its state here.
    fn agent(&self) -> Agent {
        let (rules, state, spool) =
            (self.dir.path().join("rules.yaml"), self.path("state"), self.path("spool"));
        fs::write(&rules, rule("Local", "/local")).unwrap();
        let url = format!("http://{}", self.collector.grpc);
        let env = [
            ("RAMPART_BUNDLES__KEYS", self.public.as_str()),
            ("RAMPART_NODE__STATE_DIR", &state),
            ("RAMPART_NODE__LABELS", "stage=canary,region=eu"),
            ("RAMPART_NODE__HOSTNAME", "canary-1"),
            ("RAMPART_OUTPUT__COLLECTOR__URL", &url),
            ("RAMPART_OUTPUT__COLLECTOR__SPOOL_DIR", &spool),
        ];
        Agent::start_in(&rules, "", &env)
    }

    /// Waits until the newest rollout has ended.
    fn ended(&self) -> Value {
        let started = Instant::now();
        loop {
            let all = self.collector.json("/rollouts");
            let newest = &all["rollouts"][0];
            if newest["ended"].is_string() {
                return newest.clone();
            }
            assert!(
                started.elapsed() < PATIENCE,
                "it does not end: {all}, {:?}",
                self.collector.get("/nodes")
            );
            thread::sleep(Duration::from_millis(100));
        }
    }
}

/// What an agent says of its bundle.
fn standing(agent: &Agent) -> Value {
    let (_, body) = agent.get("/health/detailed").unwrap();
    let body: Value = serde_json::from_str(&body).unwrap();
    body["policy"]["bundle"].clone()
}

/// Opens a file of this name until the agent has told of it; pushdown masks may take a moment to change.
fn opened(bench: &Bench, agent: &Agent, name: &str, rule: &str) {
    let file = bench.dir.path().join(name);
    fs::write(&file, "").unwrap();
    drop(fs::File::open(&file).unwrap());
    agent.wait_for(rule, |alert| alert["rule"] == rule);
}

#[test]
fn a_bundle_is_in_force_on_the_node_and_a_bad_one_goes_back() {
    require_root!("a_bundle_is_in_force_on_the_node_and_a_bad_one_goes_back");
    let bench = Bench::new();
    let mut agent = bench.agent();
    opened(&bench, &agent, "local", "Local");
    bench.roll_out("v1", "key", &rule("Bundled", "/bundled"), "limits: {alert_secs: 20}\n");
    agent.until("given the bundle", |agent| standing(agent)["name"] == "v1");
    opened(&bench, &agent, "bundled", "Bundled");
    let done = bench.ended();
    assert_eq!((&done["state"], &done["name"]), (&"done".into(), &"v1".into()), "{done}");
    let node = &bench.collector.json("/nodes")["nodes"][0];
    assert_eq!((&node["bundle"]["name"], &node["labels"]["region"]), (&"v1".into(), &"eu".into()), "{node}");

    // A rule that does not load, settings that no bundle may have, and a key that nobody trusts.
    bench.keygen("other");
    let good = rule("Bundled", "/bundled");
    for (name, key, rules, settings, why) in [
        ("v2", "key", good.replace("fd.name", "fd.nme"), "", "bundle v2:rules/more.yaml:3:"),
        ("v3", "key", good.clone(), "admin: {enabled: false}\n", "`admin.enabled` cannot be set by a bundle"),
        ("v4", "other", good.clone(), "", "which is not one of `bundles.keys`"),
    ] {
        bench.roll_out(name, key, &rules, settings);
        let back = bench.ended();
        let reason = back["reason"].as_str().unwrap_or_default();
        assert_eq!(back["state"], "rolled_back", "{back}");
        assert!(reason.contains("`canary-1`") && reason.contains(why), "{name}: {reason}");
        agent.wait_for("the refusal", |alert| {
            alert["rule"] == "Rampart internal: policy bundle refused"
                && alert["output"].as_str().unwrap().contains(why)
        });
        agent.until("rid of what was refused", |agent| standing(agent)["fault"].is_null());
        assert_eq!(standing(&agent)["name"], "v1", "what was in force stays");
    }
    let alerts = bench.collector.json("/alerts?rule=Rampart%20internal%3A%20rollout%20rolled%20back");
    assert_eq!(alerts["alerts"].as_array().unwrap().len(), 3, "{alerts}");
    let shown = bench.run(&["status"]);
    assert!(shown.contains("v4\trolled back\tstep 1 of 2: stage=canary"), "{shown}");

    // The node starts anew, and no collector is there.
    assert!(agent.stop().success());
    let Bench { dir, collector, public } = bench;
    let (grpc, http) = (collector.grpc, collector.http);
    collector.kill();
    let absent = Collector::start(&dir.path().join("another.db"), free_address(), free_address());
    let mut bench = Bench { dir, collector: absent, public };
    bench.collector.grpc = grpc;
    let mut agent = bench.agent();
    assert_eq!(standing(&agent)["name"], "v1");
    opened(&bench, &agent, "bundled", "Bundled");

    // Somebody takes the bundle back while the node cannot be reached; it hears of it when it can.
    assert!(bundle(&bench.dir.path().join("store.db"), &["rollback", "--reason", "a test"]).0);
    bench.collector = Collector::start(&bench.dir.path().join("store.db"), grpc, http);
    agent.until("rid of the bundle", |agent| standing(agent)["name"].is_null());
    assert!(agent.stop().success());
    assert!(!bench.dir.path().join("state/bundles/current").exists());
}

#[test]
fn the_commands_say_what_is_wrong() {
    let bench = Bench::new();
    let store = bench.dir.path().join("store.db");
    let fails = |arguments: &[&str]| {
        let (worked, text) = bundle(&store, arguments);
        assert!(!worked, "{arguments:?}: {text}");
        text
    };
    assert!(fails(&["status"]).contains("no rollout is under way"));
    assert!(fails(&["pause"]).contains("no rollout is under way"));
    assert!(fails(&["keygen", "-o", &bench.path("key")]).contains("File exists"));
    let file = bench.path("a.bundle");
    let build = ["build", &bench.path("policy"), "-o", &file, "--key", &bench.path("key"), "--name", "a"];
    assert!(fails(&build).contains("has neither `policy.yaml` nor `rules/*.yaml`"));
    fs::write(bench.path("policy/rules/a.yaml"), rule("A", "/a")).unwrap();
    let digest = bench.run(&build).trim().to_owned();
    assert!(bench.run(&["verify", &file, "--key", &bench.public]).contains("rules/a.yaml"));
    assert!(fails(&["verify", &file, "--key", &"0".repeat(64)]).contains("none of those given"));
    assert!(fails(&["push", &digest]).contains("push it first"));
    // What a node would make of it.
    let config = bench.path("node.yaml");
    let check = |keys: &str| {
        fs::write(&config, format!("bundles: {{keys: [{keys}]}}\n")).unwrap();
        let output =
            Command::new(agent::binary()).args(["check", "-c", &config, "--bundle", &file]).output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.code().unwrap(), String::from_utf8(text).unwrap())
    };
    for keys in ["", &format!("'{}'", bench.public)] {
        let (code, text) = check(keys);
        assert_eq!(code, 0, "{text}");
    }
    let (code, text) = check(&format!("'{}'", "0".repeat(64)));
    assert!(code == 2 && text.contains("is not one of `bundles.keys`"), "{code}: {text}");
    fs::write(bench.path("policy/policy.yaml"), "limits: {pin_dir: /x}\n").unwrap();
    bench.run(&build);
    let (code, text) = check("");
    assert!(code == 1 && text.contains("bundle a:policy.yaml:1:19"), "{code}: {text}");
    fs::remove_file(bench.path("policy/policy.yaml")).unwrap();
    bench.run(&[&build[..], &["--created", "5"]].concat());
    let digest = bench.run(&[&build[..], &["--created", "5"]].concat()).trim().to_owned();
    assert!(fails(&["push", &file, "--step", "1000%"]).contains("is no step"));
    bench.run(&["push", &file, "--no-rollout"]);
    assert!(bench.run(&["list"]).starts_with(&digest));
    assert!(bench.run(&["push", &digest]).contains("\trunning\tstep 1 of 3: 10%"));
    assert!(fails(&["push", &digest]).contains("is under way"));
    assert!(bench.run(&["pause"]).contains("\tpaused\t"));
    assert!(bench.run(&["resume"]).contains("\trunning\t"));
    assert!(bench.run(&["promote", "--all"]).contains("\tdone\tstep 3 of 3: 100%"));
    assert!(bench.run(&["rollback", "--reason", "why not"]).contains("\trolled back\t"));
    assert!(bench.run(&["status"]).contains("rolled back: why not"));
    let mut bytes = fs::read(&file).unwrap();
    bytes[9] ^= 1;
    fs::write(&file, bytes).unwrap();
    assert!(fails(&["verify", &file]).contains("the signature of the bundle is wrong"));
}
