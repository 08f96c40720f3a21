//! One stream: sends what the spool has, and tells the spool what has arrived. When another one is there to take over, it
//! sends no more, waits a little for what is under way, and hands over.

use std::{
    collections::{BTreeMap, VecDeque},
    ops::RangeInclusive,
    pin::{Pin, pin},
    sync::Arc,
    time::Duration,
};

use futures_util::stream;
use rampart_proto::v1::{
    AgentMessage, AlertBatch, Hello, agent_message, agent_service_client::AgentServiceClient,
    collector_message,
};
use tokio::{
    sync::{mpsc, watch},
    task::spawn_blocking,
    time::{Instant, MissedTickBehavior, interval, sleep_until, timeout},
};
use tonic::{Status as Answer, Streaming, transport::Channel};

use super::{Shared, bundle, convert, dial::DialError, heartbeat::heartbeat, job, rules};
use crate::{
    jobs::Command,
    spool::{LANES, SpoolError},
    telemetry::status::Status,
};

/// Time for the collector's first message.
const WELCOME_MAX: Duration = Duration::from_secs(10);
/// Time for the acknowledgement of a batch; a collector whose disk is that slow does not work.
const ACK_MAX: Duration = Duration::from_mins(1);
/// Time at the end for what is under way.
const FLUSH_MAX: Duration = Duration::from_secs(1);
/// Time for what is under way when another stream takes over; it sends the rest again.
const HANDOVER_MAX: Duration = Duration::from_secs(5);
/// Alerts of one batch, as the wire format has it.
const BATCH_ALERTS: usize = 4096;
/// Bounds of what a collector may ask for.
const BATCH_BYTES: RangeInclusive<usize> = 4096..=1 << 20;
const BATCHES: RangeInclusive<usize> = 1..=64;
const HEARTBEAT_SECS: RangeInclusive<u64> = 1..=300;

