//! What the tables call true is true: random conditions on random operations, against the evaluator of rules on the event
//! that the operation would give.

use std::net::Ipv4Addr;

use bumpalo::Bump;
use proptest::{collection::vec, prelude::*, test_runner::TestRunner};
use rampart_common::{
    deny::{Operation, open_class, socket_class},
    event::{AttrTag, EXTRA_OPEN_HOW, EventKind, FileFacts, SocketFacts},
};
use rampart_rules::{rule::RuleSet, value::Truth};

use super::{
    super::{
        plan::{Plan, rows},
        tables::Asked,
    },
    compile, name,
};
use crate::{
    engine::{
        clock::Clock,
        fields::{Context, EventFields, Facts, Position, Scratch, View},
    },
    event::{
        build::RecordBuilder,
        decode,
        syscall::{Row, SyscallTable},
    },
    state::{self, State},
};

const PATHS: [&str; 12] = [
    "/",
    "/etc",
    "/etc/shadow",
    "/etc/shadow2",
    "/etc/ssl/key",
    "/keys",
    "/keys/a",
    "/keys/a/b",
    "/keysx",
    "/tmp/x",
    "/usr/bin/cat",
    "/a",
];
const EXES: [&str; 5] = ["/usr/bin/cat", "/usr/bin/signer", "/usr/bin/signer2", "/tmp/x", "/opt/app/run"];
const NAMES: [&str; 4] = ["cat", "signer", "run", "a-name-of-15-by"];
const USERS: [u32; 4] = [0, 1, 1000, 65_534];
const ADDRESSES: [[u8; 4]; 5] = [[10, 0, 0, 1], [10, 0, 0, 2], [127, 0, 0, 1], [192, 0, 2, 9], [8, 8, 8, 8]];
const PORTS: [u16; 5] = [22, 80, 443, 8443, 50_000];

/// Comparisons; most of them the kernel can be certain of.
fn comparison(pick: [u8; 3]) -> String {
    let [kind, first, second] = pick;
    let of = |from: &[&str], at: u8| from[usize::from(at) % from.len()].to_owned();
    let (path, other) = (of(&PATHS, first), of(&PATHS, second));
    let (exe, program) = (of(&EXES, first), of(&EXES, second));
    let number = |from: &[u32]| from[usize::from(first) % from.len()];
    let address = Ipv4Addr::from(ADDRESSES[usize::from(first) % ADDRESSES.len()]);
    let port = PORTS[usize::from(second) % PORTS.len()];
    match kind % 30 {
        0 => format!("fd.name = {path}"),
        1 => format!("fd.name != {path}"),
        2 => format!("fd.name in ({path}, {other})"),
        3 | 4 => format!("fd.name startswith {path}"),
        5 => format!("fd.name startswith anyof ({path}, {other})"),
        6 => format!("fd.name pmatch ({path}, {other})"),
        7 => format!("fs.path.name startswith {path}"),
        8 => format!("proc.exepath = {exe}"),
        9 => format!("proc.exepath in ({exe}, {program})"),
        10 => format!("proc.exepath startswith {}", of(&["/usr/", "/usr/bin/sig", "/tmp", "/"], first)),
        11 => format!("proc.name = {}", of(&NAMES, first)),
        12 => format!("proc.name in ({}, {})", of(&NAMES, first), of(&NAMES, second)),
        13 => format!("proc.name != {}", of(&NAMES, first)),
        14 => format!("user.uid = {}", number(&USERS)),
        15 => format!("user.uid in (0, {})", number(&USERS)),
        16 => "evt.is_open_read = true".to_owned(),
        17 => "evt.is_open_write = true".to_owned(),
        18 => format!("fd.typechar = {}", of(&["f", "d", "4", "6"], first)),
        19 => "fd.num >= 0".to_owned(),
        20 => "evt.failed = false".to_owned(),
        21 => format!("fd.sip = {address}"),
        22 => format!("fd.snet in ({address}/31, 192.0.2.0/24)"),
        23 => format!("fd.rip in ({address}, 8.8.8.8)"),
        24 => format!("fd.sport = {port}"),
        25 => format!("fd.rport in ({port}, 80)"),
        26 => format!("fd.l4proto = {}", of(&["tcp", "udp"], first)),
        27 => "evt.rawres >= 0".to_owned(),
        // Of these it cannot be certain.
        28 => format!("proc.pname = {}", of(&NAMES, first)),
        _ => format!("fd.name endswith {}", of(&["shadow", "key", "a"], first)),
    }
}

