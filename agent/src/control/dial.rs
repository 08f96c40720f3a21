//! Connections to the collector: plain on loopback, by certificates from files, or by one that the collector has made.

use std::{fs, io, net::IpAddr, path::PathBuf, time::Duration};

use tokio::{net::lookup_host, time::timeout};
use tonic::{
    Status as Answer,
    transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity as Shown},
};

use super::{
    identity::{Identity, IdentityError},
    join::Joined,
};
use crate::config::Join;

/// Time for the collector's name.
const LOOKUP_MAX: Duration = Duration::from_secs(5);

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
    /// The collector's addresses; none when nobody knows its name now.
    pub(super) async fn addresses(&self) -> Vec<IpAddr> {
        let Some(host) = self.endpoint.uri().host() else { return Vec::new() };
        let host = host.trim_start_matches('[').trim_end_matches(']');
        if let Ok(address) = host.parse() {
            return vec![address];
        }
        // A port is asked for, and of no account.
        let found = timeout(LOOKUP_MAX, lookup_host((host, 0))).await;
        let Ok(Ok(found)) = found else { return Vec::new() };
        found.map(|one| one.ip()).collect()
    }

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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_collector_is_found_by_its_name_or_address() {
        let addresses = async |url: &'static str| {
            Dialer { endpoint: Endpoint::from_static(url), joined: None }.addresses().await
        };
        let parsed = |text: &str| vec![text.parse::<IpAddr>().unwrap()];
        assert_eq!(addresses("https://192.0.2.7:7443").await, parsed("192.0.2.7"));
        assert_eq!(addresses("https://[2001:db8::7]:7443").await, parsed("2001:db8::7"));
        assert!(addresses("http://localhost:7443").await.iter().any(IpAddr::is_loopback));
        assert_eq!(addresses("https://collector.invalid:7443").await, Vec::<IpAddr>::new());
    }
}
