//! The keys of one object of a case: each is taken once, and what nobody took is an error. A case that is only
//! half understood must not count as performed.

use anyhow::{Context, Result, bail};
use serde_json::{Map, Value};

/// What is left of an object.
#[derive(Clone, Debug)]
pub(crate) struct Fields {
    what: String,
    left: Map<String, Value>,
}

impl Fields {
    /// The keys of `value`; keys without a value count as absent.
    pub(crate) fn new(what: impl Into<String>, value: &Value) -> Result<Self> {
        let what = what.into();
        let left = match value {
            Value::Null => Map::new(),
            Value::Object(map) => map.clone().into_iter().filter(|(_, value)| !value.is_null()).collect(),
            _ => bail!("{what} is no set of keys"),
        };
        Ok(Self { what, left })
    }

    /// What the object is, for messages.
    pub(crate) fn what(&self) -> &str {
        &self.what
    }

    /// The value under any of the names, which `|` separates. Case and underscores do not matter.
    pub(crate) fn take(&mut self, names: &str) -> Option<Value> {
        let key =
            self.left.keys().find(|key| names.split('|').any(|name| plain(name) == plain(key)))?.clone();
        self.left.remove(&key)
    }

    /// A text, if there is one; numbers and truth values count as written.
    pub(crate) fn text(&mut self, names: &str) -> Result<Option<String>> {
        match self.take(names) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(value @ (Value::Number(_) | Value::Bool(_))) => Ok(Some(value.to_string())),
            Some(_) => bail!("`{names}` of {} is no text", self.what),
        }
    }

    /// A text that must be there.
    pub(crate) fn needed(&mut self, names: &str) -> Result<String> {
        self.text(names)?.with_context(|| format!("{} has no `{names}`", self.what))
    }

    /// A truth value, false when absent.
    pub(crate) fn flag(&mut self, names: &str) -> Result<bool> {
        match self.text(names)?.as_deref() {
            None | Some("false") => Ok(false),
            Some("true") => Ok(true),
            Some(other) => bail!("`{names}` of {} is `{other}`, neither true nor false", self.what),
        }
    }

    /// Names and texts of an object, such as an environment.
    pub(crate) fn texts(&mut self, names: &str) -> Result<Vec<(String, String)>> {
        let Some(value) = self.take(names) else { return Ok(Vec::new()) };
        let Value::Object(map) = value else { bail!("`{names}` of {} is no set of keys", self.what) };
        let text = |value: Value| match value {
            Value::String(text) => text,
            other => other.to_string(),
        };
        Ok(map.into_iter().map(|(key, value)| (key, text(value))).collect())
    }

    /// The elements of a list, none when absent.
    pub(crate) fn list(&mut self, names: &str) -> Result<Vec<Value>> {
        match self.take(names) {
            None => Ok(Vec::new()),
            Some(Value::Array(list)) => Ok(list),
            Some(_) => bail!("`{names}` of {} is no list", self.what),
        }
    }

    /// Ends the reading: nothing may be left.
    pub(crate) fn finish(self) -> Result<()> {
        if self.left.is_empty() {
            return Ok(());
        }
        let left: Vec<&str> = self.left.keys().map(String::as_str).collect();
        bail!("{} has keys this program does not know: {}", self.what, left.join(", "));
    }
}

/// A name without what writers disagree about.
pub(crate) fn plain(name: &str) -> String {
    name.chars().filter(|letter| *letter != '_').flat_map(char::to_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_nobody_takes_is_an_error() {
        let mut fields = Fields::new("a step", &json!({"oldDirFd": 3, "null": null, "more": 1})).unwrap();
        assert_eq!(fields.text("olddirfd|dirfd").unwrap().as_deref(), Some("3"));
        let error = fields.clone().finish().unwrap_err().to_string();
        assert_eq!(error, "a step has keys this program does not know: more");
        fields.take("more");
        fields.finish().unwrap();
    }

    #[test]
    fn only_objects_have_keys() {
        assert!(Fields::new("x", &json!([1])).is_err());
        assert!(Fields::new("x", &Value::Null).unwrap().finish().is_ok());
    }
}
