//! Values of keys, in the type the key wants.

use super::{Read, Reader};
use crate::{
    diagnostic::{Diagnostic, code},
    source::Mapped,
    yaml::Node,
};

/// One item being read.
#[derive(Clone, Copy)]
pub(in crate::load) struct Item<'a> {
    pub(super) node: &'a Node,
    /// `rule`, `macro` or `list`.
    pub(super) kind: &'static str,
    /// Its name.
    pub(super) name: &'a str,
}

impl<'a> Item<'a> {
    /// Takes the name of an item.
    pub(super) fn named(node: &'a Node, kind: &'static str) -> Read<Self> {
        let value = node.get(kind);
        let name = value.and_then(Node::as_text).unwrap_or("");
        let item = Self { node, kind, name };
        let span = value.map_or(node.span, |value| value.span);
        match value {
            Some(value) if value.as_text().is_some() && !name.is_empty() => Ok(item),
            Some(value) if value.as_text().is_some() || value.is_null() => Err(Box::new(
                item.fault(code::EMPTY_NAME, format!("the name of a {kind} must not be empty")).at(span),
            )),
            Some(value) => Err(item.wrong_type(value, kind, "a text")),
            None => Err(item.missing(kind)),
        }
    }

    pub(in crate::load) fn get(&self, key: &str) -> Option<&'a Node> {
        self.node.get(key)
    }

    /// A finding about this item.
    pub(in crate::load) fn fault(
        &self,
        code: crate::diagnostic::Code,
        message: impl Into<String>,
    ) -> Diagnostic {
        Diagnostic::new(code, message).at(self.node.span).item(self.kind, self.name)
    }

    /// A finding about one of its keys.
    pub(super) fn fault_at(
        &self,
        key: &str,
        code: crate::diagnostic::Code,
        message: impl Into<String>,
    ) -> Diagnostic {
        let span = self.key_span(key);
        self.fault(code, message).at(span)
    }

    pub(super) fn key_span(&self, key: &str) -> crate::source::Span {
        let pair =
            self.node.as_map().and_then(|pairs| pairs.iter().find(|(name, _)| name.as_text() == Some(key)));
        pair.map_or(self.node.span, |(name, _)| name.span)
    }

    /// Place of a key's value.
    pub(super) fn value_span(&self, key: &str) -> crate::source::Span {
        self.get(key).map_or(self.node.span, |value| value.span)
    }

    /// Place of the item's name.
    pub(super) fn name_span(&self) -> crate::source::Span {
        self.value_span(self.kind)
    }

    pub(super) fn missing(&self, key: &str) -> Box<Diagnostic> {
        Box::new(self.fault(code::MISSING_KEY, format!("{} `{}` has no `{key}`", self.kind, self.name)))
    }

    pub(super) fn wrong_type(&self, node: &Node, key: &str, wanted: &str) -> Box<Diagnostic> {
        let message = format!("`{key}` must be {wanted}, not {}", node.describe());
        Box::new(self.fault(code::WRONG_TYPE, message).at(node.span))
    }

    /// A text with the places of its bytes.
    pub(super) fn mapped(&self, key: &str, file: &str) -> Read<Option<Mapped>> {
        match self.get(key) {
            None => Ok(None),
            Some(node) if node.as_text().is_some() => Ok(Some(node.mapped(file))),
            Some(node) => Err(self.wrong_type(node, key, "a text")),
        }
    }

    /// A text.
    pub(super) fn text(&self, key: &str) -> Read<Option<&'a str>> {
        match self.get(key) {
            None => Ok(None),
            Some(node) => node.as_text().map(Some).ok_or_else(|| self.wrong_type(node, key, "a text")),
        }
    }

    /// A truth value, in any of YAML's spellings.
    pub(super) fn bool(&self, key: &str) -> Read<Option<bool>> {
        let Some(node) = self.get(key) else { return Ok(None) };
        let text = node.as_text().unwrap_or("");
        match text.to_ascii_lowercase().as_str() {
            "true" | "yes" | "on" | "y" => Ok(Some(true)),
            "false" | "no" | "off" | "n" => Ok(Some(false)),
            _ => Err(self.wrong_type(node, key, "`true` or `false`")),
        }
    }

    /// A number that is not negative.
    pub(super) fn number(&self, key: &str) -> Read<Option<u64>> {
        let Some(node) = self.get(key) else { return Ok(None) };
        let number = node.as_text().and_then(|text| text.parse().ok());
        number.map(Some).ok_or_else(|| self.wrong_type(node, key, "a number"))
    }

    /// A sequence of scalars.
    pub(super) fn scalars(&self, key: &str) -> Read<Option<Vec<&'a Node>>> {
        let Some(node) = self.get(key) else { return Ok(None) };
        // An empty map is the upstream spelling of "none".
        if node.as_map().is_some_and(<[_]>::is_empty) {
            return Ok(Some(Vec::new()));
        }
        let Some(items) = node.as_seq() else { return Err(self.wrong_type(node, key, "a sequence")) };
        for item in items {
            if item.as_text().is_none() {
                return Err(self.wrong_type(item, key, "a sequence of texts"));
            }
        }
        Ok(Some(items.iter().collect()))
    }
}

impl Reader<'_> {
    /// Warns of keys an item of this kind does not have.
    pub(super) fn unknown_keys(&mut self, item: Item<'_>, known: &[&str]) {
        for (key, _) in item.node.as_map().unwrap_or_default() {
            let name = key.as_text().unwrap_or("");
            if !known.contains(&name) {
                self.diagnostics.push(
                    item.fault(
                        code::UNKNOWN_KEY,
                        format!("unknown key `{}` of a {}", name.escape_debug(), item.kind),
                    )
                    .at(key.span)
                    .did_you_mean(name, known.iter().copied()),
                );
            }
        }
    }
}
