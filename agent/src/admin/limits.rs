//! Pages of the rate limiter: one policy, what holds for a source, who is over most, and lists and grants to change.

use std::{net::IpAddr, sync::Arc};

use axum::{
    Json,
    body::Bytes,
    extract::{Path, RawQuery, State},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use ipnet::IpNet;
use jiff::Timestamp;
use rampart_common::limit::{
    packet::{ICMP, ICMP6, SCTP, TCP, UDP},
    verdict::Direction,
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    access::{Guard, Writer},
    audit::Record,
};
use crate::limits::{
    desk::{Answer, Ask, Denied, Desk, Wanted},
    entries::{Kind, Refusal},
    explain::Asked,
    files,
    rate::{self, Rate},
};

/// Longest time that an entry may hold, seconds: ten years.
const SECS_MAX: u64 = 315_360_000;

type Limits = State<Option<Desk>>;

/// What a new entry is asked for with.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    net: String,
    rate: Option<String>,
    burst: Option<u64>,
    for_secs: Option<u64>,
    until: Option<String>,
    comment: Option<String>,
}

pub(super) async fn policy(State(desk): Limits, Path(name): Path<String>) -> Response {
    response(ask(desk, Ask::Policy(name)).await)
}

pub(super) async fn top(State(desk): Limits) -> Response {
    response(ask(desk, Ask::Top).await)
}

pub(super) async fn explain(State(desk): Limits, RawQuery(query): RawQuery) -> Response {
    match asked(query.as_deref().unwrap_or_default()) {
        Ok(asked) => response(ask(desk, Ask::Explain(asked)).await),
        Err(why) => wrong(&why),
    }
}

pub(super) async fn grants(State(desk): Limits) -> Response {
    response(ask(desk, Ask::List(Kind::Grant)).await)
}

pub(super) async fn allowed(State(desk): Limits) -> Response {
    response(ask(desk, Ask::List(Kind::Allow)).await)
}

pub(super) async fn denied(State(desk): Limits) -> Response {
    response(ask(desk, Ask::List(Kind::Deny)).await)
}

pub(super) async fn grant(writer: Writer, desk: Limits, guard: State<Arc<Guard>>, body: Bytes) -> Response {
    put(Kind::Grant, writer, desk.0, &guard.0, &body).await
}

pub(super) async fn allow(writer: Writer, desk: Limits, guard: State<Arc<Guard>>, body: Bytes) -> Response {
    put(Kind::Allow, writer, desk.0, &guard.0, &body).await
}

pub(super) async fn deny(writer: Writer, desk: Limits, guard: State<Arc<Guard>>, body: Bytes) -> Response {
    put(Kind::Deny, writer, desk.0, &guard.0, &body).await
}

pub(super) async fn ungrant(
    writer: Writer,
    desk: Limits,
    guard: State<Arc<Guard>>,
    net: Path<String>,
) -> Response {
    remove(Kind::Grant, &writer, desk.0, &guard.0, &net.0).await
}

pub(super) async fn unallow(
    writer: Writer,
    desk: Limits,
    guard: State<Arc<Guard>>,
    net: Path<String>,
) -> Response {
    remove(Kind::Allow, &writer, desk.0, &guard.0, &net.0).await
}

pub(super) async fn undeny(
    writer: Writer,
    desk: Limits,
    guard: State<Arc<Guard>>,
    net: Path<String>,
) -> Response {
    remove(Kind::Deny, &writer, desk.0, &guard.0, &net.0).await
}

async fn ask(desk: Option<Desk>, ask: Ask) -> Answer {
    match desk {
        Some(desk) => desk.ask(ask).await,
        None => Err(Denied::Off),
    }
}

async fn put(kind: Kind, writer: Writer, desk: Option<Desk>, guard: &Guard, body: &Bytes) -> Response {
    let wanted = match wanted(kind, &writer.who, body, Timestamp::now()) {
        Ok(wanted) => wanted,
        Err(why) => return wrong(&why),
    };
    let about = wanted.net.to_string();
    let details = json!({
        "rate": wanted.rate.map(|rate| rate.to_string()),
        "secs": wanted.secs,
        "comment": wanted.comment,
    });
    let what = format!("limits {kind}");
    noted(guard, &writer, (&what, &about, details), ask(desk, Ask::Put(wanted))).await
}

