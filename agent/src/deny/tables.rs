//! The tables of a plan, as the kernel gets them; and the kernel's look-ups on them, for tests and explanations.

use std::collections::BTreeMap;

use rampart_common::deny::{PATH_BYTES, PathTerms, Settings, Terms};

/// The beginning of paths; with NUL at its end a whole path.
pub type Node = Vec<u8>;

/// See the module. The empty node and the network of all addresses are always there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tables {
    /// What operations are about.
    pub paths: BTreeMap<Node, PathTerms>,
    /// Executables.
    pub exes: BTreeMap<Node, PathTerms>,
    /// Remote addresses: prefix bits and address in its IPv6 form.
    pub addresses: BTreeMap<(u8, [u8; 16]), Terms>,
    /// Remote ports.
    pub ports: BTreeMap<u32, Terms>,
    /// Effective users.
    pub users: BTreeMap<u32, Terms>,
    /// Names of processes.
    pub names: BTreeMap<[u8; 16], Terms>,
    /// What needs no look-up; generation and switch are filled in when they are put in force.
    pub settings: Settings,
}

/// The longest node that a path begins with.
pub fn longest<'t>(nodes: &'t BTreeMap<Node, PathTerms>, path: &[u8]) -> Option<&'t Node> {
    let whole: Vec<u8> = path.iter().copied().chain([0]).take(PATH_BYTES).collect();
    (0..=whole.len()).rev().find_map(|len| Some(nodes.get_key_value(whole.get(..len)?)?.0))
}

/// What the kernel finds for a path.
pub fn look(nodes: &BTreeMap<Node, PathTerms>, path: &[u8]) -> PathTerms {
    longest(nodes, path).and_then(|node| nodes.get(node)).copied().unwrap_or_default()
}
