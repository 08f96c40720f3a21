//! Delivery to a real server on loopback that fails as it is told to.

use std::{
    path::Path,
    sync::Mutex,
    time::{Duration, Instant},
};

use axum::{Router, extract::State, http::StatusCode, routing::post};
use serde_json::Value;
use tokio::net::TcpListener;

use super::*;
use crate::{
    alert::{Priority, tests::alert},
    config,
    ingest::{Shown, Start},
    notify::route::Routes,
    store::{Batch, Reader, sqlite},
};

/// What the server got, and the answers it is to give first.
#[derive(Default)]
struct Sink {
    got: Mutex<Vec<Value>>,
    answers: Mutex<Vec<u16>>,
}

async fn take(State(sink): State<Arc<Sink>>, body: String) -> StatusCode {
    let answer = sink.answers.lock().unwrap().pop();
    if let Some(status) = answer {
        return StatusCode::from_u16(status).unwrap();
    }
    sink.got.lock().unwrap().push(serde_json::from_str(&body).unwrap());
    StatusCode::OK
}

async fn serve(sink: &Arc<Sink>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let app = Router::new().route("/hook", post(take)).with_state(Arc::clone(sink));
    tokio::spawn(async move { axum::serve(listener, app).await });
    format!("http://{address}/hook")
}

struct Bench {
    ingest: Ingest,
    metrics: Arc<Metrics>,
    stop: watch::Sender<bool>,
    task: tokio::task::JoinHandle<()>,
}

fn start(path: &Path, channels: Vec<Channel>) -> Bench {
    let metrics = Arc::new(Metrics::new().unwrap());
    let routes = Arc::new(Routes::of_channels(&channels));
    let writer = Box::new(sqlite::writer(path).unwrap());
    let (ingest, _thread) =
        Ingest::start(Start { writer, shown: Shown::Here, routes, metrics: Arc::clone(&metrics) }).unwrap();
    let backoff = Backoff { first: Duration::from_millis(1), longest: Duration::from_millis(5) };
    let notifier =
        Notifier::new(channels, ingest.clone(), Arc::clone(&metrics), backoff, Sharing::default()).unwrap();
    let (stop, stopped) = watch::channel(false);
    let task = tokio::spawn(notifier.run(stopped));
    Bench { ingest, metrics, stop, task }
}

impl Bench {
    async fn store(&self, from: u64, count: u64, priority: Priority) {
        let alerts = (from..from + count).map(|number| alert(1, number, priority, "A")).collect();
        assert_eq!(self.ingest.store(Batch { node: "n".into(), alerts }).await.await.unwrap(), Ok(()));
    }

    async fn end(self) {
        self.stop.send(true).unwrap();
        self.task.await.unwrap();
    }
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let started = Instant::now();
    while !holds() {
        assert!(started.elapsed() < Duration::from_mins(1), "waited in vain: {what}");
        sleep(Duration::from_millis(10)).await;
    }
}

fn channels(text: &str) -> Vec<Channel> {
    config::parse(text, "file", &[]).unwrap().channels
}

#[tokio::test(flavor = "multi_thread")]
async fn every_alert_arrives_in_order_although_the_server_fails_at_times() {
    let dir = tempfile::tempdir().unwrap();
    let sink = Arc::new(Sink::default());
    *sink.answers.lock().unwrap() = vec![503, 429, 500];
    let url = serve(&sink).await;
    let bench = start(
        &dir.path().join("db"),
        channels(&format!("webhook: {{address: '{url}', minimumpriority: error}}")),
    );
    bench.store(1, 20, Priority::Error).await;
    bench.store(21, 20, Priority::Notice).await;
    bench.store(1, 20, Priority::Error).await;
    until("20 alerts", || sink.got.lock().unwrap().len() >= 20).await;
    let sequences: Vec<u64> =
        sink.got.lock().unwrap().iter().map(|alert| alert["sequence"].as_u64().unwrap()).collect();
    assert_eq!(sequences, (1..=20).collect::<Vec<_>>());
    let delivered = bench.metrics.notifications.with_label_values(&["webhook", "delivered"]);
    until("the count", || delivered.get() == 20).await;
    assert_eq!(bench.metrics.notifications.with_label_values(&["webhook", "retried"]).get(), 3);
    let reader = sqlite::reader(&dir.path().join("db")).unwrap();
    until("nothing to tell", || reader.size().unwrap().notices == 0).await;
    bench.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_is_a_dead_letter_and_can_be_driven_again() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("db");
    let sink = Arc::new(Sink::default());
    *sink.answers.lock().unwrap() = vec![400];
    let url = serve(&sink).await;
    let bench = start(&path, channels(&format!("webhook: {{address: '{url}'}}")));
    bench.store(1, 2, Priority::Error).await;
    until("the second alert", || sink.got.lock().unwrap().len() == 1).await;
    let reader = sqlite::reader(&path).unwrap();
    until("the dead letter", || reader.dead(10).unwrap().len() == 1).await;
    assert!(reader.dead(10).unwrap()[0].reason.starts_with("answered 400"));
    assert_eq!(bench.ingest.run(|writer| writer.redrive(None, None)).await, Ok(1));
    until("the first alert", || sink.got.lock().unwrap().len() == 2).await;
    bench.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_channel_holds_nobody_up_and_what_waits_survives_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("db");
    let sink = Arc::new(Sink::default());
    let url = serve(&sink).await;
    // Nobody listens on the discard port.
    let both = format!("webhook: {{address: '{url}'}}\nslack: {{webhookurl: 'http://127.0.0.1:9/'}}");
    let bench = start(&path, channels(&both));
    bench.store(1, 5, Priority::Error).await;
    until("all on the live channel", || sink.got.lock().unwrap().len() == 5).await;
    let retried = bench.metrics.notifications.with_label_values(&["slack", "retried"]);
    until("a try of the dead one", || retried.get() > 0).await;
    bench.end().await;
    let moved = format!("webhook: {{address: '{url}'}}\nslack: {{webhookurl: '{url}'}}");
    let bench = start(&path, channels(&moved));
    let reader = sqlite::reader(&path).unwrap();
    until("the rest", || reader.size().unwrap().notices == 0).await;
    let told = sink.got.lock().unwrap().iter().filter(|body| body.get("attachments").is_some()).count();
    assert_eq!(told + reader.dead(10).unwrap().len(), 5);
    bench.end().await;
}

