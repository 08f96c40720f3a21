//! What collectors see of their nodes while a rollout is under way, put together.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::trend::Rates;

/// A node as one collector sees it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct NodeSight {
    /// When it was heard of, nanoseconds since the epoch.
    pub seen_ns: u64,
    /// Whether it has a stream here.
    pub is_connected: bool,
    /// Whether it takes bundles.
    pub is_accepting: bool,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Digest of its bundle; empty when it has none.
    pub digest: String,
    /// Why it has not another one; empty when there is nothing to say.
    pub fault: String,
    /// Digest of that bundle.
    pub fault_digest: String,
    /// How it did before.
    pub before: Option<Rates>,
    /// How it does since.
    pub since: Option<Rates>,
}

/// All nodes of a collector, by name.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Sight {
    /// See the type.
    pub nodes: BTreeMap<String, NodeSight>,
}

/// All nodes, by name.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sights {
    /// See the type.
    pub nodes: BTreeMap<String, NodeSight>,
}

impl Sights {
    /// Adds what a collector sees. A node that several know is as the one says that heard of it last.
    pub fn add(&mut self, sight: Sight) {
        for (name, node) in sight.nodes {
            match self.nodes.get(&name) {
                Some(known) if (known.is_connected, known.seen_ns) >= (node.is_connected, node.seen_ns) => {}
                _ => drop(self.nodes.insert(name, node)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_that_moved_is_as_its_new_collector_says() {
        let sight = |is_connected, seen_ns, digest: &str| {
            let node = NodeSight { seen_ns, is_connected, digest: digest.to_owned(), ..NodeSight::default() };
            Sight { nodes: BTreeMap::from([("n".to_owned(), node)]) }
        };
        for order in [[0, 1, 2], [2, 1, 0], [1, 0, 2]] {
            let all = [sight(false, 9, "gone"), sight(true, 7, "here"), sight(true, 5, "older")];
            let mut sights = Sights::default();
            for at in order {
                sights.add(all[at].clone());
            }
            assert_eq!(sights.nodes["n"].digest, "here");
        }
    }
}
