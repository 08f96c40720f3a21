//! `cargo xtask dashboards`: Grafana's dashboards, and whether each of their queries has an answer.
//!
//! `deploy/grafana/source` says what they show; the JSON files beside it are made from that. The check starts an agent with
//! rate limits and a service, a collector and Prometheus, lets something happen, and puts every query of every dashboard to
//! Prometheus: it must be answered by at least one number. Queries about what did not happen are marked with what has to
//! happen first; they must be valid, and their metrics ones that the agent or the collector has.

mod description;
mod grafana;
mod known;
mod prometheus;
mod stage;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args;
use nix::unistd::geteuid;

use self::description::{Dashboard, Query};
use self::known::Metrics;
use self::prometheus::Prometheus;
use self::stage::Stage;
use crate::checks::Checks;
use crate::{build, console, interrupt, toolchain, workspace};

/// Variable that rewrites what is compared.
const UPDATE: &str = "RAMPART_UPDATE";
/// Until every query has its answer: a few scrapes of everything, on a busy machine.
const PATIENCE: Duration = Duration::from_mins(3);

/// How to check.
#[derive(Args, Debug)]
pub(crate) struct Options {
    /// Use the debug build that is there
    #[arg(long)]
    no_build: bool,
}

/// Makes the dashboards and checks them; says whether nothing failed.
pub(crate) fn run(options: &Options) -> Result<bool> {
    if !options.no_build {
        build::run(&build::Options::DEBUG)?;
    }
    Ok(test()?.print())
}

/// Every check of the dashboards; the binaries are built.
pub(crate) fn test() -> Result<Checks> {
    let mut checks = Checks::default();
    let folder = workspace::root().join("deploy/grafana");
    let dashboards = read(&folder.join("source"))?;
    for (name, dashboard) in &dashboards {
        let path = folder.join(name).with_extension("json");
        checks.add(format!("{name}.json is made from its source"), written(&path, dashboard));
    }
    let known = Metrics::read()?;
    for (name, query) in queries(&dashboards) {
        checks.add(format!("{name}: {}: every metric exists", query.title), known.has_all(&query.expression));
    }
    for path in alert_rules()? {
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read `{}`", path.display()))?;
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        checks.add(format!("{name}: every metric exists"), known.in_rules(&text));
    }
    let what = "every query has an answer";
    if !geteuid().is_root() {
        checks.skip(what, "loading kernel programs needs root");
        return Ok(checks);
    }
    toolchain::prometheus();
    if workspace::program("prometheus").is_none() {
        checks.skip(what, "`prometheus` is not installed");
        return Ok(checks);
    }
    match answered(&dashboards) {
        Ok(results) => {
            for (name, result) in results {
                checks.add(name, result);
            }
        }
        Err(error) => checks.add(what, Err(error)),
    }
    Ok(checks)
}

/// The descriptions, by the names of their files.
fn read(folder: &Path) -> Result<Vec<(String, Dashboard)>> {
    let mut dashboards = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("cannot list `{}`", folder.display()))? {
        let path = entry?.path();
        if path.extension().is_none_or(|end| end != "yaml") {
            continue;
        }
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read `{}`", path.display()))?;
        let dashboard = Dashboard::parse(&text).with_context(|| format!("in `{}`", path.display()))?;
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        dashboards.push((name, dashboard));
    }
    dashboards.sort_by(|left, right| left.0.cmp(&right.0));
    if dashboards.is_empty() {
        bail!("`{}` describes no dashboard", folder.display());
    }
    Ok(dashboards)
}

/// Compares with what is kept, or keeps it.
fn written(path: &Path, dashboard: &Dashboard) -> Result<()> {
    let text = grafana::file(dashboard)?;
    if std::env::var_os(UPDATE).is_some_and(|value| value == "1") {
        return fs::write(path, text).with_context(|| format!("cannot write `{}`", path.display()));
    }
    if fs::read_to_string(path).unwrap_or_default() != text {
        bail!("`{}` is another; `{UPDATE}=1 cargo xtask dashboards` writes it", path.display());
    }
    Ok(())
}

