//! Lints, one by one: what they tell, and what they must not tell.

use super::*;
use crate::{
    diagnostic::{Code, code, render},
    load::{LoadOptions, Source, load},
};

fn rule(name: &str, condition: &str) -> String {
    format!("- rule: {name}\n  desc: d\n  condition: {condition}\n  output: o\n  priority: INFO\n")
}

fn found(text: &str, lints: Lints) -> Vec<Diagnostic> {
    let source = Source { name: "t.yaml".to_owned(), text: text.into() };
    let loaded = load(&[source], &LoadOptions { lints, ..LoadOptions::default() });
    assert!(loaded.rules.is_some(), "{text}: {:?}", loaded.diagnostics);
    // Most conditions here name no event type.
    loaded.diagnostics.into_iter().filter(|finding| finding.code != code::TOO_MANY_EVENTS).collect()
}

/// Codes of the default lints on one condition.
fn lints(condition: &str) -> Vec<Code> {
    found(&rule("r", condition), Lints::Default).iter().map(|finding| finding.code).collect()
}

#[test]
fn contradictions_are_told() {
    for condition in [
        "evt.type=open and evt.type=connect",
        "evt.type in (open, openat) and evt.type in (connect, accept)",
        "evt.type=open and (evt.type=connect or evt.type=accept)",
        "proc.name=a and proc.name=b",
        "proc.name=a and proc.name!=a",
        "proc.name in (a, b) and proc.name startswith c",
        "proc.name contains x and not proc.name contains x",
        "not proc.name exists and proc.name exists",
        "fd.num<0 and fd.num>=0",
        "fd.num<3 and fd.num=5",
        "not fd.num<3 and fd.num=2",
        "user.uid<0",
        "fd.name startswith /etc and fd.name startswith /var",
        "fd.name startswith /etc/a and not fd.name startswith /etc",
        "fd.name endswith .so and fd.name endswith .txt",
        "fd.sip=192.0.2.1 and fd.sip=192.0.2.2",
        "proc.aname=a and not proc.aname=a",
        "proc.name=val(proc.pname) and proc.name!=val(proc.pname) and not proc.name=val(proc.pname)",
    ] {
        assert_eq!(lints(condition), [code::NEVER_TRUE], "{condition}");
    }
}

#[test]
fn what_may_hold_is_not_called_a_contradiction() {
    for condition in [
        // Holds when the field is missing.
        "not proc.pname=a and not proc.pname!=a",
        "not fd.num<0 and not fd.num>=0",
        // Any of several ancestors, either side of a socket.
        "proc.aname=a and proc.aname=b",
        "proc.aname=a and proc.aname!=a",
        "fd.ip=192.0.2.1 and fd.ip=192.0.2.2",
        "fd.port=1 and fd.port=2",
        "fd.snet=10.0.0.0/8 and fd.snet=10.1.0.0/16",
        "proc.name=a or proc.name=b",
        "proc.name in (a, b) and proc.name in (b, c)",
        "fd.num<=3 and fd.num>=3",
        "fd.name startswith /etc and fd.name startswith /etc/a",
        "fd.name startswith /etc and not fd.name startswith /etc/a",
        "proc.args[0]=a and proc.args[1]=b",
        "proc.env[A]=a and proc.env[B]=b",
        "proc.pname exists and not proc.pname=a",
        "proc.pid=1 and not proc.pid=val(proc.ppid)",
        "evt.type=open and not evt.type=connect",
        // Written to be constant.
        "evt.type=open and evt.num=0",
        "evt.type=open and evt.num>=0",
        "evt.type=open and proc.name in ()",
        "evt.type=open and not proc.name in ()",
        "util.cnt=1 and util.cnt=2",
    ] {
        assert_eq!(lints(condition), [], "{condition}");
    }
}

