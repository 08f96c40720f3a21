//! The canonical form of a rule file, comments kept.
//!
//! Canonical are the order of an item's keys, indentation, blank lines, flow lists and over-long lines. Line ends
//! inside of a block text and the way a scalar is quoted are the author's. Whatever cannot be brought into that
//! form for certain is left as written: every item is read again and compared before it is taken.

mod layout;
mod lines;
mod print;

use saphyr_parser::{Event, Parser};

use crate::{
    diagnostic::{Diagnostic, code},
    load::Source,
    source::{SourceId, SourceMap, Span},
    yaml::{self, Node, NodeKind},
};
use layout::Layout;

/// Why a file is not formatted: it does not read.
#[derive(Debug)]
pub struct Refused {
    /// What is wrong with it.
    pub diagnostics: Vec<Diagnostic>,
    /// The text the findings point into.
    pub sources: SourceMap,
}

/// The file in canonical form. Formatting that again changes nothing, and both load to the same rules.
pub fn format(source: &Source) -> Result<String, Refused> {
    let bytes = source.text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&source.text);
    let mut sources = SourceMap::default();
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text.replace("\r\n", "\n"),
        Err(error) => {
            let at = error.valid_up_to();
            let id = sources.add(source.name.clone(), String::from_utf8_lossy(bytes).into_owned());
            let finding = Diagnostic::new(code::NOT_UTF8, format!("file is not UTF-8 at byte {at}"));
            return Err(Refused { diagnostics: vec![finding.at(Span::new(id, at..at + 1))], sources });
        }
    };
    let id = sources.add(source.name.clone(), text.clone());
    canonical(&text, id).map_err(|diagnostics| Refused { diagnostics, sources })
}

fn canonical(text: &str, id: SourceId) -> Result<String, Vec<Diagnostic>> {
    let (documents, faults) = yaml::parse(text, id);
    if !faults.is_empty() {
        return Err(faults);
    }
    let mut items = Vec::new();
    for document in documents.iter().filter(|document| !document.is_null()) {
        let Some(seq) = document.as_seq() else {
            let message = format!("a rule file is a sequence of items, not {}", document.describe());
            return Err(vec![Diagnostic::new(code::NOT_A_SEQUENCE, message).at(document.span)]);
        };
        items.extend(seq);
    }
    // Anchors, aliases and tags are no part of the tree, so their file cannot be compared with its result.
    let formatted = if shares_nodes(text) { None } else { Layout::new(text).file(&items) };
    let formatted = formatted.filter(|formatted| same_documents(&documents, formatted, id));
    Ok(formatted.unwrap_or_else(|| text.to_owned()))
}

fn shares_nodes(text: &str) -> bool {
    let mut parser = Parser::new_from_str(text);
    while let Some(Ok((event, _))) = parser.next_event() {
        let marked = match event {
            Event::Alias(_) => true,
            Event::Scalar(_, _, anchor, tag) => anchor != 0 || tag.is_some(),
            Event::SequenceStart(anchor, tag) | Event::MappingStart(anchor, tag) => {
                anchor != 0 || tag.is_some()
            }
            Event::StreamEnd => return false,
            _ => false,
        };
        if marked {
            return true;
        }
    }
    false
}

fn same_documents(documents: &[Node], formatted: &str, id: SourceId) -> bool {
    let (again, faults) = yaml::parse(formatted, id);
    faults.is_empty()
        && again.len() == documents.len()
        && documents.iter().zip(&again).all(|(one, other)| same(one, other))
}

/// Whether two nodes say the same; the order of keys and the way of quoting do not count.
fn same(one: &Node, other: &Node) -> bool {
    match (&one.kind, &other.kind) {
        (NodeKind::Null, NodeKind::Null) => true,
        (NodeKind::Scalar(one, _), NodeKind::Scalar(other, _)) => one == other,
        (NodeKind::Seq(one), NodeKind::Seq(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| same(one, other))
        }
        (NodeKind::Map(one), NodeKind::Map(other)) => {
            let value = |key: &Node| other.iter().find(|(name, _)| same(key, name)).map(|(_, value)| value);
            one.len() == other.len()
                && one.iter().all(|(key, first)| value(key).is_some_and(|second| same(first, second)))
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests;
