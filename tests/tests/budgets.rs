//! CPU budgets on the running kernel: a rule that costs too much leaves the kernel's tables too, and comes back.

#![expect(clippy::expect_used, reason = "a panic is how a test fails")]

use std::{fs, path::Path, process::Command};

use rampart_tests::{
    agent::{Agent, binary},
    require_root,
};
use serde_json::Value;

/// No rule can keep a budget of a millionth of a core; one rejected event in four is judged all the same.
const SETTINGS: &str = "\
budgets: {families: {open: 0.0001}, window_secs: 1, return_windows: 1, shed_below: notice}
pushdown: {shadow_every: 4}
";
/// Opens of one burst: several bursts in a row are measured often enough, and their alerts can be read as they come.
const BURST: usize = 100;

fn rule(name: &str, path: &Path, priority: &str) -> String {
    format!(
        "- rule: {name}\n  desc: d\n  condition: evt.type in (open, openat) and fd.name = {}\n  output: o\n  \
         priority: {priority}\n",
        path.display()
    )
}

fn read(path: &Path) {
    fs::read(path).expect("it is there");
}

fn is(alert: &Value, rule: &str) -> bool {
    alert.get("rule").and_then(Value::as_str) == Some(rule)
}

/// What `rampart top` says of a rule.
fn top(agent: &Agent, rule: &str) -> Value {
    let address = agent.address().to_string();
    let output = Command::new(binary())
        .args(["top", "--once", "--json", "--address", &address])
        .output()
        .expect("rampart runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).expect("one JSON object");
    let rules = report.get("rules").and_then(Value::as_array).expect("rules").clone();
    rules.into_iter().find(|one| is(one, rule)).expect("the rule")
}

#[test]
fn a_costly_rule_leaves_the_kernel_and_comes_back() {
    require_root!("a_costly_rule_leaves_the_kernel_and_comes_back");
    let scratch = tempfile::tempdir().expect("a scratch directory");
    let (busy, key) = (scratch.path().join("busy"), scratch.path().join("key"));
    fs::write(&busy, "").expect("written");
    fs::write(&key, "").expect("written");
    let rules = scratch.path().join("rules.yaml");
    fs::write(&rules, rule("Busy", &busy, "INFO") + &rule("Key", &key, "WARNING")).expect("written");
    let mut agent = Agent::start_with(&rules, SETTINGS);

    let generation = agent.metric("rampart_pushdown_generation");
    agent.until("without the rule", |agent| {
        for _ in 0..BURST {
            read(&busy);
        }
        agent.metric("rampart_rule_shed{family=\"open\",rule=\"Busy\"}") > 0.0
    });
    let alert = agent.wait_for("the alert", |alert| is(alert, "Rampart internal: rule shed"));
    assert_eq!(alert.pointer("/output_fields/rule").and_then(Value::as_str), Some("Busy"));
    agent.until("judged by another plan", |agent| agent.metric("rampart_pushdown_generation") > generation);
    // The other rule is worse than those that may go.
    read(&key);
    agent.wait_for("the other rule's alert", |alert| is(alert, "Key"));

    agent.until("with the rule again", |agent| agent.metric("rampart_budget_returns_total") > 0.0);
    agent.wait_for("its return", |alert| is(alert, "Rampart internal: rule returned"));
    let line = top(&agent, "Busy");
    let count = |name: &str| line.get(name).and_then(Value::as_u64).expect("a number");
    assert!(count("candidates") >= count("matches") && count("matches") > 0 && count("ns") > 0, "{line}");
    let matches = count("matches");
    agent.until("matching again", |agent| {
        read(&busy);
        let line = top(agent, "Busy");
        line.get("matches").and_then(Value::as_u64) > Some(matches)
    });
    assert!(agent.metric("rampart_pushdown_samples_total") > 0.0, "rejected events were tried");
    assert!(agent.metric("rampart_pushdown_disagreements_total") < 1.0, "and no rule matched");
    assert!(agent.stop().success());
}
