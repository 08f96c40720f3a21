//! From settings to the kernel's tables.
//!
//! A packet belongs to the most specific service (interface, protocol, port) that a policy names. Within it the rule of
//! its address counts, then that of its longest prefix, then the policy without sources. A service without such a
//! policy takes over what the next wider one has. A policy that several services share gives a source one allowance
//! over all of them.

pub mod fit;
mod grants;
mod lists;

use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;
use rampart_common::limit::{
    abi::{
        ADDRESSES, Config, ENFORCE, GRANTS, POLICIES, PREFIXES, Policy, RULE_ADDRESSES, RULE_PREFIXES, Rule,
        RuleKey, SERVICE_FIRST, SERVICE_LISTS, SERVICES, SHAPES, STRICT, Service, ServiceKey,
    },
    gcra::{Limit, Mode},
    packet::Address,
    verdict::{Action, Unit},
};

pub use self::lists::Listed;
use self::{grants::Grants, lists::lists};
use super::{class::Class, rate::Rate, seeds::Seeds};
use crate::{
    config::{Limits, PolicyLimits},
    kernel::limiter::Tables,
};

/// Name of the policy of packets without ports. Names of the user's hold no parentheses in metrics either.
pub const PORTLESS: &str = "(portless)";
const SECOND_NS: u64 = 1_000_000_000;

/// What a plan is made of.
#[derive(Clone, Copy, Debug)]
pub struct Given<'a> {
    /// The settings.
    pub limits: &'a Limits,
    /// What must never be locked out, besides what the settings name.
    pub safety: &'a [IpNet],
    /// Indices of interfaces.
    pub interfaces: &'a BTreeMap<String, u32>,
    /// Numbers that policies have so far, with hashes of their names.
    pub numbers: &'a BTreeMap<u16, u64>,
    /// Random numbers for the hashes.
    pub seeds: Seeds,
    /// What holds besides the settings.
    pub passing: &'a Passing,
}

/// What holds besides the settings, and not for ever.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Passing {
    /// Sources that pass.
    pub allow: Vec<Listed>,
    /// Sources that do not.
    pub deny: Vec<Listed>,
    /// Sources whose limits are higher.
    pub grants: Vec<Granted>,
    /// Sources that are under a policy, by its name, whatever is said of them elsewhere.
    pub limited: Vec<(IpNet, String)>,
    /// Sources that have used up the quota of a policy.
    pub closed: Vec<Closed>,
}

/// A source whose limits are higher.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Granted {
    /// The source.
    pub net: IpNet,
    /// On top of each policy's rate.
    pub rate: Rate,
    /// When it ends, by the boot clock.
    pub until_ns: u64,
}

/// A source that has used up the quota of a policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Closed {
    /// The policy.
    pub policy: String,
    /// The source.
    pub net: IpNet,
    /// When the next period begins, by the boot clock.
    pub until_ns: u64,
}

/// Tables and what belongs to them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// The tables.
    pub tables: Tables,
    /// Names of policies.
    pub names: BTreeMap<u16, String>,
    /// Interfaces that policies name and that are not there.
    pub absent: BTreeSet<String>,
}

/// Why there is no plan.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// More policies than the tables hold.
    #[error("{count} policies are more than the {most} that are possible")]
    Policies {
        /// How many.
        count: usize,
        /// Most.
        most: u32,
    },
    /// More services than the tables hold.
    #[error(
        "policies name {count} combinations of interface, protocol and port, more than the {most} possible"
    )]
    Services {
        /// How many.
        count: usize,
        /// Most.
        most: u32,
    },
    /// More grants than the tables hold.
    #[error("grants need {count} places, one for each policy they raise, more than the {most} possible")]
    Grants {
        /// How many.
        count: usize,
        /// Most.
        most: u32,
    },
    /// More rules than the tables hold.
    #[error("lists, sources of policies and grants name {count} {what}, more than the {most} possible")]
    Rules {
        /// How many.
        count: usize,
        /// Of what.
        what: &'static str,
        /// Most.
        most: u32,
    },
}

/// What a service does, once its own policies and those of wider services are put together.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Deeds {
    /// Policies of sources, by number.
    rules: BTreeMap<IpNet, u16>,
    /// Policy of other sources; 0 = none.
    default: u16,
}

