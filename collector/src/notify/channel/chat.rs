//! Chats: Slack's attachments and Teams' cards.

use serde_json::{Map, Value, json};

use super::{Facts, Look};
use crate::alert::Priority;

/// Shorter values share a line.
const SHORT: usize = 36;

/// A message with one attachment.
pub(super) fn slack(facts: &Facts, look: &Look) -> Value {
    let mut attachment = Map::new();
    attachment.insert("fallback".to_owned(), facts.line().into());
    attachment.insert("color".to_owned(), slack_color(facts.priority).into());
    if !look.is_without_text {
        attachment.insert("text".to_owned(), facts.output.as_str().into());
    }
    if !look.is_without_fields {
        let field = |(title, value): (String, String)| {
            let is_short = value.chars().count() < SHORT;
            json!({ "title": title, "value": value, "short": is_short })
        };
        let fields: Vec<Value> = rows(facts).into_iter().map(field).collect();
        attachment.insert("fields".to_owned(), fields.into());
    }
    if let Some(footer) = &look.footer {
        attachment.insert("footer".to_owned(), footer.as_str().into());
    }
    let mut message = Map::new();
    message.insert("username".to_owned(), look.username.as_str().into());
    if let Some(icon) = &look.icon {
        message.insert("icon_url".to_owned(), icon.as_str().into());
    }
    if let Some(channel) = &look.channel {
        message.insert("channel".to_owned(), channel.as_str().into());
    }
    message.insert("attachments".to_owned(), vec![Value::from(attachment)].into());
    message.into()
}

/// A card of the connector's format.
pub(super) fn teams(facts: &Facts, look: &Look) -> Value {
    let mut section = Map::new();
    section.insert("activityTitle".to_owned(), look.username.as_str().into());
    section.insert("activitySubtitle".to_owned(), facts.time.as_str().into());
    if let Some(icon) = &look.icon {
        section.insert("activityImage".to_owned(), icon.as_str().into());
    }
    if !look.is_without_text {
        section.insert("text".to_owned(), facts.output.as_str().into());
    }
    if !look.is_without_fields {
        let fact = |(name, value): (String, String)| json!({ "name": name, "value": value });
        section.insert("facts".to_owned(), rows(facts).into_iter().map(fact).collect::<Vec<_>>().into());
    }
    json!({
        "@type": "MessageCard",
        "summary": facts.line(),
        "themeColor": teams_color(facts.priority),
        "sections": [section],
    })
}

fn rows(facts: &Facts) -> Vec<(String, String)> {
    let mut rows: Vec<(String, String)> = [
        ("rule", facts.rule.as_str()),
        ("priority", facts.priority.name()),
        ("source", &facts.source),
        ("hostname", &facts.hostname),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .collect();
    if !facts.tags.is_empty() {
        rows.push(("tags".to_owned(), facts.tags.join(", ")));
    }
    for (name, value) in &facts.fields {
        let value = match value {
            Value::String(text) => text.clone(),
            Value::Null => continue,
            other => other.to_string(),
        };
        rows.push((name.clone(), value));
    }
    rows.push(("time".to_owned(), facts.time.clone()));
    rows
}

const fn slack_color(priority: Priority) -> &'static str {
    match priority {
        Priority::Emergency | Priority::Error => "#e20b0b",
        Priority::Alert | Priority::Critical => "#ff5400",
        Priority::Warning => "#ffc700",
        Priority::Notice => "#5bffb5",
        Priority::Informational => "#68c2ff",
        Priority::Debug => "#ccfff2",
    }
}

const fn teams_color(priority: Priority) -> &'static str {
    match priority {
        Priority::Emergency => "e20b0b",
        Priority::Alert => "ff5400",
        Priority::Critical => "ff9000",
        Priority::Error => "ffc700",
        Priority::Warning => "ffff00",
        Priority::Notice => "5bffb5",
        Priority::Informational => "68c2ff",
        Priority::Debug => "ccfff2",
    }
}
