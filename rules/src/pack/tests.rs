//! Each rule of a pack against events that must match it and events that must not.

use std::{
    collections::HashSet,
    fs,
    path::{Path, PathBuf},
};

use super::{BASE_PACK, TRADING_PACK};
use crate::{
    catalog::{Class, FIELDS, FieldId},
    diagnostic::render,
    lint::Lints,
    load::{LoadOptions, Source, load},
    rule::{Matching, Rule, RuleSet},
    source::SourceId,
    typed::Arg,
    unit::{
        self,
        event::{Event, Held},
    },
    value::Value,
    yaml::{self, Node},
};

/// Each pack with its tests.
const PACKS: [(&str, &str, &str); 2] = [
    ("base.yaml", BASE_PACK, include_str!("../../packs/tests/base.yaml")),
    ("trading.yaml", TRADING_PACK, include_str!("../../packs/tests/trading.yaml")),
];

fn load_pack(name: &str, pack: &str) -> RuleSet {
    let options = LoadOptions { matching: Matching::All, ..LoadOptions::default() };
    let loaded = load(&[source(name, pack)], &options);
    assert_eq!(render::full(&loaded.diagnostics, &loaded.sources), "");
    loaded.rules.unwrap()
}

fn source(name: &str, text: &str) -> Source {
    Source { name: name.to_owned(), text: text.into() }
}

#[test]
fn packs_match_what_they_should() {
    for (name, pack, tests) in PACKS {
        let tested = unit::run(&load_pack(name, pack), &source(name, tests));
        assert_eq!(render::full(&tested.diagnostics, &tested.sources), "");
        assert!(tested.failures.is_empty(), "{name}: {:#?}", tested.failures);
        for rule in &tested.rules {
            assert!(rule.matches > 0 && rule.ignores > 0, "{name}: {rule:?}");
        }
    }
}

/// The events of a series are in its items.
fn events(node: &Node) -> Vec<&Node> {
    match node.get("series").and_then(Node::as_seq) {
        Some(items) => items.iter().filter_map(|item| item.get("event")).collect(),
        None => vec![node],
    }
}

#[test]
fn each_event_is_told_by_one_rule() {
    for (pack, text, tests) in PACKS {
        let rules = load_pack(pack, text);
        let (documents, faults) = yaml::parse(tests, SourceId(0));
        assert!(faults.is_empty(), "{faults:?}");
        let (mut tested, mut wrong) = (HashSet::new(), Vec::new());
        for case in documents[0].as_seq().unwrap() {
            let name = case.get("rule").and_then(Node::as_text).unwrap();
            let rule = rules.rules().iter().find(|rule| rule.name == name).expect(name);
            for key in ["matches", "ignores"] {
                let cases = case.get(key).and_then(Node::as_seq).expect(key);
                for node in cases.iter().flat_map(events) {
                    let event = Event::read(node, tests).unwrap();
                    let mut matched = Vec::new();
                    // One that counts does not tell of a single event.
                    let is_told = |rule: &Rule| rule.name == name || !rule.is_conditional();
                    rules.evaluate(event.id(), &event, |rule| {
                        matched.extend(is_told(rule).then(|| rule.name.clone()));
                    });
                    // What is ignored may be so for how often it comes, not for what it is.
                    let counts = rule.window.is_some();
                    // An alert says one thing: an event that two rules tell is better told by one.
                    let good = match (key, counts) {
                        ("matches", _) => matched == [name],
                        (_, true) => matched.is_empty() || matched == [name],
                        (_, false) => matched.is_empty(),
                    };
                    if !good {
                        let text =
                            tests.get(node.span.start as usize..node.span.end as usize).unwrap_or_default();
                        wrong.push(format!("{name}: {text} matches {matched:?}"));
                    }
                    let mut text = String::new();
                    assert!(rule.output.render(&event, &mut text));
                }
            }
            assert!(tested.insert(name), "{name} is tested twice");
        }
        assert!(wrong.is_empty(), "{wrong:#?}");
    }
}

