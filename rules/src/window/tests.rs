use std::fmt::Write as _;

use super::*;
use crate::{
    catalog::{event_ids, ids},
    diagnostic::Severity,
    load::{LoadOptions, Loaded, Source, load},
    rule::{Matching, Rule, RuleId, RuleSet},
    unit::{
        self,
        event::{Event, Held},
    },
    value::{Truth, Value},
};

const SECOND: u64 = 1_000_000_000;

fn loaded(keys: &str, strict_falco: bool) -> Loaded {
    let text = format!(
        "- macro: is_download\n  condition: evt.type=connect and fd.rport=443\n- rule: r\n  desc: d\n  condition: \
         evt.type=open\n  output: o\n  priority: INFO\n{keys}"
    );
    load(
        &[Source { name: "r.yaml".to_owned(), text: text.into_bytes() }],
        &LoadOptions { strict_falco, ..LoadOptions::default() },
    )
}

fn rules(keys: &str) -> RuleSet {
    let loaded = loaded(keys, false);
    loaded.rules.unwrap_or_else(|| panic!("{:?}", loaded.diagnostics))
}

/// An open by the process with this id.
fn open(pid: i64) -> Event<'static> {
    let mut event = Event::new(event_ids::OPEN);
    event.set(ids::EVT_TYPE, Arg::None, Held::One(Value::Bytes(b"open")));
    event.set(ids::PROC_PID, Arg::None, Held::One(Value::Int(pid)));
    event
}

fn connect(pid: i64) -> Event<'static> {
    let mut event = open(pid);
    event.set(ids::EVT_TYPE, Arg::None, Held::One(Value::Bytes(b"connect")));
    event.set(ids::FD_RPORT, Arg::None, Held::One(Value::Uint(443)));
    event
}

struct Clock<'r> {
    rule: &'r Rule,
    windows: Windows,
}

impl<'r> Clock<'r> {
    fn new(rules: &'r RuleSet) -> Self {
        Self { rule: &rules.rules()[0], windows: Windows::default() }
    }

    fn passes(&mut self, event: &Event<'_>, at_ns: u64) -> bool {
        let moment = Moment { steady_ns: 1000 * SECOND + at_ns, local_secs: 0, ..Moment::default() };
        self.windows.passes(self.rule, event, moment).is_ok()
    }
}

#[test]
fn a_threshold_is_reached_within_its_time_and_begins_anew() {
    let rules = rules("  threshold: {count: 3, within: 10s, by: [proc.pid]}\n");
    let mut clock = Clock::new(&rules);
    let at: Vec<bool> = [0, 1, 2, 3, 4, 5].iter().map(|at| clock.passes(&open(1), at * SECOND)).collect();
    assert_eq!(at, [false, false, true, false, false, true]);
    assert!(!clock.passes(&open(2), 6 * SECOND), "another process is counted apart");
    assert!(!clock.passes(&open(2), 7 * SECOND));
    assert!(!clock.passes(&open(2), 16 * SECOND), "the first is over by now");
    assert!(clock.passes(&open(2), 16 * SECOND + 1));
    assert_eq!(clock.windows.counts().withheld, [0, 0, 7, 0]);
}

/// What was counted elsewhere counts from its own time on: not for longer, whatever came in between.
#[test]
fn events_counted_earlier_count_as_of_then() {
    let rules = rules("  threshold: {count: 1000, within: 64s}\n");
    let passes = |windows: &mut Windows, at: u64, since: u64, events: u64| {
        let earlier = Earlier { events, sum: 7 * events, since_ns: (1000 + since) * SECOND };
        let moment = Moment { steady_ns: (1000 + at) * SECOND, earlier, ..Moment::default() };
        windows.passes(&rules.rules()[0], &open(1), moment).is_ok()
    };
    let mut windows = Windows::default();
    assert!(!passes(&mut windows, 100, 99, 900));
    assert!(!passes(&mut windows, 101, 100, 97), "999");
    assert_eq!(windows.counts().withheld, [0, 0, 999, 0]);
    assert!(passes(&mut windows, 102, 102, 0), "one more");
    let mut windows = Windows::default();
    assert!(!passes(&mut windows, 100, 99, 500));
    assert!(!passes(&mut windows, 162, 161, 497), "999");
    assert!(!passes(&mut windows, 163, 98, 900), "those were over before");
    assert!(!passes(&mut windows, 164, 164, 0), "and so are the first 500");
    // Out of order, as of several CPUs.
    assert!(!passes(&mut windows, 165, 150, 400));
    assert!(passes(&mut windows, 166, 140, 200));
}

