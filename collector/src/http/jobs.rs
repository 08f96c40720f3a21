//! `/jobs`: work for nodes. Whoever may look sees what there is; results, which may hold what processes did, and changes
//! need the role of an operator (`door`).

use std::sync::Arc;

use axum::{
    Extension, Json, Router,
    extract::{
        Path, Query,
        rejection::{JsonRejection, QueryRejection},
    },
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse as _, Response},
    routing::{get, post},
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    fault, json as answer,
    login::{failed, is_json},
};
use crate::{
    identity::access::{Access, Caller},
    ingest::now_ns,
    jobs::{Job, JobError, State, Wish, queue},
    notify::channel::rfc3339,
    store::identity::Book,
};

/// Jobs in one answer.
const LISTED: usize = 1000;

/// What may stand behind the question mark.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Asked {
    state: Option<String>,
    node: Option<String>,
}

/// Its paths.
pub(super) fn router() -> Router {
    Router::new()
        .route("/jobs", get(list).post(submit))
        .route("/jobs/{id}", get(one))
        .route("/jobs/{id}/result", get(result))
        .route(
            "/jobs/{id}/cancel",
            post(|access, caller, headers, Path(id)| change(access, caller, headers, id, queue::cancel)),
        )
        .route(
            "/jobs/{id}/redrive",
            post(|access, caller, headers, Path(id)| change(access, caller, headers, id, queue::redrive)),
        )
}

/// A job for people and their tools.
pub(crate) fn shown(id: &str, job: &Job) -> Value {
    let (not_before, running) = match &job.state {
        State::Waiting { not_before_ns } => (Some(rfc3339(*not_before_ns)), None),
        State::Running(running) => (None, Some(running)),
        _ => (None, None),
    };
    let outcome = job.outcome.as_ref().map(|outcome| {
        json!({
            "node": outcome.node, "ended": rfc3339(outcome.ended_ns), "text": outcome.text,
            "file": outcome.file, "name": outcome.name, "bytes": outcome.bytes,
        })
    });
    json!({
        "id": id, "task": job.wish.task, "node": job.wish.node, "priority": job.wish.priority,
        "state": job.state.name(), "created": rfc3339(job.created_ns), "by": job.by, "attempts": job.attempts,
        "fault": job.fault, "not_before": not_before, "on": running.map(|running| &running.on),
        "since": running.map(|running| rfc3339(running.since_ns)),
        "until": running.map(|running| rfc3339(running.lease_ns)), "outcome": outcome,
    })
}

async fn list(
    Extension(access): Extension<Arc<Access>>,
    asked: Result<Query<Asked>, QueryRejection>,
) -> Response {
    let Asked { state, node } = match asked {
        Ok(Query(asked)) => asked,
        Err(error) => return fault(StatusCode::BAD_REQUEST, &error.body_text()),
    };
    let known = ["waiting", "running", "done", "dead", "cancelled"];
    if let Some(state) = state.as_ref().filter(|state| !known.contains(&state.as_str())) {
        let message = format!("`{state}` is no state: use one of {}", known.join(", "));
        return fault(StatusCode::BAD_REQUEST, &message);
    }
    done(&access, move |book| {
        let jobs = queue::list(book)?;
        let jobs =
            jobs.iter().rev().filter(|(_, job)| state.as_ref().is_none_or(|state| job.state.name() == state));
        let jobs = jobs.filter(|(_, job)| node.is_none() || on(job) == node.as_deref());
        let jobs: Vec<Value> = jobs.take(LISTED).map(|(id, job)| shown(id, job)).collect();
        Ok(json!({ "jobs": jobs }))
    })
    .await
}

/// Where a job is, was or will be.
fn on(job: &Job) -> Option<&str> {
    match &job.state {
        State::Running(running) => Some(&running.on),
        _ => job.outcome.as_ref().map(|outcome| outcome.node.as_str()).or(job.wish.node.as_deref()),
    }
}

async fn one(Extension(access): Extension<Arc<Access>>, Path(id): Path<String>) -> Response {
    done(&access, move |book| queue::get(book, &id).map(|job| shown(&id, &job))).await
}

async fn result(Extension(access): Extension<Arc<Access>>, Path(id): Path<String>) -> Response {
    let found = access.records.run(move |book| {
        Ok(queue::get(book, &id).and_then(|job| {
            let name = job.outcome.map(|outcome| outcome.name).unwrap_or_default();
            Ok(queue::result(book, &id)?.map(|(text, content)| (text, content, name)))
        }))
    });
    match found.await {
        Ok(Ok(Some((text, content, name)))) if name.is_empty() || content.is_empty() => {
            ([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], text).into_response()
        }
        Ok(Ok(Some((_, content, name)))) => {
            // What a node calls it goes into a header.
            let letters = name
                .chars()
                .map(|one| if one.is_ascii_alphanumeric() || "._-".contains(one) { one } else { '_' });
            let place = format!("attachment; filename=\"{}\"", letters.collect::<String>());
            let kind = (header::CONTENT_TYPE, "application/octet-stream".to_owned());
            ([kind, (header::CONTENT_DISPOSITION, place)], content).into_response()
        }
        Ok(Ok(None)) => fault(StatusCode::NOT_FOUND, "there is no result, or it is kept no longer"),
        Ok(Err(error)) => refused(&error),
        Err(error) => failed(&error),
    }
}

async fn submit(
    Extension(access): Extension<Arc<Access>>,
    Extension(caller): Extension<Caller>,
    wish: Result<Json<Wish>, JsonRejection>,
) -> Response {
    let wish = match wish {
        Ok(Json(wish)) => wish,
        Err(error) => return fault(error.status(), &error.body_text()),
    };
    done(&access, move |book| {
        let id = queue::submit(book, wish, &caller.name, now_ns())?;
        queue::get(book, &id).map(|job| shown(&id, &job))
    })
    .await
}

/// A step that somebody takes with a job.
type Change = fn(&mut dyn Book, &str, &str, u64) -> Result<(), JobError>;

/// Takes a step with a job, and shows what it is then.
async fn change(
    Extension(access): Extension<Arc<Access>>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    id: String,
    change: Change,
) -> Response {
    // A form on another page could send it.
    if !is_json(&headers) {
        return fault(StatusCode::UNSUPPORTED_MEDIA_TYPE, "send `Content-Type: application/json`");
    }
    done(&access, move |book| {
        change(book, &id, &caller.name, now_ns())?;
        queue::get(book, &id).map(|job| shown(&id, &job))
    })
    .await
}

async fn done(
    access: &Access,
    work: impl FnOnce(&mut dyn Book) -> Result<Value, JobError> + Send + 'static,
) -> Response {
    match access.records.run(move |book| Ok(work(book))).await {
        Ok(Ok(value)) => answer(value.to_string()),
        Ok(Err(error)) => refused(&error),
        Err(error) => failed(&error),
    }
}

fn refused(error: &JobError) -> Response {
    let status = match error {
        JobError::Task(_) | JobError::Node(_) => StatusCode::UNPROCESSABLE_ENTITY,
        JobError::Absent(_) => StatusCode::NOT_FOUND,
        JobError::State { .. } | JobError::Raced(_) => StatusCode::CONFLICT,
        JobError::Full(_) => StatusCode::TOO_MANY_REQUESTS,
        JobError::Book(error) => return failed(error),
    };
    fault(status, &error.to_string())
}
