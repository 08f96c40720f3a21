//! Finds a rule in rule files, with everything that it names.
//!
//! Files are read as YAML and nothing more: items of lists with a key `rule`, `macro` or `list`. What is shown is written anew
//! from that, so comments are not in it.

use std::{collections::BTreeSet, fmt::Write as _};

use serde::Deserialize as _;
use serde_yaml::{Deserializer, Mapping, Value};

use super::Text;

/// Bytes that are shown.
const SHOWN: usize = 256 << 10;
/// Names that are followed.
const NAMES_MAX: usize = 500;

/// A part of a rule file.
struct Item<'a> {
    file: &'a str,
    /// `rule`, `macro` or `list`.
    kind: &'static str,
    name: String,
    whole: Mapping,
}

/// The rule, what changes it, and the macros and lists that it names, in the order of the files.
pub(super) fn of(texts: &[Text], rule: &str) -> Option<String> {
    let items: Vec<Item<'_>> = texts.iter().flat_map(items).collect();
    let is_wanted = |item: &&Item<'_>| item.kind == "rule" && item.name == rule;
    let mut named = BTreeSet::new();
    let mut open: Vec<String> = items.iter().filter(is_wanted).flat_map(words).collect();
    while let Some(word) = open.pop() {
        let is_new = |item: &&Item<'_>| item.kind != "rule" && item.name == word;
        if named.len() < NAMES_MAX && !named.contains(&word) {
            open.extend(items.iter().filter(is_new).flat_map(words));
            if items.iter().any(|item| is_new(&item)) {
                named.insert(word);
            }
        }
    }
    let mut shown = String::new();
    let mut file = None;
    for item in
        items.iter().filter(|item| is_wanted(item) || (item.kind != "rule" && named.contains(&item.name)))
    {
        if file != Some(item.file) {
            file = Some(item.file);
            // Writing to text cannot fail.
            let _ = writeln!(shown, "# {}", item.file.escape_debug());
        }
        // What was read can be written.
        shown.push_str(&serde_yaml::to_string(&[&item.whole]).unwrap_or_default());
        if shown.len() > SHOWN {
            shown.truncate(shown.floor_char_boundary(SHOWN));
            shown.push_str("\n# … the rest is too long to be shown\n");
            break;
        }
    }
    items.iter().any(|item| is_wanted(&item)).then_some(shown)
}

fn items(text: &Text) -> Vec<Item<'_>> {
    let mut found = Vec::new();
    for document in Deserializer::from_str(&text.text) {
        // A file that is no YAML would not be in force, and its reader does not get past what is wrong.
        let Ok(document) = Value::deserialize(document) else { break };
        let Value::Sequence(parts) = document else { continue };
        for part in parts {
            let Value::Mapping(whole) = part else { continue };
            let name_of = |kind: &'static str| Some((kind, whole.get(kind)?.as_str()?.to_owned()));
            if let Some((kind, name)) = ["rule", "macro", "list"].into_iter().find_map(name_of) {
                found.push(Item { file: &text.name, kind, name, whole });
            }
        }
    }
    found
}

/// Every word in the texts of an item that may be a name; the item's own keys are none.
fn words(item: &Item<'_>) -> Vec<String> {
    let mut words = Vec::new();
    for (key, value) in &item.whole {
        if !matches!(key.as_str(), Some("rule" | "macro" | "list" | "desc" | "output" | "tags")) {
            collect(value, &mut words);
        }
    }
    words
}

fn collect(value: &Value, words: &mut Vec<String>) {
    match value {
        Value::String(text) => {
            let is_part = |letter: char| letter.is_alphanumeric() || "_-.".contains(letter);
            words.extend(
                text.split(|letter| !is_part(letter)).filter(|word| !word.is_empty()).map(str::to_owned),
            );
        }
        Value::Sequence(parts) => parts.iter().for_each(|part| collect(part, words)),
        Value::Mapping(pairs) => pairs.values().for_each(|part| collect(part, words)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_comes_with_all_that_it_names_and_what_changes_it() {
        let text = |name: &str, text: &str| Text { name: name.to_owned(), text: text.to_owned() };
        let base = "- required_engine_version: 0.40.0\n\
                    - list: shells\n  items: [bash, more_shells]\n- list: more_shells\n  items: [zsh]\n- list: other\n  items: [x]\n\
                    - macro: shell # why\n  condition: proc.name in (shells)\n- macro: unused\n  condition: evt.num > 1\n\
                    - rule: Shell\n  desc: other unused\n  condition: spawned and (shell)\n  output: o\n  priority: NOTICE\n\
                    - rule: Another\n  desc: d\n  condition: unused\n  output: o\n  priority: NOTICE\n";
        let own =
            "- rule: Shell\n  condition: and not proc.pname in (other)\n  override: {condition: append}\n";
        let texts = [text("base", base), text("broken", "- {"), text("own\n", own)];
        let shown = of(&texts, "Shell").unwrap();
        for needed in [
            "# base\n",
            "list: shells",
            "list: more_shells",
            "list: other",
            "macro: shell\n",
            "rule: Shell",
            "# own\\n\n",
            "condition: append",
        ] {
            assert!(shown.contains(needed), "`{needed}` is missing in {shown}");
        }
        for other in ["macro: unused", "Another", "broken", "# why"] {
            assert!(!shown.contains(other), "`{other}` is in {shown}");
        }
        assert!(shown.find("macro: shell") < shown.find("rule: Shell"));
        assert_eq!(of(&texts, "None"), None);
    }

    #[test]
    fn names_in_a_circle_and_long_texts_have_an_end() {
        let items: Vec<String> = (0..30_000).map(|number| format!("item{number}")).collect();
        let texts = [Text {
            name: "f".to_owned(),
            text: format!(
                "- macro: a\n  condition: b or in (long)\n- macro: b\n  condition: a\n- list: long\n  items: [{}]\n- rule: R\n  condition: a\n",
                items.join(", ")
            ),
        }];
        let shown = of(&texts, "R").unwrap();
        assert!(
            shown.contains("macro: b")
                && shown.len() < SHOWN + 100
                && shown.ends_with("too long to be shown\n")
        );
    }
}
