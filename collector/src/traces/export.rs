//! Sends spans, some hundred at a time, and tries again what may work later.

use std::{mem, time::Duration};

use bytes::Bytes;
use http_body_util::{BodyExt, Collected, Full, Limited};
use hyper::{HeaderMap, Request, StatusCode, header};
use opentelemetry_proto::{
    tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse},
    transform::{
        common::tonic::ResourceAttributesWithSchema, trace::tonic::group_spans_by_resource_and_scope,
    },
};
use opentelemetry_sdk::trace::SpanData;
use prost::Message;
use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout, timeout_at},
};

use super::{Pipe, Settings, Unusable};
use crate::{
    notify::backoff::Backoff,
    outbound::{Pool, in_full, pool},
};

/// Spans of one request.
const BATCH: usize = 512;
/// How long the first span of a request waits for others.
const GATHER: Duration = Duration::from_secs(2);
/// Time for one request.
const LIMIT: Duration = Duration::from_secs(10);
/// Tries of one request.
const TRIES: u32 = 4;
/// Longest wait that a receiver can ask for.
const WAIT_MAX: Duration = Duration::from_secs(30);
/// Time for everything that is left at the end.
const GRACE: Duration = Duration::from_secs(5);
/// Bytes of an answer that are read.
const ANSWER_MAX: usize = 64 << 10;
/// Letters of an answer that are kept for people.
const REASON_MAX: usize = 200;

/// The task.
#[derive(Debug)]
pub struct Export {
    pipe: Pipe,
    pool: Pool,
    /// Spans taken from the queue whose end is not known.
    under_way: usize,
    is_failing: bool,
}

/// Why spans did not arrive.
#[derive(Debug)]
struct Fault {
    text: String,
    /// Whether the same request may work later.
    may_pass: bool,
    /// When, if the receiver says so.
    after: Option<Duration>,
}

impl Export {
    /// Prepares requests; asks nobody yet.
    pub fn new(pipe: Pipe) -> Result<Self, Unusable> {
        let ca = pipe.settings.ca_file.as_deref();
        let pool = pool(ca).map_err(|error| Unusable {
            path: ca.map_or_else(|| "the machine's certificates".into(), Into::into),
            problem: error.to_string(),
        })?;
        Ok(Self { pipe, pool, under_way: 0, is_failing: false })
    }

    /// Sends until `stop` is true, then what is left, for a short while.
    pub async fn run(mut self, mut stop: watch::Receiver<bool>) {
        let listens = stop.clone();
        let is_late = tokio::select! {
            () = self.work(listens) => false,
            () = async { let _ = stop.wait_for(|stop| *stop).await; sleep(GRACE).await } => true,
        };
        if is_late {
            let lost = self.under_way + self.pipe.spans.len();
            self.count("unreachable", lost);
            tracing::warn!(lost, "Spans are lost, the receiver does not answer in time at the end");
        }
    }

    async fn work(&mut self, mut stop: watch::Receiver<bool>) {
        let mut batch = Vec::with_capacity(BATCH);
        while !*stop.borrow() {
            tokio::select! {
                count = self.pipe.spans.recv_many(&mut batch, BATCH) => {
                    if count == 0 {
                        break;
                    }
                }
                _ = stop.wait_for(|stop| *stop) => break,
            }
            self.gather(&mut batch, &mut stop).await;
            self.send(mem::take(&mut batch), &mut stop).await;
        }
        self.pipe.spans.close();
        while self.pipe.spans.recv_many(&mut batch, BATCH).await > 0 {
            self.send(mem::take(&mut batch), &mut stop).await;
        }
    }

    /// Waits a little for more.
    async fn gather(&mut self, batch: &mut Vec<SpanData>, stop: &mut watch::Receiver<bool>) {
        let until = Instant::now() + GATHER;
        while batch.len() < BATCH {
            let wanted = BATCH - batch.len();
            tokio::select! {
                came = timeout_at(until, self.pipe.spans.recv_many(batch, wanted)) => {
                    if !came.is_ok_and(|count| count > 0) {
                        return;
                    }
                }
                _ = stop.wait_for(|stop| *stop) => return,
            }
        }
    }

