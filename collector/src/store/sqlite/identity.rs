//! Identities and the audit log in the store's file, by a connection of their own.
//!
//! Their tables have a version of their own. The log's refuse to be changed by SQL; who writes to the file itself is
//! found by the chain of hashes.

use std::path::Path;

use rusqlite::{Connection, OptionalExtension, Row, Transaction, TransactionBehavior, params};

use super::{fault, tune};
use crate::{
    audit::{Chain, Hash, Note, Record},
    store::{
        StoreError,
        identity::{Book, Change, Expect, Item, Kind, To},
    },
};

/// Steps from nothing to the current format; a released step never changes.
const STEPS: [&str; 1] = ["
    CREATE TABLE identities (
        kind TEXT NOT NULL, name TEXT NOT NULL, revision INTEGER NOT NULL, ends INTEGER, value TEXT NOT NULL,
        PRIMARY KEY (kind, name)) WITHOUT ROWID;
    CREATE INDEX identities_by_end ON identities (ends) WHERE ends IS NOT NULL;
    CREATE TABLE audit (
        number INTEGER PRIMARY KEY, time INTEGER NOT NULL, actor TEXT NOT NULL, action TEXT NOT NULL,
        object TEXT NOT NULL, detail TEXT NOT NULL, previous BLOB NOT NULL, hash BLOB NOT NULL);
    CREATE TRIGGER audit_stays BEFORE DELETE ON audit BEGIN
        SELECT RAISE(ABORT, 'the audit log only grows');
    END;
    CREATE TRIGGER audit_holds BEFORE UPDATE ON audit BEGIN
        SELECT RAISE(ABORT, 'the audit log only grows');
    END;
"];
const COLUMNS: &str = "number, time, actor, action, object, detail, previous, hash";

/// The book in the file.
#[derive(Debug)]
pub struct SqliteBook {
    db: Connection,
}

/// Opens the book, and makes its tables where they are not there.
pub fn book(path: &Path) -> Result<SqliteBook, StoreError> {
    let mut db = Connection::open(path).map_err(fault("open the store"))?;
    tune(&db)?;
    migrate(&mut db)?;
    Ok(SqliteBook { db })
}

fn migrate(db: &mut Connection) -> Result<(), StoreError> {
    let known = STEPS.len() as u32;
    let mut work = || -> rusqlite::Result<Result<(), u32>> {
        let transaction = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
        transaction.execute_batch(
            "CREATE TABLE IF NOT EXISTS formats (part TEXT PRIMARY KEY, version INTEGER NOT NULL) WITHOUT ROWID",
        )?;
        let found: Option<u32> = transaction
            .query_row("SELECT version FROM formats WHERE part = 'identity'", [], |row| row.get(0))
            .optional()?;
        let found = found.unwrap_or(0);
        if found > known {
            return Ok(Err(found));
        }
        for step in STEPS.iter().skip(found as usize) {
            transaction.execute_batch(step)?;
        }
        transaction.execute(
            "INSERT INTO formats (part, version) VALUES ('identity', ?1)
             ON CONFLICT (part) DO UPDATE SET version = excluded.version",
            [known],
        )?;
        transaction.commit()?;
        Ok(Ok(()))
    };
    work().map_err(fault("migrate the store"))?.map_err(|found| StoreError::TooNew { found, known })
}

impl Book for SqliteBook {
    fn get(&mut self, kind: Kind, name: &str) -> Result<Option<Item>, StoreError> {
        let get = || -> rusqlite::Result<Option<Item>> {
            self.db
                .prepare_cached("SELECT name, revision, value FROM identities WHERE kind = ?1 AND name = ?2")?
                .query_row([kind.name(), name], item)
                .optional()
        };
        get().map_err(fault("read an identity"))
    }

    fn list(&mut self, kind: Kind) -> Result<Vec<Item>, StoreError> {
        let list = || -> rusqlite::Result<Vec<Item>> {
            self.db
                .prepare_cached("SELECT name, revision, value FROM identities WHERE kind = ?1 ORDER BY name")?
                .query_map([kind.name()], item)?
                .collect()
        };
        list().map_err(fault("list identities"))
    }

    fn change(&mut self, changes: &[Change], note: &Note, now_ns: u64) -> Result<bool, StoreError> {
        self.write(changes, Some(note), now_ns)
    }

    fn keep(&mut self, changes: &[Change], now_ns: u64) -> Result<bool, StoreError> {
        self.write(changes, None, now_ns)
    }

    fn records_after(&mut self, after: u64, limit: usize) -> Result<Vec<Record>, StoreError> {
        let read = || -> rusqlite::Result<Vec<Record>> {
            self.db
                .prepare_cached(&format!(
                    "SELECT {COLUMNS} FROM audit WHERE number > ?1 ORDER BY number LIMIT ?2"
                ))?
                .query_map(params![after as i64, limit as i64], record)?
                .collect()
        };
        read().map_err(fault("read the audit log"))
    }

    fn records_before(&mut self, before: Option<u64>, limit: usize) -> Result<Vec<Record>, StoreError> {
        let before = before.and_then(|number| i64::try_from(number).ok()).unwrap_or(i64::MAX);
        let read = || -> rusqlite::Result<Vec<Record>> {
            self.db
                .prepare_cached(&format!(
                    "SELECT {COLUMNS} FROM audit WHERE number < ?1 ORDER BY number DESC LIMIT ?2"
                ))?
                .query_map(params![before, limit as i64], record)?
                .collect()
        };
        read().map_err(fault("read the audit log"))
    }

    fn prune(&mut self, now_ns: u64) -> Result<u64, StoreError> {
        let prune = || -> rusqlite::Result<usize> {
            self.db.prepare_cached("DELETE FROM identities WHERE ends < ?1")?.execute([now_ns as i64])
        };
        prune().map(|count| count as u64).map_err(fault("forget old identities"))
    }
}

impl SqliteBook {
    fn write(&mut self, changes: &[Change], note: Option<&Note>, now_ns: u64) -> Result<bool, StoreError> {
        let mut work = || -> rusqlite::Result<bool> {
            let transaction = self.db.transaction_with_behavior(TransactionBehavior::Immediate)?;
            for change in changes {
                if !apply(&transaction, change)? {
                    return Ok(false);
                }
            }
            if let Some(note) = note {
                append(&transaction, note, now_ns)?;
            }
            transaction.commit()?;
            Ok(true)
        };
        work().map_err(fault("change identities"))
    }
}

fn item(row: &Row<'_>) -> rusqlite::Result<Item> {
    let revision: i64 = row.get(1)?;
    Ok(Item { name: row.get(0)?, revision: revision as u64, value: row.get(2)? })
}

fn record(row: &Row<'_>) -> rusqlite::Result<Record> {
    let number = |column: usize| row.get::<_, i64>(column).map(|number| number as u64);
    let note = Note { actor: row.get(2)?, action: row.get(3)?, object: row.get(4)?, detail: row.get(5)? };
    Ok(Record { number: number(0)?, time_ns: number(1)?, note, previous: hash(row, 6)?, hash: hash(row, 7)? })
}

/// A hash; one of another length is none that was ever written, and fits nothing.
fn hash(row: &Row<'_>, column: usize) -> rusqlite::Result<Hash> {
    let bytes: Vec<u8> = row.get(column)?;
    Ok(bytes.try_into().unwrap_or([0xff; 32]))
}

/// Whether what the change expects held.
fn apply(db: &Transaction<'_>, change: &Change) -> rusqlite::Result<bool> {
    let (kind, name) = (change.kind.name(), &change.name);
    let count = match &change.to {
        To::Gone => db
            .prepare_cached("DELETE FROM identities WHERE kind = ?1 AND name = ?2")?
            .execute(params![kind, name])?,
        To::Value { expect, value, ends_ns } => {
            let ends = ends_ns.map(|ends| ends as i64);
            let insert =
                "INSERT INTO identities (kind, name, revision, ends, value) VALUES (?1, ?2, 1, ?3, ?4)
                          ON CONFLICT (kind, name)";
            match expect {
                Expect::Absent => db
                    .prepare_cached(&format!("{insert} DO NOTHING"))?
                    .execute(params![kind, name, ends, value])?,
                Expect::Anything => db
                    .prepare_cached(&format!(
                        "{insert} DO UPDATE SET revision = revision + 1, ends = excluded.ends, value = excluded.value"
                    ))?
                    .execute(params![kind, name, ends, value])?,
                Expect::Revision(revision) => db
                    .prepare_cached(
                        "UPDATE identities SET revision = revision + 1, ends = ?3, value = ?4
                         WHERE kind = ?1 AND name = ?2 AND revision = ?5",
                    )?
                    .execute(params![kind, name, ends, value, *revision as i64])?,
            }
        }
    };
    Ok(count > 0)
}

fn append(db: &Transaction<'_>, note: &Note, now_ns: u64) -> rusqlite::Result<()> {
    let last = db
        .prepare_cached("SELECT number, hash FROM audit ORDER BY number DESC LIMIT 1")?
        .query_row([], |row| Ok(Chain { count: row.get::<_, i64>(0)? as u64, head: hash(row, 1)? }))
        .optional()?;
    let Record { number, time_ns, note, previous, hash } =
        Record::after(&last.unwrap_or_default(), now_ns, note.clone());
    db.prepare_cached(&format!("INSERT INTO audit ({COLUMNS}) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)"))?
        .execute(params![
            number as i64,
            time_ns as i64,
            note.actor,
            note.action,
            note.object,
            note.detail,
            previous,
            hash
        ])?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::{fs, thread};

    use super::*;
    use crate::audit::Broken;

    fn note(detail: &str) -> Note {
        Note::new("cli:root", "test", "object", detail)
    }

    #[test]
    fn the_log_refuses_to_be_changed_by_sql() {
        let dir = tempfile::tempdir().unwrap();
        let mut book = book(&dir.path().join("db")).unwrap();
        assert!(book.change(&[], &note("a"), 5).unwrap());
        for sql in ["UPDATE audit SET actor = 'x'", "DELETE FROM audit"] {
            assert!(book.db.execute(sql, []).is_err(), "{sql}");
        }
    }

    #[test]
    fn the_log_of_several_writers_is_one_chain_and_a_changed_byte_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("db");
        drop(book(&path).unwrap());
        thread::scope(|scope| {
            for writer in 0..3 {
                let path = &path;
                scope.spawn(move || {
                    let mut book = book(path).unwrap();
                    for number in 0..20 {
                        book.change(&[], &note(&format!("needle-{writer}-{number:02}")), number).unwrap();
                    }
                });
            }
        });
        let verify = || {
            let mut chain = Chain::default();
            let records = book(&path).unwrap().records_after(0, 1000).unwrap();
            records.iter().try_for_each(|record| chain.take(record)).map(|()| chain.count)
        };
        assert_eq!(verify(), Ok(60));
        let number = {
            let mut book = book(&path).unwrap();
            let records = book.records_after(0, 1000).unwrap();
            book.db.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
            records.iter().find(|record| record.note.detail == "needle-1-07").unwrap().number
        };
        let mut bytes = fs::read(&path).unwrap();
        let needle = b"needle-1-07";
        // Pages that were split keep copies in parts that nobody reads.
        let found: Vec<usize> = (0..bytes.len()).filter(|at| bytes[*at..].starts_with(needle)).collect();
        assert!(!found.is_empty());
        for at in found {
            bytes[at + 9] ^= 1;
        }
        fs::write(&path, bytes).unwrap();
        assert_eq!(verify(), Err(Broken::Changed(number)));
    }
}
