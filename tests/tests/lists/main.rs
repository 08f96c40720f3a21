//! Lists that rules name and whose members are kept elsewhere, from the kernel to the alert.

#![expect(clippy::expect_used, reason = "a panic is how a test fails")]

mod files;
mod server;
mod web;

use std::{
    fs,
    path::{Path, PathBuf},
};

use rampart_tests::agent::Agent;
use serde_json::Value;

/// Writes a rule file.
fn rules(dir: &Path, text: &str) -> PathBuf {
    let path = dir.join("rules.yaml");
    fs::write(&path, text).expect("written");
    path
}

/// The part of the page about a list.
fn list(agent: &Agent, name: &str) -> Option<Value> {
    let (_, body) = agent.get("/lists")?;
    let page: Value = serde_json::from_str(&body).ok()?;
    page.get("lists")?
        .as_array()?
        .iter()
        .find(|list| list.get("name").is_some_and(|known| known == name))
        .cloned()
}

/// Whether a list holds a value.
fn holds(agent: &Agent, name: &str, value: &str) -> bool {
    let answer = agent.get(&format!("/lists/check?value={value}"));
    let answer: Option<Value> = answer.and_then(|(_, body)| serde_json::from_str(&body).ok());
    let lists = answer.as_ref().and_then(|answer| answer.get("lists")?.as_array());
    lists.is_some_and(|lists| lists.iter().any(|known| known == name))
}

/// Alerts of a rule whose field has a value.
fn count(agent: &Agent, rule: &str, field: &str, value: &str) -> usize {
    agent.alerts().iter().filter(|alert| is_of(alert, rule, field, value)).count()
}

fn is_of(alert: &Value, rule: &str, field: &str, value: &str) -> bool {
    let shown = alert.get("output_fields").and_then(|fields| fields.get(field));
    alert.get("rule").is_some_and(|name| name == rule) && shown.is_some_and(|shown| shown == value)
}
