//! `/login`, `/logout` and `/me`: a name and a password become a token for the working day.
//!
//! Checks of passwords are few at a time and slow on purpose; tries are throttled by name and by address. A login gives
//! the token as an answer, for programs, and as a cookie that scripts cannot read, for the page.

use std::{net::SocketAddr, sync::Arc, time::Instant};

use axum::{
    Extension, Json,
    extract::{ConnectInfo, State, connect_info::Connected, rejection::JsonRejection},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{Html, IntoResponse, Response},
    serve::IncomingStream,
};
use serde::Deserialize;
use serde_json::json;
use tokio::{net::TcpListener, sync::Semaphore, task::spawn_blocking};

use super::{door, fault, json as answer};
use crate::{
    audit::Note,
    identity::{
        IdentityError,
        access::{Access, Caller, now_secs},
        items::{self, Refusal, User},
        jwt::{Claims, Signed},
        password,
        revoked::What,
        throttle::Throttle,
    },
    ingest::now_ns,
    store::identity::{Change, Expect, Kind},
    telemetry::Metrics,
    tls::Handshaken,
};

/// How long a login holds, seconds.
const LOGIN_SECS: u64 = 12 * 3600;
/// Passwords checked at a time: each costs a processor for some tenths of a second.
const CHECKS: usize = 2;
/// Longest name.
const NAME_MAX: usize = 128;

/// What logins need.
#[derive(Debug)]
pub struct Logins {
    /// The door.
    pub access: Arc<Access>,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// Whether the page comes over TLS.
    pub is_tls: bool,
    throttle: Throttle,
    checks: Semaphore,
}

impl Logins {
    /// No failures so far.
    pub fn new(access: Arc<Access>, metrics: Arc<Metrics>, is_tls: bool) -> Self {
        Self { access, metrics, is_tls, throttle: Throttle::default(), checks: Semaphore::new(CHECKS) }
    }
}

/// Where a request comes from.
#[derive(Clone, Copy, Debug)]
pub struct From(SocketAddr);

impl Connected<IncomingStream<'_, TcpListener>> for From {
    fn connect_info(stream: IncomingStream<'_, TcpListener>) -> Self {
        Self(*stream.remote_addr())
    }
}

impl Connected<IncomingStream<'_, Handshaken>> for From {
    fn connect_info(stream: IncomingStream<'_, Handshaken>) -> Self {
        Self(*stream.remote_addr())
    }
}

/// What is sent to log in.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Asked {
    user: String,
    password: String,
}

/// The page.
pub(super) async fn page() -> Html<&'static str> {
    Html(include_str!("login.html"))
}

pub(super) async fn login(
    State(logins): State<Arc<Logins>>,
    ConnectInfo(From(from)): ConnectInfo<From>,
    asked: Result<Json<Asked>, JsonRejection>,
) -> Response {
    let Json(Asked { user, password }) = match asked {
        Ok(asked) => asked,
        Err(error) => return fault(error.status(), &error.body_text()),
    };
    if logins.access.keys.is_none() {
        return fault(StatusCode::NOT_FOUND, "no login is needed here");
    }
    if user.len() > NAME_MAX || password.len() > password::LONGEST {
        return fault(StatusCode::BAD_REQUEST, "the name or the password is too long");
    }
    let count = |outcome: &str| logins.metrics.logins.with_label_values(&[outcome]).inc();
    let keys = [format!("user {user}"), format!("from {}", from.ip())];
    if let Some(wait) = logins.throttle.begin(&keys, Instant::now()) {
        count("throttled");
        let mut refused = fault(StatusCode::TOO_MANY_REQUESTS, "too many tries, wait a little");
        let secs = HeaderValue::from(wait.as_secs() + 1);
        refused.headers_mut().insert(header::RETRY_AFTER, secs);
        return refused;
    }
    match check(&logins, user.clone(), password, from).await {
        Ok(Some((token, claims))) => {
            logins.throttle.clear(&keys);
            count("accepted");
            let body = json!({ "token": token, "role": claims.role, "expires": claims.exp });
            let mut response = answer(body.to_string());
            if let Ok(cookie) = cookie(&token, LOGIN_SECS, logins.is_tls) {
                response.headers_mut().insert(header::SET_COOKIE, cookie);
            }
            response
        }
        Ok(None) => {
            count("refused");
            tracing::warn!(%from, "A login was refused");
            fault(StatusCode::UNAUTHORIZED, "the name or the password is wrong")
        }
        Err(error) => failed(&error),
    }
}

