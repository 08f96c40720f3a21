use std::cell::Cell;

use rampart_rules::{
    load::{LoadOptions, Source, load},
    rule::RuleSet,
};

use super::*;

thread_local! {
    static NOW: Cell<u64> = const { Cell::new(0) };
}

/// A clock of which each reading is 100 ns after the one before.
fn ticking() -> Stopwatch {
    let now_ns = || {
        NOW.set(NOW.get() + 100);
        NOW.get()
    };
    Stopwatch { now_ns, overhead_ns: 20 }
}

fn policy(names: &[&str]) -> RuleSet {
    let rule = |name: &&str| {
        format!("- rule: {name}\n  desc: d\n  condition: evt.type=open\n  output: o\n  priority: INFO\n")
    };
    let text: String = names.iter().map(rule).collect();
    let source = Source { name: "r".into(), text: text.into_bytes() };
    load(&[source], &LoadOptions::default()).rules.unwrap()
}

#[test]
fn every_trial_counts_and_a_sample_is_measured() {
    let mut profile = Profile::new(ticking(), 7, &policy(&["a", "b", "c"]));
    let events = 64_000;
    for _ in 0..events {
        let mut trial = profile.begin(Family::Open);
        assert!(trial.tries(0) && trial.tries(2));
        trial.end();
    }
    let [first, second, third] = profile.of(Family::Open) else { panic!("three rules") };
    assert_eq!((first.candidates, second.candidates, third.candidates), (events, 0, events));
    assert_eq!(first.samples, third.samples);
    // One in 64, and each takes 100 ns less the reading's own 20.
    assert!((950..1050).contains(&first.samples), "{}", first.samples);
    assert_eq!(first.ns, first.samples * 80 * 64);
    assert_eq!(profile.of(Family::Net)[0], Cost::default());
    let sum = profile.rule(0);
    assert_eq!((sum.candidates, sum.ns), (events, first.ns));
    assert_eq!(profile.family_ns()[Family::Open as usize], 2 * first.ns);
}

#[test]
fn what_is_left_out_is_neither_tried_nor_counted_nor_measured() {
    let mut profile = Profile::new(ticking(), 7, &policy(&["a", "b"]));
    let mut shed = Shed::default();
    shed.add(Family::Open, 0);
    profile.set_shed(Arc::new(shed));
    // The first event is measured.
    let mut trial = profile.begin(Family::Open);
    assert!(!trial.tries(0) && trial.tries(1));
    trial.end();
    assert!(profile.begin(Family::Net).tries(0), "only on events of one family");
    assert_eq!(profile.of(Family::Open)[0], Cost::default());
    assert_eq!(profile.of(Family::Open)[1], Cost { candidates: 1, samples: 1, ns: 80 * 64 });
}

#[test]
fn an_interrupted_trial_is_cut_short() {
    let mut profile = Profile::new(ticking(), 7, &policy(&["a"]));
    let mut trial = profile.begin(Family::Open);
    trial.tries(0);
    NOW.set(NOW.get() + 50_000_000);
    trial.end();
    assert_eq!(profile.of(Family::Open)[0].ns, TRIAL_MAX_NS * 64);
}

#[test]
fn a_reload_keeps_numbers_by_name_and_sums_for_good() {
    let old = policy(&["a", "b", "c"]);
    let mut profile = Profile::new(ticking(), 7, &old);
    let mut shed = Shed::default();
    shed.add(Family::Open, 1);
    profile.set_shed(Arc::new(shed));
    let mut trial = profile.begin(Family::Open);
    assert!(trial.tries(0) && trial.tries(2));
    trial.end();
    profile.late(Family::Open, 2);
    let before = profile.family_ns();
    profile.rules_changed(&old, &policy(&["c", "d"]));
    assert!(profile.shed().is_empty());
    assert_eq!(profile.of(Family::Open)[0], Cost { candidates: 2, samples: 1, ns: 80 * 64 });
    assert_eq!(profile.of(Family::Open)[1], Cost::default());
    assert_eq!(profile.family_ns(), before);
}

#[test]
fn the_distance_follows_no_rhythm() {
    let mut profile = Profile::new(ticking(), 1, &policy(&["a"]));
    let distances: Vec<u32> = (0..10_000).map(|_| profile.distance()).collect();
    assert!(distances.iter().all(|distance| (1..=127).contains(distance)));
    let odd = distances.iter().filter(|distance| *distance % 2 == 1).count();
    assert!((4_800..5_300).contains(&odd), "{odd}");
    let mean = distances.iter().sum::<u32>() / 10_000;
    assert!((62..=66).contains(&mean), "{mean}");
}

#[test]
fn the_machines_clock_knows_its_own_cost() {
    let stopwatch = Stopwatch::system();
    assert!(stopwatch.overhead_ns < 1_000_000 && (stopwatch.now_ns)() > 0);
}
