//! Health, nodes and metrics.

use std::sync::Arc;

use axum::{
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::json;

use super::{json, unavailable};
use crate::{
    ingest::now_ns,
    notify::channel::rfc3339,
    views::{NodeView, Views},
};

pub(super) async fn health() -> Response {
    json(json!({ "status": "ok" }).to_string())
}

pub(super) async fn ready(State(views): State<Arc<Views>>) -> Response {
    match views.size().await {
        Ok(_) if !*views.stop.borrow() => json(json!({ "status": "ready" }).to_string()),
        Ok(_) => super::fault(StatusCode::SERVICE_UNAVAILABLE, "the collector ends"),
        Err(error) => unavailable(&error),
    }
}

pub(super) async fn detailed(State(views): State<Arc<Views>>) -> Response {
    let (size, nodes) = match (views.size().await, views.nodes().await) {
        (Ok(size), Ok(nodes)) => (size, nodes),
        (Err(error), _) | (_, Err(error)) => return unavailable(&error),
    };
    let metrics = &views.metrics;
    let active = active(&nodes);
    let failing = metrics.store_errors.get() > 0;
    json(
        json!({
            "status": if failing { "degraded" } else { "ok" },
            "version": env!("CARGO_PKG_VERSION"),
            "store": {
                "bytes": size.bytes, "alerts": size.alerts, "errors": metrics.store_errors.get(),
                "stored": metrics.stored.get(), "duplicates": metrics.duplicates.get(),
                "trimmed": metrics.trimmed.get(),
            },
            "notifications": {
                "waiting": size.notices, "dead": size.dead, "channels": metrics.told_by_channel(),
            },
            "nodes": { "known": nodes.len(), "active": active },
            "sessions": metrics.sessions.get(),
        })
        .to_string(),
    )
}

fn active(nodes: &[NodeView]) -> usize {
    let now = now_ns();
    nodes.iter().filter(|view| view.node.as_ref().is_some_and(|node| node.is_active(now))).count()
}

pub(super) async fn nodes(State(views): State<Arc<Views>>) -> Response {
    let now = now_ns();
    let entry = |view: NodeView| {
        let node = view.node.unwrap_or_default();
        let seen = node.seen_ns.max(view.totals.received_ns);
        let beat = view.beat.map(|beat| {
            json!({
                "policy_digest": beat.policy_digest, "rules": beat.rules, "ready": beat.is_ready,
                "policy_fault": beat.policy_fault, "losses": beat.losses, "cpu_ms": beat.cpu_ms,
                "rss_bytes": beat.rss_bytes, "events": beat.events, "alerts": beat.alerts,
                "spool": { "pending": beat.spool_pending, "bytes": beat.spool_bytes },
            })
        });
        json!({
            "name": view.name, "active": node.is_active(now), "seen": rfc3339(seen), "sessions": node.sessions,
            "version": node.version, "kernel": node.kernel, "labels": node.labels,
            "bundle": node.bundle.is_accepting.then(|| json!({
                "name": node.bundle.name, "digest": node.bundle.digest, "fault": node.bundle.fault,
            })),
            "alerts": { "stored": view.totals.stored, "missing": view.totals.missing },
            "heartbeat": beat,
        })
    };
    match views.nodes().await {
        Ok(nodes) => {
            let list: Vec<_> = nodes.into_iter().map(entry).collect();
            json(json!({ "nodes": list }).to_string())
        }
        Err(error) => unavailable(&error),
    }
}

pub(super) async fn metrics(State(views): State<Arc<Views>>) -> Response {
    if let (Ok(size), Ok(nodes)) = (views.size().await, views.nodes().await) {
        views.metrics.store_bytes.set(size.bytes as i64);
        views.metrics.nodes_active.set(active(&nodes) as i64);
    }
    match views.metrics.page() {
        Ok(page) => ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], page).into_response(),
        Err(error) => {
            tracing::error!("The metrics page cannot be made: {error}");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}
