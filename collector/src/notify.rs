//! Telling people: takes what is due from the store, sends it, and notes what became of it.
//!
//! Owns the tries. What is to be told was decided and stored together with the alert ([`route`]), so neither a restart
//! nor a dead channel loses it. A channel is told one thing at a time, in order; while it fails, it is asked less and
//! less often, at random times, and nobody else waits for it. What fails too often is a dead letter.

pub mod backoff;
pub mod channel;
pub mod group;
pub mod mail;
pub mod quiet;
pub mod route;
mod send;
mod source;
pub mod template;

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{sync::watch, task::JoinSet, time::sleep};
use tracing::{Instrument, field::Empty, info_span};

use self::{
    backoff::Backoff,
    channel::{Channel, Facts},
    send::Client,
    source::Source,
};
pub use self::{channel::Outgoing, send::Fault};
use crate::{
    bus::Bus,
    ingest::{Ingest, now_ns},
    store::{Notice, TAKEOVER, Told},
    telemetry::Metrics,
    traces::TARGET,
};

/// Longest time without a look at what is due.
const LOOK: Duration = Duration::from_secs(1);
/// Parts of the time after which a collector is dead: it says so often that it is not.
const KEEPS: u32 = 4;
/// Before what was kept for the end of quiet hours.
const HELD: &str = "Held in quiet hours: ";
/// Tries of one thing before it is a dead letter.
const ATTEMPTS: u32 = 10;

/// The task.
pub struct Notifier {
    /// By name; what waits for a channel has a name of its own.
    channels: HashMap<Arc<str>, Arc<Channel>>,
    ingest: Ingest,
    metrics: Arc<Metrics>,
    client: Client,
    backoff: Backoff,
    shared: Sharing,
    source: Source,
    kept: Instant,
    /// Channels that rest: how often they failed, and when they are told again.
    resting: HashMap<Arc<str>, (u32, u64)>,
}

/// How collectors of one store share what is to be told.
pub struct Sharing {
    /// A collector that is silent for so long is dead.
    pub takeover: Duration,
    /// The bus, if there is one.
    pub bus: Option<Arc<Bus>>,
    /// Changes when another collector has stored something.
    pub heard: watch::Receiver<u64>,
}

impl Default for Sharing {
    /// With nobody.
    fn default() -> Self {
        let (_, heard) = watch::channel(0);
        Self { takeover: TAKEOVER, bus: None, heard }
    }
}

/// What came of a channel's things.
struct Report {
    channel: Arc<str>,
    results: Vec<(u64, Told)>,
    failed: bool,
}

/// Sends a sample to a channel, once.
pub async fn try_channel(channel: &Channel) -> Result<(), Fault> {
    let client = Client::new()?;
    client.tell(channel, Facts::of(&channel::sample())).await
}

impl Notifier {
    /// A task for these channels.
    pub fn new(
        channels: Vec<Channel>,
        ingest: Ingest,
        metrics: Arc<Metrics>,
        backoff: Backoff,
        shared: Sharing,
    ) -> Result<Self, Fault> {
        let by_name = |channel: Channel| {
            let channel = Arc::new(channel);
            // Without quiet hours too: they may have had some before.
            [(Arc::clone(&channel.name), Arc::clone(&channel)), (quiet::held(&channel.name), channel)]
        };
        Ok(Self {
            source: Source::new(shared.bus.clone(), &metrics),
            kept: Instant::now(),
            shared,
            channels: channels.into_iter().flat_map(by_name).collect(),
            ingest,
            metrics,
            client: Client::new()?,
            backoff,
            resting: HashMap::new(),
        })
    }

    /// Runs until `stop` is true. What is under way then is told again after the next start.
    pub async fn run(mut self, mut stop: watch::Receiver<bool>) {
        let mut news = self.ingest.notices();
        let names: Vec<Arc<str>> = self.channels.keys().cloned().collect();
        let given_up = self
            .ingest
            .run(move |writer| writer.give_up(&names, "the channel is not configured any more", now_ns()));
        if let Ok(1..) = given_up.await {
            tracing::warn!("There are alerts for channels that are not configured any more, see `dlq list`");
        }
        self.keep().await;
        let mut running: JoinSet<Report> = JoinSet::new();
        let mut busy: Vec<Arc<str>> = Vec::new();
        loop {
            self.begin(&mut running, &mut busy).await;
            tokio::select! {
                () = async { let _ = stop.wait_for(|stop| *stop).await; } => break,
                _ = news.changed() => {}
                Ok(()) = self.shared.heard.changed() => {}
                Some(Ok(report)) = running.join_next() => {
                    busy.retain(|channel| *channel != report.channel);
                    self.note(report).await;
                }
                () = sleep(LOOK) => {}
            }
            if self.kept.elapsed() >= self.shared.takeover / KEEPS {
                self.keep().await;
            }
        }
        running.shutdown().await;
        self.source.release(&self.ingest).await;
    }

