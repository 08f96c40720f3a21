//! Plans of rules, and the one property that counts: what the tables call true, the evaluator calls true.

mod soundness;

use std::sync::Arc;

use rampart_common::deny::{Operation, open_class, socket_class};
use rampart_rules::{
    load::{LoadOptions, Source, load},
    rule::RuleSet,
};

use super::{
    plan::Plan,
    tables::{Asked, look},
};

const OPENS: &str = "evt.type in (open, openat, openat2)";

fn compile(rules: &[(&str, &str)]) -> Arc<RuleSet> {
    let rule = |(at, (condition, keys)): (usize, &(&str, &str))| {
        let condition = serde_json::to_string(condition).unwrap();
        format!(
            "- rule: r{at}\n  desc: d\n  condition: {condition}\n  output: o\n  priority: INFO\n  response: deny\n{keys}"
        )
    };
    let text: String = rules.iter().enumerate().map(rule).collect();
    let loaded = load(&[Source { name: "test".into(), text: text.into() }], &LoadOptions::default());
    Arc::new(loaded.rules.unwrap_or_else(|| panic!("{:?}", loaded.diagnostics)))
}

fn plan(conditions: &[&str]) -> Plan {
    let rules: Vec<(&str, &str)> = conditions.iter().map(|condition| (*condition, "")).collect();
    Plan::new(&compile(&rules), true)
}

/// What stands in the way of one rule.
fn obstacles(condition: &str, keys: &str) -> Vec<String> {
    let plan = Plan::new(&compile(&[(condition, keys)]), true);
    plan.reports[0].obstacles.iter().map(|obstacle| format!("{}: {}", obstacle.why, obstacle.fix)).collect()
}

fn name(text: &str) -> [u8; 16] {
    let mut name = [0; 16];
    name[..text.len()].copy_from_slice(text.as_bytes());
    name
}

fn open<'a>(path: &'a str, exe: &'a str) -> Asked<'a> {
    Asked {
        operation: Operation::Open,
        class: open_class(0, false),
        path: path.as_bytes(),
        exe: exe.as_bytes(),
        name: Some(name("cat")),
        user: 1000,
        address: [0; 16],
        port: 0,
    }
}

#[test]
fn a_file_is_refused_to_all_but_some() {
    let condition = format!(
        "{OPENS} and evt.is_open_read = true and fd.num >= 0 and (fd.name startswith /keys/ or fd.name = /etc/key) \
         and not fd.name in (/keys/public, /keys/README) and not proc.exepath in (/usr/bin/signer)"
    );
    let plan = plan(&[&condition]);
    assert_eq!((plan.terms.len(), plan.reports[0].obstacles.len()), (2, 0));
    let refused = |path, exe| plan.tables.terms(&open(path, exe)) != 0;
    for path in ["/keys/a", "/keys/a/b", "/etc/key", "/keys/publi", "/keys/public2", "/keys/"] {
        assert!(refused(path, "/bin/cat"), "{path}");
        assert!(!refused(path, "/usr/bin/signer"), "{path}");
        assert!(refused(path, "/usr/bin/signer2"), "{path}");
    }
    for path in ["/keys", "/keys/public", "/keys/README", "/etc/key2", "/etc/ke", "/", ""] {
        assert!(!refused(path, "/bin/cat"), "{path}");
    }
    let written = Asked { class: open_class(1, false), ..open("/keys/a", "/bin/cat") };
    assert_eq!(plan.tables.terms(&written), 0, "it is not read");
    let unknown = Asked { name: None, ..open("/keys/a", "/bin/cat") };
    assert_ne!(plan.tables.terms(&unknown), 0, "the name does not matter");
    let long = format!("/keys/{}", "x".repeat(400));
    assert!(refused(&long, "/bin/cat"));
}

