//! The schema of the chart's values: the kinds of the defaults in `values.yaml`, and the agent's own schema for what goes
//! into its configuration file.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde_json::{Map, Value, json};

use crate::workspace;

/// Sections of our own, in which an unknown name is a mistake; others take whatever users of Falco have in them.
const CLOSED: [&str; 5] = ["agent", "collector", "networkPolicy", "prometheusRule", "tls"];
/// Values of a few words.
const CHOICES: [(&str, &[&str]); 5] = [
    ("tls.mode", &["join", "generated", "certManager", "existingSecrets", "none"]),
    ("collector.kind", &["auto", "StatefulSet", "Deployment"]),
    ("controller.kind", &["daemonset"]),
    ("image.pullPolicy", &["Always", "IfNotPresent", "Never"]),
    ("falco.rule_matching", &["first", "all"]),
];

/// Compares the kept schema with the one made now, or keeps the latter.
pub(super) fn check(chart: &Path, is_update: bool) -> Result<()> {
    let path = chart.join("values.schema.json");
    let new = format!("{:#}\n", made(chart)?);
    if is_update {
        return fs::write(&path, new).with_context(|| format!("cannot write `{}`", path.display()));
    }
    if fs::read_to_string(&path).unwrap_or_default() == new {
        return Ok(());
    }
    bail!(
        "`{}` is not what it is made from; `RAMPART_UPDATE=1 cargo xtask chart test` writes it",
        path.display()
    )
}

fn made(chart: &Path) -> Result<Value> {
    let values = fs::read_to_string(chart.join("values.yaml")).context("cannot read the chart's values")?;
    let values: Value = serde_yaml::from_str(&values).context("the chart's values are no YAML")?;
    let agent = workspace::root().join("agent/schema/config.schema.json");
    let agent = fs::read_to_string(agent).context("cannot read the agent's schema")?;
    let mut agent: Value = serde_json::from_str(&agent).context("the agent's schema is no JSON")?;
    if let Some(schema) = agent.as_object_mut() {
        schema.remove("$schema");
    }
    let mut schema = of("", &values);
    let places = [
        ("$schema", json!("https://json-schema.org/draft/2020-12/schema")),
        ("title", json!("Values of the Rampart chart")),
    ];
    for (key, value) in places {
        schema.as_object_mut().context("values are a map")?.insert(key.to_owned(), value);
    }
    *schema.pointer_mut("/properties/agent/properties/config").context("there is no `agent.config`")? = agent;
    let properties =
        schema.pointer_mut("/properties").and_then(Value::as_object_mut).context("no properties")?;
    // Helm's own, for charts above this one.
    properties.insert("global".to_owned(), json!({ "type": "object" }));
    Ok(schema)
}

/// The schema of a default at a place.
fn of(place: &str, value: &Value) -> Value {
    if let Some((_, words)) = CHOICES.iter().find(|(name, _)| *name == place) {
        return json!({ "enum": words });
    }
    match value {
        // Nothing by default: what it is, templates say.
        Value::Null => json!({}),
        Value::Bool(_) => json!({ "type": "boolean" }),
        Value::Number(_) => json!({ "type": ["integer", "string"] }),
        Value::String(_) => json!({ "type": ["string", "null"] }),
        Value::Array(_) => json!({ "type": ["array", "null"] }),
        // An empty map is free.
        Value::Object(map) if map.is_empty() => json!({ "type": ["object", "null"] }),
        Value::Object(map) => {
            let below =
                |name: &str| if place.is_empty() { name.to_owned() } else { format!("{place}.{name}") };
            let properties: Map<String, Value> =
                map.iter().map(|(name, value)| (name.clone(), of(&below(name), value))).collect();
            let first = place.split('.').next().unwrap_or_default();
            // What Kubernetes defines is checked by Kubernetes.
            let is_free = !CLOSED.contains(&first);
            if is_kubernetes(place) {
                return json!({ "type": ["object", "null"] });
            }
            json!({ "type": "object", "properties": properties, "additionalProperties": is_free })
        }
    }
}

/// Values that are put into objects as they are.
fn is_kubernetes(place: &str) -> bool {
    const WHOLE: [&str; 9] = [
        "resources",
        "collector.resources",
        "healthChecks.startupProbe",
        "healthChecks.livenessProbe",
        "healthChecks.readinessProbe",
        "controller.daemonset.updateStrategy",
        "agent.seccompProfile",
        "agent.appArmorProfile",
        "grafana.dashboards.label",
    ];
    WHOLE.contains(&place)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_follow_the_defaults() {
        let values = json!({"tls": {"mode": "none", "days": 3}, "falco": {"priority": "x"}, "resources": {"limits": 1}});
        let schema = of("", &values);
        assert_eq!(schema.pointer("/properties/tls/properties/mode/enum/0"), Some(&json!("join")));
        assert_eq!(schema.pointer("/properties/tls/additionalProperties"), Some(&json!(false)));
        assert_eq!(schema.pointer("/properties/falco/additionalProperties"), Some(&json!(true)));
        assert_eq!(schema.pointer("/properties/resources"), Some(&json!({"type": ["object", "null"]})));
    }
}