/// Makes the tables.
pub fn plan(given: &Given<'_>) -> Result<Plan, PlanError> {
    let limits = given.limits;
    let numbers = numbers(given)?;
    let mut plan = Plan {
        names: numbers.iter().map(|(name, number)| (*number, (*name).to_owned())).collect(),
        ..Plan::default()
    };
    let own = own_deeds(given, &numbers, &mut plan.absent);
    if own.len() * 2 > SERVICES as usize {
        return Err(PlanError::Services { count: own.len(), most: SERVICES / 2 });
    }
    let deeds = effective(&own);
    let groups = groups(&deeds);
    let tables = &mut plan.tables;
    tables.policies = policies(limits, &numbers, &groups);
    tables.config = config(given, numbers.get(PORTLESS).copied().unwrap_or(0));
    for (key, deeds) in &deeds {
        let number = groups.get(&(key.direction, deeds)).copied().unwrap_or(SERVICE_LISTS);
        tables.services.push((*key, Service { number, policy: deeds.default }));
        tables.config.shapes |= 1 << shape(key);
    }
    let mut grants = Grants::new(given, &numbers);
    for ((_, deeds), number) in &groups {
        for (net, rule) in grants.rules(deeds) {
            add(tables, *number, net, rule, [RULE_ADDRESSES, RULE_PREFIXES]);
        }
    }
    tables.grants = grants.table;
    lists(given, tables);
    fits(tables)?;
    Ok(plan)
}

/// Whether the tables have room in the kernel, where they lie twice.
const fn fits(tables: &Tables) -> Result<(), PlanError> {
    if tables.grants.len() > GRANTS as usize {
        return Err(PlanError::Grants { count: tables.grants.len() - 1, most: GRANTS - 1 });
    }
    if tables.addresses.len() > ADDRESSES as usize / 2 {
        return Err(PlanError::Rules {
            count: tables.addresses.len(),
            what: "addresses",
            most: ADDRESSES / 2,
        });
    }
    if tables.prefixes.len() > PREFIXES as usize / 2 {
        return Err(PlanError::Rules { count: tables.prefixes.len(), what: "prefixes", most: PREFIXES / 2 });
    }
    Ok(())
}

/// Numbers of services that do the same in the same direction. They follow from the number of their policy, so that a
/// change elsewhere does not give a known source's state to another service.
fn groups(deeds: &BTreeMap<ServiceKey, Deeds>) -> BTreeMap<(u8, &Deeds), u16> {
    let mut groups = BTreeMap::new();
    let mut taken = BTreeSet::new();
    for (key, deeds) in deeds {
        let group = (key.direction, deeds);
        if groups.contains_key(&group) {
            continue;
        }
        let policy =
            if deeds.default == 0 { deeds.rules.values().min().copied().unwrap_or(0) } else { deeds.default };
        let mut candidates = (SERVICE_FIRST + policy..u16::MAX).step_by(POLICIES as usize);
        // There are fewer services than candidates of one policy only if that policy has a thousand of them.
        let number = candidates.find(|number| !taken.contains(number));
        let number = number.or_else(|| (SERVICE_FIRST..u16::MAX).find(|number| !taken.contains(number)));
        if let Some(number) = number {
            taken.insert(number);
            groups.insert(group, number);
        }
    }
    groups
}

/// Numbers of policies by name: those of before where possible, so that known sources keep their state.
fn numbers<'a>(given: &Given<'a>) -> Result<BTreeMap<&'a str, u16>, PlanError> {
    let mut names: Vec<&str> = given.limits.policies.keys().map(String::as_str).collect();
    if given.limits.portless_per_sec > 0 {
        names.push(PORTLESS);
    }
    if names.len() >= POLICIES as usize {
        return Err(PlanError::Policies { count: names.len(), most: POLICIES - 1 });
    }
    let mut numbers = BTreeMap::new();
    for (number, hash) in given.numbers {
        if let Some(name) = names.iter().find(|name| name_hash(name) == *hash) {
            numbers.entry(*name).or_insert(*number);
        }
    }
    let taken: BTreeSet<u16> = numbers.values().copied().collect();
    let mut free = (1..POLICIES as u16).filter(|number| !taken.contains(number));
    for name in names {
        if !numbers.contains_key(name)
            && let Some(number) = free.next()
        {
            numbers.insert(name, number);
        }
    }
    Ok(numbers)
}

