//! The local HTTP server: health, versions, metrics. Read only.
//!
//! Owns its address and pages; reads the shared status. Must never reach into a running stage. Called by `app`.

pub mod client;
mod pages;
pub mod top;

use std::{
    io,
    net::{SocketAddr, TcpListener},
    sync::Arc,
};

use axum::{Router, routing::get};
use tokio::sync::watch;

use crate::telemetry::status::Status;

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
}

impl Admin {
    /// Takes the port, so that a port in use is found out before anything is loaded.
    pub fn bind(listen: SocketAddr) -> Result<Self, AdminError> {
        let bind = || {
            let listener = TcpListener::bind(listen)?;
            listener.set_nonblocking(true)?;
            let listen = listener.local_addr()?;
            Ok(Self { listener, listen })
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

    /// Answers until `stop` turns true. Must run inside the runtime.
    pub async fn serve(self, status: Arc<Status>, mut stop: watch::Receiver<bool>) -> Result<(), AdminError> {
        let listener = tokio::net::TcpListener::from_std(self.listener).map_err(AdminError::Serve)?;
        let stopped = async move {
            // A dropped sender means the same as a stop.
            let _ = stop.wait_for(|stop| *stop).await;
        };
        axum::serve(listener, router(status)).with_graceful_shutdown(stopped).await.map_err(AdminError::Serve)
    }
}

fn router(status: Arc<Status>) -> Router {
    Router::new()
        .route("/healthz", get(pages::healthz))
        .route("/health", get(pages::health))
        .route("/health/detailed", get(pages::detailed))
        .route("/top", get(pages::top))
        .route("/ready", get(pages::ready))
        .route("/versions", get(pages::versions))
        .route("/metrics", get(pages::metrics))
        .route("/limits", get(pages::limits))
        .fallback(pages::unknown)
        .with_state(status)
}

/// The pages there are.
pub(crate) const PAGES: [&str; 8] =
    ["/healthz", "/health", "/health/detailed", "/top", "/ready", "/versions", "/metrics", "/limits"];

#[cfg(test)]
mod tests;
