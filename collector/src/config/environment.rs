//! Settings from the environment: `RAMPART_COLLECTOR_STORE__PATH` for `store.path`, and falcosidekick's names for its
//! settings: `SLACK_WEBHOOKURL` for `slack.webhookurl`.

use serde_yaml::{Mapping, Value};

/// What names of our own begin with.
const PREFIX: &str = "RAMPART_COLLECTOR_";
/// Sections that falcosidekick has too.
const CHANNELS: [&str; 10] = [
    "webhook",
    "slack",
    "teams",
    "pagerduty",
    "opsgenie",
    "alertmanager",
    "loki",
    "elasticsearch",
    "cloudevents",
    "smtp",
];
/// Settings that are maps, written `key:value,key:value`.
const MAPS: [&str; 5] =
    ["customheaders", "extralabels", "extraannotations", "extensions", "customseveritymap"];

/// Puts what the environment says over what the file says.
pub(super) fn apply(value: &mut Value, env: &[(String, String)]) {
    for (name, text) in env {
        let path: Vec<String> = if let Some(own) = name.strip_prefix(PREFIX) {
            own.to_lowercase().split("__").map(str::to_owned).collect()
        } else {
            let lower = name.to_lowercase();
            let found = lower.split_once('_').filter(|(section, _)| CHANNELS.contains(section));
            let Some((section, key)) = found else { continue };
            if !crate::notify::channel::settings::is_known(section, key) {
                // Other programs have names that begin like this.
                continue;
            }
            vec![section.to_owned(), key.to_owned()]
        };
        let is_map = path.last().is_some_and(|key| MAPS.contains(&key.as_str()));
        insert(value, &path, if is_map { map(text) } else { scalar(text) });
    }
}

fn insert(value: &mut Value, path: &[String], leaf: Value) {
    let Some((first, rest)) = path.split_first() else {
        *value = leaf;
        return;
    };
    if !value.is_mapping() {
        *value = Value::Mapping(Mapping::new());
    }
    if let Value::Mapping(mapping) = value {
        let slot = mapping.entry(Value::from(first.as_str())).or_insert(Value::Null);
        insert(slot, rest, leaf);
    }
}

/// A number or a boolean where it looks like one.
fn scalar(text: &str) -> Value {
    match serde_yaml::from_str(text) {
        Ok(value @ (Value::Bool(_) | Value::Number(_))) => value,
        _ => Value::from(text),
    }
}

fn map(text: &str) -> Value {
    let pairs = text.split(',').filter_map(|pair| pair.split_once(':'));
    Value::Mapping(
        pairs.map(|(key, value)| (Value::from(key.trim()), Value::from(value.trim()))).collect::<Mapping>(),
    )
}
