//! Plans over the real rules and over random ones.

mod condition;
mod event;
mod kernel;
#[path = "tests/process.rs"]
mod processes;
mod readme;
mod soundness;
mod streams;

use std::{mem::offset_of, net::Ipv4Addr, sync::Arc};

use rampart_common::event::Family;
use rampart_common::pushdown::{
    Automaton, CLASS_FAILED, CLASS_PATH, CLASS_SOCKET, CLASS_VERBATIM, CallKey, END, OUTPUTS, TRANSITIONS,
    Tables, both, is_none,
};
use rampart_rules::{
    catalog::{Class, FIELDS, FieldId},
    lint::changes_while_running,
    load::{LoadOptions, Source, load},
    rule::RuleSet,
    set::{Set, Sets},
    value::FieldArg,
};

use super::{
    Plan,
    explain::Decision,
    process::{Scope, scope},
};
use crate::{
    engine::{fields::fillable, shed::Shed},
    event::syscall::{self, SyscallTable},
    shared_facts,
};

fn compile(text: &str) -> Arc<RuleSet> {
    let loaded = load(&[Source { name: "test".into(), text: text.into() }], &LoadOptions::default());
    Arc::new(loaded.rules.unwrap_or_else(|| panic!("{:?}", loaded.diagnostics)))
}

fn upstream() -> Option<Arc<RuleSet>> {
    let root = shared_facts::root()?;
    let text = std::fs::read_to_string(root.join("falco/rules/falco_rules.yaml")).ok()?;
    Some(compile(&text))
}

#[test]
fn upstreams_rules_fit_the_tables() {
    let Some(rules) = upstream() else {
        println!("skipped: no upstream rules beside the workspace");
        return;
    };
    let plan = Plan::new(rules, 1);
    println!("{:?}", plan.size());
    for (position, rule) in plan.policy().rules().iter().enumerate() {
        assert!(!plan.report(position).is_empty(), "{} is on no event", rule.name);
    }
}

/// The names of the rules that may match when this is known of a call.
fn candidates(plan: &Plan, key: CallKey) -> Vec<String> {
    let family = SyscallTable::new().number(u32::from(key.syscall)).unwrap().family;
    let mask = plan.mask_of(&CallKey { generation: plan.generation(), ..key });
    plan.rules(family, &mask).map(|rule| rule.name.clone()).collect()
}

fn open(plan: &Plan, path: &str, flags: i32) -> CallKey {
    CallKey {
        syscall: libc::SYS_openat as u16,
        class: CLASS_PATH | CLASS_VERBATIM,
        numbers: [flags as u64, 0, 0],
        signature: plan.signature(path.as_bytes()),
        ..CallKey::default()
    }
}

fn socket(
    plan: &Plan,
    call: i64,
    failed: bool,
    local: (&str, u16),
    remote: (&str, u16),
    role: u8,
) -> CallKey {
    let class = |(address, port): (&str, u16)| {
        let address = plan.classes.address_class(address.parse().unwrap());
        u64::from(address) | u64::from(plan.port_class(port)) << 16
    };
    let facts = libc::AF_INET as u64 | (libc::SOCK_STREAM as u64) << 16 | 6 << 32 | u64::from(role) << 48;
    CallKey {
        syscall: call as u16,
        class: CLASS_SOCKET | if failed { CLASS_FAILED } else { 0 },
        numbers: [facts, class(local) | class(remote) << 32, 0],
        ..CallKey::default()
    }
}

