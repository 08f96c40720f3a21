//! Values as text.

use std::fmt::Write as _;

use crate::{
    catalog::FieldId,
    program,
    typed::Source,
    value::{FieldSource, Value},
};

/// What a missing value shows as.
const MISSING: &str = "<NA>";

/// Appends one value as Falco shows it. Values of all types look alike whatever the field; the field is part of
/// the signature for types that will not.
pub fn render_value(_field: FieldId, value: Value<'_>, out: &mut String) {
    if !append(&value, out) {
        out.push_str(MISSING);
    }
}

/// Appends the value of a token; `false` when it is missing and that ends the text.
pub(super) fn token<S: FieldSource>(
    what: &Source,
    width: Option<usize>,
    lenient: bool,
    source: &S,
    out: &mut String,
) -> bool {
    let start = out.len();
    let present = program::with_value(what, source, |value| append(value, out));
    if !present {
        if !lenient {
            return false;
        }
        out.push_str(MISSING);
    }
    if let Some(width) = width {
        let length = out.get(start..).map_or(0, |shown| shown.chars().count());
        if length > width {
            let cut = out.get(start..).and_then(|shown| shown.char_indices().nth(width));
            out.truncate(cut.map_or(out.len(), |(at, _)| start + at));
        } else {
            out.extend(std::iter::repeat_n(' ', width - length));
        }
    }
    true
}

/// Appends a value; `false`, with nothing appended, when it is missing.
fn append(value: &Value<'_>, out: &mut String) -> bool {
    // Writing to a string cannot fail.
    let _infallible = match value {
        Value::Null | Value::Unknown => return false,
        Value::Bool(value) => write!(out, "{value}"),
        Value::Int(value) => write!(out, "{value}"),
        Value::Uint(value) => write!(out, "{value}"),
        Value::Float(value) => write!(out, "{value:.1}"),
        Value::Ip(value) => write!(out, "{value}"),
        Value::Bytes(bytes) => {
            text(bytes, out);
            Ok(())
        }
        Value::List(items) => {
            if items.is_empty() {
                return false;
            }
            out.push('(');
            several(items, ",", out);
            out.push(')');
            Ok(())
        }
        Value::Any(items) => return several(items, " ", out),
        Value::Either(sides) => return several(&sides[..], " ", out),
    };
    true
}

/// Appends the values that are there; whether there was any.
fn several(items: &[Value<'_>], separator: &str, out: &mut String) -> bool {
    let mut any = false;
    for item in items {
        let start = out.len();
        if any {
            out.push_str(separator);
        }
        if append(item, out) {
            any = true;
        } else {
            out.truncate(start);
        }
    }
    any
}

/// Appends text with control characters escaped as in JSON and bytes that are not UTF-8 replaced.
fn text(bytes: &[u8], out: &mut String) {
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            match character {
                '\n' => out.push_str("\\n"),
                '\r' => out.push_str("\\r"),
                '\t' => out.push_str("\\t"),
                '\u{8}' => out.push_str("\\b"),
                '\u{c}' => out.push_str("\\f"),
                control if control.is_control() => {
                    let _infallible = write!(out, "\\u{:04x}", u32::from(control));
                }
                other => out.push(other),
            }
        }
        if !chunk.invalid().is_empty() {
            out.push(char::REPLACEMENT_CHARACTER);
        }
    }
}
