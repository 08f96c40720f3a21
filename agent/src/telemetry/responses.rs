//! What responses did, as the status holds it: the page `/responses`, and samples for the metrics.

use std::collections::{BTreeMap, VecDeque};

use jiff::Timestamp;
use rampart_rules::response::{Kind, Mode};
use serde_json::{Value, json};

use super::{metrics::Page, names::Name};
use crate::responses::Outcome;

/// The last ones that are shown.
const RECENT: usize = 64;

/// What the thread of responses last said.
#[derive(Clone, Debug, Default)]
pub struct Responding {
    /// How far they go.
    pub mode: Mode,
    /// Most of a kind in a minute.
    pub per_minute: u32,
    /// What became of them since the start.
    pub counts: BTreeMap<(Kind, Outcome), u64>,
    /// Matches that found no room on the way.
    pub dropped: u64,
    /// What is in force, as pages show it.
    pub in_force: Vec<Value>,
    /// The newest.
    pub recent: Recent,
    /// What the kernel refuses, as pages show it; `None` when no rule asks for it.
    pub deny: Option<Value>,
}

/// One response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Last {
    /// What.
    pub kind: Kind,
    /// What became of it.
    pub outcome: Outcome,
    /// About whom.
    pub target: String,
    /// By which rule.
    pub rule: String,
}

/// The newest responses, with their times.
#[derive(Clone, Debug, Default)]
pub struct Recent(VecDeque<(Timestamp, Last)>);

impl Recent {
    /// Keeps one, and forgets the oldest where there is no room.
    pub fn keep(&mut self, last: Last) {
        self.0.push_back((Timestamp::now(), last));
        while self.0.len() > RECENT {
            self.0.pop_front();
        }
    }
}

impl Responding {
    /// The page, newest first.
    pub fn page(&self) -> Value {
        let counts = self.counts.iter().map(|((kind, outcome), count)| {
            json!({ "action": kind.name(), "outcome": outcome.name(), "count": count })
        });
        let recent = self.recent.0.iter().rev().map(|(time, last)| {
            json!({
                "time": time.to_string(),
                "action": last.kind.name(),
                "outcome": last.outcome.name(),
                "target": last.target,
                "rule": last.rule,
            })
        });
        json!({
            "mode": self.mode.name(),
            "per_minute": self.per_minute,
            "in_force": self.in_force,
            "counts": counts.collect::<Vec<_>>(),
            "dropped": self.dropped,
            "deny": self.deny,
            "recent": recent.collect::<Vec<_>>(),
        })
    }
}

/// Adds the samples.
pub(super) fn add(page: &mut Page, responding: &Responding) {
    for ((kind, outcome), count) in &responding.counts {
        page.add(Name::Responses, &[("action", kind.name()), ("outcome", outcome.name())], *count);
    }
    page.add(Name::ResponsesDropped, &[], responding.dropped);
    let mut in_force: BTreeMap<&str, u64> = BTreeMap::new();
    for doing in &responding.in_force {
        *in_force.entry(doing["action"].as_str().unwrap_or_default()).or_default() += 1;
    }
    for (action, count) in in_force {
        page.add(Name::ResponsesInForce, &[("action", action)], count);
    }
    if let Some(deny) = &responding.deny {
        let count = |value: Option<&Value>| value.and_then(Value::as_u64).unwrap_or_default();
        let is_active = deny.get("active").and_then(Value::as_bool).unwrap_or_default();
        page.add(Name::DenyActive, &[], u64::from(is_active));
        for outcome in ["refused", "observed", "untold"] {
            page.add(Name::DenyOperations, &[("outcome", outcome)], count(deny.get(outcome)));
        }
        for reason in ["process", "group", "path", "busy"] {
            let undecided = deny.get("undecided").and_then(|all| all.get(reason));
            page.add(Name::DenyUndecided, &[("reason", reason)], count(undecided));
        }
    }
}
