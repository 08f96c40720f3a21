//! `bench opens`: what a file that no rule wants costs its opener, with few and with many rules loaded.
//!
//! Each measurement with an agent has one without it before and after; the difference is to the mean of the two, at one
//! speed of the machine.

use std::time::Duration;

use anyhow::{Context, Result};

use super::measured::{Goal, Measured, Report, Summary, median};
use super::ruleset::{self, RuleSet};
use super::stage::{Load, Ran, Stage, Variant, fastest, pause, quiet_core};
use super::watch::{Watched, watched};
use crate::workload::Loop;

/// Numbers of rules; the first and the last make the ratio.
const SIZES: [usize; 4] = [10, 50, 100, 250];
/// Length of one measurement, and of the time before in which the opener becomes known.
const WINDOW: Duration = Duration::from_millis(400);
const WARM: Duration = Duration::from_millis(250);
const ADDED: Goal = Goal::AtMost(250.0);
/// The same as a part of what open and close take alone: 250 of the 585 ns on the machine that the goal was set for.
const SLOWDOWN: Goal = Goal::AtMost(43.0);
const FLAT: Goal = Goal::AtMost(1.3);

/// Rounds of one set in one variant.
struct Case {
    set: RuleSet,
    variant: Variant,
    /// With the agent, then without it before and after.
    runs: Vec<[Ran; 3]>,
    rejected_percent: Vec<f64>,
    agent_ns: Vec<f64>,
}

/// Measures every set in every variant.
pub(super) fn run(stage: &Stage) -> Result<Report> {
    let mut cases = Vec::new();
    for size in SIZES {
        for variant in stage.watching() {
            cases.push(Case::new(ruleset::of_size(stage.folder.path(), size)?, *variant));
        }
    }
    let hook = stage.hook()?;
    let (mut alone, mut bare) = (Vec::new(), Vec::new());
    for round in 0..stage.rounds {
        let mut before = open(stage)?;
        for case in &mut cases {
            let agent = stage.start(&case.set.files, case.variant)?;
            pause()?;
            let (ran, seen) = watched(Some(&agent), || open(stage))?;
            agent.stop()?;
            pause()?;
            let after = open(stage)?;
            case.take([ran, before, after], &seen);
            alone.push(before);
            before = after;
        }
        let attached = hook.attach()?;
        pause()?;
        let ran = open(stage)?;
        drop(attached);
        pause()?;
        bare.push([ran, before, open(stage)?]);
        // Each round begins with another set, so that none always comes first.
        cases.rotate_left(1);
        stage.say(&format!("  round {} of {} done", round + 1, stage.rounds));
    }
    cases.sort_by_key(|case| case.set.count);
    let fastest = fastest(alone.iter()).context("nothing was measured")?;
    let baseline: Vec<f64> = alone.iter().map(|ran| ran.each_at(&fastest)).collect();
    let mut report = Report::new(
        "opens",
        results(&cases, &fastest, Summary::of(&added(&bare, &fastest)), Summary::of(&baseline)),
    );
    let upstream = cases.iter().map(|case| case.set.upstream).max().unwrap_or(0);
    report = report.note(if upstream > 0 {
        format!("rules: up to half of each set, {upstream} at the most, are upstream's stable rules, the rest is made")
    } else {
        "rules: all made; upstream's rules are not at `../shared`".to_owned()
    });
    report.notes.extend(stage.about_variants().map(ToOwned::to_owned));
    Ok(report.note(
        "one operation is open and close of an existing file by its absolute path, by a process that runs for a while; \
         CPU time \
         at the speed that the machine had in the fastest run without the agent, told by batches of `stat` and `getppid` \
         in between",
    ))
}

fn open(stage: &Stage) -> Result<Ran> {
    let file = stage.file();
    Load {
        kind: Loop::Open,
        cpu: quiet_core(),
        length: WINDOW,
        warm: WARM,
        rate: 0,
        file: &file,
        yardstick: true,
    }
    .run()
}

impl Case {
    fn new(set: RuleSet, variant: Variant) -> Self {
        Self { set, variant, runs: Vec::new(), rejected_percent: Vec::new(), agent_ns: Vec::new() }
    }

    /// What the agent adds, at the speed of the fastest run.
    fn added_ns(&self, fastest: &Ran) -> Vec<f64> {
        added(&self.runs, fastest)
    }

