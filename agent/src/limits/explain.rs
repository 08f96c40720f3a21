//! Which policy a source has for each service, why, and what is left of its allowance.
//!
//! The twin of the tables answers, asked about a packet that would begin something; the state of the key is the
//! kernel's.

use std::net::IpAddr;

use rampart_common::limit::{
    abi::{Control, ENTRY_ADDRESS, ENTRY_PREFIX, Entry, EntryKey, GRANTS, Rule, RuleKey, ServiceKey},
    gcra::{STRETCH_ONE, ahead},
    packet::{Address, ICMP, ICMP6, IP, Packet, SYN, TCP},
    pipeline::{Judgement, Place, World as _},
    verdict::{Direction, Verdict},
};
use serde::{Deserialize, Serialize};

use super::{
    plan::Plan,
    quota::net_of,
    twin::{GENERATION, Twin},
};

/// Services of an answer.
const ROWS_MAX: usize = 64;

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// The source.
    pub ip: IpAddr,
    /// Protocol number; `None` for all.
    pub protocol: Option<u8>,
    /// Destination port; `None` for all.
    pub port: Option<u16>,
    /// Interface; `None` for all.
    pub interface: Option<String>,
    /// Which way.
    pub direction: Direction,
}

/// What holds for a service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    /// Interface; absent for all.
    pub interface: Option<u32>,
    /// Protocol number; absent for all.
    pub protocol: Option<u8>,
    /// Destination port; absent for all.
    pub port: Option<u16>,
    /// Which way.
    pub direction: String,
    /// Policy, if any.
    pub policy: Option<String>,
    /// Why the next packet gets its verdict.
    pub reason: String,
    /// What the next packet that begins something gets.
    pub verdict: String,
    /// The verdict is only observed.
    pub observed: bool,
    /// Whose allowance it is; absent without one.
    pub bucket: Option<Bucket>,
}

/// An allowance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bucket {
    /// The source or prefix that shares it.
    pub of: String,
    /// Why it is this one.
    pub scope: String,
    /// Whether the kernel knows the source.
    pub known: bool,
    /// Units that may come at once now.
    pub available: u64,
    /// Units that may come at once at most.
    pub burst: u64,
    /// Units admitted since it is known.
    pub used: u64,
    /// Packets over the limit since it is known.
    pub over: u32,
    /// Seconds until a grant ends; absent without one.
    pub grant_secs: Option<u64>,
}

/// Answers for every service that is asked about. `interface` is the index of the one that is asked about, `state` the
/// kernel's of a key, `generation` that of the plan in the kernel.
pub fn explain(
    plan: &Plan,
    asked: &Asked,
    interface: Option<u32>,
    (control, now_ns, generation): (Control, u64, u32),
    mut state: impl FnMut(&EntryKey) -> Option<Entry>,
) -> Vec<Row> {
    let twin = Twin::new(plan.tables.clone(), control, now_ns);
    let is_asked = |key: &&ServiceKey| {
        key.direction == asked.direction as u8
            && (interface.is_none() || key.interface == 0 || Some(key.interface) == interface)
            && asked.protocol.is_none_or(|asked| key.has_protocol == 0 || key.protocol == asked)
            && asked.port.is_none_or(|asked| key.port == 0 || key.port == asked)
    };
    let all = plan.tables.services.iter().map(|(key, _)| key);
    let mut keys: Vec<ServiceKey> = all.filter(is_asked).copied().collect();
    keys.sort_by_key(|key| (key.interface == 0, key.has_protocol == 0, key.port == 0, *key));
    // All three are named: only the most specific service is about it.
    if asked.protocol.is_some() && asked.port.is_some() {
        keys.truncate(1);
    }
    keys.truncate(ROWS_MAX);
    if keys.is_empty() {
        keys.push(ServiceKey { direction: asked.direction as u8, ..ServiceKey::default() });
    }
    keys.into_iter()
        .map(|key| {
            twin.forget();
            let interface = interface.or((key.interface != 0).then_some(key.interface));
            let packet = packet(asked, &key);
            let place = Place { direction: asked.direction, interface: interface.unwrap_or(0), segments: 1 };
            let mut judgement = twin.judge(&packet, &place);
            let found = twin.keys().first().copied();
            let kernel = found.and_then(|key| state(&key));
            if let (Some(key), Some(entry)) = (found, kernel) {
                twin.forget();
                // Terms of another generation are looked up anew, as in the kernel.
                let generation = if entry.generation == generation { GENERATION } else { 0 };
                twin.set_known(key, Entry { generation, ..entry });
                judgement = twin.judge(&packet, &place);
            }
            let bucket = found.and_then(|key| bucket(&twin, &judgement, &key, kernel, now_ns));
            row(plan, &key, &judgement, bucket)
        })
        .collect()
}

