//! Where what is to be told comes from: the store, or the bus, which names what several collectors share.

use std::{collections::HashMap, sync::Arc};

use crate::{
    bus::{Bus, Entry},
    ingest::{Ingest, now_ns},
    store::Notice,
    telemetry::Metrics,
};

/// Things taken from the store at a time.
const TAKE: usize = 256;
/// Entries on the bus above which nothing is lost, only late.
const LATE: u64 = 64;
/// Things put onto the bus again at a time.
const RECOVER: usize = 1000;

/// Where things come from.
pub(super) enum Source {
    /// The store, in order.
    Store,
    /// The bus.
    Bus(Shared),
}

/// What this collector has taken from the bus.
pub(super) struct Shared {
    bus: Arc<Bus>,
    metrics: Arc<Metrics>,
    held: HashMap<Arc<str>, Vec<Entry>>,
}

impl Source {
    /// From the bus, when there is one.
    pub(super) fn new(bus: Option<Arc<Bus>>, metrics: &Arc<Metrics>) -> Self {
        match bus {
            None => Self::Store,
            Some(bus) => Self::Bus(Shared { bus, metrics: Arc::clone(metrics), held: HashMap::new() }),
        }
    }

    /// What these channels are to be told. Nothing when it cannot be said now.
    pub(super) async fn due(&mut self, ingest: &Ingest, free: Vec<Arc<str>>) -> Vec<Notice> {
        match self {
            Self::Store => {
                ingest.run(move |writer| writer.due(TAKE, &free, now_ns())).await.unwrap_or_default()
            }
            Self::Bus(shared) => {
                let mut due = Vec::new();
                for channel in free {
                    due.extend(shared.due(ingest, &channel).await);
                }
                due
            }
        }
    }

    /// Nothing of what was given for a channel is to be told any more.
    pub(super) async fn settled(&mut self, channel: &Arc<str>) {
        if let Self::Bus(shared) = self {
            shared.settled(channel).await;
        }
    }

    /// Something is a dead letter.
    pub(super) async fn bury(&self, channel: &str, number: u64, reason: &str) {
        if let Self::Bus(shared) = self
            && let Err(error) = shared.bus.bury(channel, number, reason).await
        {
            shared.bus.complain(&error);
        }
    }

    /// Goes on to hold what was given, and looks for what nobody came for, of channels that are not at rest.
    pub(super) async fn keep(&self, ingest: &Ingest, all: &[Arc<str>], free: &[Arc<str>]) {
        // A store that does not work is told of where it failed.
        let _ = ingest.run(|writer| writer.hold(now_ns())).await;
        if let Self::Bus(shared) = self {
            shared.keep(ingest, all, free).await;
        }
    }

    /// Lets others have what was given.
    pub(super) async fn release(&mut self, ingest: &Ingest) {
        let _ = ingest.run(|writer| writer.release()).await;
        // What was taken from the bus lapses in the store at once, and is found there.
        if let Self::Bus(shared) = self {
            let channels: Vec<Arc<str>> = shared.held.keys().cloned().collect();
            for channel in channels {
                shared.settled(&channel).await;
            }
        }
    }
}

impl Shared {
    async fn due(&mut self, ingest: &Ingest, channel: &Arc<str>) -> Vec<Notice> {
        let held = self.held.entry(Arc::clone(channel)).or_default();
        if held.is_empty() {
            let taken = match self.bus.take(channel).await {
                Ok(entries) if entries.is_empty() => self.bus.abandoned(channel).await,
                other => other,
            };
            match taken {
                Ok(entries) => *held = entries,
                Err(error) => self.bus.complain(&error),
            }
        }
        if held.is_empty() {
            return Vec::new();
        }
        let numbers: Vec<u64> = held.iter().flat_map(|entry| entry.numbers.iter().copied()).collect();
        let claimed = ingest.run(move |writer| writer.claim(&numbers, now_ns())).await;
        match claimed {
            Ok(notices) if notices.is_empty() => {
                // Told already, or held by somebody else, who answers for it.
                self.settled(channel).await;
                Vec::new()
            }
            Ok(notices) => notices,
            Err(_) => Vec::new(),
        }
    }

    async fn settled(&mut self, channel: &Arc<str>) {
        let Some(entries) = self.held.remove(channel) else { return };
        if let Err(error) = self.bus.done(channel, &entries).await {
            // They come again, and the store knows that they are done.
            self.bus.complain(&error);
        }
    }

    async fn keep(&self, ingest: &Ingest, all: &[Arc<str>], free: &[Arc<str>]) {
        // Redis may have been emptied meanwhile.
        if let Err(error) = self.bus.prepare(all).await {
            self.bus.complain(&error);
            return;
        }
        for (channel, entries) in &self.held {
            if let Err(error) = self.bus.keep(channel, entries).await {
                self.bus.complain(&error);
            }
        }
        for channel in free {
            if let Err(error) = self.recover(ingest, channel).await {
                self.bus.complain(&error);
            }
        }
    }

    /// Puts onto the bus again what nobody came for: it was not kept there, or who had it is dead.
    async fn recover(&self, ingest: &Ingest, channel: &Arc<str>) -> Result<(), crate::bus::BusError> {
        if self.bus.length(channel).await? >= LATE {
            return Ok(());
        }
        let name = Arc::clone(channel);
        let lapsed = ingest.run(move |writer| writer.lapsed(&name, RECOVER, now_ns())).await;
        let Ok(lapsed) = lapsed else { return Ok(()) };
        if !lapsed.is_empty() {
            self.bus.publish(&lapsed).await?;
            self.metrics.bus_recovered.inc_by(lapsed.len() as u64);
        }
        Ok(())
    }
}
