//! `cargo xtask docs`: what the documents say is tried out.
//!
//! Every YAML block of `docs/` says what it is (```` ```yaml rules ````, `config`, `collector`, `values`, `other`) and is
//! given to the program that reads it; every command of ours in an `sh` block is given to its own command line with
//! `--help` behind it, which refuses options that do not exist. Links must lead somewhere,
//! tests that a page names must exist. The references of settings and
//! metrics are made from the code. Alert rules are tested by Prometheus' own tool, where it is installed.

mod reference;
mod snippet;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Subcommand;

use self::snippet::Snippet;
use crate::checks::Checks;
use crate::{build, process, toolchain, workspace};

/// A program that is asked answers within seconds, also on a busy machine.
const LIMIT: Duration = Duration::from_mins(1);
/// Our programs.
const PROGRAMS: [&str; 2] = ["rampart", "rampart-collector"];

/// What to do with the documents.
#[derive(Debug, Subcommand)]
pub(crate) enum Task {
    /// Try every snippet, follow every link, compare the references, test the alert rules
    ///
    /// `RAMPART_UPDATE=1` writes the references anew.
    Test {
        /// Use the debug build that is there
        #[arg(long)]
        no_build: bool,
    },
}

/// Runs the command; says whether nothing failed.
pub(crate) fn run(task: &Task) -> Result<bool> {
    match task {
        Task::Test { no_build } => {
            if !no_build {
                build::run(&build::Options::DEBUG)?;
            }
            Ok(test()?.print())
        }
    }
}

/// Every check of the documents; the binaries are built.
pub(crate) fn test() -> Result<Checks> {
    let mut checks = Checks::default();
    let binaries = workspace::metadata()?.target_directory.join("debug").into_std_path_buf();
    for (name, result) in reference::check(&binaries)? {
        checks.add(name, result);
    }
    let folder = workspace::root().join("docs");
    let pages = pages(&folder)?;
    for page in &pages {
        let text = fs::read_to_string(page).with_context(|| format!("cannot read `{}`", page.display()))?;
        let name = page.strip_prefix(&folder).unwrap_or(page).display().to_string();
        for snippet in snippet::all(&text) {
            checks.add(format!("docs/{name}:{}", snippet.line), tried(&snippet, &binaries));
        }
        checks.add(format!("docs/{name}: links"), links(page, &text));
        checks.add(format!("docs/{name}: tests that it names"), tests_exist(&text));
    }
    checks.add("every page is in the summary", summary(&folder, &pages));
    alerts(&mut checks)?;
    Ok(checks)
}

fn pages(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut pages = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("cannot list `{}`", folder.display()))? {
        let path = entry?.path();
        if path.extension().is_some_and(|end| end == "md") {
            pages.push(path);
        }
    }
    pages.sort();
    Ok(pages)
}

/// Gives a snippet to whom it is for.
fn tried(snippet: &Snippet, binaries: &Path) -> Result<()> {
    let folder = tempfile::tempdir().context("cannot make a folder")?;
    let file = folder.path().join("snippet.yaml");
    fs::write(&file, &snippet.text)?;
    let check = |program: &str, option: &str| {
        let mut command = Command::new(binaries.join(program));
        accepted(command.arg("check").arg(option).arg(&file))
    };
    match snippet.kind.as_str() {
        "yaml rules" => check("rampart", "--rules"),
        "yaml config" => check("rampart", "--config"),
        "yaml collector" => check("rampart-collector", "--config"),
        "yaml tests" | "yaml values" | "yaml other" => {
            serde_yaml::from_str::<serde_yaml::Value>(&snippet.text).map(drop).context("no YAML")
        }
        "sh" => snippet::commands(&snippet.text).iter().try_for_each(|words| known(words, binaries)),
        "yaml" => bail!("say what it is: rules, config, collector, tests, values or other"),
        _ => Ok(()),
    }
}

/// A command of ours, whose words its own command line must know.
fn known(words: &[String], binaries: &Path) -> Result<()> {
    let Some((program, rest)) = words.split_first() else { return Ok(()) };
    let program = program.rsplit('/').next().unwrap_or_default();
    let mut command = if PROGRAMS.contains(&program) {
        Command::new(binaries.join(program))
    } else if program == "cargo" && rest.first().is_some_and(|word| word == "xtask") {
        Command::new(std::env::current_exe().context("cannot find this program")?)
    } else {
        return Ok(());
    };
    let skip = usize::from(program == "cargo");
    command.args(rest.iter().skip(skip)).arg("--help");
    accepted(&mut command).with_context(|| format!("`{}`", words.join(" ")))
}

