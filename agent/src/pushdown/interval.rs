//! Numbers of which only a range is known.

use rampart_rules::{
    catalog::{CREATES_FD, ParamType, ids},
    condition::ast::Op,
    typed::{Const, Right, Source as Value, Test},
    value::Truth,
};

use rampart_common::event::Family;

use super::paths;
use crate::event::syscall::{Row, Source};

/// A range, both ends included.
pub(super) type Range = (i128, i128);

/// The range of the field of a comparison, when all that counts for it is whether the call failed. `None` for fields
/// about something else.
pub(super) fn of(test: &Test, row: &Row, failed: bool) -> Option<Range> {
    let Value::Field(field) = &test.left else { return None };
    let result = match failed {
        true => (i128::from(i64::MIN), -1),
        // The tracepoint of a successful exec has no return value; it shows as zero.
        false if row.family == Family::Exec => (0, 0),
        false => (0, i128::from(i64::MAX)),
    };
    match field.id {
        ids::EVT_NUM => Some((1, i128::from(u64::MAX))),
        ids::EVT_RAWRES => Some(result),
        ids::FD_NUM if matches!(row.family, Family::Open | Family::Net | Family::Fd) => {
            let creates = row.event.def()?.flags & CREATES_FD != 0;
            creates.then_some(if failed { (-1, -1) } else { result })
        }
        ids::EVT_RAWARG => {
            let source = paths::source(row, field.arg.as_ref())?;
            let unsigned = matches!(paths::param(row, field.arg.as_ref())?.ty, ParamType::Uint(_));
            let told = matches!(source, Source::Ret) && row.family != Family::Exec;
            (told && !unsigned).then_some(result)
        }
        _ => None,
    }
}

/// What a comparison gives on every call of a row that succeeds, when all that counts for its field is that.
pub(crate) fn of_success(test: &Test, row: &Row) -> Option<Truth> {
    of(test, row, false).map(|range| truth(test, range))
}

/// What a comparison of a number in a range with constants gives.
pub(super) fn truth(test: &Test, range: Range) -> Truth {
    let Right::Values(None, values) = &test.right else { return Truth::Unknown };
    let numbers: Option<Vec<i128>> = values
        .iter()
        .map(|value| match value {
            Const::Int(number) => Some(*number),
            _ => None,
        })
        .collect();
    let Some(numbers) = numbers else { return Truth::Unknown };
    let (low, high) = range;
    let equal = || {
        numbers.iter().fold(Truth::False, |truth, number| {
            truth.or(match *number {
                number if number < low || number > high => Truth::False,
                _ if low == high => Truth::True,
                _ => Truth::Unknown,
            })
        })
    };
    let below = |bound: i128| {
        if high < bound {
            Truth::True
        } else if low >= bound {
            Truth::False
        } else {
            Truth::Unknown
        }
    };
    let first = numbers.first().copied();
    match (test.op, first) {
        (Op::Eq | Op::In | Op::Intersects, _) => equal(),
        (Op::Ne, Some(_)) => !equal(),
        (Op::Lt, Some(number)) => below(number),
        (Op::Le, Some(number)) => below(number.saturating_add(1)),
        (Op::Gt, Some(number)) => !below(number.saturating_add(1)),
        (Op::Ge, Some(number)) => !below(number),
        _ => Truth::Unknown,
    }
}