#[test]
fn what_excludes_nothing_is_told() {
    for condition in [
        "proc.name!=a or proc.name!=b",
        "not proc.name=a or not proc.name=b",
        "evt.type!=open or evt.type!=connect",
        "proc.name contains a or not proc.name contains a",
        "fd.num<0 or fd.num>=0",
    ] {
        assert_eq!(lints(condition), [code::ALWAYS_TRUE], "{condition}");
    }
    assert_eq!(lints("proc.name=a or proc.name!=b"), []);
    let message = |condition| found(&rule("r", condition), Lints::Default).remove(0).message;
    assert!(message("proc.name!=a or proc.name!=b").ends_with("always true, unless `proc.name` is missing"));
    assert!(message("not proc.name=a or not proc.name=b").ends_with("always true"));
}

#[test]
fn parts_are_told_where_they_stand() {
    let text = rule("r", "evt.type=open and (proc.name=x or (fd.num<0 and fd.num>5))");
    let found = found(&text, Lints::Default);
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].code, found[0].labels.len()), (code::FIXED_PART, 1));
    assert_eq!(&text[found[0].span.unwrap().start as usize..][..8], "fd.num>5");
}

#[test]
fn fields_that_events_never_have_are_told() {
    for condition in [
        "evt.type=open and fd.sip=192.0.2.1",
        "evt.type in (open, openat, openat2) and fd.rport=1",
        "evt.type=execve and fd.name=/x",
        "evt.type=connect and evt.arg.flags contains x",
        "evt.type=close and evt.arg[2]=x",
        "evt.type=open and not evt.arg.target=x",
        "evt.type=chdir and evt.buffer contains x",
        "evt.type=open and proc.name=val(evt.arg.target)",
        "(evt.type=open and fd.sip=192.0.2.1) or (evt.type=connect and fd.sip=192.0.2.2)",
    ] {
        assert_eq!(lints(condition), [code::FIELD_NEVER_SET], "{condition}");
    }
    for condition in [
        "evt.type in (open, connect) and fd.sip=192.0.2.1",
        "evt.type=dup and fd.sip=192.0.2.1",
        "evt.type=symlinkat and evt.arg.target=x",
        "fd.sip=192.0.2.1",
        "evt.type!=open and fd.sip=192.0.2.1",
        "(evt.type=open and fd.name=/x) or (evt.type=connect and fd.sip=192.0.2.2)",
    ] {
        assert_eq!(lints(condition), [], "{condition}");
    }
}

#[test]
fn expensive_patterns_are_told() {
    let regex = |pattern: &str| lints(&format!("'evt.type=execve and proc.cmdline regex \"{pattern}\"'"));
    for pattern in ["(a+)+x", "(a*b?)*", "([a-z]+|x)*y", "[ab]{4000}", "[à-ž]{900}"] {
        assert_eq!(regex(pattern), [code::COSTLY_REGEX], "{pattern}");
    }
    for pattern in ["(/[a-z]+)+", "a+b*", "(ab){2,5}c", "[a-z]{8,64}", ".*(sh|bash)"] {
        assert_eq!(regex(pattern), [], "{pattern}");
    }
    let text = rule("r", "evt.type=execve and proc.cmdline regex '.*(sh|bash)'");
    assert!(found(&text, Lints::All).iter().any(|finding| finding.code == code::COSTLY_REGEX));
}