fn accepted(command: &mut Command) -> Result<()> {
    let finished = process::bounded(command, LIMIT)?;
    if finished.success() { Ok(()) } else { bail!("{}{}", finished.stdout.trim(), finished.stderr.trim()) }
}

/// Links into the repository must lead to a file, and to a heading of it.
fn links(page: &Path, text: &str) -> Result<()> {
    let folder = page.parent().unwrap_or(page);
    for link in snippet::links(text) {
        if link.contains("://") {
            continue;
        }
        let (file, heading) = link.split_once('#').unwrap_or((&link, ""));
        let target = if file.is_empty() { page.to_path_buf() } else { folder.join(file) };
        if !target.exists() {
            bail!("`{link}` leads nowhere");
        }
        if !heading.is_empty() {
            let text =
                fs::read_to_string(&target).with_context(|| format!("cannot read `{}`", target.display()))?;
            if !snippet::headings(&text).contains(heading) {
                bail!("`{link}`: there is no such heading");
            }
        }
    }
    Ok(())
}

/// A test in a page, `FILE::NAME` between backticks, must be in that file.
fn tests_exist(text: &str) -> Result<()> {
    for (file, name) in text.split('`').filter_map(|word| word.split_once(".rs::")) {
        let path = workspace::root().join(format!("{file}.rs"));
        let code = fs::read_to_string(&path).with_context(|| format!("cannot read `{}`", path.display()))?;
        if !code.contains(&format!("fn {name}(")) {
            bail!("`{file}.rs` has no `{name}`");
        }
    }
    Ok(())
}

fn summary(folder: &Path, pages: &[PathBuf]) -> Result<()> {
    let text = fs::read_to_string(folder.join("SUMMARY.md")).context("there is no `docs/SUMMARY.md`")?;
    let named: BTreeSet<String> = snippet::links(&text).into_iter().collect();
    for page in pages {
        let name = page.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name != "SUMMARY.md" && !named.contains(&name) {
            bail!("`docs/{name}` is not in the summary");
        }
    }
    Ok(())
}

/// Alert rules, by Prometheus' own tool; each alert has a section in the runbook.
fn alerts(checks: &mut Checks) -> Result<()> {
    let folder = workspace::root().join("deploy/prometheus");
    let runbook = fs::read_to_string(workspace::root().join("docs/operations.md")).unwrap_or_default();
    let headings = snippet::headings(&runbook);
    let mut files = Vec::new();
    for (place, end) in [(folder.clone(), ".rules.yaml"), (folder.join("tests"), ".test.yaml")] {
        for entry in fs::read_dir(&place).with_context(|| format!("cannot list `{}`", place.display()))? {
            let path = entry?.path();
            if path.to_string_lossy().ends_with(end) {
                files.push((end, path));
            }
        }
    }
    files.sort();
    toolchain::prometheus();
    for (end, path) in files {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if end == ".rules.yaml" {
            checks.add(format!("{name}: each alert is in the runbook"), in_runbook(&path, &headings));
        }
        if workspace::program("promtool").is_none() {
            checks.skip(&name, "`promtool` is not installed");
            continue;
        }
        let verb = if end == ".rules.yaml" { ["check", "rules"] } else { ["test", "rules"] };
        checks.add(
            format!("{name}: {}", verb.join(" ")),
            accepted(Command::new("promtool").args(verb).arg(&path)),
        );
    }
    Ok(())
}

fn in_runbook(path: &Path, headings: &BTreeSet<String>) -> Result<()> {
    let text = fs::read_to_string(path)?;
    let names = text.lines().filter_map(|line| line.trim().strip_prefix("- alert: "));
    let missing: Vec<&str> = names.filter(|name| !headings.contains(&name.to_lowercase())).collect();
    if missing.is_empty() {
        Ok(())
    } else {
        bail!("`docs/operations.md` has no section {}", missing.join(", "))
    }
}
