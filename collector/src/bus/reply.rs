//! What Redis answers about streams, in either version of its protocol.

use redis::Value;

/// An entry of a channel's stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its id in the stream.
    pub id: String,
    /// Numbers of things to tell; empty when it says nothing that is understood.
    pub numbers: Vec<u64>,
}

/// Entries of the answer to a read of one stream.
pub(super) fn read(answer: Value) -> Vec<Entry> {
    streams(answer).into_iter().flat_map(list).filter_map(entry).collect()
}

/// Id of the last entry of the answer to a read of one stream.
pub(super) fn last(answer: Value) -> Option<String> {
    streams(answer).into_iter().flat_map(list).filter_map(entry).last().map(|entry| entry.id)
}

/// Entries of the answer to a claim.
pub(super) fn claimed(answer: Value) -> Vec<Entry> {
    list(answer).into_iter().nth(1).map(list).unwrap_or_default().into_iter().filter_map(entry).collect()
}

/// The entries of each stream.
fn streams(answer: Value) -> Vec<Value> {
    match answer {
        Value::Map(pairs) => pairs.into_iter().map(|(_, entries)| entries).collect(),
        other => list(other).into_iter().filter_map(|pair| list(pair).into_iter().nth(1)).collect(),
    }
}

fn entry(value: Value) -> Option<Entry> {
    let mut parts = list(value).into_iter();
    let id = text(parts.next()?)?;
    // One that was deleted meanwhile has no fields.
    let mut fields = parts.next().map(list).unwrap_or_default().into_iter();
    let mut numbers = Vec::new();
    while let (Some(name), Some(value)) = (fields.next(), fields.next()) {
        if text(name).as_deref() == Some("n") {
            let value = text(value).unwrap_or_default();
            numbers.extend(value.split(' ').filter_map(|number| number.parse::<u64>().ok()));
        }
    }
    Some(Entry { id, numbers })
}

fn list(value: Value) -> Vec<Value> {
    match value {
        Value::Array(values) | Value::Set(values) => values,
        Value::Map(pairs) => pairs.into_iter().flat_map(|(name, value)| [name, value]).collect(),
        _ => Vec::new(),
    }
}

fn text(value: Value) -> Option<String> {
    match value {
        Value::BulkString(bytes) => String::from_utf8(bytes).ok(),
        Value::SimpleString(text) => Some(text),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bulk(text: &str) -> Value {
        Value::BulkString(text.as_bytes().to_vec())
    }

    fn one(id: &str, numbers: &str) -> Value {
        Value::Array(vec![bulk(id), Value::Array(vec![bulk("n"), bulk(numbers)])])
    }

    #[test]
    fn entries_are_read_in_both_versions() {
        let entries = || Value::Array(vec![one("1-0", "4 5"), one("2-0", "6 x")]);
        let old = Value::Array(vec![Value::Array(vec![bulk("key"), entries()])]);
        let new = Value::Map(vec![(bulk("key"), entries())]);
        for answer in [old, new] {
            let found = read(answer.clone());
            let ids: Vec<_> = found.iter().map(|entry| (entry.id.as_str(), entry.numbers.clone())).collect();
            assert_eq!(ids, [("1-0", vec![4, 5]), ("2-0", vec![6])]);
            assert_eq!(last(answer).as_deref(), Some("2-0"));
        }
        let claim = Value::Array(vec![bulk("0-0"), entries(), Value::Array(vec![bulk("3-0")])]);
        assert_eq!(claimed(claim).len(), 2);
        assert!(read(Value::Nil).is_empty() && last(Value::Nil).is_none() && claimed(Value::Nil).is_empty());
        let gone = Value::Array(vec![bulk("0-0"), Value::Array(vec![Value::Nil])]);
        assert!(claimed(gone).is_empty());
    }
}
