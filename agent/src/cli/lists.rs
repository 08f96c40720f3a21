//! `rampart lists`: the lists that rules name, how old they are, and which of them hold a value.

use std::{fmt::Write as _, io, time::Duration};

use clap::{Args, Subcommand};
use form_urlencoded::Serializer;
use serde_json::Value;

use super::{
    Outcome, complain,
    print::table,
    watch::{Look, WatchArgs},
};

pub(super) const EXAMPLES: &str = "\
Examples:
  rampart lists list                           entries, age, source and fault of each
  rampart lists list -o json | jq '.lists[] | select(.stale)'
  rampart lists check 203.0.113.7              which lists hold this address
  rampart lists check www.example.com          a name is in a list that holds it or a name above it

Lists are those of `rules.lists`. A rule looks into one by its name, as in `fd.rip in (bad_ips)`.

Exit codes: 0 done, 1 the agent refuses, 2 no agent answers.";

#[derive(Args, Clone, Debug)]
pub(super) struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Clone, Debug, Subcommand)]
enum Action {
    /// Lists with their age, entries, source and fault
    List(Look),
    /// Which lists hold an address, a host name, a digest or a text
    Check(Check),
}

#[derive(Args, Clone, Debug)]
struct Check {
    /// What to look for
    value: String,
    #[command(flatten)]
    look: Look,
}

pub(super) fn run(arguments: &Arguments) -> io::Result<Outcome> {
    let look = match &arguments.action {
        Action::List(look) => look,
        Action::Check(check) => &check.look,
    };
    let agent = match look.shared.agent.agent()? {
        Ok(agent) => agent,
        Err(outcome) => return Ok(outcome),
    };
    // Without it, any other refusal is one of the question.
    if let Err(why) = agent.page::<Value>("/lists") {
        return Ok(complain(&why));
    }
    let watch: WatchArgs = look.watch;
    watch.show(look.shared.output, || match &arguments.action {
        Action::List(_) => agent.answer("/lists").map(|page| (page.clone(), list(&page))),
        Action::Check(check) => {
            let query = Serializer::new(String::new()).append_pair("value", &check.value).finish();
            let answer = agent.answer(&format!("/lists/check?{query}"))?;
            let text = found(&check.value, &answer);
            Ok((answer, text))
        }
    })
}

fn list(page: &Value) -> String {
    let lists = page["lists"].as_array().map(Vec::as_slice).unwrap_or_default();
    if lists.is_empty() {
        return "the configuration has no lists; see `rules.lists`\n".to_owned();
    }
    let mut rows = vec![["NAME", "KIND", "ENTRIES", "AGE", "STATE", "SOURCE"].map(str::to_owned).into()];
    let mut notes = String::new();
    for list in lists {
        let text = |name: &str| list[name].as_str().unwrap_or("-").to_owned();
        let number =
            |name: &str| list[name].as_u64().map_or_else(|| "-".to_owned(), |number| number.to_string());
        let age =
            list["age_secs"].as_u64().map_or_else(|| "-".to_owned(), |secs| short(Duration::from_secs(secs)));
        let state = match (list["stale"].as_bool(), list["fault"].is_string()) {
            (Some(true), _) => "stale",
            (_, true) => "not renewed",
            (Some(false), false) => "current",
            (None, false) => "not opened yet",
        };
        rows.push(vec![text("name"), text("kind"), number("counts"), age, state.to_owned(), text("source")]);
        let name = text("name");
        // Writing to a `String` cannot fail.
        if let Some(fault) = list["fault"].as_str() {
            let _ = writeln!(notes, "{name}: {fault}");
        }
        for (key, what) in [("refused", "entries are left out"), ("wrong", "lines are no entries")] {
            let told = &list[key];
            if let Some(count) = told["count"].as_u64().filter(|count| *count > 0) {
                let first = told.pointer("/first/0").unwrap_or(&Value::Null);
                let (line, why) = (&first["line"], first["why"].as_str().unwrap_or_default());
                let _ = writeln!(notes, "{name}: {count} {what}, the first in line {line}: {why}");
            }
        }
    }
    let gap = if notes.is_empty() { "" } else { "\n" };
    format!("{}{gap}{notes}", table(&rows))
}

fn found(value: &str, answer: &Value) -> String {
    let lists = answer["lists"].as_array().map(Vec::as_slice).unwrap_or_default();
    let names: Vec<&str> = lists.iter().filter_map(Value::as_str).collect();
    match names.as_slice() {
        [] => format!("no list holds `{value}`\n"),
        names => format!("`{value}` is in {}\n", names.join(", ")),
    }
}

/// A time in its two largest units.
fn short(time: Duration) -> String {
    let secs = time.as_secs();
    let (days, hours, minutes) = (secs / 86_400, secs / 3600 % 24, secs / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{secs}s"),
        (0, 0, minutes) => format!("{minutes}m{}s", secs % 60),
        (0, hours, minutes) => format!("{hours}h{minutes}m"),
        (days, hours, _) => format!("{days}d{hours}h"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn people_see_how_lists_stand_and_what_is_wrong() {
        assert!(list(&json!({ "lists": [] })).contains("no lists"));
        let page = json!({ "lists": [
            { "name": "bad", "kind": "ip", "counts": 7, "age_secs": 90, "stale": false, "fault": null,
              "source": "https://example.com/list", "refused": { "count": 1, "first": [{ "line": 3, "why": "`x` is y" }] },
              "wrong": { "count": 0, "first": [] } },
            { "name": "old", "kind": "sha256", "counts": 0, "age_secs": 200_000, "stale": true,
              "fault": "it cannot be reached", "source": "/etc/x" },
        ] });
        let expected = "\
NAME  KIND    ENTRIES  AGE    STATE    SOURCE
bad   ip      7        1m30s  current  https://example.com/list
old   sha256  0        2d7h   stale    /etc/x

bad: 1 entries are left out, the first in line 3: `x` is y
old: it cannot be reached
";
        assert_eq!(list(&page), expected);
        assert_eq!(found("a", &json!({ "lists": ["bad", "old"] })), "`a` is in bad, old\n");
        assert_eq!(found("a", &json!({ "lists": [] })), "no list holds `a`\n");
    }
}
