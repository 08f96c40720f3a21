//! `job …`: work for nodes, by the store; the running collector gives it out.

use std::{fs, io::Write, path::PathBuf};

use clap::{Args, Subcommand};

use super::{Fault, Outcome, book, identity::span};
use crate::{
    config::Config,
    http::jobs::shown,
    ingest::now_ns,
    jobs::{Job, Priority, State, Task, Wish, queue},
    notify::channel::rfc3339,
};

/// `job …`
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Ask a node for an archive for whoever helps, without secrets
    Diagnostics(Where),
    /// Let a node record what its kernel sends
    Capture {
        #[command(flatten)]
        at: Where,
        /// How long, such as `30s`, at most 10m
        #[arg(long, default_value = "30s", value_parser = span)]
        duration: std::time::Duration,
        /// Size in bytes at which it ends
        #[arg(long, default_value_t = 64 << 20)]
        max_bytes: u64,
    },
    /// Compare other rules with those in force on a node, on events of the node
    Backtest {
        #[command(flatten)]
        at: Where,
        /// The other rules
        #[arg(short, long, value_name = "FILE")]
        rules: PathBuf,
        /// Use the recording of this job, of the same node
        #[arg(long, conflicts_with = "duration")]
        capture: Option<String>,
        /// Record for it so long [default: 30s]
        #[arg(long, value_parser = span)]
        duration: Option<std::time::Duration>,
    },
    /// Take back what a response has done on a node, or a denied source
    Unblock {
        #[command(flatten)]
        at: Where,
        #[command(flatten)]
        what: What,
    },
    /// List jobs, the newest first
    List {
        /// Only those in this state: waiting, running, done, dead, cancelled
        #[arg(long)]
        state: Option<String>,
    },
    /// Show one job as JSON
    Show(Named),
    /// Print the text of a job's result, or write its archive or recording to a file
    Result {
        #[command(flatten)]
        job: Named,
        /// The file, which must not be there
        #[arg(short, long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Take a job back; one that is running is ended
    Cancel(Named),
    /// Try a dead job again
    Redrive(Named),
}

/// Where, and how urgent.
#[derive(Args, Debug)]
pub(super) struct Where {
    /// The node [default: any that takes such jobs]
    #[arg(long)]
    node: Option<String>,
    /// How urgent it is
    #[arg(long, value_enum, default_value = "normal")]
    priority: Priority,
}

/// What to take back.
#[derive(Args, Debug)]
#[group(required = true, multiple = false)]
pub(super) struct What {
    /// A response by its number, as `rampart responses list` on the node shows it
    #[arg(long)]
    response: Option<u64>,
    /// An address or prefix in the list of denied sources
    #[arg(long)]
    source: Option<String>,
}

/// A job by its name.
#[derive(Args, Debug)]
pub(super) struct Named {
    /// Its name, as listed
    id: String,
}

impl Command {
    pub(super) fn run(self, config: &Config, actor: &str, out: &mut impl Write) -> Result<Outcome, Fault> {
        let mut book = book(config)?;
        let secs = |time: std::time::Duration| u32::try_from(time.as_secs()).unwrap_or(u32::MAX);
        let (at, task) = match self {
            Self::Diagnostics(at) => (at, Task::Diagnostics {}),
            Self::Capture { at, duration, max_bytes } => {
                (at, Task::Capture { secs: secs(duration), max_bytes })
            }
            Self::Backtest { at, rules, capture, duration } => {
                let text = fs::read_to_string(&rules)
                    .map_err(|error| Fault(format!("cannot read `{}`: {error}", rules.display())))?;
                let time = capture.is_none().then(|| duration.map_or(30, secs));
                (at, Task::Backtest { rules: text, capture, secs: time })
            }
            Self::Unblock { at, what: What { response, source } } => (at, Task::Unblock { response, source }),
            Self::List { state } => {
                for (id, job) in queue::list(&mut *book)?.iter().rev() {
                    if state.as_ref().is_none_or(|state| job.state.name() == state) {
                        writeln!(out, "{}", line(id, job))?;
                    }
                }
                return Ok(Outcome::Clean);
            }
            Self::Show(Named { id }) => {
                let job = queue::get(&mut *book, &id)?;
                writeln!(out, "{:#}", shown(&id, &job))?;
                return Ok(Outcome::Clean);
            }
            Self::Result { job: Named { id }, output } => {
                queue::get(&mut *book, &id)?;
                let Some((text, content)) = queue::result(&mut *book, &id)? else {
                    writeln!(out, "there is no result of `{id}`, or it is kept no longer")?;
                    return Ok(Outcome::Findings);
                };
                match output {
                    Some(path) => {
                        let made = fs::File::create_new(&path).and_then(|mut file| file.write_all(&content));
                        made.map_err(|error| Fault(format!("cannot write `{}`: {error}", path.display())))?;
                        writeln!(out, "{} bytes are in `{}`", content.len(), path.display())?;
                    }
                    None => writeln!(out, "{}", text.trim_end())?,
                }
                return Ok(Outcome::Clean);
            }
            Self::Cancel(Named { id }) => {
                queue::cancel(&mut *book, &id, actor, now_ns())?;
                writeln!(out, "`{id}` is cancelled")?;
                return Ok(Outcome::Clean);
            }
            Self::Redrive(Named { id }) => {
                queue::redrive(&mut *book, &id, actor, now_ns())?;
                writeln!(out, "`{id}` is tried again")?;
                return Ok(Outcome::Clean);
            }
        };
        let wish = Wish { task, node: at.node, priority: at.priority };
        writeln!(out, "{}", queue::submit(&mut *book, wish, actor, now_ns())?)?;
        Ok(Outcome::Clean)
    }
}

fn line(id: &str, job: &Job) -> String {
    let at = match &job.state {
        State::Running(running) => running.on.as_str(),
        _ => job
            .outcome
            .as_ref()
            .map(|outcome| outcome.node.as_str())
            .or(job.wish.node.as_deref())
            .unwrap_or("any node"),
    };
    let said = job.outcome.as_ref().map_or(&job.fault, |outcome| &outcome.text);
    let said = said.lines().next().unwrap_or_default();
    let (state, made, what) = (job.state.name(), rfc3339(job.created_ns), job.wish.task.detail());
    format!("{id}\t{made}\t{state}\t{at}\t{what}\t{} tries\t{said}", job.attempts)
}
