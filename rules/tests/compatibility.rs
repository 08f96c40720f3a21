//! What `FALCO_COMPATIBILITY.md` says of the rule language, shown in both modes, and that the page names real tests.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::{collections::BTreeSet, fs, net::IpAddr, path::Path};

use rampart_rules::{
    catalog::{FieldId, event_ids, ids},
    diagnostic::{code, render},
    filter::Filter,
    lint::Lints,
    load::{LoadOptions, Loaded, Source, load},
    mount::MountKey,
    typed::Environment,
    value::{FieldArg, FieldSource, Truth, Value},
};

const PAGE: &str = include_str!("../FALCO_COMPATIBILITY.md");

/// A connection from 10.0.0.1 to `far`, by a process with two ancestors.
struct Connection {
    ends: [Value<'static>; 2],
}

impl Connection {
    fn to(far: &str) -> Self {
        Self { ends: [Value::Ip(IpAddr::from([10, 0, 0, 1])), Value::Ip(far.parse().unwrap())] }
    }
}

impl FieldSource for Connection {
    fn field<'a>(&'a self, field: FieldId, arg: FieldArg<'_>) -> Value<'a> {
        static ANCESTORS: [Value<'static>; 2] = [Value::Int(700), Value::Int(1)];
        match (field, arg) {
            (ids::FD_IP | ids::FD_NET, _) => Value::Either(&self.ends),
            (ids::FD_SIP | ids::FD_SNET, _) => self.ends[1],
            (ids::PROC_APID, FieldArg::None) => Value::Any(&ANCESTORS),
            (ids::PROC_NAME, _) => Value::Bytes(b"curl"),
            _ => Value::Null,
        }
    }
}

/// What a condition makes of a connection, by default and in strict mode.
fn holds(condition: &str, connection: &Connection) -> [bool; 2] {
    [false, true].map(|strict| {
        let (filter, findings) = Filter::compile(condition, Environment { container_fields: true, strict });
        assert!(filter.is_some(), "{condition}: {findings:?}");
        filter.unwrap().evaluate(Some(event_ids::CONNECT), connection) == Truth::True
    })
}

fn rule(condition: &str) -> String {
    format!("- rule: r\n  desc: d\n  condition: {condition}\n  output: o\n  priority: INFO\n")
}

fn loaded(texts: &[&str], strict_falco: bool, lints: Lints) -> Loaded {
    let sources: Vec<Source> =
        texts.iter().map(|text| Source { name: "t.yaml".to_owned(), text: (*text).into() }).collect();
    load(&sources, &LoadOptions { strict_falco, lints, ..LoadOptions::default() })
}

/// Codes of what is found in one file, the same in both modes.
fn codes(text: &str) -> Vec<&'static str> {
    let [one, other] = [false, true].map(|strict| {
        let findings = loaded(&[text], strict, Lints::None).diagnostics;
        findings.iter().map(|finding| finding.code.0).collect::<Vec<_>>()
    });
    assert_eq!(one, other);
    one
}

#[test]
fn addresses_and_ancestors_are_found_in_sets() {
    let connection = Connection::to("192.0.2.7");
    assert_eq!(holds("fd.ip in (192.0.2.7, 198.51.100.1)", &connection), [true, false]);
    assert_eq!(holds("fd.ip in (198.51.100.1)", &connection), [false, false]);
    assert_eq!(holds("proc.apid in (1, 2)", &connection), [true, false]);
    assert_eq!(holds("proc.apid in (2, 3)", &connection), [false, false]);
    // Without sets nothing is wrong upstream.
    assert_eq!(holds("fd.ip = 192.0.2.7 and proc.apid = 1", &connection), [true, true]);
    assert_eq!(holds("fd.ip = 198.51.100.1 or fd.ip = 192.0.2.7", &connection), [true, true]);
}

#[test]
fn all_networks_of_a_set_are_looked_at() {
    let connection = Connection::to("192.0.2.7");
    assert_eq!(holds("fd.net in (172.16.0.0/12, 192.0.2.0/24)", &connection), [true, false]);
    assert_eq!(holds("fd.net in (192.0.2.0/24, 172.16.0.0/12)", &connection), [true, true]);
    assert_eq!(holds("fd.snet in (172.16.0.0/12, 192.0.2.0/24)", &connection), [true, true]);
}

#[test]
fn keys_of_mounts_are_globs() {
    let mounts: [&[u8]; 3] = [b"/var/lib/x", b"/etc", b"/"];
    let find =
        |key: &str| [false, true].map(|strict| MountKey::parse(key, strict).and_then(|key| key.find(mounts)));
    assert_eq!(find("/"), [Some(2), Some(0)]);
    assert_eq!(find("/et*"), [Some(1), Some(1)]);
    assert_eq!(find("lib"), [None, Some(0)]);
    assert_eq!(find("1"), [Some(1), Some(1)]);
}

#[test]
fn files_may_use_what_later_files_define() {
    let (uses, defines) = (rule("m"), "- macro: m\n  condition: evt.type = open\n");
    assert!(loaded(&[&uses, defines], false, Lints::None).rules.is_some());
    let strict = loaded(&[&uses, defines], true, Lints::None);
    assert_eq!(strict.diagnostics[0].code, code::UNDEFINED_MACRO);
    assert!(loaded(&[defines, &uses], true, Lints::None).rules.is_some());
}

#[test]
fn every_fault_is_told_where_falco_stops() {
    let text = rule("evt.type = opne") + &rule("evt.type = clsoe").replace("rule: r", "rule: s");
    assert_eq!(codes(&text), ["RMP0116", "RMP0116"]);
    let loaded = loaded(&[&text], false, Lints::None);
    for (first_only, count) in [(false, 2), (true, 1)] {
        let json = render::falco(&loaded.diagnostics, &loaded.sources, &[], first_only);
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(json["falco_load_results"][0]["errors"].as_array().unwrap().len(), count);
    }
}

#[test]
fn conditions_are_refused_beyond_their_depth() {
    let nested =
        |levels: usize| rule(&format!("{}evt.type = open{}", "(".repeat(levels), ")".repeat(levels)));
    assert!(codes(&nested(240)).is_empty());
    assert_eq!(codes(&nested(300)), ["RMP0101"]);
}

#[test]
fn patterns_match_whole_texts_and_have_a_limit() {
    let connection = Connection::to("192.0.2.7");
    assert_eq!(holds("proc.name regex 'cur[lx]'", &connection), [true, true]);
    assert_eq!(holds("proc.name regex 'ur[lx]'", &connection), [false, false]);
    assert_eq!(codes(&rule("evt.type = open and proc.name regex '[a-z]{1000}{1000}'")), ["RMP0117"]);
}

#[test]
fn keys_given_twice_are_told() {
    let text = rule("evt.type = open") + "  output: another\n";
    assert_eq!(codes(&text), ["RMP0004"]);
    let rules = loaded(&[&text], true, Lints::None).rules.unwrap();
    assert_eq!(rules.rules()[0].output.text(), "o");
}

#[test]
fn names_of_ports_are_the_same_everywhere() {
    assert!(codes(&rule("evt.type = connect and fd.sport in (ssh, https, postgresql)")).is_empty());
    assert_eq!(codes(&rule("evt.type = connect and fd.sport = my-own-service")), ["RMP0113"]);
}

#[test]
fn lints_are_only_looked_for_on_request() {
    let text = rule("evt.type = open and evt.type = close");
    for strict in [false, true] {
        assert!(loaded(&[&text], strict, Lints::None).diagnostics.is_empty());
        let found = loaded(&[&text], strict, Lints::Default).diagnostics;
        assert_eq!(found.iter().map(|finding| finding.code).collect::<Vec<_>>(), [code::NEVER_TRUE]);
        assert!(found[0].falco_code.is_none());
    }
    assert_eq!(LoadOptions::default().lints, Lints::None);
}

#[test]
fn addresses_are_in_no_network_of_the_other_family() {
    let connection = Connection { ends: [Value::Ip("2001:db8::1".parse().unwrap()); 2] };
    assert_eq!(holds("fd.net = 10.0.0.0/8", &connection), [false, false]);
    assert_eq!(holds("fd.net != 10.0.0.0/8", &connection), [true, true]);
    assert_eq!(holds("fd.net = 2001:db8::/32", &connection), [true, true]);
}

#[test]
fn a_missing_value_makes_every_comparison_false() {
    let connection = Connection::to("192.0.2.7");
    for condition in [
        "proc.pname = x",
        "proc.pname != x",
        "proc.pname in (x)",
        "proc.pname contains x",
        "proc.pname exists",
    ] {
        assert_eq!(holds(condition, &connection), [false, false], "{condition}");
        assert_eq!(holds(&format!("not {condition}"), &connection), [true, true], "{condition}");
    }
}

#[test]
fn lists_are_put_in_even_inside_quotes() {
    let text = "- list: l\n  items: [a]\n".to_owned() + &rule("evt.type = open and proc.name = 'x l y'");
    for strict in [false, true] {
        let rules = loaded(&[&text], strict, Lints::None).rules.unwrap();
        assert!(rules.rules()[0].condition_text.contains("\"x a y\""), "{}", rules.rules()[0].condition_text);
    }
}

/// Text of all Rust files below a folder.
fn sources(folder: &Path, out: &mut String) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, out);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            out.push_str(&fs::read_to_string(&path).unwrap());
        }
    }
}

#[test]
fn the_page_names_a_test_for_every_entry() {
    let mut code = String::new();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    for folder in ["rules/src", "rules/tests", "agent/src", "agent/tests", "tests"] {
        sources(&root.join(folder), &mut code);
    }
    let entries = PAGE.split("\n### ").skip(1);
    let mut named = BTreeSet::new();
    for entry in entries {
        assert!(entry.contains("\n- Test: `"), "no test: {entry}");
        let (_, test) = entry.split_once("\n- Test: `").unwrap();
        let test = test.split('`').next().unwrap();
        assert!(
            code.contains(&format!("#[test]\n    fn {test}()"))
                || code.contains(&format!("#[test]\nfn {test}()")),
            "{test}"
        );
        assert!(named.insert(test), "{test} is named twice");
    }
    // Each test of this file shows an entry of the page, this one apart.
    for line in include_str!("compatibility.rs").lines() {
        let Some(test) = line.strip_prefix("fn ").and_then(|rest| rest.strip_suffix("() {")) else {
            continue;
        };
        assert!(named.contains(test) || test == "the_page_names_a_test_for_every_entry", "{test}");
    }
}
