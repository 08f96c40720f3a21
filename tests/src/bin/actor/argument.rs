//! Values of arguments: numbers, names of constants, and references to what earlier resources and steps made.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::{constant, fields::plain};

/// Largest buffer of zeros; a call takes no more at once on any socket.
const ZEROS_MAX: usize = 1 << 20;

/// What resources and steps made, by `NAME.FIELD`.
#[derive(Debug, Default)]
pub(crate) struct Bindings(BTreeMap<String, Value>);

impl Bindings {
    /// Remembers a field of a resource or step.
    pub(crate) fn bind(&mut self, owner: &str, field: &str, value: impl Into<Value>) {
        self.0.insert(format!("{owner}.{}", plain(field)), value.into());
    }

    /// The value with its references `${NAME.FIELD}` replaced, also inside of objects and lists.
    pub(crate) fn resolve(&self, value: &Value) -> Result<Value> {
        Ok(match value {
            Value::String(text) => self.text(text)?,
            Value::Array(list) => {
                Value::Array(list.iter().map(|value| self.resolve(value)).collect::<Result<_>>()?)
            }
            Value::Object(map) => {
                let pair = |(key, value): (&String, &Value)| Ok((key.clone(), self.resolve(value)?));
                Value::Object(map.iter().map(pair).collect::<Result<_>>()?)
            }
            other => other.clone(),
        })
    }

    fn text(&self, text: &str) -> Result<Value> {
        let mut result = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("${") {
            let (name, further) =
                after.split_once('}').with_context(|| format!("the reference in `{text}` has no `}}`"))?;
            let value = self.find(name.trim())?;
            if before.is_empty() && further.is_empty() && result.is_empty() {
                return Ok(value.clone());
            }
            result.push_str(before);
            match value {
                Value::String(text) => result.push_str(text),
                other => result.push_str(&other.to_string()),
            }
            rest = further;
        }
        result.push_str(rest);
        Ok(Value::String(result))
    }

    fn find(&self, name: &str) -> Result<&Value> {
        let (owner, field) = name.split_once('.').with_context(|| format!("`{name}` has no field"))?;
        let key = format!("{owner}.{}", plain(field));
        self.0.get(&key).with_context(|| {
            let known: Vec<&str> = self.0.keys().map(String::as_str).collect();
            format!("nothing is called `{name}`; there is: {}", known.join(", "))
        })
    }
}

/// A number: as such, as text, or names of constants joined by `|`.
pub(crate) fn number(value: &Value) -> Result<i64> {
    match value {
        Value::Number(number) => number
            .as_i64()
            .or_else(|| number.as_u64().map(u64::cast_signed))
            .with_context(|| format!("`{number}` is no whole number")),
        Value::Bool(flag) => Ok(i64::from(*flag)),
        Value::String(text) => {
            text.split('|').try_fold(0, |sum, name| Ok(sum | constant::value(name.trim())?))
        }
        other => bail!("`{other}` is no number"),
    }
}

/// Bytes of a buffer: a text, a list of bytes, or `{zeros: COUNT}`.
pub(crate) fn bytes(value: &Value) -> Result<Vec<u8>> {
    match value {
        Value::String(text) => Ok(text.as_bytes().to_vec()),
        Value::Number(number) => Ok(number.to_string().into_bytes()),
        Value::Array(list) => list
            .iter()
            .map(|byte| number(byte)?.try_into().ok().with_context(|| format!("`{byte}` is no byte")))
            .collect(),
        Value::Object(map) if map.len() == 1 && map.contains_key("zeros") => {
            let count = map.get("zeros").map_or(Ok(0), number)?;
            let count = usize::try_from(count).ok().filter(|count| *count <= ZEROS_MAX);
            Ok(vec![0; count.with_context(|| format!("more than {ZEROS_MAX} zeros"))?])
        }
        other => bail!("`{other}` is no text"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn references_become_what_was_made() {
        let mut bindings = Bindings::default();
        bindings.bind("cs", "client.fd", 7);
        bindings.bind("p", "pid", 12);
        let value = json!({"a": "${ cs.client.FD }", "b": ["/proc/${p.pid}/fd/${cs.client.fd}"], "c": 1});
        let resolved = bindings.resolve(&value).unwrap();
        assert_eq!(resolved, json!({"a": 7, "b": ["/proc/12/fd/7"], "c": 1}));
        let error = bindings.resolve(&json!("${cs.server.fd}")).unwrap_err().to_string();
        assert_eq!(error, "nothing is called `cs.server.fd`; there is: cs.client.fd, p.pid");
        assert!(bindings.resolve(&json!("${cs.client.fd")).is_err());
    }

    #[test]
    fn numbers_and_names_are_numbers() {
        assert_eq!(number(&json!("O_WRONLY|O_CREAT")).unwrap(), i64::from(libc::O_WRONLY | libc::O_CREAT));
        assert_eq!(number(&json!(420)).unwrap(), 420);
        assert_eq!(number(&json!("0x10")).unwrap(), 16);
        assert_eq!(number(&json!("0644")).unwrap(), 420);
        assert!(number(&json!("O_NOTHING")).is_err());
    }
}