    /// Channels that can be told something.
    fn free(&self, busy: &[Arc<str>]) -> Vec<Arc<str>> {
        let now = now_ns();
        let is_free = |(name, channel): &(&Arc<str>, &Arc<Channel>)| {
            let waits =
                channel.name != **name && channel.quiet.as_ref().is_some_and(|quiet| quiet.is_at(now));
            !waits && !busy.contains(name) && self.resting.get(*name).is_none_or(|(_, until)| *until <= now)
        };
        self.channels.iter().filter(is_free).map(|(name, _)| Arc::clone(name)).collect()
    }

    /// Says that this collector lives, and looks for what those that do not have left.
    async fn keep(&mut self) {
        self.kept = Instant::now();
        let all: Vec<Arc<str>> = self.channels.keys().cloned().collect();
        self.source.keep(&self.ingest, &all, &self.free(&[])).await;
    }

    /// Gives each channel that is free what is due.
    async fn begin(&mut self, running: &mut JoinSet<Report>, busy: &mut Vec<Arc<str>>) {
        let free = self.free(busy);
        if free.is_empty() {
            return;
        }
        let due = self.source.due(&self.ingest, free).await;
        let mut by_channel: HashMap<String, Vec<Notice>> = HashMap::new();
        for notice in due {
            by_channel.entry(notice.channel.clone()).or_default().push(notice);
        }
        for (name, notices) in by_channel {
            let Some((name, channel)) = self.channels.get_key_value(name.as_str()) else { continue };
            busy.push(Arc::clone(name));
            running.spawn(tell(Arc::clone(name), Arc::clone(channel), self.client.clone(), notices));
        }
    }

    async fn note(&mut self, report: Report) {
        let Report { channel, results, failed } = report;
        for (number, told) in &results {
            let outcome = match told {
                Told::Done => "delivered",
                Told::Again => "retried",
                Told::Never(reason) => {
                    self.source.bury(&channel, *number, reason).await;
                    "dead"
                }
            };
            self.metrics.notifications.with_label_values(&[&*channel, outcome]).inc();
        }
        if failed {
            let (failures, until) = self.resting.entry(Arc::clone(&channel)).or_default();
            *failures += 1;
            *until = now_ns() + self.backoff.wait_ns(*failures);
        } else if let Some(grouping) =
            self.channels.get(&channel).and_then(|channel| channel.grouping.as_ref())
        {
            // What comes until then goes into the next message.
            let window = u64::try_from(grouping.window.as_nanos()).unwrap_or(u64::MAX);
            self.resting.insert(channel.clone(), (0, now_ns().saturating_add(window)));
        } else {
            self.resting.remove(&channel);
        }
        let now = now_ns();
        loop {
            let results = results.clone();
            if self.ingest.run(move |writer| writer.told(&results, now)).await.is_ok() {
                break;
            }
            // What was told must not be told again only because the disk is full for a moment.
            sleep(LOOK).await;
        }
        if !failed {
            self.source.settled(&channel).await;
        }
    }
}

/// Tells a channel what is due, in order, until it fails.
async fn tell(name: Arc<str>, channel: Arc<Channel>, client: Client, notices: Vec<Notice>) -> Report {
    let (messages, why) = match &channel.grouping {
        _ if name != channel.name => (vec![notices], HELD),
        Some(grouping) => (grouping.groups(notices), ""),
        None => (notices.into_iter().map(|notice| vec![notice]).collect(), ""),
    };
    let mut report = Report { channel: name, results: Vec::new(), failed: false };
    for message in messages {
        let Some(facts) = group::facts(&message, why) else { continue };
        let tried = message.iter().map(|notice| notice.attempts).max().unwrap_or(0) + 1;
        let span = info_span!(
            target: TARGET,
            "notify",
            otel.name = format!("notify {}", report.channel),
            otel.status_code = Empty,
            rampart.channel = &*report.channel,
            rampart.alert = message.first().map(|notice| notice.stored.number),
            rampart.alerts = message.len(),
            rampart.attempt = tried,
        );
        let outcome = client.tell(&channel, facts).instrument(span.clone()).await;
        let _entered = span.enter();
        if outcome.is_err() {
            span.record("otel.status_code", "ERROR");
        }
        let told = match outcome {
            Ok(()) => Told::Done,
            Err(fault) if fault.is_final() || tried >= ATTEMPTS => {
                tracing::error!(
                    channel = &*report.channel,
                    "{} alerts cannot be told and are dead letters: {fault}",
                    message.len()
                );
                Told::Never(fault.to_string())
            }
            Err(fault) => {
                tracing::warn!(channel = &*report.channel, tried, "An alert is told again later: {fault}");
                report.failed = true;
                Told::Again
            }
        };
        report.results.extend(message.iter().map(|notice| (notice.number, told.clone())));
        if report.failed {
            break;
        }
    }
    report
}

#[cfg(test)]
mod tests;
