//! Who may change things: root or the agent's own user on the socket, and whoever has the token over HTTP.
//!
//! A page that changes something takes a [`Writer`]; without the right it is not reached.

use std::{net::SocketAddr, path::PathBuf, sync::Arc};

use axum::{
    Json,
    extract::{ConnectInfo, FromRef, FromRequestParts, connect_info::Connected},
    http::{
        StatusCode,
        header::{AUTHORIZATION, WWW_AUTHENTICATE},
        request::Parts,
    },
    response::{IntoResponse, Response},
    serve::IncomingStream,
};
use serde_json::json;
use sha2::{Digest as _, Sha256};
use tokio::net::{TcpListener, UnixListener};

use super::{audit::Audit, patience::Listening};

/// A shorter token is guessed too easily.
const TOKEN_MIN: usize = 16;

/// Who is at the other end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Peer {
    /// Somebody over HTTP.
    Remote(SocketAddr),
    /// A process on the socket; `None` when the kernel does not say which.
    Local(Option<Process>),
}

/// A process on the socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Process {
    /// Its user.
    pub uid: u32,
    /// Its id.
    pub pid: Option<i32>,
}

/// What guards changes.
#[derive(Clone, Debug, Default)]
pub struct Guard {
    /// File of the token; read at each use, so that it may be exchanged.
    pub token_file: Option<PathBuf>,
    /// Where changes are noted.
    pub audit: Option<Audit>,
}

/// A caller that may change things.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Writer {
    /// As the audit names it.
    pub who: String,
}

/// Why a caller may not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// There is no token.
    #[error("changes need the agent's socket, or a token (`admin.token_file`)")]
    NoToken,
    /// The token cannot be read or is too short.
    #[error("the agent's token cannot be used: its file must hold at least {TOKEN_MIN} characters")]
    Unusable,
    /// The caller has none, or another one.
    #[error("the token is missing or wrong")]
    Wrong,
}

impl Connected<IncomingStream<'_, Listening<TcpListener>>> for Peer {
    fn connect_info(stream: IncomingStream<'_, Listening<TcpListener>>) -> Self {
        Self::Remote(*stream.remote_addr())
    }
}

impl Connected<IncomingStream<'_, Listening<UnixListener>>> for Peer {
    fn connect_info(stream: IncomingStream<'_, Listening<UnixListener>>) -> Self {
        let found = stream.io().stream().peer_cred().ok();
        Self::Local(found.map(|found| Process { uid: found.uid(), pid: found.pid() }))
    }
}

impl Guard {
    /// Lets a caller in, or says why not.
    async fn admit(&self, peer: Option<&Peer>, token: Option<&str>) -> Result<Writer, Refused> {
        let own = nix::unistd::geteuid().as_raw();
        match peer {
            Some(Peer::Local(Some(process))) if process.uid == 0 || process.uid == own => {
                let pid = process.pid.map_or_else(String::new, |pid| format!(" process {pid}"));
                return Ok(Writer { who: format!("uid {}{pid}", process.uid) });
            }
            _ => {}
        }
        let Some(file) = &self.token_file else { return Err(Refused::NoToken) };
        let kept = tokio::fs::read_to_string(file).await.map_err(|error| {
            tracing::warn!(path = %file.display(), "The token cannot be read: {error}");
            Refused::Unusable
        })?;
        let kept = kept.trim();
        if kept.len() < TOKEN_MIN {
            return Err(Refused::Unusable);
        }
        // Digests are compared, so that the time it takes says nothing about the token.
        let is_same = token.is_some_and(|token| Sha256::digest(token) == Sha256::digest(kept));
        if !is_same {
            return Err(Refused::Wrong);
        }
        Ok(Writer {
            who: match peer {
                Some(Peer::Remote(address)) => format!("token from {address}"),
                _ => "token".to_owned(),
            },
        })
    }
}

impl<S> FromRequestParts<S> for Writer
where
    S: Send + Sync,
    Arc<Guard>: FromRef<S>,
{
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Response> {
        let guard = Arc::<Guard>::from_ref(state);
        let peer = parts.extensions.get::<ConnectInfo<Peer>>().map(|info| info.0.clone());
        let token = parts.headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        let token = token.and_then(|value| value.strip_prefix("Bearer ")).map(str::trim);
        guard.admit(peer.as_ref(), token).await.map_err(|refused| {
            tracing::warn!(?peer, uri = %parts.uri, method = %parts.method, "A change was refused: {refused}");
            let body = Json(json!({ "error": refused.to_string() }));
            match refused {
                Refused::Wrong => {
                    (StatusCode::UNAUTHORIZED, [(WWW_AUTHENTICATE, "Bearer")], body).into_response()
                }
                Refused::NoToken | Refused::Unusable => (StatusCode::FORBIDDEN, body).into_response(),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "0123456789abcdef";

    fn admit(guard: &Guard, peer: &Peer, token: Option<&str>) -> Result<String, Refused> {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(guard.admit(Some(peer), token)).map(|writer| writer.who)
    }

    #[test]
    fn the_socket_knows_its_callers_and_others_need_the_token() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("token");
        let remote = Peer::Remote("127.0.0.1:5".parse().unwrap());
        let local = |uid| Peer::Local(Some(Process { uid, pid: Some(7) }));
        let none = Guard::default();
        let own = nix::unistd::geteuid().as_raw();
        assert_eq!(admit(&none, &local(0), None), Ok("uid 0 process 7".to_owned()));
        assert!(admit(&none, &local(own), None).is_ok());
        assert_eq!(admit(&none, &local(own + 1), None), Err(Refused::NoToken));
        assert_eq!(admit(&none, &Peer::Local(None), None), Err(Refused::NoToken));
        assert_eq!(admit(&none, &remote, Some(TOKEN)), Err(Refused::NoToken));
        let guard = Guard { token_file: Some(file.clone()), ..Guard::default() };
        assert_eq!(admit(&guard, &remote, Some(TOKEN)), Err(Refused::Unusable), "no file");
        std::fs::write(&file, "short\n").unwrap();
        assert_eq!(admit(&guard, &remote, Some("short")), Err(Refused::Unusable));
        std::fs::write(&file, format!("{TOKEN}\n")).unwrap();
        assert_eq!(admit(&guard, &remote, None), Err(Refused::Wrong));
        assert_eq!(admit(&guard, &remote, Some("0123456789abcdeF")), Err(Refused::Wrong));
        assert_eq!(admit(&guard, &remote, Some(TOKEN)), Ok("token from 127.0.0.1:5".to_owned()));
    }
}
