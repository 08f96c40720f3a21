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
    rollout::driver,
    store::{Dead, NodeTotals, Reader, Size, StoreError},
    telemetry::Metrics,
};

/// Alerts of a page that says nothing else.
pub const PAGE: usize = 100;
/// Alerts of the largest page.
pub const PAGE_MAX: usize = 1000;
/// Alerts that a search looks at for one page; the next one goes on from there.
const SEARCHED: u64 = 200_000;
/// Which readers.
const ANY: usize = 0;
const CURRENT: usize = 1;
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
    /// Of any copy of the store, and of what is stored by now.
    readers: [Pool; 2],
    turns: Semaphore,
}

/// Readers of one kind.
struct Pool {
    open: Box<Open>,
    idle: Mutex<Vec<Box<dyn Reader>>>,
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
    /// Views of what `any` opens, which may be a little behind, and where that must not be, of what `current` opens.
    pub fn new(
        ingest: Ingest,
        metrics: Arc<Metrics>,
        registry: Arc<Registry>,
        stop: watch::Receiver<bool>,
        any: Box<Open>,
        current: Box<Open>,
    ) -> Self {
        let readers = [any, current].map(|open| Pool { open, idle: Mutex::default() });
        Self { ingest, metrics, stop, registry, readers, turns: Semaphore::new(READERS) }
    }

    /// A page of alerts, newest first, and where the next one begins. A search may give a short page, or an empty one, and
    /// go on at the next.
    pub async fn alerts(
        self: &Arc<Self>,
        filter: Filter,
        limit: usize,
        before: Option<u64>,
    ) -> Result<(Vec<Stored>, Option<u64>), ViewError> {
        self.read(move |reader| page(reader, filter, limit, before, SEARCHED)).await
    }

    /// Alerts above a number, oldest first.
    pub async fn alerts_after(
        self: &Arc<Self>,
        filter: Filter,
        after: u64,
    ) -> Result<Vec<Stored>, ViewError> {
        // Who watches goes on from here: what a copy does not have yet would be missed for good.
        self.read_of(CURRENT, move |reader| reader.alerts_after(&filter, PAGE_MAX, after)).await
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
        // The collector is no node.
        for totals in stored.into_iter().filter(|totals| totals.node != driver::NODE) {
            let view = nodes.entry(totals.node.clone()).or_default();
            view.totals = totals;
        }
        for (name, node) in self.registry.all() {
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
        self.read_of(ANY, work).await
    }

    async fn read_of<T: Send + 'static>(
        self: &Arc<Self>,
        kind: usize,
        work: impl FnOnce(&dyn Reader) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, ViewError> {
        let _turn = self.turns.acquire().await.map_err(|_| ViewError::Ending)?;
        let views = Arc::clone(self);
        let done = spawn_blocking(move || {
            let Some(pool) = views.readers.get(kind) else { return Err(ViewError::Ending) };
            let idle = || pool.idle.lock().unwrap_or_else(PoisonError::into_inner);
            let kept = idle().pop();
            let reader = match kept {
                Some(reader) => reader,
                None => (pool.open)()?,
            };
            let value = work(&*reader)?;
            idle().push(reader);
            Ok(value)
        });
        done.await.unwrap_or(Err(ViewError::Ending))
    }
}

/// See [`Views::alerts`].
fn page(
    reader: &dyn Reader,
    mut filter: Filter,
    limit: usize,
    before: Option<u64>,
    searched: u64,
) -> Result<(Vec<Stored>, Option<u64>), StoreError> {
    let mut end = None;
    if filter.is_a_search() {
        let top = match before {
            Some(before) => before,
            None => reader.alerts(&Filter::default(), 1, None)?.first().map_or(0, |stored| stored.number + 1),
        };
        let above = top.saturating_sub(searched.saturating_add(1));
        // Numbers begin at 1.
        end = (above > 0).then_some(above + 1);
        filter.above = Some(above);
    }
    let alerts = reader.alerts(&filter, limit, before)?;
    let next = if alerts.len() < limit { end } else { alerts.last().map(|stored| stored.number) };
    Ok((alerts, next))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        alert::{Needle, Priority, tests::alert},
        store::{Batch, sqlite},
    };

    #[test]
    fn a_search_looks_at_so_many_and_goes_on_at_the_next_page() {
        let dir = tempfile::tempdir().unwrap();
        let mut writer = sqlite::writer(&dir.path().join("db")).unwrap();
        let rule = |number| if number % 7 == 0 { "odd" } else { "even" };
        let alerts = (1..=50).map(|number| alert(1, number, Priority::Error, rule(number))).collect();
        crate::store::Writer::store(&mut writer, vec![Batch { node: "n".into(), alerts }], 1, &|_, _| {
            Vec::new()
        })
        .unwrap();
        let reader = sqlite::reader(&dir.path().join("db")).unwrap();
        let filter = Filter { text: Some(Needle::new("odd")), ..Filter::default() };
        let (mut found, mut before, mut pages) = (Vec::new(), None, 0);
        loop {
            let (alerts, next) = page(&reader, filter.clone(), 2, before, 10).unwrap();
            found.extend(alerts.iter().map(|stored| stored.number));
            pages += 1;
            assert!(next.is_none_or(|next| before.is_none_or(|before| next < before)));
            let Some(next) = next else { break };
            before = Some(next);
        }
        assert_eq!(found, [49, 42, 35, 28, 21, 14, 7]);
        assert!(pages >= 5, "{pages}");
    }
}
