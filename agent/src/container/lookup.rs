//! The task that looks containers up: bounded, with time limits, retries and counters.
//!
//! A runtime may be asked about a container before it knows it itself, so what nobody knows is asked again a few
//! times. What is still unknown then is told as such, and the detection side asks again much later.

mod asker;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::{
    sync::{Semaphore, mpsc},
    task::JoinSet,
    time::sleep,
};

use self::asker::{Asker, Outcome};
use super::{names::Reader, sockets::Sockets};
use crate::state::{
    cgroup::Container,
    container::{Metadata, News, Wanted},
    users::NameTable,
};

/// Containers looked up at the same time; the rest wait in the channel.
const CONCURRENT: usize = 16;
/// Waits before each further try; a container that no runtime knows after half a second is not theirs.
const RETRIES: [Duration; 5] = [
    Duration::from_millis(20),
    Duration::from_millis(30),
    Duration::from_millis(60),
    Duration::from_millis(120),
    Duration::from_millis(240),
];
/// Longest time for the names of users and groups when an event may wait for them; they are in the page cache of a
/// container that just started.
const NAMES_FIRST_MAX: Duration = Duration::from_millis(50);
/// Longest time for them when nothing waits.
const NAMES_MAX: Duration = Duration::from_millis(500);
/// When a container that was not ready is asked about again.
const SETTLE: Duration = Duration::from_secs(1);

/// Counters since the start.
#[derive(Debug, Default)]
pub struct Tallies {
    /// Containers found.
    pub found: AtomicU64,
    /// Containers that no runtime knows.
    pub unknown: AtomicU64,
    /// Containers that no runtime could be asked about.
    pub failed: AtomicU64,
    /// Questions without an answer in time.
    pub timeouts: AtomicU64,
    /// Look-ups under way.
    pub running: AtomicU64,
    /// Events of the API server's watch.
    pub pods: AtomicU64,
    /// Faults of the watch.
    pub pod_errors: AtomicU64,
}

/// Called after news were sent.
pub type Wake = Arc<dyn Fn() + Send + Sync>;

/// Where news go.
#[derive(Clone)]
pub struct Outlet {
    /// Bounded; whoever has news waits.
    pub news: mpsc::Sender<News>,
    /// Ends the detection thread's wait.
    pub wake: Wake,
}

impl Outlet {
    /// Sends news; `false` when nobody takes them any more.
    pub async fn send(&self, news: News) -> bool {
        let taken = self.news.send(news).await.is_ok();
        (self.wake)();
        taken
    }
}

/// Looks up what is asked for until the asking side is gone.
pub async fn run(
    sockets: Sockets,
    mut requests: mpsc::Receiver<Wanted>,
    outlet: Outlet,
    tallies: Arc<Tallies>,
) {
    let asker = Arc::new(Asker::new(sockets, Arc::clone(&tallies)));
    let reader = Arc::new(Reader::default());
    let places = Arc::new(Semaphore::new(CONCURRENT));
    let mut running = JoinSet::new();
    while let Some(Wanted { container, process, names_only }) = requests.recv().await {
        while running.try_join_next().is_some() {}
        // The semaphore is never closed.
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        let (asker, outlet, tallies) = (Arc::clone(&asker), outlet.clone(), Arc::clone(&tallies));
        let reader = Arc::clone(&reader);
        running.spawn(async move {
            if names_only {
                let names = reader.read(process, NAMES_MAX).await;
                drop(place);
                outlet.send(names_news(&container.id, names)).await;
                return;
            }
            tallies.running.fetch_add(1, Relaxed);
            let names = reader.read(process, NAMES_FIRST_MAX);
            let (found, names) = tokio::join!(look_up(&asker, &container, &tallies), names);
            tallies.running.fetch_sub(1, Relaxed);
            drop(place);
            let unsettled = found.as_ref().is_some_and(|metadata| metadata.unsettled);
            let id = Arc::clone(&container.id);
            // First, so that what waits for the container finds both.
            outlet.send(names_news(&id, names)).await;
            if !outlet.send(News::Container(Arc::clone(&id), found.map(Box::new))).await || !unsettled {
                return;
            }
            sleep(SETTLE).await;
            if let Outcome::Found(metadata) = asker.ask(&container).await {
                outlet.send(News::Container(id, Some(metadata))).await;
            }
        });
    }
}

fn names_news(id: &Arc<str>, names: Option<Box<NameTable>>) -> News {
    match names {
        Some(names) => News::Names(Arc::clone(id), names),
        None => News::NoNames(Arc::clone(id)),
    }
}

async fn look_up(asker: &Asker, container: &Container, tallies: &Tallies) -> Option<Metadata> {
    let mut waits = RETRIES.iter();
    loop {
        match asker.ask(container).await {
            Outcome::Found(metadata) => {
                tallies.found.fetch_add(1, Relaxed);
                return Some(*metadata);
            }
            Outcome::NobodyToAsk => {
                tallies.failed.fetch_add(1, Relaxed);
                return None;
            }
            Outcome::Unknown => {
                let Some(wait) = waits.next() else {
                    tallies.unknown.fetch_add(1, Relaxed);
                    return None;
                };
                sleep(*wait).await;
            }
        }
    }
}

#[cfg(test)]
mod tests;
