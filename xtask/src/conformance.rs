//! `cargo xtask conformance`: facts of upstream's own tests, run by a test program of each crate they are about.
//!
//! The programs count and print; this command starts them and adds up their closing lines, because it must not
//! depend on the crates itself.

use std::ops::AddAssign;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::{console, toolchain, workspace};

/// Crates with a test program of that name.
const PACKAGES: [&str; 2] = ["rampart-rules", "rampart-agent"];

/// Which facts.
#[derive(Args, Debug)]
pub(crate) struct Options {
    /// Files of facts, in the form of `falco/conformance.yaml`
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
}

/// What a closing line says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Count {
    passed: u64,
    failed: u64,
    skipped: u64,
}

impl AddAssign for Count {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

/// Runs all files; says whether no fact failed.
pub(crate) fn run(options: &Options) -> Result<bool> {
    let mut files = Vec::new();
    for file in &options.files {
        files.push(file.canonicalize().with_context(|| format!("cannot read `{}`", file.display()))?);
    }
    // The agent embeds its kernel programs, so its test program needs them built.
    toolchain::ensure()?;
    let mut total = Count::default();
    for file in &files {
        if files.len() > 1 {
            console::say(format!("{}:", file.display()));
        }
        for package in PACKAGES {
            total += program(package, file)?;
        }
    }
    console::say(format!("{} passed, {} failed, {} skipped", total.passed, total.failed, total.skipped));
    Ok(total.failed == 0)
}

/// Runs a crate's program and passes on all it says but the closing line.
fn program(package: &str, file: &Path) -> Result<Count> {
    let mut command = workspace::cargo();
    command.args(["test", "--quiet", "--package", package, "--test", "conformance", "--", "--facts"]);
    command.arg(file).stdin(Stdio::null()).stderr(Stdio::inherit());
    let output = command.output().with_context(|| format!("cannot run the facts of `{package}`"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let (lines, last) = text.trim_end().rsplit_once('\n').unwrap_or(("", text.trim_end()));
    if !lines.is_empty() {
        console::say(lines);
    }
    let Some(count) = closing(last) else {
        bail!("the facts of `{package}` ended with {} and without a result: {last}", output.status);
    };
    // A program that counts no failure and yet fails has not run everything.
    if count.failed == 0 && !output.status.success() {
        bail!("the facts of `{package}` ended with {}", output.status);
    }
    Ok(count)
}

/// Reads `N passed, N failed, N skipped`.
fn closing(line: &str) -> Option<Count> {
    let mut parts = line.split(", ");
    let mut number = |word: &str| parts.next()?.strip_suffix(word)?.trim_end().parse().ok();
    let count = Count { passed: number("passed")?, failed: number("failed")?, skipped: number("skipped")? };
    parts.next().is_none().then_some(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_closing_line_is_one() {
        let count = Count { passed: 12, failed: 3, skipped: 0 };
        assert_eq!(closing("12 passed, 3 failed, 0 skipped"), Some(count));
        for other in
            ["", "12 passed", "parse: 3/3", "1 passed, 2 failed, x skipped", "1 failed, 2 passed, 3 skipped"]
        {
            assert_eq!(closing(other), None, "{other}");
        }
    }
}