/// Many events are counted in few marks: never too many, and short by one part of the time at most.
#[test]
fn large_numbers_are_counted_in_little_memory() {
    let rules = rules("  threshold: {count: 10000, within: 1s}\n");
    let mut clock = Clock::new(&rules);
    // Also later on, when the first ones are long over.
    let mut steady = Clock::new(&rules);
    let before = (0..30_000u64).map(|at| at * 125_000);
    assert!(before.into_iter().all(|at| !steady.passes(&open(1), at)), "8000 in a second");
    let then: u64 = 30_000 * 125_000;
    assert!((0..20_000u64).any(|at| steady.passes(&open(1), then + at * 90_000)));
    let fired: Vec<u64> = (0..30_000u64).filter(|at| clock.passes(&open(1), at * 50_000)).collect();
    assert_eq!(fired, [9999, 19_999, 29_999]);
    assert!(clock.windows.counts().bytes < 4096);
    let mut slow = Clock::new(&rules);
    assert!(
        (0..60_000u64).all(|at| !slow.passes(&open(1), at * 101_000)),
        "too slow to be so many in a second"
    );
    // A tenth more than needed is found, however they lie.
    let mut quick = Clock::new(&rules);
    assert!((0..40_000u64).any(|at| quick.passes(&open(1), at * 90_000)));
}

#[test]
fn a_field_may_be_summed_up() {
    let rules = rules("  threshold: {count: 1000, within: 10s, sum: evt.rawres, by: [proc.pid]}\n");
    let mut clock = Clock::new(&rules);
    let sent = |bytes| {
        let mut event = open(1);
        event.set(ids::EVT_RAWRES, Arg::None, Held::One(Value::Int(bytes)));
        event
    };
    let at: Vec<bool> =
        [400, -11, 400, 199, 1].iter().map(|bytes| clock.passes(&sent(*bytes), SECOND)).collect();
    assert_eq!(at, [false, false, false, false, true]);
    assert!(clock.passes(&sent(i64::MAX), 2 * SECOND));
    assert!(!clock.passes(&sent(999), 3 * SECOND) && !clock.passes(&sent(999), 13 * SECOND));
}

#[test]
fn a_throttle_lets_a_burst_through_and_then_its_rate() {
    let rules = rules("  throttle: {burst: 2, per: 10s, by: proc.pid}\n");
    let mut clock = Clock::new(&rules);
    let at: Vec<bool> = [0, 0, 0, 4, 5, 5].iter().map(|at| clock.passes(&open(1), at * SECOND)).collect();
    assert_eq!(at, [true, true, false, false, true, false]);
    assert!(clock.passes(&open(2), 5 * SECOND));
    assert!(clock.passes(&open(1), 60 * SECOND) && clock.passes(&open(1), 60 * SECOND));
    assert!(!clock.passes(&open(1), 60 * SECOND));
    assert!(!rules.rules()[0].is_conditional(), "it is a match, only not told");
}

#[test]
fn a_sequence_needs_its_steps_in_order_and_in_time() {
    let rules = rules("  sequence: {after: is_download, within: 10s, by: [proc.pid]}\n");
    let rule = &rules.rules()[0];
    assert!(rule.events.contains(event_ids::CONNECT) && rule.events.contains(event_ids::OPEN));
    let mut clock = Clock::new(&rules);
    assert!(!clock.passes(&open(1), 0), "nothing came before");
    assert!(!clock.passes(&connect(1), SECOND));
    assert!(!clock.passes(&open(2), 2 * SECOND), "another process");
    assert!(clock.passes(&open(1), 11 * SECOND));
    assert!(!clock.passes(&open(1), 11 * SECOND), "it is used up");
    assert!(!clock.passes(&connect(1), 12 * SECOND));
    assert!(!clock.passes(&open(1), 22 * SECOND + 1), "too late");
}

#[test]
fn steps_may_have_keys_of_their_own() {
    let keys = "  sequence:\n    within: 1m\n    by: [proc.ppid]\n    after:\n    - {condition: is_download, by: \
                [proc.pid]}\n    - {condition: evt.type=open and proc.name=unpack, by: [proc.pid]}\n";
    let rules = rules(keys);
    let mut clock = Clock::new(&rules);
    let child = |name: &'static [u8], pid, parent| {
        let mut event = open(pid);
        event.set(ids::PROC_NAME, Arg::None, Held::One(Value::Bytes(name)));
        event.set(ids::PROC_PPID, Arg::None, Held::One(Value::Int(parent)));
        event
    };
    assert!(!clock.passes(&child(b"unpack", 1, 9), 0), "the second step alone is no beginning");
    assert!(!clock.passes(&child(b"x", 7, 1), SECOND));
    assert!(!clock.passes(&connect(1), 2 * SECOND));
    assert!(!clock.passes(&child(b"x", 7, 1), 3 * SECOND), "a step is missing");
    assert!(!clock.passes(&child(b"unpack", 1, 9), 4 * SECOND));
    assert!(!clock.passes(&child(b"x", 7, 2), 5 * SECOND), "a child of another process");
    assert!(clock.passes(&child(b"x", 7, 1), 6 * SECOND));
}

