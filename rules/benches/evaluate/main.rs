//! What loading and evaluating rules costs: upstream's stable rules (the base pack without them) over events that a
//! real agent recorded, and five thousand generated rules.
//!
//! Each variant is measured once per round. A line of the result is `ID MEDIAN UNIT MIN MAX`, split by tabs;
//! `cargo xtask bench rules` adds the goals.

#![expect(clippy::print_stdout, reason = "the report is the purpose of this program")]
#![expect(clippy::cast_precision_loss, reason = "counts here are far below 2^53")]

mod generated;
mod lists;
mod recorded;

use std::{
    env, fs,
    hint::black_box,
    path::PathBuf,
    process::ExitCode,
    time::{Duration, Instant},
};

use rampart_rules::{
    load::{LoadOptions, Source, load},
    pack::BASE_PACK,
    rule::{Matching, RuleSet},
};
use recorded::Event;

/// Rounds unless `--rounds` says otherwise.
const ROUNDS: usize = 7;
/// How many rules the large set has.
const MANY: usize = 5000;
/// How often a round evaluates all recorded events.
const PASSES: u32 = 100;

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    if let Some(at) = arguments.iter().position(|argument| argument == "--take") {
        let alerts = arguments.get(at + 1).and_then(|path| fs::read_to_string(path).ok());
        let count = arguments.get(at + 2).and_then(|count| count.parse().ok()).unwrap_or(256);
        return match alerts.and_then(|alerts| recorded::take(&alerts, count)) {
            Some(text) => {
                print!("{text}");
                ExitCode::SUCCESS
            }
            None => fail("usage: --take ALERTS.JSONL COUNT, with at least COUNT alerts in the file"),
        };
    }
    let rounds = arguments.iter().position(|argument| argument == "--rounds");
    let rounds = rounds.and_then(|at| arguments.get(at + 1)?.parse().ok()).unwrap_or(ROUNDS);
    let Some(events) =
        recorded::read(include_str!("recorded.txt")).filter(|all| recorded::has_connections(all))
    else {
        return fail("the recorded events cannot be read");
    };
    let shared = env::var_os("RAMPART_SHARED")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared"), PathBuf::from);
    let upstream = fs::read_to_string(shared.join("falco/rules/falco_rules.yaml"));
    if upstream.is_err() {
        println!("# upstream's rules are not there, the base pack stands for them");
    }
    let text = upstream.unwrap_or_else(|_| BASE_PACK.to_owned());
    let many = generated::rules(MANY);
    let (Some(first), Some(all)) = (loaded(&text, Matching::First), loaded(&text, Matching::All)) else {
        return fail("the rules do not load");
    };
    let tried: usize = events.iter().map(|event| first.rules_of(event.id).count()).sum();
    println!(
        "# {} rules, {} events recorded, {:.1} rules tried per event, {} matches",
        first.rules().len(),
        events.len(),
        tried as f64 / events.len() as f64,
        pass(&first, &events)
    );
    let mut results: [Vec<f64>; 6] = Default::default();
    for _ in 0..rounds {
        let Some((look_up, load)) = lists::round() else { return fail("the lists do not load") };
        let times = [
            events_per_second(&first, &events),
            events_per_second(&all, &events),
            milliseconds(|| drop(loaded(&text, Matching::First))),
            milliseconds(|| drop(loaded(&many, Matching::First))),
            look_up,
            load,
        ];
        for (known, time) in results.iter_mut().zip(times) {
            known.push(time);
        }
    }
    // The first time lets regular expressions set up their caches.
    pass(&all, &events);
    let used = allocation_counter::measure(|| {
        pass(&first, &events);
        pass(&all, &events);
    });
    let [first, all, load, many, list_look_up, list_load] = &mut results;
    report("userspace.evaluations_per_s", "events/s", first);
    report("userspace.evaluations_all_per_s", "events/s", all);
    report("rules.load_upstream_ms", "ms", load);
    report("rules.load_5000_ms", "ms", many);
    report("lists.look_up_100k_of_10", "times", list_look_up);
    report("lists.load_100k_of_written", "times", list_load);
    let per_event = used.count_total as f64 / (2 * events.len()) as f64;
    report("rules.allocations_per_event", "allocations", &mut [per_event]);
    ExitCode::SUCCESS
}

fn fail(message: &str) -> ExitCode {
    println!("{message}");
    ExitCode::FAILURE
}

fn loaded(text: &str, matching: Matching) -> Option<RuleSet> {
    let source = Source { name: "rules.yaml".to_owned(), text: text.into() };
    load(&[source], &LoadOptions { matching, ..LoadOptions::default() }).rules
}

/// Evaluates every event once; how many rules matched.
fn pass(rules: &RuleSet, events: &[Event]) -> u32 {
    let mut matched = 0;
    for event in events {
        rules.evaluate(event.id, black_box(event), |_| matched += 1);
    }
    black_box(matched)
}

fn events_per_second(rules: &RuleSet, events: &[Event]) -> f64 {
    let time = timed(|| {
        for _ in 0..PASSES {
            pass(rules, events);
        }
    });
    f64::from(PASSES) * events.len() as f64 / time.as_secs_f64()
}

fn milliseconds(f: impl FnOnce()) -> f64 {
    timed(f).as_secs_f64() * 1000.0
}

fn timed(f: impl FnOnce()) -> Duration {
    let started = Instant::now();
    f();
    started.elapsed()
}

fn report(id: &str, unit: &str, values: &mut [f64]) {
    values.sort_unstable_by(f64::total_cmp);
    let at = |index: usize| values.get(index).copied().unwrap_or(f64::NAN);
    println!("{id}\t{}\t{unit}\t{}\t{}", at(values.len() / 2), at(0), at(values.len().saturating_sub(1)));
}
