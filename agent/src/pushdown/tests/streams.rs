//! What is counted in the kernel is true: random rules over random events of one stream.

use std::cell::Cell;

use bumpalo::Bump;
use jiff::tz::TimeZone;
use proptest::{collection::vec, prelude::*, test_runner::TestRunner};
use rampart_common::event::Family;
use rampart_rules::value::Truth;

use super::{
    compile, condition,
    event::{self, Spec, World},
    processes::{self, States},
    soundness::{TRADING, loaded},
};
use crate::{
    engine::{
        clock::Clock,
        fields::{Context, EventFields, Facts, Position, Scratch, View},
        push::is_connection,
    },
    event::decode,
    pushdown::Plan,
    state::State,
};

const EVENTS: &[&str] = &["sendto", "sendmsg", "recvfrom", "recvmsg"];
/// What makes a rule one that only counts.
const THRESHOLD: &str = "{count: 1000, within: 1m, by: [proc.pid, fd.rip]}";

/// Calls `f` with the facts of an event.
fn with<R>(spec: &Spec, state: &State, f: impl FnOnce(&Facts<'_>) -> R) -> R {
    let row = spec.row(EVENTS);
    let bytes = spec.build(row).build();
    let (record, arena, scratch) = (decode::decode(&bytes).unwrap(), Bump::new(), Scratch::default());
    let clock = Clock::new(1_700_000_000_000_000_000, TimeZone::UTC);
    let context = Context {
        state,
        clock: &clock,
        hostname: "node",
        arena: &arena,
        scratch: &scratch,
        path_limit: None,
        trading: Some(&TRADING.1),
    };
    let position = Position { number: 5, previous_ns: 1, first_ns: 1, peer_changed: false };
    f(&Facts::new(&record, row, context, position))
}

/// Whether events of a spec can be those of a stream.
fn is_streamed(spec: &Spec) -> bool {
    let bytes = spec.build(spec.row(EVENTS)).build();
    let record = decode::decode(&bytes).unwrap();
    record.header.ret > 0 && record.socket().is_some_and(|socket| is_connection(&socket))
}

/// Counts rules that were found true and false, and checks both against other events of the stream.
fn check(
    plan: &Plan,
    spec: &Spec,
    others: &[Spec],
    states: &States,
    (trues, falses): (&Cell<u32>, &Cell<u32>),
) -> Result<(), TestCaseError> {
    let mut spec = spec.clone();
    spec.world = World::Present;
    if !is_streamed(&spec) {
        return Ok(());
    }
    let row = spec.row(EVENTS);
    assert!(row.family == Family::Net);
    for rule in plan.policy().rules_of(row.event) {
        let position = rule.id.0 as usize;
        let candidates = plan.bits.mask(row.family, [position].into_iter());
        let alone = with(&spec, &states.before, |facts| plan.stream_of(facts, &candidates));
        let truth = with(&spec, &states.before, |facts| {
            plan.policy().evaluate_rule(rule.id, &EventFields::new(facts, View::Lexical))
        });
        let Some(stream) = alone else { continue };
        prop_assert!(plan.is_in(row.family, &stream.matching, rule));
        prop_assert_eq!(truth, Truth::True, "`{}`", rule.condition_text);
        trues.set(trues.get() + 1);
        for other in others {
            let other = spec.like(other);
            if !is_streamed(&other) {
                continue;
            }
            let later = !stream.depends_on_epoch && !processes::became_another(spec.process);
            for state in [Some(&states.before), later.then_some(&states.after)].into_iter().flatten() {
                let truth = with(&other, state, |facts| {
                    plan.policy().evaluate_rule(rule.id, &EventFields::new(facts, View::Lexical))
                });
                prop_assert_eq!(
                    truth,
                    Truth::True,
                    "`{}` on {:?} as on {:?}",
                    rule.condition_text,
                    other,
                    spec
                );
            }
        }
    }
    // Those that are left beside a true one are false on each event.
    let all = plan.bits.mask(row.family, 0..plan.policy().rules().len());
    let Some(stream) = with(&spec, &states.before, |facts| plan.stream_of(facts, &all)) else {
        return Ok(());
    };
    for other in others.iter().map(|other| spec.like(other)).filter(is_streamed) {
        for rule in plan.policy().rules_of(row.event) {
            let truth = with(&other, &states.before, |facts| {
                plan.policy().evaluate_rule(rule.id, &EventFields::new(facts, View::Lexical))
            });
            let expected = plan.is_in(row.family, &stream.matching, rule);
            prop_assert_eq!(truth == Truth::True, expected, "`{}` on {:?}", rule.condition_text, other);
            falses.set(falses.get() + u32::from(!expected));
        }
    }
    Ok(())
}

#[test]
fn counted_events_match_what_the_first_one_did() {
    let states = processes::states();
    let (trues, falses) = (Cell::new(0), Cell::new(0));
    let config = ProptestConfig {
        cases: 1500,
        failure_persistence: None,
        max_shrink_iters: 150,
        ..ProptestConfig::default()
    };
    let strategy = (vec(condition::condition(EVENTS), 3), vec(event::spec(), 24), vec(event::spec(), 6));
    let run = TestRunner::new(config).run(&strategy, |(conditions, specs, others)| {
        let plan = Plan::new(loaded(&conditions, Some(THRESHOLD)), 1);
        for spec in &specs {
            check(&plan, spec, &others, &states, (&trues, &falses))?;
        }
        Ok(())
    });
    if let Err(error) = run {
        let text = error.to_string();
        panic!("{}", text.get(..4000).unwrap_or(&text));
    }
    println!("{} rules found true, {} false beside them", trues.get(), falses.get());
    assert!(trues.get() > 200 && falses.get() > 40, "{} {}", trues.get(), falses.get());
}

/// Events on which a rule with this condition and window is counted in the kernel.
fn counted_on(condition: &str, window: &str) -> String {
    let condition = serde_json::to_string(condition).unwrap();
    let text =
        format!("- {{rule: r, desc: d, condition: {condition}, output: o, priority: INFO, {window}}}\n");
    let plan = Plan::new(compile(&text), 1);
    plan.counted_events(0).join(" ")
}

#[test]
fn only_what_is_the_same_on_all_events_of_a_stream_is_counted() {
    let sends = "evt.type in (sendto, sendmsg, write) and evt.rawres > 0 and fd.rport = 80";
    let plain = "threshold: {count: 1000, within: 1s, by: [proc.pid, fd.sip]}";
    assert_eq!(counted_on(sends, plain), "sendmsg sendto");
    assert_eq!(counted_on(&format!("{sends} and user.name = x and proc.pname = y"), plain), "sendmsg sendto");
    for (condition, window) in [
        // What differs between events.
        (format!("{sends} and evt.arg.data contains x"), plain),
        (format!("{sends} and evt.rawres > 100"), plain),
        (format!("{sends} and fd.num = 3"), plain),
        (format!("{sends} and evt.num > 5"), plain),
        // A key that does.
        (sends.to_owned(), "threshold: {count: 1000, within: 1s, by: [fd.num]}"),
        (sends.to_owned(), "threshold: {count: 1000, within: 1s, sum: evt.rawarg.res}"),
        // What counts on some events only.
        (sends.to_owned(), "threshold: {count: 1000, within: 1s}, active: {cron: '* 9-17 * * *'}"),
        (sends.to_owned(), "throttle: {burst: 1, per: 1s}"),
    ] {
        assert_eq!(counted_on(&condition, window), "", "{condition} with {window}");
    }
}

#[test]
fn shares_are_small_and_never_one() {
    use crate::engine::push::Stream;
    let stream = |events, sum| Stream { events, sum, ..Stream::default() };
    assert_eq!(stream(2000, u64::MAX).shares(2), Some((15, u64::MAX / 128)));
    assert_eq!(stream(2000, 1 << 26).shares(64), None, "two on each of 64 CPUs would be too many");
    assert_eq!(stream(u64::MAX, 1 << 26).shares(64).map(|(_, sum)| sum), Some((1 << 26) / 64 / 64));
    assert_eq!(stream(16, u64::MAX).shares(1), None);
    assert_eq!(stream(32, u64::MAX).shares(1).map(|(events, _)| events), Some(2));
}
