//! Pages of services and circuit breakers, and changes of them.

use std::sync::Arc;

use axum::{
    Json,
    body::Bytes,
    extract::{Path, State},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use rampart_common::service::breaker::Mode;
use serde_json::{Value, json};

use super::{
    access::{Guard, Writer},
    audit::{Audit, Record},
};
use crate::{
    config::AdminState,
    services::desk::{Answer, Ask, Denied, Desk},
    telemetry::{services as documents, status::Status},
};

type Shared = State<Arc<Status>>;
type Serving = State<Option<Desk>>;

/// All services.
pub(super) async fn services(State(status): Shared) -> Json<Value> {
    Json(documents::services(&status.services()))
}

/// One of them.
pub(super) async fn service(State(status): Shared, Path(name): Path<String>) -> Response {
    found(documents::service(&status.services(), &name), &format!("service `{name}`"))
}

/// All circuit breakers.
pub(super) async fn breakers(State(status): Shared) -> Json<Value> {
    Json(documents::breakers(&status.services()))
}

/// One of them.
pub(super) async fn breaker(
    State(status): Shared,
    Path((service, backend)): Path<(String, String)>,
) -> Response {
    let page = documents::breaker(&status.services(), &service, &backend);
    found(page, &format!("circuit breaker `{service}/{backend}`"))
}

/// Resets or forces a circuit breaker.
pub(super) async fn change(
    writer: Writer,
    desk: Serving,
    guard: State<Arc<Guard>>,
    Path((service, backend, action)): Path<(String, String, String)>,
) -> Response {
    let about = format!("{service}/{backend}");
    let name = (service, backend);
    let ask = match action.as_str() {
        "reset" => Ask::Reset(name),
        "force-open" => Ask::Force(name, Mode::ForcedOpen),
        "force-close" => Ask::Force(name, Mode::ForcedClosed),
        "auto" => Ask::Force(name, Mode::Auto),
        _ => return unknown("a circuit breaker takes `reset`, `force-open`, `force-close` and `auto`"),
    };
    noted(&guard.0, &writer, (&format!("circuit breaker {action}"), &about), desk.0, ask).await
}

/// Drains a backend, or takes it back.
pub(super) async fn backend(
    writer: Writer,
    desk: Serving,
    guard: State<Arc<Guard>>,
    Path((service, backend, action)): Path<(String, String, String)>,
) -> Response {
    let about = format!("{service}/{backend}");
    let state = match action.as_str() {
        "enable" => AdminState::Ready,
        "drain" => AdminState::Drain,
        "maintenance" => AdminState::Maintenance,
        _ => return unknown("a backend takes `enable`, `drain` and `maintenance`"),
    };
    let ask = Ask::Admin((service, backend), state);
    noted(&guard.0, &writer, (&format!("backend {action}"), &about), desk.0, ask).await
}

/// Returns to the best tier.
pub(super) async fn fail_back(
    writer: Writer,
    desk: Serving,
    guard: State<Arc<Guard>>,
    Path(service): Path<String>,
) -> Response {
    noted(&guard.0, &writer, ("service failback", &service), desk.0, Ask::FailBack(service.clone())).await
}

/// Makes a service: its settings, as JSON or YAML, are those below `services.list`.
pub(super) async fn make(
    writer: Writer,
    desk: Serving,
    guard: State<Arc<Guard>>,
    Path(service): Path<String>,
    body: Bytes,
) -> Response {
    let value = match serde_yaml::from_slice(&body) {
        Ok(value) => value,
        Err(error) => {
            let body = json!({ "error": format!("the body is neither JSON nor YAML: {error}") });
            return (StatusCode::BAD_REQUEST, Json(body)).into_response();
        }
    };
    noted(&guard.0, &writer, ("service made", &service), desk.0, Ask::Make(service.clone(), value)).await
}

/// Takes a service away that was made.
pub(super) async fn forget(
    writer: Writer,
    desk: Serving,
    guard: State<Arc<Guard>>,
    Path(service): Path<String>,
) -> Response {
    noted(&guard.0, &writer, ("service removed", &service), desk.0, Ask::Forget(service.clone())).await
}

/// Does something and notes it; what cannot be noted is not done.
async fn noted(
    guard: &Guard,
    writer: &Writer,
    (what, about): (&str, &str),
    desk: Option<Desk>,
    ask: Ask,
) -> Response {
    let line = match guard.audit.as_ref().map(Audit::open).transpose() {
        Ok(line) => line,
        Err(error) => {
            tracing::error!(what, about, "A change was refused, it cannot be noted: {error}");
            let body = json!({ "error": format!("the change cannot be noted: {error}") });
            return (StatusCode::SERVICE_UNAVAILABLE, Json(body)).into_response();
        }
    };
    let answer = match desk {
        Some(desk) => desk.ask(ask).await,
        None => Err(Denied::Off),
    };
    let outcome = answer.as_ref().map_or_else(ToString::to_string, |_| "done".to_owned());
    tracing::info!(who = writer.who, what, about, outcome, "Asked for a change");
    if let Some(line) = line {
        let record = Record { who: &writer.who, what, about, outcome: &outcome, details: Value::Null };
        if let Err(error) = line.write(&record) {
            tracing::error!(what, about, "A change was not noted: {error}");
        }
    }
    response(answer)
}

fn response(answer: Answer) -> Response {
    match answer {
        Ok(value) => Json(value).into_response(),
        Err(denied) => {
            let code = match denied {
                Denied::Absent(_) => StatusCode::NOT_FOUND,
                Denied::Wrong(_) => StatusCode::BAD_REQUEST,
                Denied::Refused(_) => StatusCode::CONFLICT,
                Denied::Failed(_) => StatusCode::INTERNAL_SERVER_ERROR,
                Denied::Off | Denied::Busy => StatusCode::SERVICE_UNAVAILABLE,
            };
            (code, Json(json!({ "error": denied.to_string() }))).into_response()
        }
    }
}

fn found(page: Option<Value>, what: &str) -> Response {
    match page {
        Some(page) => Json(page).into_response(),
        None => {
            (StatusCode::NOT_FOUND, Json(json!({ "error": format!("there is no {what}") }))).into_response()
        }
    }
}

fn unknown(why: &str) -> Response {
    (StatusCode::NOT_FOUND, Json(json!({ "error": why }))).into_response()
}
