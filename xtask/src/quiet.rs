//! `cargo xtask quiet`: an ordinary day of a node, and what the packs say of it.
//!
//! An agent with the base and the trading pack watches while packages are installed, programs compiled, servers loaded,
//! jobs done, containers started and stopped. Nothing above notice may be told; what is told at all must stand among the
//! explanations of `quiet/scenarios.yaml`.

mod scenario;
mod venue;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args;
use nix::unistd::geteuid;
use serde_json::Value;

use self::scenario::{Day, Outcome};
use self::venue::Venue;
use crate::agent::{Agent, Setup};
use crate::triggers::Podman;
use crate::{build, console, interrupt, process, toolchain, workspace};

/// Name of the image that containers are made of.
const IMAGE: &str = "rampart-quiet";
/// Alerts that are on their way when a scenario is over come within this time.
const SETTLE: Duration = Duration::from_millis(700);
/// Priorities that may be told, if there is an explanation.
const QUIET: [&str; 3] = ["Notice", "Informational", "Debug"];

/// How to run it.
#[derive(Args, Debug)]
pub(crate) struct Options {
    /// Only scenarios whose name contains this text
    #[arg(long)]
    filter: Option<String>,
    /// Use this agent instead of building one
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
}

/// What was told in a scenario: rule and priority, how often, and one of them.
type Told = BTreeMap<(String, String), (usize, String)>;

/// Runs the day; says whether it was quiet.
pub(crate) fn run(options: &Options) -> Result<bool> {
    if !geteuid().is_root() {
        bail!("this loads kernel programs: run it as root");
    }
    let binary = match &options.binary {
        Some(binary) => binary.clone(),
        None => build::agent()?,
    };
    toolchain::test_programs();
    if let Err(error) = toolchain::bench_programs() {
        console::complain(format!("programs for loads are missing: {error:#}"));
    }
    let day = Day::read(options.filter.as_deref())?;
    let folder = tempfile::Builder::new().prefix("rampart-quiet-").tempdir().context("no scratch folder")?;
    let _venue = Venue::open()?;
    let podman = Podman::start(&folder.path().join("podman")).and_then(|podman| {
        podman.image(IMAGE)?;
        Ok(podman)
    });
    for scenario in &day.scenarios {
        scenario.prepare(folder.path())?;
    }
    let agent = start(&binary, folder.path())?;
    // What starting it brings is nobody's day.
    drain(&agent);
    let (mut rows, mut loud, mut skipped) = (Vec::new(), 0, 0);
    for scenario in &day.scenarios {
        if interrupt::pending() {
            bail!("interrupted");
        }
        console::begin(format!("{} … ", scenario.name));
        let outcome = scenario.run(folder.path(), podman.as_ref().map_err(|error| format!("{error:#}")))?;
        let told = drain(&agent);
        match outcome {
            Outcome::Skipped(reason) => {
                skipped += 1;
                console::say(format!("SKIP: {reason}"));
            }
            Outcome::Failed(why) => {
                loud += 1;
                console::say(format!("FAILED: {why}"));
            }
            Outcome::Done => {
                let alerts: usize = told.values().map(|(count, _)| count).sum();
                console::say(format!("{alerts} alerts"));
            }
        }
        for ((rule, priority), (count, sample)) in told {
            let why = day.explanation(&scenario.name, &rule);
            let is_fine = QUIET.contains(&priority.as_str()) && why.is_some();
            loud += usize::from(!is_fine);
            let said = why.map_or_else(|| format!("NOT EXPLAINED: {sample}"), ToOwned::to_owned);
            rows.push(vec![scenario.name.clone(), rule, priority, count.to_string(), said]);
        }
    }
    // Silence says something only of somebody who can hear.
    let intrusion = process::bounded(Command::new("cat").arg("/etc/shadow"), Duration::from_secs(10))?;
    let is_awake = intrusion.success() && !drain(&agent).is_empty();
    let lost = lost(&agent)?;
    agent.stop()?;
    if !rows.is_empty() {
        console::table(&["scenario", "rule", "priority", "alerts", "why"], &rows);
    }
    console::say(format!(
        "{} scenarios, {skipped} skipped, {} kinds of alerts, {loud} that must not be, {lost} events lost",
        day.scenarios.len(),
        rows.len()
    ));
    if !is_awake {
        console::complain("the agent does not tell that `/etc/shadow` was read: its silence says nothing");
    }
    Ok(loud == 0 && is_awake && skipped < day.scenarios.len())
}

/// The agent with both packs and a description of what is traded.
fn start(binary: &Path, folder: &Path) -> Result<Agent> {
    let own = folder.join("agent");
    fs::create_dir(&own)?;
    let packs = workspace::root().join("rules/packs");
    let rules: Vec<PathBuf> = ["base.yaml", "trading.yaml"].map(|name| packs.join(name)).into();
    let configuration = format!("{}containers: {{wait_ms: 100}}\n", venue::trading(folder));
    Agent::start_as(&Setup {
        binary,
        folder: &own,
        rules: &rules,
        matching: "all",
        configuration: &configuration,
        passwd: None,
    })
}

/// Everything that was told until it is quiet.
fn drain(agent: &Agent) -> Told {
    let mut told = Told::new();
    while let Some(line) = agent.line(SETTLE) {
        let alert: Value = serde_json::from_str(&line.text).unwrap_or_default();
        let text = |name: &str| alert.get(name).and_then(Value::as_str).unwrap_or("?").to_owned();
        let entry = told.entry((text("rule"), text("priority"))).or_insert_with(|| (0, text("output")));
        entry.0 += 1;
    }
    told
}

/// Events that the kernel half could not hand over.
fn lost(agent: &Agent) -> Result<u64> {
    let (_, text) = agent.page("/metrics")?;
    let of = |line: &str| line.rsplit(' ').next().and_then(|number| number.parse::<u64>().ok());
    Ok(text.lines().filter(|line| line.starts_with("rampart_events_ring_full_total{")).filter_map(of).sum())
}
