//! What a chart renders to: objects of Kubernetes, by kind and name.

use anyhow::{Context, Result};
use serde_yaml::{Mapping, Value};

/// What Helm draws at random.
const RANDOM: [&str; 3] = ["tls.crt", "tls.key", "ca.crt"];
/// How names of files end that are compared where they are made.
const ELSEWHERE: &str = ".json";

/// Rendered objects, in Helm's order.
pub(super) struct Manifest(Vec<Value>);

impl Manifest {
    pub(super) fn parse(text: &str) -> Result<Self> {
        let mut objects = Vec::new();
        for document in format!("\n{text}").split("\n---\n") {
            let value: Value = serde_yaml::from_str(document).context("Helm rendered no YAML")?;
            if value.is_mapping() {
                objects.push(value);
            }
        }
        Ok(Self(objects))
    }

    /// The object of that kind whose name ends so.
    pub(super) fn find(&self, kind: &str, end: &str) -> Option<&Value> {
        self.0.iter().find(|object| {
            let name =
                object.get("metadata").and_then(|metadata| metadata.get("name")).and_then(Value::as_str);
            object.get("kind").and_then(Value::as_str) == Some(kind)
                && name.is_some_and(|name| name.ends_with(end))
        })
    }

    /// As text, sorted by kind and name, without what differs each time and what is compared elsewhere.
    pub(super) fn without_secrets(&self) -> Result<String> {
        let mut objects = self.0.clone();
        objects.sort_by_key(|object| {
            let name = object.get("metadata").and_then(|metadata| metadata.get("name"));
            let text = |value: Option<&Value>| value.and_then(Value::as_str).unwrap_or_default().to_owned();
            (text(object.get("kind")), text(name))
        });
        let mut text = String::new();
        for object in &mut objects {
            if let Some(Value::Mapping(data)) = object.get_mut("data") {
                redact(data);
            }
            text.push_str("---\n");
            text.push_str(&serde_yaml::to_string(object).context("cannot write YAML")?);
        }
        Ok(text)
    }
}

fn redact(data: &mut Mapping) {
    for (key, value) in data.iter_mut() {
        if key.as_str().is_some_and(|key| RANDOM.contains(&key)) {
            *value = Value::from("(made by Helm)");
        } else if let (Some(name), Some(text)) = (key.as_str(), value.as_str())
            && name.ends_with(ELSEWHERE)
        {
            *value = Value::from(format!("({} lines of {name})", text.lines().count()));
        }
    }
}
