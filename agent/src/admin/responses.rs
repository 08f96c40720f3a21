//! Pages of responses: what is in force and was done last, and taking something back.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State, rejection::JsonRejection},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use rampart_rules::response::TTL_MAX_MS;
use serde::Deserialize;
use serde_json::{Value, json};

use super::access::Writer;
use crate::{
    responses::desk::{Ask, Denied, Desk},
    telemetry::status::Status,
};

/// What is in force, and what was done.
pub(super) async fn list(State(status): State<Arc<Status>>) -> Json<Value> {
    Json(status.responses().page())
}

/// Takes one back. The thread notes who asked.
pub(super) async fn undo(
    writer: Writer,
    State(desk): State<Option<Desk>>,
    Path(id): Path<String>,
) -> Response {
    let Ok(id) = id.parse() else {
        let why = format!("`{id}` is no number of a response; `/responses` lists them");
        return (StatusCode::BAD_REQUEST, Json(json!({ "error": why }))).into_response();
    };
    answered(desk, Ask::Undo { id, who: writer.who }).await
}

/// What is to be let through.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Allowed {
    /// The rule.
    rule: String,
    /// How long, seconds.
    secs: u64,
}

/// Lets operations through that a rule refuses. The thread notes who asked.
pub(super) async fn allow(
    writer: Writer,
    State(desk): State<Option<Desk>>,
    body: Result<Json<Allowed>, JsonRejection>,
) -> Response {
    let wrong = |why: String| (StatusCode::BAD_REQUEST, Json(json!({ "error": why }))).into_response();
    let Allowed { rule, secs } = match body {
        Ok(Json(allowed)) => allowed,
        Err(rejection) => return wrong(rejection.body_text()),
    };
    if !(1..=TTL_MAX_MS / 1000).contains(&secs) {
        return wrong(format!("`secs` must be 1 to {}", TTL_MAX_MS / 1000));
    }
    answered(desk, Ask::Allow { rule, secs, who: writer.who }).await
}

/// Asks, and makes a page of the answer.
async fn answered(desk: Option<Desk>, ask: Ask) -> Response {
    let answer = match desk {
        Some(desk) => desk.ask(ask).await,
        None => Err(Denied::Off),
    };
    match answer {
        Ok(page) => Json(page).into_response(),
        Err(denied) => {
            let code = match denied {
                Denied::Absent(_) | Denied::NoRule(_) => StatusCode::NOT_FOUND,
                Denied::Failed(_) => StatusCode::INTERNAL_SERVER_ERROR,
                Denied::Off | Denied::Busy => StatusCode::SERVICE_UNAVAILABLE,
            };
            (code, Json(json!({ "error": denied.to_string() }))).into_response()
        }
    }
}
