//! The way to the collector: alerts go through the spool onto one stream, acknowledgements come back.
//!
//! ```text
//! output thread ─▶ Sink ─▶ spool on disk ─▶ Uplink (task) ─▶ stream ─▶ collector
//!                             ▲                                          │
//!                             └────────────── acknowledged ◀─────────────┘
//! ```
//!
//! Owns the spool, the connection, and the certificate where the collector makes it; the only module that knows the wire
//! format. The two halves share nothing but the
//! spool, so a slow or dead collector slows nobody: alerts are kept up to the spool's bound. Called by `app`.

pub mod bundle;
mod convert;
mod dial;
mod heartbeat;
mod identity;
mod job;
mod join;
mod rules;
mod session;
mod sink;
mod trust;
mod uplink;

use std::{
    collections::BTreeMap,
    io,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::{Notify, watch};

pub use self::{sink::Sink, uplink::Uplink};
use crate::{
    bundles::Offer,
    config::CollectorOutput,
    jobs::Line,
    spool::{Folder, Options, Spool, SpoolError},
};

/// Why the way to the collector cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// The spool's directory cannot be made.
    #[error("cannot make the spool's directory `{}`", path.display())]
    Folder {
        /// Which.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The spool cannot be read.
    #[error(transparent)]
    Spool(#[from] SpoolError),
    /// A file for TLS cannot be read.
    #[error("cannot read `{}`", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The address or the files cannot be used.
    #[error("cannot connect to `{url}` with these settings")]
    Endpoint {
        /// The address.
        url: String,
        /// Why not.
        source: tonic::transport::Error,
    },
    /// The machine gives no random numbers.
    #[error("cannot get a random number: {0}")]
    Random(getrandom::Error),
}

/// What both halves share.
#[derive(Debug)]
struct Shared {
    spool: Mutex<Spool<Folder>>,
    /// There is something to read.
    news: Notify,
    /// The policy bundle that the collector wants here. Full policy: the newest takes the place of one that nobody took.
    offers: watch::Sender<Option<Offer>>,
    /// Jobs for this node, and what became of them.
    jobs: Arc<Line>,
}

impl Shared {
    /// A panic while it was held leaves counters at worst one off.
    fn spool(&self) -> MutexGuard<'_, Spool<Folder>> {
        self.spool.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Opens the spool and checks the settings; connects nowhere yet.
pub fn open(
    config: &CollectorOutput,
    node: &str,
    labels: &BTreeMap<String, String>,
) -> Result<(Sink, Uplink), ControlError> {
    let mut boot = [0; 16];
    getrandom::fill(&mut boot).map_err(ControlError::Random)?;
    let path = &config.spool_dir;
    let folder = Folder::new(path).map_err(|source| ControlError::Folder { path: path.clone(), source })?;
    let options = Options { sync: config.sync, bytes: config.spool_bytes, boot };
    let spool = Spool::open(folder, options)?;
    if spool.pending() > 0 {
        tracing::info!(alerts = spool.pending(), bytes = spool.bytes(), "The spool holds alerts of before");
    }
    let (jobs, orders) = Line::new();
    let shared = Arc::new(Shared {
        spool: Mutex::new(spool),
        news: Notify::new(),
        offers: watch::Sender::default(),
        jobs: Arc::new(jobs),
    });
    let uplink = Uplink::new(config, (node, labels), boot, Arc::clone(&shared), orders)?;
    Ok((Sink::new(shared), uplink))
}

#[cfg(test)]
mod tests;
