//! Tests of the test runner.

use super::{Source, Tested, run};
use crate::{
    diagnostic::render,
    load::{LoadOptions, load},
    pack::BASE_PACK,
    rule::RuleSet,
};

const RULES: &str = "\
- rule: shell
  desc: d
  condition: evt.type in (execve, execveat) and proc.name in (sh, bash) and proc.aname=nginx
  output: shell %proc.name of %proc.pname
  priority: INFO
- rule: other
  desc: d
  condition: evt.type=connect and fd.ip=192.0.2.1
  output: o
  priority: INFO
";

fn rules(text: &str) -> RuleSet {
    load(&[Source { name: "r".to_owned(), text: text.into() }], &LoadOptions::default()).rules.unwrap()
}

fn tested(text: &str) -> Tested {
    run(&rules(RULES), &Source { name: "t.yaml".to_owned(), text: text.into() })
}

#[test]
fn events_are_tried_and_counted() {
    let result = tested(
        "\
- rule: shell
  matches:
    - {evt.type: execve, proc.name: sh, proc.aname: [cron, nginx]}
    - event: {evt.type: execve, proc.name: sh, proc.pname: x, proc.aname: nginx}
      output: shell sh of x
  ignores:
    - {evt.type: open, proc.name: sh, proc.aname: nginx}
- rule: other
  matches:
    - {evt.type: connect, fd.ip: [10.0.0.1, 192.0.2.1]}
",
    );
    assert!(result.passed(), "{result:?}");
    let counts: Vec<_> = result.rules.iter().map(|rule| (rule.matches, rule.ignores, rule.failed)).collect();
    assert_eq!(counts, [(2, 1, 0), (1, 0, 0)]);
}

#[test]
fn failures_say_what_decided() {
    let result = tested(
        "\
- rule: shell
  matches:
    - {evt.type: execve, proc.name: zsh, proc.aname: nginx}
    - event: {evt.type: execve, proc.name: sh, proc.aname: nginx}
      output: something else
  ignores:
    - {evt.type: execve, proc.name: sh, proc.pname: p, proc.aname: nginx}
",
    );
    assert!(!result.passed());
    let [missed, text, noise] = result.failures.as_slice() else { panic!("{:?}", result.failures) };
    assert_eq!((missed.expected.as_str(), missed.got.as_str()), ("an alert", "silence"));
    assert_eq!(missed.because, ["proc.name in (sh, bash)   [proc.name = zsh]"]);
    assert_eq!(result.sources.locate(missed.span).unwrap().line, 3);
    assert_eq!(text.expected, "an alert: something else");
    assert_eq!(text.got, "an alert: shell sh of <NA>");
    assert_eq!((noise.expected.as_str(), noise.got.as_str()), ("silence", "an alert: shell sh of p"));
    assert_eq!(result.rules[0].failed, 3);
    assert!(!result.rules[1].is_tested());
}

#[test]
fn mistakes_have_a_place() {
    let result = tested(
        "\
- rule: shel
  matches: []
- rule: shell
  match: []
  matches:
    - {evt.type: execve, proc.nme: x}
    - {evt.type: nothing}
    - {proc.name: x}
    - {evt.type: execve, proc.pid: many}
    - nonsense
- x
",
    );
    let shown = render::concise(&result.diagnostics, &result.sources);
    let lines: Vec<&str> = shown.lines().collect();
    for (line, place) in lines.iter().zip(["1:9", "4:3", "6:26", "7:18", "8:7", "9:36", "10:7", "11:3"]) {
        assert!(line.starts_with(&format!("t.yaml:{place}: error")), "{shown}");
    }
    assert_eq!(lines.len(), 8, "{shown}");
    assert!(!result.passed());
    assert!(!tested("a: b\n").passed() && !tested("- [\n").passed());
}

#[test]
fn the_base_pack_passes_its_tests() {
    let text = include_str!("../../packs/tests/base.yaml");
    let result = run(&rules(BASE_PACK), &Source { name: "base.yaml".to_owned(), text: text.into() });
    assert!(result.passed(), "{result:?}");
    assert!(result.rules.iter().all(|rule| rule.matches > 0 && rule.ignores > 0));
}