#[test]
fn names_users_and_addresses_are_told_apart() {
    let plan = plan(&[
        "evt.type in (execve, execveat) and proc.name in (nc, ncat) and not user.uid = 0",
        "evt.type = connect and fd.typechar = 4 and fd.l4proto = tcp and fd.snet in (10.0.0.0/8) and fd.sip != 10.0.0.1 and fd.sport in (443, 80)",
    ]);
    assert!(plan.reports.iter().all(|report| report.obstacles.is_empty()), "{:?}", plan.reports);
    let exec =
        |text, user| Asked { operation: Operation::Exec, name: Some(name(text)), user, ..open("", "/bin/x") };
    let refused = |asked: Asked<'_>| plan.tables.terms(&asked) != 0;
    assert!(refused(exec("nc", 1)) && refused(exec("ncat", 5)));
    assert!(!refused(exec("nc", 0)) && !refused(exec("ncatt", 1)) && !refused(open("/x", "/bin/nc")));
    assert!(!refused(Asked { name: None, ..exec("nc", 1) }));
    let connect = |last: [u8; 4], port, class| Asked {
        operation: Operation::Connect,
        address: std::net::Ipv4Addr::from(last).to_ipv6_mapped().octets(),
        port,
        class,
        ..open("", "/bin/x")
    };
    let tcp = socket_class(false, false, false);
    assert!(refused(connect([10, 9, 9, 9], 443, tcp)) && refused(connect([10, 0, 0, 2], 80, tcp)));
    assert!(refused(connect([10, 9, 9, 9], 443, socket_class(true, true, false))), "it is one of IPv4");
    for (address, port, class) in [
        ([10, 0, 0, 1], 443, tcp),
        ([11, 0, 0, 1], 443, tcp),
        ([10, 0, 0, 2], 22, tcp),
        ([10, 0, 0, 2], 443, socket_class(false, false, true)),
        ([10, 0, 0, 2], 443, socket_class(true, false, false)),
    ] {
        assert!(!refused(connect(address, port, class)), "{address:?} {port} {class}");
    }
}

#[test]
fn what_stands_in_the_way_is_named() {
    let one = |condition: &str, keys: &str| obstacles(condition, keys).join("; ");
    for (condition, why) in [
        (format!("{OPENS} and fd.name = /x and proc.pname = bash"), "`proc.pname` is not certain"),
        (format!("{OPENS} and fd.name contains key"), "is no comparison with a whole path"),
        (format!("{OPENS} and fd.name pmatch (/a/../b)"), "no plain absolute path"),
        (format!("{OPENS} and fd.name = /x and evt.rawres = 5"), "depends on a result"),
        (format!("{OPENS} and tolower(fd.name) = /x"), "compares a computed value"),
        (format!("{OPENS} and fd.name = val(proc.exepath)"), "compares no constants"),
        ("evt.type = openat and fd.name = /x".to_owned(), "the rule is not on open, openat2"),
        ("evt.type = unlinkat".to_owned(), "on no open, exec or connect"),
        (format!("{OPENS} and fd.num < 0"), "it is never true of it"),
    ] {
        let found = one(&condition, "");
        assert!(found.contains(why), "{condition}: {found}");
    }
    let counting = one(&format!("{OPENS} and fd.name = /x"), "  threshold: {count: 3, within: 1m}\n");
    assert!(counting.contains("depends on other events"), "{counting}");
    let either = format!("{OPENS} and (fd.name = /x or fd.name endswith key)");
    let plan = plan(&[&either]);
    assert_eq!(
        (plan.terms.len(), plan.reports[0].obstacles.len()),
        (1, 1),
        "the rest is refused all the same"
    );
    let rules = compile(&[(&format!("{OPENS} and fd.name = /x"), "")]);
    assert!(Plan::new(&rules, false).terms.is_empty(), "the kernel knows no other path than the file's");
}

#[test]
fn there_is_room_for_so_many_and_no_rule_is_forgotten_silently() {
    let conditions: Vec<String> = (0..70).map(|at| format!("{OPENS} and fd.name = /file{at}")).collect();
    let conditions: Vec<&str> = conditions.iter().map(String::as_str).collect();
    let plan = plan(&conditions);
    assert_eq!(plan.terms.len(), 64);
    for (at, report) in plan.reports.iter().enumerate() {
        assert_eq!(report.obstacles.is_empty(), at < 64, "{report:?}");
    }
    for (bit, path) in [(0, "/file0"), (63, "/file63")] {
        assert_eq!(plan.tables.terms(&open(path, "/bin/x")), 1 << bit);
    }
    assert_eq!(look(&plan.tables.paths, b"/file64").terms, 0);
    assert_eq!(Plan::new(&compile(&[]), true), Plan::default(), "nobody asks");
}
