//! Sets of event types, and which set a condition can match.

use crate::{
    catalog::{self, EVENTS, EventId},
    condition::ast::{Check, Expr, Literal, Op, Operand, Right},
    diagnostic::{Diagnostic, code},
};

const WORDS: usize = 8;
const _: () = assert!(EVENTS.len() <= WORDS * 64, "a set must hold every event type");

/// A set of event types.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct EventSet([u64; WORDS]);

impl EventSet {
    /// No event type.
    pub const EMPTY: Self = Self([0; WORDS]);

    /// All event types of the catalogue.
    pub fn all() -> Self {
        (0..EVENTS.len()).map(|index| EventId(index as u16)).collect()
    }

    /// Adds an event type; one outside the catalogue is ignored.
    pub fn insert(&mut self, event: EventId) {
        if usize::from(event.0) < EVENTS.len()
            && let Some(word) = self.0.get_mut(usize::from(event.0) / 64)
        {
            *word |= 1 << (event.0 % 64);
        }
    }

    /// Whether it holds an event type.
    pub fn contains(&self, event: EventId) -> bool {
        self.0.get(usize::from(event.0) / 64).is_some_and(|word| word & (1 << (event.0 % 64)) != 0)
    }

    /// How many event types it holds.
    pub fn len(&self) -> usize {
        self.0.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(|&word| word == 0)
    }

    /// The event types in catalogue order.
    pub fn iter(&self) -> impl Iterator<Item = EventId> + '_ {
        (0..EVENTS.len() as u16).map(EventId).filter(|&event| self.contains(event))
    }

    /// Event types in either set.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        self.zip(other, |a, b| a | b)
    }

    /// Event types in both sets.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Self {
        self.zip(other, |a, b| a & b)
    }

    /// Event types of the catalogue not in the set.
    #[must_use]
    pub fn complement(&self) -> Self {
        Self::all().zip(self, |all, a| all & !a)
    }

    fn zip(&self, other: &Self, f: impl Fn(u64, u64) -> u64) -> Self {
        let mut out = Self::EMPTY;
        for ((out, &a), &b) in out.0.iter_mut().zip(&self.0).zip(&other.0) {
            *out = f(a, b);
        }
        out
    }
}

impl FromIterator<EventId> for EventSet {
    fn from_iter<I: IntoIterator<Item = EventId>>(events: I) -> Self {
        let mut set = Self::EMPTY;
        for event in events {
            set.insert(event);
        }
        set
    }
}

/// Event types a condition without macros can match, by Falco's algebra.
///
/// Comparisons of the event type give sets; `and` intersects, `or` unites, a negation is taken at the leaf. Every
/// other comparison can match any type whether negated or not, except comparisons of the event number that are
/// the same for all events. The error is a comparison of the event type with something only known at the event.
pub fn of_condition(expr: &Expr) -> Result<EventSet, Diagnostic> {
    of_expr(expr, false)
}

fn of_expr(expr: &Expr, negated: bool) -> Result<EventSet, Diagnostic> {
    match (expr, negated) {
        (Expr::And(parts), false) | (Expr::Or(parts), true) => {
            parts.iter().try_fold(EventSet::all(), |set, part| Ok(set.intersection(&of_expr(part, negated)?)))
        }
        (Expr::And(parts), true) | (Expr::Or(parts), false) => {
            parts.iter().try_fold(EventSet::EMPTY, |set, part| Ok(set.union(&of_expr(part, negated)?)))
        }
        (Expr::Not(inner), _) => of_expr(inner, !negated),
        (Expr::Macro(_), _) => Ok(EventSet::all()),
        (Expr::Check(check), _) => {
            let set = of_check(check)?;
            Ok(match set {
                Some(set) if negated => set.complement(),
                Some(set) => set,
                None => EventSet::all(),
            })
        }
    }
}

/// The set a comparison decides, if it decides one.
fn of_check(check: &Check) -> Result<Option<EventSet>, Diagnostic> {
    let field = match &check.left {
        Operand::Field(field) => field,
        Operand::Transform(transform) if names_type(&transform.args) => {
            return Err(
                Diagnostic::new(code::TRANSFORMER, "the event type cannot be transformed").at(transform.span)
            );
        }
        _ => return Ok(None),
    };
    if is_type(&field.name) {
        return match (check.op, &check.right) {
            (Op::Exists, _) => Ok(Some(EventSet::all())),
            (Op::Eq, Right::Value(value)) => Ok(Some(named([value]))),
            (Op::Ne, Right::Value(value)) => Ok(Some(named([value]).complement())),
            // Of several names at most those are the type, whatever the modifier.
            (Op::Eq | Op::In | Op::Intersects, Right::List(_, values)) => Ok(Some(named(values))),
            (_, Right::Val(..) | Right::Transform(_)) if field.name == "evt.type" => Err(Diagnostic::new(
                code::RIGHT_SIDE,
                "the event type can only be compared with names of event types",
            )
            .at(check.span)),
            _ => Ok(None),
        };
    }
    if field.name == "evt.num" {
        return Ok(number_decides(check).map(|holds| if holds { EventSet::all() } else { EventSet::EMPTY }));
    }
    Ok(None)
}

fn is_type(name: &str) -> bool {
    name == "evt.type" || name == "syscall.type"
}

fn names_type(args: &[Operand]) -> bool {
    args.iter().any(|arg| match arg {
        Operand::Field(field) => is_type(&field.name),
        Operand::Transform(transform) => names_type(&transform.args),
        Operand::List(items, _) => names_type(items),
        Operand::Text(_) => false,
    })
}

fn named<'a>(values: impl IntoIterator<Item = &'a Literal>) -> EventSet {
    let names = values.into_iter().filter_map(|value| std::str::from_utf8(&value.bytes).ok());
    names.filter_map(catalog::event).collect()
}

/// Whether a comparison of the event number, which is never below 1, is the same for all events.
fn number_decides(check: &Check) -> Option<bool> {
    let value = match &check.right {
        Right::List(_, values) if check.op == Op::In => return values.is_empty().then_some(false),
        Right::Value(value) => value,
        _ => return None,
    };
    // Only plain digits: a negative literal wraps to a huge number and decides nothing.
    let digits = value.bytes.iter().all(u8::is_ascii_digit).then(|| value.text())?;
    let value: u64 = digits.parse().ok()?;
    match (check.op, value) {
        (Op::Eq | Op::Le, 0) | (Op::Lt, 0 | 1) => Some(false),
        (Op::Ne | Op::Gt, 0) | (Op::Ge, 0 | 1) => Some(true),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::event_ids;

    #[test]
    fn sets_behave_like_sets() {
        let some: EventSet = [event_ids::OPEN, event_ids::REBOOT].into_iter().collect();
        assert_eq!(some.len(), 2);
        assert!(some.contains(event_ids::OPEN) && !some.contains(event_ids::CLOSE));
        assert_eq!(some.complement().len(), EVENTS.len() - 2);
        assert_eq!(some.union(&some.complement()), EventSet::all());
        assert!(some.intersection(&some.complement()).is_empty());
        assert_eq!(some.iter().collect::<Vec<_>>(), [event_ids::OPEN, event_ids::REBOOT]);
        let mut odd = EventSet::EMPTY;
        odd.insert(EventId(u16::MAX));
        assert!(odd.is_empty() && !odd.contains(EventId(u16::MAX)));
    }
}
