//! Connects, and connects again; forces the spool to the disk in between; says how it goes.

use std::{
    collections::BTreeMap,
    fs,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError, mpsc::Receiver},
    time::{Duration, Instant},
};

use tokio::{
    sync::watch,
    task::spawn_blocking,
    time::{MissedTickBehavior, interval, sleep},
};
use tonic::{
    Code,
    transport::{Certificate, ClientTlsConfig, Endpoint, Identity},
};

use super::{
    ControlError, Shared,
    dial::Dialer,
    identity::{Given, Identity as Own, now_secs},
    join::Joined,
    session::{self, Facts, Session, SessionError},
};
use crate::{
    bundles::Offer,
    config::CollectorOutput,
    jobs::{Command, Line},
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
    dialer: Dialer,
    facts: Facts,
    retry: Retry,
    /// Between two times of forcing the spool to the disk; `None` when it is not done here.
    sync: Option<Duration>,
    /// Jobs, until somebody takes them.
    orders: Mutex<Option<Receiver<Command>>>,
}

impl Uplink {
    pub(super) fn new(
        config: &CollectorOutput,
        (node, labels): (&str, &BTreeMap<String, String>),
        boot: [u8; 16],
        shared: Arc<Shared>,
        orders: Receiver<Command>,
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
        let facts = Facts {
            node: node.to_owned(),
            labels: labels.clone(),
            jobs: config.jobs.iter().cloned().collect(),
            boot,
            kernel: release.unwrap_or_default(),
        };
        let sync = (config.sync == Sync::Interval).then_some(config.sync_interval);
        let joined = config.join.clone().map(|join| Joined::new(join, node));
        Ok(Self {
            shared,
            dialer: Dialer { endpoint, joined },
            facts,
            retry: Retry::default(),
            sync,
            orders: Mutex::new(Some(orders)),
        })
    }

    /// The same with other waits.
    #[must_use]
    pub fn with_retry(self, retry: Retry) -> Self {
        Self { retry, ..self }
    }

    /// The policy bundle that the collector wants here, whenever it says so.
    pub fn offers(&self) -> watch::Receiver<Option<Offer>> {
        self.shared.offers.subscribe()
    }

    /// Both ends of the way of jobs, for who does them; once.
    pub fn jobs(&self) -> Option<(Arc<Line>, Receiver<Command>)> {
        let orders = self.orders.lock().unwrap_or_else(PoisonError::into_inner).take()?;
        Some((Arc::clone(&self.shared.jobs), orders))
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
            let started = Instant::now();
            let Err(error) = self.session(status, &mut stop, &mut retry).await else { return };
            status.update_delivery(|delivery| delivery.is_connected = false);
            if let (SessionError::Answer(answer), Some(joined)) = (&error, &self.dialer.joined)
                && answer.code() == Code::Unauthenticated
            {
                joined.doubt();
            }
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

    /// Streams, one after the other without a gap, until one fails or the agent ends (then `Ok`).
    async fn session(
        &self,
        status: &Status,
        stop: &mut watch::Receiver<bool>,
        retry: &mut Retry,
    ) -> Result<(), SessionError> {
        let begun = tokio::select! {
            begun = self.begin(status) => begun?,
            () = session::ending(stop) => return Ok(()),
        };
        tracing::info!("The collector is reached");
        status.update_delivery(|delivery| {
            delivery.is_connected = true;
            delivery.fault = None;
        });
        let (mut session, mut identity) = begun;
        loop {
            let certificate = identity.as_ref().and_then(|own| own.given.as_ref()).map(Given::life);
            status.update_delivery(|delivery| delivery.certificate = certificate);
            let renewed = Mutex::new(None);
            let successor = self.successor(status, identity.as_ref(), &renewed);
            let outcome = session.converse(status, stop, successor).await;
            if session.has_progress {
                retry.succeeded();
            }
            let Some(next) = outcome? else {
                status.update_delivery(|delivery| delivery.is_connected = false);
                return Ok(());
            };
            tracing::info!("A stream with a new certificate has taken over");
            session = next;
            identity = renewed.into_inner().unwrap_or_else(PoisonError::into_inner);
        }
    }

    async fn begin(&self, status: &Status) -> Result<(Session, Option<Own>), SessionError> {
        let addresses = self.dialer.addresses().await;
        // Those that were known before are better than none.
        if !addresses.is_empty() {
            status.update_delivery(|delivery| delivery.addresses = addresses);
        }
        let (channel, identity) = self.dialer.dial().await?;
        Ok((session::open(&self.shared, channel, &self.facts, status).await?, identity))
    }

    /// A stream with the next certificate, as soon as it is time for one and there is one.
    async fn successor(
        &self,
        status: &Status,
        identity: Option<&Own>,
        renewed: &Mutex<Option<Own>>,
    ) -> Session {
        let Some((old, given)) = identity.and_then(|old| Some((old, old.given.as_ref()?))) else {
            return std::future::pending().await;
        };
        sleep(given.until_renewal(now_secs())).await;
        let mut retry = self.retry.clone();
        loop {
            let next = async {
                let (channel, identity) = self.dialer.redial(old).await?;
                Ok::<_, SessionError>((
                    session::open(&self.shared, channel, &self.facts, status).await?,
                    identity,
                ))
            };
            match next.await {
                Ok((session, identity)) => {
                    *renewed.lock().unwrap_or_else(PoisonError::into_inner) = identity;
                    return session;
                }
                Err(error) => {
                    tracing::warn!("The certificate is not renewed, it is tried again: {error}");
                    sleep(retry.failed()).await;
                }
            }
        }
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
