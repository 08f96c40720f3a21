//! What is seen becomes rules that load, and that are silent on the same.

use std::collections::BTreeMap;

use rampart_rules::rule::Priority;
use serde_json::json;
use uuid::Uuid;

use super::*;

fn alert(rule: &str, fields: &serde_json::Value) -> Alert {
    let fields: BTreeMap<String, serde_json::Value> =
        fields.as_object().unwrap().iter().map(|(name, value)| (name.clone(), value.clone())).collect();
    Alert {
        rule: rule.to_owned(),
        priority: Priority::Debug,
        source: "syscall".to_owned(),
        tags: Some(Vec::new()),
        hostname: "node".into(),
        time_ns: 0,
        time_text: String::new(),
        message: String::new(),
        fields,
        uuid: Uuid::nil(),
        sequence: 1,
        policy_digest: None,
        wait: None,
        order: None,
    }
}

fn errors(text: &str) -> Vec<String> {
    let source = Source { name: "proposal.yaml".to_owned(), text: text.as_bytes().to_vec() };
    let loaded = load(&[source], &LoadOptions::default());
    loaded.diagnostics.iter().map(|finding| finding.message.clone()).collect()
}

#[test]
fn the_rules_to_learn_by_load_with_any_condition_and_a_faulty_one_is_named() {
    assert_eq!(errors(&rules(None)), [""; 0]);
    assert_eq!(errors(&rules(Some("proc.name=a or proc.name=b"))), [""; 0]);
    assert_eq!(fault(Some("container.id!=host")), None);
    assert!(fault(Some("proc.nam=x")).unwrap().contains("proc.nam"));
}

#[test]
fn a_proposal_loads_and_says_what_was_seen() {
    let mut seen = Seen::default();
    seen.learn(&alert(
        PROGRAM,
        &json!({ "proc.exepath": "/usr/bin/engine", "proc.pexepath": "/usr/bin/init" }),
    ));
    seen.learn(&alert(PROGRAM, &json!({ "proc.exepath": "/tmp/\"]\n- rule: x", "proc.pexepath": null })));
    seen.learn(&alert(
        READ,
        &json!({ "fd.directory": "/etc/engine", "fd.realpath": "/srv/conf/engine.toml" }),
    ));
    seen.learn(&alert(WRITTEN, &json!({ "fd.directory": "/var/log/engine" })));
    seen.learn(&alert(CONNECTED, &json!({ "fd.rip": "203.0.113.1", "fd.rport": 443 })));
    seen.learn(&alert(LISTENED, &json!({ "fd.sport": 8080 })));
    seen.learn(&alert(LISTENED, &json!({ "fd.sport": 0 })));
    for _ in 0..3 {
        seen.told(&alert("Some rule", &json!({ "proc.name": "engine", "proc.pname": "init" })));
    }
    let proposal = seen.propose(Some("proc.name=engine"));
    assert_eq!(errors(&proposal.text), [""; 0], "{}", proposal.text);
    for part in [
        "items: [\"/usr/bin/engine\"]",
        "items: [\"203.0.113.1\"]",
        "items: [8080]",
        "items: [\"/etc/engine\", \"/srv/conf\"]",
        "and (proc.name=engine)",
        "#     values: [[\"engine\", \"init\"]]",
    ] {
        assert!(proposal.text.contains(part), "{part}: {}", proposal.text);
    }
    assert!(!proposal.text.contains("rule: x"), "{}", proposal.text);
    let notes = proposal.notes.join("\n");
    assert!(
        notes.contains("`Some rule` told 3") && notes.contains("1 values with unusual letters"),
        "{notes}"
    );
    let uncommented: String =
        proposal.text.lines().map(|line| line.trim_start_matches("# ").to_owned() + "\n").collect();
    let base = "- rule: Some rule\n  desc: d\n  condition: evt.type=execve\n  output: o\n  priority: INFO\n";
    let uncommented = uncommented.replace("\n#", "\n");
    assert_eq!(errors(&format!("{base}{uncommented}")), [""; 0], "{uncommented}");
}

#[test]
fn who_does_too_much_gets_no_list_and_who_does_nothing_is_told_of() {
    let mut seen = Seen::default();
    for last in 0..=VALUES_MAX {
        seen.learn(&alert(CONNECTED, &json!({ "fd.rip": format!("2001:db8::{last:x}"), "fd.rport": 443 })));
    }
    let proposal = seen.propose(None);
    assert!(!proposal.text.contains("learned_destinations\n"), "{}", proposal.text);
    assert_eq!(errors(&proposal.text), [""; 0]);
    let notes = proposal.notes.join("\n");
    assert!(notes.contains("`learned_destinations` has 513 values"), "{notes}");
    assert!(notes.contains("nothing for the rule `Program not seen while learning`"), "{notes}");
}
