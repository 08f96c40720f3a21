//! The only wiring: opens everything, starts every task, and ends them in order.

use std::{
    fs, io, net::SocketAddr, os::unix::fs::DirBuilderExt, path::Path, sync::Arc, thread, time::Duration,
};

use rampart_proto::v1::{agent_service_server::AgentServiceServer, query_service_server::QueryServiceServer};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    sync::watch,
    task::{JoinError, JoinSet},
    time::{sleep, timeout},
};
use tonic::transport::{
    Certificate, Identity, Server, ServerTlsConfig,
    server::{Router, TcpIncoming},
};

use crate::{
    agents::{Agents, MESSAGE_MAX},
    config::{Config, Tls},
    http,
    ingest::{Ingest, Start, now_ns},
    notify::{Fault, Notifier, backoff::Backoff, route::Routes},
    query::Query,
    registry::Registry,
    store::{Reader, Retention, StoreError, sqlite},
    telemetry::Metrics,
    views::Views,
};

/// Time between two looks for alerts that are kept no longer.
const TRIM: Duration = Duration::from_mins(1);
/// Time between two steps, in which alerts are stored.
const TRIM_STEP: Duration = Duration::from_millis(50);
/// Time for answers under way at the end.
const GRACE: Duration = Duration::from_secs(5);
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
    /// A file cannot be read.
    #[error("cannot read `{path}`")]
    File {
        /// Which.
        path: String,
        /// Why not.
        source: io::Error,
    },
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
    /// Channels cannot be used.
    #[error(transparent)]
    Notify(#[from] Fault),
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
}

/// Runs until told to stop.
pub fn run(config: Config) -> Result<(), AppError> {
    let system = |operation| move |source| AppError::System { operation, source };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(system("start the runtime"))?;
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate()).map_err(system("listen to signals"))?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(system("listen to signals"))?;
        let mut collector = Collector::start(config).await?;
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
        let Config { grpc, http, store, retention, channels, .. } = config;
        make_folder(&store)?;
        let writer = Box::new(sqlite::writer(&store)?);
        let metrics = Arc::new(Metrics::new()?);
        let routes = Arc::new(Routes::of_channels(&channels));
        let start = Start { writer, routes, metrics: Arc::clone(&metrics) };
        let (ingest, thread) = Ingest::start(start)
            .map_err(|source| AppError::System { operation: "start a thread", source })?;
        let (stop, stopped) = watch::channel(false);
        let registry = Arc::new(Registry::default());
        let readers = sqlite::Readers::of(&store);
        let open = move || -> Result<Box<dyn Reader>, StoreError> { Ok(Box::new(readers.open()?)) };
        let views = Arc::new(Views::new(
            ingest.clone(),
            Arc::clone(&metrics),
            Arc::clone(&registry),
            stopped.clone(),
            Box::new(open),
        ));
        let agents =
            Agents { ingest: ingest.clone(), registry, metrics: Arc::clone(&metrics), stop: stopped.clone() };
        let server = services(agents, Arc::clone(&views), grpc.tls.as_ref())?;
        let (grpc_listener, grpc) = listen(grpc.listen).await?;
        let (http_listener, http) = listen(http).await?;
        let mut tasks = JoinSet::new();
        let mut ends = stopped.clone();
        tasks.spawn(async move {
            let end = async move {
                let _ = ends.wait_for(|stop| *stop).await;
            };
            let incoming = TcpIncoming::from(grpc_listener).with_nodelay(Some(true));
            Ok(server.serve_with_incoming_shutdown(incoming, end).await?)
        });
        let mut ends = stopped.clone();
        tasks.spawn(async move {
            let end = async move {
                let _ = ends.wait_for(|stop| *stop).await;
            };
            let pages = axum::serve(http_listener, http::router(views)).with_graceful_shutdown(end);
            pages.await.map_err(|source| AppError::System { operation: "serve HTTP", source })
        });
        let (trimmed, counted) = (ingest.clone(), Arc::clone(&metrics));
        let ends = stopped.clone();
        tasks.spawn(async move {
            trim(trimmed, counted, retention, ends).await;
            Ok(())
        });
        if !channels.is_empty() {
            let notifier = Notifier::new(channels, ingest, metrics, Backoff::default())?;
            tasks.spawn(async move {
                notifier.run(stopped).await;
                Ok(())
            });
        }
        Ok(Self { grpc, http, tasks, stop, store: Some(thread) })
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
    }
}

fn services(agents: Agents, views: Arc<Views>, tls: Option<&Tls>) -> Result<Router, AppError> {
    let mut server = Server::builder()
        .http2_keepalive_interval(Some(KEEPALIVE))
        .http2_keepalive_timeout(Some(KEEPALIVE))
        .tcp_nodelay(true);
    if let Some(tls) = tls {
        let identity = Identity::from_pem(read(&tls.cert)?, read(&tls.key)?);
        let client_ca = Certificate::from_pem(read(&tls.client_ca)?);
        server = server.tls_config(ServerTlsConfig::new().identity(identity).client_ca_root(client_ca))?;
    }
    let agents = AgentServiceServer::new(agents).max_decoding_message_size(MESSAGE_MAX);
    Ok(server.add_service(agents).add_service(QueryServiceServer::new(Query { views })))
}

fn read(path: &Path) -> Result<Vec<u8>, AppError> {
    fs::read(path).map_err(|source| AppError::File { path: path.display().to_string(), source })
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

/// Removes what is kept no longer, a little at a time.
async fn trim(ingest: Ingest, metrics: Arc<Metrics>, retention: Retention, mut stop: watch::Receiver<bool>) {
    let mut pause = TRIM;
    loop {
        tokio::select! {
            _ = stop.wait_for(|stop| *stop) => return,
            () = sleep(pause) => {}
        }
        let removed = ingest.run(move |writer| writer.trim(&retention, now_ns())).await.unwrap_or(0);
        metrics.trimmed.inc_by(removed);
        pause = if removed > 0 { TRIM_STEP } else { TRIM };
    }
}
