//! Rules of sources with what is granted to them, or closed for them.
//!
//! A grant raises a policy's limit, so it takes a place in the kernel's table for each policy it meets; a used-up quota
//! takes one for each end. Which policy a source has does not change by either.

use std::collections::BTreeMap;

use ipnet::IpNet;
use rampart_common::limit::abi::{Grant, RULE_POLICY, Rule};

use super::{Deeds, Given, Granted};
use crate::config::PolicyLimits;

/// Places of grants, handed out as they are needed.
pub(super) struct Grants<'a> {
    policies: BTreeMap<u16, &'a PolicyLimits>,
    granted: BTreeMap<IpNet, &'a Granted>,
    closed: BTreeMap<(u16, IpNet), u64>,
    /// Number of the place of a grant (its source) under a policy.
    raised: BTreeMap<(IpNet, u16), u16>,
    /// Number of the place of closed sources, by when they are open again.
    shut: BTreeMap<u64, u16>,
    /// The table, from the empty place 0 on.
    pub(super) table: Vec<Grant>,
}

impl<'a> Grants<'a> {
    pub(super) fn new(given: &Given<'a>, numbers: &BTreeMap<&str, u16>) -> Self {
        let number = |name: &str| numbers.get(name).copied();
        let closed = given.passing.closed.iter();
        let policies = given.limits.policies.iter();
        Self {
            policies: policies.filter_map(|(name, policy)| Some((number(name)?, policy))).collect(),
            granted: given.passing.grants.iter().map(|grant| (grant.net, grant)).collect(),
            closed: closed
                .filter_map(|closed| Some(((number(&closed.policy)?, closed.net), closed.until_ns)))
                .collect(),
            raised: BTreeMap::new(),
            shut: BTreeMap::new(),
            table: vec![Grant::default()],
        }
    }

    /// Rules of a service: those of its policies, and those of sources that something is granted to or closed for.
    pub(super) fn rules(&mut self, deeds: &Deeds) -> BTreeMap<IpNet, Rule> {
        let policy_of = |net: IpNet| longest(&deeds.rules, net).copied().unwrap_or(deeds.default);
        let mut wanted: BTreeMap<IpNet, u16> = deeds.rules.clone();
        wanted.extend(self.granted.keys().map(|net| (*net, policy_of(*net))));
        let of_service = self.closed.keys().filter(|(policy, net)| policy_of(*net) == *policy);
        wanted.extend(of_service.map(|(policy, net)| (*net, *policy)));
        let mut rules = BTreeMap::new();
        for (net, policy) in wanted {
            // Without a policy nothing is limited, so nothing can be raised.
            if policy != 0 || deeds.rules.contains_key(&net) {
                let grant = self.place(net, policy);
                rules.insert(net, Rule { kind: RULE_POLICY, policy, grant, ..Rule::default() });
            }
        }
        rules
    }

    /// Number of what is granted to a source or closed for it; 0 for nothing.
    fn place(&mut self, net: IpNet, policy: u16) -> u16 {
        // A quota is used up whatever is granted.
        let mut wider = Some(net);
        while let Some(net) = wider {
            if let Some(until_ns) = self.closed.get(&(policy, net)).copied() {
                let table = &mut self.table;
                return *self
                    .shut
                    .entry(until_ns)
                    .or_insert_with(|| add(table, Grant { until_ns, ..Grant::default() }));
            }
            wider = net.supernet();
        }
        let (Some(granted), Some(limits)) = (longest(&self.granted, net), self.policies.get(&policy)) else {
            return 0;
        };
        let Ok(limit) = limits.rate.plus(&granted.rate).limit() else { return 0 };
        let table = &mut self.table;
        *self
            .raised
            .entry((granted.net, policy))
            .or_insert_with(|| add(table, Grant { until_ns: granted.until_ns, limit }))
    }
}

/// Adds a place; its number may be beyond the kernel's table, which the caller looks at when all is done.
fn add(table: &mut Vec<Grant>, grant: Grant) -> u16 {
    table.push(grant);
    (table.len() - 1) as u16
}

/// What the longest prefix around a net has.
fn longest<T>(map: &BTreeMap<IpNet, T>, net: IpNet) -> Option<&T> {
    let mut wider = Some(net);
    while let Some(net) = wider {
        if let Some(found) = map.get(&net) {
            return Some(found);
        }
        wider = net.supernet();
    }
    None
}
