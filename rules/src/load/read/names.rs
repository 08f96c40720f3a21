//! Lists and macros.

use super::{Read, Reader, item::Item};
use crate::{
    diagnostic::code,
    load::{
        collect::{List, Macro},
        exception,
    },
    source::{Mapped, Span},
    yaml::Node,
};

/// What an item does with an earlier one of its name.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Change {
    Define,
    Append,
}

impl Reader<'_> {
    pub(super) fn list(&mut self, node: &Node) -> Read<()> {
        let item = Item::named(node, "list")?;
        self.unknown_keys(item, &["list", "items", "append", "override"]);
        let change = self.change(item, "items")?;
        let Some(values) = item.scalars("items")? else { return Err(item.missing("items")) };
        let valid =
            !item.name.contains(['(', ')', '"', '\'', '=', ',']) && !item.name.contains(char::is_whitespace);
        if !valid {
            self.diagnostics.push(
                item.fault_at(
                    "list",
                    code::INVALID_LIST_NAME,
                    format!("list name `{}` holds blanks or any of `( ) , = \" '`", item.name.escape_debug()),
                )
                .help("conditions may not find a list of this name"),
            );
        }
        let mut items: Vec<Mapped> = Vec::with_capacity(values.len());
        for value in values {
            let mut quoted = Mapped::default();
            exception::push_value(&mut quoted, &value.mapped(self.text), value.span);
            items.push(quoted);
        }
        let now = self.collection.tick();
        let known = self.collection.lists.get_mut(item.name);
        match (change, known) {
            (Change::Append, Some(list)) => {
                list.items.append(&mut items);
                list.visible = now;
            }
            (Change::Append, None) => return Err(self.no_target(item)),
            (Change::Define, known) => {
                let (defined, old) = known.map_or((now, None), |list| (list.defined, Some(list.span)));
                self.redefines(item, old);
                let name = item.name.to_owned();
                let span = item.key_span("list");
                let list = List { name, items, defined, visible: now, span, whole: node.span };
                self.collection.lists.set(item.name, list);
            }
        }
        Ok(())
    }

    pub(super) fn macro_item(&mut self, node: &Node) -> Read<()> {
        let item = Item::named(node, "macro")?;
        self.unknown_keys(item, &["macro", "condition", "append", "override"]);
        let change = self.change(item, "condition")?;
        let Some(condition) = item.mapped("condition", self.text)? else {
            return Err(item.missing("condition"));
        };
        let letters = item.name.bytes().take_while(u8::is_ascii_alphabetic).count();
        let valid = letters > 0 && item.name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        if !valid {
            self.diagnostics.push(
                item.fault_at(
                    "macro",
                    code::INVALID_MACRO_NAME,
                    format!("macro name `{}` is not letters, digits and `_`", item.name.escape_debug()),
                )
                .help("no condition can use a macro of this name"),
            );
        }
        let now = self.collection.tick();
        let known = self.collection.macros.get_mut(item.name);
        match (change, known) {
            (Change::Append, Some(known)) => {
                known.condition.push_fixed(" ", node.span);
                known.condition.push_mapped(&condition);
                known.visible = now;
            }
            (Change::Append, None) => return Err(self.no_target(item)),
            (Change::Define, known) => {
                let (defined, old) = known.map_or((now, None), |known| (known.defined, Some(known.span)));
                self.redefines(item, old);
                let name = item.name.to_owned();
                let span = item.key_span("macro");
                let entry = Macro { name, condition, defined, visible: now, span, whole: node.span };
                self.collection.macros.set(item.name, entry);
            }
        }
        Ok(())
    }

    /// Keeps in mind that an item replaces an earlier one, unless it says so itself.
    pub(super) fn redefines(&mut self, item: Item<'_>, old: Option<Span>) {
        if let Some(old) = old
            && item.get("override").is_none()
        {
            self.collection.replaced(item.kind, item.name, old, item.name_span());
        }
    }

    /// What `append` and `override` ask for; `key` is the only key that can be overridden.
    fn change(&mut self, item: Item<'_>, key: &str) -> Read<Change> {
        let append = self.append_key(item)?;
        let Some(node) = item.get("override") else {
            return Ok(if append { Change::Append } else { Change::Define });
        };
        let Some(pairs) = node.as_map() else { return Err(item.wrong_type(node, "override", "a map")) };
        if append {
            return Err(Box::new(item.fault_at(
                "append",
                code::BAD_OVERRIDE,
                "`append` and `override` exclude each other",
            )));
        }
        let mut change = Change::Define;
        for (name, operation) in pairs {
            let text = name.as_text().unwrap_or("");
            if text != key {
                let message = format!("`{}` of a {} cannot be overridden", text.escape_debug(), item.kind);
                return Err(Box::new(
                    item.fault(code::BAD_OVERRIDE, message).at(name.span).did_you_mean(text, [key]),
                ));
            }
            change = match operation.as_text() {
                Some("append") => Change::Append,
                Some("replace") => Change::Define,
                _ => {
                    return Err(Box::new(
                        item.fault(code::BAD_OVERRIDE, "an override is either `append` or `replace`")
                            .at(operation.span),
                    ));
                }
            };
        }
        Ok(change)
    }

    /// The deprecated `append` key.
    pub(super) fn append_key(&mut self, item: Item<'_>) -> Read<bool> {
        let append = item.bool("append")?.unwrap_or(false);
        // Upstream's loader warns of the mere key on rules, elsewhere only when it is true.
        if append || (item.kind == "rule" && item.get("append").is_some()) {
            self.diagnostics.push(
                item.fault_at("append", code::DEPRECATED, "key `append` is deprecated")
                    .help("name the keys to append under `override`, as in `condition: append`"),
            );
        }
        Ok(append)
    }

    pub(super) fn no_target(&self, item: Item<'_>) -> Box<crate::diagnostic::Diagnostic> {
        let message = format!("there is no {} `{}` to change", item.kind, item.name.escape_debug());
        let finding = item.fault_at(item.kind, code::UNKNOWN_TARGET, message);
        let collection = &self.collection;
        Box::new(match item.kind {
            _ if !collection.may_compare() => finding,
            "rule" => finding.did_you_mean(item.name, collection.rules.names()),
            "macro" => finding.did_you_mean(item.name, collection.macros.names()),
            _ => finding.did_you_mean(item.name, collection.lists.names()),
        })
    }
}
