//! Whom an agent trusts before it has a certificate: an authority of which it knows only the SHA-256.
//!
//! The collector sends its authority's certificate along. Only when that has the known hash is it trusted, and then the
//! collector's own certificate must be signed by it and name the collector, as always.

use std::sync::Arc;

use rustls::{
    CertificateError, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, ring::default_provider, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
};
use sha2::{Digest, Sha256};

/// Trusts the authority with this hash.
#[derive(Debug)]
pub(super) struct Pinned {
    sha256: [u8; 32],
    provider: Arc<CryptoProvider>,
}

impl Pinned {
    /// Trusts the authority whose certificate has this hash.
    pub(super) fn new(sha256: [u8; 32]) -> Arc<Self> {
        Arc::new(Self { sha256, provider: default_provider().into() })
    }
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let known = |certificate: &&CertificateDer<'_>| Sha256::digest(certificate).as_slice() == self.sha256;
        let Some(authority) = intermediates.iter().find(known) else {
            return Err(Error::InvalidCertificate(CertificateError::UnknownIssuer));
        };
        let mut roots = RootCertStore::empty();
        roots.add(authority.clone().into_owned())?;
        let provider = Arc::clone(&self.provider);
        WebPkiServerVerifier::builder_with_provider(roots.into(), provider)
            .build()
            .map_err(|error| Error::General(error.to_string()))?
            .verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// The hash of the authority in a token of the collector, `rj1.ID.SECRET.SHA256`.
pub(super) fn of_token(token: &str) -> Option<[u8; 32]> {
    let digits = token.trim().strip_prefix("rj1.")?.rsplit('.').next()?;
    let mut hash = [0; 32];
    if digits.len() != 64 {
        return None;
    }
    for (at, byte) in hash.iter_mut().enumerate() {
        *byte = u8::from_str_radix(digits.get(2 * at..2 * at + 2)?, 16).ok()?;
    }
    Some(hash)
}

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};

    use super::*;

    fn authority() -> (CertificateDer<'static>, Issuer<'static, KeyPair>) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        let certificate = params.self_signed(&key).unwrap();
        (certificate.into(), Issuer::new(params, key))
    }

    #[test]
    fn only_what_the_pinned_authority_signed_for_this_name_is_trusted() {
        let ((own, issuer), (other, stranger)) = (authority(), authority());
        let leaf = |issuer: &Issuer<'static, KeyPair>| -> CertificateDer<'static> {
            let key = KeyPair::generate().unwrap();
            CertificateParams::new(vec!["collector".to_owned()])
                .unwrap()
                .signed_by(&key, issuer)
                .unwrap()
                .into()
        };
        let pinned = Pinned::new(Sha256::digest(&own).into());
        let check =
            |leaf: &CertificateDer<'static>, chain: &[CertificateDer<'static>], name: &'static str| {
                let name = ServerName::try_from(name).unwrap();
                pinned.verify_server_cert(leaf, chain, &name, &[], UnixTime::now()).is_ok()
            };
        let good = leaf(&issuer);
        assert!(check(&good, std::slice::from_ref(&own), "collector"));
        assert!(!check(&good, std::slice::from_ref(&own), "other"));
        assert!(!check(&good, &[], "collector"), "the authority is not shown");
        assert!(!check(&good, std::slice::from_ref(&other), "collector"));
        // The pinned authority beside a certificate that another one signed.
        assert!(!check(&leaf(&stranger), &[own.clone(), other.clone()], "collector"));
        // The authority itself in the collector's place.
        assert!(!check(&own, std::slice::from_ref(&own), "collector"));
    }

    #[test]
    fn a_token_names_its_authority() {
        assert_eq!(of_token(&format!(" rj1.0a0b.secret.{}\n", "0c".repeat(32))), Some([12; 32]));
        for wrong in ["", "rj1.a.b.c", &format!("rj2.a.b.{}", "0c".repeat(32)), &"0c".repeat(32)] {
            assert_eq!(of_token(wrong), None, "{wrong}");
        }
    }
}
