//! What the agent saw and used while a load ran.

use std::thread;
use std::time::Duration;

use anyhow::{Result, bail};

use super::counters::{Counters, Family};
use super::usage;
use crate::agent::Agent;

/// The agent publishes its counters once a second.
const BEAT: Duration = Duration::from_millis(1200);

/// A full ring is worked off within; longer, and the agent's own rest would be counted too.
const DRAIN: Duration = Duration::from_millis(150);

/// The growth of the agent's counters and of its CPU time.
#[derive(Clone, Debug, Default)]
pub(super) struct Watched {
    /// System calls and process events that the kernel half looked at.
    pub(super) seen: f64,
    /// Those it rejected by itself.
    pub(super) filtered: f64,
    /// Those that found no room or could not be read.
    pub(super) lost: f64,
    /// Missing sequence numbers beyond the losses that are counted.
    pub(super) unattributed: f64,
    /// Events that no counter explains, and records that cannot be decoded.
    pub(super) unexplained: f64,
    /// CPU seconds of the agent's threads.
    pub(super) cpu_s: f64,
    /// Seen and rejected events of each family that had any.
    families: Vec<(String, f64, f64)>,
}

impl Watched {
    /// Rejected in the kernel, in percent of all that was seen.
    pub(super) fn rejected_percent(&self) -> f64 {
        self.filtered / self.seen.max(1.0) * 100.0
    }

    /// What was seen and rejected, family by family, in words.
    pub(super) fn by_family(&self) -> String {
        let one = |(name, seen, filtered): &(String, f64, f64)| {
            format!("{name} {seen} seen, {:.1} % rejected", filtered / seen * 100.0)
        };
        self.families.iter().map(one).collect::<Vec<String>>().join("; ")
    }

    /// Lost, in percent of all that was seen.
    pub(super) fn lost_percent(&self) -> f64 {
        self.lost / self.seen.max(1.0) * 100.0
    }
}

/// Does something and says what the agent noticed of it, once all of it is counted; nothing without an agent. An agent
/// that finds itself rejecting what a rule matches is an error: its numbers mean nothing.
pub(super) fn watched<T>(agent: Option<&Agent>, work: impl FnOnce() -> Result<T>) -> Result<(T, Watched)> {
    let Some(agent) = agent else { return Ok((work()?, Watched::default())) };
    let before = fresh(agent)?;
    let cpu = usage::run_time(agent.pid())?;
    let done = work()?;
    thread::sleep(DRAIN);
    let cpu_s = usage::run_time(agent.pid())?.saturating_sub(cpu).as_secs_f64();
    let after = fresh(agent)?;
    Ok((done, between(&before, &after, cpu_s)))
}

fn fresh(agent: &Agent) -> Result<Counters> {
    thread::sleep(BEAT);
    let counters = Counters::settled(agent)?;
    if counters.disagreements > 0 {
        bail!("{} events that a rule matches would have been rejected in the kernel", counters.disagreements);
    }
    Ok(counters)
}

fn between(before: &Counters, after: &Counters, cpu_s: f64) -> Watched {
    let grown = |pick: fn(&Counters) -> i64| real(pick(after) - pick(before));
    let family = |(name, now): (&String, &Family)| {
        let then = before.families.get(name).copied().unwrap_or_default();
        let seen = now.seen - then.seen;
        (seen > 0).then(|| (name.clone(), real(seen), real(now.filtered - then.filtered)))
    };
    let lost = |all: &Counters| all.total(|family| family.ring_full);
    Watched {
        seen: grown(|all| all.total(|family| family.seen)),
        filtered: grown(|all| all.total(|family| family.filtered)),
        lost: grown(|all| all.total(|family| family.ring_full + family.error)),
        unattributed: real((after.gaps - before.gaps) - (lost(after) - lost(before))).max(0.0),
        unexplained: real(after.unexplained() + after.undecodable),
        cpu_s,
        families: after.families.iter().filter_map(family).collect(),
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts of one run stay far below 2^52")]
pub(super) fn real(count: i64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn counters(seen: i64, filtered: i64, ring_full: i64, gaps: i64) -> Counters {
        let family =
            Family { seen, filtered, ring_full, emitted: seen - filtered - ring_full, ..Family::default() };
        Counters { families: BTreeMap::from([("open".to_owned(), family)]), gaps, ..Counters::default() }
    }

    #[test]
    fn shares_are_of_what_was_added() {
        let watched = between(&counters(100, 0, 0, 0), &counters(300, 150, 10, 10), 0.5);
        assert_eq!((watched.seen, watched.filtered, watched.lost), (200.0, 150.0, 10.0));
        assert!((watched.rejected_percent() - 75.0).abs() < 1e-9);
        assert!((watched.lost_percent() - 5.0).abs() < 1e-9);
        assert_eq!((watched.unattributed, watched.unexplained), (0.0, 0.0));
        assert_eq!(watched.by_family(), "open 200 seen, 75.0 % rejected");
    }

    #[test]
    fn a_gap_that_the_kernel_did_not_count_is_told() {
        let watched = between(&counters(0, 0, 0, 0), &counters(300, 0, 10, 13), 0.5);
        assert!((watched.unattributed - 3.0).abs() < 1e-9);
        assert!(Watched::default().rejected_percent().abs() < 1e-9, "nothing seen is nothing rejected");
    }
}
