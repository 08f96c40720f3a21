//! `cargo xtask lint`: format, clippy and documentation.
//!
//! The host's crates and the kernel half are linted apart: one run over all would let a feature of the shared
//! crate reach the BPF build, and the kernel half only means anything for its own target.

use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

use anyhow::{Result, bail};

use crate::test::Tally;
use crate::toolchain::{self, Record};
use crate::{console, interrupt, process, workspace};

/// The kernel halves; every other member is linted for the host.
pub(crate) const EBPF_PACKAGES: [&str; 3] = ["rampart-ebpf", "rampart-limiter-ebpf", "rampart-services-ebpf"];

/// Runs every check; says whether all passed.
pub(crate) fn run() -> Result<bool> {
    checks().map(|tally| tally.failed == 0)
}

/// Runs every check even after one failed, and counts them.
pub(crate) fn checks() -> Result<Tally> {
    let record = toolchain::ensure()?;
    let mut steps = vec![
        ("format", command(&["fmt", "--all", "--check"])),
        ("clippy, host crates with their tests", {
            let mut command = command(&["clippy", "--workspace", "--all-targets", "--quiet"]);
            command.args(exclusions()).args(["--", "-Dwarnings"]);
            command
        }),
        kernel_half(&record)?,
        ("documentation", documentation()),
    ];
    if workspace::program("cargo-deny").is_some() {
        steps.push(("cargo deny", command(&["deny", "check", "bans", "licenses", "sources"])));
    } else {
        console::say("note: cargo-deny is not installed; tidy checks licences and sources itself");
    }
    let mut tally = Tally::default();
    for (name, mut command) in steps {
        let started = Instant::now();
        let outcome = process::run(&mut command);
        let verdict = if outcome.is_ok() { "ok" } else { "FAILED" };
        console::say(format!("lint: {name} … {verdict} ({:.1} s)", started.elapsed().as_secs_f64()));
        match outcome {
            Ok(()) => tally.passed += 1,
            Err(_) => tally.failed += 1,
        }
        if interrupt::pending() {
            bail!("interrupted");
        }
    }
    Ok(tally)
}

fn command(arguments: &[&str]) -> Command {
    let mut command = workspace::cargo();
    command.args(arguments);
    command
}

/// Leaves the kernel halves out of a run over all members.
pub(crate) fn exclusions() -> impl Iterator<Item = &'static str> {
    EBPF_PACKAGES.into_iter().flat_map(|package| ["--exclude", package])
}

/// With the targets that need what only tests need, of which there are none to document, foreign crates have the same
/// features as for clippy, and are not checked a second time.
fn documentation() -> Command {
    let mut command = command(&["doc", "--workspace", "--no-deps", "--document-private-items", "--quiet"]);
    command.args(["--lib", "--bins", "--examples"]).args(exclusions());
    command.env("RUSTDOCFLAGS", "-Dwarnings");
    command
}

/// Clippy of the pair that builds the kernel half, for its real target; without one, the compiler's warnings.
fn kernel_half(record: &Record) -> Result<(&'static str, Command)> {
    let (name, subcommand) = if record.clippy.is_some() {
        ("clippy, kernel half for the BPF target", "clippy")
    } else {
        ("compiler warnings only, kernel half for the BPF target (its toolchain has no clippy)", "check")
    };
    let target: PathBuf = workspace::metadata()?.target_directory.join("bpf-lint").into();
    let mut command = record.cargo_command(subcommand);
    command.args(EBPF_PACKAGES.iter().flat_map(|package| ["--package", package]));
    command.args(["--profile", "bpf", "--quiet", "--target-dir"]).arg(target);
    command.current_dir(workspace::root());
    if subcommand == "clippy" {
        command.args(["--", "-Dwarnings"]);
    } else {
        // Not through the flags variable: that one carries what the target needs.
        command.args(["--config", "build.warnings=\"deny\""]);
    }
    Ok((name, command))
}
