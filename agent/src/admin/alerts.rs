//! The page `/alerts`: the newest alerts of this node, the newest first.

use std::sync::Arc;

use axum::{
    Json,
    extract::{RawQuery, State},
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
};
use rampart_rules::rule::Priority;
use serde_json::json;

use crate::{
    alert::{Alert, JsonOptions},
    telemetry::{
        recent::{ALERTS, Kept},
        status::Status,
    },
};

/// Alerts of a page that does not say how many.
const LIMIT: usize = 100;

/// What is asked for.
#[derive(Debug, PartialEq, Eq)]
struct Asked {
    limit: usize,
    before: u64,
    /// At least this severe.
    priority: Priority,
    rule: Option<String>,
    source: Option<String>,
}

pub(super) async fn list(State(status): State<Arc<Status>>, RawQuery(query): RawQuery) -> Response {
    let asked = match asked(query.as_deref().unwrap_or_default()) {
        Ok(asked) => asked,
        Err(why) => return (StatusCode::BAD_REQUEST, Json(json!({ "error": why }))).into_response(),
    };
    let kept = status.recent.after(0);
    let oldest = kept.first().map_or(0, |kept| kept.number);
    let fitting = kept.iter().rev().filter(|kept| asked.accepts(kept));
    let shown: Vec<String> = fitting.take(asked.limit).map(shown).collect();
    let newest = status.recent.newest();
    let body = format!(r#"{{"alerts":[{}],"newest":{newest},"oldest":{oldest}}}"#, shown.join(","));
    ([(CONTENT_TYPE, "application/json")], body).into_response()
}

/// An alert with its number, as JSON.
pub(super) fn shown(kept: &Kept) -> String {
    format!(r#"{{"number":{},"alert":{}}}"#, kept.number, kept.alert.json(JsonOptions::default()))
}

impl Asked {
    fn accepts(&self, kept: &Kept) -> bool {
        let Alert { rule, source, priority, .. } = &*kept.alert;
        kept.number < self.before
            && *priority <= self.priority
            && self.rule.as_ref().is_none_or(|wanted| wanted == rule)
            && self.source.as_ref().is_none_or(|wanted| wanted == source)
    }
}

/// What `?limit=…&before=…&priority=…&rule=…&source=…` asks.
fn asked(query: &str) -> Result<Asked, String> {
    let mut asked =
        Asked { limit: LIMIT, before: u64::MAX, priority: Priority::Debug, rule: None, source: None };
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        match name.as_ref() {
            "limit" => {
                let limit = value.parse().ok().filter(|limit| (1..=ALERTS).contains(limit));
                asked.limit = limit.ok_or_else(|| format!("`{value}` is no number from 1 to {ALERTS}"))?;
            }
            "before" => {
                asked.before = value.parse().map_err(|_| format!("`{value}` is no number of an alert"))?;
            }
            "priority" => {
                asked.priority = value.parse().map_err(|_| format!("`{value}` is no priority"))?;
            }
            "rule" => asked.rule = Some(value.into_owned()),
            "source" => asked.source = Some(value.into_owned()),
            other => return Err(format!("there is nothing to ask by `{other}`")),
        }
    }
    Ok(asked)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_are_read() {
        let all = asked("limit=5&before=9&priority=warning&rule=a%20b&source=internal").unwrap();
        let wanted = Asked {
            limit: 5,
            before: 9,
            priority: Priority::Warning,
            rule: Some("a b".to_owned()),
            source: Some("internal".to_owned()),
        };
        assert_eq!(all, wanted);
        assert_eq!(asked("").unwrap().limit, LIMIT);
        for wrong in ["limit=0", "limit=257", "before=x", "priority=loud", "who=me"] {
            assert!(asked(wrong).is_err(), "{wrong}");
        }
    }
}
