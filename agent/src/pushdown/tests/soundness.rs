//! What the kernel would reject matches no rule: random rules over random events.

use std::{
    cell::RefCell,
    collections::{BTreeMap, HashMap},
    fmt::Write as _,
    sync::{Arc, LazyLock},
};

use bumpalo::Bump;
use jiff::tz::TimeZone;
use proptest::{collection::vec, prelude::*, test_runner::TestRunner};
use rampart_common::{
    event::FAMILY_COUNT,
    pushdown::{self, CLASS_FAILED, CLASS_PATH, CLASS_VERBATIM, CallKey, Mask, NONE},
};
use rampart_rules::{
    load::{LoadOptions, Source, load},
    rule::RuleSet,
    value::Truth,
};

use super::{
    condition,
    event::{self, Spec, World},
    kernel,
    processes::{self, States},
};
use crate::{
    config::{
        self,
        trading::{PathPattern, Role, Venue},
    },
    engine::push::ProcessMasks,
    engine::{
        clock::Clock,
        fields::{Context, EventFields, Facts, Position, Scratch, View},
    },
    event::decode,
    pushdown::Plan,
    shared_facts,
    trading::Trading,
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

/// Something of which all fields of trading are made, in words that conditions use.
pub(super) static TRADING: LazyLock<(config::Trading, Trading)> = LazyLock::new(|| {
    let text = |text: &str| text.to_owned();
    let net = |net: &str| net.parse().unwrap();
    let asset = |name: &str, paths: &[PathPattern]| (text(name), paths.to_vec());
    let role = |name: &str, exes: &[&str], comms: &[&str], images: &[&str]| {
        let all = |texts: &[&str]| texts.iter().map(|one| text(one)).collect::<Vec<_>>();
        let exes = exes.iter().map(|path| PathPattern::Exact(text(path))).collect();
        (text(name), Role { exes, comms: all(comms), images: all(images), ..Role::default() })
    };
    let venue = |name: &str, kind, cidrs: &[&str], ports: &[u16], hosts: &[&str]| {
        let hosts = hosts.iter().map(|host| text(host)).collect();
        let cidrs = cidrs.iter().map(|one| net(one)).collect();
        (text(name), Venue { kind, hosts, cidrs, ports: ports.to_vec(), groups: Vec::new() })
    };
    let section = config::Trading {
        assets: [
            asset("etc", &[PathPattern::Below(text("/etc/"))]),
            asset("file", &[PathPattern::Exact(text("/tmp/x")), PathPattern::Exact(text("/a"))]),
            asset("shadow", &[PathPattern::Glob(text("*shadow"))]),
            asset("id_rsa", &[PathPattern::Glob(text("/root/*"))]),
        ]
        .into(),
        roles: [
            role("cat", &["/usr/bin/cat"], &[], &[]),
            role("bash", &[], &["bash", "web"], &[]),
            role("web", &[], &[], &["web"]),
        ]
        .into(),
        venues: [
            venue("tcp", "order_entry", &["10.0.0.0/8"], &[443, 80], &[]),
            venue("udp", "market_data", &["8.8.8.8/32", "::/0"], &[], &["web"]),
        ]
        .into(),
        calendars: BTreeMap::new(),
    };
    let compiled = Trading::new(&section).unwrap().unwrap();
    (section, compiled)
});

/// Counts of one run.
#[derive(Debug, Default)]
struct Tally {
    pairs: u64,
    rejected: u64,
    process_rejected: u64,
    image_rejected: u64,
}

pub(super) fn rule_set(conditions: &[String]) -> Arc<RuleSet> {
    loaded(conditions, None)
}

/// Rules with these conditions, and with a threshold if one is given.
pub(super) fn loaded(conditions: &[String], threshold: Option<&str>) -> Arc<RuleSet> {
    let window = threshold.map(|threshold| format!(", threshold: {threshold}")).unwrap_or_default();
    let mut text = String::new();
    for (at, condition) in conditions.iter().enumerate() {
        let condition = serde_json::to_string(condition).unwrap();
        let _ = writeln!(
            text,
            "- {{rule: r{at}, desc: d, condition: {condition}, output: o, priority: INFO{window}}}"
        );
    }
    let options = LoadOptions {
        meanings: Trading::meanings(&TRADING.0),
        sets: condition::SETS.clone(),
        ..LoadOptions::default()
    };
    let loaded = load(&[Source { name: "test".into(), text: text.into() }], &options);
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
    let mut images: HashMap<u8, [Mask; FAMILY_COUNT]> = HashMap::new();
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
                trading: Some(&TRADING.1),
            };
            f(&Facts::new(
                &record,
                row,
                context,
                Position { number: 5, previous_ns: 1, first_ns: 1, peer_changed: false },
            ));
        };
        let state = match spec.world {
            World::Present => &states.before,
            World::Later => &states.after,
            World::Other => &states.elsewhere,
        };
        let elsewhere = spec.world == World::Other;
        let masks = (!elsewhere).then(|| {
            *specialised.entry(spec.process % 5).or_insert_with(|| {
                let mut found = None;
                with(&states.before, &mut |facts| found = Some(plan.process_masks(facts)));
                found.unwrap()
            })
        });
        let another = spec.world == World::Later && processes::became_another(spec.process);
        // Made where it is met first, and used in all worlds.
        let of_image = (!another).then(|| {
            *images.entry(spec.process % 5).or_insert_with(|| {
                let mut found = None;
                with(state, &mut |facts| found = Some(plan.image_masks(facts)));
                found.unwrap()
            })
        });
        let mut candidates = NONE;
        for key in kernel::keys(plan, &record, row, spec.blind & spec.blind >> 1) {
            let mask = *memo.entry(key).or_insert_with(|| {
                let mask = plan.mask_of(&key);
                if !is_enclosed(plan, &key, &mask) {
                    wrong = Some(format!("{key:?} leaves more than was left before"));
                }
                mask
            });
            candidates = pushdown::either(&candidates, &mask);
        }
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
                let by_process = masks
                    .filter(|masks| spec.world != World::Later || !(masks.depends_on_epoch || another))
                    .is_none_or(|masks| among(&masks.masks[row.family as usize]));
                let by_image = of_image.is_none_or(|masks| among(&masks[row.family as usize]));
                tally.rejected += u64::from(!by_call);
                tally.process_rejected += u64::from(!by_process);
                tally.image_rejected += u64::from(!by_image);
                if by_call && by_process && by_image {
                    continue;
                }
                for view in views {
                    let fields = EventFields::new(facts, *view);
                    let truth = plan.policy().evaluate_rule(rule.id, &fields);
                    if truth != Truth::False && wrong.is_none() {
                        let by = match (by_call, by_process) {
                            (false, _) => "its call",
                            (true, false) => "its process",
                            (true, true) => "its image",
                        };
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

/// Whether what is known before a look-up lets through what the look-up does.
fn is_enclosed(plan: &Plan, key: &CallKey, mask: &Mask) -> bool {
    let (base, without) = plan.image.call_masks(u32::from(key.syscall));
    let failed = usize::from(key.class & CLASS_FAILED != 0);
    let inside = |outer: &Mask| pushdown::both(mask, outer) == *mask;
    let nothing =
        key.class & (CLASS_PATH | CLASS_VERBATIM) == CLASS_PATH | CLASS_VERBATIM && key.signature == [0; 2];
    inside(&base[failed]) && (!nothing || inside(&without[failed]))
}

/// `RAMPART_LONG` makes it that many times longer.
fn times() -> u32 {
    std::env::var("RAMPART_LONG").ok().and_then(|times| times.parse().ok()).unwrap_or(1)
}

/// Tries random events of a group on rules made by `rules`.
fn run(
    events: &'static [&'static str],
    cases: u32,
    (rules, count): (usize, usize),
    fixed: Option<&Plan>,
) -> Tally {
    let states = processes::states();
    let config = ProptestConfig {
        cases: cases * times(),
        failure_persistence: None,
        max_shrink_iters: 150,
        ..ProptestConfig::default()
    };
    let strategy = (vec(condition::condition(events), rules), vec(event::spec(), count));
    let counted = RefCell::new(Tally::default());
    let run = TestRunner::new(config).run(&strategy, |(conditions, specs)| {
        let made = fixed.is_none().then(|| Plan::new(rule_set(&conditions), 1));
        let plan = made.as_ref().or(fixed).unwrap();
        check(plan, &specs, events, &states, &mut counted.borrow_mut())
    });
    if let Err(error) = run {
        let text = error.to_string();
        panic!("{}", text.get(..4000).unwrap_or(&text));
    }
    counted.into_inner()
}

#[test]
fn rejected_events_match_no_rule() {
    let mut total = Tally::default();
    for events in GROUPS {
        let tally = run(events, 36, (40, 330), None);
        println!("{}: {tally:?}", events.join(" "));
        total.pairs += tally.pairs;
        total.rejected += tally.rejected;
        total.process_rejected += tally.process_rejected;
        total.image_rejected += tally.image_rejected;
        assert!(tally.rejected > tally.pairs / 10, "{}: {tally:?}", events[0]);
    }
    println!("{total:?}");
    assert!(total.pairs >= 1_000_000, "only {} pairs", total.pairs);
    assert!(total.process_rejected > total.pairs / 50, "{total:?}");
    assert!(total.image_rejected > total.pairs / 200, "{total:?}");
}

/// More rules than bits, more comparisons of paths than bits.
#[test]
fn rules_that_share_bits_are_not_rejected_for_each_other() {
    let tally = run(GROUPS[1], 3, (400, 120), None);
    println!("{tally:?}");
    assert!(tally.rejected > 0, "{tally:?}");
}

#[test]
fn upstreams_rules_match_no_rejected_event() {
    let Some(root) = shared_facts::root() else {
        println!("skipped: no upstream rules beside the workspace");
        return;
    };
    for file in ["falco_rules.yaml", "falco-incubating_rules.yaml"] {
        let text = std::fs::read(root.join("falco/rules").join(file)).unwrap();
        let loaded = load(&[Source { name: file.into(), text }], &LoadOptions::default());
        let plan = Plan::new(Arc::new(loaded.rules.unwrap()), 1);
        for events in GROUPS {
            let tally = run(events, 6, (0, 300), Some(&plan));
            println!("{file} {}: {tally:?}", events[0]);
        }
    }
}
