//! `rampart responses`: what is in force by responses of rules, what was done last, and taking something back.

use std::{fmt::Write as _, io};

use clap::{Args, Subcommand};
use hyper::Method;
use rampart_rules::{duration, response::TTL_MAX_MS};
use serde_json::{Value, json};

use super::{
    Outcome, complain,
    print::table,
    watch::{Look, Shared, WatchArgs},
};

pub(super) const EXAMPLES: &str = "\
Examples:
  rampart responses list                       what is in force, and what was done last
  rampart responses list --watch               the same, live; `-o json` gives one object a line
  rampart responses undo 7                     take back what has this number
  rampart responses allow 'Keys read' --for 1h let through what this rule's `deny` refuses

Each response is noted in `audit.jsonl` in `node.state_dir`; whoever takes one back is noted too. That needs root, who is
known on the agent's socket, or the token of `admin.token_file`.

Exit codes: 0 done, 1 the agent refuses, 2 no agent answers.";

#[derive(Args, Clone, Debug)]
pub(super) struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Clone, Debug, Subcommand)]
enum Action {
    /// What is in force, and what was done last
    List(Look),
    /// Take something back before its time is over
    Undo(Undo),
    /// Let operations through that a rule's `deny` refuses, for a time
    Allow(Allow),
}

#[derive(Args, Clone, Debug)]
struct Undo {
    /// Its number, as `list` shows it
    id: u64,
    #[command(flatten)]
    shared: Shared,
}

#[derive(Args, Clone, Debug)]
struct Allow {
    /// The rule
    rule: String,
    /// How long, such as `90s`, `10m`, `1h30m`; a week at most
    #[arg(long = "for", value_name = "TIME", default_value = "10m", value_parser = seconds)]
    time: u64,
    #[command(flatten)]
    shared: Shared,
}

/// Seconds of a time with units.
fn seconds(text: &str) -> Result<u64, String> {
    let ms = duration::parse_ms(text).filter(|ms| (1000..=TTL_MAX_MS).contains(ms));
    ms.map(|ms| ms / 1000).ok_or_else(|| "write a time from `1s` to a week, such as `10m`".to_owned())
}

pub(super) fn run(arguments: &Arguments) -> io::Result<Outcome> {
    let (shared, watch) = match &arguments.action {
        Action::List(look) => (look.shared.clone(), look.watch),
        Action::Undo(undo) => (undo.shared.clone(), WatchArgs::default()),
        Action::Allow(allow) => (allow.shared.clone(), WatchArgs::default()),
    };
    let agent = match shared.agent.agent()? {
        Ok(agent) => agent,
        Err(outcome) => return Ok(outcome),
    };
    // Without it, any other refusal is one of the question.
    if let Err(why) = agent.page::<Value>("/responses") {
        return Ok(complain(&why));
    }
    watch.show(shared.output, || match &arguments.action {
        Action::List(_) => agent.answer("/responses").map(|page| (page.clone(), list(&page))),
        Action::Undo(undo) => {
            let page = format!("/responses/{}/undo", undo.id);
            let answer = agent.change(Method::POST, &page, Vec::new())?;
            let text = format!("took back {}\n", in_words(at(&answer, "undone")));
            Ok((answer, text))
        }
        Action::Allow(allow) => {
            let body = json!({ "rule": allow.rule, "secs": allow.time }).to_string().into_bytes();
            let answer = agent.change(Method::POST, "/responses/allow", body)?;
            let allowed = at(&answer, "allowed");
            let text = format!(
                "{}, until {}; `rampart responses undo {}` ends it\n",
                text(allowed, "target"),
                text(allowed, "until"),
                at(allowed, "id")
            );
            Ok((answer, text))
        }
    })
}

fn in_words(doing: &Value) -> String {
    format!("{} {}", text(doing, "action"), text(doing, "target"))
}

/// For people.
fn list(page: &Value) -> String {
    let mut out =
        format!("mode {}, at most {} of a kind in a minute\n", text(page, "mode"), at(page, "per_minute"));
    let in_force = at(page, "in_force").as_array().map(Vec::as_slice).unwrap_or_default();
    if in_force.is_empty() {
        out.push_str("nothing is in force\n");
    } else {
        let mut rows = vec![head(&["id", "action", "target", "seconds left", "rule"])];
        rows.extend(in_force.iter().map(|doing| {
            vec![
                at(doing, "id").to_string(),
                text(doing, "action").to_owned(),
                text(doing, "target").to_owned(),
                at(doing, "left_secs").to_string(),
                text(doing, "rule").to_owned(),
            ]
        }));
        out.push_str(&table(&rows));
    }
    deny(at(page, "deny"), &mut out);
    let recent = at(page, "recent").as_array().map(Vec::as_slice).unwrap_or_default();
    if !recent.is_empty() {
        out.push('\n');
        let mut rows = vec![head(&["time", "action", "outcome", "target", "rule"])];
        rows.extend(recent.iter().map(|last| {
            ["time", "action", "outcome", "target", "rule"].map(|name| text(last, name).to_owned()).into()
        }));
        out.push_str(&table(&rows));
    }
    out
}