    fn take(&mut self, runs: [Ran; 3], seen: &Watched) {
        let [ran, ..] = runs;
        self.runs.push(runs);
        self.rejected_percent.push(seen.rejected_percent());
        // The counters and the agent's time also have the warming.
        let share = WINDOW.as_secs_f64() / (WINDOW + WARM).as_secs_f64();
        self.agent_ns.push(seen.cpu_s * 1e9 * share / ran.count.max(1.0));
    }
}

/// What something adds, at the speed of the fastest run: with it, then without it before and after.
fn added(runs: &[[Ran; 3]], fastest: &Ran) -> Vec<f64> {
    let one = |[on, before, after]: &[Ran; 3]| {
        on.each_at(fastest) - f64::midpoint(before.each_at(fastest), after.each_at(fastest))
    };
    runs.iter().map(one).collect()
}

/// One row per size, then how flat the line is.
fn results(cases: &[Case], fastest: &Ran, bare: Summary, alone: Summary) -> Vec<Measured> {
    let of = |size, variant, pick: &dyn Fn(&Case) -> Vec<f64>| {
        cases.iter().find(|case| case.set.count == size && case.variant == variant).map(pick)
    };
    let rows = |id: &str, unit, pick: &dyn Fn(&Case) -> Vec<f64>| -> Vec<Measured> {
        let row = |size: usize| {
            let pushed = of(size, Variant::Pushed, pick)?;
            let unpushed = of(size, Variant::Unpushed, pick).map(|values| Summary::of(&values));
            Some(Measured::new(format!("{id}.{size}_rules"), unit, Summary::of(&pushed)).unpushed(unpushed))
        };
        SIZES.into_iter().filter_map(row).collect()
    };
    let mut results: Vec<Measured> = rows("opens.added_ns", "ns", &|case| case.added_ns(fastest))
        .into_iter()
        .map(|row| row.bare(Some(bare)).baseline(alone).goal(ADDED))
        .collect();
    let alone_ns = alone.median.max(f64::MIN_POSITIVE);
    let percent = |case: &Case| case.added_ns(fastest).iter().map(|added| added / alone_ns * 100.0).collect();
    let slowdowns = rows("opens.slowdown_percent", "%", &percent).into_iter();
    results.extend(slowdowns.map(|row| row.bare(Some(bare.scaled(100.0 / alone_ns))).goal(SLOWDOWN)));
    let flat = |variant| {
        let [first, .., last] = SIZES;
        let (few, many) = (
            of(first, variant, &|case| case.added_ns(fastest))?,
            of(last, variant, &|case| case.added_ns(fastest))?,
        );
        // A difference below a nanosecond is none that a ratio could be of.
        Some(Summary::one(median(&many) / median(&few).max(1.0)))
    };
    results.extend(flat(Variant::Pushed).map(|ratio| {
        Measured::new("opens.added_250_to_10", "ratio", ratio).unpushed(flat(Variant::Unpushed)).goal(FLAT)
    }));
    results.extend(rows("opens.rejected_percent", "% of events", &|case| case.rejected_percent.clone()));
    results.extend(rows("opens.agent_ns", "ns of the agent's CPU", &|case| case.agent_ns.clone()));
    results
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ratio_is_of_the_largest_to_the_smallest_set() {
        let ran = |text: String| super::super::stage::read(&text).unwrap();
        let off = ran("500 1 100".to_owned());
        let case = |count, variant, added: f64| Case {
            // The machine is twice as slow in one of the rounds.
            runs: vec![
                [ran(format!("{} 1 100", 500.0 + added)), off, off],
                [ran(format!("{} 1 200", 2.0 * (502.0 + added))), off, off],
                [ran(format!("{} 1 100", 501.0 + added)), off, off],
            ],
            ..Case::new(RuleSet { files: Vec::new(), count, upstream: 0 }, variant)
        };
        let cases = [
            case(10, Variant::Pushed, 99.0),
            case(250, Variant::Pushed, 119.0),
            case(10, Variant::Unpushed, 399.0),
            case(250, Variant::Unpushed, 799.0),
        ];
        let results = results(&cases, &off, Summary::one(80.0), Summary::one(500.0));
        let row = |id: &str| results.iter().find(|one| one.id() == id).unwrap();
        assert_eq!(row("opens.added_250_to_10").row()[1..5], ["1.2", "ratio", "-", "2"]);
        assert_eq!(row("opens.added_ns.10_rules").row()[1], "100");
        assert_eq!(row("opens.added_ns.10_rules").ok(), Some(true));
        let slowdown = row("opens.slowdown_percent.10_rules").row();
        assert_eq!((slowdown[1].as_str(), slowdown[5].as_str()), ("20", "16"));
    }
}