/// Without the section `trading` its fields are missing, whatever else an event has.
#[test]
fn the_trading_pack_is_silent_on_other_nodes() {
    let (_, text, tests) = PACKS[1];
    let rules = load_pack("trading.yaml", text);
    let (documents, _) = yaml::parse(tests, SourceId(0));
    let mut tried = 0;
    for case in documents[0].as_seq().unwrap() {
        for node in case.get("matches").and_then(Node::as_seq).unwrap().iter().flat_map(events) {
            let mut event = Event::read(node, tests).unwrap();
            for (field, at) in FIELDS.iter().zip(0..).filter(|(field, _)| field.class == Class::Trading) {
                assert!(field.name.starts_with("trading."));
                event.set(FieldId(at), Arg::None, Held::One(Value::Null));
            }
            rules.evaluate(event.id(), &event, |rule| panic!("{} matches", rule.name));
            tried += 1;
        }
    }
    assert!(tried > 40, "{tried}");
}

#[test]
fn rules_of_packs_are_complete() {
    for (name, pack, _) in PACKS {
        for rule in load_pack(name, pack).rules() {
            assert!(rule.tags.iter().any(|tag| tag.starts_with("mitre_")), "{}", rule.name);
            assert!(rule.events.len() <= 12, "{} is tried on too many events", rule.name);
            assert_eq!(rule.tags.iter().any(|tag| tag == "trading"), name == "trading.yaml", "{}", rule.name);
            let fields: Vec<&str> = rule.output.fields().map(|field| field.key.as_str()).collect();
            for needed in ["proc.cmdline", "user.name", "proc.pname"] {
                assert!(fields.contains(&needed), "{} does not show {needed}", rule.name);
            }
        }
    }
}

#[test]
fn packs_load_together() {
    let sources: Vec<Source> = PACKS.iter().map(|(name, pack, _)| source(name, pack)).collect();
    let options = LoadOptions { lints: Lints::Default, matching: Matching::All, ..LoadOptions::default() };
    let loaded = load(&sources, &options);
    assert_eq!(render::full(&loaded.diagnostics, &loaded.sources), "");
    let rules = loaded.rules.unwrap();
    let apart: usize = PACKS.iter().map(|(name, pack, _)| load_pack(name, pack).rules().len()).sum();
    assert_eq!(rules.rules().len(), apart, "a name is in both");
}

/// Loaded together, one definition of a name replaces the other.
#[test]
fn no_name_of_a_pack_is_one_of_upstream() {
    let folder = std::env::var_os("RAMPART_SHARED")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared"), PathBuf::from)
        .join("falco/rules");
    let Ok(entries) = fs::read_dir(&folder) else {
        println!("skipped: {} is not there", folder.display());
        return;
    };
    let ours: HashSet<_> = PACKS.iter().flat_map(|(_, pack, _)| names(pack)).collect();
    assert!(ours.len() > 150, "{}", ours.len());
    for path in entries.map(|entry| entry.unwrap().path()) {
        if path.extension().is_some_and(|extension| extension == "yaml") {
            let theirs = names(&fs::read_to_string(&path).unwrap());
            let both: Vec<_> = ours.intersection(&theirs).collect();
            assert!(both.is_empty(), "{}: {both:?}", path.display());
        }
    }
}

/// What a rule file defines: kind and name.
fn names(text: &str) -> HashSet<(String, String)> {
    let (documents, _) = yaml::parse(text, SourceId(0));
    let items = documents.iter().filter_map(Node::as_seq).flatten();
    let named = |item: &Node| {
        ["rule", "macro", "list"].iter().find_map(|kind| {
            let name = item.get(kind).and_then(Node::as_text)?;
            Some(((*kind).to_owned(), name.to_lowercase()))
        })
    };
    items.filter_map(named).collect()
}
