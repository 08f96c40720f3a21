//! The way to a collector made of memory, over a real connection.

mod joining;
mod rules;

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    pin::Pin,
    sync::{
        atomic::{AtomicBool, Ordering::SeqCst},
        mpsc::Receiver,
    },
    time::{Duration, Instant},
};

use futures_util::{Stream, stream};
use rampart_proto::v1::{
    self, Ack, AgentMessage, CollectorMessage, Welcome, agent_message,
    agent_service_server::{AgentService, AgentServiceServer},
    collector_message,
};
use rampart_rules::rule::Priority;
use serde_json::Value;
use tokio::{
    net::TcpListener,
    sync::{Notify, watch},
    task::JoinHandle,
    time::sleep,
};
use tonic::{
    Request, Response, Status as Answer, Streaming,
    transport::{Server, server::TcpIncoming},
};
use uuid::Uuid;

use super::*;
use crate::{
    alert::Alert,
    config::Join,
    jobs::{Command, Done, Failed, Report, Task},
    output::{Message as _, Output},
    retry::{Backoff, Budget, Retry},
    spool::Sync,
    telemetry::status::{self, Status},
};

/// What arrived, in order, and how the collector behaves.
#[derive(Debug, Default)]
struct Store {
    alerts: Mutex<Vec<v1::Alert>>,
    beats: Mutex<Vec<v1::Heartbeat>>,
    /// What is to be sent.
    orders: Mutex<Vec<collector_message::Kind>>,
    reports: Mutex<Vec<v1::JobReport>>,
    rules: Mutex<Vec<v1::RuleTexts>>,
    acknowledges: AtomicBool,
    /// Ends the streams there are.
    dies: Notify,
    streams: Mutex<Streams>,
}

/// Streams so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Streams {
    open: usize,
    opened: usize,
    /// Times that the last one closed.
    none_left: usize,
}

/// An open stream.
struct Open(Arc<Store>);

impl Open {
    fn new(store: &Arc<Store>) -> Self {
        let mut streams = store.streams.lock().unwrap();
        streams.open += 1;
        streams.opened += 1;
        Self(Arc::clone(store))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let mut streams = self.0.streams.lock().unwrap();
        streams.open -= 1;
        streams.none_left += usize::from(streams.open == 0);
    }
}

#[derive(Clone, Debug)]
struct Fake(Arc<Store>);

#[tonic::async_trait]
impl AgentService for Fake {
    type SessionStream = Pin<Box<dyn Stream<Item = Result<CollectorMessage, Answer>> + Send>>;

    async fn session(
        &self,
        request: Request<Streaming<AgentMessage>>,
    ) -> Result<Response<Self::SessionStream>, Answer> {
        let mut incoming = request.into_inner();
        let hello = incoming.message().await?.and_then(|message| message.kind);
        assert!(matches!(hello, Some(agent_message::Kind::Hello(hello))
                if hello.node == "node" && hello.boot.len() == 16 && hello.jobs == ["diagnostics"]));
        let store = Arc::clone(&self.0);
        let open = Open::new(&store);
        let answers = stream::unfold((incoming, open, false), move |(mut incoming, open, is_greeted)| {
            let store = Arc::clone(&store);
            async move {
                if !is_greeted {
                    let welcome = Welcome { heartbeat_secs: 1, batch_bytes: 4096, batches: 4 };
                    let kind = Some(collector_message::Kind::Welcome(welcome));
                    return Some((Ok(CollectorMessage { kind }), (incoming, open, true)));
                }
                loop {
                    if let Some(order) = store.orders.lock().unwrap().pop() {
                        return Some((Ok(CollectorMessage { kind: Some(order) }), (incoming, open, true)));
                    }
                    let message = tokio::select! {
                        message = incoming.message() => message,
                        () = store.dies.notified() => return None,
                    };
                    match message.ok()??.kind? {
                        agent_message::Kind::Alerts(batch) => {
                            store.alerts.lock().unwrap().extend(batch.alerts);
                            if store.acknowledges.load(SeqCst) {
                                let kind = Some(collector_message::Kind::Ack(Ack { batch: batch.number }));
                                return Some((Ok(CollectorMessage { kind }), (incoming, open, true)));
                            }
                        }
                        agent_message::Kind::Heartbeat(beat) => store.beats.lock().unwrap().push(beat),
                        agent_message::Kind::Report(report) => {
                            let noted = v1::JobNoted { id: report.id.clone() };
                            store.reports.lock().unwrap().push(report);
                            // Without it, it is as if the stream had ended before.
                            if store.acknowledges.load(SeqCst) {
                                let kind = Some(collector_message::Kind::Noted(noted));
                                return Some((Ok(CollectorMessage { kind }), (incoming, open, true)));
                            }
                        }
                        agent_message::Kind::Rules(texts) => store.rules.lock().unwrap().push(texts),
                        agent_message::Kind::Hello(_) => return None,
                    }
                }
            }
        });
        Ok(Response::new(Box::pin(answers)))
    }
}

