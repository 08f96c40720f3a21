//! Those that keep everything: Loki, Elasticsearch, `CloudEvents`.

use serde_json::{Map, Value, json};

use super::{Facts, Suffix, incident::label};

/// Fields that are labels in Loki: few values each.
const LABELS: [&str; 2] = ["k8s.ns.name", "k8s.pod.name"];

/// A line of a stream.
pub(super) fn loki(facts: &Facts, extra: &[(String, String)]) -> Value {
    let mut stream = Map::new();
    for (name, value) in [
        ("rule", facts.rule.as_str()),
        ("source", &facts.source),
        ("priority", facts.priority.name()),
        ("hostname", &facts.hostname),
    ] {
        stream.insert(name.to_owned(), value.into());
    }
    for (name, value) in facts.texts().filter(|(name, _)| LABELS.contains(name)) {
        stream.insert(label(name), value.into());
    }
    if !facts.tags.is_empty() {
        stream.insert("tags".to_owned(), facts.tags.join(",").into());
    }
    stream.extend(extra.iter().map(|(name, value)| (name.clone(), value.as_str().into())));
    json!({ "streams": [{ "stream": stream, "values": [[facts.time_ns.to_string(), facts.output]] }] })
}

/// The alert as a document.
pub(super) fn elasticsearch(facts: &Facts) -> Value {
    let mut document = facts.alert.clone();
    if let Some(document) = document.as_object_mut() {
        document.insert("@timestamp".to_owned(), facts.time.as_str().into());
    }
    document
}

/// What follows in the index's name.
pub(super) fn suffix(facts: &Facts, suffix: Suffix) -> String {
    let part = |letters: usize| {
        let date = facts.time.get(..letters).unwrap_or_default();
        format!("-{}", date.replace('-', "."))
    };
    match suffix {
        Suffix::None => String::new(),
        Suffix::Daily => part(10),
        Suffix::Monthly => part(7),
        Suffix::Annually => part(4),
    }
}

/// What makes a request an event, in binary mode.
pub(super) fn cloud_event(facts: &Facts, extensions: &[(String, String)]) -> Vec<(String, String)> {
    let id = facts.alert.get("uuid").and_then(Value::as_str).unwrap_or_default();
    let mut headers: Vec<(String, String)> = [
        ("ce-specversion", "1.0"),
        ("ce-id", id),
        ("ce-type", "falco.rule.output.v1"),
        ("ce-source", "https://falco.org"),
        ("ce-time", facts.time.as_str()),
        ("ce-priority", facts.priority.name()),
        ("ce-rule", &facts.rule),
        ("ce-eventsource", &facts.source),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), escaped(value)))
    .collect();
    headers.extend(extensions.iter().map(|(name, value)| (format!("ce-{name}"), escaped(value))));
    headers
}

/// As the binding asks for: what is not printable ASCII, and `%` and `"`, percent-encoded.
fn escaped(text: &str) -> String {
    let part = |byte: u8| match byte {
        b'%' | b'"' | ..=0x1F | 0x7F.. => format!("%{byte:02X}"),
        plain => char::from(plain).to_string(),
    };
    text.bytes().map(part).collect()
}
