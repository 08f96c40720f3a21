//! What rules cost, and rules that are left out, over the whole path.

use std::{cell::Cell, sync::Arc, time::Duration};

use rampart_common::event::{AttrTag, FAMILY_COUNT, Family, RECORD_SHADOW};
use rampart_rules::rule::{Matching, Priority};

use super::{READS, by, feed, names, open, options, rules, with_cat};
use crate::{
    budget::{Budgets, Change},
    config,
    engine::{Detector, Options, profile::Stopwatch, shed::Shed},
    event::build::RecordBuilder,
    pushdown::Plan,
};

const RULES: &str = "
- rule: protected
  desc: d
  condition: evt.type=openat and fd.name startswith /tmp/a
  output: o
  priority: WARNING
- rule: noisy
  desc: d
  condition: evt.type=openat and fd.name startswith /tmp/
  output: o
  priority: INFO
- rule: rare
  desc: d
  condition: evt.type=openat and fd.name=/tmp/b
  output: o
  priority: INFO
";

thread_local! {
    static NOW: Cell<u64> = const { Cell::new(0) };
}

/// Options with a clock of which each reading is 10 µs after the one before.
fn measured() -> Options {
    let now_ns = || {
        NOW.set(NOW.get() + 10_000);
        NOW.get()
    };
    Options { stopwatch: Stopwatch { now_ns, overhead_ns: 0 }, ..options() }
}

fn at(path: &str) -> RecordBuilder {
    by(open(path, libc::O_RDONLY), 30, 20, "cat").path(AttrTag::RealPath, path)
}

fn position(detector: &Detector, name: &str) -> usize {
    detector.policy().rules().iter().position(|rule| rule.name == name).unwrap()
}

#[test]
fn candidates_matches_and_time_are_told_by_rule() {
    let mut detector = with_cat(rules(RULES, Matching::First), measured());
    for _ in 0..640 {
        assert_eq!(names(&feed(&mut detector, &at("/tmp/a"))), ["protected"]);
        assert_eq!(names(&feed(&mut detector, &at("/tmp/b"))), ["noisy"]);
    }
    let usage = detector.usage();
    let of = |name| usage.rules[position(&detector, name)];
    assert_eq!((of("protected").candidates, of("protected").matches), (1280, 640));
    assert_eq!((of("noisy").candidates, of("noisy").matches), (640, 640));
    assert_eq!(of("rare"), crate::engine::profile::RuleUse::default(), "the first match ends the event");
    assert!(of("protected").ns > of("noisy").ns && of("noisy").ns > 0);
    assert_eq!(usage.family_ns[Family::Open as usize], of("protected").ns + of("noisy").ns);

    // After a reload, rules of the same name go on.
    detector.swap(rules(READS, Matching::First), None);
    detector.swap(rules(RULES, Matching::First), None);
    let after = detector.usage();
    assert_eq!(after.rules[0].matches, 640);
    assert_eq!(after.rules[0].candidates, 0, "it was gone in between");
    assert_eq!(after.family_ns, usage.family_ns);
}

#[test]
fn a_rule_that_is_left_out_lets_later_ones_match_and_comes_back_with_a_reload() {
    let mut detector = with_cat(rules(RULES, Matching::First), options());
    let mut shed = Shed::default();
    shed.add(Family::Open, position(&detector, "noisy"));
    detector.set_shed(Arc::new(shed));
    assert_eq!(names(&feed(&mut detector, &at("/tmp/b"))), ["rare"]);
    assert!(feed(&mut detector, &at("/tmp/c")).is_empty());
    detector.swap(rules(RULES, Matching::First), None);
    assert_eq!(names(&feed(&mut detector, &at("/tmp/b"))), ["noisy"]);
}

#[test]
fn the_plan_of_the_kernel_takes_them_for_not_there_and_samples_do_not_disagree() {
    let policy = rules(RULES, Matching::First);
    let mut shed = Shed::default();
    shed.add(Family::Open, 1);
    let shed = Arc::new(shed);
    let whole = Plan::new(Arc::clone(&policy), 1);
    let plan = Arc::new(Plan::without(Arc::clone(&policy), 1, Arc::clone(&shed)));
    let key = |plan: &Plan| rampart_common::pushdown::CallKey {
        generation: 1,
        syscall: libc::SYS_openat as u16,
        class: rampart_common::pushdown::CLASS_PATH | rampart_common::pushdown::CLASS_VERBATIM,
        signature: plan.signature(b"/tmp/c"),
        ..rampart_common::pushdown::CallKey::default()
    };
    let left = |plan: &Plan| plan.rules(Family::Open, &plan.mask_of(&key(plan))).count();
    assert_eq!((left(&whole), left(&plan)), (1, 0));

    let mut detector = with_cat(policy, options());
    detector.set_shed(shed);
    detector.set_plan(Some(plan));
    let mut sample = at("/tmp/c");
    sample.header.generation = 1;
    sample.header.flags |= RECORD_SHADOW;
    assert!(feed(&mut detector, &sample).is_empty());
    let counts = detector.stats().push;
    assert_eq!((counts.samples, counts.disagreements), (1, 0));
}

#[test]
fn a_family_over_its_budget_loses_its_costliest_rule_below_the_priority() {
    let mut detector = with_cat(rules(RULES, Matching::First), measured());
    let mut families = [None; FAMILY_COUNT];
    // Each trial takes 10 µs: 2000 events with one or two of them are about 3 % of a second.
    families[Family::Open as usize] = Some(24_000);
    let settings = config::Budgets {
        shed_below: Priority::Notice,
        families,
        window: Duration::from_secs(1),
        return_below_percent: 90,
        return_windows: 1,
    };
    let mut budgets = Budgets::new(&settings, detector.policy());
    let mut now_ns = 0;
    let mut window = |detector: &mut Detector, budgets: &mut Budgets, events: u64| {
        for _ in 0..events {
            feed(detector, &at("/tmp/a"));
            feed(detector, &at("/tmp/b"));
        }
        now_ns += 1_000_000_000;
        let changes = budgets.look(now_ns, |family| detector.costs(family));
        detector.set_shed(Arc::new(budgets.shed()));
        changes
    };
    assert_eq!(window(&mut detector, &mut budgets, 0), []);
    let changes = window(&mut detector, &mut budgets, 1000);
    let noisy = position(&detector, "noisy");
    assert!(matches!(changes[..], [Change::Shed(step)] if step.rule == noisy), "{changes:?}");
    assert_eq!(names(&feed(&mut detector, &at("/tmp/b"))), ["rare"]);
    assert_eq!(names(&feed(&mut detector, &at("/tmp/a"))), ["protected"]);
    let changes = window(&mut detector, &mut budgets, 10);
    assert!(matches!(changes[..], [Change::Returned(step)] if step.rule == noisy), "{changes:?}");
    assert_eq!(names(&feed(&mut detector, &at("/tmp/b"))), ["noisy"]);
}
