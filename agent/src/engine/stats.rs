//! What the detector counts.

use std::collections::BTreeMap;

use rampart_rules::{
    catalog::EventId,
    rule::{Rule, RuleId, RuleSet},
    window,
};
use rustc_hash::FxHashMap;

use super::{accounting::Accounting, held::Waits, push};
use crate::{
    event::DecodeError,
    state::{Lookups, State, container::table::Sizes, process::Evictions},
};

/// Counters at one moment.
#[derive(Clone, Debug, Default)]
pub struct Stats {
    /// Records that arrived and could be decoded.
    pub received: u64,
    /// Records that could not be decoded.
    pub decode_errors: u64,
    /// The last decoding fault.
    pub last_decode_error: Option<DecodeError>,
    /// Records of a system call that is not in the table.
    pub unknown: u64,
    /// Events evaluated, each view counted.
    pub evaluated: u64,
    /// Events evaluated on two paths.
    pub second_views: u64,
    /// Matches of all rules.
    pub matches: u64,
    /// Sequence numbers that did not arrive.
    pub gaps: u64,
    /// Events by type, those that occurred.
    pub events: Vec<(EventId, u64)>,
    /// Matches by rule name, those that occurred, over all policies since the start.
    pub rule_matches: BTreeMap<String, u64>,
    /// Processes in the table.
    pub processes: usize,
    /// Processes dropped for lack of room.
    pub evictions: Evictions,
    /// Processes looked up in `/proc` because their records were missed.
    pub lookups: Lookups,
    /// Containers and pods known.
    pub containers: Sizes,
    /// Events that waited for metadata.
    pub waits: Waits,
    /// Pushdown.
    pub push: push::Counts,
    /// Events that are counted before they are alerts.
    pub windows: window::Counts,
}

/// The running counters.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) unknown: u64,
    pub(super) evaluated: u64,
    pub(super) second_views: u64,
    decode_errors: u64,
    last_decode_error: Option<DecodeError>,
    matches: u64,
    events: Vec<u64>,
    by_rule: FxHashMap<RuleId, u64>,
    /// Matches of rules of earlier policies.
    earlier: BTreeMap<String, u64>,
}

impl Tally {
    pub(super) fn undecodable(&mut self, error: DecodeError) {
        self.decode_errors += 1;
        self.last_decode_error = Some(error);
    }

    pub(super) fn event(&mut self, event: EventId) {
        let index = usize::from(event.0);
        if self.events.len() <= index {
            self.events.resize(index + 1, 0);
        }
        if let Some(count) = self.events.get_mut(index) {
            *count += 1;
        }
    }

    pub(super) fn matched(&mut self, rule: &Rule) {
        self.matches += 1;
        *self.by_rule.entry(rule.id).or_default() += 1;
    }

    /// Matches of a rule of the present policy, those of its namesakes in earlier ones included.
    pub(super) fn matches_of(&self, rule: &Rule) -> u64 {
        let earlier = self.earlier.get(&rule.name).copied().unwrap_or(0);
        earlier + self.by_rule.get(&rule.id).copied().unwrap_or(0)
    }

    /// Rule ids are about to mean other rules.
    pub(super) fn rules_changed(&mut self, old: &RuleSet) {
        self.earlier = self.rule_matches(old);
        self.by_rule.clear();
    }

    pub(super) fn stats(&self, policy: &RuleSet, state: &State, accounting: &Accounting) -> Stats {
        Stats {
            received: accounting.received(),
            decode_errors: self.decode_errors,
            last_decode_error: self.last_decode_error,
            unknown: self.unknown,
            evaluated: self.evaluated,
            second_views: self.second_views,
            matches: self.matches,
            gaps: accounting.gaps(),
            events: (0..)
                .map(EventId)
                .zip(self.events.iter().copied())
                .filter(|(_, count)| *count > 0)
                .collect(),
            rule_matches: self.rule_matches(policy),
            processes: state.processes.len(),
            evictions: state.processes.evictions(),
            lookups: state.lookups(),
            containers: state.containers.sizes(),
            waits: Waits::default(),
            push: push::Counts::default(),
            windows: window::Counts::default(),
        }
    }

    fn rule_matches(&self, policy: &RuleSet) -> BTreeMap<String, u64> {
        let mut all = self.earlier.clone();
        for rule in policy.rules() {
            if let Some(count) = self.by_rule.get(&rule.id) {
                *all.entry(rule.name.clone()).or_default() += count;
            }
        }
        all
    }
}
