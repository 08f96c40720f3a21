//! The bus between collectors that share a store: Redis Streams.
//!
//! Owns the connection and the names of streams. It only says sooner what the store says anyway: what is to be told is in
//! the store, held there by one collector at a time, so whatever Redis forgets, drops or says twice loses nothing and tells
//! nothing twice. Nobody who stores alerts waits for it.
//!
//! | stream | holds | read by |
//! |---|---|---|
//! | `PREFIX:feed` | an entry when something was stored | each collector, to wake its live feed |
//! | `PREFIX:notices:CHANNEL` | numbers of things to tell | the group `notifiers`: each entry by one collector |
//! | `PREFIX:dead` | what could not be told, for whoever wants to hear | nobody here |

mod reply;

use std::{fmt, sync::Arc, time::Duration};

use redis::{
    AsyncConnectionConfig, Cmd, FromRedisValue, Pipeline, RedisError, Value, aio::MultiplexedConnection,
};
use tokio::{
    sync::{Mutex, mpsc, watch},
    time::sleep,
};

pub use self::reply::Entry;
use crate::{store::Work, telemetry::Metrics};

/// The group of those who tell.
const GROUP: &str = "notifiers";
/// Numbers of one entry.
const NUMBERS: usize = 64;
/// Entries of the feed and of dead letters that are kept.
const FEED: usize = 256;
const DEAD: usize = 10_000;
/// Entries taken at a time: what a collector that dies may tell once more is in one.
const TAKE: usize = 1;
/// Time for an answer.
const ANSWER: Duration = Duration::from_secs(5);
/// Time in which one waits for the feed.
const LISTEN: Duration = Duration::from_secs(2);
/// Time between two tries to connect.
const REST: Duration = Duration::from_secs(1);
/// Lists of things to tell that wait to be put onto the bus.
pub(crate) const QUEUE: usize = 1024;

/// Where the bus is, and how it is used.
#[derive(Clone)]
pub struct Settings {
    /// Where.
    pub url: String,
    /// What the names of streams begin with.
    pub prefix: String,
    /// Entries of a stream that wait; the oldest of more go, and are told from the store later.
    pub max_entries: u64,
    /// A collector that is silent for so long is dead.
    pub takeover: Duration,
}

/// The bus does not work.
#[derive(Debug, thiserror::Error)]
#[error("cannot {operation}")]
pub struct BusError {
    /// What was tried.
    operation: &'static str,
    /// What Redis said.
    source: RedisError,
}

/// The way to the bus.
pub struct Bus {
    settings: Settings,
    /// The name of this collector in the group: drawn at random by each start.
    me: String,
    client: redis::Client,
    connection: Mutex<Option<MultiplexedConnection>>,
    metrics: Arc<Metrics>,
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings").field("url", &format_args!("{self}")).finish_non_exhaustive()
    }
}

impl fmt::Display for Settings {
    /// Without secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = self.url.rsplit_once('@').map_or_else(
            || self.url.split_once("://").map_or(self.url.as_str(), |(_, place)| place),
            |(_, place)| place,
        );
        write!(f, "Redis at {place}")
    }
}

impl fmt::Debug for Bus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bus").field("settings", &self.settings).field("me", &self.me).finish_non_exhaustive()
    }
}

fn fault(operation: &'static str) -> impl FnOnce(RedisError) -> BusError {
    move |source| BusError { operation, source }
}

impl Bus {
    /// A bus of these settings; it is connected to when it is used.
    pub fn new(settings: Settings, metrics: Arc<Metrics>) -> Result<Self, BusError> {
        let client = redis::Client::open(settings.url.as_str()).map_err(fault("use the bus's address"))?;
        let mut random = [0; 8];
        // Without chance, the process.
        let me = match getrandom::fill(&mut random) {
            Ok(()) => format!("{:016x}", u64::from_le_bytes(random)),
            Err(_) => std::process::id().to_string(),
        };
        Ok(Self { settings, me, client, connection: Mutex::default(), metrics })
    }

    /// Its settings.
    pub const fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Makes the streams of these channels and their groups, where they are not there.
    pub async fn prepare(&self, channels: &[Arc<str>]) -> Result<(), BusError> {
        for channel in channels {
            let mut make = redis::cmd("XGROUP");
            make.arg("CREATE").arg(self.notices(channel)).arg(GROUP).arg("0").arg("MKSTREAM");
            match self.ask::<Value>("make a group", &make).await {
                Err(error) if error.source.code() == Some("BUSYGROUP") => {}
                outcome => drop(outcome?),
            }
        }
        Ok(())
    }

