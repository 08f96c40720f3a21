//! The store in PostgreSQL, for any number of collectors at a time.
//!
//! One transaction after the other stores alerts, whichever collector it is of: they take turns by a lock, which the
//! database drops with the connection of a collector that dies. So numbers grow in the order of commits, and who has seen
//! one has missed none before it. What is to be told is held by one collector at a time, for [`Settings::takeover`] unless
//! it goes on to hold it.

mod connection;
pub mod identity;
mod insert;
mod notices;
mod query;
mod schema;
mod session;
mod tls;

use std::{fmt, path::PathBuf, sync::Arc, time::Duration};

use tokio_postgres::{Config, Error, Transaction};

pub use self::connection::ConnectError;
use self::{
    connection::{Cache, Connection},
    insert::Columns,
    session::Session,
};
use super::{Added, Batch, Notice, Retention, Route, StoreError, Told, Work, Writer};
use crate::alert::{Priority, Stored};

/// Rows that one step of retention removes.
const TRIM_ROWS: i64 = 2000;

/// Where the database is, and how it is used.
#[derive(Clone)]
pub struct Settings {
    /// Where it is written.
    pub url: Config,
    /// A copy of it where questions are asked.
    pub read_url: Option<Config>,
    /// Whose certificate the server must show, a PEM file; without, the machine's authorities.
    pub ca_file: Option<PathBuf>,
    /// A collector that is silent for so long is dead: others tell what it was to tell.
    pub takeover: Duration,
}

/// Which of the databases answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Copy {
    /// The one that is written.
    Current,
    /// One that may be a little behind.
    Any,
}

/// The half that writes.
pub struct PostgresWriter {
    session: Session,
    /// Who holds what is to be told: drawn at random by each start.
    owner: i64,
}

/// The half that reads.
pub struct PostgresReader {
    settings: Settings,
    copy: Copy,
    connection: std::cell::RefCell<Option<Connection>>,
}

/// Connects, and brings the database to the current format. Collectors that start together take turns.
pub fn writer(settings: &Settings) -> Result<PostgresWriter, StoreError> {
    let mut random = [0; 8];
    // Without chance, the process.
    let owner = match getrandom::fill(&mut random) {
        Ok(()) => i64::from_le_bytes(random) & i64::MAX,
        Err(_) => i64::from(std::process::id()),
    };
    Ok(PostgresWriter { session: session::open(settings)?, owner })
}

/// Connects to a database that a writer has brought to the current format.
pub fn reader(settings: &Settings, copy: Copy) -> Result<PostgresReader, StoreError> {
    let reader = PostgresReader { settings: settings.clone(), copy, connection: None.into() };
    reader.ask("reach the store", async |_| Ok(()))?;
    Ok(reader)
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings").field("url", &format_args!("{self}")).finish_non_exhaustive()
    }
}

impl fmt::Display for Settings {
    /// Without secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hosts: Vec<String> = self
            .url
            .get_hosts()
            .iter()
            .map(|host| match host {
                tokio_postgres::config::Host::Tcp(name) => name.clone(),
                tokio_postgres::config::Host::Unix(path) => path.display().to_string(),
            })
            .collect();
        let ports: Vec<String> = self.url.get_ports().iter().map(ToString::to_string).collect();
        let name = self.url.get_dbname().unwrap_or_default();
        write!(f, "PostgreSQL `{name}` at {} {}", hosts.join(","), ports.join(","))
    }
}

impl fmt::Debug for PostgresWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresWriter").field("session", &self.session).finish_non_exhaustive()
    }
}

impl fmt::Debug for PostgresReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresReader").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl PostgresWriter {
    /// When something that is held from now on is free again.
    fn until(&self, now_ns: u64) -> i64 {
        now_ns.saturating_add(self.session.settings.takeover.as_nanos() as u64) as i64
    }
}

/// Waits for its turn to change alerts.
async fn turn(cache: &mut Cache, db: &Transaction<'_>) -> Result<(), Error> {
    let lock = cache.statement(db, schema::TURN).await?;
    db.execute(&lock, &[]).await?;
    Ok(())
}

