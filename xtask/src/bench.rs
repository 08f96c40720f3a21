//! `cargo xtask bench`: numbers about this machine, each measured against a baseline in the same run.
//!
//! Variants are interleaved and repeated, and the median is shown with the extremes: a number without its spread
//! says nothing on a shared machine.

mod calls;
mod churn;
mod collector;
mod compile;
mod counters;
mod events;
mod example;
mod hook;
mod latency;
mod legs;
mod machine;
mod measured;
mod memory;
mod nginx;
mod opens;
mod overload;
mod program;
mod published;
mod ratelimit;
mod reload;
mod replay;
mod responses;
mod results;
mod rules;
mod ruleset;
mod sends;
mod services;
mod stage;
mod usage;
mod watch;

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use clap::{Args, Subcommand, ValueEnum};
use nix::unistd::geteuid;
use serde_json::json;

use self::machine::Machine;
use self::measured::Report;
use self::stage::Stage;
use crate::{build, console, interrupt};

/// Which bench, and how.
#[derive(Args, Debug)]
pub(crate) struct Options {
    #[command(subcommand)]
    bench: Bench,
    /// One JSON object per number on standard output, then one with the facts of the machine; progress goes to standard
    /// error
    #[arg(long, global = true)]
    json: bool,
    /// How often each variant is measured; long benches and those whose numbers vary little take three rounds at most
    #[arg(long, global = true, default_value_t = 7)]
    rounds: usize,
    /// Use this agent instead of building one
    #[arg(long, global = true, value_name = "FILE")]
    binary: Option<PathBuf>,
    /// Write the table with the facts of this machine to `bench/RESULTS.md`, in place of the bench's last one
    #[arg(long, global = true)]
    results: bool,
}

#[derive(Debug, Subcommand)]
enum Bench {
    /// What deciding in the kernel gives: all of the benches below that need an agent with and without it
    ///
    /// Runs `opens`, `calls`, `compile`, `nginx`, `sends`, `overload`, `latency`, `memory`, `reload` and `workloads` one after the
    /// other, each against no agent and against an agent with `pushdown.enabled: false`, and writes each table to
    /// `bench/RESULTS.md` when it is done. Takes about half an hour with the default of rounds.
    Pushdown {
        /// Only these, split by commas
        #[arg(long, value_delimiter = ',', value_name = "BENCH")]
        only: Vec<Part>,
    },
    #[command(flatten)]
    Part(Part),
    /// What the agent adds to system calls, opens and execs, what it uses itself, and that it accounts for all
    Events,
    /// What memory the process table takes over ten million processes; needs no privileges
    Churn,
    /// What rate limits take of a flood: Rampart's by XDP and tcx, nftables, iptables and nobody's, side by side
    ///
    /// In network namespaces of its own. Takes a minute for each round, five at most.
    Ratelimit,
    /// What services cost beside proxies: nobody, Rampart and three proxies in turn; refusals and failing backends
    ///
    /// In a network namespace of its own. Takes a minute and a half for each round, five at most.
    Services,
    /// How fast the collector stores alerts and answers, and how fast the agent's spool is; needs no privileges
    Collector {
        /// Also with its store in a PostgreSQL server that is started for it
        #[arg(long)]
        postgres: bool,
    },
    /// From an order-entry connection of a process that may not to that process's death
    Responses,
    /// How fast a recording, made in the same run, is judged again
    Replay,
    /// How fast rules load and events are evaluated, over a recorded mix of events; needs no privileges
    Rules,
}

/// A bench of its own and a part of `bench pushdown`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Subcommand, ValueEnum)]
enum Part {
    /// What a file that no rule wants costs its opener, with 10, 50, 100 and 250 rules
    Opens,
    /// What is added to a call that no rule asks about, an open, a connection and an exec
    Calls,
    /// How much slower a build that opens many files gets, and how much of it is rejected in the kernel
    Compile,
    /// Requests per second of nginx, connections kept alive and one for each request
    Nginx,
    /// What a message costs that a rule counts, its sender and the agent
    Sends,
    /// More events than anybody can take: what is lost, and that all of it is counted
    Overload,
    /// From an event to its alert, with 50,000 other events a second
    Latency,
    /// Memory at rest and in the kernel's maps, with upstream's rules and with 250
    Memory,
    /// How long a reload takes
    Reload,
    /// The published workloads of `../shared/workloads`, where they are
    Workloads,
}