/// FNV-1a, never zero.
fn name_hash(name: &str) -> u64 {
    let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
    });
    hash.max(1)
}

/// Services as the policies name them.
fn own_deeds(
    given: &Given<'_>,
    numbers: &BTreeMap<&str, u16>,
    absent: &mut BTreeSet<String>,
) -> BTreeMap<ServiceKey, Deeds> {
    let mut own: BTreeMap<ServiceKey, Deeds> = BTreeMap::new();
    for (name, policy) in &given.limits.policies {
        let Some(number) = numbers.get(name.as_str()) else { continue };
        let mut interfaces = Vec::new();
        for interface in &policy.interfaces {
            match given.interfaces.get(interface) {
                Some(index) => interfaces.push(*index),
                None => {
                    absent.insert(interface.clone());
                }
            }
        }
        if policy.interfaces.is_empty() {
            interfaces.push(0);
        }
        for interface in interfaces {
            for key in keys(policy, interface) {
                let deeds = own.entry(key).or_default();
                if policy.sources.is_empty() && !policy.is_on_demand {
                    deeds.default = *number;
                }
                for source in &policy.sources {
                    deeds.rules.entry(*source).or_insert(*number);
                }
            }
        }
    }
    put_under(given, numbers, &mut own);
    own
}

/// Puts sources under the policies that they are to be under: in the services that the policy names, and in all narrower
/// ones, where they would be under another.
fn put_under(given: &Given<'_>, numbers: &BTreeMap<&str, u16>, own: &mut BTreeMap<ServiceKey, Deeds>) {
    for (net, name) in &given.passing.limited {
        let (Some(number), Some(policy)) = (numbers.get(name.as_str()), given.limits.policies.get(name))
        else {
            continue;
        };
        let indices = policy.interfaces.iter().filter_map(|name| given.interfaces.get(name).copied());
        let indices: Vec<u32> = if policy.interfaces.is_empty() { vec![0] } else { indices.collect() };
        let of_policy: Vec<ServiceKey> = indices.into_iter().flat_map(|index| keys(policy, index)).collect();
        for (key, deeds) in own.iter_mut() {
            if of_policy.contains(key) || wider(key).iter().any(|wider| of_policy.contains(wider)) {
                deeds.rules.insert(*net, *number);
            }
        }
    }
}

/// Keys of the services that a policy names on an interface (0 = all).
fn keys(policy: &PolicyLimits, interface: u32) -> Vec<ServiceKey> {
    let key = ServiceKey {
        interface,
        protocol: policy.protocol.unwrap_or(0),
        has_protocol: u8::from(policy.protocol.is_some()),
        direction: policy.direction as u8,
        ..ServiceKey::default()
    };
    if policy.ports.is_empty() {
        return vec![key];
    }
    policy.ports.iter().map(|port| ServiceKey { port: *port, ..key }).collect()
}

/// Index of the key's shape.
fn shape(key: &ServiceKey) -> usize {
    let own = (key.interface != 0, key.has_protocol != 0, key.port != 0);
    SHAPES.iter().position(|shape| *shape == own).unwrap_or(SHAPES.len() - 1)
}

/// Puts what services do themselves together with what wider ones do.
fn effective(own: &BTreeMap<ServiceKey, Deeds>) -> BTreeMap<ServiceKey, Deeds> {
    let mut order: Vec<&ServiceKey> = own.keys().collect();
    order.sort_by_key(|key| std::cmp::Reverse(shape(key)));
    let mut all: BTreeMap<ServiceKey, Deeds> = BTreeMap::new();
    for key in order {
        let mut deeds = own.get(key).cloned().unwrap_or_default();
        if deeds.default == 0
            && let Some(wider) = wider(key).into_iter().find_map(|wider| all.get(&wider))
        {
            deeds.default = wider.default;
            for (net, policy) in &wider.rules {
                deeds.rules.entry(*net).or_insert(*policy);
            }
        }
        all.insert(*key, deeds);
    }
    all
}

