//! Getting a text from the web, again only when it has changed.
//!
//! One client for all lists that the agent is fed with. Bounded in size and time; redirects are not followed. Owns the
//! exchange; what is in the text and where it is kept is the caller's. Called by `app`.

use std::{io, time::Duration};

use http_body_util::{BodyExt as _, Empty, LengthLimitError, Limited};
use hyper::{
    HeaderMap, Request, StatusCode, Uri,
    body::Bytes,
    header::{self, HeaderName, HeaderValue},
};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{self, connect::HttpConnector},
    rt::TokioExecutor,
};
use tokio::time::timeout;

/// Time for a whole exchange.
const PATIENCE: Duration = Duration::from_mins(1);
/// Most headers that a file adds.
const HEADERS_MAX: usize = 32;

/// Why a text was not got.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// No answer, or only a part of one.
    #[error("it cannot be reached")]
    Request(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Too much of an answer.
    #[error("it has more than {0} bytes")]
    TooLarge(usize),
    /// Another answer.
    #[error("it answered with status {0}")]
    Status(StatusCode),
    /// None in time.
    #[error("it did not answer within {} s", PATIENCE.as_secs())]
    Slow,
}

/// What names a version of a text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Version {
    /// `ETag`.
    pub etag: Option<String>,
    /// `Last-Modified`.
    pub modified: Option<String>,
}

/// What was found.
#[derive(Debug, PartialEq, Eq)]
pub enum Fetched {
    /// The version that is known.
    Same,
    /// A text, and what names its version.
    Text(Bytes, Version),
}

/// What is wanted.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// Where.
    pub url: &'a str,
    /// The version that is known.
    pub known: Option<&'a Version>,
    /// More headers.
    pub headers: Option<&'a HeaderMap>,
    /// Largest text, bytes.
    pub most: usize,
}

/// The client.
#[derive(Clone, Debug)]
pub struct Fetcher(legacy::Client<HttpsConnector<HttpConnector>, Empty<Bytes>>);

impl Fetcher {
    /// A client that trusts whom the node trusts.
    pub fn new() -> io::Result<Self> {
        let connector =
            HttpsConnectorBuilder::new().with_native_roots()?.https_or_http().enable_http1().build();
        let client = legacy::Client::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build(connector);
        Ok(Self(client))
    }

    /// Gets a text, unless it is still the version that is known.
    pub async fn fetch(&self, wanted: Wanted<'_>) -> Result<Fetched, FetchError> {
        let mut request = Request::get(wanted.url)
            .header(header::USER_AGENT, concat!("rampart/", env!("CARGO_PKG_VERSION")))
            .body(Empty::new())
            .map_err(|error| FetchError::Request(error.into()))?;
        if let Some(more) = wanted.headers {
            request.headers_mut().extend(more.clone());
        }
        if let Some(known) = wanted.known {
            for (name, value) in
                [(header::IF_NONE_MATCH, &known.etag), (header::IF_MODIFIED_SINCE, &known.modified)]
            {
                if let Some(value) = value.as_ref().and_then(|value| HeaderValue::from_str(value).ok()) {
                    request.headers_mut().insert(name, value);
                }
            }
        }
        let exchange = async {
            let response =
                self.0.request(request).await.map_err(|error| FetchError::Request(error.into()))?;
            match response.status() {
                StatusCode::OK => {}
                // Nobody who was not asked about a version has one to be the same as.
                StatusCode::NOT_MODIFIED if wanted.known.is_some() => return Ok(Fetched::Same),
                other => return Err(FetchError::Status(other)),
            }
            let said = |name| {
                let value = response.headers().get(name)?;
                value.to_str().ok().map(str::to_owned)
            };
            let version = Version { etag: said(header::ETAG), modified: said(header::LAST_MODIFIED) };
            let body = Limited::new(response.into_body(), wanted.most).collect().await;
            let body = body.map_err(|error| match error.downcast::<LengthLimitError>() {
                Ok(_) => FetchError::TooLarge(wanted.most),
                Err(error) => FetchError::Request(error),
            })?;
            Ok(Fetched::Text(body.to_bytes(), version))
        };
        timeout(PATIENCE, exchange).await.map_err(|_| FetchError::Slow)?
    }
}

/// A web address without what may be a secret; `None` when it is none.
pub fn shown(url: &str) -> Option<String> {
    let uri = url.parse::<Uri>().ok()?;
    let port = uri.port_u16().map_or_else(String::new, |port| format!(":{port}"));
    let scheme = uri.scheme_str().unwrap_or("http");
    Some(format!("{scheme}://{}{port}{}", uri.host().unwrap_or_default(), uri.path()))
}

/// Reads headers, a line each: `Name: value`. The error names the line, never its text, which may be a secret.
pub fn headers(text: &str) -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::new();
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let parsed = line.split_once(':').and_then(|(name, value)| {
            let mut value = HeaderValue::from_str(value.trim()).ok()?;
            value.set_sensitive(true);
            Some((HeaderName::from_bytes(name.trim().as_bytes()).ok()?, value))
        });
        let Some((name, value)) = parsed else {
            return Err(format!("line {number} is no header such as `Authorization: Bearer …`"));
        };
        if headers.len() >= HEADERS_MAX {
            return Err(format!("line {number} is one header too many, {HEADERS_MAX} are allowed"));
        }
        headers.append(name, value);
    }
    Ok(headers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_shown_without_secrets() {
        let shown = |url| shown(url).unwrap();
        assert_eq!(shown("https://who:what@example.org:8443/a/b?token=c"), "https://example.org:8443/a/b");
        assert_eq!(shown("http://example.org"), "http://example.org/");
    }

    #[test]
    fn headers_are_read_and_their_faults_do_not_tell_secrets() {
        let read = headers("# a token\nAuthorization: Bearer s3cret\nX-Key: a:b\n\n").unwrap();
        assert_eq!(read.get("x-key").unwrap(), "a:b");
        assert!(!format!("{read:?}").contains("s3cret"));
        for bad in ["s3cret", "Authoriz ation: s3cret", "A: s3cret\u{1}"] {
            let fault = headers(&format!("\n{bad}")).unwrap_err();
            assert!(fault.starts_with("line 2 ") && !fault.contains("s3cret"), "{fault}");
        }
        assert!(headers(&"A: b\n".repeat(HEADERS_MAX + 1)).unwrap_err().starts_with("line 33 "));
    }
}
