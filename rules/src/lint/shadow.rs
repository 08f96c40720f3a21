//! Rules that never fire, since an earlier one matches whenever they do and the first match ends the search.
//!
//! Comparing each rule with each earlier one would take quadratic time. An earlier rule is only looked at when its
//! rarest comparison could follow from one the later rule makes, which means one of the same field; and all looking
//! together has a budget, behind which shadowed rules go untold.

use std::collections::HashMap;

use super::{
    imply::{Budget, implies},
    types,
};
use crate::{
    diagnostic::{Diagnostic, code},
    event_set::EventSet,
    rule::Rule,
    typed::{Node, Source},
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

/// Looks at all enabled rules in definition order.
pub(super) fn check(rules: &[Rule], strict: bool, found: &mut Vec<Diagnostic>) {
    let enabled: Vec<Earlier<'_>> = rules
        .iter()
        .filter(|rule| rule.enabled)
        .map(|rule| Earlier { rule, needs: needs(&rule.condition) })
        .collect();
    let mut uses: HashMap<&Source, usize> = HashMap::new();
    for source in enabled.iter().flat_map(|rule| rule.needs.iter().copied().filter_map(compared)) {
        *uses.entry(source).or_insert(0) += 1;
    }
    let mut by_source: HashMap<&Source, Vec<usize>> = HashMap::new();
    let mut wide: Vec<usize> = Vec::new();
    let mut budget = Budget(BUDGET);
    for (index, later) in enabled.iter().enumerate() {
        if !later.rule.events.is_empty()
            && let Some(first) = shadowing(later, &enabled, &by_source, &wide, strict, &mut budget)
        {
            found.push(finding(first, later.rule));
            // What it shadows in turn, the first one shadows too.
            continue;
        }
        let rarest = later.needs.iter().copied().filter_map(compared).min_by_key(|source| uses.get(source));
        match rarest {
            Some(source) => by_source.entry(source).or_default().push(index),
            None if wide.len() < WIDE_LIMIT => wide.push(index),
            None => {}
        }
    }
}

/// The first earlier rule that matches whenever `later` does.
fn shadowing<'r>(
    later: &Earlier<'r>,
    enabled: &[Earlier<'r>],
    by_source: &HashMap<&Source, Vec<usize>>,
    wide: &[usize],
    strict: bool,
    budget: &mut Budget,
) -> Option<&'r Rule> {
    let mut sources: Vec<&Source> = later.needs.iter().copied().filter_map(compared).collect();
    // An `or` of comparisons of one field may imply one of that field too.
    for need in &later.needs {
        if let Node::Any(parts) = need {
            sources.extend(parts.first().and_then(compared));
        }
    }
    let mut candidates: Vec<usize> = wide.to_vec();
    for source in sources {
        if let Some(known) = by_source.get(source) {
            candidates.extend(known.iter().take(TRIED));
        }
    }
    candidates.sort_unstable();
    candidates.dedup();
    let whole = &later.rule.condition;
    candidates
        .into_iter()
        .take(TRIED)
        .filter_map(|index| enabled.get(index))
        .map(|earlier| (earlier, earlier.rule))
        .find_map(|(earlier, rule)| {
            let shadows = budget.take(1)
                && rule.source == later.rule.source
                && covers(&rule.events, &later.rule.events)
                && earlier.needs.iter().all(|need| {
                    let by_part = later.needs.iter().any(|known| implies(known, need, strict, budget));
                    by_part || (later.needs.is_empty() && implies(whole, need, strict, budget))
                });
            shadows.then_some(rule)
        })
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
    parts.iter().filter(|part| !matches!(part, Node::Test(test) if types::decided(test).is_some())).collect()
}

/// What a comparison compares.
fn compared(node: &Node) -> Option<&Source> {
    match node {
        Node::Test(test) => Some(&test.left),
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
