//! What the running agent knows about itself: written by the stages, read by the admin server.
//!
//! Each part is replaced whole by the one stage that owns it, so that no reader sees half of an update and no
//! stage waits for a reader.

use std::{
    net::IpAddr,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant, SystemTime},
};

use rampart_common::{counter::FamilyCounters, event::Family};
use rampart_rules::{load::Source, window};
use tokio::sync::watch;

use super::{
    limits::Limiting, lists::Lists, ready::Latches, recent::Recent, responses::Responding, services::Serving,
};
use crate::{
    budget::Standing,
    bundles,
    container::lookup::Tallies,
    digests,
    engine::{held::Waits, profile::Usage, push::Counts, shed::Shed},
    output::{self, Tally},
    spool,
    state::container::table::Sizes,
};

/// Everything, shared by all stages.
#[derive(Default)]
pub struct Status {
    /// Readiness.
    pub latches: Latches,
    /// Counters of what container runtimes and the API server were asked; written by those who ask.
    pub lookups: Arc<Tallies>,
    /// Counters of executed files that were read; written by the thread that does.
    pub digests: Arc<digests::Tallies>,
    /// The newest alerts; written by the detection thread.
    pub recent: Recent,
    /// How it is with policy bundles; written by the supervisor.
    pub bundles: watch::Sender<bundles::Standing>,
    facts: Mutex<Option<Facts>>,
    detection: Mutex<Detection>,
    policy: Mutex<Policy>,
    outputs: Mutex<output::Tallies>,
    limits: Mutex<Limiting>,
    delivery: Mutex<Delivery>,
    services: Mutex<Serving>,
    responses: Mutex<Responding>,
    lists: Mutex<Lists>,
}

/// What does not change while the agent runs.
#[derive(Clone, Debug)]
pub struct Facts {
    /// Name of the node.
    pub hostname: String,
    /// Release of the kernel.
    pub kernel_release: String,
    /// Start by the wall clock.
    pub started: SystemTime,
    /// Start by a clock that never jumps.
    pub started_at: Instant,
}

/// What the detection thread last said, once per heartbeat.
#[derive(Clone, Debug, Default)]
pub struct Detection {
    /// When it said so; `None` before its first round.
    pub beat: Option<Instant>,
    /// Records taken from the ring.
    pub records: u64,
    /// Records that could not be decoded.
    pub decode_errors: u64,
    /// Events evaluated against the rules.
    pub evaluated: u64,
    /// Alerts made.
    pub alerts: u64,
    /// Matches of each rule since the start, across reloads.
    pub matches: Vec<RuleMatches>,
    /// Kernel counters of each family, and what they leave unexplained.
    pub families: Vec<(Family, FamilyCounters, i64)>,
    /// Sequence numbers that did not arrive.
    pub gaps: u64,
    /// Processes remembered.
    pub processes: u64,
    /// Processes forgotten to make room.
    pub evictions: u64,
    /// Containers and pods known.
    pub containers: Sizes,
    /// Events that waited for metadata.
    pub waits: Waits,
    /// What the detector did for pushdown.
    pub judged: Counts,
    /// What rules that count remember.
    pub windows: window::Counts,
    /// What the kernel remembers.
    pub pushdown: Pushdown,
    /// What each rule costs and finds.
    pub usage: Arc<Usage>,
    /// How the event families stand that have a budget.
    pub budgets: Vec<Standing>,
    /// Rules that are left out.
    pub shed: Arc<Shed>,
}

/// What the kernel was told to remember, since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pushdown {
    /// Number of the plan in force; 0 when the kernel rejects nothing.
    pub generation: u64,
    /// Masks written.
    pub written: u64,
    /// Masks of calls left out for lack of room.
    pub full_calls: u64,
    /// Masks of processes left out for lack of room.
    pub full_processes: u64,
    /// Times that all masks of calls were forgotten for lack of room.
    pub fresh_starts: u64,
}

/// Matches of one rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleMatches {
    /// Name.
    pub rule: String,
    /// Priority as a number, 0 the most severe.
    pub priority: u8,
    /// Event source.
    pub source: String,
    /// Tags.
    pub tags: Vec<String>,
    /// How often.
    pub count: u64,
}

/// The rules in force, and how the last reload went.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    /// Digest over all rule texts, in hexadecimal.
    pub digest: String,
    /// Rules that are enabled.
    pub rules: usize,
    /// Each rule text with its digest.
    pub sources: Vec<(PathBuf, String)>,
    /// The texts themselves, in the order of the digest.
    pub texts: Arc<[Source]>,
    /// When they were put in force.
    pub loaded: Option<SystemTime>,
    /// Reloads that replaced the rules.
    pub reloads: u64,
    /// Reloads that failed and left the rules as they were.
    pub failures: u64,
    /// The last reload's fault, until one succeeds.
    pub fault: Option<Fault>,
}

/// How alerts get to the collector.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Delivery {
    /// Whether there is a collector to send to.
    pub is_used: bool,
    /// Whether it is reached now.
    pub is_connected: bool,
    /// Why it was not reached last.
    pub fault: Option<String>,
    /// What became of alerts in the spool.
    pub counts: spool::Counts,
    /// Alerts that wait in it.
    pub pending: u64,
    /// Its size.
    pub bytes: u64,
    /// The certificate it is reached with, when the collector gave it.
    pub certificate: Option<CertificateLife>,
    /// Addresses of the collector, as they were last found.
    pub addresses: Vec<IpAddr>,
}

