//! Values that do not come straight from the event: transformers and lists of several values.

use std::borrow::Cow;

use crate::{
    typed::{Function, Source, TransformUse},
    value::{FieldSource, Value},
};

/// A value that may own its bytes.
#[derive(Debug)]
pub(super) enum Computed<'a> {
    /// As the event gave it.
    Plain(Value<'a>),
    /// A text made from others.
    Bytes(Cow<'a, [u8]>),
    /// Several values.
    List(Vec<Computed<'a>>),
}

impl Computed<'_> {
    /// Calls `f` with the value in borrowed form.
    pub(super) fn with<R>(&self, f: impl FnOnce(&Value<'_>) -> R) -> R {
        match self {
            Self::Plain(value) => f(value),
            Self::Bytes(bytes) => f(&Value::Bytes(bytes)),
            Self::List(items) => {
                let flat: Vec<Value<'_>> = items.iter().map(Self::single).collect();
                f(&Value::List(&flat))
            }
        }
    }

    /// An element of a list. Lists do not nest: checking refuses that.
    fn single(&self) -> Value<'_> {
        match self {
            Self::Plain(value) => *value,
            Self::Bytes(bytes) => Value::Bytes(bytes),
            Self::List(_) => Value::Null,
        }
    }
}

/// Evaluates a source of a value.
pub(super) fn value<'a, S: FieldSource>(what: &'a Source, source: &'a S) -> Computed<'a> {
    match what {
        Source::Field(field) => Computed::Plain(source.field(field.id, field.arg.as_ref())),
        Source::Text(text) => Computed::Plain(Value::Bytes(text)),
        Source::List(items) => Computed::List(items.iter().map(|item| value(item, source)).collect()),
        Source::Transform(transform) => apply(transform, source),
    }
}

fn apply<'a, S: FieldSource>(transform: &'a TransformUse, source: &'a S) -> Computed<'a> {
    let mut args = transform.args.iter().map(|arg| value(arg, source));
    let Some(first) = args.next() else { return Computed::Plain(Value::Null) };
    match transform.function {
        Function::ToLower => each(first, &|bytes| {
            if bytes.iter().any(u8::is_ascii_uppercase) {
                Some(Cow::Owned(bytes.to_ascii_lowercase()))
            } else {
                Some(bytes)
            }
        }),
        Function::ToUpper => each(first, &|bytes| {
            if bytes.iter().any(u8::is_ascii_lowercase) {
                Some(Cow::Owned(bytes.to_ascii_uppercase()))
            } else {
                Some(bytes)
            }
        }),
        Function::B64 => each(first, &|bytes| decode(&bytes).map(Cow::Owned)),
        Function::Basename => each(first, &|bytes| {
            let start = bytes.iter().rposition(|&byte| byte == b'/').map_or(0, |slash| slash + 1);
            Some(match bytes {
                Cow::Borrowed(bytes) => Cow::Borrowed(bytes.get(start..).unwrap_or_default()),
                Cow::Owned(mut bytes) => Cow::Owned(bytes.split_off(start)),
            })
        }),
        Function::Len => Computed::Plain(first.with(length)),
        Function::Join => {
            let separator = match &first {
                Computed::Plain(Value::Bytes(bytes)) => bytes.to_vec(),
                _ => Vec::new(),
            };
            args.next().map_or(Computed::Plain(Value::Null), |list| joined(&[list], &separator))
        }
        Function::Concat => {
            let mut parts = vec![first];
            parts.extend(args);
            joined(&parts, b"")
        }
        Function::Getopt => {
            let second = args.next();
            options(&first, second.as_ref(), transform.key.as_deref())
        }
    }
}

/// Applies a function to a text, or to each text of a list.
fn each<'a>(value: Computed<'a>, f: &dyn Fn(Cow<'a, [u8]>) -> Option<Cow<'a, [u8]>>) -> Computed<'a> {
    let null = Computed::Plain(Value::Null);
    match value {
        Computed::Plain(Value::Bytes(bytes)) => f(Cow::Borrowed(bytes)).map_or(null, Computed::Bytes),
        Computed::Bytes(bytes) => f(bytes).map_or(null, Computed::Bytes),
        Computed::Plain(Value::Unknown) => Computed::Plain(Value::Unknown),
        Computed::Plain(Value::List(items)) => {
            Computed::List(items.iter().map(|item| each(Computed::Plain(*item), f)).collect())
        }
        Computed::List(items) => Computed::List(items.into_iter().map(|item| each(item, f)).collect()),
        Computed::Plain(_) => null,
    }
}

