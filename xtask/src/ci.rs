//! `cargo xtask ci`: everything a change must pass, in order, each part timed.

use std::time::Instant;

use anyhow::Result;

use crate::{console, lint, test, tidy};

/// A part says whether it passed; an error is what kept it from finding out.
type Part = fn() -> Result<bool>;

/// Runs all parts even after one failed, then names those that did.
pub(crate) fn run() -> bool {
    let parts: [(&str, Part); 3] =
        [("lint", lint::run), ("tidy", tidy::run), ("test", || test::run(&test::Options::default()))];
    let mut rows = Vec::new();
    let mut failed = Vec::new();
    // The tests' closing line must stay the last one, so the summary of the parts before it comes first.
    for (name, part) in parts {
        console::say(format!("== {name}"));
        let started = Instant::now();
        let outcome = part();
        if let Err(error) = &outcome {
            console::error(error);
        }
        let passed = outcome.unwrap_or(false);
        rows.push(format!("{name} {} ({:.1} s)", verdict(passed), started.elapsed().as_secs_f64()));
        if !passed {
            failed.push(name);
        }
    }
    console::complain(format!("ci: {}", rows.join(", ")));
    if !failed.is_empty() {
        console::complain(format!("ci: failed: {}", failed.join(", ")));
    }
    failed.is_empty()
}

fn verdict(passed: bool) -> &'static str {
    if passed { "ok" } else { "FAILED" }
}