#[test]
fn shadowed_rules_are_told() {
    for (first, later) in [
        ("evt.type=open and proc.name=a", "evt.type=open and proc.name=a"),
        ("evt.type=open", "evt.type=open and proc.name=a"),
        ("evt.type in (open, openat)", "evt.type=openat"),
        ("evt.type=open and proc.name in (a, b)", "evt.type=open and proc.name=b and fd.num=1"),
        ("evt.type=open and fd.name startswith /etc", "evt.type=open and fd.name=/etc/passwd"),
        ("evt.type=open and fd.name startswith /etc", "evt.type=open and fd.name startswith /etc/ssh"),
        ("evt.type=open and fd.name contains ssh", "evt.type=open and fd.name startswith /etc/ssh"),
        ("evt.type=open and fd.num>1", "evt.type=open and fd.num>=2 and fd.num>5"),
        ("evt.type=open and not proc.name in (a)", "evt.type=open and not proc.name in (a, b)"),
        ("evt.type=open and not proc.name=a", "evt.type=open and proc.name=b"),
        ("evt.type=open and proc.pname exists", "evt.type=open and proc.pname!=b"),
        ("evt.type=open and (proc.name=a or fd.num=1)", "evt.type=open and fd.num=1"),
        ("evt.type=open and proc.aname in (a, b)", "evt.type=open and proc.aname in (a, b) and fd.num=1"),
        ("evt.type=open and proc.name in (a, b)", "evt.type=open and (proc.name=a or proc.name=b)"),
    ] {
        let found = found(&(rule("one", first) + &rule("two", later)), Lints::Default);
        assert_eq!(
            found.iter().map(|finding| finding.code).collect::<Vec<_>>(),
            [code::SHADOWED_RULE],
            "{later}"
        );
        assert_eq!(found[0].item.as_ref().unwrap().name, "two");
    }
}

#[test]
fn rules_that_may_fire_are_not_called_shadowed() {
    for (first, later) in [
        ("evt.type=open and proc.name=a", "evt.type=open"),
        ("evt.type=open", "evt.type in (open, openat)"),
        ("evt.type=open and not proc.pname=a", "evt.type=open and not proc.name=b"),
        ("evt.type=open and proc.name=a", "evt.type=open and proc.pname=a"),
        ("evt.type=open and not proc.name in (a, b)", "evt.type=open and not proc.name in (a)"),
        // A missing value satisfies the negation only.
        ("evt.type=open and proc.pname!=a", "evt.type=open and not proc.pname=a"),
        ("evt.type=open and proc.aname[1]=a", "evt.type=open and proc.aname[2]=a"),
        ("evt.type=open and fd.ip!=192.0.2.1", "evt.type=connect and fd.ip=192.0.2.2"),
        ("evt.type=open and not proc.aname=a", "evt.type=open and proc.aname=b"),
        ("evt.type=open and proc.pid=val(proc.ppid)", "evt.type=open and proc.pid=1"),
    ] {
        let found = found(&(rule("one", first) + &rule("two", later)), Lints::Default);
        assert!(found.iter().all(|finding| finding.code != code::SHADOWED_RULE), "{first} / {later}");
    }
    let disabled = rule("one", "evt.type=open") + "  enabled: false\n" + &rule("two", "evt.type=open");
    assert!(found(&disabled, Lints::Default).is_empty());
    let both = rule("one", "evt.type=open") + &rule("two", "evt.type=open");
    let source = Source { name: "t".to_owned(), text: both.into() };
    let options = LoadOptions { lints: Lints::All, matching: Matching::All, ..LoadOptions::default() };
    let found = load(&[source], &options).diagnostics;
    assert!(found.iter().all(|finding| finding.code != code::SHADOWED_RULE), "every match is reported");
}

#[test]
fn what_the_kernel_cannot_decide_is_a_note() {
    let blamed = |condition: &str| {
        let found = found(&rule("r", condition), Lints::All);
        let finding = found.into_iter().find(|finding| finding.code == code::ONLY_EVENT_TYPE)?;
        assert_eq!(finding.severity, Severity::Note);
        Some(finding.labels.iter().map(|label| label.message.clone()).collect::<Vec<_>>())
    };
    assert_eq!(blamed("evt.type=open"), Some(vec![]));
    assert_eq!(
        blamed("evt.type=open and (fd.name regex 'a.*' or tolower(fd.name)=b)"),
        Some(vec![
            "no part of the path is necessary for it".to_owned(),
            "compares a computed value".to_owned()
        ])
    );
    assert_eq!(
        blamed("evt.type=open and (fd.name=a or fd.realpath contains b)"),
        Some(vec!["is known to the agent only".to_owned()])
    );
    assert_eq!(blamed("evt.type=open and (fd.name contains a or fd.name glob b)"), None);
    assert_eq!(blamed("evt.type=open and evt.arg.flags contains O_CREAT"), None);
    assert_eq!(blamed("evt.type=open and proc.cmdline regex 'a.*b'"), None, "once per process");
}

