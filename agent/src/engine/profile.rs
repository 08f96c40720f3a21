//! What each rule costs: how often it is tried on an event, and how long that takes, measured on a sample of the events.
//!
//! Every trial is counted. Time is taken on one event in [`SAMPLE_EVERY`] on average, at random distances so that no
//! regular load hides from it or is all that is seen. A rule's time is that of its condition and, when it matches, of
//! making its alert, as time goes by: waits for a CPU are in it. A comparison that several rules share is paid by the
//! first of them that is tried.

use std::{mem, sync::Arc};

use rampart_common::event::{FAMILY_COUNT, Family};
use rampart_rules::rule::RuleSet;
use rustc_hash::FxHashMap;

use super::{
    clock::boot_now_ns,
    shed::{Shed, ShedOf},
};

/// One event in so many is measured, on average.
pub const SAMPLE_EVERY: u32 = 64;
/// A longer trial was interrupted: neither conditions nor alerts take so long. Nanoseconds.
const TRIAL_MAX_NS: u64 = 1_000_000;
/// Pairs of readings from which the cost of a reading is taken.
const READINGS: usize = 64;

/// The clock that measures trials.
#[derive(Clone, Copy, Debug)]
pub struct Stopwatch {
    /// Nanoseconds since any moment.
    pub now_ns: fn() -> u64,
    /// What a reading itself takes.
    pub overhead_ns: u64,
}

impl Stopwatch {
    /// The clock of this machine.
    pub fn system() -> Self {
        let reading = |_| {
            let start_ns = boot_now_ns();
            boot_now_ns().saturating_sub(start_ns)
        };
        Self { now_ns: boot_now_ns, overhead_ns: (0..READINGS).map(reading).min().unwrap_or(0) }
    }
}

/// What a rule cost on the events of a family.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Events it was tried on, each view counted.
    pub candidates: u64,
    /// Trials that were measured.
    pub samples: u64,
    /// Time of all trials, estimated from those measured, nanoseconds.
    pub ns: u64,
}

/// What a rule cost, and what it found, on all events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RuleUse {
    /// As in [`Cost`].
    pub candidates: u64,
    /// Matches.
    pub matches: u64,
    /// As in [`Cost`].
    pub samples: u64,
    /// As in [`Cost`].
    pub ns: u64,
}

/// What all rules cost since the start. Those that a reload kept by name keep their numbers.
#[derive(Clone, Debug, Default)]
pub struct Usage {
    /// The rules in force; `None` before there are any.
    pub policy: Option<Arc<RuleSet>>,
    /// By position in the rule set.
    pub rules: Vec<RuleUse>,
    /// Time by family, nanoseconds, rules of earlier rule sets included.
    pub family_ns: [u64; FAMILY_COUNT],
}

/// The running numbers, and which rules are left out.
#[derive(Debug)]
pub(super) struct Profile {
    stopwatch: Stopwatch,
    /// Events until the next one that is measured.
    countdown: u32,
    random: u64,
    families: [Vec<Cost>; FAMILY_COUNT],
    /// Time of rules that are gone.
    gone_ns: [u64; FAMILY_COUNT],
    shed: Arc<Shed>,
}

impl Profile {
    pub(super) fn new(stopwatch: Stopwatch, seed: u64, policy: &RuleSet) -> Self {
        let mut profile = Self {
            stopwatch,
            countdown: 1,
            random: seed | 1,
            families: Default::default(),
            gone_ns: [0; FAMILY_COUNT],
            shed: Arc::default(),
        };
        profile.resize(policy.rules().len());
        profile
    }

