//! `bench calls`: what the agent adds to a call that no rule asks about, an open, an exec and a connection, under
//! upstream's stable rules.

use std::time::Duration;

use anyhow::{Context, Result};

use super::measured::{Goal, Report};
use super::ruleset;
use super::stage::{Load, Ran, Stage, fastest, quiet_core};
use crate::workload::Loop;

/// Length of one measurement, and of the time before in which the caller becomes known.
const WINDOW: Duration = Duration::from_millis(500);
const WARM: Duration = Duration::from_millis(200);

/// What is measured: how many of its unit are a nanosecond, and the goal.
struct Kind {
    what: Loop,
    id: &'static str,
    unit: &'static str,
    scale: f64,
    goal: Option<Goal>,
}

const KINDS: [Kind; 4] = [
    Kind { what: Loop::Getppid, id: "getppid", unit: "ns", scale: 1.0, goal: Some(Goal::AtMost(25.0)) },
    Kind { what: Loop::Open, id: "open", unit: "ns", scale: 1.0, goal: Some(Goal::AtMost(250.0)) },
    Kind { what: Loop::Connect, id: "connect", unit: "us", scale: 1e-3, goal: None },
    Kind { what: Loop::Exec, id: "exec", unit: "us", scale: 1e-3, goal: None },
];

/// Measures every kind in every variant.
pub(super) fn run(stage: &Stage) -> Result<Report> {
    let (rules, which) = ruleset::stable();
    let file = stage.file();
    let legs = stage.interleave(&rules, |_| {
        let one = |kind: &Kind| {
            let (length, warm) = (WINDOW, WARM);
            Load { kind: kind.what, cpu: quiet_core(), length, warm, rate: 0, file: &file, yardstick: true }
                .run()
        };
        KINDS.iter().map(one).collect::<Result<Vec<Ran>>>()
    })?;
    let mut results = Vec::new();
    for (index, Kind { id, unit, scale, goal, .. }) in KINDS.iter().enumerate() {
        let fastest =
            fastest(legs.every_alone().filter_map(|runs| runs.get(index))).context("nothing was measured")?;
        let each = |runs: &Vec<Ran>| runs.get(index).map_or(0.0, |ran| ran.each_at(&fastest) * scale);
        let added = legs
            .against(format!("calls.{id}.added_{unit}"), unit, |on, off| each(on) - each(off))
            .baseline(legs.alone(each));
        results.push(match goal {
            Some(goal) => added.goal(*goal),
            None => added,
        });
        // Of a short call, the loop around it is a part of the baseline that is not the call's.
        if goal.is_none() {
            results.push(legs.against(format!("calls.{id}.slowdown_percent"), "%", |on, off| {
                (each(on) / each(off).max(f64::MIN_POSITIVE) - 1.0) * 100.0
            }));
        }
    }
    let mut report = Report::new("calls", results).note(format!("rules: {which}"));
    report.notes.extend(stage.about_variants().map(ToOwned::to_owned));
    Ok(report.note(
        "CPU time \
         at the speed that the machine had in the fastest run without the agent, told by batches of `stat` and `getppid` \
         in between; a connection is socket, connect and close over loopback with the accepting side; an exec is spawn \
         and wait of `/bin/true`",
    ))
}
