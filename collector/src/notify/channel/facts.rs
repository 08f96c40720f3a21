//! An alert, taken apart for messages.

use serde_json::{Map, Value};

use crate::{
    alert::{Alert, Id, Priority, Stored},
    ingest::now_ns,
};

/// What messages are made of.
#[derive(Clone, Debug)]
pub struct Facts {
    /// One line for what has place for it, if there is one of its own.
    pub title: Option<String>,
    /// Name of the rule.
    pub rule: String,
    /// Severity.
    pub priority: Priority,
    /// Source of the event.
    pub source: String,
    /// Name of the node.
    pub hostname: String,
    /// The text for people.
    pub output: String,
    /// Time of the event, RFC 3339.
    pub time: String,
    /// The same, nanoseconds since the epoch.
    pub time_ns: u64,
    /// Tags of the rule, sorted.
    pub tags: Vec<String>,
    /// Fields of the output, sorted by name.
    pub fields: Map<String, Value>,
    /// The whole alert.
    pub alert: Value,
    /// How many alerts it stands for.
    pub count: usize,
}

impl Facts {
    /// The facts of a stored alert.
    pub fn of(stored: &Stored) -> Self {
        let alert: Value = serde_json::from_str(&stored.alert.json).unwrap_or_default();
        let text = |key: &str| alert.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        let tags = alert.get("tags").and_then(Value::as_array).into_iter().flatten();
        let mut tags: Vec<String> = tags.filter_map(|tag| tag.as_str().map(str::to_owned)).collect();
        tags.sort_unstable();
        let mut fields: Vec<(String, Value)> =
            alert.get("output_fields").and_then(Value::as_object).cloned().into_iter().flatten().collect();
        fields.sort_unstable_by(|one, other| one.0.cmp(&other.0));
        Self {
            title: None,
            rule: stored.alert.rule.clone(),
            priority: stored.alert.priority,
            source: stored.alert.source.clone(),
            hostname: stored.node.to_string(),
            output: text("output"),
            time: rfc3339(stored.alert.time_ns),
            time_ns: stored.alert.time_ns,
            tags,
            fields: fields.into_iter().collect(),
            alert,
            count: 1,
        }
    }

    /// One line: its own, or the text.
    pub fn line(&self) -> &str {
        self.title.as_deref().unwrap_or(&self.output)
    }

    /// Fields that are text.
    pub fn texts(&self) -> impl Iterator<Item = (&str, &str)> {
        self.fields.iter().filter_map(|(name, value)| Some((name.as_str(), value.as_str()?)))
    }
}

/// An alert that nobody raised, to try a channel.
pub fn sample() -> Stored {
    let time_ns = now_ns();
    let json = serde_json::json!({
        "hostname": "sample",
        "output": "A sample of an alert, to see whether it arrives",
        "output_fields": { "proc.name": "sample", "user.name": "nobody" },
        "priority": "Debug",
        "rule": "Test rule",
        "source": "internal",
        "tags": ["sample"],
        "time": rfc3339(time_ns),
    });
    Stored {
        number: 0,
        node: "sample".into(),
        received_ns: time_ns,
        alert: Alert {
            id: Id { boot: [0; 16], cpu: 0, sequence: 1 },
            time_ns,
            priority: Priority::Debug,
            rule: "Test rule".to_owned(),
            source: "internal".to_owned(),
            json: json.to_string(),
        },
    }
}

/// A time in UTC.
pub fn rfc3339(time_ns: u64) -> String {
    let time = jiff::Timestamp::from_nanosecond(i128::from(time_ns)).unwrap_or_default();
    format!("{time:.9}")
}
