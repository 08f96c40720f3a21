//! The live feed when several collectors share a store: reads what any of them has stored, in the order of numbers.
//!
//! Owns the place it has read to. Numbers grow in the order of commits, so whoever watches here sees each alert once,
//! whichever collector stored it and whoever died meanwhile. What was committed here or is heard over the bus wakes it;
//! without either it looks once a second.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{broadcast, watch},
    time::sleep,
};

use crate::{
    alert::{Filter, Stored},
    store::{Place, Reader, StoreError},
    views::PAGE_MAX,
};

/// Longest time without a look.
const LOOK: Duration = Duration::from_secs(1);
/// Time between two looks, so that a storm of commits is read in pages.
const PAUSE: Duration = Duration::from_millis(20);
/// Alerts put into the feed between two turns of its watchers: fewer than it holds.
const SLICE: usize = 256;

/// The task.
pub(crate) struct Tail {
    /// The store.
    pub(crate) place: Place,
    /// Where watchers listen.
    pub(crate) feed: broadcast::Sender<Arc<Stored>>,
    /// Changes when something was stored here.
    pub(crate) commits: watch::Receiver<u64>,
    /// Changes when something was stored elsewhere.
    pub(crate) heard: watch::Receiver<u64>,
    /// Number of the last alert before anybody could watch ([`newest`]).
    pub(crate) from: u64,
}

/// Number of the newest alert. Read before the first watcher is let in: what comes after it is never skipped.
pub(crate) fn newest(place: &Place) -> Result<u64, StoreError> {
    last(&*place.current_reader()?)
}

fn last(reader: &dyn Reader) -> Result<u64, StoreError> {
    let newest = reader.alerts(&Filter::default(), 1, None)?;
    Ok(newest.first().map_or(0, |stored| stored.number))
}

/// What a look has found.
struct Look {
    reader: Box<dyn Reader>,
    place: u64,
    alerts: Vec<Stored>,
}

impl Tail {
    /// Runs until `stop` is true.
    pub(crate) async fn run(mut self, mut stop: watch::Receiver<bool>) {
        let (mut reader, mut place) = (None, self.from);
        loop {
            let (from, feed, at) = (self.place.clone(), self.feed.clone(), place);
            let taken = reader.take();
            let looked = tokio::task::spawn_blocking(move || look(&from, taken, &feed, at)).await;
            let mut is_behind = false;
            match looked {
                Ok(Ok(found)) => {
                    is_behind = found.alerts.len() >= PAGE_MAX;
                    (reader, place) = (Some(found.reader), found.place);
                    for (index, stored) in found.alerts.into_iter().enumerate() {
                        // Without watchers by now, nobody misses it.
                        let _ = self.feed.send(Arc::new(stored));
                        if index % SLICE == SLICE - 1 {
                            sleep(PAUSE / 10).await;
                        }
                    }
                }
                Ok(Err(error)) => {
                    tracing::warn!("The live feed cannot be read and goes on later: {}", error.in_full());
                    sleep(LOOK).await;
                }
                Err(_) => return,
            }
            sleep(PAUSE).await;
            tokio::select! {
                _ = stop.wait_for(|stop| *stop) => return,
                () = async {}, if is_behind => {}
                Ok(()) = self.commits.changed() => {}
                Ok(()) = self.heard.changed() => {}
                () = sleep(LOOK) => {}
            }
        }
    }
}

/// Reads what is behind a place, or where the end is when nobody watches.
fn look(
    from: &Place,
    reader: Option<Box<dyn Reader>>,
    feed: &broadcast::Sender<Arc<Stored>>,
    place: u64,
) -> Result<Look, StoreError> {
    let reader = match reader {
        Some(reader) => reader,
        None => from.current_reader()?,
    };
    // The end is read before it is asked who watches: who begins in between has missed nothing.
    let newest = last(&*reader)?;
    let alerts = if feed.receiver_count() > 0 && newest > place {
        reader.alerts_after(&Filter::default(), PAGE_MAX, place)?
    } else {
        Vec::new()
    };
    let place = match alerts.last() {
        Some(stored) => stored.number,
        // Who has begun to watch meanwhile sees the rest in the next look.
        None if feed.receiver_count() > 0 => place,
        // Retention may have removed the newest ones: a place never goes back.
        None => newest.max(place),
    };
    Ok(Look { reader, place, alerts })
}