async fn remove(kind: Kind, writer: &Writer, desk: Option<Desk>, guard: &Guard, net: &str) -> Response {
    let Some(net) = files::net(net) else { return wrong(&no_net(net)) };
    let what = format!("limits {kind} removed");
    let about = net.to_string();
    noted(guard, writer, (&what, &about, Value::Null), ask(desk, Ask::Remove(kind, net))).await
}

/// Does something and notes it; what cannot be noted is not done.
async fn noted(
    guard: &Guard,
    writer: &Writer,
    (what, about, details): (&str, &str, Value),
    work: impl Future<Output = Answer>,
) -> Response {
    let line = match guard.audit.as_ref().map(super::audit::Audit::open).transpose() {
        Ok(line) => line,
        Err(error) => {
            tracing::error!(what, about, "A change was refused, it cannot be noted: {error}");
            let body = json!({ "error": format!("the change cannot be noted: {error}") });
            return (StatusCode::SERVICE_UNAVAILABLE, Json(body)).into_response();
        }
    };
    let answer = work.await;
    let outcome = answer.as_ref().map_or_else(ToString::to_string, |_| "done".to_owned());
    tracing::info!(who = writer.who, what, about, outcome, "Asked for a change");
    if let Some(line) = line {
        let record = Record { who: &writer.who, what, about, outcome: &outcome, details };
        if let Err(error) = line.write(&record) {
            tracing::error!(what, about, "A change was not noted: {error}");
        }
    }
    response(answer)
}

fn response(answer: Answer) -> Response {
    match answer {
        Ok(value) => Json(value).into_response(),
        Err(denied) => {
            let code = match &denied {
                Denied::Refused(Refusal::Safe { .. } | Refusal::Configured { .. } | Refusal::Full) => {
                    StatusCode::CONFLICT
                }
                Denied::Refused(Refusal::Part { .. } | Refusal::Unfit(_)) => StatusCode::BAD_REQUEST,
                Denied::Absent(_) => StatusCode::NOT_FOUND,
                Denied::Failed(_) => StatusCode::INTERNAL_SERVER_ERROR,
                Denied::Off | Denied::Busy => StatusCode::SERVICE_UNAVAILABLE,
            };
            (code, Json(json!({ "error": denied.to_string() }))).into_response()
        }
    }
}

fn wrong(why: &str) -> Response {
    (StatusCode::BAD_REQUEST, Json(json!({ "error": why }))).into_response()
}

fn no_net(word: &str) -> String {
    format!("`{word}` is no address; write `192.0.2.1`, `192.0.2.0/24` or `2001:db8::/48`")
}

/// The entry that a body asks for.
fn wanted(kind: Kind, who: &str, body: &[u8], now: Timestamp) -> Result<Wanted, String> {
    let body: Body = serde_json::from_slice(body).map_err(|error| format!("the body is wrong: {error}"))?;
    let net: IpNet = files::net(&body.net).ok_or_else(|| no_net(&body.net))?;
    let rate = match (kind, &body.rate) {
        (Kind::Grant, Some(text)) => {
            let units = rate::parse(text).or_else(|| rate::amount(text).map(|amount| (amount, 1)));
            let units = units
                .ok_or_else(|| format!("`{text}` is no rate; write such as `1000/s`, `90/m`, `5k/h`"))?;
            Some(Rate::new(units, body.burst, 1))
        }
        (Kind::Grant, None) => return Err("a grant needs a `rate`".to_owned()),
        _ if body.rate.is_some() || body.burst.is_some() => {
            return Err("`rate` and `burst` are for grants".to_owned());
        }
        _ => None,
    };
    let secs = match (body.for_secs, &body.until) {
        (Some(_), Some(_)) => return Err("`for_secs` and `until` exclude each other".to_owned()),
        (Some(secs), None) => Some(secs),
        (None, Some(until)) => {
            let until: Timestamp = until
                .parse()
                .map_err(|_| format!("`{until}` is no time; write such as `2026-05-01T12:00:00Z`"))?;
            let left = until.as_second() - now.as_second();
            Some(u64::try_from(left).unwrap_or_default())
        }
        (None, None) => None,
    };
    match secs {
        Some(0) => return Err("the end is over already".to_owned()),
        Some(secs) if secs > SECS_MAX => return Err("the end is too far away".to_owned()),
        _ => {}
    }
    Ok(Wanted { kind, net, rate, policy: None, secs, by: who.to_owned(), comment: body.comment })
}