async fn serve(store: &Arc<Store>, address: &str) -> (SocketAddr, JoinHandle<()>) {
    let listener = loop {
        // The address of a server that has just ended may be taken for a moment.
        if let Ok(listener) = TcpListener::bind(address).await {
            break listener;
        }
        sleep(Duration::from_millis(20)).await;
    };
    let address = listener.local_addr().unwrap();
    let service = AgentServiceServer::new(Fake(Arc::clone(store)));
    let server = Server::builder().add_service(service).serve_with_incoming(TcpIncoming::from(listener));
    (address, tokio::spawn(async move { server.await.unwrap() }))
}

fn alert(sequence: u64, priority: Priority) -> Alert {
    Alert {
        rule: "A rule".into(),
        priority,
        source: "syscall".into(),
        tags: Some(vec!["a".into()]),
        hostname: "node".into(),
        time_ns: 1_700_000_000_000_000_000 + sequence,
        time_text: "22:13:20.0".into(),
        message: format!("number {sequence}"),
        fields: BTreeMap::new(),
        uuid: Uuid::nil(),
        sequence,
        policy_digest: None,
        wait: None,
        order: None,
    }
}

struct Bench {
    dir: tempfile::TempDir,
    sink: Sink,
    status: Arc<Status>,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
    jobs: Option<(Arc<Line>, Receiver<Command>)>,
}

fn start(dir: tempfile::TempDir, address: SocketAddr) -> Bench {
    start_with(dir, &format!("http://{address}"), None)
}

fn start_with(dir: tempfile::TempDir, url: &str, join: Option<Join>) -> Bench {
    let config = CollectorOutput {
        url: url.to_owned(),
        tls: None,
        join,
        spool_dir: dir.path().join("spool"),
        spool_bytes: 64 << 20,
        sync: Sync::Interval,
        sync_interval: Duration::from_millis(20),
        jobs: ["diagnostics".to_owned()].into(),
    };
    let (sink, uplink) = open(&config, "node", &[("stage".to_owned(), "canary".to_owned())].into()).unwrap();
    let (status, (stop, stopped)) = (status::shared(), watch::channel(false));
    let backoff = Backoff { first: Duration::from_millis(5), longest: Duration::from_millis(50) };
    let retry = Retry::new(backoff, Arc::new(Budget::new(1000, Duration::from_millis(1))));
    let jobs = uplink.jobs();
    let task = tokio::spawn(uplink.with_retry(retry).run(Arc::clone(&status), stopped));
    Bench { dir, sink, status, stop, task, jobs }
}

impl Bench {
    fn write(&mut self, alerts: &[Alert]) {
        let mut batch = Vec::new();
        for alert in alerts {
            assert!(alert.alert().is_some());
            self.sink.take(alert, &mut batch);
        }
        self.sink.write(&batch).unwrap();
    }

    async fn end(self) -> tempfile::TempDir {
        self.stop.send(true).unwrap();
        self.task.await.unwrap();
        self.dir
    }
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let started = Instant::now();
    while !holds() {
        assert!(started.elapsed() < Duration::from_mins(1), "waited in vain: {what}");
        sleep(Duration::from_millis(10)).await;
    }
}