    async fn send(&mut self, batch: Vec<SpanData>, stop: &mut watch::Receiver<bool>) {
        let count = batch.len();
        self.under_way = count;
        let body = encode(batch, &self.pipe.resource);
        let waits = Backoff { first: Duration::from_secs(2), longest: WAIT_MAX };
        let mut tries = 1;
        let outcome = loop {
            let fault = match self.post(body.clone()).await {
                Ok(rejected) => break Ok(rejected.min(count)),
                Err(fault) => fault,
            };
            if !fault.may_pass || tries >= TRIES || *stop.borrow() {
                break Err(fault);
            }
            let wait = fault.after.unwrap_or_else(|| Duration::from_nanos(waits.wait_ns(tries)));
            tries += 1;
            tokio::select! {
                () = sleep(wait.min(WAIT_MAX)) => {}
                _ = stop.wait_for(|stop| *stop) => {}
            }
        };
        self.under_way = 0;
        self.note(count, outcome);
    }

    fn note(&mut self, count: usize, outcome: Result<usize, Fault>) {
        let endpoint = &self.pipe.settings.endpoint;
        match outcome {
            Ok(rejected) => {
                self.count("exported", count - rejected);
                self.count("rejected", rejected);
                if mem::take(&mut self.is_failing) {
                    tracing::info!(%endpoint, "Spans arrive again");
                }
            }
            Err(fault) => {
                if !mem::replace(&mut self.is_failing, true) {
                    tracing::warn!(%endpoint, "Spans are lost until the receiver works: {}", fault.text);
                }
                self.count(if fault.may_pass { "unreachable" } else { "rejected" }, count);
            }
        }
    }

    fn count(&self, outcome: &str, count: usize) {
        self.pipe.counts.with_label_values(&[outcome]).inc_by(count as u64);
    }

    /// One request. Says how many spans the receiver did not want.
    async fn post(&self, body: Bytes) -> Result<usize, Fault> {
        let Settings { endpoint, headers, .. } = &self.pipe.settings;
        let mut request = Request::post(endpoint)
            .header(header::CONTENT_TYPE, "application/x-protobuf")
            .header(header::USER_AGENT, "Rampart");
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let request = request.body(Full::new(body)).map_err(|error| Fault {
            text: error.to_string(),
            may_pass: false,
            after: None,
        })?;
        let unreachable = |text: String| Fault { text, may_pass: true, after: None };
        let exchange = async {
            let answer = self.pool.request(request).await.map_err(|error| unreachable(in_full(&error)))?;
            let (parts, body) = answer.into_parts();
            let body = Limited::new(body, ANSWER_MAX).collect().await;
            let body = body.map(Collected::to_bytes).unwrap_or_default();
            if parts.status.is_success() {
                Ok(rejected(body))
            } else {
                Err(refused(parts.status, &parts.headers, &body))
            }
        };
        let late = || unreachable(format!("no answer within {} s", LIMIT.as_secs()));
        timeout(LIMIT, exchange).await.map_err(|_| late())?
    }
}

fn encode(batch: Vec<SpanData>, resource: &ResourceAttributesWithSchema) -> Bytes {
    let resource_spans = group_spans_by_resource_and_scope(batch, resource);
    ExportTraceServiceRequest { resource_spans }.encode_to_vec().into()
}

/// Spans of a request that was taken in part.
fn rejected(body: Bytes) -> usize {
    let answer = ExportTraceServiceResponse::decode(body).unwrap_or_default();
    answer.partial_success.map_or(0, |partial| usize::try_from(partial.rejected_spans).unwrap_or(0))
}

fn refused(status: StatusCode, headers: &HeaderMap, body: &Bytes) -> Fault {
    // Those that OTLP says are worth another try.
    let may_pass = [
        StatusCode::TOO_MANY_REQUESTS,
        StatusCode::BAD_GATEWAY,
        StatusCode::SERVICE_UNAVAILABLE,
        StatusCode::GATEWAY_TIMEOUT,
    ];
    let after = headers.get(header::RETRY_AFTER).and_then(|value| value.to_str().ok()?.trim().parse().ok());
    let text = String::from_utf8_lossy(body);
    let text: String = text.chars().filter(|letter| !letter.is_control()).take(REASON_MAX).collect();
    Fault {
        text: format!("answered {status}: {text}"),
        may_pass: may_pass.contains(&status),
        after: after.map(Duration::from_secs),
    }
}
