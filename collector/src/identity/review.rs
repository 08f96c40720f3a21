//! The second proof of who an agent is: a token that Kubernetes gave its pod, which the API server is asked about.
//!
//! The token must be for us (its audience), of a service account that may join, and say on which node its pod runs; a
//! cluster that does not say that (before 1.30) cannot be used, as any pod could join as any node.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{Method, Request, StatusCode, Uri, header};
use hyper_rustls::{ConfigBuilderExt as _, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{CertificateDer, pem::PemObject};
use serde::Deserialize;
use tokio::time::timeout;

use super::{IdentityError, authority::fault};

/// Time for an answer.
const LIMIT: Duration = Duration::from_secs(10);
/// Largest answer.
const ANSWER_MAX: usize = 64 << 10;
/// What the API server says of a token's pod.
const NODE: &str = "authentication.kubernetes.io/node-name";

/// How to ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The API server, such as `https://kubernetes.default.svc`.
    pub server: String,
    /// Who signs its certificate; none for `http`.
    pub ca: Option<PathBuf>,
    /// Our own token, read anew for each question: it is exchanged while we run.
    pub token: PathBuf,
    /// For whom tokens must be.
    pub audience: String,
    /// Who may join: `NAMESPACE:NAME`.
    pub accounts: Vec<String>,
}

/// Asks the API server.
#[derive(Clone, Debug)]
pub struct Review {
    settings: Settings,
    uri: Uri,
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
}

/// Why a token proves nothing.
#[derive(Debug, thiserror::Error)]
pub enum Doubt {
    /// Our own token cannot be read.
    #[error("the collector's own token cannot be read")]
    Own(#[source] io::Error),
    /// The API server does not answer as it should.
    #[error("the API server does not answer: {0}")]
    Server(String),
    /// It does not know the token.
    #[error("the API server does not know this token: {0}")]
    Unknown(String),
    /// It is for somebody else.
    #[error("the token is for another audience")]
    Audience,
    /// It is not an account that may join.
    #[error("`{0}` may not join")]
    Account(String),
    /// It does not say where the pod runs.
    #[error("the API server does not say on which node the token's pod runs (Kubernetes 1.30 and later do)")]
    NoNode,
    /// The pod runs elsewhere.
    #[error("the token's pod runs on `{0}`")]
    OtherNode(String),
}

#[derive(Debug, Default, Deserialize)]
struct Answer {
    #[serde(default)]
    status: Status,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Status {
    authenticated: bool,
    audiences: Vec<String>,
    error: String,
    user: User,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct User {
    username: String,
    extra: BTreeMap<String, Vec<String>>,
}

impl Review {
    /// Prepares questions; asks nobody yet.
    pub fn new(settings: Settings) -> Result<Self, IdentityError> {
        let roots = ClientConfig::builder_with_provider(rustls::crypto::ring::default_provider().into())
            .with_safe_default_protocol_versions()?;
        let config = match &settings.ca {
            None if settings.server.starts_with("http:") => {
                roots.with_root_certificates(RootCertStore::empty())
            }
            None => {
                roots.with_native_roots().map_err(fault("read", Path::new("the machine's certificates")))?
            }
            Some(path) => {
                let text = fs::read(path).map_err(fault("read", path))?;
                let mut store = RootCertStore::empty();
                for certificate in CertificateDer::pem_slice_iter(&text) {
                    let certificate = certificate.map_err(|_| IdentityError::Unusable {
                        path: path.clone(),
                        problem: "holds a certificate that cannot be read",
                    })?;
                    store.add(certificate)?;
                }
                roots.with_root_certificates(store)
            }
        };
        let https = HttpsConnectorBuilder::new().with_tls_config(config.with_no_client_auth());
        let client =
            Client::builder(TokioExecutor::new()).build(https.https_or_http().enable_http1().build());
        let place =
            format!("{}/apis/authentication.k8s.io/v1/tokenreviews", settings.server.trim_end_matches('/'));
        let uri = place.parse().map_err(|_| IdentityError::Unusable {
            path: PathBuf::from(&settings.server),
            problem: "is no address of an API server",
        })?;
        Ok(Self { settings, uri, client })
    }

    /// The account whose token this is, when it proves that an agent is on this node.
    pub async fn account(&self, token: &str, node: &str) -> Result<String, Doubt> {
        let status = self.ask(token).await?;
        if !status.authenticated {
            return Err(Doubt::Unknown(status.error.chars().take(200).collect()));
        }
        if !status.audiences.contains(&self.settings.audience) {
            return Err(Doubt::Audience);
        }
        let account = status.user.username.strip_prefix("system:serviceaccount:").unwrap_or_default();
        if !self.settings.accounts.iter().any(|known| known == account) {
            return Err(Doubt::Account(status.user.username));
        }
        match status.user.extra.get(NODE).map(Vec::as_slice) {
            Some([named]) if named == node => Ok(account.to_owned()),
            Some([named]) => Err(Doubt::OtherNode(named.clone())),
            _ => Err(Doubt::NoNode),
        }
    }

    async fn ask(&self, token: &str) -> Result<Status, Doubt> {
        let own = fs::read_to_string(&self.settings.token).map_err(Doubt::Own)?;
        let body = serde_json::json!({
            "apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview",
            "spec": { "token": token, "audiences": [self.settings.audience] },
        });
        let request = Request::builder()
            .method(Method::POST)
            .uri(&self.uri)
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::AUTHORIZATION, format!("Bearer {}", own.trim()))
            .body(Full::new(Bytes::from(body.to_string())))
            .map_err(|error| Doubt::Server(error.to_string()))?;
        let exchange = async {
            let answer = self.client.request(request).await.map_err(|error| error.to_string())?;
            let status = answer.status();
            let body = Limited::new(answer.into_body(), ANSWER_MAX).collect().await;
            let body = body.map_err(|error| error.to_string())?.to_bytes();
            if !matches!(status, StatusCode::OK | StatusCode::CREATED) {
                return Err(status.to_string());
            }
            serde_json::from_slice::<Answer>(&body).map_err(|error| error.to_string())
        };
        match timeout(LIMIT, exchange).await {
            Ok(answer) => answer.map(|answer| answer.status).map_err(Doubt::Server),
            Err(_) => Err(Doubt::Server(format!("nothing came within {} s", LIMIT.as_secs()))),
        }
    }
}

#[cfg(test)]
pub(super) mod tests;
