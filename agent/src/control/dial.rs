//! Connections to the collector: plain on loopback, by certificates from files, or by one that the collector has made.

use std::{fs, io, path::PathBuf};

use tonic::{
    Status as Answer,
    transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity as Shown},
};

use super::{
    identity::{Identity, IdentityError},
    join::Joined,
};
use crate::config::Join;

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(super) enum DialError {
    /// The identity cannot be read or kept.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The proof, or whom to trust, cannot be read.
    #[error("cannot read `{}`: {source}", path.display())]
    Proof { path: PathBuf, source: io::Error },
    /// Nothing says whom to trust.
    #[error(
        "the token does not name the collector's authority: is it one of `rampart-collector token create`?"
    )]
    Nobody,
    /// Certificates cannot be used.
    #[error("cannot use the certificates: {0}")]
    Tls(#[from] tonic::transport::Error),
    /// The collector said no.
    #[error("the collector makes no certificate: {}", .0.message())]
    Answer(#[from] Answer),
    /// It does not answer.
    #[error("the collector makes no certificate: it does not answer")]
    Silent,
}

/// Makes connections.
#[derive(Debug)]
pub(super) struct Dialer {
    pub(super) endpoint: Endpoint,
    /// Where the collector makes the certificate.
    pub(super) joined: Option<Joined>,
}

impl Dialer {
    /// A channel, and the identity that it shows.
    pub(super) async fn dial(&self) -> Result<(Channel, Option<Identity>), DialError> {
        let Some(joined) = &self.joined else { return Ok((self.endpoint.connect_lazy(), None)) };
        let identity = joined.identity(&self.endpoint).await?;
        Ok((secure(&self.endpoint, joined.settings(), &identity)?.connect_lazy(), Some(identity)))
    }

    /// The same with the next identity.
    pub(super) async fn redial(&self, old: &Identity) -> Result<(Channel, Option<Identity>), DialError> {
        let Some(joined) = &self.joined else { return Ok((self.endpoint.connect_lazy(), None)) };
        let identity = joined.renew(&self.endpoint, old).await?;
        Ok((secure(&self.endpoint, joined.settings(), &identity)?.connect_lazy(), Some(identity)))
    }
}

/// An endpoint that shows an identity, and trusts whom that and the settings name.
pub(super) fn secure(endpoint: &Endpoint, join: &Join, identity: &Identity) -> Result<Endpoint, DialError> {
    let Some(given) = &identity.given else { return Err(DialError::Nobody) };
    let mut trusted = vec![Certificate::from_pem(&given.authorities)];
    if let Some(path) = &join.ca {
        let ca = fs::read(path).map_err(|source| DialError::Proof { path: path.clone(), source })?;
        trusted.push(Certificate::from_pem(ca));
    }
    let tls = ClientTlsConfig::new()
        .ca_certificates(trusted)
        .identity(Shown::from_pem(&given.certificate, identity.key()));
    Ok(endpoint.clone().tls_config(tls)?)
}