    /// Says that something was stored, and what is to be told.
    pub async fn publish(&self, work: &[Work]) -> Result<(), BusError> {
        let mut pipeline = redis::pipe();
        let mut channels: Vec<&Arc<str>> = Vec::new();
        for one in work {
            if !channels.contains(&&one.channel) {
                channels.push(&one.channel);
            }
        }
        for channel in channels {
            let numbers: Vec<String> =
                work.iter().filter(|one| one.channel == *channel).map(|one| one.number.to_string()).collect();
            let key = self.notices(channel);
            for chunk in numbers.chunks(NUMBERS) {
                pipeline.cmd("XADD").arg(&key).arg("*").arg("n").arg(chunk.join(" ")).ignore();
            }
            pipeline.cmd("XTRIM").arg(&key).arg("MAXLEN").arg(self.settings.max_entries);
        }
        let feed = self.name("feed");
        pipeline.cmd("XADD").arg(feed).arg("MAXLEN").arg("~").arg(FEED).arg("*").arg("by").arg(&self.me);
        pipeline.ignore();
        let trimmed: Vec<u64> = self.ask_all("put things onto the bus", &pipeline).await?;
        let trimmed: u64 = trimmed.into_iter().sum();
        if trimmed > 0 {
            self.metrics.bus_dropped.with_label_values(&["stream_full"]).inc_by(trimmed);
        }
        Ok(())
    }

    /// Entries of a channel that nobody has.
    pub async fn take(&self, channel: &str) -> Result<Vec<Entry>, BusError> {
        let mut read = redis::cmd("XREADGROUP");
        read.arg("GROUP").arg(GROUP).arg(&self.me).arg("COUNT").arg(TAKE);
        read.arg("STREAMS").arg(self.notices(channel)).arg(">");
        let answer: Value = self.ask("take things from the bus", &read).await?;
        Ok(reply::read(answer))
    }

    /// Entries of a channel that a dead collector had.
    pub async fn abandoned(&self, channel: &str) -> Result<Vec<Entry>, BusError> {
        // Longer than things are held in the store: whoever gets the entry may have them.
        let idle = self.settings.takeover.as_millis() as u64 * 5 / 4;
        let mut claim = redis::cmd("XAUTOCLAIM");
        claim.arg(self.notices(channel)).arg(GROUP).arg(&self.me).arg(idle).arg("0-0").arg("COUNT").arg(TAKE);
        let answer: Value = self.ask("take over things on the bus", &claim).await?;
        Ok(reply::claimed(answer))
    }

    /// Says that these entries are still worked on.
    pub async fn keep(&self, channel: &str, entries: &[Entry]) -> Result<(), BusError> {
        if entries.is_empty() {
            return Ok(());
        }
        let mut claim = redis::cmd("XCLAIM");
        claim.arg(self.notices(channel)).arg(GROUP).arg(&self.me).arg(0);
        for entry in entries {
            claim.arg(&entry.id);
        }
        claim.arg("JUSTID");
        self.ask::<Value>("keep things of the bus", &claim).await.map(drop)
    }

    /// Removes entries: all of them is done, or dead.
    pub async fn done(&self, channel: &str, entries: &[Entry]) -> Result<(), BusError> {
        if entries.is_empty() {
            return Ok(());
        }
        let key = self.notices(channel);
        let ids: Vec<&str> = entries.iter().map(|entry| entry.id.as_str()).collect();
        let mut pipeline = redis::pipe();
        pipeline.cmd("XACK").arg(&key).arg(GROUP).arg(&ids).ignore();
        pipeline.cmd("XDEL").arg(&key).arg(&ids).ignore();
        self.ask_all::<Value>("remove things from the bus", &pipeline).await.map(drop)
    }

    /// Entries of a channel, whoever has them.
    pub async fn length(&self, channel: &str) -> Result<u64, BusError> {
        self.ask("measure the bus", redis::cmd("XLEN").arg(self.notices(channel))).await
    }

