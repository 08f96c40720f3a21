//! The only wiring: opens everything, starts every task, and ends them in order.

mod servers;
mod upkeep;

use std::{
    fs, io, net::SocketAddr, os::unix::fs::DirBuilderExt, path::Path, sync::Arc, thread, time::Duration,
};

use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    sync::{mpsc, watch},
    task::{JoinError, JoinHandle, JoinSet},
    time::timeout,
};

use self::{
    servers::Identities,
    upkeep::{keep, trim},
};
use crate::{
    agents::Agents,
    bus::{self, Bus, BusError},
    census,
    config::Config,
    identity::{
        IdentityError, Records,
        revoked::{Revoked, follow},
    },
    ingest::{Ingest, Shown, Start},
    jobs::dispatch::Dispatch,
    notify::{Fault, Notifier, Sharing, backoff::Backoff, route::Routes},
    registry::Registry,
    rollout::{
        driver::{self, Driver},
        shelf::Shelf,
    },
    rulebook::Rulebook,
    store::StoreError,
    tail::{self, Tail},
    telemetry::Metrics,
    traces::{self, Export, Pipe},
    views::Views,
};

/// Time for answers under way at the end.
const GRACE: Duration = Duration::from_secs(5);
/// Time in which each of several collectors has said at least once how its nodes are.
const SETTLE: Duration = Duration::from_secs(15);
/// An agent that does not answer so long is gone.
const KEEPALIVE: Duration = Duration::from_secs(30);

