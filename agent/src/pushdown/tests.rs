//! Plans over the real rules and over random ones.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test fails by panicking"
)]

mod condition;
mod event;
mod kernel;
mod process;
mod soundness;

use std::sync::Arc;

use rampart_common::pushdown::{CLASS_FAILED, CLASS_PATH, CLASS_SOCKET, CLASS_VERBATIM, CallKey};
use rampart_rules::{
    load::{LoadOptions, Source, load},
    rule::RuleSet,
};

use super::Plan;
use crate::{event::syscall::SyscallTable, shared_facts};

fn compile(text: &str) -> Arc<RuleSet> {
    let loaded = load(&[Source { name: "test".into(), text: text.into() }], &LoadOptions::default());
    Arc::new(loaded.rules.unwrap())
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
        let left = candidates(&plan, key);
        println!("{what}: {left:?}");
    }
}
