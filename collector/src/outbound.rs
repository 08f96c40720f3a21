//! Connections to the HTTP servers of others: channels, and who collects traces.

use std::{fs, io, path::Path};

use bytes::Bytes;
use http_body_util::Full;
use hyper_rustls::{ConfigBuilderExt as _, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{CertificateDer, pem::PemObject};

/// Connections, used again.
pub(crate) type Pool = Client<HttpsConnector<HttpConnector>, Full<Bytes>>;

/// No connection yet. Servers are trusted whose certificates this authority has signed, or one of the machine's.
pub(crate) fn pool(authority: Option<&Path>) -> io::Result<Pool> {
    let config = ClientConfig::builder_with_provider(rustls::crypto::ring::default_provider().into())
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?;
    let config = match authority {
        None => config.with_native_roots()?,
        Some(path) => {
            let text = fs::read(path)?;
            let mut store = RootCertStore::empty();
            for certificate in CertificateDer::pem_slice_iter(&text) {
                store.add(certificate.map_err(io::Error::other)?).map_err(io::Error::other)?;
            }
            if store.is_empty() {
                return Err(io::Error::other("it holds no certificate"));
            }
            config.with_root_certificates(store)
        }
    };
    let https = HttpsConnectorBuilder::new().with_tls_config(config.with_no_client_auth());
    Ok(Client::builder(TokioExecutor::new()).build(https.https_or_http().enable_http1().build()))
}

/// An error with its causes.
pub(crate) fn in_full(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