fn condition(bytes: &[u8]) -> String {
    let mut bytes = bytes.iter().copied();
    let inner = grow(&mut bytes, 3);
    format!("evt.type in (open, openat, openat2, execve, execveat, connect) and {inner}")
}

fn grow(bytes: &mut impl Iterator<Item = u8>, depth: u32) -> String {
    let mut next = || bytes.next().unwrap_or(7);
    let kind = next();
    if depth == 0 || kind % 5 < 2 {
        let pick = [next(), next(), next()];
        return comparison(pick);
    }
    match kind % 5 {
        2 => format!("not {}", grow(bytes, depth - 1)),
        3 => format!("({} and {})", grow(bytes, depth - 1), grow(bytes, depth - 1)),
        _ => format!("({} or {})", grow(bytes, depth - 1), grow(bytes, depth - 1)),
    }
}

/// An operation, by choices.
fn asked(choices: [u8; 8]) -> Asked<'static> {
    let [operation, class, path, exe, label, user, address, port] = choices.map(usize::from);
    let operation = Operation::ALL[operation % 3];
    let (udp, v6) = (class & 4 != 0, class & 1 != 0);
    Asked {
        operation,
        class: match operation {
            Operation::Open => open_class(class & 3, class & 4 != 0),
            Operation::Exec => 0,
            Operation::Connect => socket_class(v6, v6, udp),
        },
        path: PATHS[path % PATHS.len()].as_bytes(),
        exe: EXES[exe % EXES.len()].as_bytes(),
        name: Some(name(NAMES[label % NAMES.len()])),
        user: USERS[user % USERS.len()],
        address: Ipv4Addr::from(ADDRESSES[address % ADDRESSES.len()]).to_ipv6_mapped().octets(),
        port: u32::from(PORTS[port % PORTS.len()]),
    }
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

/// The exec of the process that asks, or that is asked for.
fn exec(asked: &Asked<'_>, row: Option<u32>) -> RecordBuilder {
    let mut record = RecordBuilder::new(EventKind::Exec, rampart_common::event::Family::Exec);
    record.header.task.comm = asked.name.unwrap();
    record.header.task.euid = asked.user;
    // Nobody asks for the real one.
    record.header.task.uid = 4242;
    record.header.syscall = row.unwrap_or(libc::SYS_execve as u32);
    record.path(AttrTag::ExePath, text(asked.exe)).strings(AttrTag::Argv, &["x"])
}

/// The event of an operation by a call, when it succeeds.
fn event(asked: &Asked<'_>, row: &Row) -> Vec<u8> {
    let number = row.number.unwrap();
    let mut record = match asked.operation {
        Operation::Exec => return exec(asked, Some(number)).build(),
        Operation::Open => RecordBuilder::syscall(i64::from(number), row.family, 3, &[]),
        Operation::Connect => RecordBuilder::syscall(i64::from(number), row.family, 0, &[5]),
    };
    record.header.task.comm = asked.name.unwrap();
    (record.header.task.euid, record.header.task.uid) = (asked.user, 4242);
    if asked.operation == Operation::Open {
        // Flags that make no difference are there as well.
        let directory = if asked.class % 2 == 1 { libc::O_DIRECTORY } else { 0 };
        let flags = (asked.class / 2) as u64 | (directory | libc::O_CLOEXEC | libc::O_NONBLOCK) as u64;
        if row.plan.extra_kind == EXTRA_OPEN_HOW {
            record = record.open_how(flags, 0, 0);
        } else {
            record.header.args[usize::from(row.plan.path)] = flags;
        }
        let facts = FileFacts { mode: 0o100_644, ino: 3, dev: 4, ..FileFacts::default() };
        return record
            .text(AttrTag::UserPath, "/some/link")
            .path(AttrTag::RealPath, text(asked.path))
            .file(&facts)
            .build();
    }
    let (v6, udp) = (asked.class & 3 != 0, asked.class & 4 != 0);
    let [.., a, b, c, d] = asked.address;
    let mut address = Vec::new();
    address.extend((if v6 { libc::AF_INET6 } else { libc::AF_INET } as u16).to_ne_bytes());
    address.extend((asked.port as u16).to_be_bytes());
    let (mut local, mut remote) = ([0; 16], [0; 16]);
    if v6 {
        address.extend([0; 4]);
        address.extend(asked.address);
        address.extend([0; 4]);
        (local, remote) = (asked.address, asked.address);
    } else {
        address.extend([a, b, c, d]);
        address.extend([0; 8]);
        local[0] = 1;
        remote[..4].copy_from_slice(&[a, b, c, d]);
    }
    let socket = SocketFacts {
        sock: 9,
        local,
        remote,
        local_port: 40_001,
        remote_port: asked.port as u16,
        family: if v6 { libc::AF_INET6 } else { libc::AF_INET } as u16,
        kind: if udp { libc::SOCK_DGRAM } else { libc::SOCK_STREAM } as u16,
        protocol: if udp { 17 } else { 6 },
        state: 1,
        role: 1,
        ..SocketFacts::default()
    };
    record.socket(&socket).attr_flags(AttrTag::SockAddr, 0, &address).build()
}

