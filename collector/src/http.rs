//! What people and their tools ask over HTTP. Off loopback they must log in; `door` says who may ask what.

mod alerts;
mod dashboard;
mod door;
mod feed;
mod health;
pub(crate) mod jobs;
pub mod login;
mod records;
mod rollouts;
mod timeline;
mod traced;

use std::sync::Arc;

use axum::{
    Extension, Router,
    extract::{DefaultBodyLimit, State},
    http::{HeaderValue, StatusCode, header},
    middleware::{from_fn, from_fn_with_state, map_response_with_state},
    response::{IntoResponse, Response},
    routing::{get, post},
};

use self::login::Logins;
use crate::{
    bundle,
    views::{ViewError, Views},
};

/// Only what the page brings along, nobody's frame, no other server.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; \
                      img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// A browser that has seen the page over TLS asks for it in no other way for a year.
const TLS_ONLY: &str = "max-age=31536000";

/// Everything that is served.
pub fn router(views: Arc<Views>, logins: Logins) -> Router {
    let (access, is_tls) = (Arc::clone(&logins.access), logins.is_tls);
    let doors = Router::new()
        .route("/login", get(login::page).post(login::login))
        .route("/logout", post(login::logout))
        .route("/me", get(login::me))
        .with_state(Arc::new(logins));
    Router::new()
        .route("/", get(dashboard::page))
        .route("/alerts", get(alerts::list))
        .route("/alerts/stream", get(feed::stream))
        .route("/alerts/{number}", get(alerts::one))
        .route("/alerts/{number}/rule", get(alerts::rule))
        .route("/timeline", get(timeline::list))
        .route("/timeline/stream", get(timeline::stream))
        .route("/nodes", get(health::nodes))
        .route("/dead", get(alerts::dead))
        .route("/dead/redrive", post(alerts::redrive))
        .route("/health", get(health::health))
        .route("/healthz", get(health::health))
        .route("/health/detailed", get(health::detailed))
        .route("/ready", get(health::ready))
        .route("/metrics", get(health::metrics))
        .route("/openapi.json", get(openapi))
        .route("/audit", get(records::audit))
        .route("/cluster", get(records::cluster))
        .route(
            "/bundles",
            get(rollouts::bundles).post(rollouts::push).layer(DefaultBodyLimit::max(bundle::BYTES_MAX)),
        )
        .route("/rollouts", get(rollouts::rollouts).post(rollouts::begin))
        .route("/rollouts/{id}/{action}", post(rollouts::act))
        .with_state(views)
        .merge(doors)
        .merge(jobs::router())
        .layer(Extension(Arc::clone(&access)))
        .layer(from_fn_with_state(access, door::door))
        .layer(map_response_with_state(is_tls, secured))
        .layer(from_fn(traced::traced))
}

async fn secured(State(is_tls): State<bool>, mut response: Response) -> Response {
    let headers = response.headers_mut();
    if is_tls {
        headers.insert(header::STRICT_TRANSPORT_SECURITY, HeaderValue::from_static(TLS_ONLY));
    }
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

/// What can be asked here, for programs.
async fn openapi() -> Response {
    json(include_str!("http/openapi.json").to_owned())
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
