//! `/audit`: the audit log, newest first; and `/cluster`: what runs where, in numbers.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    Extension,
    extract::{Query, State, rejection::QueryRejection},
    http::StatusCode,
    response::Response,
};
use serde::Deserialize;
use serde_json::json;

use super::{fault, json as answer, login::failed, unavailable};
use crate::{
    audit::Record,
    identity::{access::Access, hex},
    ingest::now_ns,
    notify::channel::rfc3339,
    views::{PAGE, PAGE_MAX, Views},
};

/// What may stand behind the question mark.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Asked {
    limit: Option<usize>,
    before: Option<u64>,
}

pub(super) async fn audit(
    Extension(access): Extension<Arc<Access>>,
    asked: Result<Query<Asked>, QueryRejection>,
) -> Response {
    let Asked { limit, before } = match asked {
        Ok(Query(asked)) => asked,
        Err(error) => return fault(StatusCode::BAD_REQUEST, &error.body_text()),
    };
    let limit = limit.unwrap_or(PAGE);
    if !(1..=PAGE_MAX).contains(&limit) {
        return fault(StatusCode::BAD_REQUEST, &format!("`limit` must be 1 to {PAGE_MAX}"));
    }
    match access.records.run(move |book| Ok(book.records_before(before, limit)?)).await {
        Ok(records) => {
            let next = records.last().map(|record| record.number).filter(|_| records.len() == limit);
            let records: Vec<_> = records.iter().map(shown).collect();
            answer(json!({ "records": records, "next": next }).to_string())
        }
        Err(error) => failed(&error),
    }
}

fn shown(record: &Record) -> serde_json::Value {
    let Record { number, time_ns, note, previous, hash } = record;
    json!({
        "number": number, "time": rfc3339(*time_ns), "actor": note.actor, "action": note.action,
        "object": note.object, "detail": note.detail, "previous": hex(previous), "hash": hex(hash),
    })
}

pub(super) async fn cluster(State(views): State<Arc<Views>>) -> Response {
    let nodes = match views.nodes().await {
        Ok(nodes) => nodes,
        Err(error) => return unavailable(&error),
    };
    let now = now_ns();
    let (mut silent, mut versions, mut policies) = (Vec::new(), BTreeMap::new(), BTreeMap::new());
    let (mut sessions, mut waiting, mut missing) = (0_u64, 0, 0);
    for view in &nodes {
        let node = view.node.as_ref().filter(|node| node.is_active(now));
        match node {
            Some(node) => {
                *versions.entry(node.version.as_str()).or_insert(0_u64) += 1;
                sessions += u64::from(node.sessions);
            }
            None => silent.push(view.name.as_str()),
        }
        if let Some(beat) = view.beat.as_ref().filter(|_| node.is_some()) {
            *policies.entry(beat.policy_digest.as_str()).or_insert(0_u64) += 1;
            waiting += beat.spool_pending;
        }
        missing += view.totals.missing;
    }
    let body = json!({
        "nodes": { "known": nodes.len(), "active": nodes.len() - silent.len(), "silent": silent },
        "sessions": sessions, "versions": versions, "policies": policies,
        "alerts": { "missing": missing, "in_spools": waiting },
        "collector": { "version": env!("CARGO_PKG_VERSION") },
    });
    answer(body.to_string())
}
