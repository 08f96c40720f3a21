//! The command line: the table of commands and what they share. No command's logic lives here.
//!
//! Data goes to standard output, messages to standard error, and every command ends with one of the codes of
//! [`Outcome`].

mod ask;
mod check;
mod completions;
mod doctor;
mod explain;
mod fmt;
mod learn;
mod limits;
mod lists;
mod man;
mod print;
mod record;
mod replay;
mod responses;
mod run;
mod screen;
mod services;
mod status;
mod test;
mod top;
mod watch;

use std::{io, path::PathBuf, process::ExitCode};

use clap::{Args, Parser, Subcommand, ValueEnum};

use rampart_rules::{
    diagnostic::{Diagnostic, render},
    source::SourceMap,
};

use crate::{
    app::in_full,
    config::{self, Config, Overrides, Sources, fault::Faults},
    policy::{self, Bundle},
};

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing to complain about.
    Clean,
    /// The command worked and found something.
    Findings,
    /// It could not work: wrong usage, configuration or environment.
    Unusable,
    /// It failed by a fault of its own.
    Internal,
}

impl From<Outcome> for ExitCode {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Clean => Self::SUCCESS,
            Outcome::Findings => Self::from(1),
            Outcome::Unusable => Self::from(2),
            Outcome::Internal => Self::from(101),
        }
    }
}

/// Detects what goes wrong on a node: Falco rules over system calls, files, processes and the network.
#[derive(Debug, Parser)]
#[command(name = "rampart", version, subcommand_required = true, arg_required_else_help = true)]
#[command(
    after_help = "Exit codes: 0 all well, 1 something was found, 2 wrong usage or environment,\n101 a fault of Rampart itself."
)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the agent: alerts go to standard output, the agent's own log to standard error
    #[command(after_help = run::EXAMPLES, after_long_help = run::long_help())]
    Run(run::Arguments),
    /// Check configuration and rules without running anything
    #[command(after_help = check::EXAMPLES)]
    Check(check::Arguments),
    /// Bring rule files into their canonical form
    #[command(after_help = fmt::EXAMPLES)]
    Fmt(fmt::Arguments),
    /// Run unit tests of rules: events they must match, and events they must not
    #[command(after_help = test::EXAMPLES)]
    Test(test::Arguments),
    /// Explain fields, events, a rule, or the code of a finding
    #[command(after_help = explain::EXAMPLES)]
    Explain(explain::Arguments),
    /// Record what the kernel sends, to be judged again by `rampart replay`
    #[command(after_help = record::EXAMPLES)]
    Record(record::Arguments),
    /// Watch a workload for a while, and propose lists and rules on what is not in them
    #[command(after_help = learn::EXAMPLES)]
    Learn(learn::Arguments),
    /// Judge a recording again, or compare two rule sets on it
    #[command(after_help = replay::EXAMPLES)]
    Replay(replay::Arguments),
    /// Check whether this machine can run the agent, and say how to fix what is missing
    #[command(after_help = doctor::EXAMPLES)]
    Doctor(doctor::Arguments),
    /// Ask the agent that runs on this node how it is
    #[command(after_help = status::EXAMPLES)]
    Status(status::Arguments),
    /// Show what rules and events cost on this node, live
    #[command(after_help = top::EXAMPLES)]
    Top(top::Arguments),
    /// Show rate limits and who is over them; allow, deny or raise a source for a while
    #[command(after_help = limits::EXAMPLES)]
    Limits(limits::Arguments),
    /// Show the lists that rules name, and which of them hold a value
    #[command(after_help = lists::EXAMPLES)]
    Lists(lists::Arguments),
    /// Show services and their backends; drain a backend or take it back
    #[command(after_help = services::SERVICES_EXAMPLES)]
    Services(services::ServicesArguments),
    /// Show circuit breakers and what led to their states; reset or force one
    #[command(after_help = services::BREAKERS_EXAMPLES)]
    Breakers(services::BreakersArguments),
    /// Show what is in force by responses of rules; take it back
    #[command(after_help = responses::EXAMPLES)]
    Responses(responses::Arguments),
    /// Print a completion script for a shell
    #[command(after_help = completions::EXAMPLES)]
    Completions(completions::Arguments),
    /// Write the manual pages into a folder
    #[command(hide = true)]
    Man(man::Arguments),
}

