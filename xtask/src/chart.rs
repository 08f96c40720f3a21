//! `cargo xtask chart`: the Helm chart, rendered by Helm's own engine.
//!
//! `helm/tests/*.values.yaml` are the cases: what each renders to is kept in `helm/tests/golden`, validated against the
//! schemas of Kubernetes, and the configuration in it is given to the real binaries. `helm/tests/refused` has values that
//! must be refused, each with the words that must be said. Owns the values' schema, which is made from the agent's, and the
//! chart's copies of alert rules and dashboards.

mod accept;
mod copies;
mod manifest;
mod python;
mod review;
mod schema;
mod start;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::Subcommand;
use serde_json::{Value, json};

use self::manifest::Manifest;
use self::python::Python;
use crate::checks::Checks;
use crate::{build, console, workspace};

/// The script that speaks to Helm.
const RENDER: &str = include_str!("chart/render.py");
/// Variable that rewrites what is compared.
const UPDATE: &str = "RAMPART_UPDATE";
/// Cases that are started.
const STARTED: [&str; 2] = ["collector", "generated"];
/// How the first line of a case that must be refused begins.
const EXPECTS: &str = "# expects: ";

/// What to do with the chart.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Lint, render, validate and compare every case, and start what is rendered
    ///
    /// `RAMPART_UPDATE=1` writes the golden files, the schema of the values and the chart's copies of files anew.
    Test {
        /// Use the debug build that is there
        #[arg(long)]
        no_build: bool,
    },
    /// Print what a file of values renders to
    Render {
        /// The file; without one, the chart's own values
        values: Option<PathBuf>,
    },
}

/// One case.
struct Case {
    name: String,
    file: PathBuf,
    /// What must be said when it is refused.
    refusal: Option<String>,
}

/// Runs the command; says whether nothing failed.
pub(crate) fn run(command: &Command) -> Result<bool> {
    match command {
        Command::Test { no_build } => {
            if !no_build {
                build::run(&build::Options::DEBUG)?;
            }
            Ok(test()?.print())
        }
        Command::Render { values } => {
            let python = Python::ready()?;
            let file = values.clone().unwrap_or_else(|| folder().join("values.yaml"));
            let case = Case { name: "values".to_owned(), file, refusal: None };
            let answer = ask(&python, &[case])?;
            match answer.pointer("/cases/values/manifest").and_then(Value::as_str) {
                Some(text) => console::say(text),
                None => {
                    bail!("{}", answer.pointer("/cases/values/error").and_then(Value::as_str).unwrap_or("?"))
                }
            }
            Ok(true)
        }
    }
}

/// Every check of the chart; the binaries are built.
pub(crate) fn test() -> Result<Checks> {
    let mut checks = Checks::default();
    checks.add(
        "the schema of the values is the one made from the agent's",
        schema::check(&folder(), is_update()),
    );
    checks.add("the chart's copies of files are as their originals", copies::check(&folder(), is_update()));
    let python = match Python::ready() {
        Ok(python) => python,
        Err(reason) => {
            checks.skip("chart", &format!("Helm's engine is not to be had: {reason:#}"));
            return Ok(checks);
        }
    };
    let cases = cases()?;
    let answer = ask(&python, &cases)?;
    let said = |path: &str| answer.pointer(path).and_then(Value::as_str).unwrap_or_default().to_owned();
    checks.add(
        "lint",
        match said("/lint").as_str() {
            "" => Ok(()),
            text => Err(anyhow::anyhow!("{text}")),
        },
    );
    let mut manifests = BTreeMap::new();
    for case in &cases {
        let (manifest, error) =
            (said(&format!("/cases/{}/manifest", case.name)), said(&format!("/cases/{}/error", case.name)));
        if let Some(words) = &case.refusal {
            checks.add(format!("{} is refused", case.name), refused(&error, words));
            continue;
        }
        if !error.is_empty() {
            checks.add(format!("{} renders", case.name), Err(anyhow::anyhow!("{error}")));
            continue;
        }
        checks.add(
            format!("{} is valid", case.name),
            match said(&format!("/cases/{}/invalid", case.name)) {
                text if text.is_empty() => Ok(()),
                text => Err(anyhow::anyhow!("{text}")),
            },
        );
        let manifest = Manifest::parse(&manifest)?;
        checks.add(format!("{} is as before", case.name), golden(&case.name, &manifest));
        manifests.insert(case.name.clone(), manifest);
    }
    for (name, manifest) in &manifests {
        accept::check(name, manifest, &mut checks);
    }
    for name in STARTED {
        match manifests.get(name) {
            Some(manifest) => start::check(name, manifest, &mut checks),
            None => checks.add("started for real", Err(anyhow::anyhow!("there is no case `{name}`"))),
        }
    }
    Ok(checks)
}

