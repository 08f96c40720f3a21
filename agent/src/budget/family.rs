//! The budget of one event family.

use std::{cmp::Reverse, collections::BTreeMap};

use rampart_common::event::Family;
use rampart_rules::rule::Priority;

use super::{Change, Standing, Step, WHOLE};
use crate::{config, engine::profile::Cost};

/// Fewer measured trials in a window do not say what a rule costs: one that was interrupted would decide.
const SAMPLES_MIN: u64 = 4;
/// A rule that takes a smaller part of the budget than one in so many stays: without it nothing would be gained.
const PARTS_MIN: u64 = 1000;
/// Longest wait of a rule that went again and again, windows.
pub(super) const WAIT_MAX: u32 = 360;

/// See the module.
#[derive(Debug)]
pub(super) struct Account {
    family: Family,
    budget: u64,
    /// Windows closed.
    window: u64,
    /// Costs at the start of the window.
    before: Vec<Cost>,
    used: Option<u64>,
    /// Windows in a row in which the family took clearly less than its budget.
    calm: u32,
    stuck: bool,
    /// First wait of a rule.
    wait: u32,
    shed: BTreeMap<usize, Absent>,
    returned: BTreeMap<usize, Back>,
    sheds: u64,
    returns: u64,
}

/// A rule that is left out.
#[derive(Clone, Copy, Debug)]
struct Absent {
    since: u64,
    wait: u32,
    cost: u64,
}

/// A rule that came back.
#[derive(Clone, Copy, Debug)]
struct Back {
    since: u64,
    /// How long it had waited.
    wait: u32,
}

impl Account {
    pub(super) fn new(family: Family, budget: u64, wait: u32) -> Self {
        Self {
            family,
            budget,
            window: 0,
            before: Vec::new(),
            used: None,
            calm: 0,
            stuck: false,
            wait,
            shed: BTreeMap::new(),
            returned: BTreeMap::new(),
            sheds: 0,
            returns: 0,
        }
    }

    pub(super) fn family(&self) -> Family {
        self.family
    }

    /// Begins the first window.
    pub(super) fn begin(&mut self, costs: &[Cost]) {
        self.before = costs.to_vec();
    }

    /// Ends a window of `elapsed_ns` and begins the next one.
    pub(super) fn close(
        &mut self,
        costs: &[Cost],
        elapsed_ns: u64,
        settings: &config::Budgets,
        priorities: &[Priority],
        changes: &mut Vec<Change>,
    ) {
        self.window += 1;
        let share = |ns: u64| (u128::from(ns) * u128::from(WHOLE) / u128::from(elapsed_ns.max(1))) as u64;
        // What each rule took in this window, and of how many samples that is known.
        let took: Vec<(u64, u64)> = (0..costs.len())
            .map(|rule| {
                let of = |costs: &[Cost]| costs.get(rule).copied().unwrap_or_default();
                let (now, before) = (of(costs), of(&self.before));
                (share(now.ns.saturating_sub(before.ns)), now.samples.saturating_sub(before.samples))
            })
            .collect();
        self.before = costs.to_vec();
        let used: u64 = took.iter().map(|(cost, _)| cost).sum();
        self.used = Some(used);
        let window = self.window;
        self.returned.retain(|_, back| window - back.since <= u64::from(back.wait));
        if used > self.budget {
            self.calm = 0;
            self.cut(used, &took, settings.shed_below, priorities, changes);
            return;
        }
        self.stuck = false;
        let calm =
            u128::from(used) * 100 < u128::from(self.budget) * u128::from(settings.return_below_percent);
        self.calm = if calm { self.calm + 1 } else { 0 };
        if self.calm >= settings.return_windows {
            self.give_back(used, priorities, changes);
        }
    }

    /// Leaves rules out until the rest would have kept the budget.
    fn cut(
        &mut self,
        used: u64,
        took: &[(u64, u64)],
        shed_below: Priority,
        priorities: &[Priority],
        changes: &mut Vec<Change>,
    ) {
        let may_go = |rule: usize| priorities.get(rule).is_some_and(|priority| *priority > shed_below);
        let mut costly: Vec<(u64, usize)> = took
            .iter()
            .enumerate()
            .filter(|(rule, (cost, samples))| {
                let matters = *cost > 0 && cost.saturating_mul(PARTS_MIN) >= self.budget;
                matters && *samples >= SAMPLES_MIN && may_go(*rule) && !self.shed.contains_key(rule)
            })
            .map(|(rule, (cost, _))| (*cost, rule))
            .collect();
        // Of equal ones the later rule goes first.
        costly.sort_unstable_by_key(|one| Reverse(*one));
        let mut left = used;
        for (cost, rule) in costly {
            if left <= self.budget {
                break;
            }
            left = left.saturating_sub(cost);
            let wait = match self.returned.remove(&rule) {
                Some(back) => back.wait.saturating_mul(2).min(WAIT_MAX.max(self.wait)),
                None => self.wait,
            };
            self.shed.insert(rule, Absent { since: self.window, wait, cost });
            self.sheds += 1;
            let (family, budget) = (self.family, self.budget);
            changes.push(Change::Shed(Step { rule, family, cost, used, budget, wait }));
        }
        if left > self.budget && !self.stuck {
            self.stuck = true;
            changes.push(Change::Stuck { family: self.family, used, budget: self.budget });
        }
    }

    /// Takes one rule back whose wait is over: the most severe, and of those the cheapest.
    fn give_back(&mut self, used: u64, priorities: &[Priority], changes: &mut Vec<Change>) {
        let over = |absent: &Absent| self.window - absent.since >= u64::from(absent.wait);
        let first = self
            .shed
            .iter()
            .filter(|(_, absent)| over(absent))
            .min_by_key(|(rule, absent)| (priorities.get(**rule).copied(), absent.cost, **rule))
            .map(|(rule, absent)| (*rule, *absent));
        let Some((rule, Absent { wait, cost, .. })) = first else { return };
        self.shed.remove(&rule);
        self.returned.insert(rule, Back { since: self.window, wait });
        self.returns += 1;
        let (family, budget) = (self.family, self.budget);
        changes.push(Change::Returned(Step { rule, family, cost, used, budget, wait }));
    }

    pub(super) fn shed(&self) -> impl Iterator<Item = usize> {
        self.shed.keys().copied()
    }

    pub(super) fn standing(&self) -> Standing {
        Standing {
            family: self.family,
            budget: self.budget,
            used: self.used,
            shed: self.shed.len(),
            sheds: self.sheds,
            returns: self.returns,
            stuck: self.stuck,
        }
    }
}
