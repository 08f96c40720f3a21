//! Rule files written to break the loader: each ends soon, in a finding with its place or in rules, never in a panic.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::{
    fmt::Write as _,
    time::{Duration, Instant},
};

use rampart_rules::{
    diagnostic::{Diagnostic, render},
    lint::Lints,
    load::{LoadOptions, Loaded, Source, load},
};

/// Far more than any of these needs, also without optimisation on a busy machine; a hang or quadratic time is not.
const LIMIT: Duration = Duration::from_mins(3);

fn rule(name: &str, condition: &str) -> String {
    format!("- rule: {name}\n  desc: d\n  condition: {condition}\n  output: o\n  priority: INFO\n")
}

/// Loads a text with all lints, in bounded time; every finding has a place in the text, and renders.
fn loaded(text: impl Into<Vec<u8>>) -> Loaded {
    let started = Instant::now();
    let source = Source { name: "t.yaml".to_owned(), text: text.into() };
    let loaded = load(&[source], &LoadOptions { lints: Lints::All, ..LoadOptions::default() });
    for finding in &loaded.diagnostics {
        let span = finding.span.unwrap();
        let file = loaded.sources.file(span.source).unwrap();
        assert!(span.start <= span.end && span.end as usize <= file.text().len(), "{finding:?}");
        assert!(finding.message.len() < 1000, "{finding:?}");
    }
    for text in [
        render::full(&loaded.diagnostics, &loaded.sources),
        render::json(&loaded.diagnostics, &loaded.sources),
        render::falco(&loaded.diagnostics, &loaded.sources, &[], false),
    ] {
        // A line of a megabyte must not be repeated for each of its findings.
        assert!(text.len() < 4 << 20, "{}", text.len());
    }
    assert!(started.elapsed() < LIMIT, "{:?}", started.elapsed());
    loaded
}

/// Codes and lines of the errors.
fn errors(loaded: &Loaded) -> Vec<(&'static str, u32)> {
    let errors = loaded.diagnostics.iter().filter(|finding| finding.is_error());
    errors.map(|finding| (finding.code.0, line(loaded, finding))).collect()
}

fn line(loaded: &Loaded, finding: &Diagnostic) -> u32 {
    loaded.sources.locate(finding.span.unwrap()).unwrap().line
}

#[test]
fn conditions_of_a_megabyte_load_or_are_refused_in_their_place() {
    let names: Vec<String> = (0..100_000).map(|n| format!("name{n}")).collect();
    let list = rule("list", &format!("evt.type = execve and proc.name in ({})", names.join(", ")));
    assert!(list.len() > 1 << 20);
    assert!(loaded(list).rules.is_some());
    let chain: Vec<String> =
        names.iter().take(40_000).map(|name| format!("not proc.name = long_{name}")).collect();
    let chain = rule("chain", &format!("evt.type = execve and {}", chain.join(" and ")));
    assert!(chain.len() > 1 << 20);
    assert!(loaded(chain).rules.is_some());
    let word = rule("word", &format!("evt.type = execve and proc.name = {}", "x".repeat(1 << 20)));
    assert!(loaded(word).rules.is_some());
    let unknown = rule("unknown", &format!("evt.type = execve and {} = 1", "x.".repeat(1 << 19)));
    assert_eq!(errors(&loaded(unknown)).len(), 1);
    let faults = rule("faults", &vec!["nosuch.field = 1"; 80_000].join(" or "));
    let loaded = loaded(faults);
    assert!(loaded.rules.is_none() && loaded.diagnostics.len() <= 1000);
}

