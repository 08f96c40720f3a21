//! Asks a running agent's HTTP server, over TCP or its socket.

use std::{fmt, io, net::SocketAddr, path::PathBuf, time::Duration};

use http_body_util::{BodyExt, Full, Limited};
use hyper::{Method, Request, body::Bytes, client::conn::http1, header};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
    time::timeout,
};

/// Time for the whole exchange: a healthy agent on the same machine answers in a few milliseconds.
const TIMEOUT: Duration = Duration::from_secs(3);
/// The same for changes, which the agent puts in force before it answers.
const CHANGE_TIMEOUT: Duration = Duration::from_secs(15);
/// Largest answer taken, bytes.
const BODY_MAX: usize = 8 << 20;

/// Where an agent listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// Over TCP.
    Tcp(SocketAddr),
    /// On its socket.
    Socket(PathBuf),
}

/// What is asked.
#[derive(Clone, Debug)]
pub struct Question<'a> {
    /// `GET`, or a change.
    pub method: Method,
    /// The page.
    pub page: &'a str,
    /// What is sent along; empty for nothing.
    pub body: Vec<u8>,
    /// The token that lets it in.
    pub token: Option<&'a str>,
}

/// An answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// Its body.
    pub body: Vec<u8>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens there.
    #[error("no agent answers at {place}")]
    Refused {
        /// Where.
        place: Place,
    },
    /// The connection failed.
    #[error("cannot reach {place}")]
    Connect {
        /// Where.
        place: Place,
        /// Why.
        source: io::Error,
    },
    /// No answer came in time.
    #[error("no answer from {place} within {} s", limit.as_secs())]
    Slow {
        /// Where.
        place: Place,
        /// The time it had.
        limit: Duration,
    },
    /// What answers there does not speak HTTP.
    #[error("what listens on {place} is no agent")]
    Protocol {
        /// Where.
        place: Place,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl fmt::Display for Place {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(out, "{address}"),
            Self::Socket(path) => write!(out, "`{}`", path.display()),
        }
    }
}

/// Gets one page.
pub async fn get(address: SocketAddr, page: &str) -> Result<Answer, ClientError> {
    let question = Question { method: Method::GET, page, body: Vec::new(), token: None };
    ask(&Place::Tcp(address), question).await
}

/// Asks anything.
pub async fn ask(place: &Place, question: Question<'_>) -> Result<Answer, ClientError> {
    let limit = if question.method == Method::GET { TIMEOUT } else { CHANGE_TIMEOUT };
    let slow = |_| ClientError::Slow { place: place.clone(), limit };
    timeout(limit, connect(place, question)).await.map_err(slow)?
}

async fn connect(place: &Place, question: Question<'_>) -> Result<Answer, ClientError> {
    let fault = |source: io::Error| match source.kind() {
        io::ErrorKind::ConnectionRefused => ClientError::Refused { place: place.clone() },
        io::ErrorKind::NotFound if matches!(place, Place::Socket(_)) => {
            ClientError::Refused { place: place.clone() }
        }
        _ => ClientError::Connect { place: place.clone(), source },
    };
    let answer = match place {
        Place::Tcp(address) => {
            let stream = TcpStream::connect(address).await.map_err(fault)?;
            exchange(stream, &address.to_string(), question).await
        }
        Place::Socket(path) => {
            let stream = UnixStream::connect(path).await.map_err(fault)?;
            exchange(stream, "agent", question).await
        }
    };
    answer.map_err(|source| ClientError::Protocol { place: place.clone(), source })
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    host: &str,
    question: Question<'_>,
) -> Result<Answer, Box<dyn std::error::Error + Send + Sync>> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let mut request = Request::builder()
        .method(question.method)
        .uri(question.page)
        .header(header::HOST, host)
        .header(header::CONNECTION, "close");
    if let Some(token) = question.token {
        request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
    }
    if !question.body.is_empty() {
        request = request.header(header::CONTENT_TYPE, "application/json");
    }
    let request = request.body(Full::new(Bytes::from(question.body)))?;
    let answer = async {
        let response = sender.send_request(request).await?;
        let status = response.status().as_u16();
        let body = Limited::new(response.into_body(), BODY_MAX).collect().await?;
        Ok(Answer { status, body: body.to_bytes().to_vec() })
    };
    // The connection moves the bytes while the answer is awaited; its own end says nothing more.
    let (answer, _) = tokio::join!(answer, connection);
    answer
}
