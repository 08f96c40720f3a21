//! The pods of this node as the API server knows them, by a watch that is restricted to the node.
//!
//! Bookmarks, listing anew after a gap and waiting after faults are the watcher's; here objects become [`Pod`]s.

mod pod;

use std::{
    path::PathBuf,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::{Duration, Instant},
};

use futures_util::{Stream, StreamExt};
use k8s_openapi::api::core::v1;
use kube::{
    Api, Client, Config,
    config::{InClusterError, KubeConfigOptions, Kubeconfig, KubeconfigError},
    runtime::{
        WatchStreamExt,
        utils::Backoff,
        watcher::{self, Event},
    },
};

use super::lookup::{Outlet, Tallies};
use crate::{
    retry::Retry,
    state::container::{News, Pod},
};

/// A watch that fails again only after so long was well in between.
const WELL: Duration = Duration::from_mins(2);
/// Most pods taken from one listing; a node runs far fewer.
const PODS_MAX: usize = 4096;

/// What is watched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watch {
    /// Name of the node in the cluster.
    pub node_name: String,
    /// How to reach the API server; `None` for the service account of the agent's own pod.
    pub kubeconfig: Option<PathBuf>,
}

/// Why there is no watch.
#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    /// The pod has no usable service account.
    #[error("cannot read the service account of this pod")]
    InCluster(#[from] InClusterError),
    /// The file is no usable configuration.
    #[error("cannot use the cluster configuration `{}`", path.display())]
    Kubeconfig {
        /// The file.
        path: PathBuf,
        /// Why.
        source: Box<KubeconfigError>,
    },
    /// There is no client for it.
    #[error("cannot prepare a client of the API server")]
    Client(#[from] kube::Error),
}

/// Whether this process runs in a pod that was given a service account.
pub fn in_cluster() -> bool {
    std::env::var_os("KUBERNETES_SERVICE_HOST").is_some()
}

/// Prepares the watch; talks to nobody yet.
pub async fn client(watch: &Watch) -> Result<Client, WatchError> {
    let config = match &watch.kubeconfig {
        None => Config::incluster()?,
        Some(path) => {
            let fault = |source| WatchError::Kubeconfig { path: path.clone(), source: Box::new(source) };
            let file = Kubeconfig::read_from(path).map_err(fault)?;
            Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await.map_err(fault)?
        }
    };
    Ok(Client::try_from(config)?)
}

/// The agent's own waits between two tries of a watch, in the form that the watcher asks for.
#[derive(Debug, Default)]
struct Waits {
    retry: Retry,
    failed: Option<Instant>,
}

impl Iterator for Waits {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let now = Instant::now();
        if self.failed.is_some_and(|at| now.saturating_duration_since(at) > WELL) {
            self.retry.succeeded();
        }
        self.failed = Some(now);
        Some(self.retry.failed())
    }
}

impl Backoff for Waits {
    /// Nothing: each try begins with an event, also one that fails then.
    fn reset(&mut self) {}
}

/// Passes pods on until nobody takes them any more.
pub async fn run(client: Client, node_name: &str, outlet: Outlet, tallies: Arc<Tallies>) {
    let pods: Api<v1::Pod> = Api::all(client);
    let config = watcher::Config::default().fields(&format!("spec.nodeName={node_name}"));
    follow(watcher::watcher(pods, config).backoff(Waits::default()), &outlet, &tallies).await;
}

async fn follow(
    events: impl Stream<Item = Result<Event<v1::Pod>, watcher::Error>>,
    outlet: &Outlet,
    tallies: &Tallies,
) {
    let mut events = std::pin::pin!(events);
    let mut listed: Vec<Arc<Pod>> = Vec::new();
    let mut failing = false;
    while let Some(event) = events.next().await {
        let news = match event {
            Ok(Event::Init) => {
                listed.clear();
                None
            }
            Ok(Event::InitApply(pod)) => {
                if listed.len() < PODS_MAX {
                    listed.extend(pod::convert(pod).map(Arc::new));
                }
                None
            }
            Ok(Event::InitDone) => Some(News::Pods(std::mem::take(&mut listed))),
            Ok(Event::Apply(pod)) => pod::convert(pod).map(|pod| News::Pod(Arc::new(pod))),
            Ok(Event::Delete(pod)) => pod.metadata.uid.map(News::PodGone),
            Err(error) => {
                tallies.pod_errors.fetch_add(1, Relaxed);
                // Said once for each time the watch breaks; the watcher tries again by itself.
                if !std::mem::replace(&mut failing, true) {
                    tracing::warn!("Pods cannot be watched: {}", crate::app::in_full(&error));
                }
                continue;
            }
        };
        if std::mem::take(&mut failing) {
            tracing::info!("Pods are watched again");
        }
        if let Some(news) = news {
            tallies.pods.fetch_add(1, Relaxed);
            if !outlet.send(news).await {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests;
