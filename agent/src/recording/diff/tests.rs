use std::collections::BTreeMap;

use rampart_rules::rule::Priority;
use serde_json::json;
use uuid::Uuid;

use super::{Differ, Difference};
use crate::alert::Alert;

fn alert(rule: &str, time_ns: u64, message: &str) -> Alert {
    Alert {
        rule: rule.into(),
        priority: Priority::Warning,
        source: "syscall".into(),
        tags: Some(vec!["t".into()]),
        hostname: "n".into(),
        time_ns,
        time_text: format!("at {time_ns}"),
        message: message.into(),
        fields: BTreeMap::from([("proc.name".to_owned(), json!("cat"))]),
        wait: None,
        order: None,
        uuid: Uuid::from_u128(u128::from(time_ns)),
        sequence: time_ns,
        policy_digest: Some("d".into()),
    }
}

#[test]
fn what_only_counts_alerts_is_no_difference() {
    let mut differ = Differ::default();
    differ.take(0, alert("a", 1, "m"));
    let other = Alert { uuid: Uuid::nil(), sequence: 9, policy_digest: None, ..alert("a", 1, "m") };
    differ.take(1, other);
    let found = differ.finish();
    assert_eq!((found.same, found.counts()), (1, (0, 0, 0)));
}

#[test]
fn gained_lost_and_changed_are_told_apart_in_order_of_time() {
    let mut differ = Differ::default();
    differ.take(1, alert("gained", 3, "m"));
    differ.take(0, alert("lost", 2, "m"));
    differ.take(0, alert("changed", 1, "before"));
    differ.take(0, alert("same", 1, "m"));
    differ.take(1, alert("same", 1, "m"));
    let other = Alert {
        fields: BTreeMap::from([("fd.name".to_owned(), json!("/x"))]),
        ..alert("changed", 1, "after")
    };
    differ.take(1, other);
    let found = differ.finish();
    assert_eq!((found.same, found.counts()), (1, (1, 1, 1)));
    let lines: Vec<String> = found.differences.iter().map(Difference::text).collect();
    assert_eq!(
        lines,
        [
            "~ changed at at 1\n    output: before -> after\n    fd.name: (none) -> \"/x\"\n    proc.name: \"cat\" -> (none)",
            "- lost: at 2: Warning m",
            "+ gained: at 3: Warning m",
        ]
    );
    let json = found.json();
    assert_eq!(json["gained"], 1);
    assert_eq!(json["differences"][0]["changes"], json!(["output", "fd.name", "proc.name"]));
    assert_eq!(json["differences"][1]["alert"]["rule"], "lost");
}

#[test]
fn several_alerts_of_one_rule_and_moment_are_paired_in_order() {
    let mut differ = Differ::default();
    for message in ["one", "two", "three"] {
        differ.take(0, alert("a", 1, message));
    }
    for message in ["one", "two"] {
        differ.take(1, alert("a", 1, message));
    }
    let found = differ.finish();
    assert_eq!((found.same, found.counts()), (2, (0, 1, 0)));
    assert_eq!(found.differences, [Difference::Lost(alert("a", 1, "three"))]);
}
