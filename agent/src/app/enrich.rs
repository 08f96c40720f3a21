//! Between the detection thread and the tasks that ask container runtimes and the API server: bounded channels in
//! both directions, and nobody on the thread's side waits.

use std::{
    io,
    sync::{
        Arc,
        mpsc::{self as mpsc_std, SyncSender},
    },
};

use tokio::sync::mpsc::{self, error::TrySendError};

use super::{digests, ports::Wake, tasks::Tasks};
use crate::{
    alert::Alert,
    config::{Config, WatchMode},
    container::{
        kubernetes::{self, Watch},
        lookup::{self, Outlet},
    },
    engine::{Detector, clock::boot_now_ns},
    state::{
        container::{News, Wanted},
        digest::DigestWanted,
    },
    telemetry::status::Status,
};

/// Names of the tasks.
const LOOKUP: &str = "containers";
const PODS: &str = "pods";
/// Containers on their way to the look-up; what finds no room stays in the detector's own bounded queue.
const REQUESTS: usize = 256;
/// News on their way to the detection thread; whoever has more waits.
const NEWS: usize = 256;

/// The detection thread's ends of the channels.
pub(super) struct Enrich {
    requests: mpsc::Sender<Wanted>,
    news: mpsc::Receiver<News>,
    /// Executed files, to be read.
    files: Option<SyncSender<DigestWanted>>,
}

impl Enrich {
    /// Starts the tasks that the configuration asks for.
    pub(super) fn start(
        config: &Config,
        tasks: &mut Tasks,
        waker: &Arc<dyn Wake>,
        status: &Status,
    ) -> io::Result<Self> {
        let tallies = &status.lookups;
        let (requests, requested) = mpsc::channel(REQUESTS);
        let (sender, news) = mpsc::channel(NEWS);
        let waker = Arc::clone(waker);
        let outlet = Outlet { news: sender, wake: Arc::new(move || waker.wake()) };
        let files_outlet = outlet.clone();
        if config.containers.enabled {
            let (sockets, outlet, tallies) =
                (config.containers.sockets.clone(), outlet.clone(), Arc::clone(tallies));
            tasks.task(LOOKUP, async move {
                lookup::run(sockets, requested, outlet, tallies).await;
                // It ends with the thread that asks, and that end is the one to be told.
                std::future::pending().await
            });
        }
        let wanted = match config.kubernetes.watch {
            WatchMode::Off => false,
            WatchMode::On => true,
            WatchMode::Auto => config.kubernetes.kubeconfig.is_some() || kubernetes::in_cluster(),
        };
        if wanted {
            let watch = Watch {
                node_name: config.kubernetes.node_name.clone(),
                kubeconfig: config.kubernetes.kubeconfig.clone(),
            };
            let (must, tallies) = (config.kubernetes.watch == WatchMode::On, Arc::clone(tallies));
            tasks.task(PODS, async move {
                match kubernetes::client(&watch).await {
                    Ok(client) => kubernetes::run(client, &watch.node_name, outlet, tallies).await,
                    Err(error) if must => return Err(error.into()),
                    Err(error) => {
                        tracing::warn!("Pods are not watched: {}", super::in_full(&error));
                        std::future::pending::<()>().await;
                    }
                }
                Ok(())
            });
        }
        let files = digests::start(config.digests, files_outlet, &status.digests, tasks)?;
        Ok(Self { requests, news, files })
    }

    /// Hands over what the detector wants to know and what it is told.
    pub(super) fn exchange(&mut self, detector: &mut Detector, sink: &mut dyn FnMut(Alert)) {
        self.ask(detector);
        while let Some(news) = self.next_news() {
            detector.on_news(news, boot_now_ns(), sink);
        }
        detector.on_time(boot_now_ns(), sink);
    }

    /// Hands over what the detector wants to know.
    pub(super) fn ask(&mut self, detector: &mut Detector) {
        while let Some(wanted) = detector.next_request() {
            match self.requests.try_send(wanted) {
                Ok(()) => {}
                Err(TrySendError::Full(wanted)) => {
                    detector.put_back(wanted);
                    break;
                }
                // Nobody looks up: the tasks have ended, and so will the agent.
                Err(TrySendError::Closed(_)) => break,
            }
        }
        let Some(files) = &self.files else { return };
        while let Some(wanted) = detector.next_digest() {
            if let Err(mpsc_std::TrySendError::Full(wanted)) = files.try_send(wanted) {
                detector.put_back_digest(wanted);
                break;
            }
        }
    }

    /// What was learned next, if anything.
    pub(super) fn next_news(&mut self) -> Option<News> {
        self.news.try_recv().ok()
    }
}

/// Longest wait for metadata as the engine takes it; `None` when nobody is asked.
pub(super) fn metadata_wait_ns(config: &Config) -> Option<u64> {
    let wait = config.containers.wait.as_nanos();
    config.containers.enabled.then(|| u64::try_from(wait).unwrap_or(u64::MAX))
}
