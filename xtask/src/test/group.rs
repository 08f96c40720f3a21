//! The groups of tests and how each is run.

use std::process::Command;
use std::time::Duration;

use anyhow::Result;
use nix::unistd::geteuid;

use super::{Outcome, libtest};
use crate::lint::EBPF_PACKAGE;
use crate::{process, tidy, workspace};

/// The crate of kernel and end-to-end tests.
const KERNEL_PACKAGE: &str = "rampart-tests";
/// Its own test repeats the tidy group.
const TIDY_TEST: &str = "tidy::tests::the_workspace_is_tidy";
/// No group may hang: this holds building it for the first time on a slow machine, and running it.
const LIMIT: Duration = Duration::from_mins(45);

/// Tests that are run and counted together.
pub(super) enum Group {
    /// Unit, property and integration tests of a host crate.
    Crate(String),
    /// Examples in the documentation of the library crates.
    Doc(Vec<String>),
    /// House style, each rule counted as one test.
    Tidy,
    /// Tests that load programs into this kernel.
    Kernel,
}

/// All groups of this workspace, cheap ones first.
pub(super) fn all() -> Result<Vec<Group>> {
    let metadata = workspace::metadata()?;
    let mut groups = vec![Group::Tidy];
    let mut libraries = Vec::new();
    for package in metadata.workspace_packages() {
        let name = package.name.as_str();
        if name == EBPF_PACKAGE || name == KERNEL_PACKAGE {
            continue;
        }
        groups.push(Group::Crate(name.to_owned()));
        if package.targets.iter().any(cargo_metadata::Target::is_lib) {
            libraries.push(name.to_owned());
        }
    }
    groups.push(Group::Doc(libraries));
    groups.push(Group::Kernel);
    Ok(groups)
}

impl Group {
    pub(super) fn name(&self) -> String {
        match self {
            Self::Crate(name) => name.clone(),
            Self::Doc(_) => "doc".to_owned(),
            Self::Tidy => "tidy".to_owned(),
            Self::Kernel => "kernel".to_owned(),
        }
    }

    /// Runs the group; whatever goes wrong is part of the outcome.
    pub(super) fn run(&self) -> Outcome {
        match self {
            Self::Crate(name) => {
                harness(&["test", "--no-fail-fast", "--tests", "--package", name], &["--skip", TIDY_TEST])
            }
            Self::Doc(packages) => {
                let mut arguments = vec!["test", "--no-fail-fast", "--doc"];
                for package in packages {
                    arguments.extend(["--package", package]);
                }
                harness(&arguments, &[])
            }
            Self::Tidy => house_style(),
            Self::Kernel => kernel(),
        }
    }
}

/// Runs cargo's test harness and reads what it prints.
fn harness(arguments: &[&str], test_arguments: &[&str]) -> Outcome {
    let mut command = cargo_test(arguments);
    command.args(["--", "--show-output"]).args(test_arguments);
    match process::bounded(&mut command, LIMIT) {
        Err(error) => Outcome::broken(format!("{error:#}")),
        Ok(finished) => {
            let mut outcome = libtest::read(&finished.stdout);
            if finished.status.is_none() {
                outcome.failed += 1;
                outcome.complaints = format!("stopped after {} s\n{}", LIMIT.as_secs(), finished.stdout);
            } else if !finished.success() && outcome.failed == 0 {
                // It did not compile, or a test took its whole process down.
                outcome.failed = 1;
                outcome.complaints = format!("{}\n{}", finished.stdout.trim(), finished.stderr.trim());
            } else if finished.success() {
                outcome.complaints.clear();
            }
            outcome
        }
    }
}

fn cargo_test(arguments: &[&str]) -> Command {
    let mut command = workspace::cargo();
    command.args(arguments).arg("--quiet").env("RUST_BACKTRACE", "0");
    command
}

fn house_style() -> Outcome {
    match tidy::findings() {
        Err(error) => Outcome::broken(format!("{error:#}")),
        Ok(report) => {
            let failed = report.failed_rules().len();
            Outcome {
                passed: tidy::RULES.len() - failed,
                failed,
                skipped: Vec::new(),
                complaints: report.render(),
            }
        }
    }
}

fn kernel() -> Outcome {
    let package = ["test", "--no-fail-fast", "--tests", "--package", KERNEL_PACKAGE];
    if geteuid().is_root() {
        return harness(&package, &["--test-threads=1"]);
    }
    let mut command = cargo_test(&package);
    command.args(["--", "--list"]);
    match process::bounded(&mut command, LIMIT) {
        Ok(finished) if finished.success() => {
            let reason = |test| format!("{test}: loading kernel programs needs root");
            Outcome {
                skipped: libtest::listed(&finished.stdout).into_iter().map(reason).collect(),
                ..Outcome::default()
            }
        }
        Ok(finished) => Outcome::broken(finished.tail()),
        Err(error) => Outcome::broken(format!("{error:#}")),
    }
}
