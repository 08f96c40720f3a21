//! What the rate limiter last said, and its part of the metrics page.

use std::collections::BTreeMap;

use rampart_common::limit::verdict::{Defect, Direction, Reason};

use super::{metrics::Page, names::Name};
use crate::kernel::limiter::{Attached, Counted};

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
    /// Sampled verdicts taken.
    pub samples: u64,
    /// What is wrong.
    pub fault: Option<String>,
}

/// Adds the limiter's metrics. No label ever holds an address.
pub(super) fn add(page: &mut Page, limits: &Limiting) {
    page.add(Name::LimitsGeneration, &[], u64::from(limits.generation));
    page.add(Name::LimitsSamples, &[], limits.samples);
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
        if matches!(counted.reason, Reason::Over | Reason::OverNear | Reason::OverFar) {
            *exceeded.entry((policy, direction)).or_default() += counted.tally.packets;
        }
    }
    for ((policy, direction), packets) in exceeded {
        page.add(Name::RateLimitExceeded, &[("policy", policy), ("direction", direction)], packets);
    }
    for (defect, direction, packets) in &limits.defects {
        let labels = [("defect", defect.name()), ("direction", direction.name())];
        page.add(Name::LimitsDefects, &labels, *packets);
    }
}