#[test]
fn cron_and_sessions_say_when_a_rule_counts() {
    let timed = rules("  active: {cron: '* 9-17 * * *'}\n");
    let mut windows = Windows::default();
    let mut at = |hour: i64| {
        let moment = Moment { steady_ns: 1, local_secs: hour * 3600, ..Moment::default() };
        windows.passes(&timed.rules()[0], &open(1), moment)
    };
    assert_eq!((at(12), at(20)), (Ok(()), Err(Withheld::Inactive)));
    for (keys, session, expected) in [
        ("session: continuous", Some("continuous"), Truth::True),
        ("session: [auction, closed]", Some("continuous"), Truth::False),
        ("not_session: continuous", Some("closed"), Truth::True),
        ("not_session: [continuous]", Some("continuous"), Truth::False),
        // Without a calendar there is no session, and nothing outside of it.
        ("not_session: continuous", None, Truth::False),
        ("session: closed", None, Truth::False),
    ] {
        let rules = rules(&format!("  active: {{{keys}}}\n"));
        let mut event = open(1);
        if let Some(session) = session {
            event.set(ids::TRADING_SESSION, Arg::None, Held::One(Value::Bytes(session.as_bytes())));
        }
        assert_eq!(rules.evaluate_rule(RuleId(0), &event), expected, "{keys} {session:?}");
        assert!(rules.rules()[0].window.is_none(), "it is a condition");
    }
}

#[test]
fn what_is_malformed_is_told_with_its_place() {
    for (keys, message) in [
        ("threshold: 5", "`threshold` must be a map, not a scalar"),
        ("threshold: {count: 0, within: 1s}", "`count` must be a whole number from 1 to "),
        ("threshold: {count: 5}", "`threshold` has no `within`"),
        ("threshold: {count: 5, within: 5}", "`within` must be a time up to a week"),
        ("threshold: {count: 5, within: 1y}", "`within` must be a time up to a week"),
        ("threshold: {cuont: 5, within: 1s}", "unknown key `cuont` of `threshold`"),
        ("throttle: {burst: 1, per: 1s, by: [proc.nmae]}", "unknown field `proc.nmae`"),
        ("active: {}", "`active` needs `session`, `not_session` or `cron`"),
        ("active: {session: lunch}", "unknown session `lunch`"),
        ("active: {cron: '* * *'}", "`cron`: a cron expression has five fields, not 3"),
        ("sequence: {after: [], within: 1s}", "`after` must have 1 to 8 steps"),
        ("sequence: {after: 'nothing_such', within: 1s}", "undefined macro `nothing_such`"),
        ("sequence: {after: {by: proc.pid}, within: 1s}", "a step has no `condition`"),
        (
            "sequence: {after: {condition: is_download, by: [proc.pid]}, within: 1s}",
            "a step has 1 fields in `by`, the sequence 0",
        ),
    ] {
        let loaded = loaded(&format!("  {keys}\n"), false);
        let found: Vec<_> = loaded.diagnostics.iter().filter(|found| found.is_error()).collect();
        let text = found.first().map(|found| found.message.as_str()).unwrap_or_default();
        assert!(text.contains(message), "{keys}: {text}");
        let place = loaded.sources.locate(found[0].span.unwrap()).unwrap();
        assert_eq!(place.line, 8, "{keys}");
    }
}

#[test]
fn falco_ignores_the_keys() {
    let loaded = loaded("  threshold: {count: 5, within: 1s}\n", true);
    let rules = loaded.rules.unwrap();
    assert!(rules.rules()[0].window.is_none());
    let unknown = loaded.diagnostics.iter().filter(|found| found.message.contains("unknown key `threshold`"));
    assert_eq!(unknown.map(|found| found.severity).collect::<Vec<_>>(), [Severity::Warning]);
}

#[test]
fn an_override_replaces_one_key() {
    let keys = "  threshold: {count: 5, within: 1s}\n  throttle: {burst: 1, per: 1s}\n- rule: r\n  threshold: {count: \
                7, within: 1s}\n  override: {threshold: replace}\n";
    let rules = rules(keys);
    let window = rules.rules()[0].window.as_ref().unwrap();
    assert_eq!((window.threshold.as_ref().unwrap().count, window.throttle.as_ref().unwrap().burst), (7, 1));
    assert_eq!(window.to_string(), "at 7 of them within 1s; at most 1 alerts in 1s");
}

