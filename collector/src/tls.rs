//! TLS of both servers: which certificate is shown, who may connect, and handshakes that hold up nobody.
//!
//! Owns the collector's own certificate: made by the authority and renewed at two thirds of its life, or read from files
//! and read again when they change. Client certificates are asked for and not demanded, as an agent that joins has none
//! yet; `agents` and `query` demand them. Sessions are never resumed, so that every connection is checked anew.

use std::{
    fs, io,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
    time::{Duration, SystemTime},
};

use axum::serve::Listener;
use futures_util::{Stream, stream};
use prometheus::IntGaugeVec;
use rustls::{
    RootCertStore, ServerConfig,
    crypto::{CryptoProvider, ring::default_provider},
    server::{ClientHello, NoServerSessionStorage, ResolvesServerCert, WebPkiClientVerifier},
    sign::CertifiedKey,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, mpsc, watch},
    time::{sleep, timeout},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use crate::identity::{
    IdentityError,
    authority::{self, Authority, Pair},
};

/// How long a certificate of our own is good: a week.
const LIFE: Duration = Duration::from_hours(7 * 24);
/// Time between two looks at it.
const LOOK: Duration = Duration::from_mins(1);
/// Time for a handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Handshakes at a time; further connections wait to be accepted.
const HANDSHAKES: usize = 256;
/// Connections that wait for the server.
const READY: usize = 64;
/// Wait after a connection could not be accepted, such as for want of descriptors.
const TIRED: Duration = Duration::from_millis(100);

/// Where the collector's certificate comes from.
#[derive(Debug)]
pub enum Source {
    /// The authority makes it.
    Made {
        /// Who.
        authority: Arc<Authority>,
        /// For which names and addresses.
        names: Vec<String>,
    },
    /// Files, PEM.
    Files {
        /// The certificate and those between it and its authority.
        cert: PathBuf,
        /// Its key.
        key: PathBuf,
    },
}

/// The certificate that is shown.
#[derive(Debug)]
pub struct Shown {
    source: Source,
    now: RwLock<Now>,
}

#[derive(Debug)]
struct Now {
    key: Arc<CertifiedKey>,
    /// When to make another; never for files.
    renew: Option<SystemTime>,
    /// What the files held.
    files: (Vec<u8>, Vec<u8>),
}

impl Shown {
    /// Makes or reads it.
    pub fn open(source: Source) -> Result<Arc<Self>, IdentityError> {
        let now = load(&source)?;
        Ok(Arc::new(Self { source, now: RwLock::new(now) }))
    }

    /// Makes or reads another where it is time.
    fn renew(&self) -> Result<(), IdentityError> {
        let is_due = {
            let now = self.now.read().unwrap_or_else(PoisonError::into_inner);
            match &self.source {
                Source::Made { .. } => now.renew.is_some_and(|at| SystemTime::now() >= at),
                Source::Files { cert, key } => (read(cert)?, read(key)?) != now.files,
            }
        };
        if is_due {
            let loaded = load(&self.source)?;
            *self.now.write().unwrap_or_else(PoisonError::into_inner) = loaded;
            tracing::info!("The servers show a new certificate");
        }
        Ok(())
    }

    /// When it ends, seconds since the epoch.
    fn ends_secs(&self) -> Option<i64> {
        let key = Arc::clone(&self.now.read().unwrap_or_else(PoisonError::into_inner).key);
        key.cert.first().and_then(|certificate| authority::ends_secs(certificate))
    }

    /// Looks after it, and says when it ends.
    pub async fn keep(self: Arc<Self>, expiry: IntGaugeVec, mut stop: watch::Receiver<bool>) {
        loop {
            if let Some(ends) = self.ends_secs() {
                expiry.with_label_values(&["server"]).set(ends);
            }
            tokio::select! {
                () = sleep(LOOK) => {}
                _ = stop.wait_for(|stop| *stop) => return,
            }
            if let Err(error) = self.renew() {
                tracing::error!("The servers' certificate cannot be renewed, the old one is shown: {error}");
            }
        }
    }
}

impl ResolvesServerCert for Shown {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.now.read().unwrap_or_else(PoisonError::into_inner).key))
    }
}

fn load(source: &Source) -> Result<Now, IdentityError> {
    let provider = default_provider();
    match source {
        Source::Made { authority, names } => {
            let Pair { chain, key, ends } = authority.serve(names, LIFE)?;
            let key = Arc::new(CertifiedKey::from_der(chain, key, &provider)?);
            Ok(Now { key, renew: Some(ends - LIFE / 3), files: Default::default() })
        }
        Source::Files { cert, key } => {
            let files = (read(cert)?, read(key)?);
            let chain = certificates(cert, &files.0)?;
            let unusable = |_| IdentityError::Unusable { path: key.clone(), problem: "holds no private key" };
            let pair = PrivateKeyDer::from_pem_slice(&files.1).map_err(unusable)?;
            let key = Arc::new(CertifiedKey::from_der(chain, pair, &provider)?);
            Ok(Now { key, renew: None, files })
        }
    }
}

