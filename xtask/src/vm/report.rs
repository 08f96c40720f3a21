//! The table of programs and kernels, on the terminal and in `docs/kernels.md`.

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::arch::Arch;
use crate::{console, workspace};

const HEAD: &str = "# Kernels

What Debian's kernels make of the kernel programs, measured by `cargo xtask vm-test`: each kernel is booted in QEMU, loads
and attaches every program, runs the kernel tests, and then the agent, which must tell of a read of a file, of a program
and of a connection. A number is how many instructions the verifier went through (where the kernel tells, from 5.16 on;
else how many the program has, in brackets); behind it is by what the program is attached. `events, untyped` are the same
programs as kernels before 6.2 run them, without typed pointers. What a kernel is too old for it must refuse with a reason,
which is part of the test; the tests themselves are run where the agent detects. A skipped test needs what the machine has
not, such as Python.

Detection is asked for from 5.10 on, the oldest kernel that Debian still has. The archive holds none between 5.10 and 6.1 and
none between 6.2 and 6.11, so 5.15 and its kin are not tried.

The kernels of arm64 are booted on x86-64 under full emulation, with the same tests and agent, built by a cross compiler and
linked as they are shipped; there the agent must also tell of a read by a 32-bit program. No real arm64 machine was tried,
and not 5.10, whose arm64 package the archive lists and does not have.

```sh
cargo xtask vm-test 5.10 6.1 6.12 newest
cargo xtask vm-test --arch arm64
cargo xtask vm-test --all
```

`--all`, and any run with `RAMPART_UPDATE=1`, writes this page anew for the kinds of machines of that run, with its kernels.
";

/// A program on a kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Hook {
    pub(super) set: String,
    pub(super) program: String,
    pub(super) loads: bool,
    pub(super) attached: String,
    /// Instructions the verifier went through.
    pub(super) verified: Option<u64>,
    /// Instructions of the program.
    pub(super) kept: u64,
}

/// What a kernel came to.
#[derive(Debug)]
pub(super) struct Leg {
    pub(super) arch: Arch,
    pub(super) name: String,
    pub(super) package: String,
    pub(super) release: String,
    pub(super) hooks: Vec<Hook>,
    /// Why something was refused.
    pub(super) reasons: Vec<String>,
    pub(super) passed: usize,
    pub(super) failed: usize,
    /// Tests that could not be run, with the reason.
    pub(super) skips: Vec<String>,
    /// What the agent did.
    pub(super) agent: String,
    /// What is not as it must be.
    pub(super) complaints: Vec<String>,
}

impl Leg {
    /// Of a kernel that was booted, before anything is known of it.
    pub(super) fn new(arch: Arch, name: String, package: String) -> Self {
        Self {
            arch,
            name,
            package,
            release: String::new(),
            hooks: Vec::new(),
            reasons: Vec::new(),
            passed: 0,
            failed: 0,
            skips: Vec::new(),
            agent: String::new(),
            complaints: Vec::new(),
        }
    }

    /// One line for people.
    pub(super) fn summary(&self) -> String {
        let loaded = self.hooks.iter().filter(|hook| hook.loads).count();
        format!(
            "{loaded} programs load, tests: {} passed, {} failed, {} skipped",
            self.passed,
            self.failed,
            self.skips.len()
        )
    }

    fn cell(&self, set: &str, program: &str) -> String {
        let of = |name: &str| self.hooks.iter().find(|hook| hook.set == set && hook.program == name);
        match of(program).or_else(|| of("*")) {
            None => "–".to_owned(),
            Some(hook) if !hook.loads => "refused".to_owned(),
            Some(hook) => {
                let count =
                    hook.verified.map_or_else(|| format!("({})", hook.kept), |count| count.to_string());
                format!("{count} {}", hook.attached)
            }
        }
    }
}

/// Header and rows of the table of programs.
fn table(legs: &[&Leg]) -> (Vec<String>, Vec<Vec<String>>) {
    let mut programs: Vec<(String, String)> = Vec::new();
    for hook in legs.iter().flat_map(|leg| &leg.hooks).filter(|hook| hook.program != "*") {
        let one = (hook.set.clone(), hook.program.clone());
        if !programs.contains(&one) {
            programs.push(one);
        }
    }
    programs.sort_by_key(|(set, _)| set.clone());
    let header =
        ["set", "program"].into_iter().map(str::to_owned).chain(legs.iter().map(|leg| leg.name.clone()));
    let row = |(set, program): &(String, String)| {
        let cells = legs.iter().map(|leg| leg.cell(set, program));
        [set.clone(), program.clone()].into_iter().chain(cells).collect()
    };
    (header.collect(), programs.iter().map(row).collect())
}

