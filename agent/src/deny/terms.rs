//! A condition as alternatives, each a conjunction of comparisons.

use rampart_rules::comparisons::{ComparisonId, Expression};

/// Most alternatives of one rule.
pub const ALTERNATIVES_MAX: usize = 16;

/// A comparison that must hold, or must not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Literal {
    /// Which.
    pub comparison: ComparisonId,
    /// Whether it must not hold.
    pub negated: bool,
}

/// A conjunction, sorted, each comparison once.
pub type Term = Vec<Literal>;

/// The alternatives of a condition; `None` when there are too many.
pub fn alternatives(condition: &Expression) -> Option<Vec<Term>> {
    match condition {
        Expression::Const(true) => Some(vec![Term::new()]),
        Expression::Const(false) => Some(Vec::new()),
        Expression::Test { comparison, negated } => {
            Some(vec![vec![Literal { comparison: *comparison, negated: *negated }]])
        }
        Expression::Any(parts) => {
            let mut all = Vec::new();
            for part in parts {
                for term in alternatives(part)? {
                    if !all.contains(&term) {
                        all.push(term);
                    }
                }
                if all.len() > ALTERNATIVES_MAX {
                    return None;
                }
            }
            Some(all)
        }
        Expression::All(parts) => {
            let mut all = vec![Term::new()];
            for part in parts {
                let more = alternatives(part)?;
                if all.len().saturating_mul(more.len()) > ALTERNATIVES_MAX {
                    return None;
                }
                all = all.iter().flat_map(|one| more.iter().map(|other| both(one, other))).collect();
            }
            Some(all)
        }
    }
}

fn both(one: &Term, other: &Term) -> Term {
    let mut term: Term = one.iter().chain(other).copied().collect();
    term.sort_unstable();
    term.dedup();
    term
}

#[cfg(test)]
mod tests {
    use rampart_rules::value::Truth;

    use super::*;

    fn test(comparison: u32, negated: bool) -> Expression {
        Expression::Test { comparison: ComparisonId(comparison), negated }
    }

    #[test]
    fn alternatives_mean_the_same_as_the_condition() {
        let all = |parts: Vec<Expression>| Expression::All(parts.into());
        let any = |parts: Vec<Expression>| Expression::Any(parts.into());
        let condition = all(vec![
            any(vec![test(0, false), all(vec![test(1, true), test(2, false)])]),
            any(vec![test(3, false), Expression::Const(false), test(0, true)]),
            Expression::Const(true),
        ]);
        let terms = alternatives(&condition).unwrap();
        assert_eq!(terms.len(), 4);
        for world in 0u32..16 {
            let holds = |id: ComparisonId| world >> id.0 & 1 != 0;
            let expected = condition.truth(&mut |id| holds(id).into()) == Truth::True;
            let found = terms
                .iter()
                .any(|term| term.iter().all(|literal| holds(literal.comparison) != literal.negated));
            assert_eq!(found, expected, "{world:b}");
        }
    }

    #[test]
    fn too_many_are_refused_and_none_is_never() {
        let pair = |first| Expression::Any(vec![test(first, false), test(first + 1, false)].into());
        let five: Vec<Expression> = (0..5).map(|number| pair(number * 2)).collect();
        assert!(alternatives(&Expression::All(five[..4].into())).is_some());
        assert!(alternatives(&Expression::All(five.into())).is_none());
        assert_eq!(alternatives(&Expression::Const(false)), Some(Vec::new()));
        assert_eq!(alternatives(&Expression::Const(true)), Some(vec![Vec::new()]));
    }
}
