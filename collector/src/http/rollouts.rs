//! `/bundles` and `/rollouts`: what is kept, what is under way, and what may be done about it.

use std::sync::Arc;

use axum::{
    Extension, Json,
    body::Bytes,
    extract::{
        Path, Query,
        rejection::{JsonRejection, QueryRejection},
    },
    http::{HeaderMap, StatusCode, header},
    response::Response,
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    fault, json as answer,
    login::{failed, is_json},
};
use crate::{
    bundle,
    identity::{
        access::{Access, Caller},
        items,
    },
    ingest::now_ns,
    notify::channel::rfc3339,
    rollout::{
        Gates, Kept, Pushed, RolloutError, Sight, Sights, Step,
        desk::{self, Actor, BAKE_SECS, Settings},
        gate::tally,
    },
    store::identity::{Book, Kind},
};

/// Longest reason.
const REASON_MAX: usize = 500;

/// A rollout to begin.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Begin {
    bundle: String,
    steps: Option<Vec<Step>>,
    bake_secs: Option<u64>,
    #[serde(default)]
    gates: Gates,
}

/// What may stand behind the question mark of something to be done.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Asked {
    /// All steps that are left.
    all: bool,
    reason: Option<String>,
}

/// Does something with the book and answers with what comes of it.
async fn run(
    access: &Access,
    status: StatusCode,
    work: impl FnOnce(&mut dyn Book) -> Result<Value, RolloutError> + Send + 'static,
) -> Response {
    match access.records.run(move |book| Ok(work(book))).await.unwrap_or_else(|error| Err(error.into())) {
        Ok(value) => {
            let mut response = answer(value.to_string());
            *response.status_mut() = status;
            response
        }
        Err(RolloutError::Identity(error)) => failed(&error),
        Err(error @ (RolloutError::NoRollout(_) | RolloutError::NoBundle(_))) => {
            fault(StatusCode::NOT_FOUND, &error.to_string())
        }
        Err(error @ RolloutError::Settings(_)) => fault(StatusCode::BAD_REQUEST, &error.to_string()),
        Err(error) => fault(StatusCode::CONFLICT, &error.to_string()),
    }
}

pub(super) async fn bundles(Extension(access): Extension<Arc<Access>>) -> Response {
    let list = |book: &mut dyn Book| {
        let all = desk::bundles(book)?;
        let all: Vec<Value> = all.iter().map(|(digest, pushed)| bundle_of(digest, pushed)).collect();
        Ok(json!({ "bundles": all }))
    };
    run(&access, StatusCode::OK, list).await
}

pub(super) async fn push(
    Extension(access): Extension<Arc<Access>>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    // A page of another origin cannot send this kind without being asked first, and the answer would be no.
    if headers.get(header::CONTENT_TYPE).is_none_or(|kind| kind != "application/octet-stream") {
        return fault(StatusCode::UNSUPPORTED_MEDIA_TYPE, "send `Content-Type: application/octet-stream`");
    }
    let opened = match bundle::open(&body) {
        Ok(opened) => opened,
        Err(error) => return fault(StatusCode::BAD_REQUEST, &error.to_string()),
    };
    run(&access, StatusCode::CREATED, move |book| {
        desk::push(book, Actor { name: &caller.name, now_ns: now_ns() }, &opened, &body)?;
        let pushed = items::get::<Pushed>(book, Kind::Bundle, &opened.digest)?;
        Ok(pushed.map_or(Value::Null, |(pushed, _)| bundle_of(&opened.digest, &pushed)))
    })
    .await
}

pub(super) async fn rollouts(Extension(access): Extension<Arc<Access>>) -> Response {
    let list = |book: &mut dyn Book| {
        let mut sights = Sights::default();
        for (_, sight) in items::list::<Sight>(book, Kind::Sight)? {
            sights.add(sight);
        }
        let all: Vec<Value> = Kept::list(book)?.iter().map(|kept| rollout_of(kept, Some(&sights))).collect();
        Ok(json!({ "rollouts": all }))
    };
    run(&access, StatusCode::OK, list).await
}

pub(super) async fn begin(
    Extension(access): Extension<Arc<Access>>,
    Extension(caller): Extension<Caller>,
    asked: Result<Json<Begin>, JsonRejection>,
) -> Response {
    let Begin { bundle, steps, bake_secs, gates } = match asked {
        Ok(Json(asked)) => asked,
        Err(error) => return fault(error.status(), &error.body_text()),
    };
    let steps = steps.unwrap_or_else(|| Settings::default().steps);
    let settings = Settings { steps, bake_secs: bake_secs.unwrap_or(BAKE_SECS), gates };
    run(&access, StatusCode::CREATED, move |book| {
        let actor = Actor { name: &caller.name, now_ns: now_ns() };
        Ok(rollout_of(&desk::begin(book, actor, &bundle, settings)?, None))
    })
    .await
}

pub(super) async fn act(
    Extension(access): Extension<Arc<Access>>,
    Extension(caller): Extension<Caller>,
    Path((id, action)): Path<(String, String)>,
    headers: HeaderMap,
    asked: Result<Query<Asked>, QueryRejection>,
) -> Response {
    if !is_json(&headers) {
        return fault(StatusCode::UNSUPPORTED_MEDIA_TYPE, "send `Content-Type: application/json`");
    }
    let Asked { all, reason } = match asked {
        Ok(Query(asked)) => asked,
        Err(error) => return fault(StatusCode::BAD_REQUEST, &error.body_text()),
    };
    let reason: String = reason.unwrap_or_else(|| "told to".to_owned()).chars().take(REASON_MAX).collect();
    if !matches!(action.as_str(), "pause" | "resume" | "promote" | "rollback") {
        return fault(StatusCode::NOT_FOUND, "use `pause`, `resume`, `promote` or `rollback`");
    }
    run(&access, StatusCode::OK, move |book| {
        let (actor, id) = (Actor { name: &caller.name, now_ns: now_ns() }, Some(id.as_str()));
        let kept = match action.as_str() {
            "pause" => desk::pause(book, actor, id)?,
            "resume" => desk::resume(book, actor, id)?,
            "promote" => desk::promote(book, actor, id, all)?,
            _ => desk::rollback(book, actor, id, &reason)?,
        };
        Ok(rollout_of(&kept, None))
    })
    .await
}

fn bundle_of(digest: &str, pushed: &Pushed) -> Value {
    json!({
        "digest": digest, "name": pushed.name, "created": rfc3339(pushed.created_secs.saturating_mul(1_000_000_000)),
        "pushed": rfc3339(pushed.pushed_ns), "by": pushed.by, "key": pushed.key, "bytes": pushed.bytes,
        "files": pushed.files,
    })
}

fn rollout_of(kept: &Kept, sights: Option<&Sights>) -> Value {
    let Kept { id, rollout, .. } = kept;
    let events: Vec<Value> = rollout
        .events
        .iter()
        .map(|event| json!({ "time": rfc3339(event.time_ns), "by": event.by, "text": event.text }))
        .collect();
    // Nodes are seen while it is under way.
    let nodes = sights.filter(|_| rollout.state.is_under_way()).map(|sights| tally(kept, sights));
    json!({
        "id": id, "bundle": rollout.bundle, "name": rollout.name, "by": rollout.by, "began": rfc3339(rollout.began_ns),
        "state": rollout.state, "steps": rollout.steps, "step": rollout.step + 1, "bake_secs": rollout.bake_secs,
        "step_began": rfc3339(rollout.step_ns), "gates": rollout.gates, "ended": rollout.ended_ns.map(rfc3339),
        "reason": rollout.reason, "events": events, "nodes": nodes,
    })
}