#[test]
fn a_rule_that_waits_does_not_hide_those_behind_it() {
    let text = "- rule: r\n  desc: d\n  condition: evt.type=open\n  output: o\n  priority: INFO\n  threshold: {count: 2, \
                within: 1s}\n- rule: s\n  desc: d\n  condition: evt.type=open\n  output: o\n  priority: INFO\n";
    let source = Source { name: "r".to_owned(), text: text.into() };
    let options =
        LoadOptions { matching: Matching::First, lints: crate::lint::Lints::All, ..LoadOptions::default() };
    let loaded = load(&[source], &options);
    assert!(
        loaded.diagnostics.iter().all(|found| found.severity == Severity::Note),
        "{:?}",
        loaded.diagnostics
    );
    let mut seen = Vec::new();
    loaded.rules.unwrap().evaluate(event_ids::OPEN, &open(1), |rule| seen.push(rule.name.clone()));
    assert_eq!(seen, ["r", "s"]);
}

#[test]
fn memory_is_bounded_and_what_goes_is_counted() {
    let mut text = String::new();
    for rule in 0..40 {
        write!(
            text,
            "- rule: r{rule}\n  desc: d\n  condition: evt.type=open\n  output: o\n  priority: INFO\n  threshold: {{count: \
             50, within: 1h, by: [fd.name]}}\n"
        )
        .unwrap();
    }
    let loaded = load(&[Source { name: "r".to_owned(), text: text.into_bytes() }], &LoadOptions::default());
    let rules = loaded.rules.unwrap();
    let mut windows = Windows::default();
    let name = |number: u64| {
        let mut event = open(1);
        let text = format!("{number:0300}").into_bytes();
        event.set(ids::FD_NAME, Arg::None, Held::Text(text));
        event
    };
    let mut told = 0;
    for rule in rules.rules() {
        for number in 0..5000 {
            let moment = Moment { steady_ns: number * 1000, local_secs: 0, ..Moment::default() };
            told += u64::from(windows.passes(rule, &name(number), moment).is_ok());
        }
    }
    let counts = windows.counts();
    assert_eq!(told, 0);
    assert!(
        counts.bytes <= state::BYTES_MAX as u64 && counts.keys <= 40 * table::KEYS_MAX as u64,
        "{counts:?}"
    );
    assert!(counts.evicted > 40 * 900, "{counts:?}");
    assert_eq!(counts.keys + counts.evicted, 40 * 5000, "each is remembered or was counted when it went");
    // What was seen last is still counted on.
    let rule = rules.rules().last().unwrap();
    let last = |windows: &mut Windows, at| {
        windows
            .passes(rule, &name(4999), Moment { steady_ns: at, local_secs: 0, ..Moment::default() })
            .is_ok()
    };
    assert!((0..48).all(|at| !last(&mut windows, 5_000_000 + at)) && last(&mut windows, 5_000_100));
    windows.clear();
    assert_eq!((windows.counts().keys, windows.counts().bytes), (0, 0));
}

#[test]
fn series_are_tried_in_rule_tests() {
    let rules = rules("  threshold: {count: 3, within: 1s, by: [proc.pid]}\n");
    let run = |tests: &str| unit::run(&rules, &Source { name: "t.yaml".to_owned(), text: tests.into() });
    let good = run(
        "- rule: r\n  matches:\n  - series: [{times: 2, every: 100ms, event: {evt.type: open, proc.pid: 1}}, {at: \
                    900ms, event: {evt.type: open, proc.pid: 1}}]\n  - {series: [{times: 9, event: {evt.type: open}}], alerts: \
                    3}\n  ignores:\n  - {evt.type: open}\n  - series: [{times: 2, every: 1s, event: {evt.type: open}}, {at: 2s, \
                    event: {evt.type: open}}]\n",
    );
    assert!(good.passed(), "{:?} {:?}", good.failures, good.diagnostics);
    assert_eq!((good.rules[0].matches, good.rules[0].ignores), (2, 2));
    let bad = run("- rule: r\n  matches:\n  - series: [{times: 4, event: {evt.type: open}}]\n");
    assert_eq!(bad.failures[0].expected, "an alert at the last event alone");
    assert_eq!(bad.failures[0].got, "1 alerts");
    for wrong in [
        "series: []",
        "series: [{event: {evt.type: open}, tmes: 3}]",
        "series: [{at: 2s, event: {evt.type: open}}, {at: 1s, event: {evt.type: open}}]",
        "series: [{times: 0, event: {evt.type: open}}]",
        "series: [{at: 1s}]",
    ] {
        let tested = run(&format!("- rule: r\n  matches:\n  - {{{wrong}}}\n"));
        assert!(!tested.passed() && tested.failures.is_empty(), "{wrong}");
    }
}
