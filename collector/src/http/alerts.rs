//! `/alerts`, `/alerts/{number}` and `/dead`.

use std::sync::Arc;

use axum::{
    Extension,
    extract::{Path, Query, State, rejection::QueryRejection},
    http::{HeaderMap, StatusCode},
    response::Response,
};
use jiff::Timestamp;
use serde::Deserialize;

use super::{
    fault, json,
    login::{failed, is_json},
    unavailable,
};
use crate::{
    alert::{Filter, Kind, Needle, NoKind, Stored, TEXT_MAX},
    audit::Note,
    identity::access::{Access, Caller},
    ingest::now_ns,
    notify::channel::rfc3339,
    rulebook,
    views::{PAGE, PAGE_MAX, Views},
};

/// What may stand behind the question mark.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Asked {
    node: Option<String>,
    rule: Option<String>,
    priority: Option<String>,
    source: Option<String>,
    kind: Option<String>,
    text: Option<String>,
    since: Option<String>,
    until: Option<String>,
    limit: Option<usize>,
    before: Option<u64>,
}

/// What may stand behind the question mark of a new try.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Chosen {
    channel: Option<String>,
    number: Option<u64>,
}

impl Asked {
    /// The filter, or what is wrong with it.
    pub(super) fn filter(&self) -> Result<Filter, String> {
        let time = |name: &str, text: &Option<String>| -> Result<Option<u64>, String> {
            let Some(text) = text else { return Ok(None) };
            let time: Timestamp = text
                .parse()
                .map_err(|_| format!("`{name}` must be a time such as 2026-01-31T08:00:00Z, not `{text}`"))?;
            Ok(Some(u64::try_from(time.as_nanosecond()).unwrap_or(0)))
        };
        if self.text.as_ref().is_some_and(|text| text.len() > TEXT_MAX) {
            return Err(format!("`text` must not be longer than {TEXT_MAX} bytes"));
        }
        let kinds = self.kind.as_ref().map(|words| words.parse());
        let priority = self.priority.as_ref().map(|text| text.parse()).transpose();
        Ok(Filter {
            node: self.node.clone(),
            rule: self.rule.clone(),
            priority: priority.map_err(|error: crate::alert::NoPriority| error.to_string())?,
            source: self.source.clone(),
            since_ns: time("since", &self.since)?,
            until_ns: time("until", &self.until)?,
            kinds: kinds.transpose().map_err(|error: NoKind| error.to_string())?.unwrap_or_default(),
            text: self.text.as_deref().filter(|text| !text.is_empty()).map(Needle::new),
            above: None,
        })
    }
}

/// An alert as it is shown. Its own JSON was checked when it came.
pub(super) fn shown(stored: &Stored) -> String {
    let head = serde_json::json!({
        "number": stored.number,
        "node": &*stored.node,
        "received": rfc3339(stored.received_ns),
        "kind": Kind::of(&stored.alert.source, &stored.alert.rule).name(),
    });
    let head = head.to_string();
    format!("{},\"alert\":{}}}", head.strip_suffix('}').unwrap_or(&head), stored.alert.json)
}

pub(super) async fn list(
    State(views): State<Arc<Views>>,
    asked: Result<Query<Asked>, QueryRejection>,
) -> Response {
    paged(&views, asked, "alerts", shown).await
}