/// Prints the table.
pub(super) fn print(legs: &[Leg]) {
    let all: Vec<&Leg> = legs.iter().collect();
    let (header, rows) = table(&all);
    let header: Vec<&str> = header.iter().map(String::as_str).collect();
    console::table(&header, &rows);
    for leg in legs {
        for reason in &leg.reasons {
            console::say(format!("  {}: {reason}", leg.name));
        }
    }
}

/// Writes the document, or, where not every kernel was booted and nobody asked for it, a copy of it beside the logs. What
/// it says of kinds of machines that were not booted stays.
pub(super) fn write(legs: &[Leg], skipped: &[String], is_whole: bool) -> Result<PathBuf> {
    let is_asked = std::env::var_os("RAMPART_UPDATE").is_some_and(|value| value == "1");
    let document = workspace::root().join("docs/kernels.md");
    let old = fs::read_to_string(&document).unwrap_or_default();
    let path = if is_whole || is_asked { document } else { workspace::root().join("target/vm/kernels.md") };
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).with_context(|| format!("cannot create `{}`", folder.display()))?;
    }
    fs::write(&path, whole(legs, skipped, &old))
        .with_context(|| format!("cannot write `{}`", path.display()))?;
    Ok(path)
}

/// The document, with the sections of an older one for the kinds of machines that were not booted.
fn whole(legs: &[Leg], skipped: &[String], old: &str) -> String {
    let mut text = HEAD.to_owned();
    push_list(&mut text, "Not tried", skipped);
    for arch in Arch::ALL {
        let title = format!("\n## {}\n\n", arch.debian());
        let booted: Vec<&Leg> = legs.iter().filter(|leg| leg.arch == arch).collect();
        let kept = old.split_once(&title).map(|(_, rest)| rest.split("\n## ").next().unwrap_or_default());
        let section = if booted.is_empty() { kept.map(str::to_owned) } else { Some(section(&booted)) };
        let Some(section) = section else { continue };
        text.push_str(&title);
        text.push_str(&section);
    }
    text
}

/// What there is to say of the kernels of one kind of machine.
fn section(legs: &[&Leg]) -> String {
    let mut text = String::new();
    let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
    let rule = |count: usize| line(&vec!["---".to_owned(); count]);
    let header = ["kernel", "package", "tests", "agent"].map(str::to_owned);
    text.push_str(&line(&header));
    text.push_str(&rule(header.len()));
    for leg in legs {
        let tests = match leg.passed + leg.failed {
            0 => "–".to_owned(),
            _ => format!("{} passed, {} failed, {} skipped", leg.passed, leg.failed, leg.skips.len()),
        };
        text.push_str(&line(&[leg.name.clone(), leg.package.clone(), tests, leg.agent.clone()]));
    }
    let (header, rows) = table(legs);
    text.push('\n');
    text.push_str(&line(&header));
    text.push_str(&rule(header.len()));
    for row in &rows {
        text.push_str(&line(row));
    }
    let of = |what: fn(&Leg) -> &[String]| -> Vec<String> {
        legs.iter().flat_map(|leg| what(leg).iter().map(|line| format!("{}: {line}", leg.name))).collect()
    };
    push_list(&mut text, "Reasons of refusals", &of(|leg| &leg.reasons));
    push_list(&mut text, "Tests skipped", &of(|leg| &leg.skips));
    text
}

fn push_list(text: &mut String, title: &str, lines: &[String]) {
    if lines.is_empty() {
        return;
    }
    // Writing to a string cannot fail.
    let _ = writeln!(text, "\n{title}:\n");
    for line in lines {
        let _ = writeln!(text, "- {line}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_booted_stays() {
        let leg = |arch, name: &str| Leg::new(arch, name.to_owned(), format!("linux-{name}"));
        let both = whole(&[leg(Arch::Amd64, "6.1"), leg(Arch::Arm64, "6.1 arm64")], &[], "");
        let newer = whole(&[leg(Arch::Arm64, "6.12 arm64")], &["amd64: no".to_owned()], &both);
        assert!(newer.contains("| 6.1 | linux-6.1 |"), "{newer}");
        assert!(newer.contains("| 6.12 arm64 |") && !newer.contains("| 6.1 arm64 |"), "{newer}");
        assert_eq!(newer.matches("\n## ").count(), 2);
        assert!(newer.contains("Not tried:\n\n- amd64: no\n\n## amd64"), "{newer}");
        assert!(!whole(&[leg(Arch::Arm64, "6.1")], &[], &newer).contains("Not tried"));
    }
}
