//! Where spans wait until they are sent.

use std::time::Duration;

use opentelemetry::Context;
use opentelemetry_sdk::{
    error::OTelSdkResult,
    trace::{Span, SpanData, SpanProcessor},
};
use prometheus::IntCounter;
use tokio::sync::mpsc;

/// Spans that may wait. Full policy: the newest is dropped and counted.
pub const QUEUE: usize = 4096;

/// The way in.
#[derive(Debug)]
pub(super) struct Queue {
    spans: mpsc::Sender<SpanData>,
    dropped: IntCounter,
}

impl Queue {
    pub(super) fn new(dropped: IntCounter) -> (Self, mpsc::Receiver<SpanData>) {
        let (spans, waiting) = mpsc::channel(QUEUE);
        (Self { spans, dropped }, waiting)
    }
}

impl SpanProcessor for Queue {
    fn on_start(&self, _: &mut Span, _: &Context) {}

    fn on_end(&self, span: SpanData) {
        if span.span_context.is_sampled() && self.spans.try_send(span).is_err() {
            self.dropped.inc();
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        // The task that sends empties it at the end.
        Ok(())
    }

    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        Ok(())
    }
}