fn length(value: &Value<'_>) -> Value<'static> {
    match value {
        Value::Unknown => Value::Unknown,
        Value::Bytes(bytes) => Value::Uint(bytes.len() as u64),
        Value::List(items) => Value::Uint(items.len() as u64),
        _ => Value::Null,
    }
}

/// Texts with a separator between them; missing when one of them is.
fn joined<'a>(parts: &[Computed<'_>], separator: &[u8]) -> Computed<'a> {
    let mut out = Vec::new();
    let mut first = true;
    let mut result = Value::Bytes(b"");
    let mut push = |value: &Value<'_>| match value {
        Value::Bytes(bytes) => {
            if !first {
                out.extend_from_slice(separator);
            }
            first = false;
            out.extend_from_slice(bytes);
        }
        // Missing beats unknown: whatever the unknown part is, there is no text.
        Value::Unknown if !matches!(result, Value::Null) => result = Value::Unknown,
        Value::Unknown => {}
        _ => result = Value::Null,
    };
    for part in parts {
        part.with(|value| match value {
            Value::List(items) => items.iter().for_each(&mut push),
            other => push(other),
        });
    }
    match result {
        Value::Bytes(_) => Computed::Bytes(Cow::Owned(out)),
        other => Computed::Plain(other),
    }
}

/// Options of a command line: the value of `key`, or the letters of all options given.
fn options<'a>(words: &Computed<'_>, letters: Option<&Computed<'_>>, key: Option<&str>) -> Computed<'a> {
    let Some(Computed::Plain(Value::Bytes(letters))) = letters else { return Computed::Plain(Value::Null) };
    let mut found: Vec<(u8, Vec<u8>)> = Vec::new();
    let unknown = words.with(|value| {
        let all: Vec<&[u8]> = match value {
            Value::Unknown => return true,
            Value::Bytes(text) => text.split(|&byte| byte == b' ').collect(),
            Value::List(items) => items
                .iter()
                .filter_map(|item| match item {
                    Value::Bytes(word) => Some(*word),
                    _ => None,
                })
                .collect(),
            _ => return false,
        };
        let mut all = all.into_iter();
        while let Some(word) = all.next() {
            let Some(flags) = word.strip_prefix(b"-").filter(|flags| !flags.is_empty() && *flags != b"-")
            else {
                if word == b"--" {
                    break;
                }
                continue;
            };
            let mut rest = flags;
            while let [letter, after @ ..] = rest {
                rest = after;
                let Some(at) = letters.iter().position(|known| known == letter && *letter != b':') else {
                    continue;
                };
                if letters.get(at + 1) == Some(&b':') {
                    let value = if rest.is_empty() { all.next().unwrap_or_default() } else { rest };
                    found.push((*letter, value.to_vec()));
                    break;
                }
                found.push((*letter, Vec::new()));
            }
        }
        false
    });
    if unknown {
        return Computed::Plain(Value::Unknown);
    }
    match key {
        Some(key) => found
            .into_iter()
            .find(|(letter, _)| key.as_bytes() == [*letter])
            .map_or(Computed::Plain(Value::Null), |(_, value)| Computed::Bytes(Cow::Owned(value))),
        None if found.is_empty() => Computed::Plain(Value::Null),
        None => Computed::List(
            found.into_iter().map(|(letter, _)| Computed::Bytes(Cow::Owned(vec![letter]))).collect(),
        ),
    }
}

/// Decodes base64 with or without padding; `None` for anything else.
fn decode(text: &[u8]) -> Option<Vec<u8>> {
    let body = text.strip_suffix(b"==").or_else(|| text.strip_suffix(b"=")).unwrap_or(text);
    if body.len() % 4 == 1 {
        return None;
    }
    let mut out = Vec::with_capacity(body.len() / 4 * 3 + 2);
    for group in body.chunks(4) {
        let mut bits = 0u32;
        for &byte in group {
            let value = match byte {
                b'A'..=b'Z' => byte - b'A',
                b'a'..=b'z' => byte - b'a' + 26,
                b'0'..=b'9' => byte - b'0' + 52,
                b'+' => 62,
                b'/' => 63,
                _ => return None,
            };
            bits = bits << 6 | u32::from(value);
        }
        bits <<= 6 * (4 - group.len()) + 8;
        out.extend(bits.to_be_bytes().iter().take(group.len() * 6 / 8));
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_decodes() {
        assert_eq!(decode(b"aGVsbG8=").unwrap(), b"hello");
        assert_eq!(decode(b"aGVsbG8").unwrap(), b"hello");
        assert_eq!(decode(b"d29ybGQgIQ==").unwrap(), b"world !");
        assert_eq!(decode(b"").unwrap(), b"");
        assert_eq!(decode(b"a"), None);
        assert_eq!(decode(b"a*bc"), None);
    }

    #[test]
    fn options_are_found() {
        let words = Computed::Plain(Value::Bytes(b"-n -t 5 -xv file -- -q"));
        let letters = Computed::Plain(Value::Bytes(b"nt:xq"));
        let get = |key: &str| {
            options(&words, Some(&letters), Some(key)).with(|value| match value {
                Value::Bytes(bytes) => Some(bytes.to_vec()),
                _ => None,
            })
        };
        assert_eq!(get("t"), Some(b"5".to_vec()));
        assert_eq!(get("x"), Some(Vec::new()));
        assert_eq!(get("q"), None);
        assert_eq!(options(&words, Some(&letters), None).with(length), Value::Uint(3));
    }
}
