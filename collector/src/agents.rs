//! The stream of an agent: alerts in, acknowledgements out, in order.
//!
//! Owns nothing but the stream. Whatever an agent sends is checked here; an alert that no store would take is counted
//! and acknowledged, or it would come again for ever. When the store does not work, the stream ends, and the agent
//! keeps what was not acknowledged.

use std::{
    collections::VecDeque,
    pin::Pin,
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::{Stream, stream};
use rampart_proto::v1::{
    self, Ack, AgentMessage, CollectorMessage, Heartbeat, Hello, Welcome, agent_message,
    agent_service_server::AgentService, collector_message,
};
use serde::de::IgnoredAny;
use tokio::{
    sync::{oneshot, watch},
    time::timeout,
};
use tonic::{Request, Response, Status, Streaming};

use crate::{
    alert::{Alert, Id, Priority},
    ingest::{Ingest, Refused, now_ns},
    registry::{Beat, HEARTBEAT_SECS, Registry},
    store::Batch,
    telemetry::Metrics,
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
/// Longest names, in bytes.
const NAME_MAX: usize = 1024;
/// Longest JSON of an alert.
const JSON_MAX: usize = 1 << 20;
/// Most causes of losses that are kept of a heartbeat.
const LOSSES_MAX: usize = 64;

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
}

/// One stream.
struct Session {
    incoming: Streaming<AgentMessage>,
    ingest: Ingest,
    registry: Arc<Registry>,
    metrics: Arc<Metrics>,
    stop: watch::Receiver<bool>,
    node: Arc<str>,
    heard: Instant,
    welcome: bool,
    /// Batches under way, in order.
    waiting: VecDeque<(u64, oneshot::Receiver<Result<(), Refused>>)>,
    is_over: bool,
}

/// What happened next.
enum Next {
    Incoming(Result<Option<AgentMessage>, Status>),
    Stored(Result<(), Refused>),
    Silence,
    Stop,
}

#[tonic::async_trait]
impl AgentService for Agents {
    type SessionStream = Pin<Box<dyn Stream<Item = Result<CollectorMessage, Status>> + Send>>;

    async fn session(
        &self,
        request: Request<Streaming<AgentMessage>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let mut incoming = request.into_inner();
        let first = timeout(HELLO_MAX, incoming.message())
            .await
            .map_err(|_| Status::deadline_exceeded("no hello came"))??;
        let Some(AgentMessage { kind: Some(agent_message::Kind::Hello(hello)) }) = first else {
            return Err(Status::invalid_argument("the first message must be a hello"));
        };
        let session = Session::begin(self, incoming, hello)?;
        Ok(Response::new(Box::pin(stream::unfold(session, |mut session| async {
            session.next().await.map(|message| (message, session))
        }))))
    }
}

impl Session {
    fn begin(agents: &Agents, incoming: Streaming<AgentMessage>, hello: Hello) -> Result<Self, Status> {
        if hello.node.is_empty() || hello.node.len() > NAME_MAX || hello.boot.len() != 16 {
            return Err(Status::invalid_argument("a hello needs the name of a node and 16 bytes of `boot`"));
        }
        tracing::info!(node = hello.node, version = hello.version, "An agent is there");
        agents.registry.update(&hello.node, now_ns(), |node| {
            node.sessions += 1;
            node.version = short(hello.version);
            node.kernel = short(hello.kernel);
        });
        agents.metrics.sessions.inc();
        Ok(Self {
            incoming,
            ingest: agents.ingest.clone(),
            registry: Arc::clone(&agents.registry),
            metrics: Arc::clone(&agents.metrics),
            stop: agents.stop.clone(),
            node: hello.node.into(),
            heard: Instant::now(),
            welcome: true,
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
                }
                Next::Incoming(Ok(None) | Err(_)) => self.is_over = true,
                Next::Stored(Ok(())) => {
                    let (batch, _) = self.waiting.pop_front()?;
                    return Some(Ok(message(collector_message::Kind::Ack(Ack { batch }))));
                }
                Next::Stored(Err(Refused)) => {
                    self.end();
                    return Some(Err(Status::unavailable(Refused.to_string())));
                }
                Next::Silence => {
                    self.end();
                    return Some(Err(Status::deadline_exceeded("nothing was heard for too long")));
                }
                Next::Stop => {
                    self.end();
                    return Some(Err(Status::unavailable("the collector ends")));
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
        let stored = async {
            match self.waiting.front_mut() {
                Some((_, answer)) => answer.await.unwrap_or(Err(Refused)),
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            // Acknowledgements first: the agent waits for them.
            biased;
            stored = stored, if has_waiting => Next::Stored(stored),
            message = self.incoming.message(), if takes => Next::Incoming(message),
            _ = self.stop.wait_for(|stop| *stop), if !self.is_over => Next::Stop,
            () = tokio::time::sleep(silence), if takes => Next::Silence,
        }
    }

    async fn take(&mut self, message: AgentMessage) -> Result<(), Status> {
        match message.kind {
            Some(agent_message::Kind::Alerts(batch)) => {
                if batch.alerts.len() > BATCH_ALERTS {
                    return Err(Status::invalid_argument("too many alerts in one batch"));
                }
                self.registry.update(&self.node, now_ns(), |_| ());
                let mut alerts = Vec::with_capacity(batch.alerts.len());
                for alert in batch.alerts {
                    match checked(alert) {
                        Ok(alert) => alerts.push(alert),
                        Err(reason) => self.reject(reason),
                    }
                }
                let answer = self.ingest.store(Batch { node: Arc::clone(&self.node), alerts }).await;
                self.waiting.push_back((batch.number, answer));
                Ok(())
            }
            Some(agent_message::Kind::Heartbeat(beat)) => {
                let beat = beat_of(beat);
                self.registry.update(&self.node, now_ns(), |node| node.beat = Some(beat));
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
        tracing::info!(node = &*self.node, "An agent has gone");
        self.registry.update(&self.node, now_ns(), |node| node.sessions = node.sessions.saturating_sub(1));
    }
}

const fn message(kind: collector_message::Kind) -> CollectorMessage {
    CollectorMessage { kind: Some(kind) }
}

/// The alert, or what is wrong with it.
fn checked(alert: v1::Alert) -> Result<Alert, &'static str> {
    let priority =
        u8::try_from(i64::from(alert.priority) - 1).ok().and_then(Priority::of).ok_or("priority")?;
    let id = alert.id.ok_or("id")?;
    let boot = id.boot.try_into().map_err(|_| "id")?;
    if id.sequence == 0 || i64::try_from(id.sequence).is_err() {
        return Err("id");
    }
    if i64::try_from(alert.time_ns).is_err() {
        return Err("time");
    }
    if alert.rule.is_empty() || alert.rule.len() > NAME_MAX {
        return Err("rule");
    }
    if alert.source.len() > NAME_MAX {
        return Err("source");
    }
    // It is put into answers as it is, so it must be an object and nothing behind it.
    let is_object = alert.json.starts_with('{') && serde_json::from_str::<IgnoredAny>(&alert.json).is_ok();
    if alert.json.len() > JSON_MAX || !is_object {
        return Err("json");
    }
    Ok(Alert {
        id: Id { boot, cpu: id.cpu, sequence: id.sequence },
        time_ns: alert.time_ns,
        priority,
        rule: alert.rule,
        source: alert.source,
        json: alert.json,
    })
}

fn beat_of(beat: Heartbeat) -> Beat {
    let losses = beat.losses.into_iter().take(LOSSES_MAX).map(|loss| (short(loss.cause), loss.count));
    Beat {
        losses: losses.collect(),
        policy_digest: short(beat.policy_digest),
        rules: beat.rules,
        is_ready: beat.is_ready,
        cpu_ms: beat.cpu_ms,
        rss_bytes: beat.rss_bytes,
        events: beat.events,
        alerts: beat.alerts,
        spool_pending: beat.spool_pending,
        spool_bytes: beat.spool_bytes,
        policy_fault: short(beat.policy_fault),
    }
}

/// The text, cut where it is longer than any of these should be.
fn short(mut text: String) -> String {
    if let Some((end, _)) = text.char_indices().find(|(at, _)| *at >= NAME_MAX) {
        text.truncate(end);
    }
    text
}

#[cfg(test)]
mod tests {
    use rampart_proto::v1::AlertId;

    use super::*;

    fn sent() -> v1::Alert {
        v1::Alert {
            id: Some(AlertId { boot: vec![1; 16], cpu: 0, sequence: 1 }),
            time_ns: 5,
            priority: v1::Priority::Warning.into(),
            rule: "A".to_owned(),
            source: "syscall".to_owned(),
            tags: Vec::new(),
            json: r#"{"rule":"A"}"#.to_owned(),
        }
    }

    #[test]
    fn only_sound_alerts_are_taken() {
        let alert = checked(sent()).unwrap();
        assert_eq!((alert.priority, alert.id.boot), (Priority::Warning, [1; 16]));
        let id = |boot: usize, sequence| Some(AlertId { boot: vec![1; boot], cpu: 0, sequence });
        let json = |json: &str| v1::Alert { json: json.to_owned(), ..sent() };
        for (expected, wrong) in [
            ("id", v1::Alert { id: None, ..sent() }),
            ("id", v1::Alert { id: id(15, 1), ..sent() }),
            ("id", v1::Alert { id: id(16, 0), ..sent() }),
            ("id", v1::Alert { id: id(16, u64::MAX), ..sent() }),
            ("priority", v1::Alert { priority: 0, ..sent() }),
            ("priority", v1::Alert { priority: 9, ..sent() }),
            ("priority", v1::Alert { priority: i32::MIN, ..sent() }),
            ("time", v1::Alert { time_ns: u64::MAX, ..sent() }),
            ("rule", v1::Alert { rule: String::new(), ..sent() }),
            ("source", v1::Alert { source: "s".repeat(2000), ..sent() }),
            ("json", json("[]")),
            ("json", json("{} {}")),
            ("json", json("{")),
            ("json", json(&format!(r#"{{"a":"{}"}}"#, "x".repeat(JSON_MAX)))),
        ] {
            assert_eq!(checked(wrong).unwrap_err(), expected);
        }
        assert_eq!(short("ä".repeat(600)).len(), 1024);
    }
}
