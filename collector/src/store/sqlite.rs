//! The store in one file, without any other service.
//!
//! Write-ahead log, forced to the disk by each commit (`synchronous=FULL`); readers see the last commit and wait for
//! nobody. Text that repeats (nodes, rules, sources) is kept once and remembered by the writer.

mod checkpoint;
pub mod identity;
mod notices;
mod query;
mod schema;

use std::{collections::HashMap, path::Path, sync::Arc, time::Duration};

use rusqlite::{Connection, OpenFlags, Transaction, params};

use self::checkpoint::Checkpoints;
use super::{Added, Batch, Notice, Retention, Route, StoreError, Told, Writer};
use crate::alert::{Alert, Priority, Stored};

/// Rows that one step of retention removes: a few milliseconds, between which alerts are stored.
const TRIM_ROWS: u64 = 2000;
/// Time that another process may hold the file, such as a backup.
const BUSY: Duration = Duration::from_secs(10);
/// Memory for pages, kibibytes.
const CACHE_KIB: i64 = 32 << 10;

/// A short name for what an operation did.
pub(crate) fn fault(operation: &'static str) -> impl FnOnce(rusqlite::Error) -> StoreError {
    move |source| StoreError::Sqlite { operation, source }
}

/// The half that writes.
#[derive(Debug)]
pub struct SqliteWriter {
    db: Connection,
    names: Names,
    _checkpoints: Checkpoints,
}

/// The half that reads.
#[derive(Debug)]
pub struct SqliteReader {
    db: Connection,
}

/// Numbers of texts, as far as they were needed. Grows with the rules and nodes there are.
#[derive(Debug, Default)]
struct Names {
    texts: HashMap<String, i64>,
    boots: HashMap<(i64, [u8; 16]), i64>,
}

/// Opens the file, makes it if it is not there, and brings it to the current format.
pub fn writer(path: &Path) -> Result<SqliteWriter, StoreError> {
    let mut db = Connection::open(path).map_err(fault("open the store"))?;
    tune(&db)?;
    schema::migrate(&mut db)?;
    let checkpoints = Checkpoints::of(&mut db, path).map_err(fault("open the store"))?;
    Ok(SqliteWriter { db, names: Names::default(), _checkpoints: checkpoints })
}

/// Opens a file that a writer has opened.
pub fn reader(path: &Path) -> Result<SqliteReader, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let db = Connection::open_with_flags(path, flags).map_err(fault("open the store"))?;
    db.busy_timeout(BUSY).map_err(fault("open the store"))?;
    Ok(SqliteReader { db })
}

fn tune(db: &Connection) -> Result<(), StoreError> {
    let set = || -> rusqlite::Result<()> {
        db.busy_timeout(BUSY)?;
        // Only takes effect in a file without tables.
        db.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
        db.pragma_update(None, "journal_mode", "WAL")?;
        db.pragma_update(None, "synchronous", "FULL")?;
        db.pragma_update(None, "cache_size", -CACHE_KIB)?;
        db.pragma_update(None, "temp_store", "MEMORY")?;
        db.set_prepared_statement_cache_capacity(32);
        Ok(())
    };
    set().map_err(fault("set up the store"))
}

impl Names {
    fn text(&mut self, db: &Transaction<'_>, text: &str) -> rusqlite::Result<i64> {
        if let Some(number) = self.texts.get(text) {
            return Ok(*number);
        }
        db.prepare_cached("INSERT INTO texts (text) VALUES (?1) ON CONFLICT DO NOTHING")?.execute([text])?;
        let number =
            db.prepare_cached("SELECT id FROM texts WHERE text = ?1")?.query_row([text], |row| row.get(0))?;
        self.texts.insert(text.to_owned(), number);
        Ok(number)
    }

    fn boot(&mut self, db: &Transaction<'_>, node: i64, boot: [u8; 16]) -> rusqlite::Result<i64> {
        if let Some(number) = self.boots.get(&(node, boot)) {
            return Ok(*number);
        }
        db.prepare_cached("INSERT INTO boots (node, boot) VALUES (?1, ?2) ON CONFLICT DO NOTHING")?
            .execute(params![node, boot])?;
        let number = db
            .prepare_cached("SELECT id FROM boots WHERE node = ?1 AND boot = ?2")?
            .query_row(params![node, boot], |row| row.get(0))?;
        self.boots.insert((node, boot), number);
        Ok(number)
    }
}

/// What a batch adds to one start of an agent.
#[derive(Clone, Copy, Debug, Default)]
struct Gain {
    stored: u64,
    highest: u64,
}