/// Why a stream ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum SessionError {
    /// The collector said no, or is gone.
    #[error("{}", .0.message())]
    Answer(#[from] Answer),
    /// It ended without a word.
    #[error("the collector has closed the stream")]
    Closed,
    /// It takes no time to say hello.
    #[error("the collector does not answer")]
    NoWelcome,
    /// It takes batches and does not acknowledge them.
    #[error("the collector does not acknowledge")]
    NoAck,
    /// The spool cannot be read.
    #[error(transparent)]
    Spool(#[from] SpoolError),
    /// There is no connection.
    #[error(transparent)]
    Dial(#[from] DialError),
    /// The agent ends.
    #[error("the agent ends")]
    Ending,
}

/// Who connects.
#[derive(Clone, Debug)]
pub(super) struct Facts {
    pub(super) node: String,
    pub(super) labels: BTreeMap<String, String>,
    /// Kinds of jobs that it takes.
    pub(super) jobs: Vec<String>,
    pub(super) boot: [u8; 16],
    pub(super) kernel: String,
}

/// A batch under way: until when, its number, and the last record of each lane in it.
struct Sent {
    due: Instant,
    number: u64,
    last: [Option<u64>; LANES],
}

/// What the collector asked for.
struct Wishes {
    batch_bytes: usize,
    batches: usize,
    heartbeat: Duration,
}

/// A stream.
pub(super) struct Session {
    shared: Arc<Shared>,
    sender: mpsc::Sender<AgentMessage>,
    incoming: Streaming<rampart_proto::v1::CollectorMessage>,
    sent: VecDeque<Sent>,
    number: u64,
    /// Number of the last report of a job that was sent on this stream.
    said: u64,
    wishes: Wishes,
    /// Whether anything was acknowledged.
    pub(super) has_progress: bool,
}

/// Waits until the agent ends.
pub(super) async fn ending(stop: &mut watch::Receiver<bool>) {
    // A sender that is gone means the same.
    let _ = stop.wait_for(|stop| *stop).await;
}

/// Opens a stream, within a time; nothing is sent on it yet.
pub(super) async fn open(
    shared: &Arc<Shared>,
    channel: Channel,
    facts: &Facts,
    status: &Status,
) -> Result<Session, SessionError> {
    timeout(WELCOME_MAX, greet(shared, channel, facts, status)).await.map_err(|_| SessionError::NoWelcome)?
}

async fn greet(
    shared: &Arc<Shared>,
    channel: Channel,
    facts: &Facts,
    status: &Status,
) -> Result<Session, SessionError> {
    let hello = Hello {
        node: facts.node.clone(),
        boot: facts.boot.to_vec(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        kernel: facts.kernel.clone(),
        labels: facts.labels.clone().into_iter().collect(),
        bundle: Some(bundle::state(&status.bundles.borrow())),
        jobs: facts.jobs.clone(),
    };
    // Room for every batch that may be under way and what comes beside; sending never waits here.
    let (sender, receiver) = mpsc::channel(*BATCHES.end() + 4);
    let _ = sender.try_send(message(agent_message::Kind::Hello(hello)));
    let requests = stream::unfold(receiver, |mut receiver: mpsc::Receiver<AgentMessage>| async {
        receiver.recv().await.map(|message| (message, receiver))
    });
    let mut incoming = AgentServiceClient::new(channel).session(requests).await?.into_inner();
    let welcome = loop {
        // Others are of a later version.
        if let Some(collector_message::Kind::Welcome(welcome)) =
            incoming.message().await?.ok_or(SessionError::Closed)?.kind
        {
            break welcome;
        }
    };
    let size =
        |value: u32, bounds: RangeInclusive<usize>| (value as usize).clamp(*bounds.start(), *bounds.end());
    let secs = u64::from(welcome.heartbeat_secs).clamp(*HEARTBEAT_SECS.start(), *HEARTBEAT_SECS.end());
    let wishes = Wishes {
        batch_bytes: size(welcome.batch_bytes, BATCH_BYTES),
        batches: size(welcome.batches, BATCHES),
        heartbeat: Duration::from_secs(secs),
    };
    let (shared, sent) = (Arc::clone(shared), VecDeque::new());
    Ok(Session { shared, sender, incoming, sent, number: 0, said: 0, wishes, has_progress: false })
}

impl Session {
    /// Sends and listens until the stream fails, the agent ends (`None`), or `successor` gives the stream that takes over.
    pub(super) async fn converse(
        &mut self,
        status: &Status,
        stop: &mut watch::Receiver<bool>,
        successor: impl Future<Output = Self>,
    ) -> Result<Option<Self>, SessionError> {
        // What was sent on the stream before and not acknowledged is sent again.
        self.shared.spool().rewind();
        let mut next = None;
        match self.exchange(status, stop, pin!(successor), &mut next).await {
            // With a successor at hand, it does not matter how this one ends.
            Err(_) if next.is_some() => Ok(next),
            outcome => outcome.map(|()| next),
        }
    }

    async fn exchange(
        &mut self,
        status: &Status,
        stop: &mut watch::Receiver<bool>,
        mut successor: Pin<&mut impl Future<Output = Self>>,
        next: &mut Option<Self>,
    ) -> Result<(), SessionError> {
        let mut beat = interval(self.wishes.heartbeat);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut bundles = status.bundles.subscribe();
        let (mut is_ending, mut flush) = (false, Instant::now() + FLUSH_MAX);
        loop {
            while next.is_none() && self.sent.len() < self.wishes.batches && self.send().await? {}
            self.say();
            let is_leaving = is_ending || next.is_some();
            if is_leaving && self.sent.is_empty() {
                return Ok(());
            }
            let due = self.sent.front().map_or_else(|| Instant::now() + ACK_MAX, |sent| sent.due);
            let has_room = next.is_none() && self.sent.len() < self.wishes.batches;
            let shared = Arc::clone(&self.shared);
            tokio::select! {
                message = self.incoming.message() => self.take(message?, status).await?,
                () = shared.news.notified(), if has_room => {}
                session = &mut successor, if !is_leaving => {
                    *next = Some(session);
                    flush = Instant::now() + HANDOVER_MAX;
                }
                _ = beat.tick() => self.beat(status),
                () = shared.jobs.news.notified(), if !is_leaving => {}
                // The collector waits for it.
                Ok(()) = bundles.changed() => self.beat(status),
                () = sleep_until(due), if !self.sent.is_empty() => return Err(SessionError::NoAck),
                () = ending(stop), if !is_ending => {
                    is_ending = true;
                    flush = Instant::now() + FLUSH_MAX;
                }
                () = sleep_until(flush), if is_leaving => return Ok(()),
            }
        }
    }

    /// Sends the next batch, if there is one.
    async fn send(&mut self) -> Result<bool, SessionError> {
        let (shared, bytes) = (Arc::clone(&self.shared), self.wishes.batch_bytes);
        let read = spawn_blocking(move || {
            let mut spool = shared.spool();
            if spool.has_unread() { spool.read(bytes, BATCH_ALERTS) } else { Ok(Vec::new()) }
        });
        let records = read.await.map_err(|_| SessionError::Ending)??;
        if records.is_empty() {
            return Ok(false);
        }
        let mut last = [None; LANES];
        for record in &records {
            if let Some(slot) = last.get_mut(record.lane) {
                *slot = Some(record.number);
            }
        }
        self.number += 1;
        let alerts = records.iter().filter_map(convert::decode).collect();
        let batch = AlertBatch { number: self.number, alerts };
        self.sent.push_back(Sent { due: Instant::now() + ACK_MAX, number: self.number, last });
        let sending = self.sender.send(message(agent_message::Kind::Alerts(batch)));
        sending.await.map_err(|_| SessionError::Closed)?;
        Ok(true)
    }

    async fn take(
        &mut self,
        message: Option<rampart_proto::v1::CollectorMessage>,
        status: &Status,
    ) -> Result<(), SessionError> {
        let ack = match message.ok_or(SessionError::Closed)?.kind {
            Some(collector_message::Kind::Ack(ack)) => ack,
            Some(collector_message::Kind::Bundle(offer)) => {
                if let Some(offer) = bundle::offer(offer) {
                    self.shared.offers.send_replace(Some(offer));
                }
                return Ok(());
            }
            Some(collector_message::Kind::Job(job)) => {
                self.shared.jobs.order(Command::Do(job::order(job)));
                return Ok(());
            }
            Some(collector_message::Kind::Noted(noted)) => {
                self.shared.jobs.noted(&noted.id);
                return Ok(());
            }
            Some(collector_message::Kind::Cancel(cancel)) => {
                self.shared.jobs.order(Command::Cancel(cancel.id));
                return Ok(());
            }
            Some(collector_message::Kind::Rules(wanted)) => {
                if let Some(texts) = rules::answer(&wanted, &status.policy()) {
                    // Full policy: drop it. The collector asks somebody again.
                    let _ = self.sender.try_send(self::message(agent_message::Kind::Rules(texts)));
                }
                return Ok(());
            }
            _ => return Ok(()),
        };
        let mut last: [Option<u64>; LANES] = [None; LANES];
        while let Some(sent) = self.sent.pop_front_if(|sent| sent.number <= ack.batch) {
            for (slot, number) in last.iter_mut().zip(sent.last) {
                *slot = number.or(*slot);
            }
        }
        self.has_progress = true;
        let shared = Arc::clone(&self.shared);
        let done = spawn_blocking(move || {
            let mut spool = shared.spool();
            for (lane, number) in last.into_iter().enumerate() {
                if let Some(number) = number {
                    spool.acknowledge(lane, number);
                }
            }
        });
        done.await.map_err(|_| SessionError::Ending)
    }

    /// Sends what became of jobs.
    fn say(&mut self) {
        while let Some((number, report)) = self.shared.jobs.after(self.said) {
            // Full policy: later. What the collector has not noted is kept.
            if self.sender.try_send(message(agent_message::Kind::Report(job::report(report)))).is_err() {
                return;
            }
            self.said = number;
        }
    }

    fn beat(&self, status: &Status) {
        let beat = {
            let spool = self.shared.spool();
            heartbeat(status, spool.counts(), spool.pending(), spool.bytes())
        };
        // Full policy: drop it. The next one says the same and more.
        let _ = self.sender.try_send(message(agent_message::Kind::Heartbeat(beat)));
    }
}

const fn message(kind: agent_message::Kind) -> AgentMessage {
    AgentMessage { kind: Some(kind) }
}
