//! HTTP over a unix socket, one request a connection, bounded.

use std::path::Path;

use http_body_util::{BodyExt, Empty, Limited};
use hyper::{Request, StatusCode, body::Bytes, client::conn::http1, header};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::UnixStream;

use super::LookupError;

/// Largest answer taken, bytes; inspecting a container with thousands of labels stays far below.
const BODY_MAX: usize = 4 << 20;

/// Gets a JSON document; `None` when there is none of that name.
pub(super) async fn get(socket: &Path, page: &str) -> Result<Option<Value>, LookupError> {
    let stream = UnixStream::connect(socket)
        .await
        .map_err(|source| LookupError::Connect { socket: socket.to_owned(), source })?;
    let fault = |source| LookupError::Http { socket: socket.to_owned(), source };
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|error| fault(error.into()))?;
    let request = Request::get(page)
        .header(header::HOST, "localhost")
        .header(header::CONNECTION, "close")
        .body(Empty::<Bytes>::new())
        .map_err(|error| fault(error.into()))?;
    let answer = async {
        let response = sender.send_request(request).await.map_err(|error| fault(error.into()))?;
        let status = response.status();
        if status == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        if !status.is_success() {
            return Err(LookupError::Status { socket: socket.to_owned(), status: status.as_u16() });
        }
        let body = Limited::new(response.into_body(), BODY_MAX).collect().await.map_err(fault)?;
        serde_json::from_slice(&body.to_bytes()).map(Some).map_err(|error| fault(error.into()))
    };
    tokio::pin!(answer);
    // The connection moves the bytes while the answer is awaited; once that is there, it is dropped.
    tokio::select! {
        biased;
        answer = &mut answer => answer,
        ended = connection => {
            ended.map_err(|error| fault(error.into()))?;
            answer.await
        }
    }
}
