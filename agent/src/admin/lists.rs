//! Pages of the lists that rules name: how they stand, and which of them hold a value.

use std::sync::Arc;

use axum::{
    Json,
    extract::{RawQuery, State},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};

use crate::telemetry::status::Status;

/// Longest value.
const VALUE_MAX: usize = 4096;

/// How lists stand.
pub(super) async fn list(State(status): State<Arc<Status>>) -> Json<Value> {
    Json(status.lists().page())
}

/// Which lists hold a value.
pub(super) async fn check(State(status): State<Arc<Status>>, RawQuery(query): RawQuery) -> Response {
    let query = query.unwrap_or_default();
    let value = form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "value");
    let value = value.map(|(_, value)| value).filter(|value| !value.is_empty() && value.len() <= VALUE_MAX);
    let Some(value) = value else {
        let why = "give an address, a host name, a digest or a text, as in `/lists/check?value=192.0.2.1`";
        return (StatusCode::BAD_REQUEST, Json(json!({ "error": why }))).into_response();
    };
    Json(status.lists().check(&value)).into_response()
}