/// A token for who knows the password; noted in the audit log.
async fn check(
    logins: &Logins,
    user: String,
    password: String,
    from: SocketAddr,
) -> Result<Option<(String, Claims)>, IdentityError> {
    let _turn = logins.checks.acquire().await.map_err(|_| IdentityError::Ending)?;
    let name = user.clone();
    let found = logins
        .access
        .records
        .run(move |book| Ok(items::get::<User>(book, Kind::User, &name)?.map(|(user, _)| user)))
        .await?;
    let (kept, role) = found.map(|user| (user.password, user.role)).unzip();
    let is_right = spawn_blocking(move || password::is_right(&password, kept.as_deref()))
        .await
        .map_err(|_| IdentityError::Ending)?;
    let Some(role) = role.filter(|_| is_right) else { return Ok(None) };
    let Signed { token, claims, key } = logins.access.sign(&user, role, LOGIN_SECS)?;
    let detail = format!("from {}, token {}", from.ip(), claims.jti);
    let note = Note::new(format!("user:{user}"), "login", user, detail);
    logins.access.records.run(move |book| Ok(book.change(&[key], &note, now_ns())?)).await?;
    Ok(Some((token, claims)))
}

/// Takes the token back and the cookie away.
pub(super) async fn logout(
    State(logins): State<Arc<Logins>>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
) -> Response {
    if !is_json(&headers) {
        return fault(StatusCode::UNSUPPORTED_MEDIA_TYPE, "send `Content-Type: application/json`");
    }
    if let Some((id, ends)) = caller.token {
        let (name, records) = (caller.name, &logins.access.records);
        let done = records.run(move |book| {
            let value = items::write(&Refusal { since_ns: now_ns() })?;
            let change = Change::put(Kind::Revoked, What::Jwt(id.clone()).name(), Expect::Anything, value);
            let change = change.until(ends.saturating_mul(1_000_000_000));
            Ok(book.change(&[change], &Note::new(name, "logout", id, ""), now_ns())?)
        });
        if let Err(error) = done.await {
            return failed(&error);
        }
    }
    let mut response = answer(json!({ "status": "bye" }).to_string());
    if let Ok(cookie) = cookie("", 0, logins.is_tls) {
        response.headers_mut().insert(header::SET_COOKIE, cookie);
    }
    response
}

/// Who the caller is.
pub(super) async fn me(Extension(caller): Extension<Caller>) -> Response {
    let left = caller.token.map(|(_, ends)| ends.saturating_sub(now_secs()));
    answer(json!({ "name": caller.name, "role": caller.role, "seconds": left }).to_string())
}

/// A page of another origin cannot send this kind without being asked first, and the answer would be no.
pub(super) fn is_json(headers: &HeaderMap) -> bool {
    headers.get(header::CONTENT_TYPE).is_some_and(|kind| kind == "application/json")
}

/// An identity question could not be answered; why is in the log.
pub(super) fn failed(error: &IdentityError) -> Response {
    tracing::error!("Identities do not work: {error}");
    fault(StatusCode::SERVICE_UNAVAILABLE, "the store does not work at the moment").into_response()
}

fn cookie(token: &str, secs: u64, is_tls: bool) -> Result<HeaderValue, header::InvalidHeaderValue> {
    let secure = if is_tls { "; Secure" } else { "" };
    let name = door::COOKIE;
    HeaderValue::from_str(&format!(
        "{name}={token}; Path=/; HttpOnly; SameSite=Strict; Max-Age={secs}{secure}"
    ))
}
