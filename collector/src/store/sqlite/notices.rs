//! What is to be told, and what could not be.

use std::sync::Arc;

use rusqlite::{Connection, Row, Transaction, params};

use super::query::{COLUMNS, TABLES, stored};
use crate::store::{Dead, Notice, Told};

/// Those of these channels, the oldest first.
pub(super) fn due(db: &Connection, limit: usize, channels: &[Arc<str>]) -> rusqlite::Result<Vec<Notice>> {
    let sql = format!(
        "SELECT {COLUMNS}, notices.id, notices.attempts
         FROM {TABLES} JOIN notices ON notices.alert = alerts.id
         WHERE notices.channel = (SELECT id FROM texts WHERE text = ?1) ORDER BY notices.id LIMIT ?2"
    );
    let mut due = Vec::new();
    let mut statement = db.prepare_cached(&sql)?;
    for channel in channels {
        let rows =
            statement.query_map(params![&**channel, limit as i64], |row| notice(row, channel.to_string()))?;
        for row in rows {
            due.push(row?);
        }
    }
    Ok(due)
}

/// Those of these that are still to be told, the oldest first.
pub(super) fn claim(db: &Connection, numbers: &[u64]) -> rusqlite::Result<Vec<Notice>> {
    let sql = format!(
        "SELECT {COLUMNS}, notices.id, notices.attempts, channels.text
         FROM {TABLES} JOIN notices ON notices.alert = alerts.id
         JOIN texts AS channels ON channels.id = notices.channel
         WHERE notices.id IN (SELECT value FROM json_each(?1)) ORDER BY notices.id"
    );
    let numbers = serde_json::Value::from(numbers).to_string();
    let mut statement = db.prepare_cached(&sql)?;
    let rows = statement.query_map([numbers], |row| notice(row, row.get(13)?))?;
    rows.collect()
}

fn notice(row: &Row<'_>, channel: String) -> rusqlite::Result<Notice> {
    let number: i64 = row.get(11)?;
    Ok(Notice { number: number as u64, channel, attempts: row.get(12)?, stored: stored(row)? })
}

/// Makes dead letters of those of other channels.
pub(super) fn give_up(
    db: &Transaction<'_>,
    known: &[Arc<str>],
    reason: &str,
    now_ns: u64,
) -> rusqlite::Result<u64> {
    let known: Vec<&str> = known.iter().map(|channel| &**channel).collect();
    let known = serde_json::Value::from(known).to_string();
    let others = "channel NOT IN
        (SELECT texts.id FROM texts JOIN json_each(?1) AS known ON known.value = texts.text)";
    let count = db
        .prepare_cached(&format!(
            "INSERT INTO dead (channel, alert, attempts, reason, at)
             SELECT channel, alert, attempts, ?2, ?3 FROM notices WHERE {others}"
        ))?
        .execute(params![known, reason, now_ns as i64])?;
    db.prepare_cached(&format!("DELETE FROM notices WHERE {others}"))?.execute([known])?;
    Ok(count as u64)
}

/// Notes what became of tries.
pub(super) fn told(db: &Transaction<'_>, results: &[(u64, Told)], now_ns: u64) -> rusqlite::Result<()> {
    for (number, result) in results {
        let number = *number as i64;
        match result {
            Told::Done => {}
            Told::Again => {
                db.prepare_cached("UPDATE notices SET attempts = attempts + 1 WHERE id = ?1")?
                    .execute([number])?;
                continue;
            }
            Told::Never(reason) => {
                db.prepare_cached(
                    "INSERT INTO dead (channel, alert, attempts, reason, at)
                     SELECT channel, alert, attempts + 1, ?2, ?3 FROM notices WHERE id = ?1",
                )?
                .execute(params![number, reason, now_ns as i64])?;
            }
        }
        db.prepare_cached("DELETE FROM notices WHERE id = ?1")?.execute([number])?;
    }
    Ok(())
}

/// Puts dead letters back.
pub(super) fn redrive(
    db: &Transaction<'_>,
    channel: Option<&str>,
    number: Option<u64>,
) -> rusqlite::Result<u64> {
    let chosen =
        "(?1 IS NULL OR channel = (SELECT id FROM texts WHERE text = ?1)) AND (?2 IS NULL OR id = ?2)";
    let number = number.map(|number| number as i64);
    // What an alert that is kept no longer would say is not known any more.
    let back = db
        .prepare_cached(&format!(
            "INSERT INTO notices (channel, alert)
             SELECT channel, alert FROM dead WHERE {chosen} AND alert IN (SELECT id FROM alerts)"
        ))?
        .execute(params![channel, number])?;
    db.prepare_cached(&format!("DELETE FROM dead WHERE {chosen}"))?.execute(params![channel, number])?;
    Ok(back as u64)
}

/// Dead letters, the newest first.
pub(super) fn dead(db: &Connection, limit: usize) -> rusqlite::Result<Vec<Dead>> {
    let mut statement = db.prepare_cached(
        "SELECT dead.id, texts.text, dead.attempts, dead.reason, dead.at, dead.alert
         FROM dead JOIN texts ON texts.id = dead.channel ORDER BY dead.id DESC LIMIT ?1",
    )?;
    let rows = statement.query_map([limit as i64], |row| {
        let number = |column: usize| row.get::<_, i64>(column).map(|number| number as u64);
        Ok(Dead {
            number: number(0)?,
            channel: row.get(1)?,
            attempts: row.get(2)?,
            reason: row.get(3)?,
            dead_ns: number(4)?,
            alert: number(5)?,
        })
    })?;
    rows.collect()
}
