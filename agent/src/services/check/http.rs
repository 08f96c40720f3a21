//! Pages, in the clear or with TLS.

use std::{
    net::SocketAddr,
    sync::{Arc, OnceLock},
};

use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::{Request, body::Bytes, client::conn::http1, header};
use hyper_rustls::ConfigBuilderExt as _;
use hyper_util::rt::TokioIo;
use rustls::{
    ClientConfig, DigitallySignedStruct, Error, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, ring::default_provider, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

/// Largest page that is searched.
const BODY_MAX: usize = 64 << 10;

/// Begins TLS with a server, whose certificate must be good for a name unless it is not looked at.
pub(super) async fn secured(
    stream: TcpStream,
    name: &str,
    is_verified: bool,
) -> Result<TlsStream<TcpStream>, String> {
    let config = if is_verified { verifying()? } else { trusting()? };
    let name = ServerName::try_from(name.to_owned()).map_err(|_| format!("`{name}` is no name of a host"))?;
    TlsConnector::from(config).connect(name, stream).await.map_err(|error| format!("no TLS: {error}"))
}

/// The name by which a server of a host is known: without the port.
pub(super) fn host_name(host: Option<&str>, address: SocketAddr) -> String {
    let Some(host) = host else { return address.ip().to_string() };
    if let Ok(address) = host.parse::<SocketAddr>() {
        return address.ip().to_string();
    }
    match host.rsplit_once(':') {
        Some((name, port)) if !name.contains(':') && port.parse::<u16>().is_ok() => name.to_owned(),
        _ => host.trim_start_matches('[').trim_end_matches(']').to_owned(),
    }
}

/// Trusts whom the node trusts; its certificates are read once.
fn verifying() -> Result<Arc<ClientConfig>, String> {
    static CONFIG: OnceLock<Result<Arc<ClientConfig>, String>> = OnceLock::new();
    let make = || {
        let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?;
        let builder = builder
            .with_native_roots()
            .map_err(|error| format!("the node's certificates cannot be read: {error}"))?;
        Ok(Arc::new(builder.with_no_client_auth()))
    };
    CONFIG.get_or_init(make).clone()
}

/// Takes every certificate.
fn trusting() -> Result<Arc<ClientConfig>, String> {
    static CONFIG: OnceLock<Result<Arc<ClientConfig>, String>> = OnceLock::new();
    let make = || {
        let provider = Arc::new(default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?;
        let builder = builder.dangerous().with_custom_certificate_verifier(Arc::new(Anybody(provider)));
        Ok(Arc::new(builder.with_no_client_auth()))
    };
    CONFIG.get_or_init(make).clone()
}

/// A server is as good as another: what is asked is whether it works, not who it is.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// Asks for a page, which must have one of the statuses and hold the text.
pub(super) async fn page(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    path: &str,
    host: &str,
    statuses: &[(u16, u16)],
    wanted: Option<&str>,
) -> Result<(), String> {
    let wrong = |error: &dyn std::error::Error| format!("no HTTP answer: {error}");
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|error| wrong(&error))?;
    let request = Request::get(path)
        .header(header::HOST, host)
        .header(header::USER_AGENT, "rampart-health-check")
        .header(header::CONNECTION, "close")
        .body(Empty::<Bytes>::new())
        .map_err(|error| wrong(&error))?;
    let answer = async {
        let response = sender.send_request(request).await.map_err(|error| wrong(&error))?;
        let status = response.status().as_u16();
        if !statuses.iter().any(|(first, last)| (*first..=*last).contains(&status)) {
            return Err(format!("status {status}"));
        }
        let Some(wanted) = wanted else { return Ok(()) };
        let body = Limited::new(response.into_body(), BODY_MAX).collect().await;
        let body = body.map_err(|error| format!("the page cannot be read: {error}"))?.to_bytes();
        if String::from_utf8_lossy(&body).contains(wanted) {
            Ok(())
        } else {
            Err("the page lacks the text".to_owned())
        }
    };
    // The connection moves the bytes while the answer is awaited.
    tokio::pin!(answer);
    tokio::select! {
        answer = &mut answer => answer,
        _ = connection => answer.await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_have_names() {
        let address = "10.0.0.1:443".parse().unwrap();
        assert_eq!(host_name(None, address), "10.0.0.1");
        assert_eq!(host_name(Some("example.org"), address), "example.org");
        assert_eq!(host_name(Some("example.org:8443"), address), "example.org");
        assert_eq!(host_name(Some("[fd00::1]:8443"), address), "fd00::1");
        assert_eq!(host_name(Some("fd00::1"), address), "fd00::1");
    }
}
