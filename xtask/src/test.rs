//! `cargo xtask test`: every test this machine can run, counted once, with one closing line.
//!
//! Groups: one per host crate (unit, property and integration tests), their doc tests, tidy, and the kernel tests
//! of the `tests` crate, which need root and run one at a time. A test that cannot run here prints
//! `SKIP: <test>: <reason>` and counts as skipped, not as passed. One that fails and passes when it is run again alone
//! is named as unsteady.

mod built;
mod group;
mod libtest;
mod second;

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use clap::Args;

use self::built::Built;
use self::group::Group;
use crate::{build, console, interrupt, toolchain, triggers};

/// Which groups to run.
#[derive(Args, Debug, Default)]
pub(crate) struct Options {
    /// Only groups whose name contains this text
    #[arg(long)]
    filter: Option<String>,
}

/// What a group came to.
#[derive(Debug, Default, Eq, PartialEq)]
struct Outcome {
    passed: usize,
    failed: usize,
    /// Each skipped test with its reason.
    skipped: Vec<String>,
    /// Names of the tests that failed, where they are known.
    names: Vec<String>,
    /// Tests that failed at first and passed when they were run again, alone.
    unsteady: Vec<String>,
    /// What failed and what it said.
    complaints: String,
}

/// Counts for a closing line.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Tally {
    pub(crate) passed: usize,
    pub(crate) failed: usize,
    pub(crate) skipped: usize,
    /// Of those that passed, how many did so on the second try only.
    pub(crate) unsteady: usize,
}

/// Runs the groups and closes with one line; says whether none failed.
pub(crate) fn run(options: &Options) -> Result<bool> {
    let total = groups(options)?;
    console::say(total.line());
    Ok(total.failed == 0)
}

/// Runs the groups in order, one line each.
pub(crate) fn groups(options: &Options) -> Result<Tally> {
    toolchain::ensure()?;
    toolchain::test_programs();
    let wanted =
        |group: &Group| options.filter.as_ref().is_none_or(|filter| group.name().contains(filter.as_str()));
    let groups: Vec<Group> = group::all()?.into_iter().filter(wanted).collect();
    if groups.is_empty() {
        bail!("no test group's name contains `{}`", options.filter.as_deref().unwrap_or_default());
    }
    let mut built = Built::default();
    if groups.iter().any(Group::needs_build) {
        // The product's binaries and the actor are among what is built.
        built = Built::compile()?;
    } else {
        if groups.iter().any(Group::needs_binaries) {
            build::run(&build::Options::DEBUG)?;
        }
        if groups.iter().any(Group::needs_actor) {
            triggers::build(&["rampart-tests"], false)?;
        }
    }
    let (mut total, mut heard) = (Tally::default(), None);
    for group in groups {
        if interrupt::pending() {
            bail!("interrupted");
        }
        console::begin(format!("group {} … ", group.name()));
        let started = Instant::now();
        let outcome = group.run(&built, &mut heard);
        console::say(outcome.line(started.elapsed()));
        for skip in &outcome.skipped {
            console::say(format!("  skipped {skip}"));
        }
        for name in &outcome.unsteady {
            console::say(format!("  unsteady {name}: it failed, and passed when it was run again alone"));
        }
        if !outcome.complaints.is_empty() {
            console::say(outcome.complaints.trim_end());
        }
        total.add(&outcome.tally());
    }
    Ok(total)
}

impl Tally {
    pub(crate) fn add(&mut self, other: &Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
        self.unsteady += other.unsteady;
    }

    pub(crate) fn line(&self) -> String {
        let line = format!("{} passed, {} failed, {} skipped", self.passed, self.failed, self.skipped);
        if self.unsteady == 0 { line } else { format!("{line}, {} unsteady", self.unsteady) }
    }
}

impl Outcome {
    fn line(&self, took: Duration) -> String {
        format!("{} ({:.1} s)", self.tally().line(), took.as_secs_f64())
    }

    fn tally(&self) -> Tally {
        let (skipped, unsteady) = (self.skipped.len(), self.unsteady.len());
        Tally { passed: self.passed, failed: self.failed, skipped, unsteady }
    }

    fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped.extend(other.skipped);
        self.names.extend(other.names);
        self.unsteady.extend(other.unsteady);
        if !other.complaints.is_empty() {
            self.complaints.push_str(other.complaints.trim_end());
            self.complaints.push('\n');
        }
    }

    /// A group that did not get as far as its tests.
    fn broken(complaint: String) -> Self {
        Self { failed: 1, complaints: complaint, ..Self::default() }
    }
}
