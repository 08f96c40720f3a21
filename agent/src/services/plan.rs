//! From settings and the conditions of backends to the kernel's tables.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Duration,
};

use jiff::Timestamp;
use rampart_common::{
    limit::{gate::mix, packet::UDP},
    service::{
        abi::{
            BACKENDS, Backend, CLIENT_IS_CGROUP, ESTABLISHED_IS_SUCCESS, LEAST_CONNECTIONS, MEMBERS, PANIC,
            ROUND_ROBIN, SERVICES, SLOTS, SPREAD, STICKY, Service, VipKey, WEIGHTED,
        },
        breaker::{Policy, State, Word},
        wire,
    },
};

use super::tiers::{Tier, Tiers, is_panic};
use crate::{
    config::{AdminState, Algorithm, Failback, Panic, ServiceSettings},
    kernel::services::{SlotTable, Tables},
};

/// Width of the random part of the time open: a tenth more or less, in 256ths.
const JITTER: u32 = 51;
/// A backend of a better tier that is not in use gets this part of the traffic's slots while it is to be tried again.
const PROBE_PART: u64 = 16;
/// A backend that is back gets at least this share, in thousandths.
const SHARE_MIN: u64 = 100;
/// Backends from which on all are used when most are out, unless it is said otherwise.
const SPREAD_MIN: usize = 3;

/// A service of the agent's own: to see whether the programs work, a socket asks for an address that nobody has.
pub const SELF_TEST: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 0, 8)), 1);
/// Its number.
pub const SELF_TEST_SERVICE: u32 = SERVICES - 1;
/// The number of its backend, the discard port of this machine.
const SELF_TEST_BACKEND: u32 = BACKENDS - 1;

/// What is known of a backend now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Condition {
    /// What is wanted of it.
    pub admin: AdminState,
    /// Health checks say that it is up.
    pub is_up: bool,
    /// It is ejected as an outlier.
    pub is_ejected: bool,
    /// What it wants to have of its weight, in percent.
    pub percent: u32,
    /// Its breaker, as far as it is to be seen: a forced state included.
    pub state: State,
    /// The breaker's word.
    pub word: Word,
}

/// Service and backend.
pub type Name = (String, String);

/// Numbers by names: whoever keeps its name keeps its number, with all that is known of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Numbers {
    services: BTreeMap<u32, u32>,
    backends: BTreeMap<u64, u32>,
    last: u32,
}

/// What the plan is made of.
#[derive(Debug)]
pub struct Given<'a> {
    /// Settings of the services.
    pub services: &'a BTreeMap<String, ServiceSettings>,
    /// What is known of their backends; one that is not there is new.
    pub conditions: &'a BTreeMap<Name, Condition>,
    /// Jiffies of a second.
    pub hz: u32,
    /// Makes random parts differ between nodes.
    pub seed: u64,
    /// The boot clock.
    pub now_ns: u64,
    /// The wall clock.
    pub now: Timestamp,
}

/// Tables with the names of their numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// For the kernel.
    pub tables: Tables,
    /// Services by number.
    pub services: BTreeMap<u32, String>,
    /// Backends by number.
    pub backends: BTreeMap<u32, Name>,
    /// Backends whose number nobody had just before.
    pub new: Vec<u32>,
    /// Services whose tier in use is another one now, with the one before.
    pub moved: Vec<(String, u8)>,
    /// Services in which what is known of backends counts for nothing.
    pub panics: Vec<String>,
}

impl Default for Condition {
    fn default() -> Self {
        Self {
            admin: AdminState::Ready,
            is_up: true,
            is_ejected: false,
            percent: 100,
            state: State::Closed,
            word: Word(0),
        }
    }
}

impl Condition {
    /// Whether connections may be sent there, as far as the breaker lets them.
    const fn is_wanted(&self) -> bool {
        matches!(self.admin, AdminState::Ready) && self.is_up && !self.is_ejected
    }

    /// Whether it bears traffic now.
    pub const fn is_available(&self) -> bool {
        self.is_wanted() && matches!(self.state, State::Closed)
    }

    /// Its share in thousandths, while it comes back after its breaker was open.
    fn share(&self, slow_start: Duration, now_ns: u64) -> u64 {
        let span = slow_start.as_nanos() as u64;
        let since = now_ns.saturating_sub(self.word.since_ns());
        if self.word.state() != State::Closed || self.word.k() == 0 || since >= span {
            return 1000;
        }
        (since.saturating_mul(1000) / span.max(1)).clamp(SHARE_MIN, 1000)
    }
}

impl Numbers {
    /// The numbers that are in force.
    pub fn in_force(services: &[(u32, Service)], backends: &[(u32, Backend)]) -> Self {
        Self {
            services: services.iter().map(|(number, service)| (service.name_low, *number)).collect(),
            backends: backends.iter().map(|(number, backend)| (backend.name_hash, *number)).collect(),
            last: backends
                .iter()
                .map(|(number, _)| *number)
                .filter(|number| *number != SELF_TEST_BACKEND)
                .max()
                .unwrap_or(0),
        }
    }

