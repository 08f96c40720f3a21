//! Rules that never fire, since an earlier one matches whenever they do and the first match ends the search.
//!
//! Comparing each rule with each earlier one would take quadratic time. An earlier rule is only looked at when its
//! rarest comparison could follow from one the later rule makes, which means one of the same field; and all looking
//! together has a budget, behind which shadowed rules go untold.

use std::collections::HashMap;

use super::{
    event_types,
    imply::{Budget, implies},
    probe::finite,
};
use crate::{
    diagnostic::{Diagnostic, code},
    event_set::EventSet,
    rule::Rule,
    typed::{Const, Node, Source, Test},
};

/// Steps of comparing conditions with each other in one load; some seconds at most, and far more than the thousand
/// rules of a large installation need.
const BUDGET: usize = 2_000_000;
/// Earlier rules without a comparison to find them by that are kept in mind.
const WIDE_LIMIT: usize = 64;
/// Most earlier rules looked at for one rule.
const TRIED: usize = 256;

/// An earlier rule, taken apart.
struct Earlier<'r> {
    rule: &'r Rule,
    /// What must hold apart from the event type.
    needs: Vec<&'r Node>,
}

/// Where earlier rules are found by what they ask for.
#[derive(Default)]
struct Index<'r> {
    /// By each of the values that one of their comparisons asks for one of.
    by_value: HashMap<(&'r Source, &'r Const), Vec<usize>>,
    /// By what any other of their comparisons compares.
    by_source: HashMap<&'r Source, Vec<usize>>,
    /// Those without a comparison of their own.
    wide: Vec<usize>,
}

/// Looks at all enabled rules in definition order.
pub(super) fn check(rules: &[Rule], strict: bool, found: &mut Vec<Diagnostic>) {
    let enabled = rules.iter().filter(|rule| rule.enabled);
    let enabled: Vec<Earlier<'_>> =
        enabled.map(|rule| Earlier { rule, needs: needs(&rule.condition) }).collect();
    let mut uses: HashMap<&Source, usize> = HashMap::new();
    for test in enabled.iter().flat_map(|rule| rule.needs.iter().copied().filter_map(test)) {
        *uses.entry(&test.left).or_insert(0) += 1;
    }
    let mut known = Index::default();
    let mut budget = Budget(BUDGET);
    for (index, later) in enabled.iter().enumerate() {
        if !later.rule.events.is_empty()
            && let Some(first) = shadowing(later, &enabled, &known, strict, &mut budget)
        {
            found.push(finding(first, later.rule));
            // What it shadows in turn, the first one shadows too.
            continue;
        }
        // One that waits for more events leaves this one to the rules behind it.
        if later.rule.is_conditional() {
            continue;
        }
        let tests = later.needs.iter().copied().filter_map(test);
        known.add(index, tests.min_by_key(|test| uses.get(&test.left)));
    }
}

impl<'r> Index<'r> {
    /// Adds a rule by its rarest comparison.
    fn add(&mut self, index: usize, rarest: Option<&'r Test>) {
        match rarest {
            Some(test) => match finite(test).filter(|_| !test.negated) {
                Some(values) => {
                    for value in values {
                        self.by_value.entry((&test.left, value)).or_default().push(index);
                    }
                }
                None => self.by_source.entry(&test.left).or_default().push(index),
            },
            None if self.wide.len() < WIDE_LIMIT => self.wide.push(index),
            None => {}
        }
    }

    /// Rules that a rule with these needs may follow from, in definition order.
    fn candidates(&self, needs: &[&'r Node]) -> Vec<usize> {
        let mut candidates = self.wide.clone();
        for need in needs {
            // An `or` of comparisons of one field may imply one of that field too.
            let test = match need {
                Node::Any(parts) => parts.first().and_then(test),
                need => test(need),
            };
            let Some(test) = test else { continue };
            let by_source = self.by_source.get(&test.left);
            let first = finite(test).and_then(<[_]>::first);
            let by_value = first.and_then(|value| self.by_value.get(&(&test.left, value)));
            for found in [by_source, by_value].into_iter().flatten() {
                candidates.extend(found.iter().take(TRIED));
            }
        }
        candidates.sort_unstable();
        candidates.dedup();
        candidates.truncate(TRIED);
        candidates
    }
}

/// The first earlier rule that matches whenever `later` does.
fn shadowing<'r>(
    later: &Earlier<'r>,
    enabled: &[Earlier<'r>],
    known: &Index<'r>,
    strict: bool,
    budget: &mut Budget,
) -> Option<&'r Rule> {
    let candidates = known.candidates(&later.needs).into_iter();
    let shadowing = candidates.filter_map(|index| enabled.get(index)).find(|earlier| {
        budget.take(1)
            && earlier.rule.source == later.rule.source
            && covers(&earlier.rule.events, &later.rule.events)
            && earlier
                .needs
                .iter()
                .all(|need| later.needs.iter().any(|held| implies(held, need, strict, budget)))
    });
    shadowing.map(|earlier| earlier.rule)
}

fn covers(wide: &EventSet, narrow: &EventSet) -> bool {
    wide.intersection(narrow) == *narrow
}

/// The parts that must all hold, without those the set of event types already stands for.
fn needs(condition: &Node) -> Vec<&Node> {
    let parts = match condition {
        Node::All(parts) => parts.as_slice(),
        other => std::slice::from_ref(other),
    };
    parts
        .iter()
        .filter(|part| !matches!(part, Node::Test(test) if event_types::decided(test).is_some()))
        .collect()
}

fn test(node: &Node) -> Option<&Test> {
    match node {
        Node::Test(test) => Some(test),
        _ => None,
    }
}

fn finding(first: &Rule, later: &Rule) -> Diagnostic {
    let (one, other) = (first.name.escape_debug(), later.name.escape_debug());
    Diagnostic::new(
        code::SHADOWED_RULE,
        format!("rule `{other}` never fires: rule `{one}` matches first whenever it does"),
    )
    .at(later.span)
    .label(first.span, "this rule is tried first")
    .help(format!("put `{other}` before `{one}`, narrow `{one}`, or set `rule_matching: all`"))
    .item("rule", &later.name)
}