/// Whether the rule is true of the event, by the evaluator and the real path.
fn is_true(rules: &RuleSet, asked: &Asked<'_>, row: &'static Row) -> bool {
    let config = state::Config { proc_root: "/nonexistent".into(), ..state::Config::default() };
    let mut state = State::new(config);
    let start = exec(asked, None).build();
    let table = SyscallTable::new();
    let started = decode::decode(&start).unwrap();
    state.observe(&started, table.of(&started).map(|row| row.event));
    let record = event(asked, row);
    let event = decode::decode(&record).unwrap();
    state.observe(&event, Some(row.event));
    let (arena, scratch, clock) = (Bump::new(), Scratch::default(), Clock::fixed(0, 0));
    let context = Context::nowhere(&state, &clock, &arena, &scratch);
    let facts = Facts::new(&event, row, context, Position::default());
    let fields = EventFields::new(&facts, View::Real);
    rules.evaluate_rule(rules.rules()[0].id, &fields) == Truth::True
}

#[test]
fn what_the_tables_call_true_is_true() {
    let long: u32 = std::env::var("RAMPART_LONG").ok().and_then(|text| text.parse().ok()).unwrap_or(1);
    let cases = 600 * long;
    let mut runner =
        TestRunner::new(ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() });
    let operations = vec(any::<[u8; 8]>(), 24);
    let counts = std::cell::Cell::new((0u64, 0u64));
    runner
        .run(&(vec(any::<u8>(), 4..28), operations), |(bytes, operations)| {
            let condition = condition(&bytes);
            let rules = compile(&[(&condition, "")]);
            let plan = Plan::new(&rules, true);
            for choices in operations {
                let asked = asked(choices);
                let (mut refused, pairs) = counts.get();
                let is_refused = plan.tables.terms(&asked) != 0;
                refused += u64::from(is_refused);
                counts.set((refused, pairs + 1));
                if !is_refused {
                    continue;
                }
                for row in rows(asked.operation) {
                    prop_assert!(
                        is_true(&rules, &asked, row),
                        "{condition}\n{asked:?}\n{:?}",
                        row.event.def()
                    );
                }
            }
            Ok(())
        })
        .unwrap();
    let (refused, pairs) = counts.get();
    println!("{refused} of {pairs} are refused");
    assert!(refused * 20 > pairs, "{refused} of {pairs} are too few to show anything");
}

#[test]
fn a_rule_that_is_true_and_certain_is_refused() {
    // The other way round, for conditions without an obstacle: nothing that is true goes through.
    let mut runner = TestRunner::new(ProptestConfig {
        cases: 300,
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    let counts = std::cell::Cell::new(0u64);
    runner
        .run(&(vec(any::<u8>(), 4..20), vec(any::<[u8; 8]>(), 12)), |(bytes, operations)| {
            let condition = condition(&bytes);
            let rules = compile(&[(&condition, "")]);
            let plan = Plan::new(&rules, true);
            for asked in operations.into_iter().map(asked) {
                let report = &plan.reports[0];
                let is_whole = !report
                    .obstacles
                    .iter()
                    .any(|obstacle| obstacle.operation.is_none_or(|about| about == asked.operation));
                let all = rows(asked.operation).into_iter().all(|row| is_true(&rules, &asked, row));
                if is_whole && all {
                    counts.set(counts.get() + 1);
                    prop_assert!(plan.tables.terms(&asked) != 0, "{condition}\n{asked:?}");
                }
            }
            Ok(())
        })
        .unwrap();
    assert!(counts.get() > 100, "{} are too few to show anything", counts.get());
}
