//! Plans over the real rules and over random ones.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test fails by panicking"
)]

use std::sync::Arc;

use rampart_common::{
    abi::SYSCALL_SLOTS,
    event::Family,
    pushdown::{CLASS_PATH, CLASS_VERBATIM, CallKey},
};
use rampart_rules::{
    load::{LoadOptions, Source, load},
    rule::RuleSet,
};

use super::Plan;
use crate::shared_facts;

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
    let start = std::time::Instant::now();
    let plan = Plan::new(rules, 1);
    println!("planned in {:?}: {:?}", start.elapsed(), plan.paths.size());
    let start = std::time::Instant::now();
    let number = libc::SYS_openat as u16;
    let path = b"/usr/include/stdio.h";
    let key = CallKey {
        generation: 1,
        syscall: number,
        class: CLASS_PATH | CLASS_VERBATIM,
        numbers: [0, 0, 0],
        signature: plan.signature(path),
        pad: 0,
    };
    let mask = plan.mask_of(&key);
    println!(
        "mask in {:?}: {:?}",
        start.elapsed(),
        plan.rules(Family::Open, &mask).map(|rule| &rule.name).collect::<Vec<_>>()
    );
    assert!(SYSCALL_SLOTS > 0);
}
