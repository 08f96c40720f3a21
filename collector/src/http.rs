//! What people and their tools ask over HTTP, on loopback.

mod alerts;
mod dashboard;
mod feed;
mod health;

use std::sync::Arc;

use axum::{
    Router,
    http::{HeaderValue, StatusCode, header},
    middleware::map_response,
    response::{IntoResponse, Response},
    routing::{get, post},
};

use crate::views::{ViewError, Views};

/// Only what the page brings along, nobody's frame, no other server.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; \
                      img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Everything that is served.
pub fn router(views: Arc<Views>) -> Router {
    Router::new()
        .route("/", get(dashboard::page))
        .route("/alerts", get(alerts::list))
        .route("/alerts/stream", get(feed::stream))
        .route("/alerts/{number}", get(alerts::one))
        .route("/nodes", get(health::nodes))
        .route("/dead", get(alerts::dead))
        .route("/dead/redrive", post(alerts::redrive))
        .route("/health", get(health::health))
        .route("/healthz", get(health::health))
        .route("/health/detailed", get(health::detailed))
        .route("/ready", get(health::ready))
        .route("/metrics", get(health::metrics))
        .layer(map_response(secured))
        .with_state(views)
}

async fn secured(mut response: Response) -> Response {
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-store"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

/// Text that is JSON already.
fn json(text: String) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], text).into_response()
}

/// A fault as an answer.
fn fault(status: StatusCode, message: &str) -> Response {
    let body = serde_json::json!({ "error": message }).to_string();
    (status, [(header::CONTENT_TYPE, "application/json")], body).into_response()
}

/// The store did not answer; why is in the log.
fn unavailable(error: &ViewError) -> Response {
    tracing::error!("A question cannot be answered: {error}");
    fault(StatusCode::SERVICE_UNAVAILABLE, "the store does not work at the moment")
}

#[cfg(test)]
mod tests;