/// What `?ip=…&protocol=…&port=…&interface=…&direction=…` asks.
fn asked(query: &str) -> Result<Asked, String> {
    let (mut ip, mut protocol, mut port, mut interface) = (None, None, None, None);
    let mut direction = Direction::Ingress;
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        let no = |expected: &str| format!("`{value}` is no {expected}");
        match name.as_ref() {
            "ip" => ip = Some(value.parse::<IpAddr>().map_err(|_| no("address"))?),
            "protocol" => {
                let number = match value.as_ref() {
                    "tcp" => Some(TCP),
                    "udp" => Some(UDP),
                    "sctp" => Some(SCTP),
                    "icmp" => Some(ICMP),
                    "icmpv6" => Some(ICMP6),
                    other => other.parse().ok(),
                };
                protocol = Some(number.ok_or_else(|| no("protocol"))?);
            }
            "port" => port = Some(value.parse().map_err(|_| no("port"))?),
            "interface" => interface = Some(value.into_owned()),
            "direction" => {
                let found = Direction::ALL.into_iter().find(|way| way.name() == value);
                direction = found.ok_or_else(|| no("direction"))?;
            }
            other => return Err(format!("there is nothing to ask by `{other}`")),
        }
    }
    let ip = ip.ok_or_else(|| "say which: `?ip=ADDRESS`".to_owned())?;
    Ok(Asked { ip, protocol, port, interface, direction })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_are_read_and_their_faults_named() {
        let now: Timestamp = "2026-05-01T12:00:00Z".parse().unwrap();
        let read = |kind, body: &str| wanted(kind, "me", body.as_bytes(), now);
        let grant = read(Kind::Grant, r#"{"net":"192.0.2.77/24","rate":"5k/m","for_secs":60}"#).unwrap();
        assert_eq!((grant.net.to_string().as_str(), grant.secs), ("192.0.2.0/24", Some(60)));
        assert_eq!(grant.rate, Some(Rate { amount: 5000, period_secs: 60, burst: 83 }));
        let until = read(Kind::Deny, r#"{"net":"2001:db8::1","until":"2026-05-01T14:00:00+02:00"}"#);
        assert_eq!(until.unwrap_err(), "the end is over already");
        let until = read(Kind::Deny, r#"{"net":"2001:db8::1","until":"2026-05-01T15:00:00+02:00"}"#);
        assert_eq!(until.unwrap().secs, Some(3600));
        assert_eq!(read(Kind::Allow, r#"{"net":"192.0.2.1"}"#).unwrap().secs, None);
        for (kind, body) in [
            (Kind::Deny, "{}"),
            (Kind::Deny, r#"{"net":"nobody"}"#),
            (Kind::Deny, r#"{"net":"192.0.2.1","rate":"1/s"}"#),
            (Kind::Deny, r#"{"net":"192.0.2.1","burst":1}"#),
            (Kind::Deny, r#"{"net":"192.0.2.1","for":1}"#),
            (Kind::Deny, r#"{"net":"192.0.2.1","until":"soon"}"#),
            (Kind::Deny, r#"{"net":"192.0.2.1","until":"2027-01-01T00:00:00Z","for_secs":1}"#),
            (Kind::Deny, r#"{"net":"192.0.2.1","for_secs":99999999999}"#),
            (Kind::Grant, r#"{"net":"192.0.2.1","for_secs":1}"#),
            (Kind::Grant, r#"{"net":"192.0.2.1","rate":"much","for_secs":1}"#),
        ] {
            assert!(read(kind, body).is_err(), "{body}");
        }
    }

    #[test]
    fn questions_are_read() {
        let all = asked("ip=2001%3Adb8%3A%3A1&protocol=udp&port=53&interface=eth0&direction=egress").unwrap();
        assert_eq!((all.ip.to_string().as_str(), all.protocol), ("2001:db8::1", Some(UDP)));
        assert_eq!((all.port, all.interface.as_deref()), (Some(53), Some("eth0")));
        assert_eq!(all.direction, Direction::Egress);
        assert_eq!(asked("ip=192.0.2.1").unwrap().port, None);
        for wrong in ["", "ip=x", "ip=1.2.3.4&port=x", "ip=1.2.3.4&protocol=x", "ip=1.2.3.4&who=x"] {
            assert!(asked(wrong).is_err(), "{wrong}");
        }
    }
}
