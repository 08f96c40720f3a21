//! What the kernel would reject matches no rule: random rules over random events.

use std::{collections::HashMap, sync::Arc};

use bumpalo::Bump;
use jiff::tz::TimeZone;
use proptest::{collection::vec, prelude::*, test_runner::TestRunner};
use rampart_common::pushdown::{self, CLASS_FAILED, CLASS_PATH, CLASS_VERBATIM, CallKey, Mask, NONE};
use rampart_rules::{
    load::{LoadOptions, Source, load},
    rule::RuleSet,
    value::Truth,
};

use super::{
    condition,
    event::{self, Spec},
    kernel,
    process::{self, States},
};
use crate::{
    engine::{
        clock::Clock,
        fields::{Context, EventFields, Facts, Position, Scratch, View},
    },
    event::decode,
    pushdown::{Plan, ProcessMasks},
};

/// Events that are tried together.
const GROUPS: [&[&str]; 7] = [
    &["open", "openat", "openat2", "creat", "open_by_handle_at"],
    &["open", "openat", "openat2"],
    &["unlink", "unlinkat", "mkdir", "rename", "renameat2", "chmod", "fchmodat", "symlink", "link", "mount"],
    &["connect", "accept4", "sendto", "recvfrom", "sendmsg", "recvmsg", "bind", "listen"],
    &["socket", "connect", "accept", "setsockopt", "shutdown", "sendto", "socketpair"],
    &["dup", "dup3", "fcntl", "ioctl", "read", "write", "fchmod", "setns", "memfd_create"],
    &["kill", "ptrace", "mmap", "prctl", "clone", "setuid", "unshare", "bpf", "close", "execve", "execveat"],
];
const RULES: usize = 40;
const EVENTS: usize = 330;

/// Counts of one run.
#[derive(Debug, Default)]
struct Tally {
    pairs: u64,
    rejected: u64,
    process_rejected: u64,
}

pub(super) fn rule_set(conditions: &[String]) -> Arc<RuleSet> {
    let mut text = String::new();
    for (at, condition) in conditions.iter().enumerate() {
        let condition = serde_json::to_string(condition).unwrap();
        text.push_str(&format!(
            "- {{rule: r{at}, desc: d, condition: {condition}, output: o, priority: INFO}}\n"
        ));
    }
    let loaded = load(&[Source { name: "test".into(), text: text.into() }], &LoadOptions::default());
    Arc::new(loaded.rules.unwrap_or_else(|| panic!("{:?}", loaded.diagnostics)))
}