#[test]
fn the_daily_work_of_a_node_is_no_candidate() {
    let Some(rules) = upstream() else {
        println!("skipped: no upstream rules beside the workspace");
        return;
    };
    let plan = Plan::new(rules, 1);
    let (host, server) = (("127.0.0.1", 45_000), ("127.0.0.1", 80));
    for (what, key) in [
        ("header", open(&plan, "/usr/include/stdio.h", libc::O_RDONLY | libc::O_NOCTTY)),
        ("cache", open(&plan, "/etc/ld.so.cache", libc::O_RDONLY | libc::O_CLOEXEC)),
        ("object", open(&plan, "/tmp/cc1.o", libc::O_RDWR | libc::O_CREAT | libc::O_EXCL)),
        ("accept", socket(&plan, libc::SYS_accept4, false, server, host, 1)),
        (
            "no accept",
            CallKey { syscall: libc::SYS_accept4 as u16, class: CLASS_FAILED, ..CallKey::default() },
        ),
        ("recvfrom", socket(&plan, libc::SYS_recvfrom, false, server, host, 1)),
        ("no recvfrom", socket(&plan, libc::SYS_recvfrom, true, server, host, 1)),
        ("sendto", socket(&plan, libc::SYS_sendto, false, server, host, 1)),
        ("sendmsg", socket(&plan, libc::SYS_sendmsg, false, server, host, 1)),
        ("connect", socket(&plan, libc::SYS_connect, false, host, server, 2)),
        ("no connect", socket(&plan, libc::SYS_connect, true, host, server, 2)),
    ] {
        let mut left = candidates(&plan, key);
        // A connect is about the address that the program gave, which the agent sees. The process rules these out.
        let by_process =
            ["Contact K8S API Server From Container", "Disallowed SSH Connection Non Standard Port"];
        left.retain(|rule| !(what.ends_with("connect") && by_process.contains(&rule.as_str())));
        assert_eq!(left, [""; 0], "{what}");
    }
}

#[test]
fn a_plan_without_rules_is_the_whole_plan_less_their_bits() {
    let rules = compile(rampart_rules::pack::BASE_PACK);
    let whole = Plan::new(Arc::clone(&rules), 1);
    let mut shed = Shed::default();
    for rule in (0..rules.rules().len()).step_by(2) {
        shed.add(Family::Open, rule);
        shed.add(Family::Exec, rule + 1);
    }
    let plan = Plan::without(Arc::clone(&rules), 1, Arc::new(shed.clone()));
    let (mut removed, mut left) = (0, 0);
    for row in syscall::rows() {
        let Some(number) = row.number else { continue };
        let key = CallKey { generation: 1, syscall: number as u16, ..CallKey::default() };
        for class in [0, CLASS_FAILED, CLASS_PATH | CLASS_VERBATIM] {
            let key = CallKey { class, ..key };
            let names = |plan: &Plan, shed: &Shed| -> Vec<String> {
                let mask = plan.mask_of(&key);
                let all = rules.rules().iter().enumerate();
                let among = all.filter(|(at, _)| {
                    plan.bits.bit(*at, row.family).is_some()
                        && plan.bits.contains(row.family, &mask, *at)
                        && !shed.contains(row.family, *at)
                });
                among.map(|(_, rule)| rule.name.clone()).collect()
            };
            let expected = names(&whole, &shed);
            assert_eq!(names(&plan, &Shed::default()), expected, "{number} {class}");
            removed += names(&whole, &Shed::default()).len() - expected.len();
            left += expected.len();
        }
    }
    assert!(removed > 0 && left > 0, "{removed} {left}");
}

#[test]
fn fields_that_change_while_a_process_runs_are_those_the_lint_says() {
    for (field, at) in FIELDS.iter().zip(0..) {
        let id = FieldId(at);
        let class = matches!(field.class, Class::Process | Class::User | Class::Group | Class::Container);
        if class && fillable(id) {
            let changes = scope(id, FieldArg::None) == Scope::Event;
            assert_eq!(changes, changes_while_running(id), "{}", field.name);
        }
    }
}

