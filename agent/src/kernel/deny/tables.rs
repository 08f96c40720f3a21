//! What the programs at security hooks look up.

use std::collections::BTreeMap;

use rampart_common::deny::{PathTerms, Settings, Terms};

/// The beginning of paths; with NUL at its end a whole path.
pub type Node = Vec<u8>;

/// The tables of a rule set. The empty node and the network of all addresses are always there.
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
