//! `cargo xtask bench`: numbers about this machine, each measured against a baseline in the same run.
//!
//! Variants are interleaved and repeated, and the median is shown with the extremes: a number without its spread
//! says nothing on a shared machine.

mod churn;
mod counters;
mod events;
mod program;
mod replay;
mod rules;
mod usage;

use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::{Args, Subcommand};
use nix::unistd::geteuid;
use serde_json::json;

use crate::{build, console};

/// Which bench, and how.
#[derive(Args, Debug)]
pub(crate) struct Options {
    #[command(subcommand)]
    bench: Bench,
    /// One JSON object per line on standard output; progress goes to standard error
    #[arg(long, global = true)]
    json: bool,
    /// How often each variant is measured
    #[arg(long, global = true, default_value_t = 7)]
    rounds: usize,
    /// Use this agent instead of building one
    #[arg(long, global = true, value_name = "FILE")]
    binary: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Bench {
    /// What the agent adds to system calls, opens and execs, what it uses itself, and that it accounts for all
    Events,
    /// What memory the process table takes over ten million processes; needs no privileges
    Churn,
    /// How fast a recording, made in the same run, is judged again
    Replay,
    /// How fast rules load and events are evaluated, over a recorded mix of events; needs no privileges
    Rules,
}

/// What a value is compared with.
#[derive(Clone, Copy, Debug)]
enum Goal {
    AtMost(f64),
    AtLeast(f64),
}

/// One number with its baseline and goal.
#[derive(Clone, Debug)]
struct Measured {
    id: &'static str,
    value: f64,
    unit: &'static str,
    /// The same without the agent, where that means anything.
    baseline: Option<f64>,
    /// Smallest and largest of the repeated measurements, where there were several.
    spread: Option<(f64, f64)>,
    goal: Option<Goal>,
}

/// Runs the bench; says whether everything that must hold does. A missed goal is shown, not a failure.
pub(crate) fn run(options: &Options) -> Result<bool> {
    if options.rounds == 0 {
        bail!("at least one round is needed");
    }
    match options.bench {
        Bench::Churn => churn::run(options.json),
        Bench::Events => events::run(&agent(options)?, options.rounds, options.json),
        Bench::Replay => replay::run(&agent(options)?, options.rounds, options.json),
        Bench::Rules => rules::run(options.rounds, options.json),
    }
}

/// The agent to measure, for benches that load kernel programs.
fn agent(options: &Options) -> Result<PathBuf> {
    if !geteuid().is_root() {
        bail!("this bench loads kernel programs: run it as root");
    }
    match &options.binary {
        Some(binary) => Ok(binary.clone()),
        None => build::agent(),
    }
}

/// Progress, kept off standard output when that carries data.
fn progress(json: bool, line: &str) {
    if json { console::complain(line) } else { console::say(line) }
}

impl Goal {
    fn holds(self, value: f64) -> bool {
        match self {
            Self::AtMost(limit) => value <= limit,
            Self::AtLeast(limit) => value >= limit,
        }
    }

    fn limit(self) -> f64 {
        let (Self::AtMost(limit) | Self::AtLeast(limit)) = self;
        limit
    }

    fn text(self) -> String {
        match self {
            Self::AtMost(limit) => format!("≤ {limit}"),
            Self::AtLeast(limit) => format!("≥ {limit}"),
        }
    }
}

impl Measured {
    fn ok(&self) -> Option<bool> {
        self.goal.map(|goal| goal.holds(self.value))
    }

    fn json(&self) -> String {
        json!({
            "id": self.id,
            "value": rounded(self.value),
            "unit": self.unit,
            "baseline": self.baseline.map(rounded),
            "goal": self.goal.map(Goal::limit),
            "ok": self.ok(),
            "min": self.spread.map(|(min, _)| rounded(min)),
            "max": self.spread.map(|(_, max)| rounded(max)),
        })
        .to_string()
    }

    fn row(&self) -> Vec<String> {
        let number = |value: f64| rounded(value).to_string();
        let optional = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
        let verdict = self.ok().map(|ok| if ok { "ok" } else { "missed" }.to_owned());
        vec![
            self.id.to_owned(),
            number(self.value),
            self.unit.to_owned(),
            optional(self.spread.map(|(min, max)| format!("{} … {}", number(min), number(max)))),
            optional(self.baseline.map(number)),
            optional(self.goal.map(Goal::text)),
            optional(verdict),
        ]
    }
}

/// Prints all numbers in the wanted form.
fn print(results: &[Measured], json: bool) {
    if json {
        for result in results {
            console::say(result.json());
        }
    } else {
        let rows: Vec<Vec<String>> = results.iter().map(Measured::row).collect();
        console::table(&["id", "median", "unit", "min … max", "baseline", "goal", ""], &rows);
    }
}

/// Three significant decimals are more than any of these numbers deserves.
fn rounded(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

/// Middle of the values; the mean of the middle two when their number is even, 0 when there are none.
fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = |index: usize| sorted.get(index).copied().unwrap_or(0.0);
    let middle = sorted.len() / 2;
    if sorted.len() % 2 == 1 { at(middle) } else { f64::midpoint(at(middle.saturating_sub(1)), at(middle)) }
}

/// Smallest and largest value.
fn spread(values: &[f64]) -> Option<(f64, f64)> {
    let min = values.iter().copied().min_by(f64::total_cmp)?;
    let max = values.iter().copied().max_by(f64::total_cmp)?;
    Some((min, max))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_not_moved_by_one_outlier() {
        assert!((median(&[3.0, 1.0, 1000.0]) - 3.0).abs() < f64::EPSILON);
        assert!((median(&[1.0, 2.0, 3.0, 1000.0]) - 2.5).abs() < f64::EPSILON);
        assert_eq!(spread(&[3.0, 1.0, 2.0]), Some((1.0, 3.0)));
        assert_eq!(spread(&[]), None);
    }

    #[test]
    fn a_result_says_whether_it_reaches_its_goal() {
        let mut result = Measured {
            id: "a.b",
            value: 24.5,
            unit: "ns",
            baseline: Some(60.0),
            spread: Some((20.0, 30.0)),
            goal: Some(Goal::AtMost(25.0)),
        };
        let value: serde_json::Value = serde_json::from_str(&result.json()).unwrap();
        assert_eq!(value["id"], "a.b");
        assert_eq!(value["goal"], 25.0);
        assert_eq!(value["ok"], true);
        result.goal = Some(Goal::AtLeast(25.0));
        assert_eq!(result.ok(), Some(false));
        result.goal = None;
        assert_eq!(result.ok(), None);
    }
}
