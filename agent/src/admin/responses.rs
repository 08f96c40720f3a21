//! Pages of responses: what is in force and was done last, and taking something back.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State},
    http::StatusCode,
    response::{IntoResponse, Response},
};
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
    let answer = match desk {
        Some(desk) => desk.ask(Ask::Undo { id, who: writer.who }).await,
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