/// The walk in userspace takes the steps that the kernel programs take.
#[test]
fn the_image_is_the_table_that_the_programs_walk() {
    let plan = Plan::new(soundness::rule_set(&[
        "evt.type = open and (fd.name = /etc/shadow or fd.name contains .ssh or fd.filename startswith id_)".to_owned(),
        "evt.type = open and (fd.directory = /tmp or fd.nameraw endswith x or fd.name startswith /dev/)".to_owned(),
    ]), 2);
    #[expect(clippy::large_stack_arrays, reason = "the thread has a stack for it")]
    let walk = move || {
        let mut table = Automaton {
            start: 0,
            first_output: 0,
            shift: 0,
            pad: 0,
            verbatim: [0; 2],
            classes: [0; 256],
            outputs: [[0; 2]; OUTPUTS],
            transitions: [0; TRANSITIONS],
        };
        let bytes: Vec<u8> = plan.image().iter().flat_map(|word| word.to_ne_bytes()).collect();
        let at = |field: usize| &bytes[offset_of!(Tables, paths) + field..];
        let number = |field: usize| u32::from_ne_bytes(*at(field).first_chunk().unwrap());
        let word = |field: usize| u64::from_ne_bytes(*at(field).first_chunk().unwrap());
        table.start = number(offset_of!(Automaton, start));
        table.first_output = number(offset_of!(Automaton, first_output));
        table.shift = number(offset_of!(Automaton, shift));
        table.classes = *at(offset_of!(Automaton, classes)).first_chunk().unwrap();
        for (place, output) in table.outputs.iter_mut().enumerate() {
            *output = [0, 8].map(|half| word(offset_of!(Automaton, outputs) + place * 16 + half));
        }
        let transitions = at(offset_of!(Automaton, transitions)).as_chunks::<2>().0;
        for (to, from) in table.transitions.iter_mut().zip(transitions) {
            *to = u16::from_ne_bytes(*from);
        }
        let mut hits = 0;
        for path in event::PATHS {
            let mut state = table.start;
            let mut found = [0; 2];
            for byte in path.bytes().rev().chain([END]) {
                state = table.step(state, byte);
                if let Some(output) = table.output(state) {
                    found = [found[0] | output[0], found[1] | output[1]];
                }
            }
            assert_eq!(found, plan.signature(path.as_bytes()), "{path}");
            hits += u32::from(found != [0; 2]);
        }
        assert!(hits > 3, "only {hits} paths hold a string");
    };
    std::thread::Builder::new().stack_size(32 << 20).spawn(walk).unwrap().join().unwrap();
}

#[test]
fn strings_that_do_not_fit_are_cut_and_still_found() {
    // Far more text than the table holds.
    let name = |at: u32| format!("/{}/{:x}", "abcdefghij".repeat(12), at.wrapping_mul(2_654_435_761));
    let conditions: Vec<String> = (0..40u32)
        .map(|rule| {
            let names: Vec<String> = (0..40).map(|at| name(rule * 40 + at)).collect();
            format!("evt.type = openat and fd.name in ({})", names.join(", "))
        })
        .collect();
    let plan = Plan::new(soundness::rule_set(&conditions), 3);
    assert!(plan.size().states << 5 <= TRANSITIONS, "{:?}", plan.size());
    assert!(plan.report(0)[0].cut);
    for rule in [0, 7, 39] {
        let left = candidates(&plan, open(&plan, &name(rule * 40 + 3), 0));
        assert!(left.contains(&format!("r{rule}")), "{left:?}");
    }
    assert_eq!(candidates(&plan, open(&plan, "/etc/ld.so.cache", 0)), [""; 0]);
}

#[test]
fn networks_that_do_not_fit_are_not_told_apart() {
    let nets: Vec<String> = (0..40_000u32).map(|at| format!("10.{}.{}.0/24", at / 250, at % 250)).collect();
    let plan = Plan::new(
        soundness::rule_set(&[format!("evt.type = connect and fd.snet in ({})", nets.join(", "))]),
        1,
    );
    assert_eq!(plan.addresses().len(), 1);
    let key = socket(&plan, libc::SYS_connect, false, ("127.0.0.1", 40_000), ("8.8.8.8", 80), 2);
    assert_eq!(candidates(&plan, key), ["r0"], "nothing is known of any address");
}

