//! `/timeline` and `/timeline/stream`: everything that happened, whatever its kind, each in a few words.
//!
//! Detections, rate limits, services and what agents say of themselves are one stream of alerts; this is a view of it that
//! says of each what it is about, so that what belongs together can be put side by side.

use std::sync::Arc;

use axum::{
    Extension,
    extract::{Query, State, rejection::QueryRejection},
    http::HeaderMap,
    response::Response,
};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{
    alerts::{Asked, paged},
    feed::{Pass, streamed},
};
use crate::{
    alert::{Kind, Stored, what},
    identity::access::{Access, Caller},
    notify::channel::rfc3339,
    views::Views,
};

pub(super) async fn list(
    State(views): State<Arc<Views>>,
    asked: Result<Query<Asked>, QueryRejection>,
) -> Response {
    paged(&views, asked, "events", entry).await
}

pub(super) async fn stream(
    State(views): State<Arc<Views>>,
    Extension(access): Extension<Arc<Access>>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    asked: Result<Query<Asked>, QueryRejection>,
) -> Response {
    let pass = Pass::new(&access, caller, &headers);
    streamed(views, pass, &headers, asked, ("event", entry))
}

/// What is looked at of an alert's JSON.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Shape {
    output: String,
    time: Option<String>,
    output_fields: Map<String, Value>,
}

fn entry(stored: &Stored) -> String {
    let alert = &stored.alert;
    let shape: Shape = serde_json::from_str(&alert.json).unwrap_or_default();
    let kind = Kind::of(&alert.source, &alert.rule);
    json!({
        "number": stored.number,
        "time": shape.time.clone().unwrap_or_else(|| rfc3339(alert.time_ns)),
        "node": &*stored.node,
        "kind": kind.name(),
        "what": what(&alert.rule).filter(|_| kind != Kind::Detection).unwrap_or(&alert.rule),
        "about": about(kind, &shape.output_fields),
        "priority": alert.priority.name(),
        "rule": alert.rule,
        "source": alert.source,
        "text": text(&shape.output, &alert.rule, alert.priority.name()),
    })
    .to_string()
}

/// What it is about: a service and its backend, a source of packets, a program.
fn about(kind: Kind, fields: &Map<String, Value>) -> Option<String> {
    let word = |name: &str| {
        fields.get(name).and_then(Value::as_str).filter(|word| !word.is_empty() && *word != "<NA>")
    };
    let joined = |first: &str, second: &str, with: &str| match (word(first), word(second)) {
        (Some(first), Some(second)) => Some(format!("{first}{with}{second}")),
        (first, second) => first.or(second).map(str::to_owned),
    };
    match kind {
        Kind::Services => joined("service", "backend", "/"),
        Kind::Limits => joined("source", "policy", " at ").or_else(|| word("class").map(str::to_owned)),
        Kind::Detection => {
            joined("proc.name", "k8s.pod.name", " in ").or_else(|| word("container.name").map(str::to_owned))
        }
        Kind::Agent => None,
    }
}

/// The text without time, priority and, for what the agent says, the rule's name, which are shown beside it.
fn text<'a>(output: &'a str, rule: &str, priority: &str) -> &'a str {
    let body =
        output.split_once(": ").filter(|(time, _)| !time.contains(char::is_whitespace)).map(|(_, body)| body);
    let body = body.and_then(|body| body.strip_prefix(priority)).and_then(|body| body.strip_prefix(' '));
    let body = body.unwrap_or(output);
    body.strip_prefix(rule).and_then(|rest| rest.strip_prefix(": ")).unwrap_or(body)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alert::{Priority, tests::alert};

    fn shown(source: &str, rule: &str, json: &Value) -> Value {
        let mut alert = alert(1, 1, Priority::Warning, rule);
        (alert.source, alert.json) = (source.to_owned(), json.to_string());
        let stored = Stored { number: 7, node: "n".into(), received_ns: 1, alert };
        serde_json::from_str(&entry(&stored)).unwrap()
    }

    #[test]
    fn each_kind_says_what_it_is_about() {
        let fields = json!({"service": "shop", "backend": "a"});
        let json = json!({"output": "10:00:00.1: Warning Rampart internal: circuit breaker open: it opened",
            "output_fields": fields, "time": "2026-01-01T10:00:00Z"});
        let breaker = shown("internal", "Rampart internal: circuit breaker open", &json);
        assert_eq!(
            (&breaker["kind"], &breaker["about"], &breaker["what"], &breaker["text"], &breaker["time"]),
            (
                &json!("services"),
                &json!("shop/a"),
                &json!("circuit breaker open"),
                &json!("it opened"),
                &json!("2026-01-01T10:00:00Z")
            )
        );
        let json = json!({"output": "x", "output_fields": {"source": "192.0.2.1", "policy": "web"}});
        let flood = shown("internal", "Rampart internal: rate limit exceeded", &json);
        assert_eq!((&flood["kind"], &flood["about"]), (&json!("limits"), &json!("192.0.2.1 at web")));
        let json = json!({"output": "10:00:00.1: Warning a: b", "output_fields": {"proc.name": "cat", "k8s.pod.name": "<NA>"}});
        let detection = shown("syscall", "Shell", &json);
        assert_eq!(
            (&detection["about"], &detection["text"], &detection["what"], &detection["number"]),
            (&json!("cat"), &json!("a: b"), &json!("Shell"), &json!(7))
        );
        let bare = shown("syscall", "Shell", &json!([]));
        assert_eq!((&bare["about"], &bare["text"]), (&Value::Null, &json!("")));
    }
}
