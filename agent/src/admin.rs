//! The local HTTP server: health, versions, metrics, and what may be changed while the agent runs.
//!
//! Owns its addresses and pages; reads the shared status. Must never reach into a running stage: changes are asked for
//! where their owner takes questions, after [`access`] let the caller in, and are noted by [`audit`]. Called by `app`.

pub mod access;
mod alerts;
pub mod audit;
pub mod client;
mod dashboard;
mod limits;
mod lists;
mod live;
mod pages;
mod patience;
mod responses;
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
    http::{HeaderValue, header},
    middleware::map_response,
    response::Response,
    routing::{delete, get, post},
};
use tokio::sync::watch;

use self::{
    access::{Guard, Peer},
    live::Live,
    patience::Listening,
};
use crate::{
    limits::desk::Desk, responses::desk::Desk as ResponsesDesk, services::desk::Desk as ServicesDesk,
    telemetry::status::Status,
};

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
    responses: Option<ResponsesDesk>,
}

/// What the pages see.
#[derive(Clone)]
struct Site {
    status: Arc<Status>,
    guard: Arc<Guard>,
    limits: Option<Desk>,
    services: Option<ServicesDesk>,
    responses: Option<ResponsesDesk>,
    live: Arc<Live>,
}

impl FromRef<Site> for Arc<Live> {
    fn from_ref(site: &Site) -> Self {
        Self::clone(&site.live)
    }
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

impl FromRef<Site> for Option<ResponsesDesk> {
    fn from_ref(site: &Site) -> Self {
        site.responses.clone()
    }
}

impl Admin {
    /// Takes the port, so that a port in use is found out before anything is loaded.
    pub fn bind(listen: SocketAddr) -> Result<Self, AdminError> {
        let bind = || {
            let listener = TcpListener::bind(listen)?;
            listener.set_nonblocking(true)?;
            let listen = listener.local_addr()?;
            let guard = Guard::default();
            Ok(Self { listener, listen, socket: None, guard, limits: None, services: None, responses: None })
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

    /// Where responses are asked.
    #[must_use]
    pub fn with_responses(self, responses: ResponsesDesk) -> Self {
        Self { responses: Some(responses), ..self }
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
        let Self { listener, socket, guard, limits, services, responses, .. } = self;
        let live = Arc::new(Live::new(Arc::clone(&status), limits.clone(), stop.clone()));
        let site =
            Site { status, guard: Arc::new(guard), limits, services, responses, live: Arc::clone(&live) };
        let service = router(site).into_make_service_with_connect_info::<Peer>();
        let listener = tokio::net::TcpListener::from_std(listener).map_err(AdminError::Serve)?;
        let remote =
            axum::serve(Listening(listener), service.clone()).with_graceful_shutdown(stopped(stop.clone()));
        let local = async {
            let Some((listener, path)) = socket else { return Ok(()) };
            let listener = tokio::net::UnixListener::from_std(listener)?;
            let served =
                axum::serve(Listening(listener), service).with_graceful_shutdown(stopped(stop)).await;
            // Another agent makes its own.
            let _ = fs::remove_file(path);
            served
        };
        let feed = async {
            live.run().await;
            Ok(())
        };
        tokio::try_join!(remote.into_future(), local, feed).map_err(AdminError::Serve)?;
        Ok(())
    }
}

async fn stopped(mut stop: watch::Receiver<bool>) {
    // A dropped sender means the same as a stop.
    let _ = stop.wait_for(|stop| *stop).await;
}

/// What every answer says unless it says more: nothing of it is a page that runs or shows anything.
const POLICY: &str = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

async fn secured(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.entry(header::CONTENT_SECURITY_POLICY).or_insert(HeaderValue::from_static(POLICY));
    for (name, value) in [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-store"),
        (header::HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
        (header::HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

/// Makes the router and the list of its pages from one table.
macro_rules! routes {
    ($($path:literal => $methods:expr,)*) => {
        /// The pages there are.
        pub(crate) const PAGES: &[&str] = &[$($path),*];

        fn router(site: Site) -> Router {
            Router::new()
                $(.route($path, $methods))*
                .fallback(pages::unknown)
                .layer(map_response(secured))
                .with_state(site)
        }
    };
}

routes! {
    "/healthz" => get(pages::healthz),
    "/health" => get(pages::health),
    "/health/detailed" => get(pages::detailed),
    "/openapi.json" => get(pages::openapi),
    "/top" => get(pages::top),
    "/alerts" => get(alerts::list),
    "/dashboard" => get(dashboard::page),
    "/dashboard/events" => get(live::events),
    "/ready" => get(pages::ready),
    "/versions" => get(pages::versions),
    "/metrics" => get(pages::metrics),
    "/limits" => get(pages::limits),
    "/limits/top" => get(limits::top),
    "/limits/explain" => get(limits::explain),
    "/limits/grants" => get(limits::grants).post(limits::grant),
    "/limits/allow" => get(limits::allowed).post(limits::allow),
    "/limits/deny" => get(limits::denied).post(limits::deny),
    "/limits/grants/{*net}" => delete(limits::ungrant),
    "/limits/allow/{*net}" => delete(limits::unallow),
    "/limits/deny/{*net}" => delete(limits::undeny),
    "/limits/{policy}" => get(limits::policy),
    "/lists" => get(lists::list),
    "/lists/check" => get(lists::check),
    "/responses" => get(responses::list),
    "/responses/allow" => post(responses::allow),
    "/responses/{id}/undo" => post(responses::undo),
    "/services" => get(services::services),
    "/services/{service}" => get(services::service).post(services::make).delete(services::forget),
    "/services/{service}/failback" => post(services::fail_back),
    "/services/{service}/backends/{backend}/{action}" => post(services::backend),
    "/circuit-breakers" => get(services::breakers),
    "/circuit-breakers/{service}/{backend}" => get(services::breaker),
    "/circuit-breakers/{service}/{backend}/{action}" => post(services::change),
}

#[cfg(test)]
mod tests;
