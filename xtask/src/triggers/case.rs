//! The cases of a file, and what this command needs to know about them; what they do is the actor's to read.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// The section that holds them.
const SECTION: &str = "rule_triggers";

/// What becomes of a case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It is performed.
    Run,
    /// It is not for this machine.
    Skip(String),
    /// It cannot be performed or judged.
    Fail(String),
}

/// What a case's alert must be like.
#[derive(Clone, Debug, Default)]
pub(super) struct Expected {
    pub(super) priority: Option<String>,
    pub(super) source: Option<String>,
    pub(super) hostname: Option<String>,
    pub(super) fields: BTreeMap<String, String>,
}

/// One case.
#[derive(Clone, Debug)]
pub(super) struct Case {
    /// Its place among all cases, by which its marks are told apart.
    pub(super) number: usize,
    pub(super) rule: String,
    pub(super) test: String,
    pub(super) fate: Fate,
    pub(super) expected: Expected,
    /// What kind of container it runs in, if in any.
    pub(super) container: Option<Value>,
    /// Whether it makes system calls after its processes and resources are there.
    pub(super) has_steps: bool,
    /// Whether it waits for some time on purpose.
    pub(super) waits: bool,
    /// All of it, for the actor.
    pub(super) order: Value,
}

/// Reads the cases of a file; the first gets the number `first`.
pub(super) fn read(file: &Path, first: usize) -> Result<Vec<Case>> {
    let text = fs::read_to_string(file).with_context(|| format!("cannot read `{}`", file.display()))?;
    let value: Value =
        serde_yaml::from_str(&text).with_context(|| format!("`{}` is no YAML", file.display()))?;
    let section = value.get(SECTION).unwrap_or(&value);
    let list = section.get("cases").and_then(Value::as_array);
    let list = list.with_context(|| format!("`{}` has no section `{SECTION}` with cases", file.display()))?;
    Ok(list.iter().zip(first..).map(|(case, number)| Case::new(number, case)).collect())
}

/// Settings of the agent that a file of cases asks for, as text.
pub(super) fn configuration(file: &Path) -> Result<String> {
    let text = fs::read_to_string(file).with_context(|| format!("cannot read `{}`", file.display()))?;
    let value: Value =
        serde_yaml::from_str(&text).with_context(|| format!("`{}` is no YAML", file.display()))?;
    Ok(value.get("configuration").and_then(Value::as_str).unwrap_or_default().to_owned())
}

impl Case {
    pub(super) fn new(number: usize, value: &Value) -> Self {
        let word = |key: &str| value.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        let (rule, test) =
            (word("rule"), if value.get("test").is_some() { word("test") } else { word("name") });
        let expected = value.get("expect").or_else(|| value.get("expectedOutcome"));
        let container = value.pointer("/context/container").filter(|container| !container.is_null());
        let mut case = Self {
            number,
            rule,
            test,
            fate: Fate::Run,
            expected: Expected::default(),
            container: container.cloned(),
            has_steps: value.get("steps").and_then(Value::as_array).is_some_and(|steps| !steps.is_empty()),
            waits: word("before").contains("sleep "),
            order: value.clone(),
        };
        if case.rule.is_empty() {
            case.fate = Fate::Fail("the case names no rule".to_owned());
        }
        match Expected::read(expected) {
            Ok(expected) => case.expected = expected,
            Err(error) => case.fate = Fate::Fail(format!("{error:#}")),
        }
        if let Some(condition) = value.get("run_if").or_else(|| value.get("runIf")) {
            match reason_not_to_run(condition) {
                Ok(None) => {}
                Ok(Some(reason)) => case.fate = Fate::Skip(reason),
                Err(error) => case.fate = Fate::Fail(format!("{error:#}")),
            }
        }
        case
    }

    /// Its name for people.
    pub(super) fn title(&self) -> String {
        format!("{} #{} ({})", self.test, self.number, self.rule)
    }

    /// Its name in marks.
    pub(super) fn id(&self) -> String {
        self.number.to_string()
    }
}

impl Expected {
    fn read(value: Option<&Value>) -> Result<Self> {
        let Some(Value::Object(map)) = value else { bail!("the case says not what is expected") };
        let mut expected = Self::default();
        for (key, value) in map {
            let text =
                || value.as_str().map(ToOwned::to_owned).with_context(|| format!("`{key}` is no text"));
            match key.as_str() {
                "priority" => expected.priority = Some(text()?),
                "source" => expected.source = Some(text()?),
                "hostname" => expected.hostname = Some(text()?),
                "outputFields" => {
                    let fields = value.as_object().context("`outputFields` is no set of keys")?;
                    expected.fields = fields.iter().map(|(key, value)| (key.clone(), plain(value))).collect();
                }
                other => bail!("the expectation has a key this command does not know: {other}"),
            }
        }
        Ok(expected)
    }
}