    /// Says that something could not be told.
    pub async fn bury(&self, channel: &str, number: u64, reason: &str) -> Result<(), BusError> {
        let mut add = redis::cmd("XADD");
        add.arg(self.name("dead")).arg("MAXLEN").arg("~").arg(DEAD).arg("*");
        add.arg("channel").arg(channel).arg("notice").arg(number).arg("reason").arg(reason);
        self.ask::<Value>("put a dead letter onto the bus", &add).await.map(drop)
    }

    /// Puts onto the bus what comes from the store's thread, until `stop` is true.
    pub(crate) async fn send(&self, mut queue: mpsc::Receiver<Vec<Work>>, mut stop: watch::Receiver<bool>) {
        loop {
            let first = tokio::select! {
                work = queue.recv() => work,
                _ = stop.wait_for(|stop| *stop) => return,
            };
            let Some(mut work) = first else { return };
            while let Ok(more) = queue.try_recv() {
                work.extend(more);
            }
            if let Err(error) = self.publish(&work).await {
                self.metrics.bus_dropped.with_label_values(&["unreachable"]).inc_by(work.len() as u64);
                self.complain(&error);
                sleep(REST).await;
            }
        }
    }

    /// Hears when other collectors have stored something, until `stop` is true.
    pub(crate) async fn listen(&self, heard: watch::Sender<u64>, mut stop: watch::Receiver<bool>) {
        let mut last = "$".to_owned();
        let mut connection: Option<MultiplexedConnection> = None;
        loop {
            let wait = async {
                let mut used = match connection.take() {
                    Some(connection) => connection,
                    // One of its own: whoever waits on it keeps all others waiting.
                    None => self.connect(LISTEN + ANSWER).await?,
                };
                let mut read = redis::cmd("XREAD");
                read.arg("BLOCK").arg(LISTEN.as_millis() as u64);
                read.arg("STREAMS").arg(self.name("feed")).arg(&last);
                let answer: Value = read.query_async(&mut used).await?;
                connection = Some(used);
                Ok::<_, RedisError>(reply::last(answer))
            };
            let outcome = tokio::select! {
                outcome = wait => outcome,
                _ = stop.wait_for(|stop| *stop) => return,
            };
            match outcome {
                Ok(Some(id)) => {
                    last = id;
                    heard.send_modify(|count| *count += 1);
                }
                Ok(None) => {}
                Err(error) => {
                    self.complain(&fault("listen to the bus")(error));
                    sleep(REST).await;
                }
            }
        }
    }

    /// Tells of a failure.
    pub(crate) fn complain(&self, error: &BusError) {
        self.metrics.bus_errors.inc();
        tracing::warn!("The bus does not work, the store goes on without it: {error}: {}", error.source);
    }

    fn name(&self, of: &str) -> String {
        format!("{}:{of}", self.settings.prefix)
    }

    fn notices(&self, channel: &str) -> String {
        format!("{}:notices:{channel}", self.settings.prefix)
    }

    async fn connect(&self, answer: Duration) -> Result<MultiplexedConnection, RedisError> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(ANSWER))
            .set_response_timeout(Some(answer));
        self.client.get_multiplexed_async_connection_with_config(&config).await
    }

    async fn connection(&self) -> Result<MultiplexedConnection, RedisError> {
        let mut kept = self.connection.lock().await;
        if let Some(connection) = &*kept {
            return Ok(connection.clone());
        }
        let connection = self.connect(ANSWER).await?;
        *kept = Some(connection.clone());
        Ok(connection)
    }

    async fn ask<T: FromRedisValue>(&self, operation: &'static str, command: &Cmd) -> Result<T, BusError> {
        let asked = async { command.query_async(&mut self.connection().await?).await };
        self.judged(operation, asked.await).await
    }

    async fn ask_all<T: FromRedisValue>(
        &self,
        operation: &'static str,
        commands: &Pipeline,
    ) -> Result<T, BusError> {
        let asked = async { commands.query_async(&mut self.connection().await?).await };
        self.judged(operation, asked.await).await
    }

    async fn judged<T>(
        &self,
        operation: &'static str,
        outcome: Result<T, RedisError>,
    ) -> Result<T, BusError> {
        if outcome.as_ref().is_err_and(|error| error.code().is_none()) {
            // Not said by Redis: the next one connects again.
            *self.connection.lock().await = None;
        }
        outcome.map_err(fault(operation))
    }
}