/// Tries all rules on all events.
fn check(
    plan: &Plan,
    specs: &[Spec],
    events: &[&str],
    states: &States,
    tally: &mut Tally,
) -> Result<(), TestCaseError> {
    let mut wrong = None;
    let clock = Clock::new(1_700_000_000_000_000_000, TimeZone::UTC);
    let scratch = Scratch::default();
    let mut memo: HashMap<CallKey, Mask> = HashMap::new();
    let mut specialised: HashMap<u8, ProcessMasks> = HashMap::new();
    for spec in specs {
        let row = spec.row(events);
        let bytes = spec.build(row).build();
        let record = decode::decode(&bytes).unwrap();
        let with = |state, f: &mut dyn FnMut(&Facts<'_>)| {
            let arena = Bump::new();
            let context = Context {
                state,
                clock: &clock,
                hostname: "node",
                arena: &arena,
                scratch: &scratch,
                path_limit: None,
            };
            f(&Facts::new(
                &record,
                row,
                context,
                Position { number: 5, previous_ns: 1, first_ns: 1, peer_changed: false },
            ));
        };
        let masks = *specialised.entry(spec.process % 5).or_insert_with(|| {
            let mut found = None;
            with(&states.before, &mut |facts| found = Some(plan.process_masks(facts)));
            found.unwrap()
        });
        let mut candidates = NONE;
        for key in kernel::keys(plan, &record, row, spec.blind & spec.blind >> 1) {
            let mask = *memo.entry(key).or_insert_with(|| {
                let mask = plan.mask_of(&key);
                enclosed(plan, &key, &mask);
                mask
            });
            candidates = pushdown::either(&candidates, &mask);
        }
        let state = if spec.later { &states.after } else { &states.before };
        with(state, &mut |facts| {
            let views: &[View] = if facts.differing_paths().is_some() {
                &[View::Lexical, View::Real]
            } else {
                &[View::Lexical]
            };
            for rule in plan.policy().rules_of(row.event) {
                tally.pairs += 1;
                let among = |mask: &Mask| plan.bits.contains(row.family, mask, rule.id.0 as usize);
                let by_call = among(&candidates);
                let of_process = masks.masks[row.family as usize];
                let valid = !spec.later || !(masks.depends_on_epoch || process::became_another(spec.process));
                let by_process = !valid || among(&of_process);
                tally.rejected += u64::from(!by_call);
                tally.process_rejected += u64::from(!by_process);
                if by_call && by_process {
                    continue;
                }
                for view in views {
                    let fields = EventFields::new(facts, *view);
                    let truth = plan.policy().evaluate_rule(rule.id, &fields);
                    if truth != Truth::False && wrong.is_none() {
                        let by = if by_call { "its process" } else { "its call" };
                        let name = row.event.def().unwrap().name;
                        let rule = &rule.condition_text;
                        wrong =
                            Some(format!("rejected by {by}: `{rule}` in view {view:?} on {name}: {spec:?}"));
                    }
                }
            }
        });
    }
    wrong.map_or(Ok(()), |wrong| Err(TestCaseError::fail(wrong)))
}

/// What is known before a look-up lets through what the look-up does.
fn enclosed(plan: &Plan, key: &CallKey, mask: &Mask) {
    let (base, plain) = plan.image.call_masks(u32::from(key.syscall));
    let failed = usize::from(key.class & CLASS_FAILED != 0);
    let inside = |outer: &Mask| pushdown::both(mask, outer) == *mask;
    assert!(inside(&base[failed]), "{key:?} is in its base mask");
    if key.class & (CLASS_PATH | CLASS_VERBATIM) == CLASS_PATH | CLASS_VERBATIM && key.signature == [0; 2] {
        assert!(inside(&plain[failed]), "{key:?} is in its plain mask");
    }
}

/// `RAMPART_LONG` makes it that many times longer.
fn times() -> u32 {
    std::env::var("RAMPART_LONG").ok().and_then(|times| times.parse().ok()).unwrap_or(1)
}

#[test]
fn rejected_events_match_no_rule() {
    let states = process::states();
    let mut tally = Tally::default();
    for events in GROUPS {
        let config = ProptestConfig {
            cases: 36 * times(),
            failure_persistence: None,
            max_shrink_iters: 150,
            ..ProptestConfig::default()
        };
        let strategy = (vec(condition::condition(events), RULES), vec(event::spec(), EVENTS));
        let counted = std::cell::RefCell::new(Tally::default());
        let run = TestRunner::new(config).run(&strategy, |(conditions, specs)| {
            let plan = Plan::new(rule_set(&conditions), 1);
            check(&plan, &specs, events, &states, &mut counted.borrow_mut())
        });
        let counted = counted.into_inner();
        println!("{}: {counted:?}", events[0]);
        tally.pairs += counted.pairs;
        tally.rejected += counted.rejected;
        if let Err(error) = run {
            let text = error.to_string();
            panic!("{}", text.get(..4000).unwrap_or(&text));
        }
    }
    println!("{} pairs, {} rejected", tally.pairs, tally.rejected);
    assert!(tally.pairs >= 1_000_000, "only {} pairs", tally.pairs);
    assert!(tally.rejected > tally.pairs / 4, "only {} rejected", tally.rejected);
}
