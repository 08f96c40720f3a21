//! Who is told of what: decided when an alert is stored, so that nothing is forgotten by a restart.

use std::sync::Arc;

use super::channel::Channel;
use crate::alert::{Alert, Priority};

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
    wishes: Vec<(Arc<str>, Priority, Only)>,
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
        let wish = |channel: &Channel| (Arc::clone(&channel.name), channel.priority, channel.only.clone());
        Self { wishes: channels.iter().map(wish).collect() }
    }

    /// Channels that want an alert.
    pub fn of(&self, node: &str, alert: &Alert) -> Vec<Arc<str>> {
        let wants =
            |wish: &&(Arc<str>, Priority, Only)| alert.priority <= wish.1 && wish.2.accepts(node, alert);
        self.wishes.iter().filter(wants).map(|wish| Arc::clone(&wish.0)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alert::tests::alert;

    #[test]
    fn priority_and_lists_both_decide() {
        let list = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let routes = Routes {
            wishes: vec![
                ("all".into(), Priority::Debug, Only::default()),
                ("loud".into(), Priority::Error, Only::default()),
                ("a".into(), Priority::Debug, Only { rules: list(&["A"]), ..Only::default() }),
                ("n".into(), Priority::Debug, Only { nodes: list(&["n", "m"]), ..Only::default() }),
            ],
        };
        let told = |node, priority, rule| routes.of(node, &alert(1, 1, priority, rule)).join(" ");
        assert_eq!(told("n", Priority::Critical, "A"), "all loud a n");
        assert_eq!(told("o", Priority::Error, "B"), "all loud");
        assert_eq!(told("m", Priority::Warning, "B"), "all n");
    }
}