/// A packet that begins something.
fn packet(asked: &Asked, key: &ServiceKey) -> Packet {
    let source = match asked.ip.to_canonical() {
        IpAddr::V4(ip) => Address::v4(ip.into()),
        IpAddr::V6(ip) => Address::of_bytes(ip.octets()),
    };
    let usual = if key.has_protocol != 0 { key.protocol } else { TCP };
    let protocol = asked.protocol.unwrap_or(usual);
    let has_ports = !matches!(protocol, ICMP | ICMP6);
    Packet {
        source,
        protocol,
        destination_port: if has_ports { asked.port.unwrap_or(key.port) } else { 0 },
        bytes: 64,
        flags: IP | if protocol == TCP { SYN } else { 0 },
        ..Packet::default()
    }
}

fn bucket(
    twin: &Twin,
    judgement: &Judgement,
    key: &EntryKey,
    kernel: Option<Entry>,
    now_ns: u64,
) -> Option<Bucket> {
    let policy = *twin.policy(judgement.policy)?;
    let entry = twin.known(key)?;
    let grant = twin.grant(u32::from(entry.grant) % GRANTS).filter(|grant| ahead(grant.until_ns, now_ns) > 0);
    let limit = grant.filter(|grant| grant.limit.mult != 0).map_or(policy.limit, |grant| grant.limit);
    let stretch = twin.control()?.stretch.get(usize::from(policy.class)).copied().unwrap_or(STRETCH_ONE);
    let step = limit.step_ns(1, stretch).max(1);
    let tat = kernel.map_or(now_ns, |entry| entry.tat);
    let room = limit.tau_ns.saturating_sub(ahead(limit.rebase(tat, now_ns), now_ns));
    let scope = match key.kind {
        ENTRY_ADDRESS => "the address has a rule of its own",
        ENTRY_PREFIX => "the policy limits whole prefixes, or several services together",
        _ => "each source",
    };
    Some(Bucket {
        of: super::hitters::shown(net_of(key)),
        scope: scope.to_owned(),
        known: kernel.is_some(),
        available: room / step,
        burst: limit.tau_ns / step,
        used: kernel.map_or(0, |entry| entry.used),
        over: kernel.map_or(0, |entry| entry.over),
        grant_secs: grant.map(|grant| ahead(grant.until_ns, now_ns) / 1_000_000_000),
    })
}

fn row(plan: &Plan, key: &ServiceKey, judgement: &Judgement, bucket: Option<Bucket>) -> Row {
    let direction = Direction::ALL.into_iter().find(|way| *way as u8 == key.direction);
    let verdict = match judgement.verdict {
        Verdict::Pass => "pass",
        Verdict::Mark(_) => "mark",
        Verdict::Drop => "drop",
        Verdict::Reset => "reset",
    };
    Row {
        interface: (key.interface != 0).then_some(key.interface),
        protocol: (key.has_protocol != 0).then_some(key.protocol),
        port: (key.port != 0).then_some(key.port),
        direction: direction.map_or("", Direction::name).to_owned(),
        policy: plan.names.get(&(judgement.policy as u16)).cloned(),
        reason: judgement.reason.name().to_owned(),
        verdict: verdict.to_owned(),
        observed: judgement.is_observed,
        bucket,
    }
}

