//! The command line. Data goes to standard output, messages to standard error.

use std::{
    io::{self, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Args, Parser, Subcommand};

use crate::{
    app,
    config::{self, Config},
    notify,
    notify::channel::rfc3339,
    store::{Reader, StoreError, Writer, sqlite},
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
        let env: Vec<(String, String)> = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        let config = config::load(self.config.as_deref(), &env)?;
        let mut out = io::stdout().lock();
        match self.command {
            Command::Serve => {
                telemetry::init(&config.log_level, config.is_log_json);
                app::run(config)?;
            }
            Command::Check => check(&config, &mut out)?,
            Command::Migrate => {
                drop(open(&config.store)?);
                writeln!(out, "`{}` has the current format", config.store.display())?;
            }
            Command::Dlq(Dlq::List) => return list(&config.store, &mut out),
            Command::Dlq(Dlq::Redrive(Redrive { channel, number })) => {
                let number = number.map(u64::from);
                let count = open(&config.store)?.redrive(channel.as_deref(), number)?;
                writeln!(out, "{count} are tried again")?;
            }
            Command::TestChannel(TestChannel { channel }) => {
                let found = config.channels.iter().find(|one| *one.name == *channel);
                let Some(found) = found else {
                    return Err(Fault(format!("the channel `{channel}` is not configured")));
                };
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
                runtime.block_on(notify::try_channel(found))?;
                writeln!(out, "the sample has arrived at `{channel}`")?;
            }
        }
        Ok(Outcome::Clean)
    }
}

fn open(path: &Path) -> Result<sqlite::SqliteWriter, StoreError> {
    sqlite::writer(path)
}

fn check(config: &Config, out: &mut impl Write) -> io::Result<()> {
    let tls = if config.grpc.tls.is_some() { "with client certificates" } else { "without TLS" };
    writeln!(out, "agents     {} {tls}", config.grpc.listen)?;
    writeln!(out, "people     http://{}/", config.http)?;
    writeln!(out, "store      {}", config.store.display())?;
    for channel in &config.channels {
        writeln!(out, "channel    {}, {} and more severe", channel.name, channel.priority)?;
    }
    Ok(())
}

fn list(store: &Path, out: &mut impl Write) -> Result<Outcome, Fault> {
    drop(open(store)?);
    let dead = sqlite::reader(store)?.dead(LISTED)?;
    for letter in &dead {
        let time = rfc3339(letter.dead_ns);
        let crate::store::Dead { number, channel, attempts, reason, alert, .. } = letter;
        writeln!(out, "{number}\t{time}\t{channel}\talert {alert}\t{attempts} tries\t{reason}")?;
    }
    Ok(if dead.is_empty() { Outcome::Clean } else { Outcome::Findings })
}
