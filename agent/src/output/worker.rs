//! The loop of one output: take what waits, write it in one go, say once when it starts or stops to fail.

use std::sync::{
    Arc,
    atomic::Ordering::Relaxed,
    mpsc::{Receiver, TryRecvError},
};

use super::{Counters, Job, Output};

/// Bytes after which a batch is written: large enough to save calls in a storm, small enough to stay in cache.
const BATCH_BYTES: usize = 64 * 1024;

/// One output and its queue.
pub struct Worker {
    output: Box<dyn Output>,
    queue: Receiver<Job>,
    counters: Arc<Counters>,
    batch: Vec<u8>,
    lines: u64,
}

impl Worker {
    pub(super) fn new(output: Box<dyn Output>, queue: Receiver<Job>, counters: Arc<Counters>) -> Self {
        Self { output, queue, counters, batch: Vec::new(), lines: 0 }
    }

    /// Name of the output.
    pub fn name(&self) -> &'static str {
        self.output.name()
    }

    /// Writes until every sender is gone and the queue is empty.
    pub fn run(mut self) {
        while let Ok(job) = self.queue.recv() {
            self.take(job);
            while self.batch.len() < BATCH_BYTES {
                match self.queue.try_recv() {
                    Ok(job) => self.take(job),
                    Err(TryRecvError::Empty | TryRecvError::Disconnected) => break,
                }
            }
            if self.counters.reopen.swap(false, Relaxed) {
                self.reopen();
            }
            self.write();
        }
        tracing::debug!(output = self.output.name(), "Output closed");
    }

    fn reopen(&mut self) {
        match self.output.reopen() {
            Ok(false) => {}
            Ok(true) => {
                self.note(false);
                tracing::info!(output = self.output.name(), "Output reopened");
            }
            Err(error) => {
                self.note(true);
                tracing::error!(
                    output = self.output.name(),
                    "Output cannot be reopened: {}",
                    error.in_full()
                );
            }
        }
    }

    fn take(&mut self, job: Job) {
        if let Job::Line(line) = job {
            self.output.take(&*line, &mut self.batch);
            self.lines += 1;
        }
    }

    fn write(&mut self) {
        if self.lines > 0 {
            match self.output.write(&self.batch) {
                Ok(()) => {
                    self.counters.written.fetch_add(self.lines, Relaxed);
                    if self.note(false) {
                        tracing::info!(output = self.output.name(), "Output works again");
                    }
                }
                Err(error) => {
                    self.counters.dropped_failed.fetch_add(self.lines, Relaxed);
                    if !self.note(true) {
                        tracing::error!(
                            output = self.output.name(),
                            "Alerts are lost on one output, which is counted and not logged again: {}",
                            error.in_full()
                        );
                    }
                }
            }
        }
        self.lines = 0;
        self.batch.clear();
        // One storm of long lines must not pin its memory for ever.
        self.batch.shrink_to(2 * BATCH_BYTES);
    }

    /// Remembers whether the output fails, and gives what it was before.
    fn note(&self, failing: bool) -> bool {
        self.counters.failing.swap(failing, Relaxed)
    }
}