fn queries(dashboards: &[(String, Dashboard)]) -> impl Iterator<Item = (&str, Query)> {
    dashboards.iter().flat_map(|(name, dashboard)| {
        dashboard.queries().into_iter().map(move |query| (name.as_str(), query))
    })
}

fn alert_rules() -> Result<Vec<PathBuf>> {
    let folder = workspace::root().join("deploy/prometheus");
    let mut paths = Vec::new();
    for entry in fs::read_dir(&folder).with_context(|| format!("cannot list `{}`", folder.display()))? {
        let path = entry?.path();
        if path.extension().is_some_and(|end| end == "yaml") {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

/// Puts every query to a Prometheus that scrapes a running agent and collector, again and again until all have an answer.
fn answered(dashboards: &[(String, Dashboard)]) -> Result<Vec<(String, Result<()>)>> {
    let folder = tempfile::tempdir().context("cannot make a folder")?;
    let stage = Stage::open(folder.path())?;
    let prometheus = Prometheus::start(folder.path(), stage.agent(), stage.collector())?;
    let mut results = Vec::new();
    let mut open: Vec<(&str, Query)> = Vec::new();
    for (name, query) in queries(dashboards) {
        if query.after.is_some() {
            let title = format!("{name}: {}: valid", query.title);
            results.push((title, prometheus.ask(&query.expression).map(drop)));
        } else {
            open.push((name, query));
        }
    }
    let variables = dashboards.iter().flat_map(|(name, dashboard)| {
        grafana::variables(dashboard).into_iter().map(move |variable| (name.as_str(), variable))
    });
    let mut unfilled: Vec<_> = variables.collect();
    let total = (open.len(), unfilled.len());
    let waited = interrupt::until(PATIENCE, "not every query has an answer", || {
        stage.happen()?;
        let mut failure = None;
        open.retain(|(_, query)| match prometheus.ask(&query.expression) {
            Ok(numbers) => !numbers.iter().any(|number| number.is_finite()),
            Err(error) => {
                failure.get_or_insert(error);
                true
            }
        });
        unfilled.retain(|(_, variable)| !prometheus.has_values(variable).unwrap_or(false));
        match failure {
            Some(error) => Err(error),
            None => Ok(open.is_empty() && unfilled.is_empty()),
        }
    });
    for (name, query) in &open {
        let complaint = format!("no answer: {}", query.expression);
        results.push((format!("{name}: {}", query.title), Err(anyhow::anyhow!(complaint))));
    }
    for (name, variable) in &unfilled {
        let complaint = format!("no value: {}", variable.label);
        results.push((format!("{name}: choice of {}", variable.name), Err(anyhow::anyhow!(complaint))));
    }
    for _ in 0..total.0 - open.len() + total.1 - unfilled.len() {
        results.push((String::new(), Ok(())));
    }
    if let Err(error) = waited
        && open.is_empty()
        && unfilled.is_empty()
    {
        return Err(error);
    }
    results.push(("agent and collector end in order".to_owned(), stage.close()));
    if results.iter().any(|(_, result)| result.is_err()) {
        console::say(prometheus.said());
    }
    Ok(results)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_dashboard_is_made_from_its_source() {
        let folder = workspace::root().join("deploy/grafana");
        let dashboards = read(&folder.join("source")).unwrap();
        assert_eq!(dashboards.len(), 4);
        for (name, dashboard) in &dashboards {
            let kept = fs::read_to_string(folder.join(name).with_extension("json")).unwrap_or_default();
            assert_eq!(
                kept,
                grafana::file(dashboard).unwrap(),
                "`{UPDATE}=1 cargo xtask dashboards` writes it"
            );
        }
        let known = Metrics::read().unwrap();
        for (name, query) in queries(&dashboards) {
            known
                .has_all(&query.expression)
                .unwrap_or_else(|error| panic!("{name}: {}: {error}", query.title));
        }
    }
}