/// How long a certificate is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CertificateLife {
    /// When it ends, seconds since the epoch by this node's clock.
    pub ends_secs: u64,
    /// For how long it was given.
    pub life_secs: u64,
}

/// A reload that failed.
#[derive(Clone, Debug)]
pub struct Fault {
    /// When.
    pub time: SystemTime,
    /// Why.
    pub text: String,
}

/// How long the detection thread may be silent before the agent is called unhealthy: ten heartbeats.
const SILENCE_MAX: Duration = Duration::from_secs(10);

impl Status {
    /// Sets what does not change.
    pub fn set_facts(&self, facts: Facts) {
        *lock(&self.facts) = Some(facts);
    }

    /// What does not change, once it is set.
    pub fn facts(&self) -> Option<Facts> {
        lock(&self.facts).clone()
    }

    /// Replaces what the detection thread said.
    pub fn set_detection(&self, detection: Detection) {
        *lock(&self.detection) = detection;
    }

    /// What the detection thread last said.
    pub fn detection(&self) -> Detection {
        lock(&self.detection).clone()
    }

    /// Changes what is known of the policy.
    pub fn update_policy(&self, change: impl FnOnce(&mut Policy)) {
        change(&mut lock(&self.policy));
    }

    /// What is known of the policy.
    pub fn policy(&self) -> Policy {
        lock(&self.policy).clone()
    }

    /// Replaces what the rate limiter said.
    pub fn set_limits(&self, limits: Limiting) {
        *lock(&self.limits) = limits;
    }

    /// What the rate limiter last said.
    pub fn limits(&self) -> Limiting {
        lock(&self.limits).clone()
    }

    /// Changes what is known of the way to the collector.
    pub fn update_delivery(&self, change: impl FnOnce(&mut Delivery)) {
        change(&mut lock(&self.delivery));
    }

    /// What is known of the way to the collector.
    pub fn delivery(&self) -> Delivery {
        lock(&self.delivery).clone()
    }

    /// Replaces what the thread of services said.
    pub fn set_services(&self, services: Serving) {
        *lock(&self.services) = services;
    }

    /// What the thread of services last said.
    pub fn services(&self) -> Serving {
        lock(&self.services).clone()
    }

    /// Replaces what the thread of responses said.
    pub fn set_responses(&self, responses: Responding) {
        *lock(&self.responses) = responses;
    }

    /// What the thread of responses last said.
    pub fn responses(&self) -> Responding {
        lock(&self.responses).clone()
    }

    /// Changes what is known of lists.
    pub fn update_lists(&self, change: impl FnOnce(&mut Lists)) {
        change(&mut lock(&self.lists));
    }

    /// How lists stand.
    pub fn lists(&self) -> Lists {
        lock(&self.lists).clone()
    }

    /// Gives the outputs' counters.
    pub fn set_outputs(&self, tallies: output::Tallies) {
        *lock(&self.outputs) = tallies;
    }

    /// The outputs' counters now.
    pub fn outputs(&self) -> Vec<Tally> {
        lock(&self.outputs).read()
    }

    /// What is wrong with the running agent at `now`, for people; empty when all is well.
    pub fn complaints(&self, now: Instant) -> Vec<String> {
        let mut complaints = Vec::new();
        let detection = self.detection();
        if let Some(beat) = detection.beat {
            let silence = now.saturating_duration_since(beat);
            if silence > SILENCE_MAX {
                complaints.push(format!("detection has been silent for {} s", silence.as_secs()));
            }
        }
        if let Some(fault) = self.policy().fault {
            complaints
                .push(format!("the last reload failed, the rules before it are in force: {}", fault.text));
        }
        if let Some(fault) = &self.bundles.borrow().fault {
            complaints.push(format!("a policy bundle is not in force: {}", fault.text));
        }
        if let Some(fault) = self.limits().faults.first() {
            complaints.push(format!("rate limits: {fault}"));
        }
        let delivery = self.delivery();
        if let Some(fault) = delivery.fault.filter(|_| !delivery.is_connected) {
            complaints
                .push(format!("the collector is not reached, {} alerts wait: {fault}", delivery.pending));
        }
        if let Some(fault) = self.services().fault {
            complaints.push(format!("services: {fault}"));
        }
        for tally in self.outputs() {
            if tally.failing {
                complaints.push(format!("output {} fails, {} alerts lost", tally.name, tally.dropped_failed));
            }
        }
        complaints
    }
}

/// A shared status, closed latches and all.
pub fn shared() -> Arc<Status> {
    Arc::default()
}

/// The values are replaced whole, so what a panicked writer left is whole too.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_and_failed_reloads_are_complaints() {
        let status = shared();
        let now = Instant::now();
        assert!(status.complaints(now).is_empty(), "a start is no silence");
        status.set_detection(Detection { beat: Some(now), ..Detection::default() });
        assert!(status.complaints(now + Duration::from_secs(10)).is_empty());
        let found = status.complaints(now + Duration::from_secs(11));
        assert_eq!(found, ["detection has been silent for 11 s"]);
        status.update_policy(|policy| {
            policy.fault = Some(Fault { time: SystemTime::UNIX_EPOCH, text: "bad".into() });
        });
        assert!(status.complaints(now)[0].ends_with("in force: bad"));
    }
}
