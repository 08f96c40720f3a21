//! Loading, from text to rules and findings.

use super::*;
use crate::diagnostic::{Severity, code, render};

fn load_text(text: &str) -> Loaded {
    load(&[Source { name: "t.yaml".to_owned(), text: text.as_bytes().to_vec() }], &LoadOptions::default())
}

fn rule(condition: &str) -> String {
    format!("- rule: r\n  desc: d\n  condition: {condition}\n  output: o\n  priority: INFO\n")
}

fn codes(loaded: &Loaded) -> Vec<crate::diagnostic::Code> {
    loaded.diagnostics.iter().map(|finding| finding.code).collect()
}

#[test]
fn every_fault_of_a_file_is_reported_with_its_place() {
    let text = "- rule: a\n  desc: d\n  condition: evt.type=opne\n  output: o %nosuch\n  priority: INFO\n\
                - rule: b\n  desc: d\n  condition: >\n    evt.type=open\n    and proc.nme=x and fd.num contains 1\n  \
                output: o\n  priority: INF\n- rule: c\n  desc: d\n  condition: evt.type=open and (proc.name=x\n  \
                output: o\n  priority: INFO\n- lst: x\n";
    let loaded = load_text(text);
    assert!(loaded.rules.is_none());
    let concise = render::concise(&loaded.diagnostics, &loaded.sources);
    let expected = "t.yaml:3:23: error[RMP0116] unknown event type `opne`\n\
                    t.yaml:4:13: error[RMP0130] `%nosuch` does not begin with a known field\n\
                    t.yaml:12:13: error[RMP0015] unknown priority `INF`\n\
                    t.yaml:15:32: error[RMP0100] this parenthesis is not closed\n\
                    t.yaml:18:3: warning[RMP0007] item is neither a rule nor a macro nor a list and is ignored\n";
    assert_eq!(concise, expected, "{concise}");
}

#[test]
fn lists_are_pasted_and_macros_expanded() {
    let text = "- list: shells\n  items: [bash, 'my sh']\n- list: all\n  items: [shells, vi]\n\
                - macro: a_shell\n  condition: proc.name in (all) or proc.name=x\n"
        .to_owned()
        + &rule("evt.type=execve and a_shell");
    let loaded = load_text(&text);
    assert_eq!(codes(&loaded), []);
    let rules = loaded.rules.unwrap();
    assert_eq!(
        rules.rules()[0].condition_text,
        "(evt.type = execve and (proc.name in (bash, \"my sh\", vi) or proc.name = x))"
    );
}

#[test]
fn empty_lists_take_a_comma_along() {
    let text = "- list: none\n  items: []\n".to_owned()
        + &rule("evt.type=execve and proc.name in (none, a, none, b, none) and proc.pname in (none)");
    let rules = load_text(&text).rules.unwrap();
    assert_eq!(
        rules.rules()[0].condition_text,
        "(evt.type = execve and proc.name in (a, b) and proc.pname in ())"
    );
}

#[test]
fn macros_see_only_what_was_defined_before() {
    let later =
        "- macro: m\n  condition: n\n- macro: n\n  condition: evt.type=open\n".to_owned() + &rule("m");
    assert_eq!(codes(&load_text(&later)), [code::UNDEFINED_MACRO]);
    let twice = later + "- macro: m\n  condition: n\n";
    assert_eq!(codes(&load_text(&twice)), []);
}

#[test]
fn loops_and_explosions_end() {
    let mut text = "- macro: m\n  condition: evt.type=open or m\n".to_owned() + &rule("m");
    text += "- macro: m\n  condition: m\n";
    assert!(codes(&load_text(&text)).contains(&code::MACRO_LOOP));
    let mut text = "- macro: m0\n  condition: evt.type=open\n".to_owned();
    for level in 1..60 {
        let below = level - 1;
        text += "- macro: m";
        text += &level.to_string();
        text += &"\n  condition: mX or mX or mX\n".replace('X', &below.to_string());
    }
    assert!(codes(&load_text(&(text + &rule("m59")))).contains(&code::TOO_LARGE));
    let mut text = "- list: l0\n  items: [a, b]\n".to_owned();
    let mut names = Vec::new();
    for level in (0..40).rev() {
        names.push(format!("- list: l{level}\n  items: [l{0}, l{0}, l{0}]\n", level + 1));
    }
    text += &names.concat();
    let started = std::time::Instant::now();
    load_text(&(text + &rule("evt.type=open and proc.name in (l0)")));
    assert!(started.elapsed().as_secs() < 20);
}

