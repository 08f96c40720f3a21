//! Where alerts are kept, and what is still to be told of them.
//!
//! Owns the two halves of a store: one [`Writer`], on a thread of its own, and any number of [`Reader`]s. Both block.
//! Must never say that something is stored before it would survive a power cut. Called by `ingest`, `notify`, `http`.

pub mod identity;
pub mod postgres;
pub mod sqlite;

use std::{path::PathBuf, sync::Arc, time::Duration};

use crate::alert::{Alert, Filter, Priority, Stored};

/// When a collector that is silent is dead, if nothing else is said.
pub const TAKEOVER: Duration = Duration::from_secs(20);

/// Everything of an alert, in the order in which both stores read it.
const COLUMNS: &str = "alerts.id, nodes.text, alerts.received, boots.boot, alerts.cpu, alerts.sequence,
    alerts.time, alerts.priority, rules.text, sources.text, alerts.json";
/// Where they come from.
const TABLES: &str = "alerts JOIN texts AS nodes ON nodes.id = alerts.node
    JOIN boots ON boots.id = alerts.boot
    JOIN texts AS rules ON rules.id = alerts.rule JOIN texts AS sources ON sources.id = alerts.source";

/// Where a store is.
#[derive(Clone, Debug)]
pub enum Place {
    /// In a file, for one collector.
    File(PathBuf),
    /// In a database, for any number of them.
    Database(Box<postgres::Settings>),
}

/// Alerts of one node.
#[derive(Clone, Debug)]
pub struct Batch {
    /// Where they come from.
    pub node: Arc<str>,
    /// In the order in which they are stored.
    pub alerts: Vec<Alert>,
}

/// Says which channels are to be told of an alert.
pub type Route<'a> = &'a dyn Fn(&str, &Alert) -> Vec<Arc<str>>;

/// What a transaction has added.
#[derive(Debug, Default)]
pub struct Added {
    /// Alerts that were not there before.
    pub alerts: Vec<Stored>,
    /// What is to be told of them; only of a store that several collectors share.
    pub work: Vec<Work>,
}

/// Something to tell, as it goes over the bus.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Work {
    /// Whom.
    pub channel: Arc<str>,
    /// Number of the notice.
    pub number: u64,
}

/// Something to tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// Its number.
    pub number: u64,
    /// Whom.
    pub channel: String,
    /// Times that it was tried.
    pub attempts: u32,
    /// What.
    pub stored: Stored,
}

/// Something that could not be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dead {
    /// Its number, for a new try.
    pub number: u64,
    /// Whom.
    pub channel: String,
    /// Times that it was tried.
    pub attempts: u32,
    /// What the last try said.
    pub reason: String,
    /// When it was given up, nanoseconds since the epoch.
    pub dead_ns: u64,
    /// Number of the alert.
    pub alert: u64,
}

/// What became of a try to tell something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// It arrived.
    Done,
    /// Try again; until then nothing behind it is told to the same channel.
    Again,
    /// It never will, for this reason.
    Never(String),
}

/// What a node has sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeTotals {
    /// Its name.
    pub node: String,
    /// Alerts stored, those that retention removed included.
    pub stored: u64,
    /// Numbers below the highest that did not come: lost, or on their way.
    pub missing: u64,
    /// When an alert came last, nanoseconds since the epoch.
    pub received_ns: u64,
}

/// How large the store is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Size {
    /// Bytes in use.
    pub bytes: u64,
    /// Alerts.
    pub alerts: u64,
    /// Things to tell.
    pub notices: u64,
    /// Things that could not be told.
    pub dead: u64,
}

/// What is kept how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Nanoseconds, by priority.
    pub age_ns: [u64; 8],
    /// Above, the oldest of the least severe go first.
    pub max_bytes: u64,
}

/// The store failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// `SQLite` said no.
    #[error("cannot {operation}")]
    Sqlite {
        /// What was tried.
        operation: &'static str,
        /// What it said.
        source: rusqlite::Error,
    },
    /// PostgreSQL said no.
    #[error("cannot {operation}")]
    Postgres {
        /// What was tried.
        operation: &'static str,
        /// What it said.
        source: tokio_postgres::Error,
    },
    /// There is no connection to PostgreSQL.
    #[error("cannot connect to PostgreSQL")]
    Connect(#[from] postgres::ConnectError),
    /// PostgreSQL did not answer in time.
    #[error("cannot {operation}: PostgreSQL did not answer in time")]
    Silence {
        /// What was tried.
        operation: &'static str,
    },
    /// Made by a later version.
    #[error("the store has format {found}, this program knows up to {known}")]
    TooNew {
        /// What was found.
        found: u32,
        /// What is known.
        known: u32,
    },
}

impl StoreError {
    /// What it is, with all its causes.
    pub fn in_full(&self) -> String {
        let mut text = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            let next = error.to_string();
            // Some say what their cause says.
            if !text.ends_with(&next) {
                text = format!("{text}: {next}");
            }
            cause = error.source();
        }
        text
    }
}