/// Where the configuration comes from.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct ConfigArgs {
    /// Configuration file [default: /etc/rampart/rampart.yaml, if it is there]
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// Configuration and rules.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct PolicyArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// Rule file, or directory of `.yaml` files; may be given several times [default: the built-in packs]
    #[arg(short, long = "rules", value_name = "FILE|DIR")]
    rules: Vec<PathBuf>,
}

/// Form of alerts and of answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum FormatArg {
    /// One JSON object per line
    Json,
    /// For people
    Text,
}

impl From<FormatArg> for config::Format {
    fn from(format: FormatArg) -> Self {
        match format {
            FormatArg::Json => Self::Json,
            FormatArg::Text => Self::Text,
        }
    }
}

impl ConfigArgs {
    fn sources(&self) -> Sources {
        Sources::of_process(self.config.clone(), Overrides::default())
    }
}

impl PolicyArgs {
    fn sources(&self) -> Sources {
        let overrides = Overrides { rules: self.rules.clone(), ..Overrides::default() };
        Sources::of_process(self.config.config.clone(), overrides)
    }
}

impl Cli {
    /// Runs the command.
    pub fn run(self) -> Outcome {
        let done = match self.command {
            Command::Run(arguments) => return run::run(&arguments),
            Command::Check(arguments) => check::run(&arguments),
            Command::Fmt(arguments) => fmt::run(&arguments),
            Command::Test(arguments) => test::run(&arguments),
            Command::Explain(arguments) => explain::run(&arguments),
            Command::Record(arguments) => return record::run(&arguments),
            Command::Replay(arguments) => replay::run(&arguments),
            Command::Learn(arguments) => learn::run(&arguments),
            Command::Doctor(arguments) => doctor::run(&arguments),
            Command::Status(arguments) => status::run(&arguments),
            Command::Top(arguments) => top::run(&arguments),
            Command::Limits(arguments) => limits::run(&arguments),
            Command::Lists(arguments) => lists::run(&arguments),
            Command::Services(arguments) => services::services(&arguments),
            Command::Breakers(arguments) => services::breakers(&arguments),
            Command::Responses(arguments) => responses::run(&arguments),
            Command::Completions(arguments) => completions::run(arguments),
            Command::Man(arguments) => man::run(&arguments),
        };
        match done {
            Ok(outcome) => outcome,
            // The reader of a pipe has seen enough; that is no fault of ours or theirs.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Outcome::Clean,
            Err(error) => complain(&format!("cannot write the answer: {error}")),
        }
    }
}

/// Says on standard error why a command cannot work.
fn complain(message: &str) -> Outcome {
    for line in message.lines() {
        print::message(&format!("error: {line}"));
    }
    Outcome::Unusable
}

/// Loads the rules of a configuration, or says what stands against them.
fn load_rules(config: &Config) -> Result<(Bundle, Vec<Diagnostic>, SourceMap), Outcome> {
    policy::load(&config.rules, &config.trading).into_bundle().map_err(|error| {
        for fault in &error.unreadable {
            complain(&fault.to_string());
        }
        print::message(render::full(&error.findings, &error.texts).trim_end());
        Outcome::Unusable
    })
}

/// Says every fault of a configuration.
fn complain_config(faults: &Faults) -> Outcome {
    for fault in &faults.0 {
        print::message(&format!("error: {fault}"));
    }
    print::message("help: `rampart check` shows the same, `rampart run --help` lists every setting");
    Outcome::Unusable
}