/// A value as text, without the quotes of JSON.
pub(super) fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned)
}

/// Every user a case names.
pub(super) fn users(case: &Case) -> Vec<String> {
    let processes = case.order.pointer("/context/processes").and_then(Value::as_array);
    let resources = case.order.get("resources").and_then(Value::as_array);
    let users = processes.into_iter().chain(resources).flatten().filter_map(|part| part.get("user"));
    users.filter_map(Value::as_str).map(ToOwned::to_owned).collect()
}

/// Every address of a resource that is not there on any machine.
pub(super) fn addresses(cases: &[Case]) -> BTreeSet<String> {
    let resources = cases.iter().filter_map(|case| case.order.get("resources")?.as_array()).flatten();
    let addresses = resources.filter_map(|resource| resource.get("address")?.as_str()?.parse().ok());
    let far = addresses.filter(|address: &SocketAddr| !address.ip().is_loopback());
    far.map(|address| address.ip().to_string()).collect()
}

/// Why a condition keeps a case from this machine, if it does.
fn reason_not_to_run(condition: &Value) -> Result<Option<String>> {
    let map = condition.as_object().context("`run_if` is no set of keys")?;
    for (key, test) in map {
        if key != "arch" {
            bail!("`run_if` has a key this command does not know: {key}");
        }
        let operator = test.get("op").and_then(Value::as_str).unwrap_or("eq");
        let wanted = test.get("val").and_then(Value::as_str).context("`run_if` names no architecture")?;
        let names = architecture_names();
        let same = names.contains(&wanted);
        let holds = match operator {
            "eq" | "=" | "==" => same,
            "ne" | "!=" => !same,
            other => bail!("`run_if` has an operator this command does not know: {other}"),
        };
        if !holds {
            let own = names.first().copied().unwrap_or_default();
            return Ok(Some(format!(
                "other architecture: the case is for {operator} {wanted}, this is {own}"
            )));
        }
    }
    Ok(None)
}

/// What this machine's architecture is called, the name of the Go toolchain first.
fn architecture_names() -> &'static [&'static str] {
    match std::env::consts::ARCH {
        "x86_64" => &["amd64", "x86_64"],
        "aarch64" => &["arm64", "aarch64"],
        _ => &[],
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn case(more: &Value) -> Case {
        let mut value = json!({"rule": "R", "test": "t", "expect": {"priority": "warning"}});
        if let (Some(value), Some(more)) = (value.as_object_mut(), more.as_object()) {
            value.extend(more.clone());
        }
        Case::new(0, &value)
    }

    #[test]
    fn a_case_is_for_its_architecture() {
        let arch = |op: &str, val: &str| case(&json!({"run_if": {"arch": {"op": op, "val": val}}})).fate;
        let own = architecture_names()[0];
        assert_eq!(arch("eq", own), Fate::Run);
        assert_eq!(arch("ne", "s390x"), Fate::Run);
        assert!(matches!(arch("ne", own), Fate::Skip(reason) if reason.contains("other architecture")));
        assert!(matches!(arch("like", own), Fate::Fail(_)));
        assert!(matches!(case(&json!({"run_if": {"moon": "full"}})).fate, Fate::Fail(_)));
    }

    #[test]
    fn expectations_are_read_as_a_whole() {
        let read = case(&json!({"expect": {"outputFields": {"a": "b", "n": 3}}})).expected;
        assert_eq!(read.fields, [("a".into(), "b".into()), ("n".into(), "3".into())].into());
        assert!(matches!(case(&json!({"expect": {"colour": "red"}})).fate, Fate::Fail(_)));
        assert!(matches!(case(&json!({"expect": null})).fate, Fate::Fail(_)));
    }

    #[test]
    fn users_and_addresses_are_found() {
        let value = json!({
            "context": {"container": null, "processes": [{"name": "a", "user": "lp"}]},
            "resources": [
                {"type": "clientServer", "address": "203.0.113.1:1"},
                {"type": "clientServer", "address": "[fd00::1]:1"},
                {"type": "clientServer", "address": "127.0.0.1:1"},
                {"type": "process", "user": "mail"},
            ],
        });
        let case = case(&value);
        assert_eq!(case.container, None);
        assert_eq!(users(&case), ["lp", "mail"]);
        assert_eq!(addresses(&[case]), ["203.0.113.1".to_owned(), "fd00::1".to_owned()].into());
    }
}