/// Runs the bench; says whether everything that must hold does. A missed goal is shown, not a failure.
pub(crate) fn run(options: &Options) -> Result<bool> {
    if options.rounds == 0 {
        bail!("at least one round is needed");
    }
    match &options.bench {
        Bench::Pushdown { only } => {
            let parts = if only.is_empty() { Part::value_variants() } else { only.as_slice() };
            pushdown(options, parts)
        }
        Bench::Part(part) => {
            let agent = agent(options)?;
            measure(options, Some(&agent), || part.run(&agent, options)).map(|report| report.holds)
        }
        Bench::Events => {
            let agent = agent(options)?;
            measure(options, Some(&agent), || events::run(&stage(&agent, options)?))
                .map(|report| report.holds)
        }
        Bench::Replay => {
            let agent = agent(options)?;
            measure(options, Some(&agent), || replay::run(&stage(&agent, options)?))
                .map(|report| report.holds)
        }
        Bench::Responses => {
            let agent = agent(options)?;
            measure(options, Some(&agent), || responses::run(&stage(&agent, options)?))
                .map(|report| report.holds)
        }
        Bench::Ratelimit => {
            let agent = agent(options)?;
            let release = is_release(options);
            measure(options, Some(&agent), || ratelimit::run(&stage(&agent, options)?, release))
                .map(|report| report.holds)
        }
        Bench::Services => {
            let agent = agent(options)?;
            measure(options, Some(&agent), || services::run(&stage(&agent, options)?))
                .map(|report| report.holds)
        }
        Bench::Churn => measure(options, None, || churn::run(options.json)).map(|report| report.holds),
        Bench::Collector { postgres } => {
            measure(options, None, || collector::run(options.json, *postgres)).map(|report| report.holds)
        }
        Bench::Rules => {
            measure(options, None, || rules::run(options.rounds, options.json)).map(|report| report.holds)
        }
    }
}

/// All parts; a part that fails does not keep the others from running.
fn pushdown(options: &Options, parts: &[Part]) -> Result<bool> {
    let agent = agent(options)?;
    let (mut holds, mut missed) = (true, Vec::new());
    for part in parts {
        progress(options.json, &format!("\n{}", part.name()));
        match measure(options, Some(&agent), || part.run(&agent, options)) {
            Ok(report) => {
                let rows = report.results.iter().filter(|row| row.ok() == Some(false));
                missed.extend(rows.map(|row| row.id().to_owned()));
                holds &= report.holds;
            }
            Err(error) if interrupt::pending() => return Err(error),
            Err(error) => {
                console::error(&error.context(format!("`bench {}` failed", part.name())));
                holds = false;
            }
        }
    }
    let verdict = if missed.is_empty() { "none".to_owned() } else { missed.join(", ") };
    progress(options.json, &format!("\ngoals missed: {verdict}"));
    Ok(holds)
}

/// Runs a bench, prints its report and writes it where that is wanted.
fn measure(
    options: &Options,
    agent: Option<&Path>,
    bench: impl FnOnce() -> Result<Report>,
) -> Result<Report> {
    let machine = Machine::ask(agent).line();
    let report = bench()?;
    let given = if options.binary.is_some() { " --binary FILE" } else { "" };
    let command = format!("cargo xtask bench {} --rounds {}{given}", report.bench, options.rounds);
    report.print(options.json);
    if options.json {
        let facts =
            json!({"bench": report.bench, "command": command, "machine": machine, "notes": report.notes});
        console::say(facts.to_string());
    }
    progress(options.json, &format!("  {machine}"));
    let wanted = options.results || matches!(options.bench, Bench::Pushdown { .. });
    if wanted && let Some(path) = results::write(&report, &machine, &command)? {
        progress(options.json, &format!("  written to {}", path.display()));
    }
    Ok(report)
}

fn stage(agent: &Path, options: &Options) -> Result<Stage> {
    Stage::new(agent, options.rounds, options.json, is_release(options))
}

/// Whether the agent is a release build of this workspace, which is there then.
fn is_release(options: &Options) -> bool {
    options.binary.is_none()
}

/// The agent to measure, for benches that load kernel programs.
fn agent(options: &Options) -> Result<PathBuf> {
    if !geteuid().is_root() {
        bail!("this bench loads kernel programs: run it as root");
    }
    match &options.binary {
        Some(binary) => Ok(binary.clone()),
        None => build::agent(),
    }
}

/// Progress, kept off standard output when that carries data.
fn progress(json: bool, line: &str) {
    if json { console::complain(line) } else { console::say(line) }
}

impl Part {
    /// Its name on the command line.
    fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }

    fn run(self, agent: &Path, options: &Options) -> Result<Report> {
        let stage = stage(agent, options)?;
        match self {
            Self::Opens => opens::run(&stage),
            Self::Calls => calls::run(&stage),
            Self::Compile => compile::run(&stage),
            Self::Nginx => nginx::run(&stage),
            Self::Sends => sends::run(&stage.at_most(3)),
            Self::Overload => overload::run(&stage),
            Self::Latency => latency::run(&stage),
            Self::Memory => memory::run(&stage),
            Self::Reload => reload::run(&stage),
            Self::Workloads => published::run(&stage.at_most(3)),
        }
    }
}
