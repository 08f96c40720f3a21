//! The kernel's look-ups on the tables of a plan, for tests and explanations.

use std::collections::BTreeMap;

use rampart_common::deny::{Operation, PATH_BYTES, PathTerms, Terms};

pub use crate::kernel::deny::tables::{Node, Tables};

/// The longest node that a path begins with.
pub fn longest<'t>(nodes: &'t BTreeMap<Node, PathTerms>, path: &[u8]) -> Option<&'t Node> {
    let whole: Vec<u8> = path.iter().copied().chain([0]).take(PATH_BYTES).collect();
    (0..=whole.len()).rev().find_map(|len| Some(nodes.get_key_value(whole.get(..len)?)?.0))
}

/// What the kernel finds for a path.
pub fn look(nodes: &BTreeMap<Node, PathTerms>, path: &[u8]) -> PathTerms {
    longest(nodes, path).and_then(|node| nodes.get(node)).copied().unwrap_or_default()
}

/// An operation, as far as the kernel looks at it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked<'a> {
    /// What it is.
    pub operation: Operation,
    /// Its class, see [`rampart_common::deny`].
    pub class: usize,
    /// The file that is opened.
    pub path: &'a [u8],
    /// The executable: what the process runs, or is about to.
    pub exe: &'a [u8],
    /// The name of the process; `None` when it is not known.
    pub name: Option<[u8; 16]>,
    /// The effective user.
    pub user: u32,
    /// The remote address, in its IPv6 form.
    pub address: [u8; 16],
    /// The remote port.
    pub port: u32,
}

impl Tables {
    /// The terms that are true of an operation: what the kernel's programs find in the same tables.
    pub fn terms(&self, asked: &Asked<'_>) -> Terms {
        let settings = &self.settings;
        let class = |classes: &[Terms]| classes.get(asked.class).copied().unwrap_or_default();
        let about = match asked.operation {
            Operation::Open => class(&settings.open) & look(&self.paths, asked.path).terms,
            Operation::Exec => settings.exec,
            Operation::Connect => {
                let port = self.ports.get(&asked.port).copied().unwrap_or(settings.other_ports);
                class(&settings.connect) & self.address(asked.address) & port
            }
        };
        let name = match asked.name {
            Some(name) => self.names.get(&name).copied().unwrap_or(settings.other_names),
            None => settings.nameless,
        };
        let user = self.users.get(&asked.user).copied().unwrap_or(settings.other_users);
        about & look(&self.exes, asked.exe).terms & name & user
    }

    /// What holds for an address: the longest network that it lies in.
    fn address(&self, address: [u8; 16]) -> Terms {
        let bits = u128::from_be_bytes(address);
        (0..=128u8)
            .rev()
            .find_map(|len| {
                let mask = u128::MAX.checked_shl(128 - u32::from(len)).unwrap_or(0);
                self.addresses.get(&(len, (bits & mask).to_be_bytes()))
            })
            .copied()
            .unwrap_or_default()
    }
}
