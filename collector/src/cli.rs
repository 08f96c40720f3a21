//! The command line. Data goes to standard output, messages to standard error. What changes something is noted in the
//! audit log, together with who did it.

mod audit;
mod authority;
mod bundle;
mod identity;
mod jobs;
mod people;

use std::{
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
};

use clap::{Args, CommandFactory, Parser, Subcommand};

use crate::{
    app,
    audit::Note,
    config::{self, Config},
    ingest::now_ns,
    notify,
    notify::channel::rfc3339,
    store::{Place, StoreError, identity::Book},
    telemetry,
};

/// Dead letters listed.
const LISTED: usize = 1000;

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All well.
    Clean,
    /// The command worked and found something.
    Findings,
    /// Wrong usage, configuration or environment.
    Unusable,
}

impl From<Outcome> for ExitCode {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Clean => Self::SUCCESS,
            Outcome::Findings => Self::from(1),
            Outcome::Unusable => Self::from(2),
        }
    }
}

/// Stores what Rampart's agents report, tells people, and shows it.
#[derive(Debug, Parser)]
#[command(name = "rampart-collector", version, subcommand_required = true, arg_required_else_help = true)]
#[command(after_help = "Exit codes: 0 all well, 1 something was found, 2 wrong usage or environment.")]
pub struct Cli {
    /// Configuration file [default: /etc/rampart/collector.yaml, if it is there]
    #[arg(short, long, value_name = "FILE", global = true)]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the collector: agents connect over gRPC, people over HTTP
    Serve,
    /// Check the configuration and say what it comes to
    Check,
    /// Bring the store to the current format
    Migrate,
    /// Alerts that could not be told
    #[command(subcommand)]
    Dlq(Dlq),
    /// Send a sample of an alert to a channel
    TestChannel(TestChannel),
    /// Tokens with which agents join, each once
    #[command(subcommand)]
    Token(identity::Token),
    /// The authority that signs agents' certificates
    #[command(subcommand)]
    Ca(authority::Ca),
    /// Certificates that agents have
    #[command(subcommand)]
    Certificate(identity::Certificate),
    /// Refuse a node or a certificate, also where it is connected
    Revoke(identity::Subject),
    /// Take a revocation back
    Restore(identity::Subject),
    /// People who may log in
    #[command(subcommand)]
    User(people::User),
    /// Signed tokens for programs
    #[command(subcommand)]
    Jwt(people::Jwt),
    /// Work for nodes: diagnostics, recordings, trials of rules, taking back what blocks
    #[command(subcommand)]
    Job(jobs::Command),
    /// Who changed what
    #[command(subcommand)]
    Audit(audit::Audit),
    /// Print a completion script for a shell
    #[command(
        after_help = "Example:\n  rampart-collector completions bash > /etc/bash_completion.d/rampart-collector"
    )]
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Policy bundles for agents, and their rollouts
    #[command(subcommand)]
    Bundle(bundle::BundleCommand),
    /// Write the manual pages into a folder
    #[command(hide = true)]
    Man {
        /// The folder
        folder: PathBuf,
    },
}

#[derive(Debug, Subcommand)]
enum Dlq {
    /// List them, the newest first
    List,
    /// Try them again; the running collector does it
    Redrive(Redrive),
}

#[derive(Args, Debug)]
struct Redrive {
    /// Only those of this channel
    #[arg(long)]
    channel: Option<String>,
    /// Only this one
    #[arg(long)]
    number: Option<u32>,
}

#[derive(Args, Debug)]
struct TestChannel {
    /// Its name, such as `slack`
    channel: String,
}

/// Why a command could not work, with all causes.
#[derive(Debug)]
struct Fault(String);

impl<E: std::error::Error> From<E> for Fault {
    fn from(error: E) -> Self {
        let mut text = error.to_string();
        let mut cause = error.source();
        while let Some(error) = cause {
            text = format!("{text}: {error}");
            cause = error.source();
        }
        Self(text)
    }
}

impl Cli {
    /// Runs the command.
    pub fn run(self) -> Outcome {
        match self.outcome() {
            Ok(outcome) => outcome,
            Err(Fault(text)) => {
                // A standard error that is closed leaves nobody to tell.
                let _ = writeln!(io::stderr(), "error: {text}");
                Outcome::Unusable
            }
        }
    }