/// Keys that cover this one, most specific first.
fn wider(key: &ServiceKey) -> Vec<ServiceKey> {
    let own = shape(key);
    let reduced = SHAPES.iter().skip(own + 1).map(|(interface, protocol, port)| ServiceKey {
        interface: if *interface { key.interface } else { 0 },
        port: if *port { key.port } else { 0 },
        protocol: if *protocol { key.protocol } else { 0 },
        has_protocol: u8::from(*protocol && key.has_protocol != 0),
        ..*key
    });
    reduced.filter(|wider| shape(wider) > own).collect()
}

fn policies(
    limits: &Limits,
    numbers: &BTreeMap<&str, u16>,
    groups: &BTreeMap<(u8, &Deeds), u16>,
) -> Vec<Policy> {
    let mut policies = vec![Policy::default(); POLICIES as usize];
    for (name, number) in numbers {
        let policy = if let Some(policy) = limits.policies.get(*name) {
            let has =
                |deeds: &Deeds| deeds.default == *number || deeds.rules.values().any(|rule| rule == number);
            let users = groups.keys().filter(|(_, deeds)| has(deeds)).count();
            Policy { name_hash: name_hash(name), is_shared: u8::from(users > 1), ..one(policy) }
        } else {
            portless(u64::from(limits.portless_per_sec))
        };
        if let Some(slot) = policies.get_mut(usize::from(*number)) {
            *slot = policy;
        }
    }
    policies
}

fn one(policy: &PolicyLimits) -> Policy {
    Policy {
        limit: policy.limit,
        mark: policy.mark,
        unit: policy.unit as u8,
        mode: policy.mode as u8,
        action: policy.action as u8,
        is_dry: u8::from(policy.is_dry),
        key_v4: 96 + policy.key_v4,
        key_v6: policy.key_v6,
        class: policy.class as u8,
        ..Policy::default()
    }
}

fn portless(per_sec: u64) -> Policy {
    Policy {
        limit: Limit::new(per_sec, SECOND_NS, per_sec).unwrap_or_default(),
        name_hash: name_hash(PORTLESS),
        unit: Unit::Packets as u8,
        mode: Mode::Throttle as u8,
        action: Action::Drop as u8,
        key_v4: 128,
        key_v6: 64,
        class: Class::Standard as u8,
        ..Policy::default()
    }
}

fn config(given: &Given<'_>, portless_policy: u16) -> Config {
    let limits = given.limits;
    let entries = u64::from(limits.new_entries_per_sec);
    let samples = u64::from(limits.samples_per_sec);
    Config {
        flags: if limits.is_enforcing { ENFORCE } else { 0 } | if limits.is_strict { STRICT } else { 0 },
        shapes: 0,
        dead_man_ns: limits.dead_man.as_nanos() as u64,
        seed: given.seeds.now,
        seed_before: given.seeds.before,
        seeded_ns: given.seeds.since_ns,
        // A twentieth of a second at once.
        budget: Limit::new(entries, SECOND_NS, (entries / 20).max(1)).unwrap_or_default(),
        samples: Limit::new(samples, SECOND_NS, samples).unwrap_or_default(),
        portless_policy: u32::from(portless_policy),
        pad: 0,
    }
}

/// Adds a rule for a net, and the flag that says there is one.
fn add(tables: &mut Tables, service: u16, net: IpNet, rule: Rule, flags: [u32; 2]) {
    let (address, bits) = match net {
        IpNet::V4(net) => (Address::v4(u32::from(net.network())), 96 + u32::from(net.prefix_len())),
        IpNet::V6(net) => (Address::of_bytes(net.network().octets()), u32::from(net.prefix_len())),
    };
    let [addresses, prefixes] = flags;
    let key = RuleKey::new(0, service, address);
    if bits == 128 {
        tables.addresses.push((key, rule));
        tables.config.flags |= addresses;
    } else {
        tables.prefixes.push((bits, key, rule));
        tables.config.flags |= prefixes;
    }
}

#[cfg(test)]
mod tests;
