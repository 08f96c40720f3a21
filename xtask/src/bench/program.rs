//! Bench programs of the product's crates: built and run by cargo, their lines read and judged.

use std::process::Stdio;

use anyhow::{Context, Result, bail};

use super::measured::{Goal, Measured, Report, Summary};
use super::progress;
use crate::workspace;

/// Runs cargo with these arguments; fails when the program does not give every number of `goals`. Lines that
/// start with `#` are progress.
pub(super) fn run(
    bench: &'static str,
    args: &[&str],
    goals: &[(&'static str, Option<Goal>)],
    json: bool,
) -> Result<Report> {
    let mut command = workspace::cargo();
    command.args(args).stdin(Stdio::null()).stderr(Stdio::inherit());
    let output = command.output().context("cannot run the bench program")?;
    let text = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        bail!("the bench program ended with {}: {}", output.status, text.trim_end());
    }
    for line in text.lines().filter_map(|line| line.strip_prefix("# ")) {
        progress(json, line);
    }
    let mut results = Vec::new();
    for (id, goal) in goals {
        let found = text.lines().find_map(|line| measured(line, id, *goal));
        results.push(found.with_context(|| format!("the bench program gave no `{id}`"))?);
    }
    Ok(Report::new(bench, results))
}

/// Reads `ID MEDIAN UNIT MIN MAX`, split by tabs.
fn measured(line: &str, id: &'static str, goal: Option<Goal>) -> Option<Measured> {
    const UNITS: [&str; 8] = ["alerts/s", "events/s", "forks/s", "ms", "allocations", "MB", "MB/s", "ratio"];
    let mut parts = line.strip_prefix(id)?.strip_prefix('\t')?.split('\t');
    let value = parts.next()?.parse().ok()?;
    let unit = parts.next()?;
    let unit = UNITS.into_iter().find(|known| *known == unit)?;
    let (min, max) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    let measured = Measured::new(id, unit, Summary { median: value, min, max });
    Some(match goal {
        Some(goal) => measured.goal(goal),
        None => measured,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_and_judged() {
        let goal = Some(Goal::AtMost(30.0));
        let found =
            measured("rules.load_upstream_ms\t31.5\tms\t12\t40", "rules.load_upstream_ms", goal).unwrap();
        assert_eq!((found.ok(), found.row()[3].as_str()), (Some(false), "12 … 40"));
        assert!(measured("rules.load_upstream_ms_x\t1\tms\t1\t1", "rules.load_upstream_ms", goal).is_none());
        assert!(measured("rules.load_upstream_ms\tfast\tms\t1\t1", "rules.load_upstream_ms", goal).is_none());
    }
}
