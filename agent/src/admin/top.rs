//! The page `/top`: what rules and event families cost, as counters since the start. `rampart top` takes differences.

use std::time::Instant;

use rampart_common::event::Family;
use serde::{Deserialize, Serialize};

use crate::{budget::WHOLE, engine::profile::SAMPLE_EVERY, telemetry::status::Status};

/// The page.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Top {
    /// Version of the agent.
    pub version: String,
    /// Name of the node.
    pub hostname: String,
    /// Its process.
    pub pid: u32,
    /// Time from the start of the agent to the moment of which this page tells, seconds.
    pub at_seconds: f64,
    /// Times are measured on one event in so many and multiplied.
    pub sample_every: u32,
    /// Digest of the rules.
    pub digest: String,
    /// Rules, in definition order.
    pub rules: Vec<TopRule>,
    /// Families of events.
    pub families: Vec<TopFamily>,
}

/// A rule.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TopRule {
    /// Its name.
    pub rule: String,
    /// Its priority.
    pub priority: String,
    /// Times the agent tried it because the kernel left it possible.
    pub candidates: u64,
    /// Times it matched.
    pub matches: u64,
    /// Trials whose time was taken.
    pub samples: u64,
    /// Time that trying it took, nanoseconds, estimated.
    pub ns: u64,
    /// Families on whose events it is left out, to keep a CPU budget.
    pub shed: Vec<String>,
}

/// A family of events.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TopFamily {
    /// Its name.
    pub family: String,
    /// Events that reached the kernel programs.
    pub seen: u64,
    /// Events ended in the kernel because no rule could match.
    pub rejected: u64,
    /// Events sent to the agent.
    pub sent: u64,
    /// Events lost.
    pub lost: u64,
    /// Time that the rules took on its events, nanoseconds, estimated.
    pub ns: u64,
    /// What it may take in percent of one core, when it has a budget.
    pub budget_percent: Option<f64>,
    /// What it took in the last window over which budgets are measured.
    pub used_percent: Option<f64>,
    /// Whether it exceeds its budget and no rule may be left out any more.
    pub stuck: bool,
}

/// The page of what the detection thread last said.
pub fn page(status: &Status) -> Top {
    let detection = status.detection();
    let facts = status.facts();
    let at = detection
        .beat
        .zip(facts.as_ref())
        .map(|(beat, facts): (Instant, _)| beat.saturating_duration_since(facts.started_at).as_secs_f64());
    let usage = &detection.usage;
    let rules = usage.policy.as_ref().map_or(&[][..], |policy| policy.rules());
    Top {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        hostname: facts.map(|facts| facts.hostname).unwrap_or_default(),
        pid: std::process::id(),
        at_seconds: at.unwrap_or_default(),
        sample_every: SAMPLE_EVERY,
        digest: status.policy().digest,
        rules: rules
            .iter()
            .zip(&usage.rules)
            .enumerate()
            .map(|(position, (rule, usage))| TopRule {
                rule: rule.name.clone(),
                priority: rule.priority.to_string(),
                candidates: usage.candidates,
                matches: usage.matches,
                samples: usage.samples,
                ns: usage.ns,
                shed: detection.shed.families_of(position).map(|family| family.name().to_owned()).collect(),
            })
            .collect(),
        families: detection
            .families
            .iter()
            .map(|(family, counters, _)| {
                let standing = detection.budgets.iter().find(|standing| standing.family == *family);
                TopFamily {
                    family: family.name().to_owned(),
                    seen: counters.seen,
                    rejected: counters.filtered,
                    sent: counters.emitted,
                    lost: counters.ring_full + counters.error,
                    ns: family_ns(&usage.family_ns, *family),
                    budget_percent: standing.map(|standing| percent(standing.budget)),
                    used_percent: standing.and_then(|standing| standing.used).map(percent),
                    stuck: standing.is_some_and(|standing| standing.stuck),
                }
            })
            .collect(),
    }
}

fn family_ns(all: &[u64], family: Family) -> u64 {
    all.get(family as usize).copied().unwrap_or_default()
}

#[expect(clippy::cast_precision_loss, reason = "a few millionths more or less are no matter")]
fn percent(parts: u64) -> f64 {
    parts as f64 * 100.0 / WHOLE as f64
}
