//! Each rule of a pack against events that must match it and events that must not.

use std::{
    collections::HashSet,
    fs,
    path::{Path, PathBuf},
};

use super::BASE_PACK;
use crate::{
    diagnostic::render,
    load::{LoadOptions, Source, load},
    rule::{Matching, RuleSet},
    source::SourceId,
    unit::event::Event,
    value::Truth,
    yaml::{self, Node},
};

const BASE_TESTS: &str = include_str!("../../packs/tests/base.yaml");

fn load_base() -> RuleSet {
    let options = LoadOptions { matching: Matching::All, ..LoadOptions::default() };
    let source = Source { name: "base.yaml".to_owned(), text: BASE_PACK.into() };
    let loaded = load(&[source], &options);
    assert_eq!(render::full(&loaded.diagnostics, &loaded.sources), "");
    loaded.rules.unwrap()
}

#[test]
fn the_base_pack_matches_what_it_should_and_nothing_else() {
    let rules = load_base();
    let (documents, faults) = yaml::parse(BASE_TESTS, SourceId(0));
    assert!(faults.is_empty(), "{faults:?}");
    let (mut tested, mut wrong) = (HashSet::new(), Vec::new());
    for case in documents[0].as_seq().unwrap() {
        let name = case.get("rule").and_then(Node::as_text).unwrap();
        let rule = rules.rules().iter().find(|rule| rule.name == name).expect(name);
        for (key, wanted) in [("matches", true), ("ignores", false)] {
            let events = case.get(key).and_then(Node::as_seq).expect(key);
            assert!(!events.is_empty(), "{name} has no event under {key}");
            for node in events {
                let event = Event::read(node, BASE_TESTS).unwrap();
                let mut matched = Vec::new();
                rules.evaluate(event.id(), &event, |rule| matched.push(rule.name.clone()));
                let expected: &[&str] = if wanted { &[name] } else { &[] };
                // An alert says one thing: an event that two rules tell is better told by one.
                if matched != expected {
                    let text =
                        BASE_TESTS.get(node.span.start as usize..node.span.end as usize).unwrap_or_default();
                    wrong.push(format!("{name}: {text} matches {matched:?}"));
                }
                assert_eq!(rules.evaluate_rule(rule.id, &event), Truth::from(wanted));
                let mut text = String::new();
                assert!(rule.output.render(&event, &mut text));
            }
        }
        assert!(tested.insert(name), "{name} is tested twice");
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    let untested: Vec<&str> =
        rules.rules().iter().map(|rule| rule.name.as_str()).filter(|name| !tested.contains(name)).collect();
    assert!(untested.is_empty(), "rules without a test: {untested:?}");
}

#[test]
fn rules_of_the_base_pack_are_complete() {
    for rule in load_base().rules() {
        assert!(rule.tags.iter().any(|tag| tag.starts_with("mitre_")), "{}", rule.name);
        assert!(rule.events.len() <= 8, "{} is tried on too many events", rule.name);
        let fields: Vec<&str> = rule.output.fields().map(|field| field.key.as_str()).collect();
        for needed in ["proc.cmdline", "user.name", "proc.pname"] {
            assert!(fields.contains(&needed), "{} does not show {needed}", rule.name);
        }
    }
}

/// Loaded together, one definition of a name replaces the other.
#[test]
fn no_name_of_the_base_pack_is_one_of_upstream() {
    let folder = std::env::var_os("RAMPART_SHARED")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared"), PathBuf::from)
        .join("falco/rules");
    let Ok(entries) = fs::read_dir(&folder) else {
        println!("skipped: {} is not there", folder.display());
        return;
    };
    let ours = names(BASE_PACK);
    assert!(ours.len() > 100, "{}", ours.len());
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
