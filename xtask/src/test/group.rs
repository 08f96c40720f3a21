//! The groups of tests and how each is run.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::Result;
use nix::unistd::geteuid;

use super::built::Built;
use super::{Outcome, libtest, second};
use crate::checks::Checks;
use crate::compare::{Comparison, Heard};
use crate::lint::{EBPF_PACKAGES, exclusions};
use crate::triggers::Score;
use crate::{chart, dashboards, demo, docs, image, process, tidy, triggers, workspace};

/// The crate of kernel and end-to-end tests.
const KERNEL_PACKAGE: &str = "rampart-tests";
/// Its own test repeats the tidy group.
const TIDY_TEST: &str = "tidy::tests::the_workspace_is_tidy";
/// No test program may hang; the longest ones run property tests without optimisation.
const LIMIT: Duration = Duration::from_mins(20);

/// Tests that are run and counted together.
pub(super) enum Group {
    /// House style, each rule counted as one test.
    Tidy,
    /// Unit, property and integration tests of a host crate.
    Crate(String),
    /// Examples in the documentation of the library crates.
    Doc,
    /// Tests that load programs into this kernel.
    Kernel,
    /// The live cases of Falco's rule tests, each counted as one test.
    Triggers,
    /// The live cases of our own rule packs, each counted as one test.
    Packs,
    /// The Helm chart, rendered and started.
    Chart,
    /// What the documents say, tried out.
    Docs,
    /// The container image, put together and run.
    Image,
    /// Grafana's dashboards: every query has an answer.
    Dashboards,
    /// The cases of Falco's rule tests and the demo's intrusion with pushdown and without: each with the same alerts.
    Differential,
}

/// All groups of this workspace, cheap ones first.
pub(super) fn all() -> Result<Vec<Group>> {
    let metadata = workspace::metadata()?;
    let mut groups = vec![Group::Tidy];
    for package in metadata.workspace_packages() {
        let name = package.name.as_str();
        if EBPF_PACKAGES.contains(&name) || name == KERNEL_PACKAGE {
            continue;
        }
        groups.push(Group::Crate(name.to_owned()));
    }
    groups.push(Group::Doc);
    groups.push(Group::Kernel);
    groups.push(Group::Triggers);
    groups.push(Group::Packs);
    groups.extend([Group::Chart, Group::Image, Group::Docs, Group::Dashboards]);
    groups.push(Group::Differential);
    Ok(groups)
}

impl Group {
    pub(super) fn name(&self) -> String {
        match self {
            Self::Tidy => "tidy".to_owned(),
            Self::Crate(name) => name.clone(),
            Self::Doc => "doc".to_owned(),
            Self::Kernel => "kernel".to_owned(),
            Self::Triggers => "triggers".to_owned(),
            Self::Packs => "packs".to_owned(),
            Self::Chart => "chart".to_owned(),
            Self::Image => "image".to_owned(),
            Self::Dashboards => "dashboards".to_owned(),
            Self::Docs => "docs".to_owned(),
            Self::Differential => "differential".to_owned(),
        }
    }

    /// Whether it runs compiled test programs.
    pub(super) fn needs_build(&self) -> bool {
        matches!(self, Self::Crate(_) | Self::Kernel)
    }

    /// Whether its tests start the product's binaries.
    pub(super) fn needs_binaries(&self) -> bool {
        matches!(
            self,
            Self::Kernel
                | Self::Triggers
                | Self::Packs
                | Self::Chart
                | Self::Image
                | Self::Dashboards
                | Self::Docs
                | Self::Differential
        )
    }

    /// Whether its tests start the actor of the trigger cases.
    pub(super) fn needs_actor(&self) -> bool {
        matches!(self, Self::Triggers | Self::Packs | Self::Differential)
    }

    /// Runs the group; whatever goes wrong is part of the outcome.
    ///
    /// What the trigger cases came to is kept in `heard`, so that they need not be played again to be compared.
    pub(super) fn run(&self, built: &Built, heard: &mut Option<Heard>) -> Outcome {
        match self {
            Self::Tidy => house_style(),
            Self::Crate(name) => programs(built, name, &["--skip", TIDY_TEST]),
            Self::Doc => documentation(),
            Self::Kernel if geteuid().is_root() => programs(built, KERNEL_PACKAGE, &["--test-threads=1"]),
            Self::Kernel => unprivileged(built),
            Self::Triggers => trigger_cases(heard),
            Self::Packs => pack_cases(),
            Self::Chart => checked(chart::test()),
            Self::Image => checked(image::test()),
            Self::Dashboards => checked(dashboards::test()),
            Self::Docs => checked(docs::test()),
            Self::Differential => differential(heard.take()),
        }
    }
}

/// Runs every test program of a package.
fn programs(built: &Built, package: &str, arguments: &[&str]) -> Outcome {
    let mut outcome = Outcome::default();
    for name in built.missing(package) {
        outcome.add(Outcome::broken(format!("`{name}` did not compile, see above")));
    }
    for program in built.programs(package) {
        let run = |choose: &dyn Fn(&mut Command)| {
            let mut command = program.command();
            command.arg("--show-output");
            choose(&mut command);
            harness(&mut command)
        };
        let mut one = run(&|command| {
            command.args(arguments);
        });
        second::try_again(&mut one, run);
        outcome.add(one);
    }
    outcome
}

fn documentation() -> Outcome {
    let mut command = workspace::cargo();
    // The same crates as for the tests, so that nothing is compiled again for another set of features.
    command.args(["test", "--workspace", "--doc", "--no-fail-fast", "--quiet"]).args(exclusions());
    command.args(["--", "--show-output"]);
    harness(&mut command)
}

