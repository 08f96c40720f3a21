//! The trace context of W3C: `traceparent` and `tracestate` of requests, `traceresponse` of answers.

use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use opentelemetry::{
    propagation::{Extractor, Injector, TextMapPropagator},
    trace::TraceContextExt,
};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

/// Tells who asked by which trace it was answered (the second level of W3C's Trace Context).
const RESPONSE: HeaderName = HeaderName::from_static("traceresponse");

struct Incoming<'a>(&'a HeaderMap);

impl Extractor for Incoming<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key)?.to_str().ok()
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(HeaderName::as_str).collect()
    }
}

struct Outgoing<'a>(&'a mut HeaderMap);

impl Injector for Outgoing<'_> {
    fn set(&mut self, key: &str, value: String) {
        let pair = (HeaderName::try_from(key), HeaderValue::try_from(value));
        // A trace without a state has an empty one.
        if let (Ok(name), Ok(value)) = pair
            && !value.is_empty()
        {
            self.0.insert(name, value);
        }
    }
}

/// Makes a span that has just begun go on with the trace of a request, if that is part of one.
pub fn take_up(span: &Span, headers: &HeaderMap) {
    let parent = TraceContextPropagator::new().extract(&Incoming(headers));
    if parent.span().span_context().is_valid() {
        // Without a layer for traces there is no trace to go on with.
        let _ = span.set_parent(parent);
    }
}

/// Tells whoever is asked in a span of that span.
pub fn pass_on(span: &Span, headers: &mut HeaderMap) {
    TraceContextPropagator::new().inject_context(&span.context(), &mut Outgoing(headers));
}

/// Tells whoever has asked of the span in which it was answered.
pub fn tell_back(span: &Span, headers: &mut HeaderMap) {
    let mut told = HeaderMap::new();
    pass_on(span, &mut told);
    if let Some(value) = told.remove("traceparent") {
        headers.insert(RESPONSE, value);
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry::trace::TracerProvider as _;
    use opentelemetry_sdk::trace::SdkTracerProvider;
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    /// What is passed on by a span that was asked for with these headers.
    fn passed_on(asked: &[(&'static str, &'static str)]) -> HeaderMap {
        let asked = asked
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect();
        let span = tracing::info_span!(target: super::super::TARGET, "test");
        take_up(&span, &asked);
        let mut told = HeaderMap::new();
        pass_on(&span, &mut told);
        told
    }

    #[test]
    fn a_trace_goes_on_with_a_new_span_and_its_state() {
        assert!(passed_on(&[("traceparent", PARENT)]).is_empty(), "nothing is told while nothing is traced");
        let tracer = SdkTracerProvider::builder().build().tracer("test");
        let subscriber =
            tracing_subscriber::registry().with(tracing_opentelemetry::layer().with_tracer(tracer));
        tracing::subscriber::with_default(subscriber, || {
            let told = passed_on(&[("traceparent", PARENT), ("tracestate", "a=1")]);
            let parent = told["traceparent"].to_str().unwrap();
            assert!(
                parent.starts_with("00-0af7651916cd43dd8448eb211c80319c-") && parent.ends_with("-01"),
                "{parent}"
            );
            assert!(!parent.contains("b7ad6b7169203331"), "the span is another one: {parent}");
            assert_eq!(told["tracestate"], "a=1");
            for broken in ["", "00-0-0-01", "00-00000000000000000000000000000000-b7ad6b7169203331-01", "ff-x"]
            {
                let told = passed_on(&[("traceparent", broken)]);
                let parent = told["traceparent"].to_str().unwrap();
                assert!(parent.len() == 55 && !parent.contains("0af7651916cd"), "{broken}: {parent}");
                assert!(!told.contains_key("tracestate"));
            }
        });
    }
}
