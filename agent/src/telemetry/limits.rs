//! What the rate limiter last said, and its part of the metrics page.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv6Addr},
    sync::Arc,
};

use jiff::Timestamp;
use rampart_common::limit::{
    abi::Sample,
    gcra::Mode,
    packet::Address,
    verdict::{Action, Defect, Direction, Reason, Unit},
};
use serde_json::{Value, json};

use super::{metrics::Page, names::Name};
use crate::{
    config::{Limits, PolicyLimits},
    kernel::limiter::{Attached, Counted},
    limits::{
        class::Class,
        entries::{Entry, Kind, Now},
        hitters::shown,
        load::Load,
        plan::Closed,
        quota::Period,
    },
};

/// Sampled verdicts that are kept.
pub const RECENT: usize = 64;

/// What the limiter's thread last said.
#[derive(Clone, Debug, Default)]
pub struct Limiting {
    /// Number of the tables in force; 0 when none are.
    pub generation: u32,
    /// Names of policies.
    pub names: BTreeMap<u16, String>,
    /// Where it is attached.
    pub attached: Vec<Attached>,
    /// Packets by policy, reason and direction.
    pub counted: Vec<Counted>,
    /// Malformed packets.
    pub defects: Vec<(Defect, Direction, u64)>,
    /// Packets that a policy resets, by whether they were answered.
    pub resets: Vec<(bool, Direction, u64)>,
    /// Sampled verdicts taken.
    pub samples: u64,
    /// How often the seed of hashes was changed.
    pub seed_changes: u64,
    /// The newest of the samples, oldest first; at most [`RECENT`].
    pub recent: Vec<Sample>,
    /// What is wrong.
    pub faults: Vec<String>,
    /// The settings; `None` when rate limits are off.
    pub settings: Option<Arc<Limits>>,
    /// Lists and grants made while the agent runs.
    pub entries: Vec<Entry>,
    /// What is scaled down; `None` when the node is not looked at.
    pub throttle: Option<Throttle>,
    /// Who has used up a quota.
    pub closed: Vec<Closed>,
    /// Alerts that found no room.
    pub unsaid: u64,
}

/// The throttling controller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Throttle {
    /// Whether rates are scaled, or it is only shown.
    pub is_enforcing: bool,
    /// How near the node is to the nearest threshold, in thousandths.
    pub stress: u64,
    /// What each class has of its rate, in thousandths.
    pub scales: Vec<(Class, u32)>,
    /// How busy the node is.
    pub load: Load,
}

/// Everything about the limiter, for people.
pub fn document(limits: &Limiting) -> Value {
    let name = |policy: u32| limits.names.get(&(policy as u16)).map(String::as_str);
    let attached = limits.attached.iter().map(|attached| {
        let refused = attached.refused.iter();
        json!({
            "interface": attached.interface,
            "direction": attached.direction.name(),
            "rung": attached.rung.name(),
            "taken_over": attached.is_taken_over,
            "refused": refused
                .map(|refused| json!({ "rung": refused.rung.name(), "reason": refused.reason }))
                .collect::<Vec<_>>(),
        })
    });
    let counted = limits.counted.iter().map(|counted| {
        json!({
            "policy": name(counted.policy),
            "reason": counted.reason.name(),
            "direction": counted.direction.name(),
            "observed": counted.is_observed,
            "packets": counted.tally.packets,
            "bytes": counted.tally.bytes,
        })
    });
    let defects = limits.defects.iter().map(|(defect, direction, packets)| {
        json!({ "defect": defect.name(), "direction": direction.name(), "packets": packets })
    });
    let settings = limits.settings.as_deref();
    let now = now();
    json!({
        "generation": limits.generation,
        "fault": limits.faults.first(),
        "faults": limits.faults,
        "mode": settings.map(|settings| if settings.is_enforcing { "enforce" } else { "observe" }),
        "settings": settings.map(|settings| {
            settings.policies.iter().map(|(name, policy)| policy_settings(name, policy)).collect::<Vec<_>>()
        }),
        "entries": limits.entries.iter().map(|one| entry(one, now)).collect::<Vec<_>>(),
        "throttle": limits.throttle.as_ref().map(throttle),
        "used_up": limits.closed.iter()
            .map(|closed| json!({ "policy": closed.policy, "source": shown(closed.net) }))
            .collect::<Vec<_>>(),
        "policies": limits.names.values().collect::<Vec<_>>(),
        "attached": attached.collect::<Vec<_>>(),
        "counted": counted.collect::<Vec<_>>(),
        "malformed": defects.collect::<Vec<_>>(),
        "resets": limits.resets.iter()
            .map(|(answered, direction, packets)| {
                json!({ "answered": answered, "direction": direction.name(), "packets": packets })
            })
            .collect::<Vec<_>>(),
        "samples": limits.samples,
        "recent": limits.recent.iter().map(|sample| recent(sample, name(u32::from(sample.policy)))).collect::<Vec<_>>(),
    })
}