    fn service(&mut self, name: &str) -> Option<(u32, u32)> {
        let hash = service_hash(name);
        if let Some(number) = self.services.get(&hash) {
            return Some((*number, hash));
        }
        let free =
            (1..SELF_TEST_SERVICE).find(|number| self.services.values().all(|taken| taken != number))?;
        self.services.insert(hash, free);
        Some((free, hash))
    }

    /// The backend's number, its hash, and whether it is a new one.
    fn backend(&mut self, service: &str, name: &str, address: SocketAddr) -> Option<(u32, u64, bool)> {
        // A backend at another address is another one.
        let hash = hash(&[service, name, &address.to_string()]) | 1;
        if let Some(number) = self.backends.get(&hash) {
            return Some((*number, hash, false));
        }
        // Round and round: connections of one that is gone may still end for a long time.
        let next = (0..SELF_TEST_BACKEND)
            .map(|step| (self.last + 1 + step) % SELF_TEST_BACKEND)
            .find(|number| *number != 0 && self.backends.values().all(|taken| taken != number))?;
        self.last = next;
        self.backends.insert(hash, next);
        Some((next, hash, true))
    }

    fn keep(&mut self, plan: &Plan) {
        self.services.retain(|_, number| plan.services.contains_key(number));
        self.backends.retain(|_, number| plan.backends.contains_key(number));
    }
}

/// What the kernel keeps of a service's name.
pub fn service_hash(name: &str) -> u32 {
    (hash(&[name]) >> 32) as u32 | 1
}

/// The same for the same names.
fn hash(parts: &[&str]) -> u64 {
    let bytes = parts.iter().flat_map(|part| part.bytes().chain([0xff]));
    bytes.fold(0x5261_6d70_6172_7400, |hash, byte| mix(hash ^ u64::from(byte)))
}

/// Makes the plan; the tiers in use may change.
pub fn plan(given: &Given<'_>, numbers: &mut Numbers, tiers: &mut BTreeMap<String, Tiers>) -> Plan {
    let mut plan = Plan::default();
    tiers.retain(|name, _| given.services.contains_key(name));
    for (name, settings) in given.services {
        let Some((number, name_low)) = numbers.service(name) else { continue };
        plan.services.insert(number, name.clone());
        let mut hosts = Vec::new();
        for (backend, to) in &settings.backends {
            let Some((number_of, name_hash, is_new)) = numbers.backend(name, backend, to.address) else {
                continue;
            };
            plan.backends.insert(number_of, (name.clone(), backend.clone()));
            if is_new {
                plan.new.push(number_of);
            }
            plan.tables.backends.push((
                number_of,
                Backend {
                    name_hash,
                    address: wire::address(to.address.ip()),
                    port: to.address.port().to_be(),
                    service: number as u16,
                    weight: to.weight,
                },
            ));
            let key = (name.clone(), backend.clone());
            let condition = given
                .conditions
                .get(&key)
                .copied()
                .unwrap_or(Condition { admin: to.admin, ..Condition::default() });
            hosts.push(Host { number: number_of as u16, tier: to.tier, weight: to.weight, condition });
        }
        let standing = standing(&hosts);
        let state = tiers.entry(name.clone()).or_default();
        let is_auto = match settings.failback {
            Failback::Auto => true,
            Failback::Manual => false,
            Failback::Window => settings.failback_windows.contains(given.now),
        };
        if let Some(before) = state.look(&standing, is_auto, settings.failback_delay, given.now_ns) {
            plan.moved.push((name.clone(), before));
        }
        let active = state.active.unwrap_or(0);
        let spreads = match settings.panic {
            Panic::Spread => true,
            Panic::FailFast => false,
            Panic::Auto => hosts.len() >= SPREAD_MIN,
        };
        let panics = spreads && !hosts.is_empty() && is_panic(&standing, active);
        if panics {
            plan.panics.push(name.clone());
        }
        let mut service = service(settings, given);
        service.name_low = name_low;
        service.flags |= if spreads { SPREAD } else { 0 } | if panics { PANIC } else { 0 };
        let slots = lay_out(&mut service, &hosts, active, panics, settings.slow_start, given.now_ns);
        plan.tables.services.push((number, service, slots));
        let key = VipKey {
            address: wire::address(settings.vip.ip()),
            port: settings.vip.port().to_be(),
            protocol: settings.protocol,
            slot: 0,
        };
        plan.tables.vips.push((key, number));
    }
    numbers.keep(&plan);
    add_self_test(&mut plan.tables);
    plan
}

fn add_self_test(tables: &mut Tables) {
    let address = wire::address(SELF_TEST.ip());
    let key = VipKey { address, port: SELF_TEST.port().to_be(), protocol: UDP, slot: 0 };
    let policy = Policy { failure_threshold: u16::MAX, ..Policy::default() };
    let mut service = Service { policy, name_low: 1, count: 1, ..Service::default() };
    let number = SELF_TEST_BACKEND as u16;
    if let (Some(member), Some(size)) = (service.members.first_mut(), service.tier_size.first_mut()) {
        (*member, *size) = (number, 1);
    }
    let backend = Backend {
        name_hash: 1,
        address: wire::address(Ipv4Addr::LOCALHOST.into()),
        port: 9_u16.to_be(),
        service: SELF_TEST_SERVICE as u16,
        weight: 1,
    };
    tables.vips.push((key, SELF_TEST_SERVICE));
    tables.services.push((SELF_TEST_SERVICE, service, [number; SLOTS]));
    tables.backends.push((SELF_TEST_BACKEND, backend));
}

