//! The one thread that writes to the store.
//!
//! Owns the writer. Batches that wait while a transaction is forced to the disk go into the next one together, so the
//! disk's delay is paid once for all of them. Must never answer before they are stored. Called by `agents` (alerts),
//! `notify` (what is to be told) and `app` (retention).

use std::{
    sync::Arc,
    thread,
    time::{Instant, SystemTime},
};

use tokio::sync::{broadcast, mpsc, oneshot, watch};
use tracing::{Span, field::Empty, info_span};

use crate::{
    alert::Stored,
    notify::route::Routes,
    store::{Added, Batch, StoreError, Work, Writer},
    telemetry::Metrics,
    traces::TARGET,
};

/// Jobs that may wait; who has one more waits, and does not read from its agent meanwhile.
const QUEUE: usize = 256;
/// Alerts of one transaction: what some 100 ms store.
const TRANSACTION_ALERTS: usize = 8192;
/// Alerts that a slow watcher may be behind.
const FEED: usize = 4096;

type Errand = Box<dyn FnOnce(&mut dyn Writer) + Send>;

enum Job {
    Store(Batch, Waiting),
    Run(Errand),
}

/// Who waits for a batch, and the span in which it does.
struct Waiting {
    done: oneshot::Sender<Result<(), Refused>>,
    span: Span,
}

/// A batch was not stored, or some other work not done; why is in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the store does not work at the moment")]
pub struct Refused;

/// The way to the thread. It ends when the last clone is gone.
#[derive(Clone, Debug)]
pub struct Ingest {
    queue: mpsc::Sender<Job>,
    feed: broadcast::Sender<Arc<Stored>>,
    due: watch::Receiver<u64>,
    committed: watch::Receiver<u64>,
}

/// Who shows new alerts to watchers.
#[derive(Clone, Debug)]
pub enum Shown {
    /// This thread: nobody else stores any.
    Here,
    /// A task that looks at what all collectors store; what is to be told goes over the bus, if there is one.
    /// Full policy: drop, counted; the bus looks for what nobody came for.
    Elsewhere(Option<mpsc::Sender<Vec<Work>>>),
}

/// What the thread needs.
pub struct Start {
    /// The store.
    pub writer: Box<dyn Writer>,
    /// Who shows what was stored.
    pub shown: Shown,
    /// Who is told of what.
    pub routes: Arc<Routes>,
    /// Counters.
    pub metrics: Arc<Metrics>,
}

impl Ingest {
    /// Starts the thread.
    pub fn start(start: Start) -> std::io::Result<(Self, thread::JoinHandle<()>)> {
        let (queue, jobs) = mpsc::channel(QUEUE);
        let (feed, _) = broadcast::channel(FEED);
        let (notify, due) = watch::channel(0);
        let (commit, committed) = watch::channel(0);
        let thread = Thread { start, jobs, feed: feed.clone(), notify, commit };
        let handle = thread::Builder::new().name("store".to_owned()).spawn(move || thread.run())?;
        Ok((Self { queue, feed, due, committed }, handle))
    }

    /// Stores a batch. The answer comes when it is safe. Full policy: waits.
    pub async fn store(&self, batch: Batch) -> oneshot::Receiver<Result<(), Refused>> {
        let (done, answer) = oneshot::channel();
        // A thread that is gone drops the sender, which the receiver sees.
        let _ = self.queue.send(Job::Store(batch, Waiting { done, span: Span::current() })).await;
        answer
    }

    /// Does something else with the writer.
    pub async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut dyn Writer) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, Refused> {
        let (done, answer) = oneshot::channel();
        let work: Errand = Box::new(move |writer| {
            let outcome = work(writer).map_err(|error| tell(&error));
            // Nobody may wait for it any more.
            let _ = done.send(outcome);
        });
        self.queue.send(Job::Run(work)).await.map_err(|_| Refused)?;
        answer.await.unwrap_or(Err(Refused))
    }

    /// Alerts from now on.
    pub fn watch(&self) -> broadcast::Receiver<Arc<Stored>> {
        self.feed.subscribe()
    }

    /// Where alerts are shown to watchers.
    pub fn feed(&self) -> broadcast::Sender<Arc<Stored>> {
        self.feed.clone()
    }

    /// Changes when something was stored here.
    pub fn commits(&self) -> watch::Receiver<u64> {
        self.committed.clone()
    }

    /// Changes when there is something new to tell.
    pub fn notices(&self) -> watch::Receiver<u64> {
        self.due.clone()
    }
}

struct Thread {
    start: Start,
    jobs: mpsc::Receiver<Job>,
    feed: broadcast::Sender<Arc<Stored>>,
    notify: watch::Sender<u64>,
    commit: watch::Sender<u64>,
}