    /// Begins to try rules on an event.
    #[inline]
    pub(super) fn begin(&mut self, family: Family) -> Trial<'_> {
        self.countdown -= 1;
        let measured = self.countdown == 0;
        if measured {
            self.countdown = self.distance();
        }
        Trial {
            costs: self.families.get_mut(family as usize).map_or(&mut [], Vec::as_mut_slice),
            shed: self.shed.of(family),
            stopwatch: measured.then_some(self.stopwatch),
            running: None,
        }
    }

    /// Counts a trial of an event that waited; it is not measured.
    pub(super) fn late(&mut self, family: Family, rule: usize) {
        let cost = self.families.get_mut(family as usize).and_then(|costs| costs.get_mut(rule));
        if let Some(cost) = cost {
            cost.candidates += 1;
        }
    }

    /// What the rules cost on the events of a family, by position.
    pub(super) fn of(&self, family: Family) -> &[Cost] {
        self.families.get(family as usize).map_or(&[], Vec::as_slice)
    }

    /// Sums over the families, without matches.
    pub(super) fn rule(&self, rule: usize) -> RuleUse {
        let costs = self.families.iter().filter_map(|costs| costs.get(rule));
        costs.fold(RuleUse::default(), |sum, cost| RuleUse {
            candidates: sum.candidates + cost.candidates,
            matches: 0,
            samples: sum.samples + cost.samples,
            ns: sum.ns + cost.ns,
        })
    }

    /// Time by family.
    pub(super) fn family_ns(&self) -> [u64; FAMILY_COUNT] {
        let mut sums = self.gone_ns;
        for (sum, costs) in sums.iter_mut().zip(&self.families) {
            *sum += costs.iter().map(|cost| cost.ns).sum::<u64>();
        }
        sums
    }

    pub(super) fn shed(&self) -> &Arc<Shed> {
        &self.shed
    }

    pub(super) fn set_shed(&mut self, shed: Arc<Shed>) {
        self.shed = shed;
    }

    /// Positions are about to mean other rules; none of them is left out.
    pub(super) fn rules_changed(&mut self, old: &RuleSet, new: &RuleSet) {
        self.shed = Arc::default();
        let named = old.rules().iter().enumerate();
        let mut positions: FxHashMap<&str, usize> =
            named.map(|(position, rule)| (rule.name.as_str(), position)).collect();
        let was: Vec<Option<usize>> =
            new.rules().iter().map(|rule| positions.remove(rule.name.as_str())).collect();
        let gone = positions.into_values();
        let costs_of = |costs: &[Cost], at: usize| costs.get(at).copied().unwrap_or_default();
        let before = mem::take(&mut self.families);
        for rule in gone {
            for (sum, costs) in self.gone_ns.iter_mut().zip(&before) {
                *sum += costs_of(costs, rule).ns;
            }
        }
        for (now, costs) in self.families.iter_mut().zip(&before) {
            *now = was.iter().map(|at| at.map(|at| costs_of(costs, at)).unwrap_or_default()).collect();
        }
    }

    fn resize(&mut self, rules: usize) {
        for costs in &mut self.families {
            costs.resize(rules, Cost::default());
        }
    }

    /// A distance to the next measured event: 1 to 127, 64 on average. Xorshift; nothing depends on its quality but that
    /// it follows no load.
    fn distance(&mut self) -> u32 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        1 + (self.random >> 32) as u32 % (2 * SAMPLE_EVERY - 1)
    }
}

/// One event on which rules are tried.
pub(super) struct Trial<'p> {
    costs: &'p mut [Cost],
    shed: ShedOf<'p>,
    /// On an event that is measured.
    stopwatch: Option<Stopwatch>,
    /// The rule that is tried, and since when.
    running: Option<(usize, u64)>,
}

impl Trial<'_> {
    /// Whether to try a rule that may match; it is tried then, until the next call.
    #[inline]
    pub(super) fn tries(&mut self, rule: usize) -> bool {
        let tried = !self.shed.contains(rule);
        if tried && let Some(cost) = self.costs.get_mut(rule) {
            cost.candidates += 1;
        }
        if self.stopwatch.is_some() {
            self.turn(tried.then_some(rule));
        }
        tried
    }

    /// No rule is tried any more, of one view of the event.
    #[inline]
    pub(super) fn end(&mut self) {
        if self.stopwatch.is_some() {
            self.turn(None);
        }
    }

    fn turn(&mut self, next: Option<usize>) {
        let Some(stopwatch) = self.stopwatch.filter(|_| self.running.is_some() || next.is_some()) else {
            return;
        };
        let now_ns = (stopwatch.now_ns)();
        if let Some((rule, since_ns)) = self.running.take()
            && let Some(cost) = self.costs.get_mut(rule)
        {
            let ns = now_ns.saturating_sub(since_ns).saturating_sub(stopwatch.overhead_ns).min(TRIAL_MAX_NS);
            cost.samples += 1;
            cost.ns += ns * u64::from(SAMPLE_EVERY);
        }
        self.running = next.map(|rule| (rule, now_ns));
    }
}

#[cfg(test)]
#[path = "profile/tests.rs"]
mod tests;