/// Why the collector could not start, or had to end.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// The machine refuses something ordinary.
    #[error("cannot {operation}")]
    System {
        /// What was tried.
        operation: &'static str,
        /// Why not.
        source: io::Error,
    },
    /// Certificates, tokens or keys cannot be used.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// What is served cannot be described.
    #[error("cannot describe the services")]
    Reflection(#[from] tonic_reflection::server::Error),
    /// The address cannot be used.
    #[error("cannot listen on {address}")]
    Listen {
        /// Which.
        address: SocketAddr,
        /// Why not.
        source: io::Error,
    },
    /// The store cannot be opened.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The bus cannot be used.
    #[error(transparent)]
    Bus(#[from] BusError),
    /// Channels cannot be used.
    #[error(transparent)]
    Notify(#[from] Fault),
    /// Spans cannot be sent.
    #[error(transparent)]
    Traces(#[from] traces::Unusable),
    /// Metrics cannot be made.
    #[error(transparent)]
    Metrics(#[from] prometheus::Error),
    /// TLS cannot be used, or the server failed.
    #[error("the gRPC server failed")]
    Grpc(#[from] tonic::transport::Error),
    /// A task failed.
    #[error("a task failed")]
    Task(#[from] JoinError),
    /// A task ended that should run as long as the collector.
    #[error("a server ended unexpectedly")]
    Ended,
}

/// The running collector.
#[derive(Debug)]
pub struct Collector {
    /// Where agents connect.
    pub grpc: SocketAddr,
    /// Where people look.
    pub http: SocketAddr,
    tasks: JoinSet<Result<(), AppError>>,
    stop: watch::Sender<bool>,
    store: Option<thread::JoinHandle<()>>,
    traces: Option<Traces>,
}

/// The task that sends spans; it ends after everything that makes some.
#[derive(Debug)]
struct Traces {
    task: JoinHandle<()>,
    stop: watch::Sender<bool>,
}

/// Runs until told to stop.
pub fn run(config: Config, spans: Option<Pipe>) -> Result<(), AppError> {
    let system = |operation| move |source| AppError::System { operation, source };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(system("start the runtime"))?;
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate()).map_err(system("listen to signals"))?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(system("listen to signals"))?;
        let mut collector = Collector::start_with(config, spans).await?;
        tracing::info!(grpc = %collector.grpc, http = %collector.http, "Ready");
        let outcome = tokio::select! {
            _ = terminate.recv() => Ok(()),
            _ = interrupt.recv() => Ok(()),
            ended = collector.ended() => ended,
        };
        tracing::info!("Stopping");
        collector.stop().await;
        outcome
    })
}

impl Collector {
    /// Opens everything and starts every task.
    pub async fn start(config: Config) -> Result<Self, AppError> {
        Self::start_with(config, None).await
    }

    /// The same, and sends these spans.
    async fn start_with(config: Config, spans: Option<Pipe>) -> Result<Self, AppError> {
        let place = config.place();
        if !place.is_shared() {
            make_folder(&config.store)?;
        }
        let kept = place.clone();
        let records = Records::new(blocking(move || kept.book()).await??);
        // What is refused must be known before anybody is let in.
        let first = records.run(|book| Revoked::load(book)).await?;
        let (refuse, revoked) = watch::channel(Arc::new(first));
        let (plans, plan) = watch::channel(Arc::new(records.run(driver::first).await?));
        let identities = Identities::open(&config, records.clone(), revoked.clone())?;
        let Config { retention, channels, bus, .. } = config.clone();
        let metrics = Arc::new(Metrics::new()?);
        let traces = spans.map(|spans| Traces::start(spans, &metrics)).transpose()?;
        let routes = Arc::new(Routes::of_channels(&channels));
        let opened = place.clone();
        let writer = blocking(move || opened.writer()).await??;
        let shared = place.clone();
        let from = if place.is_shared() { blocking(move || tail::newest(&shared)).await?? } else { 0 };
        let bus = bus.map(|settings| Bus::new(settings, Arc::clone(&metrics))).transpose()?.map(Arc::new);
        let (sender, queue) = mpsc::channel(bus::QUEUE);
        let shown =
            if place.is_shared() { Shown::Elsewhere(bus.is_some().then_some(sender)) } else { Shown::Here };
        let start = Start { writer, shown, routes, metrics: Arc::clone(&metrics) };
        let (ingest, thread) = Ingest::start(start)
            .map_err(|source| AppError::System { operation: "start a thread", source })?;
        let (stop, stopped) = watch::channel(false);
        let registry = Arc::new(Registry::default());
        let (any, current) = (place.clone(), place.clone());
        let views = Arc::new(Views::new(
            ingest.clone(),
            Arc::clone(&metrics),
            Arc::clone(&registry),
            stopped.clone(),
            Box::new(move || any.reader()),
            Box::new(move || current.current_reader()),
        ));
        let dispatch = Arc::new(Dispatch::new(records.clone(), Arc::clone(&registry), Arc::clone(&metrics)));
        let (gives, ends) = (Arc::clone(&dispatch), stopped.clone());
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            gives.run(ends).await;
            Ok(())
        });
        let agents = Agents {
            ingest: ingest.clone(),
            registry: Arc::clone(&registry),
            dispatch,
            metrics: Arc::clone(&metrics),
            stop: stopped.clone(),
            is_tls: config.grpc.tls.is_some(),
            revoked,
            plan,
            shelf: Arc::new(Shelf::new(records.clone())),
            rulebook: Arc::new(Rulebook::new(records.clone(), retention.longest())),
        };
        let services = servers::grpc(&config, &identities, agents, Arc::clone(&views), &metrics).await?;
        let (grpc_listener, grpc) = listen(config.grpc.listen).await?;
        let (http_listener, http) = listen(config.http.listen).await?;
        let tls = config.grpc.tls.as_ref();
        servers::spawn_grpc(&mut tasks, (grpc_listener, grpc), tls, &identities, services, &stopped)?;
        let seen = (views, Arc::clone(&metrics));
        servers::spawn_http(
            &mut tasks,
            (http_listener, http),
            config.http.is_tls,
            &identities,
            seen,
            &stopped,
        )?;
        let (follows, ends) = (records.clone(), stopped.clone());
        tasks.spawn(async move {
            follow(follows, refuse, ends).await;
            Ok(())
        });
        let driver = Driver {
            records: records.clone(),
            registry: Arc::clone(&registry),
            ingest: ingest.clone(),
            metrics: Arc::clone(&metrics),
            settle: if place.is_shared() { SETTLE } else { Duration::ZERO },
            plan: plans,
        };
        let ends = stopped.clone();
        tasks.spawn(async move {
            driver.run(ends).await;
            Ok(())
        });
        if place.is_shared() {
            let (tells, ends) = (records.clone(), stopped.clone());
            tasks.spawn(async move {
                census::run(tells, registry, ends).await;
                Ok(())
            });
        }
        let (keys, refused, ends) = (identities.keys.clone(), identities.revoked.clone(), stopped.clone());
        tasks.spawn(async move {
            keep(records, keys, refused, ends).await;
            Ok(())
        });
        if let Some(ends) = identities.authority_ends_secs() {
            metrics.certificate_expiry.with_label_values(&["authority"]).set(ends);
        }
        if let Some(shown) = identities.shown() {
            let (expiry, ends) = (metrics.certificate_expiry.clone(), stopped.clone());
            tasks.spawn(async move {
                shown.keep(expiry, ends).await;
                Ok(())
            });
        }
        let (trimmed, counted) = (ingest.clone(), Arc::clone(&metrics));
        let ends = stopped.clone();
        tasks.spawn(async move {
            trim(trimmed, counted, retention, ends).await;
            Ok(())
        });
        let (hear, heard) = watch::channel(0);
        if place.is_shared() {
            let (feed, commits) = (ingest.feed(), ingest.commits());
            let tail = Tail { place: place.clone(), feed, commits, heard: heard.clone(), from };
            let ends = stopped.clone();
            tasks.spawn(async move {
                tail.run(ends).await;
                Ok(())
            });
        }
        if let Some(bus) = &bus {
            let (bus, ends) = (Arc::clone(bus), stopped.clone());
            tasks.spawn(async move {
                tokio::join!(bus.send(queue, ends.clone()), bus.listen(hear, ends));
                Ok(())
            });
        }
        if !channels.is_empty() {
            let shared = Sharing { takeover: place.takeover(), bus, heard };
            let notifier = Notifier::new(channels, ingest, metrics, Backoff::default(), shared)?;
            tasks.spawn(async move {
                notifier.run(stopped).await;
                Ok(())
            });
        }
        Ok(Self { grpc, http, tasks, stop, store: Some(thread), traces })
    }

    /// Waits until a task ends, which none should.
    async fn ended(&mut self) -> Result<(), AppError> {
        match self.tasks.join_next().await {
            Some(ended) => ended?.and(Err(AppError::Ended)),
            None => Err(AppError::Ended),
        }
    }

    /// Ends the servers, then the store's thread, which stores what it has.
    pub async fn stop(mut self) {
        // Whoever listens to it ends; nobody may.
        let _ = self.stop.send(true);
        let all = async { while self.tasks.join_next().await.is_some() {} };
        if timeout(GRACE, all).await.is_err() {
            self.tasks.shutdown().await;
        }
        if let Some(store) = self.store.take() {
            // Connections that are still open hold the way to the thread; what they sent is not acknowledged.
            let joined = tokio::task::spawn_blocking(move || store.join());
            if timeout(GRACE, joined).await.is_err() {
                tracing::warn!("The store's thread does not end, what is not acknowledged comes again");
            }
        }
        if let Some(Traces { task, stop }) = self.traces.take() {
            let _ = stop.send(true);
            // It ends by itself within a few seconds, whoever does not answer.
            if task.await.is_err() {
                tracing::warn!("What is left of the traces is lost");
            }
        }
    }
}

impl Traces {
    fn start(spans: Pipe, metrics: &Metrics) -> Result<Self, AppError> {
        metrics.show(spans.counts())?;
        let export = Export::new(spans)?;
        let (stop, ends) = watch::channel(false);
        Ok(Self { task: tokio::spawn(export.run(ends)), stop })
    }
}

/// Does something that waits on a thread where that is allowed.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, JoinError> {
    tokio::task::spawn_blocking(work).await
}

/// The store's directory, for the owner only: alerts name files and arguments of every user.
fn make_folder(store: &Path) -> Result<(), AppError> {
    let Some(folder) = store.parent().filter(|folder| !folder.as_os_str().is_empty()) else { return Ok(()) };
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .map_err(|source| AppError::System { operation: "make the store's directory", source })
}

async fn listen(address: SocketAddr) -> Result<(TcpListener, SocketAddr), AppError> {
    let fault = |source| AppError::Listen { address, source };
    let listener = TcpListener::bind(address).await.map_err(fault)?;
    let bound = listener.local_addr().map_err(fault)?;
    Ok((listener, bound))
}