impl Writer for PostgresWriter {
    fn store(&mut self, batches: Vec<Batch>, now_ns: u64, route: Route<'_>) -> Result<Added, StoreError> {
        let until = self.until(now_ns);
        let (numbers, work) = self.session.transact("store alerts", async |cache, db| {
            turn(cache, db).await?;
            let columns = Columns::of(cache, db, &batches).await?;
            let numbers = columns.insert(cache, db, now_ns).await?;
            let work = insert::notices(cache, db, (&batches, &numbers), until, route).await?;
            Ok((numbers, work))
        })?;
        let mut alerts = Vec::new();
        let mut numbers = numbers.into_iter();
        for batch in batches {
            for alert in batch.alerts {
                if let Some(number) = numbers.next().flatten() {
                    let node = Arc::clone(&batch.node);
                    alerts.push(Stored { number, node, received_ns: now_ns, alert });
                }
            }
        }
        Ok(Added { alerts, work })
    }

    fn due(&mut self, limit: usize, channels: &[Arc<str>], now_ns: u64) -> Result<Vec<Notice>, StoreError> {
        let (owner, until) = (self.owner, self.until(now_ns));
        self.session.transact("look for what is to be told", async |cache, db| {
            let mut due = Vec::new();
            for channel in channels {
                due.extend(notices::due(cache, db, (channel, limit), owner, (now_ns, until)).await?);
            }
            Ok(due)
        })
    }

    fn claim(&mut self, numbers: &[u64], now_ns: u64) -> Result<Vec<Notice>, StoreError> {
        let (owner, until) = (self.owner, self.until(now_ns));
        self.session.transact("look for what is to be told", async |cache, db| {
            notices::claim(cache, db, numbers, owner, (now_ns, until)).await
        })
    }

    fn hold(&mut self, now_ns: u64) -> Result<(), StoreError> {
        let (owner, until) = (self.owner, self.until(now_ns));
        self.session.transact("hold what is to be told", async |cache, db| {
            notices::hold(cache, db, owner, until).await
        })
    }

    fn release(&mut self) -> Result<(), StoreError> {
        let owner = self.owner;
        self.session.transact("release what is to be told", async |_, db| notices::release(db, owner).await)
    }

    fn lapsed(&mut self, channel: &str, limit: usize, now_ns: u64) -> Result<Vec<Work>, StoreError> {
        let until = self.until(now_ns);
        self.session.transact("look for what nobody tells", async |cache, db| {
            notices::lapsed(cache, db, (channel, limit), (now_ns, until)).await
        })
    }

    fn give_up(&mut self, known: &[Arc<str>], reason: &str, now_ns: u64) -> Result<u64, StoreError> {
        self.session.transact("give up what nobody can be told", async |cache, db| {
            turn(cache, db).await?;
            notices::give_up(db, known, reason, now_ns).await
        })
    }

    fn told(&mut self, results: &[(u64, Told)], now_ns: u64) -> Result<(), StoreError> {
        self.session
            .transact("note what was told", async |cache, db| notices::told(cache, db, results, now_ns).await)
    }

    fn redrive(&mut self, channel: Option<&str>, number: Option<u64>) -> Result<u64, StoreError> {
        self.session.transact("put dead letters back", async |cache, db| {
            turn(cache, db).await?;
            notices::redrive(db, channel, number).await
        })
    }

    fn trim(&mut self, retention: &Retention, now_ns: u64) -> Result<u64, StoreError> {
        self.session.transact("remove old alerts", async |cache, db| {
            turn(cache, db).await?;
            let mut removed = 0;
            for priority in Priority::ALL.into_iter().rev() {
                let oldest = now_ns.saturating_sub(retention.age_ns(priority)) as i64;
                let (priority, least) = (priority as i16, TRIM_ROWS);
                removed += insert::remove(cache, db, insert::OLD, &[&least, &priority, &oldest]).await?;
            }
            if query::size(db).await?.bytes > retention.max_bytes {
                removed += insert::remove(cache, db, insert::LEAST, &[&TRIM_ROWS]).await?;
            }
            Ok(removed)
        })
    }
}