/// A policy: its settings, what was counted for it, who was over it lately.
pub fn policy_page(limits: &Limiting, name: &str, policy: &PolicyLimits) -> Value {
    let number = limits.names.iter().find(|(_, own)| *own == name).map(|(number, _)| *number);
    let counted = limits.counted.iter().filter(|counted| Some(counted.policy as u16) == number);
    let samples = limits.recent.iter().filter(|sample| Some(sample.policy) == number);
    let now = now();
    json!({
        "name": name,
        "settings": policy_settings(name, policy),
        "counted": counted.map(|counted| json!({
            "reason": counted.reason.name(),
            "direction": counted.direction.name(),
            "observed": counted.is_observed,
            "packets": counted.tally.packets,
            "bytes": counted.tally.bytes,
        })).collect::<Vec<_>>(),
        "recent": samples.map(|sample| recent(sample, Some(name))).collect::<Vec<_>>(),
        "grants": limits.entries.iter().filter(|one| one.kind == Kind::Grant)
            .map(|one| entry(one, now)).collect::<Vec<_>>(),
        "limited": limits.entries.iter().filter(|one| one.policy.as_deref() == Some(name))
            .map(|one| entry(one, now)).collect::<Vec<_>>(),
        "used_up": limits.closed.iter().filter(|closed| closed.policy == name)
            .map(|closed| shown(closed.net)).collect::<Vec<_>>(),
    })
}

fn policy_settings(name: &str, policy: &PolicyLimits) -> Value {
    let quota = policy.quota.as_ref().map(|quota| {
        let (per, calendar) = match &quota.period {
            Period::Day => ("day", None),
            Period::Month => ("month", None),
            Period::Session(days) => ("session", Some(&days.name)),
        };
        let at = calendar.is_none().then(|| quota.at.strftime("%H:%M").to_string());
        json!({"amount": quota.amount, "per": per, "at": at, "calendar": calendar})
    });
    json!({
        "name": name,
        "rate": policy.rate.to_string(),
        "amount": policy.rate.amount,
        "period_secs": policy.rate.period_secs,
        "burst": policy.rate.burst,
        "unit": match policy.unit {
            Unit::NewFlows => "new_flows",
            Unit::Packets => "packets",
            Unit::Bytes => "bytes",
        },
        "mode": match policy.mode { Mode::Throttle => "throttle", Mode::Penalize => "penalize" },
        "action": match policy.action {
            Action::Drop => "drop",
            Action::Reset => "reset",
            Action::Mark => "mark",
            Action::Observe => "observe",
        },
        "dry_run": policy.is_dry,
        "on_demand": policy.is_on_demand,
        "class": policy.class.name(),
        "quota": quota,
        "direction": policy.direction.name(),
        "protocol": policy.protocol,
        "ports": policy.ports,
        "interfaces": policy.interfaces,
        "sources": policy.sources.iter().map(|net| shown(*net)).collect::<Vec<_>>(),
    })
}

