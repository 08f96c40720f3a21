//! Identities and the audit log in the database, for all collectors that share it.
//!
//! Changes take turns by a lock of their own, so that the log is one chain. The log's table refuses to be changed by SQL;
//! who has the rights to change that too is found by the chain of hashes.

use tokio_postgres::{Error, Row, Transaction};

use super::{
    Settings,
    connection::Cache,
    session::{Session, open},
};
use crate::{
    audit::{Chain, Hash, Note, Record},
    store::{
        StoreError,
        identity::{Book, Change, Expect, Item, Kind, To},
    },
};

/// Waits for the turn to change identities; the end of the transaction gives it to the next.
const TURN: &str = "SELECT pg_advisory_xact_lock(1380798548, 3)";
const COLUMNS: &str = "number, time, actor, action, object, detail, previous, hash";

/// The book in the database.
#[derive(Debug)]
pub struct PostgresBook {
    session: Session,
}

/// Connects, and brings the database to the current format.
pub fn book(settings: &Settings) -> Result<PostgresBook, StoreError> {
    Ok(PostgresBook { session: open(settings)? })
}

impl Book for PostgresBook {
    fn get(&mut self, kind: Kind, name: &str) -> Result<Option<Item>, StoreError> {
        self.session.transact("read an identity", async |cache, db| {
            let sql = "SELECT name, revision, value FROM identities WHERE kind = $1 AND name = $2";
            let statement = cache.statement(db, sql).await?;
            Ok(db.query_opt(&statement, &[&kind.name(), &name]).await?.as_ref().map(item))
        })
    }

    fn list(&mut self, kind: Kind) -> Result<Vec<Item>, StoreError> {
        self.session.transact("list identities", async |cache, db| {
            let sql = "SELECT name, revision, value FROM identities WHERE kind = $1 ORDER BY name";
            let statement = cache.statement(db, sql).await?;
            Ok(db.query(&statement, &[&kind.name()]).await?.iter().map(item).collect())
        })
    }

    fn change(&mut self, changes: &[Change], note: &Note, now_ns: u64) -> Result<bool, StoreError> {
        self.write(changes, Some(note), now_ns)
    }

    fn keep(&mut self, changes: &[Change], now_ns: u64) -> Result<bool, StoreError> {
        self.write(changes, None, now_ns)
    }

    fn records_after(&mut self, after: u64, limit: usize) -> Result<Vec<Record>, StoreError> {
        let (after, limit) = (after as i64, limit as i64);
        self.session.transact("read the audit log", async |cache, db| {
            let sql = format!("SELECT {COLUMNS} FROM audit WHERE number > $1 ORDER BY number LIMIT $2");
            let statement = cache.statement(db, &sql).await?;
            Ok(db.query(&statement, &[&after, &limit]).await?.iter().map(record).collect())
        })
    }

    fn records_before(&mut self, before: Option<u64>, limit: usize) -> Result<Vec<Record>, StoreError> {
        let before = before.and_then(|number| i64::try_from(number).ok()).unwrap_or(i64::MAX);
        let limit = limit as i64;
        self.session.transact("read the audit log", async |cache, db| {
            let sql = format!("SELECT {COLUMNS} FROM audit WHERE number < $1 ORDER BY number DESC LIMIT $2");
            let statement = cache.statement(db, &sql).await?;
            Ok(db.query(&statement, &[&before, &limit]).await?.iter().map(record).collect())
        })
    }

    fn prune(&mut self, now_ns: u64) -> Result<u64, StoreError> {
        let now = now_ns as i64;
        self.session.transact("forget old identities", async |cache, db| {
            let statement = cache.statement(db, "DELETE FROM identities WHERE ends < $1").await?;
            db.execute(&statement, &[&now]).await
        })
    }
}

