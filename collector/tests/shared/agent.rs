//! An agent as a collector sees it: keeps what is not acknowledged, and sends it again on the next stream, wherever that is.

use std::{collections::VecDeque, net::SocketAddr, sync::Arc, time::Duration};

use rampart_proto::v1::{
    self, AgentMessage, AlertBatch, AlertId, Hello, agent_message, agent_service_client::AgentServiceClient,
    collector_message,
};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep, timeout},
};
use tonic::transport::Endpoint;

/// Alerts of a batch, and the time after each, so that somebody may be killed in between.
const BATCH: usize = 25;
const PAUSE: Duration = Duration::from_millis(10);
/// Batches under way.
const UNDER_WAY: usize = 4;
/// A stream without an answer for so long is given up: its collector may be dead without a word.
const SILENCE: Duration = Duration::from_secs(10);

/// An agent.
pub(crate) struct Agent {
    /// Its start.
    pub(crate) boot: u8,
    /// Collectors, tried in turn.
    pub(crate) collectors: Arc<Vec<SocketAddr>>,
    /// Numbers that no collector has acknowledged.
    pub(crate) spool: VecDeque<u64>,
}

/// The text that tells an alert from all others.
pub(crate) fn label(boot: u8, sequence: u64) -> String {
    format!("{boot}-{sequence}")
}

fn alert(boot: u8, sequence: u64) -> v1::Alert {
    let label = label(boot, sequence);
    v1::Alert {
        id: Some(AlertId { boot: vec![boot; 16], cpu: 0, sequence }),
        time_ns: 1_700_000_000_000_000_000 + sequence,
        priority: v1::Priority::Warning.into(),
        rule: "Rule".to_owned(),
        source: "syscall".to_owned(),
        tags: Vec::new(),
        json: format!(r#"{{"output":"{label}","priority":"Warning","rule":"Rule","sequence":{sequence}}}"#),
    }
}

impl Agent {
    /// Sends until everything is acknowledged; gives how many streams it took.
    pub(crate) async fn run(mut self) -> usize {
        let mut streams = 0;
        while !self.spool.is_empty() {
            let place = self.collectors[(usize::from(self.boot) + streams) % self.collectors.len()];
            streams += 1;
            // Whatever ends a stream, what was not acknowledged goes over the next.
            if self.stream(place).await.is_none() {
                sleep(Duration::from_millis(20)).await;
            }
        }
        streams
    }

    async fn stream(&mut self, place: SocketAddr) -> Option<()> {
        let endpoint = Endpoint::from_shared(format!("http://{place}")).ok()?;
        let channel = timeout(SILENCE, endpoint.connect()).await.ok()?.ok()?;
        let (sender, receiver) = mpsc::channel::<AgentMessage>(UNDER_WAY + 1);
        let boot = self.boot;
        let hello = Hello { node: format!("node-{boot}"), boot: vec![boot; 16], ..Hello::default() };
        sender.send(AgentMessage { kind: Some(agent_message::Kind::Hello(hello)) }).await.ok()?;
        let requests = futures_util::stream::unfold(receiver, |mut receiver| async {
            receiver.recv().await.map(|message| (message, receiver))
        });
        let session = AgentServiceClient::new(channel);
        let mut answers = timeout(SILENCE, { session }.session(requests)).await.ok()?.ok()?.into_inner();
        // Lengths of the batches under way, and the number of the first of them.
        let (mut under_way, mut first, mut sent): (VecDeque<usize>, u64, usize) = (VecDeque::new(), 0, 0);
        loop {
            while under_way.len() < UNDER_WAY && sent < self.spool.len() {
                let alerts: Vec<_> =
                    self.spool.iter().skip(sent).take(BATCH).map(|number| alert(boot, *number)).collect();
                sent += alerts.len();
                let number = first + under_way.len() as u64;
                under_way.push_back(alerts.len());
                let batch = AlertBatch { number, alerts };
                sender.send(AgentMessage { kind: Some(agent_message::Kind::Alerts(batch)) }).await.ok()?;
                sleep(PAUSE).await;
            }
            if under_way.is_empty() {
                return Some(());
            }
            let answer = timeout(SILENCE, answers.message()).await.ok()?.ok()??;
            let Some(collector_message::Kind::Ack(ack)) = answer.kind else { continue };
            while first <= ack.batch {
                let length = under_way.pop_front().expect("an acknowledgement of what was sent");
                self.spool.drain(..length);
                sent -= length;
                first += 1;
            }
        }
    }
}

/// Waits for something that comes over the network.
pub(crate) async fn within<T>(what: &str, wait: impl Future<Output = T>) -> T {
    let started = Instant::now();
    timeout(crate::PATIENCE, wait)
        .await
        .unwrap_or_else(|_| panic!("waited in vain for {what} since {:?}", started.elapsed()))
}
