//! `cargo xtask ci`: everything a change must pass, in order, each part timed.

use std::time::Instant;

use anyhow::Result;

use crate::test::{self, Tally};
use crate::{console, interrupt, lint, tidy, vm};

/// A part counts its checks; an error is what kept it from doing so.
type Part = fn() -> Result<Tally>;

/// Runs all parts even after one failed, names those that did, and closes with one line for the whole.
pub(crate) fn run() -> bool {
    let parts: [(&str, Part); 4] = [
        ("lint", lint::checks),
        // The tests count its rules again, one by one; here it is only said what is wrong, before the long part.
        ("tidy", || tidy::run().map(|passed| Tally { failed: usize::from(!passed), ..Tally::default() })),
        ("test", || test::groups(&test::Options::default())),
        ("kernels", vm::checks),
    ];
    let mut rows = Vec::new();
    let mut total = Tally::default();
    for (name, part) in parts {
        if interrupt::pending() {
            break;
        }
        console::say(format!("== {name}"));
        let started = Instant::now();
        let tally = part().unwrap_or_else(|error| {
            console::error(&error);
            Tally { failed: 1, ..Tally::default() }
        });
        let verdict = if tally.failed == 0 { "ok" } else { "FAILED" };
        rows.push(format!("{name} {verdict} ({:.1} s)", started.elapsed().as_secs_f64()));
        total.add(&tally);
    }
    console::say(format!("ci: {}", rows.join(", ")));
    console::say(total.line());
    total.failed == 0 && !interrupt::pending()
}