/// What is refused before it happens.
fn deny(page: &Value, out: &mut String) {
    let rules = at(page, "rules").as_array().map(Vec::as_slice).unwrap_or_default();
    if rules.is_empty() {
        return;
    }
    let number = |name: &str| at(page, name).as_u64().unwrap_or_default();
    let undecided = at(page, "undecided").as_object().into_iter().flatten();
    let undecided: u64 = undecided.filter_map(|(_, count)| count.as_u64()).sum();
    let _ = writeln!(
        out,
        "\ndeny: {}; refused {}, would have refused {}, could not decide {undecided}",
        if at(page, "active").as_bool() == Some(true) { "in force" } else { "not in force" },
        number("refused"),
        number("observed"),
    );
    if let Some(why) = at(page, "why").as_str() {
        let _ = writeln!(out, "  {why}");
    }
    let list = |rule: &Value, name: &str, between: &str| {
        let all = at(rule, name).as_array().map(Vec::as_slice).unwrap_or_default();
        all.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(between)
    };
    let mut rows = vec![head(&["rule", "mode", "refuses", "not"])];
    rows.extend(rules.iter().map(|rule| {
        let mode = match at(rule, "allowed").as_bool() {
            Some(true) => "let through".to_owned(),
            _ => text(rule, "mode").to_owned(),
        };
        let (refused, not) = (list(rule, "operations", ", "), list(rule, "obstacles", "; "));
        let or_none = |text: String| if text.is_empty() { "-".to_owned() } else { text };
        vec![text(rule, "rule").to_owned(), mode, or_none(refused), or_none(not)]
    }));
    out.push_str(&table(&rows));
}

fn head(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_uppercase()).collect()
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    at(value, name).as_str().unwrap_or("-")
}

/// A member, null when it is absent.
fn at<'a>(value: &'a Value, name: &str) -> &'a Value {
    value.get(name).unwrap_or(&Value::Null)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn people_see_what_is_in_force_and_what_was_done() {
        let empty = json!({ "mode": "off", "per_minute": 30, "in_force": [], "recent": [] });
        assert_eq!(list(&empty), "mode off, at most 30 of a kind in a minute\nnothing is in force\n");
        let page = json!({
            "mode": "enforce",
            "per_minute": 5,
            "in_force": [{ "id": 7, "action": "block_ip", "target": "192.0.2.1", "left_secs": 59, "rule": "r" }],
            "recent": [{ "time": "t", "action": "kill", "outcome": "done", "target": "nc (12)", "rule": "s" }],
        });
        let text = list(&page);
        assert!(text.contains('7') && text.contains("192.0.2.1") && text.contains("nc (12)"), "{text}");
        assert_eq!(in_words(&page["in_force"][0]), "block_ip 192.0.2.1");
    }

    #[test]
    fn people_see_what_is_refused_and_why_it_is_not() {
        let page = json!({
            "mode": "enforce", "per_minute": 5, "in_force": [], "recent": [],
            "deny": {
                "active": false, "why": "no `bpf`", "refused": 3, "observed": 2, "untold": 0,
                "undecided": { "process": 1, "group": 0, "path": 4, "busy": 0 },
                "rules": [
                    { "rule": "a", "mode": "enforce", "allowed": false, "operations": ["open", "exec"], "obstacles": [] },
                    { "rule": "b", "mode": "off", "allowed": true, "operations": [], "obstacles": ["it counts"] },
                ],
            },
        });
        let text = list(&page);
        assert!(
            text.contains("deny: not in force; refused 3, would have refused 2, could not decide 5"),
            "{text}"
        );
        let rest = text.split_once("deny:").map(|(_, rest)| rest).unwrap_or_default();
        for word in ["no `bpf`", "open, exec", "let through", "it counts"] {
            assert!(rest.contains(word), "{word}: {text}");
        }
        assert_eq!((seconds("90s"), seconds("1h30m")), (Ok(90), Ok(5400)));
        assert!(seconds("0s").is_err() && seconds("30d").is_err() && seconds("x").is_err());
    }
}
