//! Traces of a running collector, as a receiver of OTLP gets them.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is how a test fails")]
#![expect(clippy::indexing_slicing, reason = "a panic is how a test fails")]

#[path = "shared/agent.rs"]
mod agent;

use std::{
    fs,
    net::SocketAddr,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use agent::{Agent, label, within};
use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode},
    routing::post,
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    trace::v1::{Span, status::StatusCode as Status},
};
use prost::Message;
use rampart_collector::identity::hex;
use serde_json::Value;
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

/// Longest wait for anything.
const PATIENCE: Duration = Duration::from_mins(3);
const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";

/// Who collects traces, and the channel that is told of alerts.
#[derive(Default)]
struct Others {
    spans: Mutex<Vec<Span>>,
    /// `traceparent` of each message of the channel; the first one is refused.
    told: Mutex<Vec<String>>,
}

async fn take(State(others): State<Arc<Others>>, body: Bytes) -> StatusCode {
    let request = ExportTraceServiceRequest::decode(body).unwrap();
    let scopes = request.resource_spans.into_iter().flat_map(|resource| resource.scope_spans);
    others.spans.lock().unwrap().extend(scopes.flat_map(|scope| scope.spans));
    StatusCode::OK
}

async fn hook(State(others): State<Arc<Others>>, headers: HeaderMap) -> StatusCode {
    let mut told = others.told.lock().unwrap();
    told.push(headers["traceparent"].to_str().unwrap().to_owned());
    if told.len() == 1 { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK }
}

impl Others {
    async fn start() -> (Arc<Self>, String) {
        let others = Arc::new(Self::default());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let app = Router::new().route("/v1/traces", post(take)).route("/hook", post(hook));
        let app = app.with_state(Arc::clone(&others));
        tokio::spawn(async move { axum::serve(listener, app).await });
        (others, format!("http://{address}"))
    }

    fn named(&self, name: &str) -> Vec<Span> {
        self.spans.lock().unwrap().iter().filter(|span| span.name == name).cloned().collect()
    }
}

struct Collector {
    child: Child,
    grpc: SocketAddr,
    http: SocketAddr,
    dir: TempDir,
}

