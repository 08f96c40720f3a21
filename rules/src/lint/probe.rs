//! Comparisons tried on values: the evaluator itself says what a comparison makes of a value.

use crate::{
    catalog::{FieldId, FieldType},
    condition::ast::{Modifier, Op},
    program::{Memo, Program, Shared},
    typed::{Arg, Const, FieldUse, Node, Right, Source, Test},
    value::{FieldArg, FieldSource, Truth, Value},
};

/// A comparison ready to be tried.
pub(super) struct Probe(Program);

/// Every field has the one value.
struct Only<'v>(Value<'v>);

impl FieldSource for Only<'_> {
    fn field<'a>(&'a self, _: FieldId, _: FieldArg<'_>) -> Value<'a> {
        self.0
    }
}

impl Probe {
    pub(super) fn new(test: &Test, strict: bool) -> Self {
        Self(Program::new(&Node::Test(Box::new(test.clone())), strict, &Shared::default()))
    }

    /// Whether the comparison, negation included, holds when its field has this value.
    pub(super) fn holds(&self, value: Value<'_>) -> bool {
        self.0.evaluate(None, &Only(value), &mut Memo::default()) == Truth::True
    }
}

/// The field, when it has at most one value per event and is the only thing on the left.
pub(super) fn scalar(source: &Source) -> Option<&FieldUse> {
    let Source::Field(field) = source else { return None };
    // Fields that can only be compared look at both sides of a socket, those that may take an index look at all
    // ancestors without one.
    let def = field.id.def();
    let many = field.ty.list
        || def.filter_only
        || (def.arg != crate::catalog::ArgKind::None && field.arg == Arg::None);
    (!many).then_some(field)
}

/// The values of which the field must have one for the comparison, taken without its negation, to hold.
pub(super) fn finite(test: &Test) -> Option<&[Const]> {
    match (test.op, &test.right) {
        (Op::Eq, Right::Values(None | Some(Modifier::AnyOf), values))
        | (Op::In, Right::Values(None, values))
            if !values.iter().any(|value| matches!(value, Const::Net(..) | Const::Set(_))) =>
        {
            Some(values)
        }
        _ => None,
    }
}

/// The single constant of a comparison.
pub(super) fn single(test: &Test) -> Option<&Const> {
    match &test.right {
        Right::Values(None | Some(Modifier::AnyOf | Modifier::AllOf), values) => match values.as_slice() {
            [value] => Some(value),
            _ => None,
        },
        _ => None,
    }
}

/// A constant as the value of a field.
pub(super) fn as_value<'c>(constant: &'c Const, field: &FieldUse) -> Option<Value<'c>> {
    Some(match constant {
        Const::Bytes(bytes) => Value::Bytes(bytes),
        Const::Bool(value) => Value::Bool(*value),
        Const::Ip(address) => Value::Ip(*address),
        Const::Net(..) | Const::Set(_) => return None,
        Const::Int(number) => match field.ty.base {
            FieldType::Int | FieldType::RelTime => Value::Int(i64::try_from(*number).ok()?),
            FieldType::Uint | FieldType::Port | FieldType::AbsTime => {
                Value::Uint(u64::try_from(*number).ok()?)
            }
            _ => return None,
        },
    })
}
