//! A span around each request, which goes on with the trace of who asks.

use axum::{
    extract::{MatchedPath, Request},
    middleware::Next,
    response::Response,
};
use tracing::{Instrument, field::Empty, info_span};

use crate::traces::{TARGET, context};

/// Asked every few seconds by machines: spans of them would hide the others.
const PROBES: [&str; 4] = ["/health", "/healthz", "/ready", "/metrics"];

pub(super) async fn traced(request: Request, next: Next) -> Response {
    let path = request.extensions().get::<MatchedPath>().map_or("", MatchedPath::as_str);
    if PROBES.contains(&path) {
        return next.run(request).await;
    }
    let method = request.method().as_str();
    let span = info_span!(
        target: TARGET,
        "request",
        otel.name = format!("{method} {path}").trim_end(),
        otel.kind = "server",
        otel.status_code = Empty,
        http.request.method = method,
        http.route = path,
        http.response.status_code = Empty,
    );
    if span.is_disabled() {
        return next.run(request).await;
    }
    context::take_up(&span, request.headers());
    let mut response = next.run(request).instrument(span.clone()).await;
    span.record("http.response.status_code", response.status().as_u16());
    if response.status().is_server_error() {
        span.record("otel.status_code", "ERROR");
    }
    context::tell_back(&span, response.headers_mut());
    response
}
