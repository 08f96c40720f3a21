//! What comparisons of one field leave of the values it can have.

use super::probe::{Probe, as_value, finite, single};
use crate::{
    catalog::{FieldType, ids},
    condition::ast::{Modifier, Op},
    source::Span,
    typed::{Const, FieldUse, Right, Test},
};

/// Most trials of a value on a comparison for one field of one condition.
const TRIALS: usize = 100_000;

/// A comparison with the sign it has where it stands.
#[derive(Clone, Copy)]
pub(super) struct Literal<'t> {
    pub(super) test: &'t Test,
    pub(super) negated: bool,
}

/// Two comparisons that no value satisfies together; one that no value satisfies has no second.
pub(super) struct Conflict {
    pub(super) at: Span,
    pub(super) against: Option<Span>,
    /// Only when the field has a value; both are negated, so that both hold when it has none.
    pub(super) if_present: bool,
}

/// Finds a conflict among comparisons of one field with one value that all have to hold.
pub(super) fn conflict(field: &FieldUse, literals: &[Literal<'_>], strict: bool) -> Option<Conflict> {
    // A negated comparison holds when there is no value, unless another one asks for one.
    let if_present = field.id != ids::EVT_TYPE && literals.iter().all(|literal| literal.negated);
    let (at, against) = match fewest(literals) {
        Some(chosen) => candidates(field, literals, chosen, strict)?,
        None => match field.ty.base {
            FieldType::Int | FieldType::Uint | FieldType::Port => numbers(field, literals)?,
            FieldType::Text | FieldType::Path => {
                affixes(literals, Op::StartsWith).or_else(|| affixes(literals, Op::EndsWith))?
            }
            _ => return None,
        },
    };
    Some(Conflict { at, against, if_present })
}

/// Place of the comparison that leaves the fewest values.
fn fewest(literals: &[Literal<'_>]) -> Option<usize> {
    let sizes = literals.iter().enumerate().filter_map(|(index, literal)| {
        let size = finite(literal.test).filter(|_| !literal.negated).or_else(|| {
            // `not x != a` leaves what `x = a` does, and the missing value.
            single(literal.test)
                .filter(|_| literal.negated && literal.test.op == Op::Ne)
                .map(std::slice::from_ref)
        })?;
        Some((size.len(), index))
    });
    sizes.min().map(|(_, index)| index)
}

/// Tries the values one comparison leaves on the others.
fn candidates(
    field: &FieldUse,
    literals: &[Literal<'_>],
    chosen: usize,
    strict: bool,
) -> Option<(Span, Option<Span>)> {
    let first = literals.get(chosen)?;
    let Right::Values(_, values) = &first.test.right else { return None };
    if values.len().saturating_mul(literals.len()) > TRIALS {
        return None;
    }
    let mut left = values.iter().map(|value| as_value(value, field)).collect::<Option<Vec<_>>>()?;
    let mut last = None;
    for (index, literal) in literals.iter().enumerate() {
        // What is compared with another field is not decided by this one.
        if index == chosen || matches!(literal.test.right, Right::Source(_)) {
            continue;
        }
        let probe = Probe::new(&Test { negated: literal.negated, ..literal.test.clone() }, strict);
        let before = left.len();
        left.retain(|&value| probe.holds(value));
        if left.len() < before {
            last = Some(literal.test.span);
        }
        if left.is_empty() {
            break;
        }
    }
    let second = last.filter(|_| left.is_empty())?;
    Some(ordered(first.test.span, second))
}

/// The later place first: it is the one to be told of.
fn ordered(a: Span, b: Span) -> (Span, Option<Span>) {
    if (a.source.0, a.start) > (b.source.0, b.start) { (a, Some(b)) } else { (b, Some(a)) }
}

/// Numbers: the range the comparisons leave.
fn numbers(field: &FieldUse, literals: &[Literal<'_>]) -> Option<(Span, Option<Span>)> {
    let (least, most) = match field.ty.base {
        FieldType::Uint => (0, i128::from(u64::MAX)),
        FieldType::Port => (0, i128::from(u16::MAX)),
        _ => (i128::from(i64::MIN), i128::from(i64::MAX)),
    };
    let (mut low, mut high): ((i128, Option<Span>), _) = ((least, None), (most, None));
    for literal in literals {
        let Some(Const::Int(number)) = single(literal.test) else { continue };
        let span = Some(literal.test.span);
        let (at_least, at_most) = match (literal.test.op, literal.negated) {
            (Op::Lt, false) | (Op::Ge, true) => (None, Some(number - 1)),
            (Op::Le, false) | (Op::Gt, true) => (None, Some(*number)),
            (Op::Gt, false) | (Op::Le, true) => (Some(number + 1), None),
            (Op::Ge, false) | (Op::Lt, true) => (Some(*number), None),
            _ => (None, None),
        };
        if let Some(number) = at_least.filter(|&number| number > low.0) {
            low = (number, span);
        }
        if let Some(number) = at_most.filter(|&number| number < high.0) {
            high = (number, span);
        }
    }
    match (low, high) {
        ((low, _), (high, _)) if low <= high => None,
        ((_, Some(low)), (_, Some(high))) => Some(ordered(low, high)),
        ((_, Some(one)), (_, None)) | ((_, None), (_, Some(one))) => Some((one, None)),
        ((_, None), (_, None)) => None,
    }
}

/// Texts: beginnings or ends that exclude each other, or that another comparison refuses.
fn affixes(literals: &[Literal<'_>], op: Op) -> Option<(Span, Option<Span>)> {
    let texts = literals.iter().filter(|literal| literal.test.op == op).filter_map(|literal| {
        let Right::Values(modifier, values) = &literal.test.right else { return None };
        let alone = values.len() == 1 || (literal.negated && matches!(modifier, Some(Modifier::AnyOf)));
        alone.then_some((literal, values))
    });
    let texts: Vec<_> = texts
        .flat_map(|(literal, values)| values.iter().map(move |value| (literal, value)))
        .filter_map(|(literal, value)| match value {
            Const::Bytes(text) => Some((literal, text.as_slice())),
            _ => None,
        })
        .collect();
    let wanted = texts.iter().filter(|(literal, _)| !literal.negated);
    let (longest, text) = wanted.max_by_key(|(_, text)| text.len())?;
    let holds =
        |other: &[u8]| if op == Op::EndsWith { text.ends_with(other) } else { text.starts_with(other) };
    let refused = texts.iter().find(|(literal, other)| holds(other) == literal.negated)?;
    Some(ordered(longest.test.span, refused.0.test.span))
}