/// The rule of the lists that an address meets, as the kernel finds it: of the address, or of its longest prefix.
pub fn listed(plan: &Plan, ip: IpAddr) -> Option<(u32, Rule)> {
    let address = match ip.to_canonical() {
        IpAddr::V4(ip) => Address::v4(ip.into()),
        IpAddr::V6(ip) => Address::of_bytes(ip.octets()),
    };
    let key = RuleKey::new(0, rampart_common::limit::abi::SERVICE_LISTS, address);
    if let Some((_, rule)) = plan.tables.addresses.iter().find(|(own, _)| *own == key) {
        return Some((128, *rule));
    }
    let holds = |bits: u32, own: &RuleKey| {
        own.service == key.service && Address::of_words(own.address) == address.masked(bits)
    };
    let prefixes = plan.tables.prefixes.iter().filter(|(bits, own, _)| holds(*bits, own));
    prefixes.max_by_key(|(bits, ..)| *bits).map(|(bits, _, rule)| (*bits, *rule))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use rampart_common::limit::abi::RULE_DENY;

    use super::*;
    use crate::{
        config::Sources,
        limits::{
            plan::{Given, Passing, plan},
            seeds::Seeds,
        },
    };

    const NOW: u64 = 1_000_000_000_000;

    fn made() -> Plan {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("rampart.yaml");
        let text = "limits:
  mode: enforce
  deny: [203.0.113.0/24]
  policies:
    web: {rate: 10/s, burst: 5, match: {protocol: tcp, ports: [80, 443]}}
    dns: {rate: 50/s, unit: packets, match: {protocol: udp, ports: 53}}
    offices: {rate: 1/s, unit: packets, key_v4: 24, match: {protocol: udp, sources: 198.51.100.0/24}}
";
        std::fs::write(&file, text).unwrap();
        let limits = Sources { file: Some(file), ..Sources::default() }.load().unwrap().limits;
        plan(&Given {
            limits: &limits,
            safety: &[],
            interfaces: &BTreeMap::new(),
            numbers: &BTreeMap::new(),
            seeds: Seeds::first(1, 0),
            passing: &Passing::default(),
        })
        .unwrap()
    }

    fn ask(plan: &Plan, ip: &str, service: Option<(u8, u16)>, state: Option<Entry>) -> Vec<Row> {
        let asked = Asked {
            ip: ip.parse().unwrap(),
            protocol: service.map(|(protocol, _)| protocol),
            port: service.map(|(_, port)| port),
            interface: None,
            direction: Direction::Ingress,
        };
        let control = Control { heartbeat_ns: NOW, ..Control::default() };
        explain(plan, &asked, None, (control, NOW, 7), |_| state)
    }

    #[test]
    fn every_service_has_a_row_and_a_named_one_is_alone() {
        let plan = made();
        let rows = ask(&plan, "192.0.2.1", None, None);
        let policies: Vec<Option<&str>> = rows.iter().map(|row| row.policy.as_deref()).collect();
        assert_eq!(policies, [Some("dns"), Some("web"), Some("web"), None]);
        let rows = ask(&plan, "192.0.2.1", Some((TCP, 443)), None);
        let [row] = rows.as_slice() else { panic!("{rows:?}") };
        let bucket = row.bucket.as_ref().unwrap();
        assert_eq!((row.policy.as_deref(), row.verdict.as_str()), (Some("web"), "pass"));
        assert_eq!((bucket.of.as_str(), bucket.known, bucket.available), ("192.0.2.1", false, 5));
        assert!(ask(&plan, "192.0.2.1", Some((TCP, 22)), None)[0].policy.is_none());
        let offices = ask(&plan, "198.51.100.9", Some((17, 9)), None);
        assert_eq!(offices[0].bucket.as_ref().unwrap().of, "198.51.100.0/24");
    }

    #[test]
    fn the_kernels_state_decides_what_the_next_packet_gets() {
        let plan = made();
        let number = *plan.names.iter().find(|(_, name)| *name == "web").unwrap().0;
        // Three of five are used.
        let entry = Entry {
            tat: NOW + 300_000_000,
            used: 33,
            over: 2,
            generation: 7,
            policy: number,
            ..Entry::default()
        };
        let rows = ask(&plan, "192.0.2.1", Some((TCP, 80)), Some(entry));
        let bucket = rows[0].bucket.as_ref().unwrap();
        assert_eq!((bucket.available, bucket.burst, bucket.used, bucket.over), (2, 5, 33, 2));
        assert_eq!((bucket.known, rows[0].reason.as_str()), (true, "within"));
        let spent = Entry { tat: NOW + 500_000_000, ..entry };
        let rows = ask(&plan, "192.0.2.1", Some((TCP, 80)), Some(spent));
        assert_eq!((rows[0].verdict.as_str(), rows[0].reason.as_str()), ("drop", "over"));
        assert_eq!(rows[0].bucket.as_ref().unwrap().available, 0);
    }

    #[test]
    fn lists_are_found_by_the_longest_prefix() {
        let plan = made();
        let found = listed(&plan, "203.0.113.9".parse().unwrap()).unwrap();
        assert_eq!((found.0, found.1.kind), (120, RULE_DENY));
        assert!(listed(&plan, "192.0.2.1".parse().unwrap()).is_none());
        assert_eq!(ask(&plan, "203.0.113.9", Some((TCP, 80)), None)[0].reason, "denied");
    }
}
