//! Who is told of what: decided when an alert is stored, so that nothing is forgotten by a restart.

use std::sync::Arc;

use serde_json::Value;

use super::{
    channel::Channel,
    quiet::{Quiet, held},
};
use crate::{
    alert::{Alert, Priority},
    ingest::now_ns,
};

/// Field by which an agent says which channels a rule names.
const NOTIFY: &str = "response.notify";

/// Which alerts a channel wants, besides their priority; an empty list says nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Only {
    /// Names of rules.
    pub rules: Vec<String>,
    /// Names of nodes.
    pub nodes: Vec<String>,
    /// Sources.
    pub sources: Vec<String>,
}

/// All channels' wishes.
#[derive(Debug, Default)]
pub struct Routes {
    wishes: Vec<Wish>,
}

/// What a channel wants.
#[derive(Debug)]
struct Wish {
    channel: Arc<str>,
    priority: Priority,
    only: Only,
    /// When it wants that later, and the name under which it waits.
    quiet: Option<(Quiet, Arc<str>)>,
}

impl Only {
    fn accepts(&self, node: &str, alert: &Alert) -> bool {
        let has = |list: &[String], value: &str| list.is_empty() || list.iter().any(|one| one == value);
        has(&self.rules, &alert.rule) && has(&self.nodes, node) && has(&self.sources, &alert.source)
    }
}

impl Routes {
    /// The wishes of these channels.
    pub fn of_channels(channels: &[Channel]) -> Self {
        let wish = |channel: &Channel| Wish {
            channel: Arc::clone(&channel.name),
            priority: channel.priority,
            only: channel.only.clone(),
            quiet: channel.quiet.clone().map(|quiet| (quiet, held(&channel.name))),
        };
        Self { wishes: channels.iter().map(wish).collect() }
    }

    /// Channels that want an alert that comes now.
    pub fn of(&self, node: &str, alert: &Alert) -> Vec<Arc<str>> {
        self.of_at(node, alert, now_ns())
    }

    fn of_at(&self, node: &str, alert: &Alert, now_ns: u64) -> Vec<Arc<str>> {
        let called = called(&alert.json);
        let name = |wish: &Wish| {
            // Whom the rule names is told, and told now.
            if called.iter().any(|name| **name == *wish.channel) {
                return Some(Arc::clone(&wish.channel));
            }
            let wants = alert.priority <= wish.priority && wish.only.accepts(node, alert);
            wants.then(|| match &wish.quiet {
                Some((quiet, held)) if quiet.holds(alert.priority, now_ns) => Arc::clone(held),
                _ => Arc::clone(&wish.channel),
            })
        };
        self.wishes.iter().filter_map(name).collect()
    }
}

/// Channels that the alert's rule names by its response `notify`.
fn called(json: &str) -> Vec<String> {
    // Most alerts name none, and need not be read.
    if !json.contains(NOTIFY) {
        return Vec::new();
    }
    let alert: Value = serde_json::from_str(json).unwrap_or_default();
    let field = alert.get("output_fields").and_then(|fields| fields.get(NOTIFY));
    let names = field.and_then(Value::as_str).unwrap_or_default();
    names.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alert::tests::alert;

    #[test]
    fn priority_and_lists_both_decide() {
        let list = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let wish = |name: &str, priority, only| Wish { channel: name.into(), priority, only, quiet: None };
        let mut routes = Routes {
            wishes: vec![
                wish("all", Priority::Debug, Only::default()),
                wish("loud", Priority::Error, Only::default()),
                wish("a", Priority::Debug, Only { rules: list(&["A"]), ..Only::default() }),
                wish("n", Priority::Debug, Only { nodes: list(&["n", "m"]), ..Only::default() }),
            ],
        };
        let told = |node, priority, rule| routes.of(node, &alert(1, 1, priority, rule)).join(" ");
        assert_eq!(told("n", Priority::Critical, "A"), "all loud a n");
        assert_eq!(told("o", Priority::Error, "B"), "all loud");
        assert_eq!(told("m", Priority::Warning, "B"), "all n");

        // In its quiet hours a channel gets what is not urgent under another name.
        let quiet = Quiet {
            zone: jiff::tz::TimeZone::UTC,
            times: vec!["22:00-06:00".parse().unwrap()],
            is_outside: false,
            dates: Vec::new(),
            except: Some(Priority::Critical),
        };
        routes.wishes.truncate(2);
        routes.wishes[0].quiet = Some((quiet, held("all")));
        let at = |hour: u64, priority| {
            routes.of_at("n", &alert(1, 1, priority, "A"), hour * 3_600_000_000_000).join("|")
        };
        assert_eq!(at(23, Priority::Error), "all (held)|loud");
        assert_eq!(at(23, Priority::Critical), "all|loud");
        assert_eq!(at(12, Priority::Error), "all|loud");
    }

    #[test]
    fn whom_a_rule_names_is_told_whatever_its_wishes_are() {
        let only = Only { rules: vec!["other".to_owned()], ..Only::default() };
        let wish = |name: &str| Wish {
            channel: name.into(),
            priority: Priority::Emergency,
            only: only.clone(),
            quiet: None,
        };
        let routes = Routes { wishes: vec![wish("oncall"), wish("desk"), wish("rest")] };
        let told = |json: &str| {
            let alert = Alert { json: json.to_owned(), ..alert(1, 1, Priority::Notice, "r") };
            routes.of("n", &alert).join(" ")
        };
        assert_eq!(told(r#"{"output_fields":{"response.notify":"desk,oncall"}}"#), "oncall desk");
        assert_eq!(told(r#"{"output_fields":{"proc.cmdline":"\"response.notify\":\"desk\""}}"#), "");
        assert_eq!(told(r#"{"response.notify":"desk"}"#), "");
    }
}