/// Runs a test harness and reads what it prints.
fn harness(command: &mut Command) -> Outcome {
    let finished = match process::bounded(command, LIMIT) {
        Ok(finished) => finished,
        Err(error) => return Outcome::broken(format!("{error:#}")),
    };
    let mut outcome = libtest::read(&finished.stdout);
    if finished.status.is_none() {
        outcome.failed += 1;
        outcome.complaints = format!("stopped after {} s\n{}", LIMIT.as_secs(), finished.stdout);
    } else if finished.success() {
        outcome.complaints.clear();
    } else if outcome.failed == 0 {
        // A test took its whole process down, or its example did not compile.
        outcome.failed = 1;
        outcome.complaints = format!("{}\n{}", finished.stdout.trim(), finished.stderr.trim());
    }
    outcome
}

fn house_style() -> Outcome {
    match tidy::findings() {
        Err(error) => Outcome::broken(format!("{error:#}")),
        Ok(report) => {
            let failed = report.failed_rules().len();
            Outcome {
                passed: tidy::RULES.len() - failed,
                failed,
                complaints: report.render(),
                ..Outcome::default()
            }
        }
    }
}

fn trigger_cases(heard: &mut Option<Heard>) -> Outcome {
    let skip =
        |reason: &str| Outcome { skipped: vec![format!("trigger cases: {reason}")], ..Outcome::default() };
    if !geteuid().is_root() {
        return skip("loading kernel programs needs root");
    }
    let (Some(facts), Some(rules)) = (workspace::upstream_facts(), workspace::upstream_rules()) else {
        return skip("the facts and rules of Falco are not at `../shared`");
    };
    match played(&facts, rules) {
        Err(error) => Outcome::broken(format!("{error:#}")),
        Ok(score) => {
            *heard = Some(score.heard().clone());
            of_score(&score)
        }
    }
}

fn pack_cases() -> Outcome {
    if !geteuid().is_root() {
        let skipped = vec!["pack cases: loading kernel programs needs root".to_owned()];
        return Outcome { skipped, ..Outcome::default() };
    }
    let root = workspace::root();
    let mut outcome = Outcome::default();
    for (pack, cases) in triggers::PACKS {
        let score = played(&root.join(cases), root.join(pack));
        outcome
            .add(score.map_or_else(|error| Outcome::broken(format!("{error:#}")), |score| of_score(&score)));
    }
    outcome
}

/// Plays the cases of a file on these rules with the binaries of the workspace.
fn played(cases: &Path, rules: PathBuf) -> Result<Score> {
    let metadata = workspace::metadata()?;
    triggers::test(cases, rules, metadata.target_directory.join("debug").as_std_path())
}

fn of_score(score: &Score) -> Outcome {
    let complaint = |(title, complaint): &(String, String)| format!("FAILED: {title}\n{complaint}\n");
    Outcome {
        passed: score.passed(),
        failed: score.failures().len(),
        skipped: score.skipped(),
        complaints: score.failures().iter().chain(score.unsteady()).map(complaint).collect(),
        unsteady: score.unsteady().iter().map(|(title, _)| title.clone()).collect(),
        ..Outcome::default()
    }
}

/// What failed, one below the other.
fn failures(failures: &[(String, String)]) -> String {
    let one = |(name, text): &(String, String)| format!("FAILED: {name}\n{text}");
    failures.iter().map(one).collect::<Vec<_>>().join("\n")
}

/// Counts checks that are no test programs.
fn checked(checks: Result<Checks>) -> Outcome {
    checks.map_or_else(
        |error| Outcome::broken(format!("{error:#}")),
        |checks| Outcome {
            passed: checks.passed,
            failed: checks.failures.len(),
            complaints: failures(&checks.failures),
            skipped: checks.skipped,
            ..Outcome::default()
        },
    )
}

fn differential(heard: Option<Heard>) -> Outcome {
    let skip =
        |reason: &str| Outcome { skipped: vec![format!("differential: {reason}")], ..Outcome::default() };
    if !geteuid().is_root() {
        return skip("loading kernel programs needs root");
    }
    let (Some(facts), Some(rules)) = (workspace::upstream_facts(), workspace::upstream_rules()) else {
        return skip("the facts and rules of Falco are not at `../shared`");
    };
    let compare = move || {
        let binaries = workspace::metadata()?.target_directory.join("debug");
        let cases = triggers::differential(&facts, rules, binaries.as_std_path(), heard)?;
        Ok([cases, demo::differential(binaries.join("rampart").as_std_path())?])
    };
    let comparisons: Result<[Comparison; 2]> = compare();
    match comparisons {
        Err(error) => Outcome::broken(format!("{error:#}")),
        Ok(comparisons) => {
            let mut outcome = Outcome::default();
            for comparison in &comparisons {
                let complaint = |(name, text): &(String, String)| format!("DIFFERS: {name}\n{text}\n");
                outcome.add(Outcome {
                    passed: comparison.same(),
                    failed: comparison.differences().len(),
                    complaints: comparison.differences().iter().map(complaint).collect(),
                    ..Outcome::default()
                });
            }
            outcome
        }
    }
}

/// Counts the kernel tests as skipped, by name.
fn unprivileged(built: &Built) -> Outcome {
    let mut outcome = Outcome::default();
    for program in built.programs(KERNEL_PACKAGE) {
        match process::bounded(program.command().arg("--list"), LIMIT) {
            Ok(finished) if finished.success() => {
                let reason = |test| format!("{test}: loading kernel programs needs root");
                outcome.skipped.extend(libtest::listed(&finished.stdout).into_iter().map(reason));
            }
            Ok(finished) => outcome.add(Outcome::broken(finished.tail())),
            Err(error) => outcome.add(Outcome::broken(format!("{error:#}"))),
        }
    }
    outcome
}
