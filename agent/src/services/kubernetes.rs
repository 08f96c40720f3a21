//! Services that the cluster's Services ask for by an annotation, with the backends of their `EndpointSlice`s.
//!
//! Bookmarks, listing anew after a gap and waiting after faults are the watchers'; here objects become settings as
//! somebody might have written them (`section`), which are checked like those.

mod section;

use std::{collections::BTreeMap, time::Duration};

use futures_util::{Stream, StreamExt as _, stream};
use k8s_openapi::api::{core::v1::Service, discovery::v1::EndpointSlice};
use kube::{
    Api, Client, Resource,
    runtime::{
        WatchStreamExt as _,
        watcher::{self, Event},
    },
};
use serde_yaml::Value;
use tokio::time::{Instant, sleep_until};

pub use self::section::{ENABLED, SETTINGS, VIP, sections};
use super::desk::{Command, Desk};

/// Changes that come within this time are told together: a rollout changes slices many times a second.
const GATHER: Duration = Duration::from_millis(200);
/// Objects of a kind that are kept.
const OBJECTS_MAX: usize = 16_384;

/// Namespace and name.
type Key = (String, String);

/// Objects of a kind, as far as they are of use.
#[derive(Debug)]
struct Objects<T> {
    all: BTreeMap<Key, T>,
    /// Those of a listing that is not at its end.
    listed: Option<BTreeMap<Key, T>>,
    is_complete: bool,
}

impl<T> Default for Objects<T> {
    fn default() -> Self {
        Self { all: BTreeMap::new(), listed: None, is_complete: false }
    }
}

impl<T: Resource> Objects<T> {
    /// Takes an event; true when the objects may be others now.
    fn take(&mut self, event: Event<T>, is_wanted: impl Fn(&T) -> bool) -> bool {
        let key = |object: &T| {
            let meta = object.meta();
            Some((meta.namespace.clone()?, meta.name.clone()?))
        };
        let put = |objects: &mut BTreeMap<Key, T>, object: T| {
            let Some(key) = key(&object) else { return false };
            if is_wanted(&object) && (objects.len() < OBJECTS_MAX || objects.contains_key(&key)) {
                objects.insert(key, object);
                return true;
            }
            objects.remove(&key).is_some()
        };
        match event {
            Event::Init => {
                self.listed = Some(BTreeMap::new());
                false
            }
            Event::InitApply(object) => {
                put(self.listed.get_or_insert_default(), object);
                false
            }
            Event::InitDone => {
                self.all = self.listed.take().unwrap_or_default();
                self.is_complete = true;
                true
            }
            Event::Apply(object) => put(&mut self.all, object),
            Event::Delete(object) => key(&object).is_some_and(|key| self.all.remove(&key).is_some()),
        }
    }
}

enum News {
    Service(Box<Result<Event<Service>, watcher::Error>>),
    Slice(Box<Result<Event<EndpointSlice>, watcher::Error>>),
}

/// Watches until nobody takes what is found any more.
pub async fn run(client: Client, desk: Desk) {
    let services: Api<Service> = Api::all(client.clone());
    let slices: Api<EndpointSlice> = Api::all(client);
    // Slices without this label are of no Service.
    let owned = watcher::Config::default().labels(section::OF_SERVICE);
    let services = watcher::watcher(services, watcher::Config::default())
        .default_backoff()
        .map(|event| News::Service(Box::new(event)));
    let slices = watcher::watcher(slices, owned).default_backoff().map(|event| News::Slice(Box::new(event)));
    follow(stream::select(services, slices), |found| desk.tell(Command::Found(found))).await;
}

async fn follow(news: impl Stream<Item = News>, tell: impl Fn(BTreeMap<String, Value>) -> bool) {
    let mut news = std::pin::pin!(news);
    let mut services: Objects<Service> = Objects::default();
    let mut slices: Objects<EndpointSlice> = Objects::default();
    let mut failing = false;
    let mut due: Option<Instant> = None;
    loop {
        let wait = async {
            match due {
                Some(at) => sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            one = news.next() => {
                let Some(one) = one else { return };
                let changed = match one {
                    News::Service(event) => event.map(|event| services.take(event, section::is_asked_for)),
                    News::Slice(event) => event.map(|event| slices.take(event, |_| true)),
                };
                match changed {
                    Ok(is_changed) => {
                        if std::mem::take(&mut failing) {
                            tracing::info!("Services of the cluster are watched again");
                        }
                        if is_changed && due.is_none() {
                            due = Some(Instant::now() + GATHER);
                        }
                    }
                    // Said once for each time the watch breaks; the watcher tries again by itself.
                    Err(error) if !std::mem::replace(&mut failing, true) => {
                        tracing::warn!("Services of the cluster cannot be watched: {}", crate::app::in_full(&error));
                    }
                    Err(_) => {}
                }
            }
            () = wait => {
                due = None;
                // Services whose backends are not listed yet would lose all of them for a moment.
                if services.is_complete && slices.is_complete {
                    let found = sections(services.all.values(), slices.all.values());
                    if !tell(found) {
                        // The thread is busy; what is found then is told later.
                        due = Some(Instant::now() + GATHER);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
