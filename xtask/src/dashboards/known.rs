//! The names of all metrics, from the code that has them.

use std::collections::BTreeSet;
use std::fs;

use anyhow::{Context, Result, bail};

use crate::workspace;

/// Where names are, as texts.
const SOURCES: [&str; 2] = ["agent/src/telemetry/names.rs", "collector/src/telemetry.rs"];
/// How names of ours begin.
const STARTS: [&str; 5] =
    ["rampart_", "falcosecurity_", "circuit_breaker_", "load_balancer_", "rate_limit_exceeded"];
/// What a histogram has behind its name.
const PARTS: [&str; 3] = ["_bucket", "_sum", "_count"];

/// Names of metrics.
pub(super) struct Metrics(BTreeSet<String>);

impl Metrics {
    pub(super) fn read() -> Result<Self> {
        let mut names = BTreeSet::new();
        for file in SOURCES {
            let text = fs::read_to_string(workspace::root().join(file))
                .with_context(|| format!("cannot read `{file}`"))?;
            // Every second piece is between quotes.
            names.extend(text.split('"').skip(1).step_by(2).filter(|word| is_ours(word)).map(str::to_owned));
        }
        Ok(Self(names))
    }

    /// Every metric of an expression is one of these.
    pub(super) fn has_all(&self, expression: &str) -> Result<()> {
        let known = |word: &str| {
            let parts = PARTS.iter().filter_map(|part| word.strip_suffix(part));
            std::iter::once(word).chain(parts).any(|name| self.0.contains(name))
        };
        let unknown: Vec<&str> = words(expression).filter(|word| is_ours(word) && !known(word)).collect();
        if unknown.is_empty() { Ok(()) } else { bail!("there is no metric {}", unknown.join(", ")) }
    }

    /// The same for every expression of a file of alert rules.
    pub(super) fn in_rules(&self, text: &str) -> Result<()> {
        let value: serde_yaml::Value = serde_yaml::from_str(text).context("no YAML")?;
        let list = |value: &serde_yaml::Value, key: &str| value.get(key)?.as_sequence().cloned();
        let groups = list(&value, "groups").context("no `groups`")?;
        for rule in groups.iter().filter_map(|group| list(group, "rules")).flatten() {
            let expression =
                rule.get("expr").and_then(serde_yaml::Value::as_str).context("a rule has no `expr`")?;
            self.has_all(expression)?;
        }
        Ok(())
    }
}

fn is_ours(word: &str) -> bool {
    STARTS.iter().any(|start| word.starts_with(start)) && word.chars().all(is_part)
}

fn is_part(one: char) -> bool {
    one.is_ascii_alphanumeric() || one == '_'
}

fn words(expression: &str) -> impl Iterator<Item = &str> {
    expression.split(|one| !is_part(one))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_are_those_of_the_code() {
        let metrics = Metrics::read().unwrap();
        assert!(metrics.0.len() > 80, "{}", metrics.0.len());
        let good = "rate(load_balancer_requests_duration_seconds_bucket[5m]) / rampart_collector_store_bytes";
        metrics.has_all(good).unwrap();
        let error = metrics.has_all("sum(rampart_redy) + up").unwrap_err().to_string();
        assert_eq!(error, "there is no metric rampart_redy");
        let rules = "groups: [{name: g, rules: [{alert: A, expr: 'rampart_gone > 0'}]}]";
        assert!(metrics.in_rules(rules).unwrap_err().to_string().contains("rampart_gone"));
    }
}
