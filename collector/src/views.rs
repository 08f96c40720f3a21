//! What can be asked, whichever way it is asked: readers of the store, on threads of their own, and the registry.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::{
    sync::{Semaphore, watch},
    task::spawn_blocking,
};

use crate::{
    alert::{Filter, Stored},
    ingest::Ingest,
    registry::{Beat, Node, Registry},
    store::{Dead, NodeTotals, Reader, Size, StoreError},
    telemetry::Metrics,
};

/// Alerts of a page that says nothing else.
pub const PAGE: usize = 100;
/// Alerts of the largest page.
pub const PAGE_MAX: usize = 1000;
/// Questions answered at a time; more wait.
const READERS: usize = 4;

type Open = dyn Fn() -> Result<Box<dyn Reader>, StoreError> + Send + Sync;

/// Everything that can be asked.
pub struct Views {
    /// The live feed.
    pub ingest: Ingest,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// True when the collector ends.
    pub stop: watch::Receiver<bool>,
    registry: Arc<Registry>,
    open: Box<Open>,
    idle: Mutex<Vec<Box<dyn Reader>>>,
    turns: Semaphore,
}

/// A node, as far as it is known.
#[derive(Clone, Debug, Default)]
pub struct NodeView {
    /// Its name.
    pub name: String,
    /// What it said of itself since the collector started.
    pub node: Option<Node>,
    /// Its last heartbeat.
    pub beat: Option<Beat>,
    /// What it has sent.
    pub totals: NodeTotals,
}

/// A question could not be answered.
#[derive(Debug, thiserror::Error)]
pub enum ViewError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The collector ends.
    #[error("the collector ends")]
    Ending,
}

impl fmt::Debug for Views {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Views").finish_non_exhaustive()
    }
}

impl Views {
    /// Views of what `open` opens.
    pub fn new(
        ingest: Ingest,
        metrics: Arc<Metrics>,
        registry: Arc<Registry>,
        stop: watch::Receiver<bool>,
        open: Box<Open>,
    ) -> Self {
        Self { ingest, metrics, stop, registry, open, idle: Mutex::default(), turns: Semaphore::new(READERS) }
    }

    /// A page of alerts, newest first, and where the next one begins.
    pub async fn alerts(
        self: &Arc<Self>,
        filter: Filter,
        limit: usize,
        before: Option<u64>,
    ) -> Result<(Vec<Stored>, Option<u64>), ViewError> {
        let alerts = self.read(move |reader| reader.alerts(&filter, limit, before)).await?;
        let next = if alerts.len() < limit { None } else { alerts.last().map(|stored| stored.number) };
        Ok((alerts, next))
    }

    /// Alerts above a number, oldest first.
    pub async fn alerts_after(
        self: &Arc<Self>,
        filter: Filter,
        after: u64,
    ) -> Result<Vec<Stored>, ViewError> {
        self.read(move |reader| reader.alerts_after(&filter, PAGE_MAX, after)).await
    }

    /// One alert.
    pub async fn alert(self: &Arc<Self>, number: u64) -> Result<Option<Stored>, ViewError> {
        self.read(move |reader| reader.alert(number)).await
    }

    /// Dead letters, the newest first.
    pub async fn dead(self: &Arc<Self>) -> Result<Vec<Dead>, ViewError> {
        self.read(|reader| reader.dead(PAGE_MAX)).await
    }

    /// How large the store is.
    pub async fn size(self: &Arc<Self>) -> Result<Size, ViewError> {
        self.read(|reader| reader.size()).await
    }

    /// All nodes, by name.
    pub async fn nodes(self: &Arc<Self>) -> Result<Vec<NodeView>, ViewError> {
        let stored = self.read(|reader| reader.nodes()).await?;
        let mut nodes: BTreeMap<String, NodeView> = BTreeMap::new();
        for totals in stored {
            let view = nodes.entry(totals.node.clone()).or_default();
            view.totals = totals;
        }
        for (name, node) in self.registry.nodes() {
            let view = nodes.entry(name).or_default();
            view.beat.clone_from(&node.beat);
            view.node = Some(node);
        }
        let named = |(name, view): (String, NodeView)| NodeView { name, ..view };
        Ok(nodes.into_iter().map(named).collect())
    }

    async fn read<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&dyn Reader) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, ViewError> {
        let _turn = self.turns.acquire().await.map_err(|_| ViewError::Ending)?;
        let views = Arc::clone(self);
        let done = spawn_blocking(move || {
            let idle = || views.idle.lock().unwrap_or_else(PoisonError::into_inner);
            let kept = idle().pop();
            let reader = match kept {
                Some(reader) => reader,
                None => (views.open)()?,
            };
            let value = work(&*reader)?;
            idle().push(reader);
            Ok(value)
        });
        done.await.unwrap_or(Err(ViewError::Ending))
    }
}
