//! Alerts without a kernel, for tests of what comes after detection.

use std::{
    collections::BTreeMap,
    time::{SystemTime, UNIX_EPOCH},
};

use rampart_agent::alert::Alert;
use rampart_rules::rule::Priority;
use uuid::Uuid;

/// Priorities of the alerts, in turn.
const PRIORITIES: [Priority; 4] = [Priority::Critical, Priority::Warning, Priority::Notice, Priority::Debug];

/// An alert of that number and rule.
pub fn alert(sequence: u64, rule: &str) -> Alert {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock after 1970");
    Alert {
        rule: rule.to_owned(),
        priority: PRIORITIES.get(sequence as usize % PRIORITIES.len()).copied().expect("one of them"),
        source: "syscall".to_owned(),
        tags: Some(vec!["test".to_owned()]),
        hostname: "courier".into(),
        time_ns: now.as_nanos() as u64,
        time_text: "00:00:00.000000000".to_owned(),
        message: format!(
            "number {sequence} | file=/etc/shadow user=root command=cat /etc/shadow parent=bash"
        ),
        fields: BTreeMap::from([("fd.name".to_owned(), "/etc/shadow".into())]),
        uuid: Uuid::nil(),
        sequence,
        policy_digest: None,
        wait: None,
        order: None,
    }
}