/// The half that writes.
pub trait Writer: Send {
    /// Stores batches, and what is to be told of each alert that is new, in one transaction that survives a power cut.
    fn store(&mut self, batches: Vec<Batch>, now_ns: u64, route: Route<'_>) -> Result<Added, StoreError>;

    /// Things to tell these channels, the oldest first, so many for each. Nobody else gets them while they are held.
    fn due(&mut self, limit: usize, channels: &[Arc<str>], now_ns: u64) -> Result<Vec<Notice>, StoreError>;

    /// Those of these things that are still to be told and that nobody else holds.
    fn claim(&mut self, numbers: &[u64], now_ns: u64) -> Result<Vec<Notice>, StoreError>;

    /// Goes on to hold what was given here; without it, others get it after a while.
    fn hold(&mut self, _now_ns: u64) -> Result<(), StoreError> {
        Ok(())
    }

    /// Lets others have what is held here.
    fn release(&mut self) -> Result<(), StoreError> {
        Ok(())
    }

    /// Things to tell a channel that nobody holds any more, or that nobody came for, so many of the oldest.
    fn lapsed(&mut self, _channel: &str, _limit: usize, _now_ns: u64) -> Result<Vec<Work>, StoreError> {
        Ok(Vec::new())
    }

    /// Makes dead letters of what is to be told to other channels than these; says how many.
    fn give_up(&mut self, known: &[Arc<str>], reason: &str, now_ns: u64) -> Result<u64, StoreError>;

    /// Notes what became of tries.
    fn told(&mut self, results: &[(u64, Told)], now_ns: u64) -> Result<(), StoreError>;

    /// Puts dead letters back, all or one channel's or one; says how many.
    fn redrive(&mut self, channel: Option<&str>, number: Option<u64>) -> Result<u64, StoreError>;

    /// Removes a few of those that are kept no longer; says how many, 0 when there are none.
    fn trim(&mut self, retention: &Retention, now_ns: u64) -> Result<u64, StoreError>;
}

/// The half that reads.
pub trait Reader: Send {
    /// Alerts below a number, newest first.
    fn alerts(&self, filter: &Filter, limit: usize, before: Option<u64>) -> Result<Vec<Stored>, StoreError>;

    /// Alerts above a number, oldest first.
    fn alerts_after(&self, filter: &Filter, limit: usize, after: u64) -> Result<Vec<Stored>, StoreError>;

    /// One alert.
    fn alert(&self, number: u64) -> Result<Option<Stored>, StoreError>;

    /// What each node has sent.
    fn nodes(&self) -> Result<Vec<NodeTotals>, StoreError>;

    /// What could not be told, the newest first.
    fn dead(&self, limit: usize) -> Result<Vec<Dead>, StoreError>;

    /// Its size.
    fn size(&self) -> Result<Size, StoreError>;
}

impl Place {
    /// Opens the half that writes, after bringing the store to the current format.
    pub fn writer(&self) -> Result<Box<dyn Writer>, StoreError> {
        Ok(match self {
            Self::File(path) => Box::new(sqlite::writer(path)?),
            Self::Database(settings) => Box::new(postgres::writer(settings)?),
        })
    }

    /// A half that reads, perhaps from a copy that is a little behind.
    pub fn reader(&self) -> Result<Box<dyn Reader>, StoreError> {
        Ok(match self {
            Self::File(path) => Box::new(sqlite::reader(path)?),
            Self::Database(settings) => Box::new(postgres::reader(settings, postgres::Copy::Any)?),
        })
    }

    /// A half that reads what is stored by now.
    pub fn current_reader(&self) -> Result<Box<dyn Reader>, StoreError> {
        Ok(match self {
            Self::File(path) => Box::new(sqlite::reader(path)?),
            Self::Database(settings) => Box::new(postgres::reader(settings, postgres::Copy::Current)?),
        })
    }

    /// Identities and the audit log, after bringing their tables to the current format.
    pub fn book(&self) -> Result<Box<dyn identity::Book>, StoreError> {
        Ok(match self {
            Self::File(path) => Box::new(sqlite::identity::book(path)?),
            Self::Database(settings) => Box::new(postgres::identity::book(settings)?),
        })
    }

    /// A collector that is silent for so long is dead.
    pub const fn takeover(&self) -> Duration {
        match self {
            Self::File(_) => TAKEOVER,
            Self::Database(settings) => settings.takeover,
        }
    }

    /// Whether other collectors may write to it too.
    pub const fn is_shared(&self) -> bool {
        matches!(self, Self::Database(_))
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Database(settings) => write!(f, "{settings}"),
        }
    }
}

impl Retention {
    /// The same time for all.
    pub const fn uniform(age_ns: u64, max_bytes: u64) -> Self {
        Self { age_ns: [age_ns; 8], max_bytes }
    }

    /// How long any alert is kept at most.
    pub fn longest(&self) -> Duration {
        Duration::from_nanos(self.age_ns.into_iter().max().unwrap_or(0))
    }

    /// How long alerts of a priority are kept.
    pub fn age_ns(&self, priority: Priority) -> u64 {
        self.age_ns.get(priority as usize).copied().unwrap_or(u64::MAX)
    }
}
