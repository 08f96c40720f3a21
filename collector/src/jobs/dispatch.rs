//! Gives jobs to the nodes that are connected here, and takes back what they lost.
//!
//! Owns the way to each stream. The queue is looked at once a second: whoever puts something in, this process, another one
//! or the command line, it is found there.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use rampart_proto::v1::{Hello, Job as Wire, JobCancel, JobNoted, JobReport, collector_message};
use tokio::{
    sync::{mpsc, watch},
    time::sleep,
};

use super::queue::{self, Connected, View};
use crate::{
    identity::{Records, hex, random},
    ingest::now_ns,
    registry::Registry,
    telemetry::Metrics,
};

/// Time between two looks at the queue.
const LOOK: Duration = Duration::from_secs(1);
/// What may wait for one stream.
const WAITING: usize = 8;
/// Kinds that one agent may name, and how long each may be.
const KINDS: (usize, usize) = (32, 32);

/// Who is connected here.
#[derive(Debug)]
pub struct Dispatch {
    records: Records,
    registry: Arc<Registry>,
    metrics: Arc<Metrics>,
    /// This collector.
    me: String,
    streams: Mutex<BTreeMap<String, Stream>>,
    count: AtomicU64,
}

/// The way to a node; of two streams, the newer one.
#[derive(Debug)]
struct Stream {
    number: u64,
    there: Connected,
    sender: mpsc::Sender<collector_message::Kind>,
    /// The job that it was given here.
    has: Option<String>,
}

/// A stream's end: what is to be sent on it.
#[derive(Debug)]
pub struct Line {
    number: u64,
    node: String,
    /// Jobs, and jobs that are not wanted any more.
    pub orders: mpsc::Receiver<collector_message::Kind>,
}

impl Dispatch {
    /// Nobody is connected.
    pub fn new(records: Records, registry: Arc<Registry>, metrics: Arc<Metrics>) -> Self {
        // Without chance, collectors that share a store take back each other's jobs a little early.
        let me = random::<8>().map_or_else(|_| "collector".to_owned(), |bytes| hex(&bytes));
        Self { records, registry, metrics, me, streams: Mutex::default(), count: AtomicU64::new(0) }
    }

    /// A stream begins; `None` for an agent that takes no jobs.
    pub fn connect(&self, hello: &Hello) -> Option<Line> {
        let kinds: BTreeSet<String> =
            hello.jobs.iter().filter(|kind| kind.len() <= KINDS.1).take(KINDS.0).cloned().collect();
        if kinds.is_empty() {
            return None;
        }
        let number = self.count.fetch_add(1, Ordering::Relaxed);
        let (sender, orders) = mpsc::channel(WAITING);
        let there = Connected { boot: hex(&hello.boot), kinds };
        let mut streams = self.streams();
        // What the stream before was given is known to the agent, not to this stream.
        let has =
            streams.remove(&hello.node).and_then(|old| old.has.filter(|_| old.there.boot == there.boot));
        streams.insert(hello.node.clone(), Stream { number, there, sender, has });
        drop(streams);
        Some(Line { number, node: hello.node.clone(), orders })
    }

    /// A stream ends.
    pub fn disconnect(&self, line: &Line) {
        let mut streams = self.streams();
        if streams.get(&line.node).is_some_and(|stream| stream.number == line.number) {
            streams.remove(&line.node);
        }
    }

    /// Notes what a node says of a job, and tells it so.
    pub async fn report(&self, node: &str, report: JobReport) {
        let (id, from) = (report.id.clone(), node.to_owned());
        let noted = self.records.run(move |book| Ok(queue::report(book, &from, report, now_ns()))).await;
        match noted.map_err(Into::into).and_then(|noted| noted) {
            Ok(Some(state)) => {
                tracing::info!(job = id, node, state, "A node has said what became of a job");
                self.metrics.job_reports.with_label_values(&[state]).inc();
            }
            Ok(None) => self.metrics.job_reports.with_label_values(&["stale"]).inc(),
            Err(error) => {
                // Not noted: the node says it again on its next stream.
                return tracing::error!(job = id, node, "What a node says of a job cannot be noted: {error}");
            }
        }
        if let Some(stream) = self.streams().get_mut(node) {
            if stream.has.as_ref() == Some(&id) {
                stream.has = None;
            }
            // Full policy: drop it. The node says it again on its next stream, which is of no use then.
            let _ = stream.sender.try_send(collector_message::Kind::Noted(JobNoted { id }));
        }
    }

    /// Looks at the queue until the collector ends.
    pub async fn run(&self, mut stop: watch::Receiver<bool>) {
        let mut was_well = true;
        loop {
            tokio::select! {
                _ = stop.wait_for(|stop| *stop) => return,
                () = sleep(LOOK) => {}
            }
            let view = self.view();
            let looked = self.records.run(move |book| Ok(queue::step(book, &view, now_ns()))).await;
            let todo = match looked.map_err(Into::into).and_then(|looked| looked) {
                Ok(todo) => todo,
                Err(error) => {
                    if std::mem::take(&mut was_well) {
                        tracing::error!("Jobs cannot be given out: {error}");
                    }
                    continue;
                }
            };
            was_well = true;
            for state in ["waiting", "running"] {
                let count = todo.counts.get(state).copied().unwrap_or(0);
                self.metrics.jobs.with_label_values(&[state]).set(count.cast_signed());
            }
            self.metrics.job_reports.with_label_values(&["dead"]).inc_by(todo.dead);
            self.send(todo);
        }
    }

    fn send(&self, todo: queue::Step) {
        let mut streams = self.streams();
        for (node, stream) in streams.iter_mut() {
            if let Some(id) = stream.has.take_if(|id| !todo.running.contains(&**id)) {
                tracing::info!(job = id, node, "A job is not wanted any more");
                // Full policy: drop it. The job ends by itself, and nobody hears of it.
                let _ = stream.sender.try_send(collector_message::Kind::Cancel(JobCancel { id }));
            }
        }
        for (node, id, job) in todo.given {
            let Some(stream) = streams.get_mut(&node) else { continue };
            tracing::info!(job = id, node, kind = job.wish.task.name(), "A job is given out");
            let wire: Wire = job.wish.task.wire(&id);
            // Full policy: drop it. Its lease ends, and it is given out again.
            if stream.sender.try_send(collector_message::Kind::Job(wire)).is_ok() {
                stream.has = Some(id);
            }
        }
    }

    fn view(&self) -> View {
        let connected: BTreeMap<String, Connected> =
            self.streams().iter().map(|(node, stream)| (node.clone(), stream.there.clone())).collect();
        let now = now_ns();
        let silent = self.registry.nodes().into_iter().filter(|(_, node)| !node.is_active(now));
        let silent = silent.map(|(name, _)| name).collect();
        View { me: self.me.clone(), connected, silent }
    }

    fn streams(&self) -> MutexGuard<'_, BTreeMap<String, Stream>> {
        // Each change is one insertion, removal or assignment.
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
