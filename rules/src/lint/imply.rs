//! Whether one condition holds whenever another does, where that can be told from comparisons one by one.

use super::probe::{self, Probe, as_value, finite, single};
use crate::{
    condition::ast::Op,
    typed::{Const, Node, Right, Test},
};

/// What preparing a comparison to be tried costs, in steps of comparing two constants.
const PROBE: usize = 16;

/// How much may still be tried.
pub(super) struct Budget(pub(super) usize);

impl Budget {
    /// Takes from the budget; whether there was enough.
    pub(super) fn take(&mut self, cost: usize) -> bool {
        let enough = self.0 >= cost;
        self.0 = self.0.saturating_sub(cost);
        enough
    }
}

/// Whether `then` holds on every event on which `when` does. `false` also when that cannot be told.
pub(super) fn implies(when: &Node, then: &Node, strict: bool, budget: &mut Budget) -> bool {
    if !budget.take(1) {
        return false;
    }
    match (when, then) {
        (Node::Any(parts), _) if !parts.is_empty() => {
            parts.iter().all(|part| implies(part, then, strict, budget))
        }
        (_, Node::All(parts)) => parts.iter().all(|part| implies(when, part, strict, budget)),
        (Node::All(parts), _) => parts.iter().any(|part| implies(part, then, strict, budget)),
        (_, Node::Any(parts)) => parts.iter().any(|part| implies(when, part, strict, budget)),
        (Node::Test(when), Node::Test(then)) => tests(when, then, strict, budget),
        _ => false,
    }
}

fn tests(when: &Test, then: &Test, strict: bool, budget: &mut Budget) -> bool {
    if when.left != then.left || (when.op == then.op && !budget.take(size(then))) {
        return false;
    }
    if when.op == then.op && when.right == then.right {
        return when.negated == then.negated;
    }
    match (when.negated, then.negated) {
        // Not the one, hence not the other: when the other would imply the one.
        (true, true) => plain(then, when, strict, budget),
        (true, false) => false,
        (false, _) => plain(when, then, strict, budget),
    }
}

/// `when` is taken without its negation, `then` with it unless both had one.
fn plain(when: &Test, then: &Test, strict: bool, budget: &mut Budget) -> bool {
    let negated = then.negated && !when.negated;
    if then.op == Op::Exists {
        return !negated;
    }
    let Some(field) = probe::scalar(&when.left).filter(|_| !matches!(then.right, Right::Source(_))) else {
        return false;
    };
    if let Some(values) = finite(when) {
        if values.is_empty() {
            return false;
        }
        if let Some(wanted) = finite(then) {
            // Either all of the values are among the others, or, where it is negated, none.
            let cheap = budget.take(values.len().saturating_mul(wanted.len()));
            return cheap && values.iter().all(|value| wanted.contains(value) != negated);
        }
        if !budget.take(PROBE + values.len() + size(then)) {
            return false;
        }
        let probe = Probe::new(&Test { negated, ..then.clone() }, strict);
        return values.iter().all(|value| as_value(value, field).is_some_and(|value| probe.holds(value)));
    }
    let (Some(given), Some(wanted)) = (single(when), single(then)) else { return false };
    if negated {
        return false;
    }
    match (given, wanted) {
        (Const::Bytes(given), Const::Bytes(wanted)) => match (when.op, then.op) {
            (Op::StartsWith, Op::StartsWith) => given.starts_with(wanted),
            (Op::EndsWith, Op::EndsWith) => given.ends_with(wanted),
            (Op::StartsWith | Op::EndsWith | Op::Contains, Op::Contains) => {
                memchr::memmem::find(given, wanted).is_some()
            }
            _ => false,
        },
        (Const::Int(given), Const::Int(wanted)) => match (when.op, then.op) {
            (Op::Lt, Op::Lt) | (Op::Le | Op::Lt, Op::Le) => given <= wanted,
            (Op::Le, Op::Lt) => given < wanted,
            (Op::Gt, Op::Gt) | (Op::Ge | Op::Gt, Op::Ge) => given >= wanted,
            (Op::Ge, Op::Gt) => given > wanted,
            _ => false,
        },
        _ => false,
    }
}

/// Constants a comparison holds.
fn size(test: &Test) -> usize {
    match &test.right {
        Right::Values(_, values) => values.len(),
        _ => 1,
    }
}
