//! How the agent gets its certificate, and the next one.
//!
//! Owns the identity: it is read from the file, asked for with a proof where there is none that is good, and renewed over
//! a connection that shows the one before.

use std::{
    fs,
    path::PathBuf,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use rampart_proto::v1::{EnrolRequest, enrol_request::Proof, identity_service_client::IdentityServiceClient};
use tokio::time::timeout;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};

use super::{
    dial::{DialError, secure},
    identity::{Given, Identity, now_secs},
    trust::{Pinned, of_token},
};
use crate::config::{Join, JoinProof};

/// Time for an answer.
const ANSWER: Duration = Duration::from_secs(20);

/// The agent's identity.
#[derive(Debug)]
pub(super) struct Joined {
    join: Join,
    node: String,
    /// As far as it was read or made.
    kept: Mutex<Option<Identity>>,
}

impl Joined {
    pub(super) fn new(join: Join, node: &str) -> Self {
        Self { join, node: node.to_owned(), kept: Mutex::default() }
    }

    /// How to join.
    pub(super) const fn settings(&self) -> &Join {
        &self.join
    }

    /// The certificate is good no longer in the collector's eyes: the next one is asked for with the proof.
    pub(super) fn doubt(&self) {
        let mut kept = self.kept();
        if let Some(identity) = kept.as_mut() {
            identity.given = None;
        }
    }

    /// An identity that is good; asks for a certificate where there is none.
    pub(super) async fn identity(&self, endpoint: &Endpoint) -> Result<Identity, DialError> {
        let known = self.kept().clone();
        let known = match known {
            Some(identity) => Some(identity),
            None => Identity::load(&self.join.file)?,
        };
        let known = known.filter(|identity| identity.node == self.node);
        let is_good = |given: &Given| !given.has_ended(now_secs());
        let identity = match known {
            Some(identity) if identity.given.as_ref().is_some_and(is_good) => identity,
            // A key that was shown before: a token that it used is good for it once more.
            Some(identity) => self.join(endpoint, identity.without_certificate()).await?,
            None => self.join(endpoint, Identity::new(&self.node)?).await?,
        };
        *self.kept() = Some(identity.clone());
        Ok(identity)
    }

    /// The next identity, asked for over a connection that shows this one.
    pub(super) async fn renew(&self, endpoint: &Endpoint, old: &Identity) -> Result<Identity, DialError> {
        let channel = secure(endpoint, &self.join, old)?.connect_lazy();
        let mut identity = Identity::new(&self.node)?;
        identity.given = Some(ask(channel, &identity, None).await?);
        identity.store(&self.join.file)?;
        *self.kept() = Some(identity.clone());
        Ok(identity)
    }

    async fn join(&self, endpoint: &Endpoint, mut identity: Identity) -> Result<Identity, DialError> {
        let read = |path: &PathBuf| {
            fs::read_to_string(path).map_err(|source| DialError::Proof { path: path.clone(), source })
        };
        let (proof, token) = match &self.join.proof {
            JoinProof::Token(token) => (Proof::JoinToken(token.0.trim().to_owned()), Some(token.0.clone())),
            JoinProof::TokenFile(path) => {
                let token = read(path)?;
                (Proof::JoinToken(token.trim().to_owned()), Some(token))
            }
            JoinProof::ServiceAccount(path) => {
                (Proof::ServiceAccountToken(read(path)?.trim().to_owned()), None)
            }
        };
        let tls = ClientTlsConfig::new();
        let pin = self.join.ca_sha256.or_else(|| token.as_deref().and_then(of_token));
        let endpoint = match (&self.join.ca, pin) {
            (Some(path), _) => {
                let ca = fs::read(path).map_err(|source| DialError::Proof { path: path.clone(), source })?;
                endpoint.clone().tls_config(tls.ca_certificate(Certificate::from_pem(ca)))?
            }
            (None, Some(pin)) => endpoint.clone().tls_config_with_verifier(tls, Pinned::new(pin))?,
            (None, None) => return Err(DialError::Nobody),
        };
        // Before anybody sees the key's request: the answer may be lost.
        identity.store(&self.join.file)?;
        identity.given = Some(ask(endpoint.connect_lazy(), &identity, Some(proof)).await?);
        identity.store(&self.join.file)?;
        tracing::info!(file = %self.join.file.display(), "The collector has made a certificate for this node");
        Ok(identity)
    }

    fn kept(&self) -> MutexGuard<'_, Option<Identity>> {
        // It is replaced whole.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn ask(channel: Channel, identity: &Identity, proof: Option<Proof>) -> Result<Given, DialError> {
    let request = EnrolRequest { node: identity.node.clone(), request: identity.request()?, proof };
    let mut client = IdentityServiceClient::new(channel);
    let asking = timeout(ANSWER, client.enrol(request));
    let answer = asking.await.map_err(|_| DialError::Silent)??.into_inner();
    Ok(Given {
        certificate: answer.certificate,
        authorities: answer.authorities,
        came_secs: now_secs(),
        life_secs: answer.ends_secs.saturating_sub(answer.made_secs),
    })
}