impl PostgresBook {
    fn write(&mut self, changes: &[Change], note: Option<&Note>, now_ns: u64) -> Result<bool, StoreError> {
        self.session.decide("change identities", async |cache, db| {
            db.execute(TURN, &[]).await?;
            for change in changes {
                if !apply(cache, db, change).await? {
                    return Ok(false);
                }
            }
            if let Some(note) = note {
                append(cache, db, note, now_ns).await?;
            }
            Ok(true)
        })
    }
}

fn item(row: &Row) -> Item {
    Item { name: row.get(0), revision: row.get::<_, i64>(1) as u64, value: row.get(2) }
}

fn record(row: &Row) -> Record {
    let number = |column: usize| row.get::<_, i64>(column) as u64;
    let note = Note { actor: row.get(2), action: row.get(3), object: row.get(4), detail: row.get(5) };
    Record { number: number(0), time_ns: number(1), note, previous: hash(row, 6), hash: hash(row, 7) }
}

/// A hash; one of another length is none that was ever written, and fits nothing.
fn hash(row: &Row, column: usize) -> Hash {
    row.get::<_, Vec<u8>>(column).try_into().unwrap_or([0xff; 32])
}

/// Whether what the change expects held.
async fn apply(cache: &mut Cache, db: &Transaction<'_>, change: &Change) -> Result<bool, Error> {
    let (kind, name) = (change.kind.name(), &change.name);
    let insert = "INSERT INTO identities (kind, name, revision, ends, value) VALUES ($1, $2, 1, $3, $4)
                  ON CONFLICT (kind, name)";
    let count = match &change.to {
        To::Gone => {
            let sql = "DELETE FROM identities WHERE kind = $1 AND name = $2";
            let statement = cache.statement(db, sql).await?;
            db.execute(&statement, &[&kind, name]).await?
        }
        To::Value { expect, value, ends_ns } => {
            let ends = ends_ns.map(|ends| ends as i64);
            match expect {
                Expect::Absent => {
                    let statement = cache.statement(db, &format!("{insert} DO NOTHING")).await?;
                    db.execute(&statement, &[&kind, name, &ends, value]).await?
                }
                Expect::Anything => {
                    let sql = format!(
                        "{insert} DO UPDATE SET revision = identities.revision + 1, ends = excluded.ends,
                         value = excluded.value"
                    );
                    let statement = cache.statement(db, &sql).await?;
                    db.execute(&statement, &[&kind, name, &ends, value]).await?
                }
                Expect::Revision(revision) => {
                    let sql = "UPDATE identities SET revision = revision + 1, ends = $3, value = $4
                               WHERE kind = $1 AND name = $2 AND revision = $5";
                    let statement = cache.statement(db, sql).await?;
                    db.execute(&statement, &[&kind, name, &ends, value, &(*revision as i64)]).await?
                }
            }
        }
    };
    Ok(count > 0)
}

async fn append(cache: &mut Cache, db: &Transaction<'_>, note: &Note, now_ns: u64) -> Result<(), Error> {
    let statement =
        cache.statement(db, "SELECT number, hash FROM audit ORDER BY number DESC LIMIT 1").await?;
    let last = db.query_opt(&statement, &[]).await?;
    let last = last.map(|row| Chain { count: row.get::<_, i64>(0) as u64, head: hash(&row, 1) });
    // The one letter that PostgreSQL's text does not have; the hash is of what is stored.
    let clean = |text: &str| text.replace('\0', "\u{fffd}");
    let note = Note::new(clean(&note.actor), clean(&note.action), clean(&note.object), clean(&note.detail));
    let Record { number, time_ns, note, previous, hash } =
        Record::after(&last.unwrap_or_default(), now_ns, note);
    let sql = format!("INSERT INTO audit ({COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)");
    let statement = cache.statement(db, &sql).await?;
    let (number, time) = (number as i64, time_ns as i64);
    let (previous, hash) = (previous.as_slice(), hash.as_slice());
    let Note { actor, action, object, detail } = &note;
    db.execute(&statement, &[&number, &time, actor, action, object, detail, &previous, &hash]).await?;
    Ok(())
}
