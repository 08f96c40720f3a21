//! `bench rules`: the rule library's own bench program, with goals.

use anyhow::Result;

use super::measured::{Goal, Report};
use super::program;

/// What is measured, and what it should reach.
const GOALS: [(&str, Option<Goal>); 5] = [
    ("userspace.evaluations_per_s", Some(Goal::AtLeast(500_000.0))),
    ("userspace.evaluations_all_per_s", None),
    ("rules.load_upstream_ms", Some(Goal::AtMost(30.0))),
    ("rules.load_5000_ms", Some(Goal::AtMost(1000.0))),
    ("rules.allocations_per_event", Some(Goal::AtMost(0.0))),
];

/// Builds and runs the program; fails when it does not give every number.
pub(super) fn run(rounds: usize, json: bool) -> Result<Report> {
    let rounds = rounds.to_string();
    let bench =
        ["bench", "--quiet", "--package", "rampart-rules", "--bench", "evaluate", "--", "--rounds", &rounds];
    program::run("rules", &bench, &GOALS, json)
}
