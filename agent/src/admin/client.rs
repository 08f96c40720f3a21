//! Asks a running agent's HTTP server.

use std::{io, net::SocketAddr, time::Duration};

use http_body_util::{BodyExt, Empty, Limited};
use hyper::{Request, body::Bytes, client::conn::http1, header};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, time::timeout};

/// Time for the whole exchange: a healthy agent on the same machine answers in a few milliseconds.
const TIMEOUT: Duration = Duration::from_secs(3);
/// Largest answer taken, bytes.
const BODY_MAX: usize = 8 << 20;

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
    #[error("no agent answers at {address}")]
    Refused {
        /// The address.
        address: SocketAddr,
    },
    /// The connection failed.
    #[error("cannot reach {address}")]
    Connect {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// No answer came in time.
    #[error("no answer from {address} within {} s", TIMEOUT.as_secs())]
    Slow {
        /// The address.
        address: SocketAddr,
    },
    /// What answers there does not speak HTTP.
    #[error("what listens on {address} is no agent")]
    Protocol {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// Gets one page.
pub async fn get(address: SocketAddr, page: &str) -> Result<Answer, ClientError> {
    timeout(TIMEOUT, exchange(address, page)).await.map_err(|_| ClientError::Slow { address })?
}

async fn exchange(address: SocketAddr, page: &str) -> Result<Answer, ClientError> {
    let stream = TcpStream::connect(address).await.map_err(|source| match source.kind() {
        io::ErrorKind::ConnectionRefused => ClientError::Refused { address },
        _ => ClientError::Connect { address, source },
    })?;
    let protocol = |source| ClientError::Protocol { address, source };
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|error| protocol(error.into()))?;
    let request = Request::get(page)
        .header(header::HOST, address.to_string())
        .header(header::CONNECTION, "close")
        .body(Empty::<Bytes>::new())
        .map_err(|error| protocol(error.into()))?;
    let answer = async {
        let response = sender.send_request(request).await.map_err(|error| protocol(error.into()))?;
        let status = response.status().as_u16();
        let body = Limited::new(response.into_body(), BODY_MAX).collect().await.map_err(protocol)?;
        Ok(Answer { status, body: body.to_bytes().to_vec() })
    };
    // The connection moves the bytes while the answer is awaited; its own end says nothing more.
    let (answer, _) = tokio::join!(answer, connection);
    answer
}