impl SqliteWriter {
    fn insert(
        names: &mut Names,
        db: &Transaction<'_>,
        batches: Vec<Batch>,
        now_ns: u64,
        route: Route<'_>,
    ) -> rusqlite::Result<Vec<Stored>> {
        let mut new = Vec::new();
        let mut gains: HashMap<(i64, u32), Gain> = HashMap::new();
        for batch in batches {
            let node = names.text(db, &batch.node)?;
            for alert in batch.alerts {
                let boot = names.boot(db, node, alert.id.boot)?;
                let Some(number) = Self::insert_one(names, db, (node, boot), &alert, now_ns)? else {
                    continue;
                };
                let gain = gains.entry((boot, alert.id.cpu)).or_default();
                gain.stored += 1;
                gain.highest = gain.highest.max(alert.id.sequence);
                for channel in route(&batch.node, &alert) {
                    let channel = names.text(db, &channel)?;
                    db.prepare_cached("INSERT INTO notices (channel, alert) VALUES (?1, ?2)")?
                        .execute(params![channel, number as i64])?;
                }
                let node = Arc::clone(&batch.node);
                new.push(Stored { number, node, received_ns: now_ns, alert });
            }
        }
        for ((boot, cpu), gain) in gains {
            db.prepare_cached(
                "INSERT INTO counts (boot, cpu, stored, highest, received) VALUES (?1, ?2, ?3, ?4, ?5)
                 ON CONFLICT DO UPDATE SET stored = stored + excluded.stored,
                 highest = max(highest, excluded.highest), received = excluded.received",
            )?
            .execute(params![
                boot,
                cpu,
                gain.stored as i64,
                gain.highest as i64,
                now_ns as i64
            ])?;
        }
        Ok(new)
    }

    /// The number of a new alert; `None` when it is there already.
    fn insert_one(
        names: &mut Names,
        db: &Transaction<'_>,
        (node, boot): (i64, i64),
        alert: &Alert,
        now_ns: u64,
    ) -> rusqlite::Result<Option<u64>> {
        let rule = names.text(db, &alert.rule)?;
        let source = names.text(db, &alert.source)?;
        let changed = db
            .prepare_cached(
                "INSERT INTO alerts (node, boot, cpu, sequence, time, received, priority, rule, source, json)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10) ON CONFLICT (boot, cpu, sequence) DO NOTHING",
            )?
            .execute(params![
                node,
                boot,
                alert.id.cpu,
                alert.id.sequence as i64,
                alert.time_ns as i64,
                now_ns as i64,
                alert.priority as u8,
                rule,
                source,
                alert.json,
            ])?;
        Ok((changed == 1).then(|| db.last_insert_rowid() as u64))
    }

    /// Runs in one transaction. Numbers that were learned in one that failed are forgotten.
    fn transact<T>(
        &mut self,
        operation: &'static str,
        work: impl FnOnce(&mut Names, &Transaction<'_>) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        let Self { db, names, .. } = self;
        let outcome = db.transaction().and_then(|transaction| {
            let value = work(names, &transaction)?;
            transaction.commit()?;
            Ok(value)
        });
        if outcome.is_err() {
            *names = Names::default();
        }
        outcome.map_err(fault(operation))
    }
}

impl Writer for SqliteWriter {
    fn store(&mut self, batches: Vec<Batch>, now_ns: u64, route: Route<'_>) -> Result<Added, StoreError> {
        let alerts =
            self.transact("store alerts", |names, db| Self::insert(names, db, batches, now_ns, route))?;
        Ok(Added { alerts, work: Vec::new() })
    }

    fn due(&mut self, limit: usize, channels: &[Arc<str>], _now_ns: u64) -> Result<Vec<Notice>, StoreError> {
        notices::due(&self.db, limit, channels).map_err(fault("look for what is to be told"))
    }

    fn claim(&mut self, numbers: &[u64], _now_ns: u64) -> Result<Vec<Notice>, StoreError> {
        notices::claim(&self.db, numbers).map_err(fault("look for what is to be told"))
    }

    fn give_up(&mut self, known: &[Arc<str>], reason: &str, now_ns: u64) -> Result<u64, StoreError> {
        self.transact("give up what nobody can be told", |_, db| notices::give_up(db, known, reason, now_ns))
    }

    fn told(&mut self, results: &[(u64, Told)], now_ns: u64) -> Result<(), StoreError> {
        self.transact("note what was told", |_, db| notices::told(db, results, now_ns))
    }

    fn redrive(&mut self, channel: Option<&str>, number: Option<u64>) -> Result<u64, StoreError> {
        self.transact("put dead letters back", |_, db| notices::redrive(db, channel, number))
    }

    fn trim(&mut self, retention: &Retention, now_ns: u64) -> Result<u64, StoreError> {
        self.transact("remove old alerts", |_, db| {
            let mut removed = 0;
            for priority in Priority::ALL.into_iter().rev() {
                let oldest = now_ns.saturating_sub(retention.age_ns(priority));
                removed += db
                    .prepare_cached(
                        "DELETE FROM alerts WHERE id IN
                         (SELECT id FROM alerts WHERE priority = ?1 AND received < ?2 ORDER BY received LIMIT ?3)",
                    )?
                    .execute(params![priority as u8, oldest as i64, TRIM_ROWS as i64])?
                    as u64;
            }
            if query::bytes(db)? > retention.max_bytes {
                removed += db
                    .prepare_cached(
                        "DELETE FROM alerts WHERE id IN
                         (SELECT id FROM alerts WHERE priority = (SELECT max(priority) FROM alerts)
                          ORDER BY received LIMIT ?1)",
                    )?
                    .execute([TRIM_ROWS as i64])? as u64;
            }
            if removed > 0 {
                db.execute_batch("PRAGMA incremental_vacuum(1000)")?;
            }
            Ok(removed)
        })
    }
}

#[cfg(test)]
mod tests;
