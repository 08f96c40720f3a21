//! Sampled verdicts become alerts of the agent's own: one about a policy at a time, with who is over it by how much.

use std::{
    collections::BTreeMap,
    net::Ipv6Addr,
    sync::mpsc::{SyncSender, TrySendError},
    time::{Duration, Instant},
};

use rampart_common::limit::{
    abi::Sample,
    packet::Address,
    verdict::{Direction, Reason, Unit},
};
use rampart_rules::rule::Priority;
use serde_json::Value as Json;

use crate::{alert::build::Internal, config::Limits, kernel::limiter::Counted, limits::plan::Closed};

/// Sources told apart in one alert; others only count.
const SOURCES_MAX: usize = 1024;
/// Alerts about used-up quotas at a time; the rest is in one.
const USED_UP_MAX: usize = 8;

/// What an alert is about: policy (0 = none), kind, direction, whether packets passed all the same.
type Topic = (u16, Kind, u8, bool);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Limit,
    Quota,
    Denied,
    Malformed,
}

/// What has come together of a topic since its last alert.
#[derive(Default)]
struct Gathered {
    samples: u64,
    sources: BTreeMap<[u32; 4], u64>,
    /// Packets and bytes of the topic so far.
    counted: (u64, u64),
}

/// See the module.
pub(super) struct Notices {
    sender: SyncSender<Internal>,
    gathered: BTreeMap<Topic, Gathered>,
    /// When there was an alert, and what was counted then.
    said: BTreeMap<Topic, (Option<Instant>, (u64, u64))>,
    dropped: u64,
}

impl Notices {
    pub(super) fn new(sender: SyncSender<Internal>) -> Self {
        Self { sender, gathered: BTreeMap::new(), said: BTreeMap::new(), dropped: 0 }
    }

    /// Takes what was counted before as known.
    pub(super) fn start(&mut self, counted: &[Counted]) {
        self.said = by_topic(counted).into_iter().map(|(topic, sum)| (topic, (None, sum))).collect();
    }

    /// Sends, or counts what there was no room for.
    pub(super) fn send(&mut self, notice: Internal) {
        // Full policy: drop the newest. The detection thread takes them once a second.
        match self.sender.try_send(notice) {
            Ok(()) => {}
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => self.dropped += 1,
        }
    }

    /// Alerts without room.
    pub(super) const fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Takes samples and counters, and says what is due.
    pub(super) fn take(
        &mut self,
        samples: &[Sample],
        counted: &[Counted],
        names: &BTreeMap<u16, String>,
        limits: &Limits,
    ) {
        if limits.alert.is_zero() {
            self.gathered.clear();
            return;
        }
        for notice in self.due(samples, counted, names, limits, Instant::now()) {
            self.send(notice);
        }
    }

    fn due(
        &mut self,
        samples: &[Sample],
        counted: &[Counted],
        names: &BTreeMap<u16, String>,
        limits: &Limits,
        now: Instant,
    ) -> Vec<Internal> {
        for sample in samples {
            let Some(kind) = kind(sample.reason) else { continue };
            let topic = (sample.policy, kind, sample.direction, sample.is_observed != 0);
            let gathered = self.gathered.entry(topic).or_default();
            gathered.samples += 1;
            if gathered.sources.len() < SOURCES_MAX || gathered.sources.contains_key(&sample.source) {
                *gathered.sources.entry(sample.source).or_default() += 1;
            }
        }
        for (topic, sum) in by_topic(counted) {
            if let Some(gathered) = self.gathered.get_mut(&topic) {
                gathered.counted = sum;
            }
        }
        let mut notices = Vec::new();
        let waiting = std::mem::take(&mut self.gathered);
        for (topic, gathered) in waiting {
            let (at, before) = self.said.get(&topic).copied().unwrap_or_default();
            if at.is_some_and(|at| now.saturating_duration_since(at) < limits.alert) {
                self.gathered.insert(topic, gathered);
                continue;
            }
            // Longer ago than an interval nothing was over.
            let since = at.map_or(limits.alert, |at| now.saturating_duration_since(at));
            let span = since.min(limits.alert).max(Duration::from_secs(1));
            self.said.insert(topic, (Some(now), gathered.counted));
            notices.push(notice(topic, &gathered, before, span, names, limits));
        }
        notices
    }
}

fn kind(reason: u8) -> Option<Kind> {
    let reason = Reason::ALL.into_iter().find(|known| *known as u8 == reason)?;
    match reason {
        Reason::Over | Reason::OverNear | Reason::OverFar => Some(Kind::Limit),
        Reason::OverQuota => Some(Kind::Quota),
        Reason::Denied => Some(Kind::Denied),
        Reason::Malformed => Some(Kind::Malformed),
        _ => None,
    }
}

fn by_topic(counted: &[Counted]) -> BTreeMap<Topic, (u64, u64)> {
    let mut sums: BTreeMap<Topic, (u64, u64)> = BTreeMap::new();
    for one in counted {
        let Some(kind) = kind(one.reason as u8) else { continue };
        let sum = sums.entry((one.policy as u16, kind, one.direction as u8, one.is_observed)).or_default();
        sum.0 += one.tally.packets;
        sum.1 += one.tally.bytes;
    }
    sums
}