#[tokio::test]
async fn a_sample_is_sent_to_one_channel() {
    let sink = Arc::new(Sink::default());
    let url = serve(&sink).await;
    let channels = channels(&format!("webhook: {{address: '{url}'}}"));
    try_channel(&channels[0]).await.unwrap();
    assert_eq!(sink.got.lock().unwrap()[0]["rule"], "Test rule");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_within_the_window_is_one_message_for_each_group() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("db");
    let sink = Arc::new(Sink::default());
    let url = serve(&sink).await;
    let settings = format!("webhook: {{address: '{url}', grouping: {{window_secs: 2, by: [rule]}}}}");
    let bench = start(&path, channels(&settings));
    let started = Instant::now();
    bench.store(1, 1, Priority::Notice).await;
    until("the first, at once", || sink.got.lock().unwrap().len() == 1).await;
    bench.store(2, 8, Priority::Notice).await;
    let reader = sqlite::reader(&path).unwrap();
    until("nothing to tell", || reader.size().unwrap().notices == 0).await;
    assert!(started.elapsed() >= Duration::from_secs(2), "the window is waited for");
    let got = sink.got.lock().unwrap().clone();
    assert_eq!((got.len(), &got[0]["sequence"]), (2, &1.into()));
    let mut told = Vec::new();
    for message in &got {
        match message["alerts"].as_array() {
            Some(alerts) => told.extend(alerts.iter().map(|alert| alert["sequence"].as_u64().unwrap())),
            None => told.push(message["sequence"].as_u64().unwrap()),
        }
    }
    assert_eq!(told, (1..=9).collect::<Vec<_>>());
    let delivered = bench.metrics.notifications.with_label_values(&["webhook", "delivered"]);
    until("the count", || delivered.get() == 9).await;
    bench.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_in_quiet_hours_is_told_afterwards_in_one_message() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("db");
    let sink = Arc::new(Sink::default());
    let url = serve(&sink).await;
    let always =
        format!("webhook: {{address: '{url}', quiet: {{times: ['00:00-24:00'], except: critical}}}}");
    let bench = start(&path, channels(&always));
    bench.store(1, 20, Priority::Notice).await;
    bench.store(21, 1, Priority::Critical).await;
    until("what is urgent", || sink.got.lock().unwrap().len() == 1).await;
    assert_eq!(sink.got.lock().unwrap()[0]["sequence"], 21);
    let reader = sqlite::reader(&path).unwrap();
    until("only what waits", || reader.size().unwrap().notices == 20).await;
    bench.end().await;

    // Another start, at a time when it is not quiet: here, without quiet hours.
    let bench = start(&path, channels(&format!("webhook: {{address: '{url}'}}")));
    until("the summary", || sink.got.lock().unwrap().len() == 2).await;
    let summary = sink.got.lock().unwrap()[1].clone();
    assert_eq!(summary["alerts"].as_array().unwrap().len(), 20);
    assert!(summary["output"].as_str().unwrap().starts_with("Held in quiet hours: 20 alerts from "));
    until("nothing to tell", || reader.size().unwrap().notices == 0).await;
    assert!(reader.dead(10).unwrap().is_empty());
    bench.end().await;
}
