//! The field and event catalogue: one table that drives the parser's types, evaluation, help and schemas.

use std::fmt;

/// A field of the catalogue: index into [`FIELDS`]. `evt.arg.NAME` is field `evt.arg` with key `NAME`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FieldId(pub u16);

/// Value type of a field; decides which operators and literals fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FieldType {
    /// Signed integer.
    Int,
    /// Unsigned integer.
    Uint,
    /// Floating-point number.
    Float,
    /// `true` or `false`.
    Bool,
    /// Text.
    Text,
    /// File-system path.
    Path,
    /// Byte buffer.
    Buffer,
    /// Address.
    Ip,
    /// Network.
    Net,
    /// Port number.
    Port,
    /// Relative time, nanoseconds.
    RelTime,
    /// Absolute time, nanoseconds since the epoch.
    AbsTime,
}

/// One field.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// Name as written in rules, without argument.
    pub name: &'static str,
    /// Value type.
    pub ty: FieldType,
}

/// All fields, in catalogue order.
pub static FIELDS: &[Field] = &[Field { name: "evt.num", ty: FieldType::Uint }];

/// Finds a field by its exact name.
pub fn field(name: &str) -> Option<FieldId> {
    FIELDS.iter().position(|field| field.name == name).map(|index| FieldId(index as u16))
}

impl fmt::Display for FieldId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(FIELDS.get(usize::from(self.0)).map_or("?", |field| field.name))
    }
}
