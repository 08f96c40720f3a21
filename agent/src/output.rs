//! Where alerts leave the agent: one bounded queue and one thread per output, so that a slow or dead output
//! slows neither detection nor the other outputs.
//!
//! Owns the sinks and their counters. Must never block the caller of [`Fanout::send`]. Called by the detection
//! thread; the threads are started by `app`.

pub mod descriptor;
pub mod file;
pub mod stdout;
pub mod worker;

use std::{
    fmt, io,
    num::NonZeroUsize,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
        mpsc::{self, SyncSender, TrySendError},
    },
};

use self::worker::Worker;
use crate::{
    alert::Alert,
    config::{self, Format},
};

/// Something that can be written as one line.
pub trait Message: Send + Sync {
    /// Appends the line, without its line end.
    fn append(&self, format: Format, out: &mut Vec<u8>);

    /// The alert it is, if it is one.
    fn alert(&self) -> Option<&Alert> {
        None
    }
}

/// A place for lines. One thread owns it, so that its calls may block.
pub trait Output: Send {
    /// Name in metrics and logs.
    fn name(&self) -> &'static str;

    /// Form of the lines it wants.
    fn format(&self) -> Format;

    /// Says, without writing, whether it could be written now.
    fn check(&mut self) -> Result<(), OutputError>;

    /// Appends a message to the batch that is written next: as a line, unless the output has a form of its own.
    fn take(&mut self, message: &dyn Message, batch: &mut Vec<u8>) {
        message.append(self.format(), batch);
        batch.push(b'\n');
    }

    /// Writes whole lines, all or as many as it can before it fails.
    fn write(&mut self, lines: &[u8]) -> Result<(), OutputError>;

    /// Opens the place anew, for log rotation; false, and nothing done, where there is nothing to open.
    fn reopen(&mut self) -> Result<bool, OutputError>;
}

/// Why lines were not written.
#[derive(Debug, thiserror::Error)]
pub enum OutputError {
    /// Nobody reads the other end any more, and nobody will.
    #[error("{target} is closed, nobody reads it")]
    Closed {
        /// What is closed.
        target: String,
    },
    /// Anything else; the next lines are tried again.
    #[error("cannot {operation} {target}")]
    Io {
        /// What was tried.
        operation: &'static str,
        /// On what.
        target: String,
        /// What came back.
        source: io::Error,
    },
}

impl OutputError {
    /// An error with its cause in one line.
    pub fn in_full(&self) -> String {
        match self {
            Self::Closed { .. } => self.to_string(),
            Self::Io { source, .. } => format!("{self}: {source}"),
        }
    }
}

/// What happened to the lines of one output.
#[derive(Debug, Default)]
pub struct Counters {
    written: AtomicU64,
    dropped_full: AtomicU64,
    dropped_failed: AtomicU64,
    failing: AtomicBool,
    reopen: AtomicBool,
}

/// A reading of [`Counters`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Name of the output.
    pub name: &'static str,
    /// Lines written.
    pub written: u64,
    /// Lines dropped because the queue was full.
    pub dropped_full: u64,
    /// Lines dropped because writing failed.
    pub dropped_failed: u64,
    /// Whether the last attempt failed.
    pub failing: bool,
}

/// What goes through an output's queue.
enum Job {
    /// A line to write.
    Line(Arc<dyn Message>),
    /// Look at the flags.
    Wake,
}

struct Sink {
    name: &'static str,
    queue: SyncSender<Job>,
    counters: Arc<Counters>,
}

/// All outputs. Dropping the last clone lets the threads write what waits and end.
#[derive(Clone)]
pub struct Fanout {
    sinks: Arc<[Sink]>,
}

/// Reads the counters of all outputs, also after they ended.
#[derive(Clone, Default)]
pub struct Tallies {
    counters: Vec<(&'static str, Arc<Counters>)>,
}

/// No output can be written at all.
#[derive(Debug, thiserror::Error)]
#[error("no output can be written: {}", .0.join("; "))]
pub struct AllDead(pub Vec<String>);

/// Opens the outputs of a configuration.
pub fn open(config: &config::Output) -> Vec<Box<dyn Output>> {
    let mut outputs: Vec<Box<dyn Output>> = Vec::new();
    if config.stdout.enabled {
        outputs.push(Box::new(stdout::Stdout::new(config.stdout.format)));
    }
    if let Some(file) = &config.file {
        outputs.push(Box::new(file::AppendFile::new(file.path.clone(), file.format)));
    }
    outputs
}

/// Makes the queues and the workers, one for each output; the caller gives each worker a thread. An output that
/// cannot be written now is kept, because it may recover; when none can, the agent should not start.
pub fn build(
    mut outputs: Vec<Box<dyn Output>>,
    queue: NonZeroUsize,
) -> Result<(Fanout, Vec<Worker>), AllDead> {
    let mut faults = Vec::new();
    for output in &mut outputs {
        if let Err(error) = output.check() {
            faults.push(error.in_full());
        }
    }
    if faults.len() == outputs.len() {
        return Err(AllDead(faults));
    }
    for fault in faults {
        tracing::warn!("Output is not usable yet: {fault}");
    }
    let mut sinks = Vec::new();
    let mut workers = Vec::new();
    for output in outputs {
        let (sender, receiver) = mpsc::sync_channel(queue.get());
        let counters = Arc::new(Counters::default());
        sinks.push(Sink { name: output.name(), queue: sender, counters: Arc::clone(&counters) });
        workers.push(Worker::new(output, receiver, counters));
    }
    Ok((Fanout { sinks: sinks.into() }, workers))
}

impl Fanout {
    /// Hands a line to every output without waiting. Full policy: the newest is dropped and counted.
    pub fn send(&self, line: &Arc<dyn Message>) {
        for sink in self.sinks.iter() {
            match sink.queue.try_send(Job::Line(Arc::clone(line))) {
                Ok(()) => {}
                Err(TrySendError::Full(_)) => {
                    sink.counters.dropped_full.fetch_add(1, Relaxed);
                }
                Err(TrySendError::Disconnected(_)) => {
                    sink.counters.dropped_failed.fetch_add(1, Relaxed);
                }
            }
        }
    }

    /// Asks every output to open its place anew before its next line.
    pub fn reopen(&self) {
        for sink in self.sinks.iter() {
            sink.counters.reopen.store(true, Relaxed);
            // A full queue needs no wake-up: its worker is awake.
            let _ = sink.queue.try_send(Job::Wake);
        }
    }

    /// A reader of the counters that does not keep the outputs open.
    pub fn tallies(&self) -> Tallies {
        Tallies { counters: self.sinks.iter().map(|sink| (sink.name, Arc::clone(&sink.counters))).collect() }
    }
}

impl Tallies {
    /// The counters now.
    pub fn read(&self) -> Vec<Tally> {
        let read = |(name, counters): &(&'static str, Arc<Counters>)| Tally {
            name,
            written: counters.written.load(Relaxed),
            dropped_full: counters.dropped_full.load(Relaxed),
            dropped_failed: counters.dropped_failed.load(Relaxed),
            failing: counters.failing.load(Relaxed),
        };
        self.counters.iter().map(read).collect()
    }
}

impl fmt::Debug for Fanout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.sinks.iter().map(|sink| sink.name)).finish()
    }
}

#[cfg(test)]
mod tests;
