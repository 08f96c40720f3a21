//! Tests of the test runner.

use super::{Source, Tested, run};
use crate::{
    catalog::event_ids,
    diagnostic::render,
    load::{LoadOptions, load},
    pack::BASE_PACK,
    rule::RuleSet,
    unit::{call, event::Event},
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

/// Fields that follow from a call, shown by a rule that matches every event.
fn shown(call: &str, fields: &str) -> String {
    let rule = "- rule: all\n  desc: d\n  condition: evt.num > 5\n  priority: INFO\n  warn_evttypes: false\n  output: ";
    let rules = rules(&format!("{rule}'{fields}'\n"));
    let mut event = Event::new(event_ids::OPEN);
    event.fill(&call::parse(call).unwrap_or_else(|error| panic!("{call}: {error}")));
    let mut out = String::new();
    rules.rules()[0].output.render(&event, &mut out);
    out
}

#[test]
fn fields_follow_from_calls() {
    for (call, fields, expected) in [
        (
            "open(\"/etc/../etc//shadow\", O_RDONLY) = 3",
            "%evt.type %fd.num %fd.name %fd.nameraw %fd.directory %fd.filename %fd.typechar %evt.arg.name",
            "open 3 /etc/shadow /etc/../etc/shadow /etc shadow f /etc/../etc//shadow",
        ),
        (
            "openat(AT_FDCWD, \"x\", O_RDWR|O_CREAT, 0755) = 4",
            "%evt.is_open_read %evt.is_open_write %evt.is_open_exec %evt.arg.flags %evt.arg.mode %evt.arg.fd",
            "true true true O_RDWR|O_CREAT 0755 <f>x",
        ),
        (
            "open(\"/x\", O_WRONLY) = -1 EACCES",
            "%fd.num %fd.name %evt.res %evt.rawres %evt.rawarg.fd %evt.failed %fs.path.name",
            "-1 /x EACCES -13 -13 true <NA>",
        ),
        (
            "execve(\"/usr/bin/a-very-long-name\", [\"x\", \"-c\", \"id\"], [\"HOME=/root\"]) = 0",
            "%proc.name|%proc.exe|%proc.exepath|%proc.args|%proc.cmdline|%proc.args[1]|%proc.env[HOME]",
            "a-very-long-nam|x|/usr/bin/a-very-long-name|-c id|a-very-long-nam -c id|id|/root",
        ),
        (
            "connect(3, 10.0.0.5:4000->192.0.2.7:443) = 0",
            "%fd.num %fd.name %fd.cip %fd.sport %fd.lip %fd.rip %fd.type %fd.l4proto %fd.connected %evt.arg.addr",
            "3 10.0.0.5:4000->192.0.2.7:443 10.0.0.5 443 10.0.0.5 192.0.2.7 ipv4 tcp true 10.0.0.5:4000->192.0.2.7:443",
        ),
        (
            "accept(10.0.0.5:4000->192.0.2.7:443) = 9",
            "%fd.num %fd.lip %fd.rip %fd.is_server",
            "9 192.0.2.7 10.0.0.5 true",
        ),
        (
            "chmod(\"/x\", 04755) = 0",
            "%evt.arg.mode",
            "S_IXOTH|S_IROTH|S_IXGRP|S_IRGRP|S_IXUSR|S_IWUSR|S_IRUSR|S_ISUID",
        ),
        (
            "symlink(\"../t\", \"/a/b/l\") = 0",
            "%fs.path.source %fs.path.target %fs.path.targetraw",
            "/a/b/l /a/t ../t",
        ),
        ("linkat(AT_FDCWD, \"/a\", AT_FDCWD, \"/b\", 0) = 0", "%fs.path.source %fs.path.target", "/b /a"),
        ("write(1, \"abc\", 3) = 3", "%evt.is_io_write %evt.io_dir %evt.buflen %fd.num", "true w 3 1"),
        ("socket(AF_PACKET, 3, 768) = 5", "%evt.arg.domain %fd.num %fd.type", "AF_PACKET 5 <NA>"),
        (
            "ptrace(PTRACE_ATTACH, 77) = 0",
            "%evt.arg.request %evt.arg.pid %evt.res",
            "PTRACE_ATTACH 77 SUCCESS",
        ),
        ("dup2(4, 1) = 1", "%evt.arg.oldfd %evt.arg.newfd %fd.num", "4 1 1"),
    ] {
        assert_eq!(shown(call, fields), expected, "{call}");
    }
}

#[test]
fn calls_stand_in_for_the_event_type() {
    let result = tested(
        "\
- rule: shell
  matches:
    - {call: 'execve(\"/bin/sh\", [\"sh\"]) = 0', proc.aname: [nginx]}
    - event: {call: 'execve(\"/bin/sh\")', proc.name: bash, proc.pname: x, proc.aname: nginx}
      output: shell bash of x
  ignores:
    - {call: 'execve(\"/bin/sh\") = -1 ENOENT', proc.aname: nginx}
- rule: other
  matches:
    - {call: 'connect(3, 192.0.2.1:80) = 0'}
",
    );
    assert!(result.passed(), "{result:?}");
    let result = tested(
        "\
- rule: other
  matches:
    - {call: 'conect(3, 192.0.2.1:80) = 0'}
    - {call: connect(3), evt.type: connect}
    - {proc.name: x}
",
    );
    let shown = render::concise(&result.diagnostics, &result.sources);
    assert!(shown.contains("t.yaml:3:15") && shown.contains("unknown event type `conect`"), "{shown}");
    assert!(shown.contains("t.yaml:4:36") && shown.contains("must not stand beside it"), "{shown}");
    assert!(shown.contains("event has no `evt.type`"), "{shown}");
    assert_eq!(result.diagnostics[0].help.as_deref(), Some("did you mean `connect`?"));
    assert_eq!(result.rules[1].matches, 0);
}
