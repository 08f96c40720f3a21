//! `bench churn`: the agent's own bench program, with goals.

use anyhow::Result;

use super::measured::{Goal, Report};
use super::program;

/// What is measured, and what it should reach. Growth is the largest resident memory over that of the first tenth.
const GOALS: [(&str, Option<Goal>); 3] = [
    ("churn.rss_mb", Some(Goal::AtMost(80.0))),
    ("churn.growth", Some(Goal::AtMost(1.1))),
    ("churn.forks_per_s", None),
];

/// Builds and runs the program.
pub(super) fn run(json: bool) -> Result<Report> {
    let bench = ["--package", "rampart-agent", "--features", "test-util", "--bench", "churn"];
    program::run("churn", &bench, &GOALS, json)
}
