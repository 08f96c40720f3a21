//! Traces of the collector's own work, sent by OTLP (HTTP, protobuf) to whoever collects them; off unless configured.
//!
//! Spans are made where the work is done, by `tracing` with the target [`TARGET`]; nothing else is sent, and of logs only
//! warnings and errors, as events of their span. `queue` takes what has ended and never waits, `export` sends it,
//! [`context`] is the trace context of W3C in requests and answers, `lines` puts the ids of a trace into log lines. What is
//! lost is counted by its reason. Must never hold up what is traced.

pub mod context;
mod export;
mod lines;
mod queue;

use std::{fmt, path::PathBuf};

use hyper::{
    Uri,
    header::{HeaderName, HeaderValue},
};
use opentelemetry::trace::TracerProvider;
use opentelemetry_proto::transform::common::tonic::ResourceAttributesWithSchema;
use opentelemetry_sdk::{
    Resource,
    trace::{Sampler, SdkTracer, SdkTracerProvider},
};
use prometheus::{IntCounterVec, Opts};
use tokio::sync::mpsc;

pub(crate) use self::lines::WithIds;
pub use self::{export::Export, queue::QUEUE};

/// The target of the spans that are sent.
pub const TARGET: &str = "rampart_traces";
/// What may become of a span: `exported`, or why it is lost.
const OUTCOMES: [&str; 4] = ["exported", "rejected", "unreachable", "queue_full"];

/// Where spans go.
#[derive(Clone)]
pub struct Settings {
    /// The whole address, such as `http://127.0.0.1:4318/v1/traces`.
    pub endpoint: Uri,
    /// Further headers of each request.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// Who signs the receiver's certificate, PEM; without, the machine's authorities.
    pub ca_file: Option<PathBuf>,
    /// The share of traces that begin here and are sent, 0 to 1; one that began elsewhere goes on as it began.
    pub sample: f64,
    /// `service.name`.
    pub service_name: String,
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Headers hold secrets.
        let Self { endpoint, sample, service_name, .. } = self;
        write!(f, "Settings({endpoint}, sample {sample}, {service_name})")
    }
}

/// Why spans cannot be sent at all.
#[derive(Debug, thiserror::Error)]
#[error("`traces.ca_file`: cannot use `{}`: {problem}", path.display())]
pub struct Unusable {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub problem: String,
}

/// The end of the pipe that spans come out of.
#[derive(Debug)]
pub struct Pipe {
    /// What is to be sent.
    spans: mpsc::Receiver<opentelemetry_sdk::trace::SpanData>,
    /// What became of spans.
    counts: IntCounterVec,
    settings: Settings,
    resource: ResourceAttributesWithSchema,
    /// Spans end here while it lives.
    provider: SdkTracerProvider,
}

impl Pipe {
    /// The pipe, empty.
    pub fn new(settings: Settings) -> Result<Self, prometheus::Error> {
        let counts = IntCounterVec::new(
            Opts::new(
                "rampart_collector_trace_spans_total",
                "Spans by what became of them: exported, rejected (the receiver said no), unreachable (it did not answer), \
                 queue_full",
            ),
            &["outcome"],
        )?;
        // There from the start, or the first one would not show as an increase.
        for outcome in OUTCOMES {
            counts.with_label_values(&[outcome]).reset();
        }
        let (queue, spans) = queue::Queue::new(counts.with_label_values(&["queue_full"]));
        let resource = Resource::builder()
            .with_service_name(settings.service_name.clone())
            .with_attribute(opentelemetry::KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
            .build();
        let sampler = Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(settings.sample)));
        let provider = SdkTracerProvider::builder()
            .with_span_processor(queue)
            .with_sampler(sampler)
            .with_resource(resource.clone())
            .build();
        Ok(Self { spans, counts, settings, resource: (&resource).into(), provider })
    }

    /// Who makes spans.
    pub(crate) fn tracer(&self) -> SdkTracer {
        self.provider.tracer(env!("CARGO_PKG_NAME"))
    }

    /// The counters, to be shown.
    pub fn counts(&self) -> IntCounterVec {
        self.counts.clone()
    }
}

#[cfg(test)]
mod tests;