struct Host {
    number: u16,
    tier: u8,
    weight: u32,
    condition: Condition,
}

fn standing(hosts: &[Host]) -> Vec<Tier> {
    let mut tiers: BTreeMap<u8, Tier> = BTreeMap::new();
    for host in hosts.iter().filter(|host| host.condition.admin == AdminState::Ready) {
        let tier = tiers.entry(host.tier).or_insert(Tier { number: host.tier, ..Tier::default() });
        tier.total += 1;
        tier.available += usize::from(host.condition.is_available());
    }
    tiers.into_values().collect()
}

fn service(settings: &ServiceSettings, given: &Given<'_>) -> Service {
    let breaker = &settings.breaker;
    let ns = |span: Duration| span.as_nanos() as u64;
    let syn_ms = settings.syn_timeout.map_or(0, |span| span.as_millis() as u32);
    Service {
        policy: Policy {
            recovery_ns: ns(breaker.recovery),
            recovery_cap_ns: ns(breaker.recovery_max),
            probe_ns: ns(breaker.probe),
            half_open_ns: ns(breaker.half_open),
            failure_threshold: breaker.failure_threshold,
            half_open_calls: breaker.half_open_calls,
            half_open_successes: breaker.half_open_calls,
            jitter: JITTER,
            seed: given.seed,
            pad: 0,
        },
        sticky_ns: ns(settings.sticky),
        exclude_ns: ns(settings.exclude),
        slow_ns: ns(breaker.slow),
        syn_timeout: if syn_ms == 0 { 0 } else { (syn_ms * given.hz / 1000).max(1) },
        syn_retries: settings.syn_retries,
        algorithm: match settings.algorithm {
            Algorithm::RoundRobin => ROUND_ROBIN,
            Algorithm::Weighted => WEIGHTED,
            Algorithm::LeastConnections => LEAST_CONNECTIONS,
            Algorithm::Sticky => STICKY,
        },
        flags: if breaker.is_established_enough { ESTABLISHED_IS_SUCCESS } else { 0 }
            | if settings.is_client_cgroup { CLIENT_IS_CGROUP } else { 0 },
        ..Service::default()
    }
}

/// Writes the members, the tier in use first, and gives the slots.
fn lay_out(
    service: &mut Service,
    hosts: &[Host],
    active: u8,
    panics: bool,
    slow_start: Duration,
    now_ns: u64,
) -> SlotTable {
    let is_member = |host: &&Host| {
        let is_ready = host.condition.admin == AdminState::Ready;
        if panics { is_ready && host.tier == active } else { host.condition.is_wanted() }
    };
    let mut members: Vec<&Host> = hosts.iter().filter(is_member).collect();
    members.sort_by_key(|host| (host.tier != active, host.tier, host.number));
    members.truncate(MEMBERS);
    service.count = members.len() as u8;
    for (place, host) in members.iter().enumerate() {
        let start = members.iter().position(|other| other.tier == host.tier).unwrap_or(place);
        let size = members.iter().filter(|other| other.tier == host.tier).count();
        let row = (
            service.members.get_mut(place),
            service.tier_start.get_mut(place),
            service.tier_size.get_mut(place),
        );
        if let (Some(member), Some(tier_start), Some(tier_size)) = row {
            (*member, *tier_start, *tier_size) = (host.number, start as u8, size as u8);
        }
    }
    let mut shares: Vec<(u16, u64)> = Vec::new();
    for host in members.iter().filter(|host| host.tier == active) {
        let weight = u64::from(host.weight) * u64::from(host.condition.percent);
        shares.push((host.number, weight * host.condition.share(slow_start, now_ns)));
    }
    // A better tier comes back only if somebody tries it; nobody is sent there for good before it does.
    let all: u64 = shares.iter().map(|(_, share)| share).sum();
    for host in members.iter().filter(|host| host.tier < active && !host.condition.is_available()) {
        shares.push((host.number, (all / PROBE_PART).max(1)));
    }
    interleave(&shares)
}

/// Slots in which each number has its share, spread as evenly as can be.
fn interleave(shares: &[(u16, u64)]) -> SlotTable {
    let mut slots = [0; SLOTS];
    let all: i128 = shares.iter().map(|(_, share)| i128::from(*share)).sum();
    let mut credits: Vec<i128> = vec![0; shares.len()];
    for slot in &mut slots {
        for (credit, (_, share)) in credits.iter_mut().zip(shares) {
            *credit += i128::from(*share);
        }
        // The first of the richest.
        let richest = credits.iter_mut().zip(shares).rev().max_by_key(|(credit, _)| **credit);
        if let Some((credit, (number, _))) = richest {
            *credit -= all;
            *slot = *number;
        }
    }
    slots
}

#[cfg(test)]
mod tests;