#[test]
fn lists_are_told_apart_as_far_as_the_table_has_room() {
    let set = |name: &str, first: u8, count: u32| {
        let bits = move |at: u32| u32::from(first) << 24 | at << 1;
        Arc::new(Set::networks(name, 1, (0..count).map(move |at| (Ipv4Addr::from_bits(bits(at)).into(), 32))))
    };
    let text = "- {rule: small, desc: d, condition: evt.type = sendto and fd.rip in (small), output: o, priority: INFO}\n\
                - {rule: large, desc: d, condition: evt.type = sendto and fd.rip in (large), output: o, priority: INFO}\n\
                - {rule: both, desc: d, condition: \"evt.type = sendto and fd.rip in (small, large, 8.8.4.4)\", output: o, priority: INFO}\n\
                - {rule: other, desc: d, condition: evt.type = sendto and fd.rip = 8.8.4.4, output: o, priority: INFO}\n";
    let options = LoadOptions {
        sets: Sets::new([set("small", 11, 20_000), set("large", 12, 60_000)]),
        ..LoadOptions::default()
    };
    let loaded = load(&[Source { name: "test".into(), text: text.into() }], &options);
    let plan = Plan::new(Arc::new(loaded.rules.unwrap()), 1);
    assert!(plan.addresses().len() < 20_010, "{}", plan.addresses().len());
    let left = |address: &str| {
        let key = socket(&plan, libc::SYS_sendto, false, ("127.0.0.1", 40_000), (address, 80), 2);
        candidates(&plan, key)
    };
    // The agent looks into the list that has no room, whatever the address; the others are decided.
    assert_eq!(left("11.0.0.2"), ["small", "large", "both"]);
    assert_eq!(left("11.0.0.3"), ["large", "both"]);
    assert_eq!(left("12.0.0.2"), ["large", "both"]);
    assert_eq!(left("8.8.4.4"), ["large", "both", "other"]);
    let decision = |rule: usize| {
        let report = plan.report(rule);
        report[0].comparisons.iter().map(|(text, decision)| (text.clone(), *decision)).collect::<Vec<_>>()
    };
    assert!(decision(0).contains(&("fd.rip = small of 20000 members".to_owned(), Decision::Socket)));
    assert!(decision(1).contains(&("fd.rip = large of 60000 members".to_owned(), Decision::LargeList)));
}

#[test]
fn paths_that_upstream_cannot_show_are_not_decided_by_it() {
    let text = "- {rule: r0, desc: d, condition: evt.type = openat and not fd.name startswith /etc/, output: o, \
                priority: INFO}\n";
    for (strict, expected) in [(false, &[][..]), (true, &["r0"][..])] {
        let options = LoadOptions { strict_falco: strict, ..LoadOptions::default() };
        let loaded = load(&[Source { name: "test".into(), text: text.into() }], &options);
        let plan = Plan::new(Arc::new(loaded.rules.unwrap()), 1);
        // Longer than what upstream joins, its placeholder is not below `/etc`.
        assert_eq!(candidates(&plan, open(&plan, "/etc/shadow", 0)), expected);
    }
}

#[test]
fn rules_on_the_place_in_the_stream_stop_all_rejection() {
    let never = |conditions: &[&str], call: i64| {
        let conditions: Vec<String> = conditions.iter().map(|text| (*text).to_owned()).collect();
        let plan = Plan::new(soundness::rule_set(&conditions), 1);
        plan.never(SyscallTable::new().number(call as u32).unwrap())
    };
    assert!(!never(&["evt.type = open and evt.num > 0"], libc::SYS_open), "always so");
    assert!(never(&["evt.type = open and evt.num > 5"], libc::SYS_openat));
    assert!(never(&["evt.type = open and evt.deltatime > 5"], libc::SYS_openat));
    assert!(never(&["evt.type = open"], libc::SYS_chdir), "the state needs it");
}

#[test]
fn datagrams_that_the_agent_remembers_are_sent_for_it() {
    let of = |condition: &str| Plan::new(soundness::rule_set(&[condition.to_owned()]), 1);
    let remembers = of("evt.type in (sendto, accept4) and fd.name_changed = true and proc.name = none");
    let forgets = of("evt.type in (sendto, accept4) and fd.is_server = true and proc.name = none");
    let ends = (("10.0.0.1", 40_000), ("0.0.0.0", 0));
    let left = |plan: &Plan, kind: i32, call: i64, failed: bool| {
        let mut key = socket(plan, call, failed, ends.0, ends.1, 0);
        key.numbers[0] = libc::AF_INET as u64 | (kind as u64) << 16;
        let call = plan.mask_of(&CallKey { generation: 1, ..key });
        // No process runs a program of that name.
        let process = plan.bits.mask(Family::Net, plan.needs_peers.then_some(1).into_iter());
        !is_none(&both(&call, &process))
    };
    assert!(left(&remembers, libc::SOCK_DGRAM, libc::SYS_sendto, false));
    assert!(!left(&remembers, libc::SOCK_STREAM, libc::SYS_sendto, false));
    assert!(!left(&remembers, libc::SOCK_DGRAM, libc::SYS_sendto, true));
    assert!(!left(&remembers, libc::SOCK_DGRAM, libc::SYS_accept4, false));
    assert!(!left(&forgets, libc::SOCK_DGRAM, libc::SYS_sendto, false));
}