    fn outcome(self) -> Result<Outcome, Fault> {
        // It needs no configuration.
        if let Command::Completions { shell } = self.command {
            clap_complete::generate(shell, &mut Self::command(), "rampart-collector", &mut io::stdout());
            return Ok(Outcome::Clean);
        }
        let env: Vec<(String, String)> = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        let config = config::load(self.config.as_deref(), &env)?;
        let mut out = io::stdout().lock();
        match self.command {
            Command::Serve => {
                let spans = telemetry::init(&config)?;
                app::run(config, spans)?;
            }
            Command::Check => check(&config, &mut out)?,
            Command::Migrate => {
                drop(config.place().writer()?);
                writeln!(out, "`{}` has the current format", config.place())?;
            }
            Command::Dlq(Dlq::List) => return list(&config.place(), &mut out),
            Command::Dlq(Dlq::Redrive(Redrive { channel, number })) => {
                let number = number.map(u64::from);
                let object = channel.as_deref().unwrap_or("all channels");
                let detail = number.map_or_else(String::new, |number| format!("number {number}"));
                note(&mut *book(&config)?, &actor(&env), "dlq.redrive", object, &detail)?;
                let count = config.place().writer()?.redrive(channel.as_deref(), number)?;
                writeln!(out, "{count} are tried again")?;
            }
            Command::TestChannel(TestChannel { channel }) => {
                let found = config.channels.iter().find(|one| *one.name == *channel);
                let Some(found) = found else {
                    return Err(Fault(format!("the channel `{channel}` is not configured")));
                };
                note(&mut *book(&config)?, &actor(&env), "channel.test", &channel, "")?;
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
                runtime.block_on(notify::try_channel(found))?;
                writeln!(out, "the sample has arrived at `{channel}`")?;
            }
            Command::Token(command) => command.run(&config, &actor(&env), &mut out)?,
            Command::Ca(command) => command.run(&config, &actor(&env), &mut out)?,
            Command::Certificate(command) => command.run(&config, &mut out)?,
            Command::Revoke(subject) => subject.revoke(&config, &actor(&env), &mut out)?,
            Command::Restore(subject) => subject.restore(&config, &actor(&env), &mut out)?,
            Command::User(command) => command.run(&config, &actor(&env), &mut out)?,
            Command::Jwt(command) => command.run(&config, &actor(&env), &mut out)?,
            Command::Job(command) => return command.run(&config, &actor(&env), &mut out),
            Command::Bundle(command) => command.run(&config, &actor(&env), &mut out)?,
            Command::Audit(command) => return command.run(&config, &mut out),
            Command::Completions { .. } => {}
            Command::Man { folder } => clap_mangen::generate_to(Self::command(), folder)?,
        }
        Ok(Outcome::Clean)
    }
}

/// The book of identities, in a store that is there or made for it.
fn book(config: &Config) -> Result<Box<dyn Book>, Fault> {
    drop(config.place().writer()?);
    Ok(config.place().book()?)
}

/// Who runs the command.
fn actor(env: &[(String, String)]) -> String {
    let named = |key: &str| env.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str());
    let name = named("SUDO_USER").or_else(|| named("LOGNAME")).or_else(|| named("USER"));
    format!("cli:{}", name.unwrap_or("unknown"))
}

/// Notes something that is about to be done.
fn note(
    book: &mut dyn Book,
    actor: &str,
    action: &str,
    object: &str,
    detail: &str,
) -> Result<(), StoreError> {
    book.change(&[], &Note::new(actor, action, object, detail), now_ns()).map(drop)
}

fn check(config: &Config, out: &mut impl Write) -> io::Result<()> {
    let tls = if config.grpc.tls.is_some() { "with certificates of both sides" } else { "without TLS" };
    writeln!(out, "agents     {} {tls}", config.grpc.listen)?;
    let scheme = if config.http.is_tls { "https" } else { "http" };
    let login = if config.http.has_login { "after a login" } else { "without a login" };
    writeln!(out, "people     {scheme}://{}/ {login}", config.http.listen)?;
    writeln!(out, "store      {}", config.place())?;
    if let Some(bus) = &config.bus {
        writeln!(out, "bus        {bus}")?;
    }
    if let Some(traces) = &config.traces {
        writeln!(out, "traces     {}, {} of those that begin here", traces.endpoint, traces.sample)?;
    }
    for channel in &config.channels {
        writeln!(out, "channel    {}, {} and more severe", channel.name, channel.priority)?;
    }
    Ok(())
}

fn list(store: &Place, out: &mut impl Write) -> Result<Outcome, Fault> {
    drop(store.writer()?);
    let dead = store.current_reader()?.dead(LISTED)?;
    for letter in &dead {
        let time = rfc3339(letter.dead_ns);
        let crate::store::Dead { number, channel, attempts, reason, alert, .. } = letter;
        writeln!(out, "{number}\t{time}\t{channel}\talert {alert}\t{attempts} tries\t{reason}")?;
    }
    Ok(if dead.is_empty() { Outcome::Clean } else { Outcome::Findings })
}
