//! Whether settings fit into the tables of any node, before they are put in force on this one.

use std::collections::BTreeMap;

use super::{Given, Passing, PlanError, plan};
use crate::{config::Limits, limits::seeds::Seeds};

/// What stands against these settings, whatever interfaces there are.
pub fn fits(limits: &Limits) -> Result<(), PlanError> {
    if !limits.enabled {
        return Ok(());
    }
    let of_policies = limits.policies.values().flat_map(|policy| &policy.interfaces);
    let names = limits.interfaces.keys().chain(of_policies);
    let interfaces: BTreeMap<String, u32> = names.cloned().zip(1..).collect();
    let given = Given {
        limits,
        safety: &[],
        interfaces: &interfaces,
        numbers: &BTreeMap::new(),
        seeds: Seeds::default(),
        passing: &Passing::default(),
    };
    plan(&given).map(drop)
}