#[test]
fn hostile_conditions_end_in_a_diagnostic() {
    let deep = rule(&format!("{}evt.type=open{}", "(".repeat(5000), ")".repeat(5000)));
    assert_eq!(codes(&load_text(&deep)), [code::TOO_DEEP]);
    let nots = rule(&format!("{}evt.type=open", "not ".repeat(100_000)));
    assert!(load_text(&nots).rules.is_some());
    let long = rule(&format!("evt.type=open and ({})", vec!["proc.name=x"; 50_000].join(" or ")));
    assert!(load_text(&long).rules.is_some());
    let odd = rule("\"evt.type=open and proc.name = '\\0'\"");
    assert_eq!(codes(&load_text(&odd)), [code::LITERAL_TYPE]);
}

#[test]
fn files_of_any_bytes_are_survived() {
    for text in [
        &b"\xff\xfe"[..],
        b"",
        b"x",
        b"- 1",
        b"{}",
        b"- {}",
        b"- []",
        b"- rule:",
        b"- rule: {}",
        b"- rule: ''",
        b"- macro: m",
        b"- list: l\n  items: {a: b}",
        b"- ? [a]\n  : b",
        b"\xef\xbb\xbf- list: l\r\n  items: [a]\r\n",
        b"- required_engine_version: {}",
        b"- required_plugin_versions: [x]",
        b"- rule: r\n  override: x",
        b"- rule: r\n  tags: x",
        b"\0",
    ] {
        let loaded = load(&[Source { name: "t".to_owned(), text: text.to_vec() }], &LoadOptions::default());
        for finding in loaded.diagnostics.iter().filter(|finding| finding.severity == Severity::Error) {
            assert!(finding.span.is_some(), "{finding:?}");
        }
        render::full(&loaded.diagnostics, &loaded.sources);
    }
}

#[test]
fn duplicate_keys_are_told() {
    let text = rule("evt.type=open") + "  output: p\n";
    let loaded = load_text(&text);
    assert_eq!(codes(&loaded), [code::YAML_DUPLICATE_KEY]);
    assert_eq!(loaded.rules.unwrap().rules()[0].output.text(), "o");
}

#[test]
fn selections_apply_in_order_and_severity_last() {
    let text = "- rule: one\n  desc: d\n  condition: evt.type=open\n  output: o\n  priority: INFO\n  tags: [x]\n\
                - rule: two\n  desc: d\n  condition: evt.type=open\n  output: o\n  priority: ERROR\n  enabled: false\n";
    let names = |options: &LoadOptions| {
        let source = Source { name: "t".to_owned(), text: text.as_bytes().to_vec() };
        let rules = load(&[source], options).rules.unwrap();
        rules.rules().iter().map(|rule| rule.name.clone()).collect::<Vec<_>>()
    };
    let mut options = LoadOptions::default();
    assert_eq!(names(&options), ["one"]);
    options.selection = vec![Selection::DisableTag("x".into()), Selection::EnableRule("t*".into())];
    assert_eq!(names(&options), ["two"]);
    options.selection.push(Selection::EnableRule("*".into()));
    assert_eq!(names(&options), ["one", "two"]);
    options.min_priority = Some(Priority::Warning);
    assert_eq!(names(&options), ["two"]);
}

#[test]
fn upstream_files_load_without_a_finding() {
    let shared = std::env::var_os("RAMPART_SHARED").map_or_else(
        || std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared"),
        std::path::PathBuf::from,
    );
    let read = |name: &str| {
        let text = std::fs::read(shared.join("falco/rules").join(name)).ok()?;
        Some(Source { name: name.to_owned(), text })
    };
    let (Some(stable), Some(incubating)) = (read("falco_rules.yaml"), read("falco-incubating_rules.yaml"))
    else {
        println!("skipped: the upstream rule files are not there");
        return;
    };
    for (sources, count) in [(vec![stable.clone()], 25), (vec![stable, incubating], 56)] {
        let loaded = load(&sources, &LoadOptions::default());
        assert_eq!(render::full(&loaded.diagnostics, &loaded.sources), "");
        let rules = loaded.rules.unwrap();
        assert_eq!(rules.rules().len() + rules.disabled().len(), count);
    }
}

mod sets;
