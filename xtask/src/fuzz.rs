//! `cargo xtask fuzz`: builds and runs a libFuzzer target of a fuzz crate.
//!
//! Fuzz crates are workspaces of their own (`agent/fuzz`, `rules/fuzz`): their sanitizer flags must not reach the
//! product, and the product must not depend on libFuzzer.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::{console, process, toolchain, workspace};

/// Folders that may hold a fuzz crate.
const CRATES: [&str; 2] = ["agent/fuzz", "rules/fuzz"];
/// Pinned, so that two machines fuzz alike.
const CARGO_FUZZ: &str = "0.13.2";

/// What to fuzz and for how long.
#[derive(Args, Debug)]
pub(crate) struct Options {
    /// Name of the target; without one, the targets are listed
    target: Option<String>,
    /// How long to run it
    #[arg(long, default_value_t = 60)]
    seconds: u32,
    /// Only build it
    #[arg(long)]
    build_only: bool,
}

/// Runs the target until its time is up or an input breaks it.
pub(crate) fn run(options: &Options) -> Result<()> {
    let targets = targets();
    let Some(name) = &options.target else {
        for (folder, target) in &targets {
            console::say(format!("{target}  ({folder})"));
        }
        return Ok(());
    };
    let Some((folder, _)) = targets.iter().find(|(_, target)| target == name) else {
        let known: Vec<&str> = targets.iter().map(|(_, target)| target.as_str()).collect();
        bail!("there is no fuzz target `{name}`; there are: {}", known.join(", "));
    };
    toolchain::ensure()?;
    let cargo_fuzz = installed()?;
    let verb = if options.build_only { "build" } else { "run" };
    let mut command = Command::new(cargo_fuzz);
    command.current_dir(workspace::root()).args(["fuzz", verb, "--fuzz-dir", folder, name]);
    // Sanitizers are unstable options; the flag only unlocks them on a stable compiler.
    command.env("RUSTC_BOOTSTRAP", "1");
    if !options.build_only {
        // New inputs go to the first folder, which is not kept; those in the second are.
        let corpus = Path::new(folder).join("corpus").join(name);
        let seeds = Path::new(folder).join("seeds").join(name);
        std::fs::create_dir_all(workspace::root().join(&corpus)).context("cannot make the corpus folder")?;
        command.arg(corpus);
        if workspace::root().join(&seeds).is_dir() {
            command.arg(seeds);
        }
        command.arg("--").arg(format!("-max_total_time={}", options.seconds)).arg("-timeout=10");
    }
    process::run(&mut command)
}

/// Every target as (folder of its crate, name).
fn targets() -> Vec<(&'static str, String)> {
    let mut targets = Vec::new();
    for folder in CRATES {
        let Ok(entries) = std::fs::read_dir(workspace::root().join(folder).join("fuzz_targets")) else {
            continue;
        };
        for path in entries.filter_map(Result::ok).map(|entry| entry.path()) {
            if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.file_stem().map(|stem| stem.to_string_lossy().into_owned());
                targets.extend(name.map(|name| (folder, name)));
            }
        }
    }
    targets.sort();
    targets
}

/// cargo-fuzz from the tool cache, built at its first use.
fn installed() -> Result<PathBuf> {
    let folder = workspace::cache()?.join(format!("tools/cargo-fuzz-{CARGO_FUZZ}"));
    let program = folder.join("bin/cargo-fuzz");
    if !Path::new(&program).is_file() {
        console::say(format!("installing cargo-fuzz {CARGO_FUZZ} (first use)"));
        process::run(
            workspace::cargo()
                .args(["install", "cargo-fuzz", "--version", CARGO_FUZZ, "--locked", "--quiet", "--root"])
                .arg(&folder),
        )
        .context("cannot install cargo-fuzz")?;
    }
    Ok(program)
}
