//! Typed conditions: what a condition means, as plain data.
//!
//! Macros are gone, names are ids, literals have the type of the field they are compared with, and negations sit
//! on the comparisons. This is the input of the evaluator and of every other analysis of rules.

mod check;
mod field;
mod literal;
mod suspicious;
mod transform;

use std::{net::IpAddr, sync::Arc};

use crate::{
    catalog::{FieldId, FieldType},
    condition::ast::{Modifier, Op},
    set::Set,
    source::Span,
    value::FieldArg,
};

pub use check::{Checker, Environment};
pub(crate) use field::longest_prefix as longest_field;
pub(crate) use transform::Function;

/// A condition. `All` of nothing is true, `Any` of nothing is false.
#[derive(Clone, Debug, PartialEq)]
pub enum Node {
    /// Always the same.
    Const(bool),
    /// All must hold.
    All(Vec<Node>),
    /// One must hold.
    Any(Vec<Node>),
    /// A comparison.
    Test(Box<Test>),
}

/// One comparison.
#[derive(Clone, Debug, PartialEq)]
pub struct Test {
    /// Whether it must not hold. A comparison with a missing value does not hold, so its negation does.
    pub negated: bool,
    /// Left side.
    pub left: Source,
    /// Operator.
    pub op: Op,
    /// Right side.
    pub right: Right,
    /// Its place in the rule file.
    pub span: Span,
}

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// A field.
    Field(FieldUse),
    /// A function of other values.
    Transform(Box<TransformUse>),
    /// A constant text.
    Text(Vec<u8>),
    /// Several values as one list.
    List(Vec<Source>),
}

/// A field with its argument.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FieldUse {
    /// The field.
    pub id: FieldId,
    /// The argument.
    pub arg: Arg,
    /// Type of the value.
    pub ty: Type,
}

/// A function applied to values.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TransformUse {
    /// Name of the function.
    pub name: &'static str,
    /// Arguments.
    pub args: Vec<Source>,
    /// Key in brackets (`getopt`).
    pub key: Option<String>,
    /// Type of the result.
    pub ty: Type,
    pub(crate) function: Function,
}

/// An argument of a field, owned.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub enum Arg {
    /// None.
    #[default]
    None,
    /// A number.
    Index(u64),
    /// A text.
    Key(Box<str>),
}

/// Type of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Type {
    /// Base type.
    pub base: FieldType,
    /// Width in bits of a number, else 0.
    pub bits: u8,
    /// Whether there are many values.
    pub list: bool,
}

/// Right side of a comparison.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Right {
    /// None (`exists`).
    None,
    /// Constants. Operators that take one value and have no modifier have exactly one.
    Values(Option<Modifier>, Vec<Const>),
    /// Another value of the event.
    Source(Source),
}

/// A constant of the type of what it is compared with.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Const {
    /// Text or buffer.
    Bytes(Vec<u8>),
    /// A number of any type.
    Int(i128),
    /// A truth value.
    Bool(bool),
    /// An address.
    Ip(IpAddr),
    /// A network: its address, host bits cleared, and its prefix length.
    Net(IpAddr, u8),
    /// The members of a named set; with `in` and `intersects` only.
    Set(Arc<Set>),
}

impl Arg {
    /// Borrows it in the form field sources take.
    pub fn as_ref(&self) -> FieldArg<'_> {
        match self {
            Self::None => FieldArg::None,
            Self::Index(index) => FieldArg::Index(*index),
            Self::Key(key) => FieldArg::Key(key),
        }
    }
}

impl Type {
    /// A single value of a type without width.
    pub const fn of(base: FieldType) -> Self {
        Self { base, bits: 0, list: false }
    }

    /// Whether it holds text (paths included).
    pub fn is_text(self) -> bool {
        matches!(self.base, FieldType::Text | FieldType::Path)
    }
}

impl Source {
    /// Type of the value.
    pub fn ty(&self) -> Type {
        match self {
            Self::Field(field) => field.ty,
            Self::Transform(transform) => transform.ty,
            Self::Text(_) => Type::of(FieldType::Text),
            Self::List(items) => {
                Type { list: true, ..items.first().map_or(Type::of(FieldType::Text), Self::ty) }
            }
        }
    }

    /// Calls `f` with every field the value depends on.
    pub fn for_each_field(&self, f: &mut impl FnMut(&FieldUse)) {
        match self {
            Self::Field(field) => f(field),
            Self::Transform(transform) => transform.args.iter().for_each(|arg| arg.for_each_field(f)),
            Self::Text(_) => {}
            Self::List(items) => items.iter().for_each(|item| item.for_each_field(f)),
        }
    }
}

impl Node {
    /// Calls `f` with every comparison.
    pub fn for_each_test(&self, f: &mut impl FnMut(&Test)) {
        match self {
            Self::Const(_) => {}
            Self::All(parts) | Self::Any(parts) => parts.iter().for_each(|part| part.for_each_test(f)),
            Self::Test(test) => f(test),
        }
    }
}
