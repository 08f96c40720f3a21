//! `bench rules`: the rule library's own bench program, with goals.

use std::process::Stdio;

use anyhow::{Context, Result, bail};

use super::{Goal, Measured, print, progress};
use crate::workspace;

/// What is measured, and what it should reach.
const GOALS: [(&str, Option<Goal>); 5] = [
    ("userspace.evaluations_per_s", Some(Goal::AtLeast(500_000.0))),
    ("userspace.evaluations_all_per_s", None),
    ("rules.load_upstream_ms", Some(Goal::AtMost(30.0))),
    ("rules.load_5000_ms", Some(Goal::AtMost(1000.0))),
    ("rules.allocations_per_event", Some(Goal::AtMost(0.0))),
];

/// Builds and runs the program; fails when it does not give every number.
pub(super) fn run(rounds: usize, json: bool) -> Result<bool> {
    let mut command = workspace::cargo();
    command.args(["bench", "--quiet", "--package", "rampart-rules", "--bench", "evaluate", "--", "--rounds"]);
    command.arg(rounds.to_string()).stdin(Stdio::null()).stderr(Stdio::inherit());
    let output = command.output().context("cannot run the bench of `rampart-rules`")?;
    let text = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        bail!("the bench of `rampart-rules` ended with {}: {}", output.status, text.trim_end());
    }
    for line in text.lines().filter_map(|line| line.strip_prefix("# ")) {
        progress(json, line);
    }
    let mut results = Vec::new();
    for (id, goal) in GOALS {
        let found = text.lines().find_map(|line| measured(line, id, goal));
        results.push(found.with_context(|| format!("the bench of `rampart-rules` gave no `{id}`"))?);
    }
    print(&results, json);
    Ok(true)
}

/// Reads `ID MEDIAN UNIT MIN MAX`, split by tabs.
fn measured(line: &str, id: &'static str, goal: Option<Goal>) -> Option<Measured> {
    let mut parts = line.strip_prefix(id)?.strip_prefix('\t')?.split('\t');
    let value = parts.next()?.parse().ok()?;
    let unit = match parts.next()? {
        "events/s" => "events/s",
        "ms" => "ms",
        "allocations" => "allocations",
        _ => return None,
    };
    let spread = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    Some(Measured { id, value, unit, baseline: None, spread: Some(spread), goal })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_and_judged() {
        let goal = Some(Goal::AtMost(30.0));
        let found =
            measured("rules.load_upstream_ms\t31.5\tms\t12\t40", "rules.load_upstream_ms", goal).unwrap();
        assert_eq!((found.ok(), found.spread), (Some(false), Some((12.0, 40.0))));
        assert!(measured("rules.load_upstream_ms_x\t1\tms\t1\t1", "rules.load_upstream_ms", goal).is_none());
        assert!(measured("rules.load_upstream_ms\tfast\tms\t1\t1", "rules.load_upstream_ms", goal).is_none());
    }
}