fn is_update() -> bool {
    std::env::var_os(UPDATE).is_some_and(|value| value == "1")
}

fn folder() -> PathBuf {
    workspace::root().join("helm")
}

/// Everything that is rendered, sorted by name.
fn cases() -> Result<Vec<Case>> {
    let mut cases = Vec::new();
    for (folder, is_refused) in [("tests", false), ("tests/refused", true)] {
        let folder = self::folder().join(folder);
        for entry in fs::read_dir(&folder).with_context(|| format!("cannot list `{}`", folder.display()))? {
            let file = entry?.path();
            let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let Some(name) = name.strip_suffix(".values.yaml") else { continue };
            let text =
                fs::read_to_string(&file).with_context(|| format!("cannot read `{}`", file.display()))?;
            let words = text.lines().next().and_then(|line| line.strip_prefix(EXPECTS)).map(str::to_owned);
            if is_refused && words.is_none() {
                bail!("`{}` does not begin with `{EXPECTS}`", file.display());
            }
            cases.push(Case { name: name.to_owned(), file, refusal: words.filter(|_| is_refused) });
        }
    }
    cases.sort_by(|left, right| left.name.cmp(&right.name));
    Ok(cases)
}

/// Lets Helm render the cases.
fn ask(python: &Python, cases: &[Case]) -> Result<Value> {
    let list: Vec<Value> = cases
        .iter()
        .map(|case| json!({ "name": case.name, "values": case.file.display().to_string() }))
        .collect();
    let question = json!({ "chart": folder().display().to_string(), "cases": list });
    let answer = python.run(RENDER, &question.to_string())?;
    serde_json::from_str(&answer).with_context(|| format!("the script's answer is no JSON: {answer}"))
}

fn refused(error: &str, words: &str) -> Result<()> {
    if error.is_empty() {
        bail!("it renders");
    }
    if !error.contains(words) {
        bail!("it is refused without `{words}`: {error}");
    }
    Ok(())
}

/// Compares with what is kept, or keeps it.
fn golden(name: &str, manifest: &Manifest) -> Result<()> {
    let path = folder().join("tests/golden").join(format!("{name}.yaml"));
    let new = manifest.without_secrets()?;
    if is_update() {
        return fs::write(&path, new).with_context(|| format!("cannot write `{}`", path.display()));
    }
    let old = fs::read_to_string(&path).unwrap_or_default();
    if old != new {
        bail!("{}\n`{UPDATE}=1 cargo xtask chart test` keeps it as it is now", difference(&path, &old, &new));
    }
    Ok(())
}

/// The lines that are others, with their numbers.
fn difference(path: &Path, old: &str, new: &str) -> String {
    const SHOWN: usize = 20;
    let (old, new): (Vec<&str>, Vec<&str>) = (old.lines().collect(), new.lines().collect());
    let same = old.iter().zip(&new).take_while(|(old, new)| old == new).count();
    let mut text = format!("{} differs from line {} on:", path.display(), same + 1);
    for (mark, lines) in [("-", &old), ("+", &new)] {
        for line in lines.iter().skip(same).take(SHOWN) {
            text.extend(["\n  ", mark, " ", line]);
        }
    }
    text
}
