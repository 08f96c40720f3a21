//! `rampart responses`: what is in force by responses of rules, what was done last, and taking something back.

use std::io;

use clap::{Args, Subcommand};
use hyper::Method;
use serde_json::Value;

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
}

#[derive(Args, Clone, Debug)]
struct Undo {
    /// Its number, as `list` shows it
    id: u64,
    #[command(flatten)]
    shared: Shared,
}

pub(super) fn run(arguments: &Arguments) -> io::Result<Outcome> {
    let (shared, watch) = match &arguments.action {
        Action::List(look) => (look.shared.clone(), look.watch),
        Action::Undo(undo) => (undo.shared.clone(), WatchArgs::default()),
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
}
