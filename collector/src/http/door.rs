//! Who is let in: each path needs a role, and each request a token that gives it.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Redirect, Response},
};

use super::fault;
use crate::identity::access::{Access, Denied, Role, bearer};

/// Name of the cookie that a login gives.
pub(super) const COOKIE: &str = "rampart";

/// The role that a request needs; `None` for what anybody may ask: whether the collector works, and to log in.
fn needs(method: &Method, path: &str) -> Option<Role> {
    match path {
        "/health" | "/healthz" | "/ready" | "/login" => None,
        "/logout" | "/me" => Some(Role::Viewer),
        "/audit" => Some(Role::Operator),
        // A recording holds what processes read and wrote.
        _ if path.starts_with("/jobs/") && path.ends_with("/result") => Some(Role::Operator),
        // What all nodes do is for few; stopping it and going back is for whoever is on duty.
        "/bundles" | "/rollouts" if method == Method::POST => Some(Role::Admin),
        _ if path.starts_with("/rollouts/") && path.ends_with("/promote") => Some(Role::Admin),
        _ if method == Method::GET || method == Method::HEAD => Some(Role::Viewer),
        _ => Some(Role::Operator),
    }
}

/// The token of a request: a header, or the cookie of a login.
pub(super) fn token(headers: &HeaderMap) -> Option<&str> {
    if let Some(value) = headers.get(header::AUTHORIZATION) {
        return bearer(value.to_str().ok()?);
    }
    let cookies = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    cookies.flat_map(|line| line.split(';')).find_map(|pair| {
        let (name, value) = pair.trim().split_once('=')?;
        (name == COOKIE).then_some(value)
    })
}

/// Lets a request in, with its caller put beside it, or answers in its place.
pub(super) async fn door(State(access): State<Arc<Access>>, mut request: Request, next: Next) -> Response {
    let Some(needs) = needs(request.method(), request.uri().path()) else { return next.run(request).await };
    match access.check_anew(token(request.headers()), needs).await {
        Ok(caller) => {
            request.extensions_mut().insert(caller);
            next.run(request).await
        }
        Err(denied @ Denied::Role(_)) => fault(StatusCode::FORBIDDEN, &denied.to_string()),
        Err(denied) => {
            let is_page = request.method() == Method::GET
                && request.headers().get(header::ACCEPT).is_some_and(wants_a_page);
            if is_page {
                return Redirect::to("/login").into_response();
            }
            let mut answer = fault(StatusCode::UNAUTHORIZED, &denied.to_string());
            answer.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            answer
        }
    }
}

fn wants_a_page(value: &HeaderValue) -> bool {
    value.to_str().is_ok_and(|value| value.contains("text/html"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_comes_as_a_header_or_a_cookie() {
        let of = |name: &'static str, value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(name, HeaderValue::from_static(value));
            token(&headers).map(str::to_owned)
        };
        assert_eq!(of("authorization", "Bearer a.b.c").as_deref(), Some("a.b.c"));
        assert_eq!(of("authorization", "bearer  a").as_deref(), Some("a"));
        assert_eq!(of("authorization", "Basic a"), None);
        assert_eq!(of("cookie", "x=1; rampart=a.b.c; y=2").as_deref(), Some("a.b.c"));
        assert_eq!(of("cookie", "notrampart=1"), None);
        assert_eq!(needs(&Method::POST, "/dead/redrive"), Some(Role::Operator));
        assert_eq!(needs(&Method::GET, "/jobs/1/result"), Some(Role::Operator));
        assert_eq!(needs(&Method::GET, "/jobs/1"), Some(Role::Viewer));
        assert_eq!(needs(&Method::GET, "/whatever/comes"), Some(Role::Viewer));
        assert_eq!(needs(&Method::GET, "/rollouts"), Some(Role::Viewer));
        for path in ["/bundles", "/rollouts", "/rollouts/1/promote"] {
            assert_eq!(needs(&Method::POST, path), Some(Role::Admin), "{path}");
        }
        for path in ["/rollouts/1/pause", "/rollouts/1/resume", "/rollouts/1/rollback"] {
            assert_eq!(needs(&Method::POST, path), Some(Role::Operator), "{path}");
        }
        assert_eq!(needs(&Method::PUT, "/whatever/comes"), Some(Role::Operator));
    }
}
