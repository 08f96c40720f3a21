//! One HTTP request, and whether a failure is worth another try.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{Request, StatusCode, header};
use tokio::time::timeout;
use tracing::{Instrument, Span, field::Empty, info_span};

use super::{
    Outgoing,
    channel::{Channel, Facts, Kind},
};
use crate::{
    outbound::{Pool, in_full, pool},
    traces::{TARGET, context},
};

/// Time for a whole request.
const LIMIT: Duration = Duration::from_secs(10);
/// Bytes of an answer that are read.
const ANSWER_MAX: usize = 4096;
/// Letters of an answer that are kept for people.
const REASON_MAX: usize = 200;

/// Why something was not told.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// TLS cannot be used.
    #[error("cannot read the machine's certificates: {0}")]
    Certificates(std::io::Error),
    /// The request cannot be made of the settings.
    #[error("the request cannot be made: {0}")]
    Request(hyper::http::Error),
    /// Nobody answered.
    #[error("no answer: {0}")]
    Connection(String),
    /// Nobody answered in time.
    #[error("no answer within {} s", LIMIT.as_secs())]
    Timeout,
    /// A mail was not taken.
    #[error("the mail server: {text}")]
    Mail {
        /// Whether it said that it never will.
        is_final: bool,
        /// What it said.
        text: String,
    },
    /// The answer was no.
    #[error("answered {status}: {text}")]
    Status {
        /// How.
        status: StatusCode,
        /// What it said.
        text: String,
    },
}

/// Connections to all channels.
#[derive(Clone, Debug)]
pub(super) struct Client {
    pool: Pool,
}

impl Fault {
    /// Whether the same request would never work.
    pub fn is_final(&self) -> bool {
        match self {
            Self::Request(_) => true,
            Self::Status { status, .. } => {
                let may_pass =
                    [StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_EARLY, StatusCode::TOO_MANY_REQUESTS];
                !status.is_server_error() && !may_pass.contains(status)
            }
            Self::Mail { is_final, .. } => *is_final,
            Self::Certificates(_) | Self::Connection(_) | Self::Timeout => false,
        }
    }
}

impl Client {
    pub(super) fn new() -> Result<Self, Fault> {
        Ok(Self { pool: pool(None).map_err(Fault::Certificates)? })
    }

    /// Tells a channel of something, in the channel's own words.
    pub(super) async fn tell(&self, channel: &Channel, mut facts: Facts) -> Result<(), Fault> {
        channel.template.apply(&mut facts);
        if let Kind::Smtp(mail) = &channel.kind {
            return mail.send(&facts).await;
        }
        for request in channel.requests(&facts) {
            self.send(&request).await?;
        }
        Ok(())
    }

    /// Sends it; an answer from 200 to 299 is success.
    pub(super) async fn send(&self, outgoing: &Outgoing) -> Result<(), Fault> {
        let mut request = Request::builder()
            .method(outgoing.method)
            .uri(&outgoing.url)
            .header(header::CONTENT_TYPE, outgoing.content_type)
            .header(header::USER_AGENT, "Rampart");
        for (name, value) in &outgoing.headers {
            request = request.header(name, value);
        }
        let body = Full::new(Bytes::from(outgoing.body.to_string()));
        let mut request = request.body(body).map_err(Fault::Request)?;
        // Its address is not told: it holds the secret of many a channel.
        let span = info_span!(
            target: TARGET,
            "http",
            otel.name = outgoing.method,
            otel.kind = "client",
            otel.status_code = Empty,
            http.request.method = outgoing.method,
            server.address = request.uri().host(),
            http.response.status_code = Empty,
        );
        context::pass_on(&span, request.headers_mut());
        match timeout(LIMIT, self.exchange(request)).instrument(span).await {
            Ok(outcome) => outcome,
            Err(_) => Err(Fault::Timeout),
        }
    }

    async fn exchange(&self, request: Request<Full<Bytes>>) -> Result<(), Fault> {
        let answer = self.pool.request(request).await.map_err(|error| Fault::Connection(in_full(&error)))?;
        let status = answer.status();
        Span::current().record("http.response.status_code", status.as_u16());
        // Read also when it is not wanted, so that the connection can be used again.
        let body = Limited::new(answer.into_body(), ANSWER_MAX).collect().await;
        if status.is_success() {
            return Ok(());
        }
        let text =
            body.map(|body| String::from_utf8_lossy(&body.to_bytes()).into_owned()).unwrap_or_default();
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        Err(Fault::Status { status, text: text.chars().take(REASON_MAX).collect() })
    }
}
