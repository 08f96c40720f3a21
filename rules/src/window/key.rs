//! Values of fields as one text of bytes: what is counted together.

use crate::{
    typed::FieldUse,
    value::{FieldSource, Value},
};

/// Longest key, bytes. Keys that differ behind it only, and have the same length, are counted together.
const KEY_MAX: usize = 512;

/// A key.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key(Box<[u8]>);

impl Key {
    /// The values of these fields on an event.
    pub(super) fn of<S: FieldSource>(by: &[FieldUse], source: &S) -> Self {
        let mut out = Vec::new();
        for field in by {
            write(&source.field(field.id, field.arg.as_ref()), &mut out);
        }
        if out.len() > KEY_MAX {
            let length = out.len() as u64;
            out.truncate(KEY_MAX);
            out.extend_from_slice(&length.to_ne_bytes());
        }
        Self(out.into_boxed_slice())
    }

    /// Its length in bytes.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

/// Each value says what it is and how long, so that no two lists of values run together alike.
fn write(value: &Value<'_>, out: &mut Vec<u8>) {
    let mut put = |kind: u8, bytes: &[u8]| {
        out.push(kind);
        out.extend_from_slice(&(bytes.len() as u32).to_ne_bytes());
        out.extend_from_slice(bytes);
    };
    match value {
        // What will never be known is missing.
        Value::Null | Value::Unknown => put(0, &[]),
        Value::Bool(value) => put(1, &[u8::from(*value)]),
        Value::Int(value) => put(2, &value.to_ne_bytes()),
        Value::Uint(value) => put(3, &value.to_ne_bytes()),
        Value::Float(value) => put(4, &value.to_bits().to_ne_bytes()),
        Value::Bytes(value) => put(5, value),
        Value::Ip(value) => put(6, value.to_string().as_bytes()),
        Value::List(values) | Value::Any(values) => {
            put(7, &(values.len() as u32).to_ne_bytes());
            values.iter().for_each(|value| write(value, out));
        }
        Value::Either(values) => {
            put(8, &[]);
            values.iter().for_each(|value| write(value, out));
        }
    }
}
