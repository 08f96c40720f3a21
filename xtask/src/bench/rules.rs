//! `bench rules`: the rule library's own bench program, with goals.

use anyhow::Result;

use super::measured::{Goal, Report};
use super::program;

/// What is measured, and what it should reach.
const GOALS: [(&str, Option<Goal>); 7] = [
    ("userspace.evaluations_per_s", Some(Goal::AtLeast(500_000.0))),
    ("userspace.evaluations_all_per_s", None),
    ("rules.load_upstream_ms", Some(Goal::AtMost(30.0))),
    ("rules.load_5000_ms", Some(Goal::AtMost(1000.0))),
    // A list of 100,000 addresses beside one of ten, and beside the same in the rule file.
    ("lists.look_up_100k_of_10", Some(Goal::AtMost(5.0))),
    ("lists.load_100k_of_written", Some(Goal::AtMost(0.5))),
    ("rules.allocations_per_event", Some(Goal::AtMost(0.0))),
];

/// Builds and runs the program; fails when it does not give every number.
pub(super) fn run(rounds: usize, json: bool) -> Result<Report> {
    let rounds = rounds.to_string();
    let bench =
        ["bench", "--quiet", "--package", "rampart-rules", "--bench", "evaluate", "--", "--rounds", &rounds];
    program::run("rules", &bench, &GOALS, json)
}
