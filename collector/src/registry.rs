//! Which nodes there are, and how they said they are.
//!
//! Owns what agents report of themselves; lost at a restart and heard again within one heartbeat. What nodes have sent
//! is counted by the store.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use serde::{Deserialize, Serialize};

use crate::rollout::trend::Trend;

/// Time between heartbeats.
pub const HEARTBEAT_SECS: u32 = 30;
/// Heartbeats that may be missed.
const MISSED_MAX: u64 = 3;

/// What an agent said last.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Node {
    /// When, nanoseconds since the epoch.
    pub seen_ns: u64,
    /// Streams it has.
    pub sessions: u32,
    /// Version of the agent.
    pub version: String,
    /// Release of the kernel.
    pub kernel: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// How it is; `None` before its first heartbeat.
    pub beat: Option<Beat>,
    /// How it is with policy bundles.
    pub bundle: Bundle,
    /// How it did before its bundle and does since.
    #[serde(skip)]
    pub trend: Trend,
}

/// How it is with policy bundles on a node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Bundle {
    /// Whether it takes them.
    pub is_accepting: bool,
    /// Digest of the one in force, hexadecimal; empty when there is none.
    pub digest: String,
    /// Its name.
    pub name: String,
    /// Why another one is not; empty when there is nothing to say.
    pub fault: String,
    /// Digest of that one.
    pub fault_digest: String,
}

/// A heartbeat.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Beat {
    /// Digest of the rules.
    pub policy_digest: String,
    /// Rules in force.
    pub rules: u32,
    /// Whether the agent is ready.
    pub is_ready: bool,
    /// Losses by cause since the agent started.
    pub losses: BTreeMap<String, u64>,
    /// Processor time, milliseconds.
    pub cpu_ms: u64,
    /// Resident memory.
    pub rss_bytes: u64,
    /// Events seen.
    pub events: u64,
    /// Alerts made.
    pub alerts: u64,
    /// Alerts in the spool.
    pub spool_pending: u64,
    /// Size of the spool.
    pub spool_bytes: u64,
    /// Why the last reload failed; empty when it did not.
    pub policy_fault: String,
}

/// All nodes.
#[derive(Debug, Default)]
pub struct Registry {
    nodes: Mutex<BTreeMap<String, Node>>,
    /// Those of other collectors, as these told last.
    others: Mutex<BTreeMap<String, Node>>,
}

impl Node {
    /// Whether it was heard of in time.
    pub const fn is_active(&self, now_ns: u64) -> bool {
        let limit = HEARTBEAT_SECS as u64 * MISSED_MAX * 1_000_000_000;
        self.seen_ns > 0 && now_ns.saturating_sub(self.seen_ns) <= limit
    }
}

impl Registry {
    /// Notes something about a node.
    pub fn update(&self, name: &str, now_ns: u64, change: impl FnOnce(&mut Node)) {
        let mut nodes = self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
        let node = nodes.entry(name.to_owned()).or_default();
        node.seen_ns = now_ns;
        change(node);
    }

    /// A node.
    pub fn node(&self, name: &str) -> Node {
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner).get(name).cloned().unwrap_or_default()
    }

    /// Takes what other collectors told.
    pub fn set_others(&self, others: BTreeMap<String, Node>) {
        *self.others.lock().unwrap_or_else(PoisonError::into_inner) = others;
    }

    /// All nodes that any collector has heard of, as far as this one knows.
    pub fn all(&self) -> BTreeMap<String, Node> {
        let mut all = self.nodes();
        for (name, node) in self.others.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            let is_newer = all.get(name).is_none_or(|known| known.seen_ns < node.seen_ns);
            if is_newer {
                all.insert(name.clone(), node.clone());
            }
        }
        all
    }

    /// All nodes that were heard of here, by name.
    pub fn nodes(&self) -> BTreeMap<String, Node> {
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_inactive_after_three_missed_heartbeats() {
        let registry = Registry::default();
        registry.update("n", 1_000, |node| node.version = "1".to_owned());
        let node = registry.nodes()["n"].clone();
        assert!(node.is_active(1_000) && node.is_active(90_000_000_000));
        assert!(!node.is_active(90_000_001_001));
        assert!(!Node::default().is_active(0));
    }
}
