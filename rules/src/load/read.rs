//! Items of a file into the collection.

pub(super) mod item;
mod names;
mod rule;
mod versions;

use std::collections::HashMap;

pub(super) use versions::check as plugins;

use super::{FILE_LIMIT, LoadOptions, Source, collect::Collection};
use crate::{
    diagnostic::{Diagnostic, code},
    source::{SourceMap, Span},
    yaml::{self, Node},
};

/// Kinds of items in the order Falco looks for them.
const KINDS: [&str; 5] = ["required_engine_version", "required_plugin_versions", "list", "macro", "rule"];

/// What the readers of items share.
struct Reader<'a> {
    /// Text of the file.
    text: &'a str,
    options: &'a LoadOptions,
    collection: &'a mut Collection,
    diagnostics: Vec<Diagnostic>,
}

/// Why an item was given up; already worth reporting.
pub(super) type Read<T> = Result<T, Box<Diagnostic>>;

/// Reads one file into the collection.
pub(super) fn file(
    source: &Source,
    options: &LoadOptions,
    map: &mut SourceMap,
    collection: &mut Collection,
) -> Vec<Diagnostic> {
    if source.text.len() > FILE_LIMIT {
        let id = map.add(source.name.clone(), "");
        let message = format!("file is larger than {} MiB", FILE_LIMIT >> 20);
        return vec![Diagnostic::new(code::YAML_LIMIT, message).at(Span::new(id, 0..0))];
    }
    let bytes = source.text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&source.text);
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => {
            let at = error.valid_up_to();
            let id = map.add(source.name.clone(), String::from_utf8_lossy(bytes).into_owned());
            let finding = Diagnostic::new(code::NOT_UTF8, format!("file is not UTF-8 at byte {at}"))
                .at(Span::new(id, at..at + '\u{fffd}'.len_utf8()));
            return vec![finding];
        }
    };
    let id = map.add(source.name.clone(), text);
    let (documents, diagnostics) = yaml::parse(text, id);
    let mut reader = Reader { text, options, collection, diagnostics };
    for document in &documents {
        reader.document(document);
    }
    reader.diagnostics
}

impl Reader<'_> {
    fn document(&mut self, document: &Node) {
        if document.is_null() {
            return;
        }
        let Some(items) = document.as_seq() else {
            self.diagnostics.push(
                Diagnostic::new(
                    code::NOT_A_SEQUENCE,
                    format!("a rule file is a sequence of items, not {}", document.describe()),
                )
                .at(document.span)
                .help("begin each rule, macro and list with `- `"),
            );
            return;
        };
        for item in items {
            if item.is_null() {
                continue;
            }
            if let Err(finding) = self.item(item) {
                self.diagnostics.push(*finding);
            }
        }
    }

    fn item(&mut self, item: &Node) -> Read<()> {
        let Some(pairs) = item.as_map() else {
            return Err(Box::new(
                Diagnostic::new(code::NOT_A_MAP, format!("an item is a map, not {}", item.describe()))
                    .at(item.span),
            ));
        };
        let mut known = HashMap::new();
        for (key, _) in pairs {
            let Some(name) = key.as_text() else { continue };
            if let Some(first) = known.insert(name, key.span) {
                known.insert(name, first);
                self.diagnostics.push(
                    Diagnostic::new(
                        code::YAML_DUPLICATE_KEY,
                        format!("key `{name}` is given twice; the first one counts"),
                    )
                    .at(key.span)
                    .label(first, "first given here"),
                );
            }
        }
        let kind = KINDS.into_iter().find(|kind| item.get(kind).is_some());
        match kind {
            Some("required_engine_version") => self.engine_version(item),
            Some("required_plugin_versions") => self.plugin_versions(item),
            Some("list") => self.list(item),
            Some("macro") => self.macro_item(item),
            Some("rule") => self.rule(item),
            _ => {
                let name = pairs.first().and_then(|(key, _)| key.as_text()).unwrap_or("");
                self.diagnostics.push(
                    Diagnostic::new(
                        code::UNKNOWN_ITEM,
                        "item is neither a rule nor a macro nor a list and is ignored",
                    )
                    .at(item.span)
                    .did_you_mean(name, KINDS),
                );
                Ok(())
            }
        }
    }
}
