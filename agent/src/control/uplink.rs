//! Connects, and connects again; forces the spool to the disk in between; says how it goes.

use std::{
    fs,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{
    sync::watch,
    task::spawn_blocking,
    time::{MissedTickBehavior, interval, sleep},
};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};

use super::{
    ControlError, Shared,
    session::{self, Facts, SessionError},
};
use crate::{
    config::CollectorOutput,
    retry::Retry,
    spool::Sync,
    telemetry::status::{Delivery, Status},
};

/// Time for a connection.
const CONNECT_MAX: Duration = Duration::from_secs(5);
/// A collector that does not answer so long is gone.
const KEEPALIVE: Duration = Duration::from_secs(20);
/// Time between two looks at the spool for the status.
const LOOK: Duration = Duration::from_secs(1);

/// The task's parts.
#[derive(Debug)]
pub struct Uplink {
    shared: Arc<Shared>,
    endpoint: Endpoint,
    facts: Facts,
    retry: Retry,
    /// Between two times of forcing the spool to the disk; `None` when it is not done here.
    sync: Option<Duration>,
}

impl Uplink {
    pub(super) fn new(
        config: &CollectorOutput,
        node: &str,
        boot: [u8; 16],
        shared: Arc<Shared>,
    ) -> Result<Self, ControlError> {
        let fault = |source| ControlError::Endpoint { url: config.url.clone(), source };
        let mut endpoint = Endpoint::from_shared(config.url.clone())
            .map_err(fault)?
            .connect_timeout(CONNECT_MAX)
            .http2_keep_alive_interval(KEEPALIVE)
            .keep_alive_timeout(KEEPALIVE)
            .keep_alive_while_idle(true)
            .tcp_nodelay(true);
        if let Some(files) = &config.tls {
            let identity = Identity::from_pem(read(&files.cert)?, read(&files.key)?);
            let tls = ClientTlsConfig::new()
                .ca_certificate(Certificate::from_pem(read(&files.ca)?))
                .identity(identity);
            endpoint = endpoint.tls_config(tls).map_err(fault)?;
        }
        let release = nix::sys::utsname::uname().map(|name| name.release().to_string_lossy().into_owned());
        let facts = Facts { node: node.to_owned(), boot, kernel: release.unwrap_or_default() };
        let sync = (config.sync == Sync::Interval).then_some(config.sync_interval);
        Ok(Self { shared, endpoint, facts, retry: Retry::default(), sync })
    }

    /// The same with other waits.
    #[must_use]
    pub fn with_retry(self, retry: Retry) -> Self {
        Self { retry, ..self }
    }

    /// Runs until `stop` is true, then hands over what it can within a second. What is left stays in the spool.
    pub async fn run(self, status: Arc<Status>, stop: watch::Receiver<bool>) {
        let done = tokio::select! {
            () = self.connect(&status, stop) => true,
            () = self.keep(&status) => false,
        };
        debug_assert!(done, "looking after the spool never ends by itself");
        let shared = Arc::clone(&self.shared);
        // Nothing comes after this; a disk that fails now has said so before.
        let _ = spawn_blocking(move || shared.spool().sync()).await;
    }

    async fn connect(&self, status: &Status, mut stop: watch::Receiver<bool>) {
        let mut retry = self.retry.clone();
        while !*stop.borrow() {
            let channel = self.endpoint.connect_lazy();
            let started = Instant::now();
            let Err(error) = self.session(channel, status, &mut stop, &mut retry).await else { return };
            let wait = retry.failed();
            let fault = error.to_string();
            let is_new = status.delivery().fault.as_ref() != Some(&fault);
            if is_new {
                tracing::warn!(
                    lasted_ms = started.elapsed().as_millis() as u64,
                    "The collector is not reached, alerts stay in the spool: {fault}"
                );
            }
            status.update_delivery(|delivery| delivery.fault = Some(fault));
            tokio::select! {
                () = sleep(wait) => {}
                _ = stop.wait_for(|stop| *stop) => return,
            }
        }
    }

    async fn session(
        &self,
        channel: Channel,
        status: &Status,
        stop: &mut watch::Receiver<bool>,
        retry: &mut Retry,
    ) -> Result<(), SessionError> {
        let mut has_progress = false;
        let outcome = session::run(&self.shared, channel, &self.facts, status, stop, &mut has_progress).await;
        if has_progress {
            retry.succeeded();
        }
        outcome
    }

    /// Looks after the spool.
    async fn keep(&self, status: &Status) {
        let mut look = interval(LOOK);
        let mut sync = interval(self.sync.unwrap_or(LOOK));
        for timer in [&mut look, &mut sync] {
            timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
        }
        loop {
            let shared = Arc::clone(&self.shared);
            let is_sync = tokio::select! {
                _ = look.tick() => false,
                _ = sync.tick() => self.sync.is_some(),
            };
            // The lock may be held by the output while the disk is slow, so not on the runtime's own thread.
            let looked = spawn_blocking(move || {
                let mut spool = shared.spool();
                let outcome = if is_sync { spool.sync() } else { Ok(()) };
                (outcome, *spool.counts(), spool.pending(), spool.bytes())
            });
            let Ok((outcome, counts, pending, bytes)) = looked.await else { return };
            if let Err(error) = outcome {
                tracing::error!("The spool is not on the disk: {error}: {}", error.source);
            }
            status.update_delivery(|delivery| {
                *delivery = Delivery { is_used: true, counts, pending, bytes, ..delivery.clone() };
            });
        }
    }
}

fn read(path: &PathBuf) -> Result<Vec<u8>, ControlError> {
    fs::read(path).map_err(|source| ControlError::File { path: path.clone(), source })
}
