//! What a connection's certificate says. Its signature and times were verified when the connection was made.

use std::time::{Duration, SystemTime};

use rustls_pki_types::{CertificateDer, ServerName};

use super::hex;

/// Who is at the other end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    certificate: CertificateDer<'static>,
    /// Serial number, hexadecimal.
    pub serial: String,
    /// When the certificate ends.
    pub ends: SystemTime,
}

impl Peer {
    /// What this certificate says; `None` when it cannot be read.
    pub fn of(certificate: &CertificateDer<'_>) -> Option<Self> {
        let (_, parsed) = x509_parser::parse_x509_certificate(certificate).ok()?;
        let end = u64::try_from(parsed.validity().not_after.timestamp()).ok()?;
        let raw = parsed.tbs_certificate.raw_serial();
        // A number whose first bit is set has a zero before it.
        let serial = raw.strip_prefix(&[0]).filter(|rest| !rest.is_empty()).unwrap_or(raw);
        Some(Self {
            certificate: certificate.clone().into_owned(),
            serial: hex(serial),
            ends: SystemTime::UNIX_EPOCH + Duration::from_secs(end),
        })
    }

    /// Whether it is that of a node.
    pub fn speaks_for(&self, node: &str) -> bool {
        let Ok(name) = ServerName::try_from(node) else { return false };
        webpki::EndEntityCert::try_from(&self.certificate)
            .is_ok_and(|certificate| certificate.verify_is_valid_for_subject_name(&name).is_ok())
    }

    /// Time that is left.
    pub fn left(&self) -> Duration {
        self.ends.duration_since(SystemTime::now()).unwrap_or_default()
    }
}

/// Whether a certificate can name this node.
pub fn is_name(node: &str) -> bool {
    node.len() <= 253 && !node.contains('*') && ServerName::try_from(node).is_ok()
}