fn notice(
    (policy, kind, direction, observed): Topic,
    gathered: &Gathered,
    before: (u64, u64),
    span: Duration,
    names: &BTreeMap<u16, String>,
    limits: &Limits,
) -> Internal {
    let name = names.get(&policy).map_or("", String::as_str);
    let settings = limits.policies.get(name);
    let packets = gathered.counted.0.saturating_sub(before.0);
    let bytes = gathered.counted.1.saturating_sub(before.1);
    let direction =
        Direction::ALL.into_iter().find(|way| *way as u8 == direction).map_or("", Direction::name);
    let top = gathered.sources.iter().max_by_key(|(_, count)| **count);
    let source = top.map_or_else(String::new, |(words, _)| {
        Ipv6Addr::from(Address::of_words(*words).bytes()).to_canonical().to_string()
    });
    let share = top.map_or(0, |(_, count)| *count);
    let done = if observed { "would be dropped" } else { "were dropped" };
    let (unit, rejected) = match settings.map(|policy| policy.unit) {
        Some(Unit::Bytes) => ("bytes", bytes),
        Some(Unit::NewFlows) => ("new flows", packets),
        _ => ("packets", packets),
    };
    // What the source was let do, and its part of what was rejected.
    let allowed = settings.map_or(0, |policy| policy.rate.amount / policy.rate.period_secs.max(1));
    let of_source = rejected.saturating_mul(share) / gathered.samples.max(1);
    let seen = allowed.saturating_add(of_source / span.as_secs().max(1));
    let sources = gathered.sources.len();
    let mut fields = BTreeMap::from([
        ("direction".to_owned(), Json::from(direction)),
        ("observed".to_owned(), observed.into()),
        ("packets".to_owned(), packets.into()),
        ("bytes".to_owned(), bytes.into()),
        ("span_ms".to_owned(), (span.as_millis() as u64).into()),
        ("source".to_owned(), source.clone().into()),
        ("sources".to_owned(), sources.into()),
        ("samples".to_owned(), gathered.samples.into()),
    ]);
    let many = if sources == 1 { String::new() } else { format!(" of {sources} sources") };
    let what;
    let message;
    match kind {
        Kind::Limit => {
            what = "rate limit exceeded";
            let rate = settings.map_or_else(|| "its limit".to_owned(), |policy| policy.rate.to_string());
            message = format!(
                "`{name}` ({direction}): {source} comes with about {seen} {unit} a second, allowed are {rate}; \
                 {packets} packets{many} {done}"
            );
            fields.insert("policy".to_owned(), name.into());
            fields.insert("unit".to_owned(), unit.into());
            fields.insert("allowed".to_owned(), rate.into());
            fields.insert("allowed_per_sec".to_owned(), allowed.into());
            fields.insert("observed_per_sec".to_owned(), seen.into());
        }
        Kind::Quota => {
            what = "quota exceeded";
            message = format!(
                "`{name}` ({direction}): {source} goes on though its quota is used up; {packets} packets{many} {done}"
            );
            fields.insert("policy".to_owned(), name.into());
        }
        Kind::Denied => {
            what = "denied source";
            message = format!("{source} is denied ({direction}); {packets} packets{many} {done}");
        }
        Kind::Malformed => {
            what = "malformed packets";
            message =
                format!("{source} sends malformed packets ({direction}); {packets} packets{many} {done}");
        }
    }
    let priority = if observed { Priority::Notice } else { Priority::Warning };
    Internal { what, priority, message, fields }
}

/// Alerts about quotas that have just been used up.
pub(super) fn used_up(news: &[&Closed], limits: &Limits) -> Vec<Internal> {
    let mut notices = Vec::new();
    for closed in news.iter().take(USED_UP_MAX) {
        let amount = limits
            .policies
            .get(&closed.policy)
            .and_then(|policy| policy.quota.as_ref())
            .map(|quota| quota.amount);
        let source = crate::limits::hitters::shown(closed.net);
        let fields = BTreeMap::from([
            ("policy".to_owned(), Json::from(closed.policy.as_str())),
            ("source".to_owned(), source.as_str().into()),
            ("allowed".to_owned(), amount.into()),
        ]);
        let allowed = amount.unwrap_or_default();
        let message = format!("`{}`: {source} has used up its quota of {allowed}", closed.policy);
        notices.push(Internal { what: "quota used up", priority: Priority::Warning, message, fields });
    }
    if news.len() > USED_UP_MAX {
        let more = news.len() - USED_UP_MAX;
        let fields = BTreeMap::from([("sources".to_owned(), Json::from(more))]);
        let message = format!("{more} more sources have used up a quota");
        notices.push(Internal { what: "quota used up", priority: Priority::Warning, message, fields });
    }
    notices
}

#[cfg(test)]
mod tests;