#[test]
fn thousands_of_levels_end_in_a_finding() {
    for levels in [1_000, 100_000] {
        let deep = rule("r", &format!("{}evt.type = open{}", "(".repeat(levels), ")".repeat(levels)));
        assert_eq!(errors(&loaded(deep)), [("RMP0101", 3)], "{levels}");
        let unclosed = rule("r", &format!("{}evt.type = open", "(".repeat(levels)));
        assert_eq!(errors(&loaded(unclosed)), [("RMP0101", 3)], "{levels}");
        let mixed = rule(
            "r",
            &format!("{}evt.type = open{}", "not (fd.num = 1 or ".repeat(levels), ")".repeat(levels)),
        );
        assert_eq!(errors(&loaded(mixed)), [("RMP0101", 3)], "{levels}");
        let functions =
            rule("r", &format!("{}proc.name{} = x", "tolower(".repeat(levels), ")".repeat(levels)));
        assert_eq!(errors(&loaded(functions)), [("RMP0101", 3)], "{levels}");
        let yaml = format!("- list: l\n  items: {}{}\n", "[".repeat(levels), "]".repeat(levels));
        assert_eq!(errors(&loaded(yaml)).len(), 1, "{levels}");
        let maps = format!("- list: l\n  items: {}", "{a: ".repeat(levels));
        assert_eq!(errors(&loaded(maps)).len(), 1, "{levels}");
    }
    let mut chain = "- macro: m0\n  condition: evt.type = open\n".to_owned();
    for level in 1..5_000 {
        let below = level - 1;
        writeln!(chain, "- macro: m{level}\n  condition: not (m{below} or fd.num = {level})").unwrap();
    }
    assert!(errors(&loaded(chain + &rule("r", "m4999"))).iter().any(|(code, _)| *code == "RMP0101"));
}

#[test]
fn aliases_cannot_multiply_a_file() {
    let mut bomb = "- &a0 {list: l, items: [x, x, x, x, x, x, x, x, x]}\n".to_owned();
    for level in 1..40 {
        let below = format!("*a{}", level - 1);
        writeln!(bomb, "- &a{level} [{}]", vec![below; 9].join(", ")).unwrap();
    }
    let found = errors(&loaded(bomb));
    assert!(found.iter().any(|(code, _)| *code == "RMP0003"), "{found:?}");
    let itself = "- &a [*a]\n";
    loaded(itself);
    let unknown = "- list: l\n  items: *nobody\n";
    assert_eq!(errors(&loaded(unknown)).len(), 1);
}

#[test]
fn keys_given_twice_are_told_once_each() {
    let text = rule("r", "evt.type = open") + "  priority: DEBUG\n  desc: e\n";
    let twice = loaded(text);
    let told = twice.diagnostics.iter().filter(|finding| finding.code.0 == "RMP0004");
    let told: Vec<_> = told.map(|finding| (line(&twice, finding), finding.labels.len())).collect();
    assert_eq!(told, [(6, 1), (7, 1)]);
    let many: Vec<String> = (0..100_000).map(|n| format!("  key{}: 1\n", n % 50_000)).collect();
    assert!(loaded(rule("r", "evt.type = open") + &many.concat()).diagnostics.len() <= 1000);
}

/// Every key of every kind of item, with a value of every shape.
#[test]
fn values_of_any_shape_end_in_rules_or_in_a_finding() {
    let items: [(&str, &[&str]); 5] = [
        (
            "rule",
            &[
                "rule",
                "desc",
                "condition",
                "output",
                "priority",
                "source",
                "enabled",
                "tags",
                "warn_evttypes",
                "skip-if-unknown-filter",
                "exceptions",
                "capture",
                "capture_duration",
                "override",
                "append",
            ],
        ),
        ("macro", &["macro", "condition", "append", "override"]),
        ("list", &["list", "items", "append", "override"]),
        ("required_engine_version", &["required_engine_version"]),
        ("required_plugin_versions", &["required_plugin_versions"]),
    ];
    let good = |key: &str| match key {
        "condition" => "evt.type = open",
        "priority" => "INFO",
        "items" => "[a]",
        _ => "x",
    };
    let shapes = [
        "",
        "~",
        "''",
        "x",
        "1",
        "-1",
        "1e400",
        "99999999999999999999",
        "true",
        "[]",
        "{}",
        "[[]]",
        "[{}]",
        "[~]",
        "[1, [2]]",
        "{a: b}",
        "{a: {b: [c]}}",
        "{condition: append}",
        "{condition: [x]}",
        "!!binary aGk=",
        "!tag x",
        "|\n    a\n    b",
        "\"\\0\\x01\\uD7FF\"",
        "[{name: ~}]",
        "[{name: x, fields: {}}]",
        "[{name: x, fields: [[]], comps: {}, values: 1}]",
        "[{name: x, version: []}]",
        "{? [a] : b}",
    ];
    for (kind, keys) in items {
        for key in keys {
            for shape in shapes {
                let mut text = "- ".to_owned();
                let needed: &[&str] = match kind {
                    "rule" => &["rule", "desc", "condition", "output", "priority"],
                    "macro" => &["macro", "condition"],
                    "list" => &["list", "items"],
                    _ => &[],
                };
                let mut lines: Vec<String> = needed
                    .iter()
                    .filter(|needed| *needed != key)
                    .map(|needed| format!("{needed}: {}\n", good(needed)))
                    .collect();
                lines.push(format!("{key}: {shape}\n"));
                text += &lines.join("  ");
                let loaded = loaded(text.clone());
                assert!(
                    loaded.rules.is_some() != loaded.diagnostics.iter().any(Diagnostic::is_error),
                    "{text}"
                );
            }
        }
    }
}

