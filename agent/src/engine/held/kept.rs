//! Field values of one event, kept beyond the event.

use std::net::IpAddr;

use bumpalo::Bump;
use rampart_rules::{
    catalog::{Class, FieldId, ids},
    typed::Arg,
    value::{FieldArg, FieldSource, Value},
};
use rustc_hash::FxHashMap;

use super::owned;
use crate::{
    engine::fields::{Asked, late_name},
    state::{container::table::KnownNames, digest::KnownDigest},
    trading::Trading,
};

/// A value that owns what it holds.
#[derive(Clone, Debug, PartialEq)]
enum Owned {
    Null,
    /// To be asked again.
    Unknown,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Float(f64),
    Bytes(Box<[u8]>),
    Ip(IpAddr),
    List(Vec<Self>),
    Any(Vec<Self>),
    Either(Box<[Self; 2]>),
}

impl Owned {
    fn of(value: &Value<'_>) -> Self {
        let all = |values: &[Value<'_>]| values.iter().map(Self::of).collect();
        match value {
            Value::Null => Self::Null,
            Value::Unknown => Self::Unknown,
            Value::Bool(value) => Self::Bool(*value),
            Value::Int(value) => Self::Int(*value),
            Value::Uint(value) => Self::Uint(*value),
            Value::Float(value) => Self::Float(*value),
            Value::Bytes(value) => Self::Bytes((*value).into()),
            Value::Ip(value) => Self::Ip(*value),
            Value::List(values) => Self::List(all(values)),
            Value::Any(values) => Self::Any(all(values)),
            Value::Either([one, other]) => Self::Either(Box::new([Self::of(one), Self::of(other)])),
        }
    }

    fn borrow<'r>(&'r self, arena: &'r Bump) -> Value<'r> {
        let all = |values: &'r [Self]| -> &'r [Value<'r>] {
            arena.alloc_slice_fill_iter(values.iter().map(|value| value.borrow(arena)))
        };
        match self {
            Self::Null => Value::Null,
            Self::Unknown => Value::Unknown,
            Self::Bool(value) => Value::Bool(*value),
            Self::Int(value) => Value::Int(*value),
            Self::Uint(value) => Value::Uint(*value),
            Self::Float(value) => Value::Float(*value),
            Self::Bytes(value) => Value::Bytes(value),
            Self::Ip(value) => Value::Ip(*value),
            Self::List(values) => Value::List(all(values)),
            Self::Any(values) => Value::Any(all(values)),
            Self::Either(sides) => {
                let [one, other] = &**sides;
                Value::Either(arena.alloc([one.borrow(arena), other.borrow(arena)]))
            }
        }
    }

    fn bytes(&self) -> usize {
        let inner = match self {
            Self::Bytes(value) => value.len(),
            Self::List(values) | Self::Any(values) => values.iter().map(Self::bytes).sum(),
            Self::Either(sides) => sides.iter().map(Self::bytes).sum(),
            _ => 0,
        };
        size_of::<Self>() + inner
    }
}

/// The values.
#[derive(Debug, Default)]
pub(in crate::engine) struct Kept {
    values: FxHashMap<FieldId, Vec<(Arg, Owned)>>,
    bytes: usize,
}

impl Kept {
    /// Keeps a field's value, unless it is kept already.
    pub(super) fn keep<S: FieldSource>(&mut self, field: FieldId, arg: &Arg, source: &S) {
        let values = self.values.entry(field).or_default();
        if values.iter().any(|(known, _)| known == arg) {
            return;
        }
        let value = Owned::of(&source.field(field, arg.as_ref()));
        self.bytes += value.bytes() + size_of::<(Arg, Owned)>();
        values.push((arg.clone(), value));
    }

    /// Bytes in use.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
}

/// Kept values as the fields of an event, completed with what is known by now.
pub(in crate::engine) struct Replay<'r> {
    /// The values.
    pub(in crate::engine) kept: &'r Kept,
    /// Where unknown ones are asked for.
    pub(in crate::engine) asked: Option<Asked<'r>>,
    /// The digest of what the process runs.
    pub(in crate::engine) digest: KnownDigest<'r>,
    /// Storage for values that are made of others.
    pub(in crate::engine) arena: &'r Bump,
    /// Whose user and group names count.
    pub(in crate::engine) names: KnownNames<'r>,
    /// What the fields of trading are.
    pub(in crate::engine) trading: Option<&'r Trading>,
}

impl Replay<'_> {
    /// A user or group id; kept beside every name.
    fn number(&self, field: FieldId) -> u32 {
        match self.kept.values.get(&field).and_then(|values| values.first()) {
            Some((_, Owned::Uint(number))) => *number as u32,
            _ => u32::MAX,
        }
    }
}

impl FieldSource for Replay<'_> {
    fn field<'a>(&'a self, field: FieldId, arg: FieldArg<'_>) -> Value<'a> {
        let wanted = owned(arg);
        let values = self.kept.values.get(&field);
        let kept = values.and_then(|values| values.iter().find(|(known, _)| *known == wanted));
        match kept.map(|(_, value)| value) {
            None => Value::Null,
            Some(Owned::Unknown) if matches!(field.def().class, Class::User | Class::Group) => {
                late_name(self.names, field, self.number(ids::USER_UID), self.number(ids::GROUP_GID))
            }
            Some(Owned::Unknown) if field == ids::TRADING_ROLE => {
                self.trading.and_then(|trading| trading.role(self)).unwrap_or(Value::Null)
            }
            Some(Owned::Unknown) if field == ids::PROC_EXE_SHA256 => match self.digest {
                KnownDigest::Yes(text) => Value::Bytes(text),
                KnownDigest::Pending | KnownDigest::No => Value::Null,
            },
            // The wait is over: what is still unknown is missing.
            Some(Owned::Unknown) => match self.asked.and_then(|asked| asked.get(field, arg)) {
                None | Some(Value::Unknown) => Value::Null,
                Some(value) => value,
            },
            Some(value) => value.borrow(self.arena),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shape_of_value_survives() {
        let list = [Value::Bytes(b"a"), Value::Null];
        let sides = [Value::Uint(1), Value::Uint(2)];
        let arena = Bump::new();
        for value in [
            Value::Null,
            Value::Unknown,
            Value::Bool(true),
            Value::Int(-1),
            Value::Uint(7),
            Value::Float(0.5),
            Value::Bytes(b"text"),
            Value::Ip(IpAddr::from([10, 0, 0, 1])),
            Value::List(&list),
            Value::Any(&list),
            Value::Either(&sides),
        ] {
            assert_eq!(Owned::of(&value).borrow(&arena), value);
        }
        assert!(Owned::of(&Value::Bytes(&[0; 100])).bytes() > 100);
    }
}