impl Thread {
    fn run(mut self) {
        let mut held = None;
        while let Some(job) = held.take().or_else(|| self.jobs.blocking_recv()) {
            match job {
                Job::Run(work) => work(&mut *self.start.writer),
                Job::Store(batch, first) => {
                    let mut count = batch.alerts.len();
                    let (mut batches, mut waiting) = (vec![batch], vec![first]);
                    while count < TRANSACTION_ALERTS {
                        match self.jobs.try_recv() {
                            Ok(Job::Store(batch, next)) => {
                                count += batch.alerts.len();
                                batches.push(batch);
                                waiting.push(next);
                            }
                            Ok(other) => {
                                held = Some(other);
                                break;
                            }
                            Err(_) => break,
                        }
                    }
                    self.store(batches, waiting, count);
                }
            }
        }
    }

    fn store(&mut self, batches: Vec<Batch>, waiting: Vec<Waiting>, count: usize) {
        let (started, metrics) = (Instant::now(), Arc::clone(&self.start.metrics));
        let routes = &self.start.routes;
        let mut notices = 0;
        let counted = std::cell::Cell::new(0_u64);
        let route = |node: &str, alert: &crate::alert::Alert| {
            let channels = routes.of(node, alert);
            counted.set(counted.get() + channels.len() as u64);
            channels
        };
        // One transaction is part of the trace of each batch in it.
        let commits: Vec<Span> = waiting.iter().map(|one| commit(one, waiting.len(), count)).collect();
        let first = commits.first().map(Span::enter);
        let outcome = self.start.writer.store(batches, now_ns(), &route);
        notices += counted.get();
        let answer = match outcome {
            Ok(Added { alerts: new, work }) => {
                metrics.stored.inc_by(new.len() as u64);
                metrics.duplicates.inc_by((count - new.len().min(count)) as u64);
                metrics.transaction_seconds.observe(started.elapsed().as_secs_f64());
                self.commit.send_modify(|sum| *sum += new.len() as u64);
                match &self.start.shown {
                    Shown::Here if self.feed.receiver_count() > 0 => {
                        for stored in new {
                            // Without watchers by now, nobody misses it.
                            let _ = self.feed.send(Arc::new(stored));
                        }
                    }
                    Shown::Elsewhere(Some(bus)) if !new.is_empty() => {
                        let count = work.len() as u64;
                        if bus.try_send(work).is_err() {
                            metrics.bus_dropped.with_label_values(&["queue_full"]).inc_by(count);
                        }
                    }
                    Shown::Here | Shown::Elsewhere(_) => {}
                }
                if notices > 0 {
                    self.notify.send_modify(|sum| *sum += notices);
                }
                Ok(())
            }
            Err(error) => {
                metrics.store_errors.inc();
                for commit in &commits {
                    commit.record("otel.status_code", "ERROR");
                }
                Err(tell(&error))
            }
        };
        drop(first);
        drop(commits);
        for Waiting { done, .. } in waiting {
            // An agent that is gone sends it again.
            let _ = done.send(answer);
        }
    }
}

/// A span for the transaction that a batch is in.
fn commit(waiting: &Waiting, batches: usize, alerts: usize) -> Span {
    info_span!(
        target: TARGET,
        parent: &waiting.span,
        "commit",
        otel.status_code = Empty,
        rampart.batches = batches,
        rampart.alerts = alerts,
    )
}

fn tell(error: &StoreError) -> Refused {
    tracing::error!("The store failed, agents keep what they have: {}", error.in_full());
    Refused
}

/// Nanoseconds since the epoch.
pub fn now_ns() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |time| time.as_nanos() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        alert::{Filter, Priority, tests::alert},
        store::{Reader, sqlite},
    };

    #[tokio::test]
    async fn batches_are_answered_when_stored_and_shown_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("db");
        let writer = Box::new(sqlite::writer(&path).unwrap());
        let metrics = Arc::new(Metrics::new().unwrap());
        let start =
            Start { writer, shown: Shown::Here, routes: Arc::default(), metrics: Arc::clone(&metrics) };
        let (ingest, thread) = Ingest::start(start).unwrap();
        let mut feed = ingest.watch();
        let batch = |from: u64| Batch {
            node: "n".into(),
            alerts: (from..from + 100).map(|number| alert(1, number, Priority::Error, "A")).collect(),
        };
        let mut answers = Vec::new();
        for from in [1, 101, 51, 201] {
            answers.push(ingest.store(batch(from)).await);
        }
        for answer in answers {
            assert_eq!(answer.await.unwrap(), Ok(()));
        }
        let reader = sqlite::reader(&path).unwrap();
        assert_eq!(reader.alerts(&Filter::default(), 1000, None).unwrap().len(), 300);
        assert_eq!((metrics.stored.get(), metrics.duplicates.get()), (300, 100));
        let mut last = 0;
        for _ in 0..300 {
            let stored = feed.recv().await.unwrap();
            assert!(stored.number > last);
            last = stored.number;
        }
        let removed = ingest.run(|writer| writer.redrive(None, None)).await;
        assert_eq!(removed, Ok(0));
        drop(ingest);
        thread.join().unwrap();
    }
}