#[test]
fn marks_and_line_ends_of_other_systems_keep_places_right() {
    let text = "- list: l\n  items: [a]\n- rule: r\n  desc: d\n  condition: >\n    evt.type = open\n    and proc.nme in (l)\n  output: o\n  priority: INFO\n";
    let place = |bytes: Vec<u8>| {
        let loaded = loaded(bytes);
        let finding = &loaded.diagnostics[0];
        let at = loaded.sources.locate(finding.span.unwrap()).unwrap();
        (finding.code.0, at.line, at.column)
    };
    let expected = ("RMP0110", 7, 9);
    assert_eq!(place(text.into()), expected);
    assert_eq!(place(text.replace('\n', "\r\n").into()), expected);
    assert_eq!(place([b"\xef\xbb\xbf", text.as_bytes()].concat()), expected);
    assert_eq!(place([b"\xef\xbb\xbf", text.replace('\n', "\r\n").as_bytes()].concat()), expected);
    // Columns count characters, not bytes.
    let wide = text.replace("open\n    and", "open\n    and proc.name != žluťoučký and");
    assert_eq!(place(wide.into()), ("RMP0110", 7, 36));
}

#[test]
fn bytes_that_are_no_text_are_told_with_their_line() {
    let loaded = loaded(&b"- list: l\n  items: [a]\n- list: m\n  items: [\xff\xfe]\n"[..]);
    assert_eq!(errors(&loaded), [("RMP0001", 4)]);
    for bytes in [
        &b"\xff\xfe-\0 \0"[..],
        b"\0\0\0",
        b"\xc0\x80",
        b"\xed\xa0\x80",
        b"- list: \x01\n",
        b"\xf4\x90\x80\x80",
    ] {
        assert!(!self::loaded(bytes).diagnostics.is_empty(), "{bytes:?}");
    }
}

#[test]
fn macros_cannot_go_in_circles() {
    let mut text = "- macro: a\n  condition: evt.type = open\n- macro: b\n  condition: a\n".to_owned();
    text += "- macro: a\n  condition: b\n";
    let found = errors(&loaded(text.clone() + &rule("r", "a")));
    assert!(found.iter().any(|(code, _)| *code == "RMP0104"), "{found:?}");
    let known: Vec<String> = (0..2_000)
        .map(|n| {
            format!(
                "- macro: m{n}
  condition: evt.type = open
"
            )
        })
        .collect();
    let mut ring = known.concat();
    for n in 0..2_000 {
        writeln!(ring, "- macro: m{n}\n  condition: m{} or m{}", (n + 1) % 2_000, (n + 7) % 2_000).unwrap();
    }
    assert!(!errors(&loaded(ring + &rule("r", "m0"))).is_empty());
}

#[test]
fn ten_thousand_rules_load_and_ten_thousand_faults_end() {
    let good: String = (0..10_000)
        .map(|n| rule(&format!("r{n}"), &format!("evt.type = open and proc.name = p{n}")))
        .collect();
    assert_eq!(loaded(good).rules.unwrap().rules().len(), 10_000);
    let bad: String = (0..10_000)
        .map(|n| rule(&format!("r{n}"), &format!("evt.type = open and proc.nme = p{n}")))
        .collect();
    let bad = loaded(bad);
    assert_eq!((bad.rules.is_none(), bad.diagnostics.len()), (true, 1000));
    let undefined: String = (0..5_000)
        .map(|n| {
            format!("- macro: macro_{n}\n  condition: evt.type = open\n")
                + &rule(&format!("r{n}"), &format!("macros_{n}"))
        })
        .collect();
    assert_eq!(loaded(undefined).diagnostics.len(), 1000);
}
