//! The agent's own counters, read from its metrics page.

use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::agent::Agent;

/// Counters are read while events go on; the equation is exact only between two of them.
const SETTLE_LIMIT: Duration = Duration::from_secs(5);
const RETRY: Duration = Duration::from_millis(100);

/// The accounting equation of one event family.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Family {
    pub(super) seen: i64,
    pub(super) filtered: i64,
    pub(super) emitted: i64,
    pub(super) ring_full: i64,
    pub(super) error: i64,
    /// What the agent itself says it cannot explain.
    pub(super) unexplained: i64,
}

/// One reading of all counters.
#[derive(Clone, Debug, Default)]
pub(super) struct Counters {
    pub(super) families: BTreeMap<String, Family>,
    /// Records taken from the ring.
    pub(super) records: i64,
    /// Events evaluated against the rules.
    pub(super) evaluated: i64,
    /// Records that could not be decoded.
    pub(super) undecodable: i64,
    /// Sequence numbers that did not arrive.
    pub(super) gaps: i64,
    /// Sampled events that the kernel half would have rejected and a rule matched.
    pub(super) disagreements: i64,
    /// Reloads that were put in force.
    pub(super) reloads: i64,
    /// Reloads that were refused.
    pub(super) failed_reloads: i64,
}

impl Family {
    /// Events that no counter explains, by our own arithmetic.
    pub(super) fn missing(&self) -> i64 {
        self.seen - self.filtered - self.emitted - self.ring_full - self.error
    }
}

impl Counters {
    pub(super) fn read(agent: &Agent) -> Result<Self> {
        let (status, page) = agent.page("/metrics")?;
        if status != 200 {
            bail!("the agent's metrics page answers {status}");
        }
        Ok(Self::parse(&page))
    }

    /// Reads until the equation holds and every emitted record was taken from the ring, or gives up waiting.
    pub(super) fn settled(agent: &Agent) -> Result<Self> {
        let deadline = Instant::now() + SETTLE_LIMIT;
        loop {
            let counters = Self::read(agent)?;
            if counters.unexplained() == 0 || Instant::now() >= deadline {
                return Ok(counters);
            }
            thread::sleep(RETRY);
        }
    }

    /// The families' unexplained events, none cancelling another.
    pub(super) fn unexplained(&self) -> i64 {
        self.families.values().map(|family| family.missing().abs().max(family.unexplained.abs())).sum()
    }

    /// A sum over all families.
    pub(super) fn total(&self, pick: fn(&Family) -> i64) -> i64 {
        self.families.values().map(pick).sum()
    }

    fn parse(page: &str) -> Self {
        let mut counters = Self::default();
        for line in page.lines().filter(|line| !line.starts_with('#')) {
            let Some((series, value)) = line.rsplit_once(' ') else { continue };
            // Counters are written as floating point numbers by some libraries.
            let Ok(value) = value.parse::<f64>() else { continue };
            let value = value as i64;
            let (name, labels) = series.split_once('{').unwrap_or((series, ""));
            match name {
                "rampart_records_total" => counters.records = value,
                "rampart_events_evaluated_total" => counters.evaluated = value,
                "rampart_record_decode_errors_total" => counters.undecodable = value,
                "rampart_record_gaps" => counters.gaps = value,
                "rampart_pushdown_disagreements_total" => counters.disagreements = value,
                "rampart_policy_reloads_total" if labels.contains("failure") => {
                    counters.failed_reloads = value;
                }
                "rampart_policy_reloads_total" => counters.reloads = value,
                _ => {}
            }
            let family = labels.split("family=\"").nth(1).and_then(|rest| rest.split('"').next());
            let Some(family) = family else { continue };
            let family = counters.families.entry(family.to_owned()).or_default();
            match name {
                "rampart_events_seen_total" => family.seen = value,
                "rampart_events_filtered_total" => family.filtered = value,
                "rampart_events_emitted_total" => family.emitted = value,
                "rampart_events_ring_full_total" => family.ring_full = value,
                "rampart_events_error_total" => family.error = value,
                "rampart_events_unexplained" => family.unexplained = value,
                _ => {}
            }
        }
        counters
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "# HELP rampart_events_seen_total x\nrampart_events_seen_total{family=\"open\"} 10\n\
        rampart_events_filtered_total{family=\"open\"} 3\nrampart_events_emitted_total{family=\"open\"} 5\n\
        rampart_events_ring_full_total{family=\"open\"} 1\nrampart_events_error_total{family=\"open\"} 1\n\
        rampart_events_seen_total{family=\"net\"} 2\nrampart_events_unexplained{family=\"net\"} 2\n\
        rampart_policy_reloads_total{outcome=\"success\"} 4\nrampart_policy_reloads_total{outcome=\"failure\"} 1\n\
        rampart_record_gaps 9\nrampart_records_total 7e0\nrampart_events_evaluated_total 6\n";

    #[test]
    fn families_are_told_apart_and_summed() {
        let counters = Counters::parse(PAGE);
        assert_eq!((counters.records, counters.evaluated, counters.gaps), (7, 6, 9));
        assert_eq!((counters.reloads, counters.failed_reloads), (4, 1));
        assert_eq!(counters.families["open"].missing(), 0);
        assert_eq!(counters.unexplained(), 2);
        assert_eq!(counters.total(|family| family.seen), 12);
    }

    #[test]
    fn losses_of_two_families_do_not_cancel() {
        let page =
            "rampart_events_seen_total{family=\"a\"} 1\nrampart_events_emitted_total{family=\"b\"} 1\n";
        assert_eq!(Counters::parse(page).unexplained(), 2);
    }
}
