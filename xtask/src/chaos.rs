//! `cargo xtask chaos`: faults between an alert and whoever is told of it, and an account of each alert.
//!
//! The agent's half is a courier: the agent's own spool and stream without its kernel half, which writes down each alert
//! that its spool has taken. Collector and courier are the real programs. Everything is in scratch folders, file systems
//! and namespaces that are gone afterwards.

mod place;
mod programs;
mod sink;
mod step;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use clap::Args;
use nix::unistd::geteuid;

use self::programs::Programs;
pub(crate) use self::sink::Sink;
use self::step::{Account, Step};
use crate::{console, interrupt, toolchain, triggers, workspace};

/// No wait is longer.
const PATIENCE: Duration = Duration::from_mins(1);

/// Which steps, and with which programs.
#[derive(Args, Debug)]
pub(crate) struct Options {
    /// Only the step of this name
    #[arg(long, value_name = "STEP")]
    once: Option<String>,
    /// Only steps whose name contains this text
    #[arg(long)]
    filter: Option<String>,
    /// Use this collector instead of building one
    #[arg(long, value_name = "FILE")]
    collector: Option<PathBuf>,
    /// Use this courier instead of building one
    #[arg(long, value_name = "FILE")]
    courier: Option<PathBuf>,
}

/// Runs the steps; says whether all alerts are accounted for.
pub(crate) fn run(options: &Options) -> Result<bool> {
    if !geteuid().is_root() {
        bail!("chaos mounts file systems and makes network namespaces: run it as root");
    }
    let wanted = |step: &&Step| {
        options.once.as_deref().is_none_or(|name| step.name == name)
            && options.filter.as_deref().is_none_or(|text| step.name.contains(text))
    };
    let steps: Vec<&Step> = step::ALL.iter().filter(wanted).collect();
    if steps.is_empty() {
        let names: Vec<&str> = step::ALL.iter().map(|step| step.name).collect();
        bail!("there is no such step; there are {}", names.join(", "));
    }
    let programs = programs(options)?;
    let (mut rows, mut holds) = (Vec::new(), true);
    for step in steps {
        if interrupt::pending() {
            bail!("interrupted");
        }
        console::say(format!("{}: {}", step.name, step.title));
        let started = Instant::now();
        let outcome = (step.run)(&programs);
        let took = started.elapsed();
        let (is_good, row) = match outcome {
            Ok(account) => (account.holds(), row(step, &account, took)),
            Err(error) => {
                console::error(&error);
                let mut row = vec![step.name.to_owned()];
                row.extend(std::iter::repeat_n("-".to_owned(), 6));
                row.extend([format!("{:.1}", took.as_secs_f64()), format!("FAILED: {error}")]);
                (false, row)
            }
        };
        holds &= is_good;
        rows.push(row);
    }
    console::say("");
    let header = ["step", "raised", "stored", "twice", "lost, counted", "LOST", "told", "seconds", "verdict"];
    console::table(&header, &rows);
    Ok(holds)
}

fn row(step: &Step, account: &Account, took: Duration) -> Vec<String> {
    let told = account.told.map_or_else(|| "-".to_owned(), |told| told.to_string());
    let verdict =
        if account.holds() { "ok".to_owned() } else { format!("FAILED {}", account.faults.join("; ")) };
    vec![
        step.name.to_owned(),
        account.raised.to_string(),
        account.stored.to_string(),
        account.twice.to_string(),
        account.counted.text(),
        account.lost().to_string(),
        told,
        format!("{:.1}", took.as_secs_f64()),
        verdict,
    ]
}

fn programs(options: &Options) -> Result<Programs> {
    let folder = || -> Result<PathBuf> { Ok(workspace::metadata()?.target_directory.join("debug").into()) };
    let (mut packages, mut found) = (Vec::new(), Vec::new());
    for (given, package, name) in [
        (&options.collector, "rampart-collector", "rampart-collector"),
        (&options.courier, "rampart-tests", "rampart-courier"),
    ] {
        if let Some(path) = given {
            found.push(path.clone());
        } else {
            packages.push(package);
            found.push(folder()?.join(name));
        }
    }
    if !packages.is_empty() {
        toolchain::ensure()?;
        triggers::build(&packages, false)?;
    }
    match found.as_slice() {
        [collector, courier] => Ok(Programs { collector: collector.clone(), courier: courier.clone() }),
        _ => bail!("a program is missing"),
    }
}
