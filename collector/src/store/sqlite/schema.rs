//! The tables, and how those of older versions become them.

use rusqlite::Connection;

use super::fault;
use crate::store::StoreError;

/// Steps from an empty file to the current format; a released step never changes.
const STEPS: [&str; 1] = ["
    CREATE TABLE texts (id INTEGER PRIMARY KEY, text TEXT NOT NULL UNIQUE);
    CREATE TABLE boots (
        id INTEGER PRIMARY KEY, node INTEGER NOT NULL, boot BLOB NOT NULL, UNIQUE (node, boot));
    CREATE TABLE counts (
        boot INTEGER NOT NULL, cpu INTEGER NOT NULL,
        stored INTEGER NOT NULL, highest INTEGER NOT NULL, received INTEGER NOT NULL,
        PRIMARY KEY (boot, cpu)) WITHOUT ROWID;
    CREATE TABLE alerts (
        id INTEGER PRIMARY KEY AUTOINCREMENT, node INTEGER NOT NULL, boot INTEGER NOT NULL, cpu INTEGER NOT NULL,
        sequence INTEGER NOT NULL, time INTEGER NOT NULL, received INTEGER NOT NULL, priority INTEGER NOT NULL,
        rule INTEGER NOT NULL, source INTEGER NOT NULL, json TEXT NOT NULL,
        UNIQUE (boot, cpu, sequence));
    CREATE INDEX alerts_by_priority ON alerts (priority, received);
    CREATE INDEX alerts_by_rule ON alerts (rule);
    CREATE INDEX alerts_by_node ON alerts (node);
    CREATE TABLE notices (
        id INTEGER PRIMARY KEY AUTOINCREMENT, channel INTEGER NOT NULL, alert INTEGER NOT NULL,
        attempts INTEGER NOT NULL DEFAULT 0);
    CREATE INDEX notices_by_channel ON notices (channel, id);
    CREATE INDEX notices_by_alert ON notices (alert);
    CREATE TABLE dead (
        id INTEGER PRIMARY KEY AUTOINCREMENT, channel INTEGER NOT NULL, alert INTEGER NOT NULL,
        attempts INTEGER NOT NULL, reason TEXT NOT NULL, at INTEGER NOT NULL);
    CREATE TRIGGER alerts_gone AFTER DELETE ON alerts BEGIN
        DELETE FROM notices WHERE alert = old.id;
    END;
"];

/// Brings a file to the current format.
pub(super) fn migrate(db: &mut Connection) -> Result<(), StoreError> {
    let known = STEPS.len() as u32;
    let found: u32 = db
        .query_row("SELECT user_version FROM pragma_user_version", [], |row| row.get(0))
        .map_err(fault("read the store's format"))?;
    if found > known {
        return Err(StoreError::TooNew { found, known });
    }
    for (version, step) in STEPS.iter().enumerate().skip(found as usize) {
        let mut work = || -> rusqlite::Result<()> {
            let transaction = db.transaction()?;
            transaction.execute_batch(step)?;
            transaction.pragma_update(None, "user_version", version as u32 + 1)?;
            transaction.commit()
        };
        work().map_err(fault("migrate the store"))?;
    }
    Ok(())
}