/// An entry made while the agent runs.
pub fn entry(entry: &Entry, now: Now) -> Value {
    let time = |secs: u64| Timestamp::from_second(secs as i64).map(|time| time.to_string()).ok();
    json!({
        "kind": entry.kind.name(),
        "net": shown(entry.net),
        "rate": entry.rate.map(|rate| rate.to_string()),
        "policy": entry.policy,
        "until": entry.until.and_then(|end| time(end.wall_secs)),
        "left_secs": entry.until.map(|end| end.boot_ns.saturating_sub(now.boot_ns) / 1_000_000_000),
        "by": entry.by,
        "made": time(entry.made_secs),
        "comment": entry.comment,
    })
}

fn throttle(throttle: &Throttle) -> Value {
    let scales = throttle.scales.iter();
    let scales: BTreeMap<&str, u32> = scales.map(|(class, scale)| (class.name(), *scale)).collect();
    json!({
        "mode": if throttle.is_enforcing { "enforce" } else { "observe" },
        "stress_permille": throttle.stress,
        "scale_permille": scales,
        "cpu_pressure_permille": throttle.load.pressure_permille,
        "softirq_permille": throttle.load.softirq_permille,
        "run_queue_permille": throttle.load.queue_permille,
        "backlog_drops_per_sec": throttle.load.drops_per_sec,
    })
}

/// Both clocks; the wall clock's time is not needed here.
fn now() -> Now {
    Now { wall_secs: 0, boot_ns: crate::engine::clock::boot_now_ns() }
}

/// Whether a sample is of a source.
pub fn is_from(sample: &Sample, source: IpAddr) -> bool {
    Ipv6Addr::from(Address::of_words(sample.source).bytes()).to_canonical() == source.to_canonical()
}

/// A sampled verdict. Nanoseconds of the rate say how far over its limit the key was, against how far it may be.
pub fn recent(sample: &Sample, policy: Option<&str>) -> Value {
    let address = |words| Ipv6Addr::from(Address::of_words(words).bytes()).to_canonical().to_string();
    let word = |found: Option<&'static str>| found.unwrap_or("unknown");
    let reason = Reason::ALL.into_iter().find(|reason| *reason as u8 == sample.reason).map(Reason::name);
    let direction = Direction::ALL.into_iter().find(|way| *way as u8 == sample.direction);
    json!({
        "boot_time_ns": sample.time_ns,
        "policy": policy,
        "reason": word(reason),
        "direction": word(direction.map(Direction::name)),
        "observed": sample.is_observed == 1,
        "source": address(sample.source),
        "source_port": sample.source_port,
        "destination": address(sample.destination),
        "destination_port": sample.destination_port,
        "protocol": sample.protocol,
        "interface_index": sample.interface,
        "bytes": sample.bytes,
        "over_by_ns": sample.excess_ns,
        "allowed_ns": sample.allowed_ns,
    })
}

