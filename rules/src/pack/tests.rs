//! Each rule of a pack against events that must match it and events that must not.

use std::collections::{HashMap, HashSet};

use super::BASE_PACK;
use crate::{
    catalog::{self, FieldId, FieldType},
    diagnostic::render,
    load::{LoadOptions, Source, load},
    rule::{Matching, RuleSet},
    source::SourceId,
    value::{FieldArg, FieldSource, Truth, Value},
    yaml::{self, Node},
};

const BASE_TESTS: &str = include_str!("../../packs/tests/base.yaml");

/// The fields of an event by name; what is not there is missing.
struct Event(HashMap<String, Value<'static>>);

impl Event {
    /// Reads `{field: value}`; the text lives as long as the test.
    fn read(node: &Node) -> Self {
        let pairs = node.as_map().expect("an event is a map");
        let fields = pairs.iter().map(|(key, value)| {
            let name = key.as_text().unwrap();
            let text = value.as_text().unwrap_or("");
            (name.to_owned(), typed(name, text))
        });
        Self(fields.collect())
    }

    fn event(&self) -> catalog::EventId {
        match self.0.get("evt.type") {
            Some(Value::Bytes(name)) => catalog::event(std::str::from_utf8(name).unwrap()).unwrap(),
            other => panic!("an event needs evt.type, not {other:?}"),
        }
    }
}

impl FieldSource for Event {
    fn field<'a>(&'a self, field: FieldId, arg: FieldArg<'_>) -> Value<'a> {
        let key = match arg {
            FieldArg::None => field.to_string(),
            FieldArg::Index(index) => format!("{field}[{index}]"),
            FieldArg::Key(key) if field == catalog::ids::EVT_ARG => format!("{field}.{key}"),
            FieldArg::Key(key) => format!("{field}[{key}]"),
        };
        self.0.get(&key).copied().unwrap_or(Value::Null)
    }
}

fn typed(name: &str, text: &str) -> Value<'static> {
    let base = name.strip_prefix("evt.arg.").map_or(name, |_| "evt.arg");
    let def = catalog::field(base).unwrap_or_else(|| panic!("unknown field {name}")).def();
    match def.ty {
        FieldType::Int => Value::Int(text.parse().unwrap()),
        FieldType::Uint | FieldType::Port => Value::Uint(text.parse().unwrap()),
        FieldType::Bool => Value::Bool(text.parse().unwrap()),
        FieldType::Ip | FieldType::Net => Value::Ip(text.parse().unwrap()),
        FieldType::Text | FieldType::Path => Value::Bytes(text.to_owned().leak().as_bytes()),
        other => panic!("no events with {other:?} yet"),
    }
}

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
    let mut tested = HashSet::new();
    for case in documents[0].as_seq().unwrap() {
        let name = case.get("rule").and_then(Node::as_text).unwrap();
        let rule = rules.rules().iter().find(|rule| rule.name == name).expect(name);
        for (key, wanted) in [("matches", true), ("ignores", false)] {
            let events = case.get(key).and_then(Node::as_seq).expect(key);
            assert!(!events.is_empty(), "{name} has no event under {key}");
            for node in events {
                let event = Event::read(node);
                let mut matched = Vec::new();
                rules.evaluate(event.event(), &event, |rule| matched.push(rule.name.clone()));
                let expected: &[&str] = if wanted { &[name] } else { &[] };
                assert_eq!(matched, expected, "{name}: {:?}", event.0);
                assert_eq!(rules.evaluate_rule(rule.id, &event), Truth::from(wanted));
                let mut text = String::new();
                assert!(rule.output.render(&event, &mut text));
            }
        }
        assert!(tested.insert(name), "{name} is tested twice");
    }
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