impl Collector {
    async fn start(traces: &str, hook: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let log = fs::File::create(dir.path().join("log")).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_rampart-collector"))
            .arg("serve")
            .env_clear()
            .env("RAMPART_COLLECTOR_STORE__PATH", dir.path().join("store.db"))
            .env("RAMPART_COLLECTOR_GRPC__LISTEN", "127.0.0.1:0")
            .env("RAMPART_COLLECTOR_HTTP__LISTEN", "127.0.0.1:0")
            .env("RAMPART_COLLECTOR_LOG__FORMAT", "json")
            .env("OTEL_EXPORTER_OTLP_ENDPOINT", traces)
            .env("WEBHOOK_ADDRESS", hook)
            .stdin(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut collector = Self { child, grpc: any, http: any, dir };
        let started = Instant::now();
        let ready = loop {
            let log = collector.log();
            // A line that is not whole yet is no JSON.
            let ready = log.lines().find(|line| line.contains("Ready")).map(serde_json::from_str::<Value>);
            if let Some(Ok(ready)) = ready {
                break ready;
            }
            assert!(started.elapsed() < PATIENCE, "the collector does not start: {log}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
        let at = |name: &str| ready[name].as_str().unwrap().parse().unwrap();
        (collector.grpc, collector.http) = (at("grpc"), at("http"));
        collector
    }

    fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap()
    }

    async fn get(&self, path: &str, header: &str) -> String {
        let mut stream = TcpStream::connect(self.http).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{header}\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        within(path, stream.read_to_string(&mut answer)).await.unwrap();
        answer
    }

    /// Sends so many alerts and waits until they are acknowledged.
    async fn alerts(&self, count: u64) {
        let agent = Agent { boot: 1, collectors: Arc::new(vec![self.grpc]), spool: (1..=count).collect() };
        within(&label(1, count), agent.run()).await;
    }

    fn end(&mut self) {
        kill(Pid::from_raw(self.child.id().cast_signed()), Signal::SIGTERM).unwrap();
        let started = Instant::now();
        while self.child.try_wait().unwrap().is_none() {
            assert!(started.elapsed() < PATIENCE, "it does not end: {}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

async fn until(what: &str, log: impl Fn() -> String, holds: impl AsyncFn() -> bool) {
    let started = Instant::now();
    while !holds().await {
        assert!(started.elapsed() < PATIENCE, "waited in vain: {what}: {}", log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn is_failed(span: &Span) -> bool {
    span.status.as_ref().is_some_and(|status| status.code == Status::Error as i32)
}

#[tokio::test(flavor = "multi_thread")]
async fn ingest_requests_and_notifications_are_traced() {
    let (others, at) = Others::start().await;
    let mut collector = Collector::start(&at, &format!("{at}/hook")).await;
    collector.alerts(30).await;

    // A request goes on with the trace of who asks, and tells which span answered it.
    let answer = collector.get("/alerts?limit=1", &format!("traceparent: 00-{TRACE}-{PARENT}-01\r\n")).await;
    let told = answer
        .lines()
        .find_map(|line| line.strip_prefix("traceresponse: "))
        .expect("an answer tells its span");
    until("the request's span", || collector.log(), async || !others.named("GET /alerts").is_empty()).await;
    let request = others.named("GET /alerts").remove(0);
    assert_eq!((hex(&request.trace_id), hex(&request.parent_span_id)), (TRACE.to_owned(), PARENT.to_owned()));
    assert_eq!(told.trim(), format!("00-{TRACE}-{}-01", hex(&request.span_id)));

    // A batch, its transaction in the same trace, and its acknowledgement after that.
    until("both batches", || collector.log(), async || others.named("ingest").len() >= 2).await;
    let mut acknowledged = 0;
    for ingest in others.named("ingest") {
        assert!(ingest.parent_span_id.is_empty());
        let commits = others.named("commit");
        let commit = commits.iter().find(|commit| commit.parent_span_id == ingest.span_id);
        let commit = commit.expect("a transaction");
        assert_eq!(commit.trace_id, ingest.trace_id);
        assert!(commit.start_time_unix_nano >= ingest.start_time_unix_nano);
        acknowledged += usize::from(commit.end_time_unix_nano <= ingest.end_time_unix_nano);
    }
    assert!(acknowledged >= 1, "an agent of a busy machine may come again, but not always");

    // The first try of a notification fails, which its span says, and the line of the log that tells of it.
    until("30 notifications", || collector.log(), async || others.named("notify webhook").len() >= 31).await;
    let notices = others.named("notify webhook");
    let failed: Vec<_> = notices.iter().filter(|span| is_failed(span)).collect();
    assert!(!failed.is_empty());
    let log = collector.log();
    let line = log.lines().find(|line| line.contains("is told again later")).unwrap();
    let line: Value = serde_json::from_str(line).unwrap();
    let ids = (line["trace_id"].as_str().unwrap(), line["span_id"].as_str().unwrap());
    let is_of = |span: &&Span| (&*hex(&span.trace_id), &*hex(&span.span_id)) == ids;
    assert!(failed.into_iter().any(|span| is_of(&span)), "{line}");
    let ready: Value =
        serde_json::from_str(log.lines().find(|line| line.contains("Ready")).unwrap()).unwrap();
    assert!(ready.get("trace_id").is_none(), "{ready}");

    // The channel was told of the span that told it.
    let told = others.told.lock().unwrap().clone();
    assert!(told.len() >= 31);
    // One after the other, so the spans of these are there.
    for parent in told.into_iter().take(31) {
        let posts = others.named("POST");
        let post = posts
            .iter()
            .find(|span| parent == format!("00-{}-{}-01", hex(&span.trace_id), hex(&span.span_id)));
        let post = post.expect("a span of the request");
        assert!(
            notices
                .iter()
                .any(|notice| notice.span_id == post.parent_span_id && notice.trace_id == post.trace_id)
        );
    }

    // What has just ended is sent before the collector ends.
    collector.get("/nodes", "").await;
    collector.end();
    let log = collector.log();
    let is_late = log.contains("Spans are lost, the receiver does not answer in time");
    assert!(others.named("GET /nodes").len() == 1 || is_late, "{log}");
    assert!(others.named("GET /metrics").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_receiver_holds_up_nothing_and_losses_are_counted() {
    let (others, at) = Others::start().await;
    // A port where nobody listens: it is taken, and listens never.
    let taken = socket();
    let mut collector = Collector::start(&format!("http://{}", taken.1), &format!("{at}/hook")).await;
    collector.alerts(30).await;
    assert!(collector.get("/alerts", "").await.contains("200 OK"));
    until("all notifications", || collector.log(), async || others.told.lock().unwrap().len() >= 31).await;
    until(
        "the count of losses",
        || collector.log(),
        async || {
            let page = collector.get("/metrics", "").await;
            let line = page
                .lines()
                .find(|line| line.contains(r#"trace_spans_total{outcome="unreachable"}"#))
                .unwrap();
            !line.ends_with(" 0")
        },
    )
    .await;
    assert!(collector.log().contains("Spans are lost until the receiver works"), "{}", collector.log());
    collector.end();
}

/// A socket that has a port and does not listen.
fn socket() -> (std::os::fd::OwnedFd, SocketAddr) {
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrIn, bind, getsockname, socket};
    use std::os::fd::AsRawFd;
    let socket = socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).unwrap();
    bind(socket.as_raw_fd(), &SockaddrIn::new(127, 0, 0, 1, 0)).unwrap();
    let address: SockaddrIn = getsockname(socket.as_raw_fd()).unwrap();
    (socket, SocketAddr::from((address.ip(), address.port())))
}