/// Adds the limiter's metrics. No label ever holds an address.
pub(super) fn add(page: &mut Page, limits: &Limiting) {
    page.add(Name::LimitsGeneration, &[], u64::from(limits.generation));
    page.add(Name::LimitsSamples, &[], limits.samples);
    page.add(Name::LimitsSeedChanges, &[], limits.seed_changes);
    for attached in &limits.attached {
        let labels = [
            ("interface", attached.interface.as_str()),
            ("direction", attached.direction.name()),
            ("rung", attached.rung.name()),
        ];
        page.add(Name::LimitsAttached, &labels, 1);
    }
    let mut exceeded: BTreeMap<(&str, &str), u64> = BTreeMap::new();
    for counted in &limits.counted {
        let policy = limits.names.get(&(counted.policy as u16)).map_or("", String::as_str);
        let direction = counted.direction.name();
        let labels = [
            ("policy", policy),
            ("reason", counted.reason.name()),
            ("direction", direction),
            ("observed", if counted.is_observed { "true" } else { "false" }),
        ];
        page.add(Name::LimitsPackets, &labels, counted.tally.packets);
        page.add(Name::LimitsBytes, &labels, counted.tally.bytes);
        if matches!(counted.reason, Reason::Over | Reason::OverNear | Reason::OverFar | Reason::OverQuota) {
            *exceeded.entry((policy, direction)).or_default() += counted.tally.packets;
        }
    }
    for ((policy, direction), packets) in exceeded {
        page.add(Name::RateLimitExceeded, &[("policy", policy), ("direction", direction)], packets);
    }
    page.add(Name::LimitsAlertsDropped, &[], limits.unsaid);
    if limits.settings.is_some() {
        for kind in [Kind::Allow, Kind::Deny, Kind::Grant, Kind::Limit] {
            let count = limits.entries.iter().filter(|entry| entry.kind == kind).count();
            page.add(Name::LimitsEntries, &[("kind", kind.name())], count as u64);
        }
    }
    let mut used_up: BTreeMap<&str, u64> = BTreeMap::new();
    for closed in &limits.closed {
        *used_up.entry(&closed.policy).or_default() += 1;
    }
    for (policy, sources) in used_up {
        page.add(Name::LimitsUsedUp, &[("policy", policy)], sources);
    }
    if let Some(throttle) = &limits.throttle {
        page.add(Name::LimitsStress, &[], throttle.stress);
        for (class, scale) in &throttle.scales {
            page.add(Name::LimitsScale, &[("class", class.name())], u64::from(*scale));
        }
    }
    for (defect, direction, packets) in &limits.defects {
        let labels = [("defect", defect.name()), ("direction", direction.name())];
        page.add(Name::LimitsDefects, &labels, *packets);
    }
    for (is_answered, direction, packets) in &limits.resets {
        let labels =
            [("answered", if *is_answered { "true" } else { "false" }), ("direction", direction.name())];
        page.add(Name::LimitsResets, &labels, *packets);
    }
}

#[cfg(test)]
mod tests {
    use rampart_common::limit::abi::Tally;

    use super::*;

    fn limiting() -> Limiting {
        let counted = |policy, reason, is_observed, packets| Counted {
            policy,
            reason,
            direction: Direction::Ingress,
            is_observed,
            tally: Tally { packets, bytes: packets * 100 },
        };
        Limiting {
            generation: 7,
            names: BTreeMap::from([(1, "web".to_owned())]),
            counted: vec![
                counted(0, Reason::NoPolicy, false, 5),
                counted(1, Reason::Within, false, 10),
                counted(1, Reason::Over, false, 3),
                counted(1, Reason::OverNear, true, 4),
            ],
            defects: vec![(Defect::Land, Direction::Ingress, 2)],
            samples: 1,
            recent: vec![Sample {
                policy: 1,
                reason: Reason::Over as u8,
                source: Address::v4(0xc000_0201).words(),
                destination: Address { hi: 0x2001_0db8 << 32, lo: 1 }.words(),
                destination_port: 443,
                excess_ns: 5,
                ..Sample::default()
            }],
            ..Limiting::default()
        }
    }

    #[test]
    fn metrics_sum_up_what_was_over_and_name_no_address() {
        let mut page = Page::default();
        add(&mut page, &limiting());
        let text = prometheus::TextEncoder::new().encode_to_string(&page.families()).unwrap();
        assert!(
            text.contains("rate_limit_exceeded_total{direction=\"ingress\",policy=\"web\"} 7\n"),
            "{text}"
        );
        let within = "rampart_limits_packets_total{direction=\"ingress\",observed=\"false\",policy=\"web\",reason=\"within\"} 10";
        assert!(text.contains(within), "{text}");
        assert!(
            text.contains("rampart_limits_malformed_packets_total{defect=\"land\",direction=\"ingress\"} 2")
        );
        assert!(!text.contains("192.0.2.1"));
    }

    #[test]
    fn the_document_names_who_was_over_and_by_how_much() {
        let document = document(&limiting());
        assert_eq!(document["counted"][2]["policy"], "web");
        assert_eq!(document["counted"][3]["observed"], true);
        let recent = &document["recent"][0];
        assert_eq!(recent["source"], "192.0.2.1");
        assert_eq!(recent["destination"], "2001:db8::1");
        assert_eq!((&recent["reason"], &recent["over_by_ns"]), (&json!("over"), &json!(5)));
    }
}