fn read(path: &Path) -> Result<Vec<u8>, IdentityError> {
    let fault = |source| IdentityError::File { operation: "read", path: path.to_owned(), source };
    fs::read(path).map_err(fault)
}

fn certificates(path: &Path, text: &[u8]) -> Result<Vec<CertificateDer<'static>>, IdentityError> {
    let unusable = |problem| IdentityError::Unusable { path: path.to_owned(), problem };
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text).collect();
    match all {
        Ok(all) if !all.is_empty() => Ok(all),
        _ => Err(unusable("holds no certificate")),
    }
}

/// How agents are met: those who show a certificate must show one of these authorities.
pub fn for_agents(
    shown: Arc<Shown>,
    authority: &Authority,
    client_ca: Option<&Path>,
) -> Result<Arc<ServerConfig>, IdentityError> {
    let provider: Arc<CryptoProvider> = default_provider().into();
    let mut roots = RootCertStore::empty();
    for certificate in authority.trusted() {
        roots.add(certificate.clone())?;
    }
    if let Some(path) = client_ca {
        for certificate in certificates(path, &read(path)?)? {
            roots.add(certificate)?;
        }
    }
    let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), Arc::clone(&provider))
        .allow_unauthenticated()
        .build()?;
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(shown);
    Ok(Arc::new(without_resumption(config, b"h2")))
}

/// How people are met.
pub fn for_people(shown: Arc<Shown>) -> Result<Arc<ServerConfig>, IdentityError> {
    let config = ServerConfig::builder_with_provider(default_provider().into())
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_cert_resolver(shown);
    Ok(Arc::new(without_resumption(config, b"http/1.1")))
}

fn without_resumption(mut config: ServerConfig, protocol: &[u8]) -> ServerConfig {
    config.alpn_protocols = vec![protocol.to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config
}

/// A connection whose handshake is done, and where it comes from.
pub type Ready = (TlsStream<TcpStream>, SocketAddr);

/// Connections whose handshakes are done.
#[derive(Debug)]
pub struct Handshaken {
    ready: mpsc::Receiver<Ready>,
    local: SocketAddr,
}

/// Accepts connections; the other half does handshakes, side by side, and runs until `stop` is true.
pub fn accept(
    listener: TcpListener,
    config: Arc<ServerConfig>,
    local: SocketAddr,
    stop: watch::Receiver<bool>,
) -> (Handshaken, impl Future<Output = ()> + Send) {
    // Full policy: waits, and further connections wait in the kernel.
    let (sender, ready) = mpsc::channel(READY);
    (Handshaken { ready, local }, handshakes(listener, config.into(), sender, stop))
}

async fn handshakes(
    listener: TcpListener,
    acceptor: TlsAcceptor,
    sender: mpsc::Sender<Ready>,
    mut stop: watch::Receiver<bool>,
) {
    let slots = Arc::new(Semaphore::new(HANDSHAKES));
    loop {
        let accepted = async {
            let slot = Arc::clone(&slots).acquire_owned().await;
            (listener.accept().await, slot)
        };
        let (accepted, slot) = tokio::select! {
            accepted = accepted => accepted,
            _ = stop.wait_for(|stop| *stop) => return,
        };
        let (stream, from) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "A connection cannot be accepted");
                sleep(TIRED).await;
                continue;
            }
        };
        let (acceptor, sender) = (acceptor.clone(), sender.clone());
        // Ends by itself within the time for a handshake.
        tokio::spawn(async move {
            let _slot = slot;
            // Without it, small messages only come later.
            let _ = stream.set_nodelay(true);
            match timeout(HANDSHAKE, acceptor.accept(stream)).await {
                // The server may be gone.
                Ok(Ok(stream)) => drop(sender.send((stream, from)).await),
                Ok(Err(error)) => tracing::warn!(%from, %error, "A TLS handshake failed"),
                Err(_) => tracing::debug!(%from, "A TLS handshake took too long"),
            }
        });
    }
}

impl Handshaken {
    /// As a stream.
    pub fn stream(self) -> impl Stream<Item = Result<TlsStream<TcpStream>, io::Error>> {
        stream::unfold(self.ready, |mut ready| async {
            ready.recv().await.map(|(stream, _)| (Ok(stream), ready))
        })
    }
}

impl Listener for Handshaken {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> Ready {
        match self.ready.recv().await {
            Some(ready) => ready,
            // The other half has ended, and the server is about to.
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.local)
    }
}