/// A page of what was asked for, each as `show` shows it.
pub(super) async fn paged(
    views: &Arc<Views>,
    asked: Result<Query<Asked>, QueryRejection>,
    name: &str,
    show: fn(&Stored) -> String,
) -> Response {
    let asked = match asked {
        Ok(Query(asked)) => asked,
        Err(error) => return fault(StatusCode::BAD_REQUEST, &error.body_text()),
    };
    let limit = asked.limit.unwrap_or(PAGE);
    if !(1..=PAGE_MAX).contains(&limit) {
        return fault(StatusCode::BAD_REQUEST, &format!("`limit` must be 1 to {PAGE_MAX}"));
    }
    let filter = match asked.filter() {
        Ok(filter) => filter,
        Err(problem) => return fault(StatusCode::BAD_REQUEST, &problem),
    };
    match views.alerts(filter, limit, asked.before).await {
        Ok((alerts, next)) => {
            let alerts: Vec<String> = alerts.iter().map(show).collect();
            let next = next.map_or_else(|| "null".to_owned(), |next| next.to_string());
            json(format!(r#"{{"{name}":[{}],"next":{next}}}"#, alerts.join(",")))
        }
        Err(error) => unavailable(&error),
    }
}

pub(super) async fn one(State(views): State<Arc<Views>>, Path(number): Path<String>) -> Response {
    let Ok(number) = number.parse() else {
        return fault(StatusCode::BAD_REQUEST, "an alert has a number");
    };
    match views.alert(number).await {
        Ok(Some(stored)) => json(shown(&stored)),
        Ok(None) => fault(StatusCode::NOT_FOUND, "there is no such alert, or it is kept no longer"),
        Err(error) => unavailable(&error),
    }
}

/// The rule of an alert, as it was in force when it matched.
pub(super) async fn rule(
    State(views): State<Arc<Views>>,
    Extension(access): Extension<Arc<Access>>,
    Path(number): Path<String>,
) -> Response {
    let Ok(number) = number.parse() else {
        return fault(StatusCode::BAD_REQUEST, "an alert has a number");
    };
    let stored = match views.alert(number).await {
        Ok(Some(stored)) => stored,
        Ok(None) => {
            return fault(StatusCode::NOT_FOUND, "there is no such alert, or it is kept no longer");
        }
        Err(error) => return unavailable(&error),
    };
    let Some(digest) = rulebook::digest_of(&stored.alert.json) else {
        return fault(StatusCode::NOT_FOUND, "the alert names no rules");
    };
    match rulebook::rule(&access.records, digest.clone(), stored.alert.rule.clone()).await {
        Ok(Some(text)) => json(serde_json::json!({ "policy_digest": digest, "text": text }).to_string()),
        Ok(None) => fault(StatusCode::NOT_FOUND, "no agent has told the texts of these rules"),
        Err(error) => failed(&error),
    }
}

pub(super) async fn dead(State(views): State<Arc<Views>>) -> Response {
    match views.dead().await {
        Ok(dead) => {
            let entry = |dead: &crate::store::Dead| {
                serde_json::json!({
                    "number": dead.number, "channel": dead.channel, "attempts": dead.attempts,
                    "reason": dead.reason, "time": rfc3339(dead.dead_ns), "alert": dead.alert,
                })
            };
            let list: Vec<_> = dead.iter().map(entry).collect();
            json(serde_json::json!({ "dead": list }).to_string())
        }
        Err(error) => unavailable(&error),
    }
}

pub(super) async fn redrive(
    State(views): State<Arc<Views>>,
    Extension(access): Extension<Arc<Access>>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    chosen: Result<Query<Chosen>, QueryRejection>,
) -> Response {
    if !is_json(&headers) {
        return fault(StatusCode::UNSUPPORTED_MEDIA_TYPE, "send `Content-Type: application/json`");
    }
    let chosen = match chosen {
        Ok(Query(chosen)) => chosen,
        Err(error) => return fault(StatusCode::BAD_REQUEST, &error.body_text()),
    };
    let (object, number) = (chosen.channel.clone(), chosen.number.map(|number| number.to_string()));
    let note = Note::new(
        caller.name,
        "dlq.redrive",
        object.unwrap_or_else(|| "all channels".to_owned()),
        number.map_or_else(String::new, |number| format!("number {number}")),
    );
    // Noted first: what cannot be noted is not done.
    if let Err(error) = access.records.run(move |book| Ok(book.change(&[], &note, now_ns())?)).await {
        return failed(&error);
    }
    let done = views.ingest.run(move |writer| {
        let number = chosen.number.map(|number| number.min(i64::MAX as u64));
        writer.redrive(chosen.channel.as_deref(), number)
    });
    match done.await {
        Ok(count) => json(serde_json::json!({ "redriven": count }).to_string()),
        Err(refused) => fault(StatusCode::SERVICE_UNAVAILABLE, &refused.to_string()),
    }
}
