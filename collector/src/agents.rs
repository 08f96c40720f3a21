//! The stream of an agent: alerts in, acknowledgements out, in order.
//!
//! Owns nothing but the stream. Whatever an agent sends is checked here; an alert that no store would take is counted
//! and acknowledged, or it would come again for ever. When the store does not work, the stream ends, and the agent
//! keeps what was not acknowledged. It also ends with the certificate that the agent has shown, and when that or the node
//! is revoked.

mod checks;
mod offer;

use std::{
    collections::VecDeque,
    pin::Pin,
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::{Stream, stream};
use rampart_proto::v1::{
    Ack, AgentMessage, CollectorMessage, Hello, RulesWanted, Welcome, agent_message,
    agent_service_server::AgentService, collector_message,
};
use tokio::{
    sync::{oneshot, watch},
    time::timeout,
};
use tonic::{Request, Response, Status, Streaming};
use tracing::{Instrument, Span, info_span};

use self::{
    checks::{NAME_MAX, beat_of, bundle_of, checked, labels_of, short},
    offer::Offers,
};
use crate::{
    identity::{
        peer::Peer,
        revoked::{Revoked, Watch},
    },
    ingest::{Ingest, Refused, now_ns},
    jobs::dispatch::{Dispatch, Line},
    registry::{HEARTBEAT_SECS, Registry},
    rollout::{plan::Plan, shelf::Shelf, trend::Sample},
    rulebook::Rulebook,
    store::Batch,
    telemetry::Metrics,
    traces::TARGET,
};

/// Time for the first message.
const HELLO_MAX: Duration = Duration::from_secs(10);
/// A stream that is silent for so long is dead.
const SILENCE_MAX: Duration = Duration::from_secs(4 * HEARTBEAT_SECS as u64);
/// Bytes of JSON in a batch.
const BATCH_BYTES: u32 = 1 << 20;
/// Largest message, the batch's last alert and everything besides JSON included.
pub const MESSAGE_MAX: usize = 4 << 20;
/// Batches under way on one stream.
const BATCHES: u32 = 8;
/// Alerts of one batch.
const BATCH_ALERTS: usize = 4096;

/// The service.
#[derive(Debug)]
pub struct Agents {
    /// Where alerts go.
    pub ingest: Ingest,
    /// Where nodes are noted.
    pub registry: Arc<Registry>,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// True when the collector ends.
    pub stop: watch::Receiver<bool>,
    /// Whether agents must show certificates.
    pub is_tls: bool,
    /// What is refused.
    pub revoked: Watch,
    /// Where jobs come from.
    pub dispatch: Arc<Dispatch>,
    /// Which node is to have which bundle.
    pub plan: watch::Receiver<Arc<Plan>>,
    /// The bundles.
    pub shelf: Arc<Shelf>,
    /// The texts of rules.
    pub rulebook: Arc<Rulebook>,
}

/// One stream.
struct Session {
    incoming: Streaming<AgentMessage>,
    ingest: Ingest,
    registry: Arc<Registry>,
    metrics: Arc<Metrics>,
    stop: watch::Receiver<bool>,
    node: Arc<str>,
    boot: [u8; 16],
    offers: Offers,
    peer: Option<Peer>,
    revoked: Watch,
    heard: Instant,
    welcome: bool,
    rulebook: Arc<Rulebook>,
    /// Rules whose texts are to be asked for.
    wanted: Option<RulesWanted>,
    dispatch: Arc<Dispatch>,
    /// Where its jobs come from; `None` when it takes none.
    line: Option<Line>,
    /// Batches under way, in order.
    waiting: VecDeque<Waiting>,
    is_over: bool,
}

/// A batch under way.
struct Waiting {
    number: u64,
    answer: oneshot::Receiver<Result<(), Refused>>,
    /// From the batch to its acknowledgement.
    span: Span,
}

/// What happened next.
enum Next {
    Incoming(Result<Option<AgentMessage>, Status>),
    Stored(Result<(), Refused>),
    Order(collector_message::Kind),
    Silence,
    Stop,
    Revoked,
    Expired,
    Plan,
}

#[tonic::async_trait]
impl AgentService for Agents {
    type SessionStream = Pin<Box<dyn Stream<Item = Result<CollectorMessage, Status>> + Send>>;

    async fn session(
        &self,
        request: Request<Streaming<AgentMessage>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let certificates = request.peer_certs();
        let mut incoming = request.into_inner();
        let first = timeout(HELLO_MAX, incoming.message())
            .await
            .map_err(|_| Status::deadline_exceeded("no hello came"))??;
        let Some(AgentMessage { kind: Some(agent_message::Kind::Hello(hello)) }) = first else {
            return Err(Status::invalid_argument("the first message must be a hello"));
        };
        let peer = certificates.as_ref().and_then(|chain| chain.first()).and_then(Peer::of);
        if let Err(status) = self.admit(peer.as_ref(), &hello.node) {
            tracing::warn!(node = hello.node, "An agent is refused: {}", status.message());
            return Err(status);
        }
        let session = Session::begin(self, incoming, hello, peer)?;
        Ok(Response::new(Box::pin(stream::unfold(session, |mut session| async {
            session.next().await.map(|message| (message, session))
        }))))
    }
}

impl Agents {
    /// Whether an agent may speak for a node.
    fn admit(&self, peer: Option<&Peer>, node: &str) -> Result<(), Status> {
        if !self.is_tls {
            return Ok(());
        }
        let Some(peer) = peer else {
            return Err(Status::unauthenticated("a certificate is needed here: join with a token first"));
        };
        if !peer.speaks_for(node) {
            return Err(Status::permission_denied("the certificate does not name this node"));
        }
        let revoked = self.revoked.borrow();
        if revoked.has_node(node) || revoked.has_serial(&peer.serial) {
            return Err(Status::permission_denied("the node or its certificate was revoked"));
        }
        Ok(())
    }
}

impl Session {
    fn begin(
        agents: &Agents,
        incoming: Streaming<AgentMessage>,
        hello: Hello,
        peer: Option<Peer>,
    ) -> Result<Self, Status> {
        let boot = hello.boot.as_slice().try_into();
        let Ok(boot) = boot.map_err(drop).and_then(|boot: [u8; 16]| {
            if hello.node.is_empty() || hello.node.len() > NAME_MAX { Err(()) } else { Ok(boot) }
        }) else {
            return Err(Status::invalid_argument("a hello needs the name of a node and 16 bytes of `boot`"));
        };
        let line = agents.dispatch.connect(&hello);
        let (bundle, labels) = (bundle_of(hello.bundle), labels_of(hello.labels));
        let mut plan = agents.plan.clone();
        // The first look is at what is known by now.
        plan.mark_changed();
        let offers = Offers { plan, shelf: Arc::clone(&agents.shelf), labels: labels.clone(), offered: None };
        tracing::info!(node = hello.node, version = hello.version, "An agent is there");
        agents.registry.update(&hello.node, now_ns(), |node| {
            node.sessions += 1;
            node.version = short(hello.version);
            node.kernel = short(hello.kernel);
            node.bundle = bundle;
            node.labels = labels;
        });
        agents.metrics.sessions.inc();
        Ok(Self {
            incoming,
            ingest: agents.ingest.clone(),
            registry: Arc::clone(&agents.registry),
            metrics: Arc::clone(&agents.metrics),
            stop: agents.stop.clone(),
            node: hello.node.as_str().into(),
            boot,
            offers,
            peer,
            revoked: agents.revoked.clone(),
            heard: Instant::now(),
            welcome: true,
            line,
            rulebook: Arc::clone(&agents.rulebook),
            wanted: None,
            dispatch: Arc::clone(&agents.dispatch),
            waiting: VecDeque::new(),
            is_over: false,
        })
    }

    /// The next message to the agent; `None` at the end.
    async fn next(&mut self) -> Option<Result<CollectorMessage, Status>> {
        if std::mem::take(&mut self.welcome) {
            let welcome =
                Welcome { heartbeat_secs: HEARTBEAT_SECS, batch_bytes: BATCH_BYTES, batches: BATCHES };
            return Some(Ok(message(collector_message::Kind::Welcome(welcome))));
        }
        loop {
            if self.is_over && self.waiting.is_empty() {
                return None;
            }
            match self.wait().await {
                Next::Incoming(Ok(Some(message))) => {
                    self.heard = Instant::now();
                    if let Err(status) = self.take(message).await {
                        self.is_over = true;
                        return Some(Err(status));
                    }
                    if let Some(wanted) = self.wanted.take() {
                        return Some(Ok(self::message(collector_message::Kind::Rules(wanted))));
                    }
                }
                Next::Incoming(Ok(None) | Err(_)) => self.is_over = true,
                Next::Stored(Ok(())) => {
                    let Waiting { number: batch, span, .. } = self.waiting.pop_front()?;
                    // A span lasts until it was left for the last time.
                    let ack = span.in_scope(|| message(collector_message::Kind::Ack(Ack { batch })));
                    return Some(Ok(ack));
                }
                Next::Stored(Err(Refused)) => {
                    self.end();
                    return Some(Err(Status::unavailable(Refused.to_string())));
                }
                Next::Order(kind) => return Some(Ok(message(kind))),
                Next::Silence => {
                    self.end();
                    return Some(Err(Status::deadline_exceeded("nothing was heard for too long")));
                }
                Next::Stop => {
                    self.end();
                    return Some(Err(Status::unavailable("the collector ends")));
                }
                Next::Revoked => {
                    self.end();
                    tracing::warn!(node = &*self.node, "An agent was revoked, its stream ends");
                    return Some(Err(Status::permission_denied("the node or its certificate was revoked")));
                }
                Next::Plan => {
                    let has = self.registry.node(&self.node).bundle;
                    if let Some(offer) = self.offers.next(&self.node, &has).await {
                        return Some(Ok(message(collector_message::Kind::Bundle(offer))));
                    }
                }
                Next::Expired => {
                    self.end();
                    return Some(Err(Status::unauthenticated("the certificate has ended")));
                }
            }
        }
    }

    fn end(&mut self) {
        self.is_over = true;
        self.waiting.clear();
    }

    async fn wait(&mut self) -> Next {
        let silence = SILENCE_MAX.saturating_sub(self.heard.elapsed());
        let takes = !self.is_over && self.waiting.len() < BATCHES as usize;
        let has_waiting = !self.waiting.is_empty();
        let left = self.peer.as_ref().map(Peer::left);
        let (peer, node, revoked) = (self.peer.as_ref(), &self.node, &mut self.revoked);
        let refused = async {
            match peer {
                Some(peer) => {
                    // Without its sender, nothing new is refused.
                    let is_refused = |now: &Arc<Revoked>| now.has_node(node) || now.has_serial(&peer.serial);
                    if revoked.wait_for(is_refused).await.is_err() {
                        std::future::pending::<()>().await;
                    }
                }
                None => std::future::pending().await,
            }
        };
        let stored = async {
            match self.waiting.front_mut() {
                Some(Waiting { answer, .. }) => answer.await.unwrap_or(Err(Refused)),
                None => std::future::pending().await,
            }
        };
        let order = async {
            match &mut self.line {
                Some(line) => line.orders.recv().await,
                None => None,
            }
        };
        tokio::select! {
            // Acknowledgements first: the agent waits for them.
            biased;
            () = refused, if !self.is_over => Next::Revoked,
            stored = stored, if has_waiting => Next::Stored(stored),
            Some(order) = order, if !self.is_over => Next::Order(order),
            message = self.incoming.message(), if takes => Next::Incoming(message),
            _ = self.stop.wait_for(|stop| *stop), if !self.is_over => Next::Stop,
            Ok(()) = self.offers.plan.changed(), if !self.is_over => Next::Plan,
            () = tokio::time::sleep(silence), if takes => Next::Silence,
            () = tokio::time::sleep(left.unwrap_or_default()), if left.is_some() && !self.is_over => Next::Expired,
        }
    }

    async fn take(&mut self, message: AgentMessage) -> Result<(), Status> {
        match message.kind {
            Some(agent_message::Kind::Alerts(batch)) => {
                if batch.alerts.len() > BATCH_ALERTS {
                    return Err(Status::invalid_argument("too many alerts in one batch"));
                }
                self.registry.update(&self.node, now_ns(), |_| ());
                let span = info_span!(
                    target: TARGET,
                    parent: None,
                    "ingest",
                    otel.kind = "consumer",
                    rampart.node = &*self.node,
                    rampart.batch = batch.number,
                    rampart.alerts = batch.alerts.len(),
                );
                let mut alerts = Vec::with_capacity(batch.alerts.len());
                for alert in batch.alerts {
                    match checked(alert) {
                        Ok(alert) => alerts.push(alert),
                        Err(reason) => span.in_scope(|| self.reject(reason)),
                    }
                }
                let stored = self.ingest.store(Batch { node: Arc::clone(&self.node), alerts });
                let answer = stored.instrument(span.clone()).await;
                self.waiting.push_back(Waiting { number: batch.number, answer, span });
                Ok(())
            }
            Some(agent_message::Kind::Heartbeat(beat)) => {
                let (bundle, now) = (bundle_of(beat.bundle.clone()), now_ns());
                let (time_ns, digest) = (beat.time_ns, beat.policy_digest.clone());
                let beat = beat_of(beat);
                let losses = beat.losses.values().sum();
                // By its own clock: what is late on the way does not change its rates.
                let sample = Sample { time_ns, alerts: beat.alerts, losses, cpu_ms: beat.cpu_ms };
                self.registry.update(&self.node, now, |node| {
                    node.trend.take(self.boot, bundle.digest.as_bytes(), sample);
                    node.beat = Some(beat);
                    node.bundle = bundle;
                });
                self.wanted = self.rulebook.wanted(&digest).await;
                Ok(())
            }
            Some(agent_message::Kind::Report(report)) => {
                let span = info_span!(
                    target: TARGET,
                    parent: None,
                    "job report",
                    rampart.node = &*self.node,
                    rampart.job = report.id,
                );
                self.dispatch.report(&self.node, report).instrument(span).await;
                Ok(())
            }
            Some(agent_message::Kind::Rules(texts)) => {
                self.rulebook.take(&self.node, texts).await;
                Ok(())
            }
            Some(agent_message::Kind::Hello(_)) => Err(Status::invalid_argument("a second hello")),
            // Of a later version; it is not needed.
            None => Ok(()),
        }
    }

    fn reject(&self, reason: &'static str) {
        self.metrics.rejected.with_label_values(&[reason]).inc();
        tracing::warn!(node = &*self.node, reason, "An alert is not valid and is not stored");
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.metrics.sessions.dec();
        if let Some(line) = &self.line {
            self.dispatch.disconnect(line);
        }
        tracing::info!(node = &*self.node, "An agent has gone");
        self.registry.update(&self.node, now_ns(), |node| node.sessions = node.sessions.saturating_sub(1));
    }
}

const fn message(kind: collector_message::Kind) -> CollectorMessage {
    CollectorMessage { kind: Some(kind) }
}
