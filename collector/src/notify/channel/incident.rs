//! Those that wake people: `PagerDuty`, `OpsGenie`, Alertmanager.

use serde_json::{Map, Value, json};

use super::{Facts, facts::rfc3339};
use crate::alert::Priority;

/// Longest message that `OpsGenie` takes.
const MESSAGE_MAX: usize = 130;
/// Longest summary that `PagerDuty` takes.
const SUMMARY_MAX: usize = 1024;

/// An event that triggers, with what the rule and the node are, and one incident for both.
pub(super) fn pagerduty(facts: &Facts, routing_key: &str) -> Value {
    let mut details = facts.fields.clone();
    for (name, value) in [("hostname", &facts.hostname), ("rule", &facts.rule), ("source", &facts.source)] {
        details.insert(name.to_owned(), value.as_str().into());
    }
    details.insert("priority".to_owned(), facts.priority.name().into());
    details.insert("tags".to_owned(), facts.tags.clone().into());
    json!({
        "routing_key": routing_key,
        "event_action": "trigger",
        "dedup_key": format!("{} on {}", facts.rule, facts.hostname),
        "payload": {
            "summary": cut(facts.line(), SUMMARY_MAX),
            "source": facts.hostname,
            "severity": severity(facts.priority),
            "timestamp": facts.time,
            "component": facts.source,
            "class": facts.rule,
            "custom_details": details,
        },
    })
}

const fn severity(priority: Priority) -> &'static str {
    match priority {
        Priority::Emergency | Priority::Alert | Priority::Critical => "critical",
        Priority::Error => "error",
        Priority::Warning => "warning",
        Priority::Notice | Priority::Informational | Priority::Debug => "info",
    }
}

/// An alert.
pub(super) fn opsgenie(facts: &Facts) -> Value {
    let mut details: Map<String, Value> =
        facts.texts().map(|(name, value)| (name.replace('.', "_"), value.into())).collect();
    for (name, value) in [
        ("source", facts.source.as_str()),
        ("rule", &facts.rule),
        ("priority", facts.priority.name()),
        ("hostname", &facts.hostname),
    ] {
        details.insert(name.to_owned(), value.into());
    }
    if !facts.tags.is_empty() {
        details.insert("tags".to_owned(), facts.tags.join(", ").into());
    }
    let level = match facts.priority {
        Priority::Emergency | Priority::Alert => "P1",
        Priority::Critical => "P2",
        Priority::Error => "P3",
        Priority::Warning => "P4",
        Priority::Notice | Priority::Informational | Priority::Debug => "P5",
    };
    json!({
        "message": cut(facts.line(), MESSAGE_MAX),
        "entity": "Rampart",
        "description": facts.rule,
        "details": details,
        "priority": level,
    })
}

/// A list of one alert.
pub(super) fn alertmanager(
    facts: &Facts,
    extra_labels: &[(String, String)],
    extra_annotations: &[(String, String)],
    expires_secs: Option<u64>,
) -> Value {
    let mut labels = Map::new();
    for (name, value) in &facts.fields {
        let value = match value {
            Value::String(text) => text.clone(),
            Value::Number(number) => number.to_string(),
            _ => continue,
        };
        labels.insert(label(name), value.into());
    }
    let severity = match facts.priority {
        Priority::Emergency | Priority::Alert | Priority::Critical => "critical",
        Priority::Error | Priority::Warning => "warning",
        Priority::Notice | Priority::Informational | Priority::Debug => "information",
    };
    for (name, value) in [
        ("source", "rampart"),
        ("rule", &facts.rule),
        ("alertname", &facts.rule),
        ("eventsource", &facts.source),
        ("hostname", &facts.hostname),
        ("priority", facts.priority.name()),
        ("severity", severity),
    ] {
        labels.insert(name.to_owned(), value.into());
    }
    if !facts.tags.is_empty() {
        labels.insert("tags".to_owned(), facts.tags.join(",").into());
    }
    labels.extend(extra_labels.iter().map(|(name, value)| (name.clone(), value.as_str().into())));
    let mut annotations = Map::new();
    for (name, value) in [
        ("info", &facts.output),
        ("description", &facts.output),
        ("summary", facts.title.as_ref().unwrap_or(&facts.rule)),
    ] {
        annotations.insert(name.to_owned(), value.as_str().into());
    }
    annotations.extend(extra_annotations.iter().map(|(name, value)| (name.clone(), value.as_str().into())));
    let mut alert = json!({ "labels": labels, "annotations": annotations });
    if let (Some(secs), Some(alert)) = (expires_secs, alert.as_object_mut()) {
        let end = facts.time_ns.saturating_add(secs.saturating_mul(1_000_000_000));
        alert.insert("endsAt".to_owned(), rfc3339(end).into());
    }
    json!([alert])
}

/// A name that Prometheus takes: other characters become one underscore, none at the ends.
pub(super) fn label(name: &str) -> String {
    let parts = name.split(|letter: char| !letter.is_ascii_alphanumeric());
    parts.filter(|part| !part.is_empty()).collect::<Vec<_>>().join("_")
}

fn cut(text: &str, letters: usize) -> String {
    text.chars().take(letters).collect()
}
