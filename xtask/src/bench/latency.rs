//! `bench latency`: from an event to its alert on the agent's standard output, while other events keep it busy.
//!
//! Both ends are read on one clock in this process: before the marker's open, and when the line has been read.

use std::fs::File;
use std::path::Path;
use std::process::Child;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::measured::{Goal, Measured, Report, Summary, percentile};
use super::ruleset;
use super::stage::{Load, Stage, Variant, cores, pause, ran};
use super::watch::{Watched, watched};
use crate::agent::{Agent, Line};
use crate::workload::Loop;

/// Markers of one run, and the time between two: not a multiple of any timer's period.
const MARKERS: usize = 2000;
const EVERY: Duration = Duration::from_micros(2700);
/// Events per second of the background, on all cores together.
const BACKGROUND: usize = 50_000;
/// Before the first and after the last marker.
const LEAD: Duration = Duration::from_millis(300);
/// An alert that takes longer is missing.
const LINE_LIMIT: Duration = Duration::from_secs(5);
/// Each run has thousands of markers.
const MAX_ROUNDS: usize = 3;
const P99: Goal = Goal::AtMost(5.0);

/// Milliseconds of every marker of one run, and the background.
struct Run {
    variant: Variant,
    milliseconds: Vec<f64>,
    missing: usize,
    watched: Watched,
}

/// Measures beside every variant, in turn.
pub(super) fn run(stage: &Stage) -> Result<Report> {
    let folder = stage.folder.path().canonicalize().context("there is no scratch folder")?;
    let (mut rules, which) = ruleset::stable();
    rules.push(ruleset::marks(&folder)?);
    let rounds = stage.rounds.min(MAX_ROUNDS);
    let mut runs = Vec::new();
    for round in 0..rounds {
        for variant in stage.watching() {
            let agent = stage.start(&rules, *variant)?;
            pause()?;
            let ((milliseconds, missing), watched) = watched(Some(&agent), || busy(&agent, &folder))?;
            agent.stop()?;
            runs.push(Run { variant: *variant, milliseconds, missing, watched });
        }
        stage.say(&format!("  round {} of {rounds} done", round + 1));
    }
    let mut report = Report::new("latency", results(&runs));
    report.notes.extend(stage.about_variants().map(ToOwned::to_owned));
    Ok(report.note(format!("rules: {which}, and two of the bench")).note(format!(
        "{MARKERS} markers a run; meanwhile {BACKGROUND} opens a second on {} cores that userspace must judge: with \
         events that the kernel half rejects it would be idle",
        cores()
    )))
}

/// Opens markers while the background runs; their times in milliseconds, and how many never came.
fn busy(agent: &Agent, folder: &Path) -> Result<(Vec<f64>, usize)> {
    let file = folder.join("busy");
    let markers = u32::try_from(MARKERS)?;
    let length = EVERY * markers + LEAD * 2;
    let rate = u32::try_from(BACKGROUND / cores())?;
    let spawn = |cpu| {
        Load { kind: Loop::Open, cpu, length, warm: Duration::ZERO, rate, file: &file, yardstick: false }
            .spawn()
    };
    let children = (0..cores()).map(spawn).collect::<Result<Vec<Child>>>()?;
    thread::sleep(LEAD);
    let names = folder.to_owned();
    let opener = thread::spawn(move || open(&names, markers));
    let mut arrived: Vec<Option<SystemTime>> = vec![None; MARKERS];
    let mut missing = MARKERS;
    while missing > 0 {
        let Some(line) = agent.line(LINE_LIMIT) else { break };
        if let Some(slot) = marker(&line).and_then(|number| arrived.get_mut(number))
            && slot.replace(line.arrived).is_none()
        {
            missing -= 1;
        }
    }
    for child in children {
        ran(child)?;
    }
    let Ok(begun) = opener.join() else { bail!("the thread that opens markers ended badly") };
    let times = begun.iter().zip(&arrived);
    let milliseconds = times
        .filter_map(|(begun, arrived)| Some((*arrived)?.duration_since(*begun).ok()?.as_secs_f64() * 1e3))
        .collect();
    Ok((milliseconds, missing))
}

/// Opens all markers at their times; says when it began each.
fn open(folder: &Path, markers: u32) -> Vec<SystemTime> {
    let started = Instant::now();
    let mut times = Vec::new();
    for number in 0..markers {
        thread::sleep((EVERY * number).saturating_sub(started.elapsed()));
        let path = folder.join(format!("marker-{number}"));
        times.push(SystemTime::now());
        // There is no such file: the failed open is the event.
        drop(File::open(path));
    }
    times
}

/// The number of the marker that a line of the agent's output is about.
fn marker(line: &Line) -> Option<usize> {
    let value: Value = serde_json::from_str(&line.text).ok()?;
    let name = value.get("output_fields")?.get("fd.name")?.as_str()?;
    name.rsplit_once("/marker-")?.1.parse().ok()
}

fn results(runs: &[Run]) -> Vec<Measured> {
    let of = |variant| runs.iter().filter(move |run| run.variant == variant);
    let row = |id: &str, unit, pick: &dyn Fn(&Run) -> f64| {
        let all = |variant| of(variant).map(pick).collect::<Vec<f64>>();
        let unpushed = all(Variant::Unpushed);
        Measured::new(format!("latency.{id}"), unit, Summary::of(&all(Variant::Pushed)))
            .unpushed((!unpushed.is_empty()).then(|| Summary::of(&unpushed)))
    };
    let length = (EVERY * u32::try_from(MARKERS).unwrap_or(0) + LEAD * 2).as_secs_f64();
    vec![
        row("p50_ms", "ms", &|run| percentile(&run.milliseconds, 500)),
        row("p99_ms", "ms", &|run| percentile(&run.milliseconds, 990)).goal(P99),
        row("p99_9_ms", "ms", &|run| percentile(&run.milliseconds, 999)),
        row("max_ms", "ms", &|run| percentile(&run.milliseconds, 1000)),
        row("missing", "alerts", &|run| f64::from(u32::try_from(run.missing).unwrap_or(u32::MAX)))
            .goal(Goal::AtMost(0.0)),
        row("background_per_s", "events/s", &|run| run.watched.seen / length),
        row("lost", "events", &|run| run.watched.lost),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_belongs_to_its_marker() {
        let line = |text: &str| Line { text: text.to_owned(), arrived: SystemTime::UNIX_EPOCH };
        let text = r#"{"rule":"Bench marker","output_fields":{"fd.name":"/tmp/x/marker-17"}}"#;
        assert_eq!(marker(&line(text)), Some(17));
        assert_eq!(marker(&line(r#"{"rule":"x","output_fields":{"fd.name":"/tmp/x/busy"}}"#)), None);
        assert_eq!(marker(&line("no alert")), None);
    }
}
