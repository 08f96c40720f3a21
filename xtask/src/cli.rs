//! The command table: names, flags and help; no logic.

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

use crate::{
    bench, build, chaos, chart, ci, conformance, dashboards, demo, dist, docs, fuzz, image, lint, quiet,
    test, tidy, toolchain, triggers, vm, workload,
};

/// Build, test, demo and bench commands of the Rampart workspace.
#[derive(Debug, Parser)]
#[command(bin_name = "cargo xtask", arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Install what building and testing need, and record the eBPF toolchain that works
    ///
    /// Every step says why it is taken; a second run changes nothing. Installing packages needs root.
    Setup,
    /// Check what `setup` would install, without changing anything; exit 1 when something is missing
    Doctor,
    /// Build the product: kernel programs, then the binaries that embed them
    Build(build::Options),
    /// Check format, clippy for the host and for the kernel half apart, and documentation
    Lint,
    /// Check the house style that lints cannot express: sizes, crate edges, manifests, unsafe code, licences
    Tidy,
    /// Run every test this machine can run
    ///
    /// One line per group, the reasons of skips, the output of failures, and one closing line for the whole.
    Test(test::Options),
    /// Run lint, tidy and test, boot one older kernel, and name everything that failed at the end
    Ci,
    /// Run what upstream's own tests assert against the rule language and the agent's fields
    ///
    /// Prints passed and total per section, each failure with what was expected and what came, and the sum.
    Conformance(conformance::Options),
    /// Run trigger cases as real processes and system calls against a running agent with Falco's rules
    ///
    /// Needs root. Cases run on an overlay of the root file system and in containers, so nothing is left behind.
    /// Prints passed and total per rule, each failure with what was expected and what came, and the sum.
    Triggers(triggers::Options),
    /// Run a scripted intrusion against a running agent and show what it says about each step
    ///
    /// Needs root. Ends with a table of steps and alerts, and with 0 only when enough alerts had the right facts.
    Demo(demo::Options),
    /// Measure what the agent costs, against this machine without it
    ///
    /// Needs root. Variants are interleaved; medians are shown with their extremes. On a machine that others use too, give
    /// agent and loads alike precedence: `setsid -w sh -c 'echo -15 >/proc/self/autogroup; exec nice -n -15 cargo xtask
    /// bench …'`.
    Bench(bench::Options),
    /// Kill, cut, fill, corrupt and slow what lies between an alert and whoever is told of it, and account for each alert
    ///
    /// Needs root. Ends with a table of steps, and with 0 only when no acknowledged alert is lost, none is stored twice, and
    /// every other loss was counted. Takes about a minute and a half.
    Chaos(chaos::Options),
    /// Watch an ordinary day with the packs: installs, builds, servers, jobs, containers; nothing above notice may be told
    ///
    /// Needs root. Ends with a table of what was told and why that is right. Takes about two minutes.
    Quiet(quiet::Options),
    /// Run a fuzz target, building it first
    Fuzz(fuzz::Options),
    /// Pack what is given away: an archive and a Debian package, with checksums
    Dist(dist::Options),
    /// The documents
    #[command(subcommand)]
    Docs(docs::Task),
    /// Make Grafana's dashboards, and put each of their queries to a Prometheus that scrapes a running agent and collector
    ///
    /// Needs root. `RAMPART_UPDATE=1` writes the dashboards anew from `deploy/grafana/source`.
    Dashboards(dashboards::Options),
    /// Boot Debian's kernels in QEMU: what they make of the kernel programs, the kernel tests, the agent
    ///
    /// With `--all` or `RAMPART_UPDATE=1` the table goes to `docs/kernels.md`.
    VmTest(vm::Options),
    /// The Helm chart
    #[command(subcommand)]
    Chart(chart::Command),
    /// The container image
    #[command(subcommand)]
    Image(image::Command),
    /// Programs that the demo and the benches run
    #[command(subcommand, hide = true)]
    Workload(workload::Workload),
}

/// Parses the command line and runs the command.
pub(crate) fn run() -> Result<ExitCode> {
    let passed = match Cli::parse().command {
        Task::Setup => toolchain::setup().map(|()| true),
        Task::Doctor => Ok(toolchain::check()),
        Task::Build(options) => build::run(&options).map(|()| true),
        Task::Lint => lint::run(),
        Task::Tidy => tidy::run(),
        Task::Test(options) => test::run(&options),
        Task::Ci => Ok(ci::run()),
        Task::Conformance(options) => conformance::run(&options),
        Task::Triggers(options) => triggers::run(&options),
        Task::Bench(options) => bench::run(&options),
        Task::Demo(options) => demo::run(&options),
        Task::Workload(workload) => workload::run(&workload).map(|()| true),
        Task::Chaos(options) => chaos::run(&options),
        Task::Dist(options) => dist::run(&options).map(|()| true),
        Task::Docs(task) => docs::run(&task),
        Task::Dashboards(options) => dashboards::run(&options),
        Task::VmTest(options) => vm::run(&options),
        Task::Chart(command) => chart::run(&command),
        Task::Image(command) => image::run(&command),
        Task::Quiet(options) => quiet::run(&options),
        Task::Fuzz(options) => fuzz::run(&options).map(|()| true),
    }?;
    Ok(if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
