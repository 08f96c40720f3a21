use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
    routing::post,
};
use opentelemetry::trace::{Tracer, TracerProvider};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use prost::Message;
use tokio::{net::TcpListener, sync::watch};

use super::*;

const PATIENCE: Duration = Duration::from_mins(2);

fn pipe(endpoint: &str) -> Pipe {
    let headers = vec![(HeaderName::from_static("x-key"), HeaderValue::from_static("k"))];
    let endpoint = endpoint.parse().unwrap();
    Pipe::new(Settings { endpoint, headers, ca_file: None, sample: 1.0, service_name: "mine".into() })
        .unwrap()
}

fn end_spans(pipe: &SdkTracerProvider, count: usize) {
    let tracer = pipe.tracer("test");
    for _ in 0..count {
        drop(tracer.start("one"));
    }
}

fn counted(counts: &IntCounterVec, outcome: &str) -> u64 {
    counts.with_label_values(&[outcome]).get()
}

async fn until(what: &str, holds: impl Fn() -> bool) {
    let started = Instant::now();
    while !holds() {
        assert!(started.elapsed() < PATIENCE, "waited in vain: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// What a receiver answers in turn, and the spans of each request that it got.
#[derive(Default)]
struct Script {
    answers: VecDeque<Response>,
    got: Vec<(usize, String)>,
}

async fn take(State(script): State<Arc<Mutex<Script>>>, headers: HeaderMap, body: Bytes) -> Response {
    let request = ExportTraceServiceRequest::decode(body).unwrap();
    let of_resource = &request.resource_spans[0];
    let name =
        of_resource.resource.as_ref().unwrap().attributes.iter().find(|pair| pair.key == "service.name");
    let name = format!("{:?}", name.unwrap().value);
    assert_eq!(
        (&headers["x-key"], &headers["content-type"]),
        (&"k".parse().unwrap(), &"application/x-protobuf".parse().unwrap())
    );
    let mut script = script.lock().unwrap();
    script.got.push((of_resource.scope_spans[0].spans.len(), name));
    script.answers.pop_front().unwrap_or_else(|| StatusCode::OK.into_response())
}

#[tokio::test]
async fn a_full_queue_drops_and_counts_and_never_waits() {
    let pipe = pipe("http://127.0.0.1:1/v1/traces");
    end_spans(&pipe.provider, QUEUE + 5);
    assert_eq!(counted(&pipe.counts, "queue_full"), 5);
    assert_eq!(pipe.spans.len(), QUEUE);
}

#[tokio::test]
async fn what_may_pass_is_tried_again_and_each_span_is_counted_once() {
    let partial = ExportTracePartialSuccess { rejected_spans: 2, error_message: String::new() };
    let partly = ExportTraceServiceResponse { partial_success: Some(partial) }.encode_to_vec();
    let busy = (StatusCode::SERVICE_UNAVAILABLE, [("retry-after", "0")], "busy").into_response();
    let script = Script {
        answers: [busy, partly.into_response(), StatusCode::BAD_REQUEST.into_response()].into(),
        got: Vec::new(),
    };
    let script = Arc::new(Mutex::new(script));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}/v1/traces", listener.local_addr().unwrap());
    let app = Router::new().route("/v1/traces", post(take)).with_state(Arc::clone(&script));
    let server = tokio::spawn(async move { axum::serve(listener, app).await });
    let pipe = pipe(&endpoint);
    let (counts, provider) = (pipe.counts(), pipe.provider.clone());
    let (stop, ends) = watch::channel(false);
    let task = tokio::spawn(Export::new(pipe).unwrap().run(ends));
    end_spans(&provider, 7);
    until("the first request", || counted(&counts, "exported") == 5 && counted(&counts, "rejected") == 2)
        .await;
    end_spans(&provider, 3);
    until("the second request", || counted(&counts, "rejected") == 5).await;
    // What has ended when the collector ends is still sent.
    end_spans(&provider, 600);
    stop.send(true).unwrap();
    task.await.unwrap();
    // A machine that is very busy may be too late with some; then they are counted.
    let late = counted(&counts, "unreachable");
    assert_eq!(counted(&counts, "exported") + late, 605);
    let got: Vec<usize> = script.lock().unwrap().got.iter().map(|(spans, _)| *spans).collect();
    assert_eq!(got[..3], [7, 7, 3], "the same request twice, then one that is not tried again");
    assert!(got[3..].iter().sum::<usize>() == 600 || late > 0, "{got:?}");
    assert!(script.lock().unwrap().got.iter().all(|(_, name)| name.contains("mine")));
    server.abort();
}

#[tokio::test]
async fn at_the_end_a_dead_receiver_costs_one_try_and_the_rest_is_counted() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}/", listener.local_addr().unwrap());
    let pipe = pipe(&endpoint);
    let (counts, provider) = (pipe.counts(), pipe.provider.clone());
    end_spans(&provider, 1000);
    // It takes connections and answers nothing.
    let (stop, ends) = watch::channel(true);
    tokio::time::timeout(PATIENCE, Export::new(pipe).unwrap().run(ends)).await.expect("it ends");
    assert_eq!(counted(&counts, "unreachable"), 1000);
    drop((stop, listener));
}
