//! Compares the alerts that two rule sets raise on one recording.
//!
//! Alerts belong together when they are of the same rule at the same time; of several, the first with the first. What
//! only counts alerts (id, sequence number, digest of the policy) is not compared.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    fmt::Write as _,
};

use serde_json::{Value as Json, json};

use crate::alert::{Alert, JsonOptions};

/// One difference.
#[derive(Clone, Debug, PartialEq)]
pub enum Difference {
    /// Only the other rules raise it.
    Gained(Alert),
    /// Only the first rules raise it.
    Lost(Alert),
    /// Both do, with other contents.
    Changed(Box<(Alert, Alert)>),
}

/// Alerts of one rule set that the other has not raised yet.
type Waiting = BTreeMap<(u64, String), VecDeque<Alert>>;

/// Takes the alerts of both sides as they come. Alerts that both raise alike take no memory.
#[derive(Debug, Default)]
pub struct Differ {
    first: Waiting,
    other: Waiting,
    changed: Vec<(Alert, Alert)>,
    same: u64,
}

/// What a comparison found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Comparison {
    /// Alerts that both raise alike.
    pub same: u64,
    /// The rest, by time.
    pub differences: Vec<Difference>,
}

impl Differ {
    /// Takes an alert of the first rule set (side 0) or of the other one.
    pub fn take(&mut self, side: usize, alert: Alert) {
        let key = (alert.time_ns, alert.rule.clone());
        let (own, opposite) =
            if side == 0 { (&mut self.first, &mut self.other) } else { (&mut self.other, &mut self.first) };
        let Some(waiting) = opposite.get_mut(&key) else {
            own.entry(key).or_default().push_back(alert);
            return;
        };
        let found = waiting.pop_front();
        if waiting.is_empty() {
            opposite.remove(&key);
        }
        let Some(found) = found else { return };
        let (first, other) = if side == 0 { (alert, found) } else { (found, alert) };
        if alike(&first, &other) {
            self.same += 1;
        } else {
            self.changed.push((first, other));
        }
    }

    /// All differences.
    pub fn finish(self) -> Comparison {
        let alerts = |waiting: Waiting| waiting.into_values().flatten();
        let mut differences: Vec<Difference> = alerts(self.first).map(Difference::Lost).collect();
        differences.extend(alerts(self.other).map(Difference::Gained));
        differences.extend(self.changed.into_iter().map(|pair| Difference::Changed(Box::new(pair))));
        // Stable: at one moment lost ones come before gained ones before changed ones, each in order.
        differences.sort_by_key(Difference::time_ns);
        Comparison { same: self.same, differences }
    }
}

/// Whether two alerts say the same.
fn alike(one: &Alert, other: &Alert) -> bool {
    let plain =
        |alert: &Alert| Alert { uuid: uuid::Uuid::nil(), sequence: 0, policy_digest: None, ..alert.clone() };
    plain(one) == plain(other)
}

impl Difference {
    fn time_ns(&self) -> u64 {
        match self {
            Self::Gained(alert) | Self::Lost(alert) => alert.time_ns,
            Self::Changed(pair) => pair.0.time_ns,
        }
    }

    /// Lines for people: `+` gained, `-` lost, `~` changed with what it was and what it is.
    pub fn text(&self) -> String {
        match self {
            Self::Gained(alert) => format!("+ {}: {}", alert.rule, alert.text()),
            Self::Lost(alert) => format!("- {}: {}", alert.rule, alert.text()),
            Self::Changed(pair) => {
                let (first, other) = &**pair;
                let mut text = format!("~ {} at {}", first.rule, first.time_text);
                for (name, was, is) in changes(first, other) {
                    // Writing to a `String` cannot fail.
                    let _ = write!(text, "\n    {name}: {was} -> {is}");
                }
                text
            }
        }
    }

    /// One JSON object.
    pub fn json(&self) -> Json {
        match self {
            Self::Gained(alert) => json!({ "change": "gained", "rule": alert.rule, "alert": object(alert) }),
            Self::Lost(alert) => json!({ "change": "lost", "rule": alert.rule, "alert": object(alert) }),
            Self::Changed(pair) => {
                let (first, other) = &**pair;
                let names: Vec<String> = changes(first, other).into_iter().map(|(name, ..)| name).collect();
                json!({
                    "change": "changed", "rule": first.rule, "changes": names,
                    "before": object(first), "after": object(other),
                })
            }
        }
    }
}

impl Comparison {
    /// Numbers of gained, lost and changed alerts.
    pub fn counts(&self) -> (usize, usize, usize) {
        let count =
            |wanted: fn(&Difference) -> bool| self.differences.iter().filter(|one| wanted(one)).count();
        (
            count(|one| matches!(one, Difference::Gained(_))),
            count(|one| matches!(one, Difference::Lost(_))),
            count(|one| matches!(one, Difference::Changed(_))),
        )
    }

    /// The comparison as one JSON object.
    pub fn json(&self) -> Json {
        let (gained, lost, changed) = self.counts();
        json!({
            "same": self.same, "gained": gained, "lost": lost, "changed": changed,
            "differences": self.differences.iter().map(Difference::json).collect::<Vec<_>>(),
        })
    }
}

fn object(alert: &Alert) -> Json {
    let text = alert.json(JsonOptions { identity: false, ..JsonOptions::default() });
    serde_json::from_str(&text).unwrap_or(Json::Null)
}

/// Name, value before and value after of everything that differs.
fn changes(first: &Alert, other: &Alert) -> Vec<(String, String, String)> {
    let mut changes = Vec::new();
    let mut compare = |name: &str, was: String, is: String| {
        if was != is {
            changes.push((name.to_owned(), was, is));
        }
    };
    compare("priority", first.priority.to_string(), other.priority.to_string());
    compare("source", first.source.clone(), other.source.clone());
    let tags = |alert: &Alert| alert.tags.as_ref().map_or_else(String::new, |tags| tags.join(", "));
    compare("tags", tags(first), tags(other));
    compare("output", first.message.clone(), other.message.clone());
    let names: BTreeSet<&String> = first.fields.keys().chain(other.fields.keys()).collect();
    for name in names {
        let value =
            |alert: &Alert| alert.fields.get(name).map_or_else(|| "(none)".to_owned(), Json::to_string);
        compare(name, value(first), value(other));
    }
    compare("wait", format!("{:?}", first.wait), format!("{:?}", other.wait));
    changes
}

#[cfg(test)]
mod tests;
