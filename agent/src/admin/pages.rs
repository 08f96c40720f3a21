//! The pages.

use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use axum::{
    Json,
    extract::State,
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
};
use nix::sys::{
    resource::{UsageWho, getrusage},
    time::{TimeVal, TimeValLike as _},
};
use serde_json::{Value, json};

use super::{PAGES, top as top_page};
use crate::{
    bundles::Standing,
    telemetry::{limits, metrics, status::Status},
};

type Shared = State<Arc<Status>>;

/// Alive: the process answers. Falco's page and answer.
pub(super) async fn healthz() -> Json<Value> {
    Json(json!({ "status": "ok" }))
}

/// Healthy: nothing to complain about.
pub(super) async fn health(State(status): Shared) -> Response {
    let complaints = status.complaints(Instant::now());
    let (code, word) = verdict(&complaints);
    (code, Json(json!({ "status": word }))).into_response()
}

fn verdict(complaints: &[String]) -> (StatusCode, &'static str) {
    if complaints.is_empty() { (StatusCode::OK, "ok") } else { (StatusCode::SERVICE_UNAVAILABLE, "degraded") }
}

/// Ready: every latch of the start is released; later trouble does not take it back.
pub(super) async fn ready(State(status): Shared) -> Response {
    let waiting = status.latches.waiting_for();
    if waiting.is_empty() {
        return Json(json!({ "status": "ready" })).into_response();
    }
    let body = json!({ "status": "starting", "waiting_for": waiting });
    (StatusCode::SERVICE_UNAVAILABLE, Json(body)).into_response()
}

pub(super) async fn versions() -> Json<Value> {
    Json(json!({
        "rampart_version": env!("CARGO_PKG_VERSION"),
        "abi_version": rampart_common::abi::ABI_VERSION.to_string(),
    }))
}

pub(super) async fn metrics(State(status): Shared) -> Response {
    match metrics::page(&status, Instant::now()) {
        Ok(page) => ([(CONTENT_TYPE, prometheus::TEXT_FORMAT)], page).into_response(),
        Err(error) => {
            tracing::error!(%error, "The metrics page could not be made");
            (StatusCode::INTERNAL_SERVER_ERROR, Json(json!({ "error": error.to_string() }))).into_response()
        }
    }
}

/// What the rate limiter does.
pub(super) async fn limits(State(status): Shared) -> Json<Value> {
    Json(limits::document(&status.limits()))
}

/// What rules and event families cost, for `rampart top`.
pub(super) async fn top(State(status): Shared) -> Json<top_page::Top> {
    Json(top_page::page(&status))
}

/// What can be asked here, for programs.
pub(super) async fn openapi() -> Response {
    ([(CONTENT_TYPE, "application/json")], include_str!("openapi.json")).into_response()
}

pub(super) async fn unknown() -> Response {
    let body = json!({ "error": "no such page", "pages": PAGES });
    (StatusCode::NOT_FOUND, Json(body)).into_response()
}

/// Everything, for people and for `rampart status`. Always 200: the answer itself says how things are.
pub(super) async fn detailed(State(status): Shared) -> Json<Value> {
    Json(details(&status, Instant::now()))
}

pub(super) fn details(status: &Status, now: Instant) -> Value {
    let complaints = status.complaints(now);
    let facts = status.facts();
    let policy = status.policy();
    let detection = status.detection();
    let families: Vec<Value> = detection
        .families
        .iter()
        .map(|(family, counters, unexplained)| {
            json!({
                "family": family.name(),
                "seen": counters.seen,
                "filtered": counters.filtered,
                "emitted": counters.emitted,
                "ring_full": counters.ring_full,
                "error": counters.error,
                "unexplained": unexplained,
            })
        })
        .collect();
    let outputs: Vec<Value> = status
        .outputs()
        .iter()
        .map(|tally| {
            json!({
                "name": tally.name,
                "written": tally.written,
                "dropped_queue_full": tally.dropped_full,
                "dropped_write_failed": tally.dropped_failed,
                "failing": tally.failing,
            })
        })
        .collect();
    let waiting = status.latches.waiting_for();
    let shed: Vec<Value> = top_page::page(status)
        .rules
        .iter()
        .filter(|rule| !rule.shed.is_empty())
        .map(|rule| json!({ "rule": rule.rule, "families": rule.shed }))
        .collect();
    let delivery = status.delivery();
    json!({
        "status": verdict(&complaints).1,
        "complaints": complaints,
        "ready": waiting.is_empty(),
        "waiting_for": waiting,
        "pid": std::process::id(),
        "version": env!("CARGO_PKG_VERSION"),
        "hostname": facts.as_ref().map(|facts| &facts.hostname),
        "kernel_release": facts.as_ref().map(|facts| &facts.kernel_release),
        "uptime_seconds": facts.as_ref().map(|facts| now.saturating_duration_since(facts.started_at).as_secs()),
        "memory_rss_bytes": metrics::resident_bytes(),
        "cpu_seconds": cpu_seconds(),
        "policy": {
            "digest": policy.digest,
            "rules": policy.rules,
            "files": policy.sources.iter().map(|(path, digest)| json!({
                "path": path.to_string_lossy(),
                "sha256": digest,
            })).collect::<Vec<_>>(),
            "loaded_at": policy.loaded.map(epoch_seconds),
            "reloads": policy.reloads,
            "failed_reloads": policy.failures,
            "last_fault": policy.fault.map(|fault| json!({
                "at": epoch_seconds(fault.time),
                "text": fault.text,
            })),
            "bundle": bundle(&status.bundles.borrow()),
        },
        "detection": {
            "last_beat_seconds": detection.beat.map(|beat| now.saturating_duration_since(beat).as_secs_f64()),
            "records": detection.records,
            "decode_errors": detection.decode_errors,
            "evaluated": detection.evaluated,
            "alerts": detection.alerts,
            "gaps": detection.gaps,
            "processes": detection.processes,
            "process_evictions": detection.evictions,
            "families": families,
            "shed": shed,
        },
        "outputs": outputs,
        "collector": delivery.is_used.then(|| json!({
            "connected": delivery.is_connected,
            "fault": delivery.fault,
            "pending": delivery.pending,
            "spool_bytes": delivery.bytes,
        })),
    })
}

/// How it is with policy bundles, where they are taken.
fn bundle(standing: &Standing) -> Option<Value> {
    let active = standing.active.as_ref();
    standing.is_accepting.then(|| {
        json!({
            "name": active.map(|active| &active.name),
            "digest": active.map(|active| active.digest.to_string()),
            "created_at": active.map(|active| active.created_secs),
            "since": active.map(|active| epoch_seconds(active.since)),
            "fault": standing.fault.as_ref().map(|fault| &fault.text),
        })
    })
}

/// Time that the agent's threads had, in both modes.
fn cpu_seconds() -> Option<f64> {
    let usage = getrusage(UsageWho::RUSAGE_SELF).ok()?;
    let seconds = |time: TimeVal| Duration::from_micros(time.num_microseconds().max(0) as u64).as_secs_f64();
    Some(seconds(usage.user_time()) + seconds(usage.system_time()))
}

fn epoch_seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}
