//! `bench churn`: a program of the agent, with goals.

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
    // With the release profile, so that dependencies built for the agent are built once.
    let mut args = vec!["run", "--quiet", "--release", "--package", "rampart-agent"];
    args.extend(["--features", "test-util", "--example", "churn"]);
    program::run("churn", &args, &GOALS, json)
}
