//! What a field holds on one event, and where the evaluator gets it from.
//!
//! The evaluator owns nothing of an event: it asks a [`FieldSource`] for one field at a time and borrows the
//! answer. A source that must compute a value (join arguments, name flags) keeps the result in storage of its
//! own that lives as long as the event, so the evaluator never allocates.

use std::net::IpAddr;

use crate::catalog::FieldId;

/// The value of a field on one event.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value<'a> {
    /// Missing: every comparison is false, `exists` is false.
    Null,
    /// Not known yet (partial sources only): every comparison is unknown.
    Unknown,
    /// A truth value.
    Bool(bool),
    /// A signed number, or a relative time in nanoseconds.
    Int(i64),
    /// An unsigned number, a port, or an absolute time in nanoseconds since the epoch.
    Uint(u64),
    /// A floating-point number.
    Float(f64),
    /// Text, a path or a byte buffer; bytes as the kernel gave them.
    Bytes(&'a [u8]),
    /// An address.
    Ip(IpAddr),
    /// A true list (transformer results, list fields): `in` needs all elements, `intersects` one.
    List(&'a [Value<'a>]),
    /// "Any ancestor" fields without an index: true when any element satisfies the comparison.
    Any(&'a [Value<'a>]),
    /// "Either side" fields (`fd.ip`, `fd.port`, `fd.net`): `=` and orderings are true when either side
    /// satisfies them, `!=` only when both do.
    Either(&'a [Value<'a>; 2]),
}

/// Argument of a field, as written in `[...]` and parsed once at compile time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum FieldArg<'a> {
    /// No argument.
    #[default]
    None,
    /// A numeric index; `proc.aname[2]`, `evt.arg[0]`.
    Index(u64),
    /// A key; `proc.env[HOME]`, and the part behind the dot of `evt.arg.flags`.
    Key(&'a str),
}

/// One event's fields. Implemented by the agent over a decoded event and the process table, by tests over maps.
pub trait FieldSource {
    /// The value of `field`. [`Value::Unknown`] only from partial sources.
    fn field<'a>(&'a self, field: FieldId, arg: FieldArg<'_>) -> Value<'a>;
}

/// Truth of a condition over fields of which some may not be known yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Truth {
    /// False whatever the unknown fields hold.
    False,
    /// It depends on an unknown field.
    Unknown,
    /// True whatever the unknown fields hold.
    True,
}

impl Truth {
    /// Both.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        self.min(other)
    }

    /// Either.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        self.max(other)
    }
}

impl From<bool> for Truth {
    fn from(value: bool) -> Self {
        if value { Self::True } else { Self::False }
    }
}

impl std::ops::Not for Truth {
    type Output = Self;

    fn not(self) -> Self {
        match self {
            Self::False => Self::True,
            Self::Unknown => Self::Unknown,
            Self::True => Self::False,
        }
    }
}
