//! What the canonical form is, and that it changes nothing else.

use std::{env, fmt::Write as _, fs, path::PathBuf};

use proptest::prelude::*;

use super::{Source, format};
use crate::{
    load::{LoadOptions, load},
    pack::BASE_PACK,
};

fn formatted(text: &str) -> String {
    let source = Source { name: "t.yaml".to_owned(), text: text.into() };
    format(&source).unwrap_or_else(|refused| panic!("{:?}", refused.diagnostics))
}

/// Everything alerts and evaluation depend on; places aside.
fn meaning(text: &str) -> String {
    let source = Source { name: "t.yaml".to_owned(), text: text.into() };
    let loaded = load(&[source], &LoadOptions::default());
    let mut out = String::new();
    for finding in &loaded.diagnostics {
        writeln!(out, "{} {}", finding.code, finding.message).unwrap();
    }
    // Findings are sorted by place, which may change within an item.
    let mut lines: Vec<&str> = out.lines().collect();
    lines.sort_unstable();
    let mut out = lines.join("\n");
    for rule in loaded.rules.iter().flat_map(|rules| rules.rules().iter().chain(rules.disabled())) {
        let head =
            (&rule.name, &rule.desc, rule.priority, &rule.tags, &rule.source, rule.enabled, &rule.responses);
        writeln!(out, "{head:?}\n{}\n{}", rule.condition_text, rule.output.text()).unwrap();
    }
    out
}

fn comments(text: &str) -> Vec<&str> {
    let mut found: Vec<&str> = text.lines().map(str::trim).filter(|line| line.starts_with('#')).collect();
    found.sort_unstable();
    found
}

fn check(text: &str) -> String {
    let once = formatted(text);
    assert_eq!(formatted(&once), once, "formatting again changes it");
    assert_eq!(meaning(&once), meaning(text));
    assert_eq!(comments(&once), comments(text));
    once
}

#[test]
fn items_get_one_form() {
    let text = "\
# head


-   rule: a
    priority:   INFO   # why
    # about the output
    output:  shown %proc.name
    condition: >
        evt.type=open
        and proc.name in (names)
    desc: \"d\"
    tags: [ x,y ,  z]
  # end of a
- list: names
  items:
    - one
    - 'two'


- macro: m
  condition: (evt.type=open)
";
    let expected = "\
# head

- rule: a
  desc: \"d\"
  condition: >
    evt.type=open
    and proc.name in (names)
  # about the output
  output: shown %proc.name
  priority: INFO # why
  tags: [x, y, z]
  # end of a

- list: names
  items: [one, 'two']

- macro: m
  condition: (evt.type=open)
";
    assert_eq!(check(text), expected);
}

#[test]
fn long_lines_are_broken() {
    let items: Vec<String> = (0..40).map(|number| format!("program-{number}")).collect();
    let checks: Vec<String> = items.iter().map(|item| format!("proc.name={item}")).collect();
    let text = format!(
        "- list: l\n  items: [{}]\n\n- macro: m\n  condition: {}\n",
        items.join(","),
        checks.join(" or ")
    );
    let once = check(&text);
    assert!(once.lines().all(|line| line.len() <= super::print::WIDTH), "{once}");
}

#[test]
fn comments_inside_of_values_stay() {
    let once = check("- list: l\n  items: [ a, # first\n    b ]\n- list: k\n  items:\n    # x\n    - y\n");
    assert!(once.contains("# first\n") && once.contains("    # x\n"), "{once}");
}

#[test]
fn odd_files_stay_as_they_are() {
    for text in [
        "[{list: a, items: [b]}]\n",
        "- list: &a x\n  items: [*a]\n",
        "",
        "# only\n",
        "---\n- list: a\n  items: []\n",
    ] {
        assert_eq!(check(text), text);
    }
    let source = |text: &[u8]| Source { name: "t".to_owned(), text: text.to_vec() };
    assert!(format(&source(b"- a: [\n")).is_err());
    assert!(format(&source(b"a: b\n")).is_err());
    assert!(format(&source(b"- rule: \xff\n")).is_err());
}

#[test]
fn real_files_keep_their_meaning() {
    check(BASE_PACK);
    let shared = env::var_os("RAMPART_SHARED")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared"), PathBuf::from);
    let folder = shared.join("falco/rules");
    let Ok(entries) = fs::read_dir(&folder) else {
        println!("skipped: {} is not there", folder.display());
        return;
    };
    for path in entries.map(|entry| entry.unwrap().path()) {
        if path.extension().is_some_and(|extension| extension == "yaml") {
            check(&fs::read_to_string(path).unwrap());
        }
    }
}

/// Beginnings of an item, each with what stands before its other keys.
const HEADS: [(&str, &str); 4] =
    [("- rule", "  "), ("-   macro", "    "), ("  - list", "    "), ("# c\n- rule", "  ")];

/// A value of a key with blanks and line ends put in where YAML allows them.
fn value() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z.=()%<>,'# -]{0,12}",
        "\"[a-z \\\\n#:]{0,8}\"",
        "\\[ ?[a-z]{1,3} ?(, ?'?[a-z#]{1,3}){0,30}\\]",
        "[>|][-+]?\n {4,6}[a-z #:]{1,10}\n    [a-z]{1,4}\n{0,2}",
        "\n    - [a-z]{1,3}\n    - \\{[a-z]: [a-z]\\}",
        "\n    [a-z]{1,4}: [a-z]{1,4} # c\n    [A-Z]: >-\n      x",
    ]
}

proptest! {
    #[test]
    fn any_file_that_reads_is_formatted_once(
        items in prop::collection::vec(
            (prop::sample::select(HEADS.to_vec()),
             prop::collection::vec((prop::sample::select(vec!["desc", "condition", "items", "output", "x"]), value()), 0..4),
             "[ ]{0,3}(#[a-z]{0,3})?\n{1,3}"),
            0..4)
    ) {
        let mut text = String::new();
        for ((head, margin), keys, gap) in items {
            writeln!(text, "{head}: n").unwrap();
            for (key, value) in keys {
                writeln!(text, "{margin}{key}: {value}").unwrap();
            }
            text += &gap;
        }
        let source = Source { name: "t".to_owned(), text: text.clone().into() };
        if let Ok(once) = format(&source) {
            prop_assert_eq!(formatted(&once), once.clone(), "formatting {:?} again", text);
            prop_assert_eq!(meaning(&once), meaning(&text), "{:?}", text);
        }
    }
}