fn sequences(store: &Store) -> Vec<u64> {
    store.alerts.lock().unwrap().iter().map(|alert| alert.id.as_ref().unwrap().sequence).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_arrive_and_what_became_of_them_goes_back_over_the_next_stream_too() {
    let job = v1::Job {
        id: "a1".to_owned(),
        lease_secs: 60,
        task: Some(v1::job::Task::Diagnostics(v1::DiagnosticsTask {})),
    };
    let cancel = v1::JobCancel { id: "b2".to_owned() };
    let orders = vec![collector_message::Kind::Cancel(cancel), collector_message::Kind::Job(job)];
    let store = Arc::new(Store { orders: Mutex::new(orders), ..Store::default() });
    let (address, server) = serve(&store, "127.0.0.1:0").await;
    let mut bench = start(tempfile::tempdir().unwrap(), address);
    let (line, commands) = bench.jobs.take().unwrap();
    let waited = tokio::task::spawn_blocking(move || {
        let patience = Duration::from_mins(1);
        [commands.recv_timeout(patience).unwrap(), commands.recv_timeout(patience).unwrap()]
    });
    let [first, second] = waited.await.unwrap();
    let Command::Do(order) = first else { panic!("{first:?}") };
    assert_eq!((order.task.as_ref(), order.lease.as_secs()), (Some(&Task::Diagnostics), 60));
    assert_eq!(second, Command::Cancel("b2".to_owned()));
    let done = Done { text: "fine".to_owned(), content: vec![1, 2], ..Done::default() };
    line.say(Report { id: order.id, outcome: Ok(done) });
    until("the report", || store.reports.lock().unwrap().len() == 1).await;
    // The stream ends before it is noted.
    store.acknowledges.store(true, SeqCst);
    until("no stream", || {
        // Who does not wait yet does not hear it.
        store.dies.notify_waiters();
        store.streams.lock().unwrap().none_left > 0
    })
    .await;
    until("the report on the next stream", || store.reports.lock().unwrap().len() == 2).await;
    until("its note", || line.after(0).is_none()).await;
    line.say(Report { id: "c3".to_owned(), outcome: Err(Failed::forever("no")) });
    until("the other report", || line.after(0).is_none()).await;
    let reports = store.reports.lock().unwrap().clone();
    assert_eq!(reports[0], reports[1]);
    assert!(
        matches!(&reports[0].outcome, Some(v1::job_report::Outcome::Done(done)) if done.content == [1, 2])
    );
    assert!(matches!(&reports[2].outcome, Some(v1::job_report::Outcome::Failed(failed)) if failed.is_final));
    bench.end().await;
    server.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn alerts_arrive_with_identity_and_text_and_leave_the_spool() {
    let store = Arc::new(Store { acknowledges: true.into(), ..Store::default() });
    let (address, server) = serve(&store, "127.0.0.1:0").await;
    let mut bench = start(tempfile::tempdir().unwrap(), address);
    let many: Vec<Alert> = (1..=500).map(|number| alert(number, Priority::Warning)).collect();
    bench.write(&many);
    until("all alerts", || sequences(&store).len() >= 500).await;
    assert_eq!(sequences(&store), (1..=500).collect::<Vec<_>>());
    let first = store.alerts.lock().unwrap()[0].clone();
    let json: Value = serde_json::from_str(&first.json).unwrap();
    assert_eq!((&json["sequence"], &json["rule"]), (&Value::from(1), &Value::from("A rule")));
    assert_eq!((first.priority(), first.rule.as_str()), (v1::Priority::Warning, "A rule"));
    assert_eq!(first.time_ns, 1_700_000_000_000_000_001);
    assert_eq!(first.id.unwrap().boot.len(), 16);
    // What is known of the delivery is published now and then, so it may be that of before the alerts.
    until("an empty spool", || {
        let delivery = bench.status.delivery();
        delivery.is_connected && delivery.pending == 0 && delivery.counts.acknowledged == 500
    })
    .await;
    until("a second heartbeat", || store.beats.lock().unwrap().len() >= 2).await;
    assert!(store.beats.lock().unwrap()[1].rss_bytes > 0);
    bench.end().await;
    server.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_not_acknowledged_comes_again_and_nobody_waits_for_it() {
    let store = Arc::new(Store::default());
    let (address, server) = serve(&store, "127.0.0.1:0").await;
    let mut bench = start(tempfile::tempdir().unwrap(), address);
    bench.write(&(1..=50).map(|number| alert(number, Priority::Notice)).collect::<Vec<_>>());
    until("alerts that are not acknowledged", || !sequences(&store).is_empty()).await;
    server.abort();
    let _ = server.await;
    store.dies.notify_waiters();
    until("the loss of the connection", || !bench.status.delivery().is_connected).await;
    // The collector is dead; this returns all the same. An urgent one overtakes.
    bench.write(&(51..=99).map(|number| alert(number, Priority::Notice)).collect::<Vec<_>>());
    bench.write(&[alert(100, Priority::Critical)]);
    until("a complaint", || {
        bench.status.complaints(Instant::now()).iter().any(|text| text.contains("collector"))
    })
    .await;
    let dir = bench.end().await;

    // The agent starts anew: what it had is sent under the identity it had.
    store.alerts.lock().unwrap().clear();
    store.acknowledges.store(true, SeqCst);
    let (_, server) = serve(&store, &address.to_string()).await;
    let mut bench = start(dir, address);
    bench.write(&[alert(1, Priority::Notice)]);
    until("all", || sequences(&store).len() >= 101).await;
    let found = sequences(&store);
    assert_eq!(found[0], 100, "the urgent one first");
    assert_eq!(found[1..], (1..=99).chain([1]).collect::<Vec<_>>());
    let boots: std::collections::BTreeSet<Vec<u8>> =
        store.alerts.lock().unwrap().iter().map(|alert| alert.id.clone().unwrap().boot).collect();
    assert_eq!(boots.len(), 2);
    until("an empty spool", || bench.status.delivery().pending == 0).await;
    bench.end().await;
    server.abort();
}