#[test]
fn redefinitions_are_warnings_in_one_file_and_notes_across_files() {
    let one = "- list: l\n  items: [a]\n";
    let uses = rule("r", "evt.type=open and proc.name in (l)");
    let files = |texts: &[&str]| {
        let sources: Vec<Source> =
            texts.iter().map(|text| Source { name: "t".to_owned(), text: (*text).into() }).collect();
        let options = LoadOptions { lints: Lints::All, ..LoadOptions::default() };
        let found = load(&sources, &options).diagnostics;
        found
            .into_iter()
            .filter(|finding| finding.code == code::REDEFINED)
            .map(|finding| finding.severity)
            .collect()
    };
    let same: Vec<Severity> = files(&[&(one.to_owned() + one + &uses + &uses)]);
    assert_eq!(same, [Severity::Warning, Severity::Warning]);
    assert_eq!(files(&[&(one.to_owned() + &uses), one]), [Severity::Note]);
    let replaced = one.to_owned() + "- list: l\n  items: [b]\n  override: {items: replace}\n" + &uses;
    assert_eq!(files(&[&replaced]), []);
}

#[test]
fn upstream_files_and_our_own_have_no_lint() {
    let own = Source { name: "base.yaml".to_owned(), text: crate::pack::BASE_PACK.into() };
    let mut sets = vec![vec![own]];
    let shared = std::env::var_os("RAMPART_SHARED").map_or_else(
        || std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared"),
        std::path::PathBuf::from,
    );
    let read = |name: &str| {
        let text = std::fs::read(shared.join("falco/rules").join(name)).ok()?;
        Some(Source { name: name.to_owned(), text })
    };
    match (read("falco_rules.yaml"), read("falco-incubating_rules.yaml")) {
        (Some(stable), Some(incubating)) => {
            sets.push(vec![stable.clone()]);
            sets.push(vec![stable, incubating]);
        }
        _ => println!("skipped: the upstream rule files are not there"),
    }
    for sources in sets {
        let options = LoadOptions { lints: Lints::Default, ..LoadOptions::default() };
        let loaded = load(&sources, &options);
        assert_eq!(render::full(&loaded.diagnostics, &loaded.sources), "");
    }
}

#[test]
fn ten_thousand_rules_and_large_conditions_take_bounded_time() {
    let started = std::time::Instant::now();
    let many = (0..10_000).map(|n| {
        rule(&format!("r{n}"), &format!("evt.type=open and proc.name=p{n} and fd.name startswith /d{n}"))
    });
    assert_eq!(found(&many.collect::<String>(), Lints::Default), []);
    // The same field in each, so that every rule is a candidate for every other.
    let alike =
        (0..3_000).map(|n| rule(&format!("r{n}"), &format!("evt.type=open and not proc.name contains p{n}")));
    assert_eq!(found(&alike.collect::<String>(), Lints::Default), []);
    let names: Vec<String> = (0..60_000).map(|n| format!("name{n}")).collect();
    let large = format!("evt.type=open and proc.name in ({})", names.join(", "));
    let tests: Vec<String> = names.iter().take(30_000).map(|name| format!("proc.name!={name}")).collect();
    let long = format!("evt.type=open and {}", tests.join(" and "));
    let text = rule("a", &large) + &rule("b", &large) + &rule("c", &long) + &rule("d", &long);
    let told = found(&text, Lints::Default);
    assert!(told.iter().any(|finding| finding.code == code::SHADOWED_RULE), "{told:?}");
    assert!(started.elapsed().as_secs() < 180, "{:?}", started.elapsed());
}
