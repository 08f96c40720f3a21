//! The local HTTP server: health, versions, metrics, and what may be changed while the agent runs.
//!
//! Owns its addresses and pages; reads the shared status. Must never reach into a running stage: changes are asked for
//! where their owner takes questions, after [`access`] let the caller in, and are noted by [`audit`]. Called by `app`.

pub mod access;
pub mod audit;
pub mod client;
mod limits;
mod pages;
mod services;
pub mod top;

use std::{
    fs,
    future::IntoFuture as _,
    io,
    net::{SocketAddr, TcpListener},
    os::unix::{fs::PermissionsExt as _, net::UnixListener},
    path::{Path, PathBuf},
    sync::Arc,
};

use axum::{
    Router,
    extract::FromRef,
    routing::{delete, get, post},
};
use tokio::sync::watch;

use self::access::{Guard, Peer};
use crate::{limits::desk::Desk, services::desk::Desk as ServicesDesk, telemetry::status::Status};

/// Name of the socket in `node.runtime_dir`.
pub const SOCKET: &str = "admin.sock";

/// Why the server could not start or go on.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// Another program has the port.
    #[error(
        "cannot serve HTTP on {listen}: another program uses this port; set `admin.listen` to a free one"
    )]
    InUse {
        /// The address.
        listen: SocketAddr,
    },
    /// Another reason.
    #[error("cannot serve HTTP on {listen}")]
    Bind {
        /// The address.
        listen: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The server ended.
    #[error("the HTTP server failed")]
    Serve(#[source] io::Error),
}

/// A bound server that does not answer yet.
#[derive(Debug)]
pub struct Admin {
    listener: TcpListener,
    listen: SocketAddr,
    socket: Option<(UnixListener, PathBuf)>,
    guard: Guard,
    limits: Option<Desk>,
    services: Option<ServicesDesk>,
}

/// What the pages see.
#[derive(Clone)]
struct Site {
    status: Arc<Status>,
    guard: Arc<Guard>,
    limits: Option<Desk>,
    services: Option<ServicesDesk>,
}

impl FromRef<Site> for Arc<Status> {
    fn from_ref(site: &Site) -> Self {
        Self::clone(&site.status)
    }
}

impl FromRef<Site> for Arc<Guard> {
    fn from_ref(site: &Site) -> Self {
        Self::clone(&site.guard)
    }
}

impl FromRef<Site> for Option<Desk> {
    fn from_ref(site: &Site) -> Self {
        site.limits.clone()
    }
}

impl FromRef<Site> for Option<ServicesDesk> {
    fn from_ref(site: &Site) -> Self {
        site.services.clone()
    }
}

impl Admin {
    /// Takes the port, so that a port in use is found out before anything is loaded.
    pub fn bind(listen: SocketAddr) -> Result<Self, AdminError> {
        let bind = || {
            let listener = TcpListener::bind(listen)?;
            listener.set_nonblocking(true)?;
            let listen = listener.local_addr()?;
            Ok(Self { listener, listen, socket: None, guard: Guard::default(), limits: None, services: None })
        };
        bind().map_err(|source: io::Error| match source.kind() {
            io::ErrorKind::AddrInUse => AdminError::InUse { listen },
            _ => AdminError::Bind { listen, source },
        })
    }

    /// The address, with the port the kernel chose when port 0 was asked for.
    pub const fn address(&self) -> SocketAddr {
        self.listen
    }

    /// Who may change things, besides root on the socket.
    #[must_use]
    pub fn with_guard(self, guard: Guard) -> Self {
        Self { guard, ..self }
    }

    /// Where the limiter is asked.
    #[must_use]
    pub fn with_limits(self, limits: Desk) -> Self {
        Self { limits: Some(limits), ..self }
    }

    /// Where services are asked.
    #[must_use]
    pub fn with_services(self, services: ServicesDesk) -> Self {
        Self { services: Some(services), ..self }
    }

    /// Also answers on a socket in the file system, where the caller is known by its user, and says why if it cannot.
    /// The caller holds the node's lock, so what lies there is an agent's that is gone.
    #[must_use]
    pub fn with_socket(self, path: &Path) -> (Self, Option<io::Error>) {
        let bind = || {
            match fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            let listener = UnixListener::bind(path)?;
            fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
            listener.set_nonblocking(true)?;
            Ok(listener)
        };
        match bind() {
            Ok(listener) => (Self { socket: Some((listener, path.to_owned())), ..self }, None),
            Err(error) => (self, Some(error)),
        }
    }

    /// Answers until `stop` turns true. Must run inside the runtime.
    pub async fn serve(self, status: Arc<Status>, stop: watch::Receiver<bool>) -> Result<(), AdminError> {
        let Self { listener, socket, guard, limits, services, .. } = self;
        let site = Site { status, guard: Arc::new(guard), limits, services };
        let service = router(site).into_make_service_with_connect_info::<Peer>();
        let listener = tokio::net::TcpListener::from_std(listener).map_err(AdminError::Serve)?;
        let remote = axum::serve(listener, service.clone()).with_graceful_shutdown(stopped(stop.clone()));
        let local = async {
            let Some((listener, path)) = socket else { return Ok(()) };
            let listener = tokio::net::UnixListener::from_std(listener)?;
            let served = axum::serve(listener, service).with_graceful_shutdown(stopped(stop)).await;
            // Another agent makes its own.
            let _ = fs::remove_file(path);
            served
        };
        tokio::try_join!(remote.into_future(), local).map_err(AdminError::Serve)?;
        Ok(())
    }
}

async fn stopped(mut stop: watch::Receiver<bool>) {
    // A dropped sender means the same as a stop.
    let _ = stop.wait_for(|stop| *stop).await;
}

fn router(site: Site) -> Router {
    Router::new()
        .route("/healthz", get(pages::healthz))
        .route("/health", get(pages::health))
        .route("/health/detailed", get(pages::detailed))
        .route("/top", get(pages::top))
        .route("/ready", get(pages::ready))
        .route("/versions", get(pages::versions))
        .route("/metrics", get(pages::metrics))
        .route("/limits", get(pages::limits))
        .route("/limits/top", get(limits::top))
        .route("/limits/explain", get(limits::explain))
        .route("/limits/grants", get(limits::grants).post(limits::grant))
        .route("/limits/allow", get(limits::allowed).post(limits::allow))
        .route("/limits/deny", get(limits::denied).post(limits::deny))
        .route("/limits/grants/{*net}", delete(limits::ungrant))
        .route("/limits/allow/{*net}", delete(limits::unallow))
        .route("/limits/deny/{*net}", delete(limits::undeny))
        .route("/limits/{policy}", get(limits::policy))
        .route("/services", get(services::services))
        .route("/services/{service}", get(services::service).post(services::make).delete(services::forget))
        .route("/services/{service}/failback", post(services::fail_back))
        .route("/services/{service}/backends/{backend}/{action}", post(services::backend))
        .route("/circuit-breakers", get(services::breakers))
        .route("/circuit-breakers/{service}/{backend}", get(services::breaker))
        .route("/circuit-breakers/{service}/{backend}/{action}", post(services::change))
        .fallback(pages::unknown)
        .with_state(site)
}

/// The pages there are.
pub(crate) const PAGES: [&str; 18] = [
    "/healthz",
    "/health",
    "/health/detailed",
    "/top",
    "/ready",
    "/versions",
    "/metrics",
    "/limits",
    "/limits/{policy}",
    "/limits/top",
    "/limits/explain",
    "/limits/grants",
    "/limits/allow",
    "/limits/deny",
    "/services",
    "/services/{service}",
    "/circuit-breakers",
    "/circuit-breakers/{service}/{backend}",
];

#[cfg(test)]
mod tests;
