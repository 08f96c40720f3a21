//! What is to be told, who holds it, and what could not be told.

use std::sync::Arc;

use tokio_postgres::{Error, Row, Transaction};

use super::{
    connection::Cache,
    insert::text,
    query::{COLUMNS, TABLES, stored},
};
use crate::store::{Notice, Told, Work};

/// Takes what is free of those chosen by a condition, and shows it.
fn take(chosen: &str) -> String {
    format!(
        "WITH free AS (SELECT id FROM notices WHERE {chosen} AND (owner IS NULL OR owner = $1 OR until < $2)
             ORDER BY id LIMIT $4 FOR UPDATE SKIP LOCKED),
         held AS (UPDATE notices SET owner = $1, until = $3 FROM free WHERE notices.id = free.id
                  RETURNING notices.id, notices.channel, notices.alert, notices.attempts)
         SELECT {COLUMNS}, held.id, held.attempts, channels.text
         FROM {TABLES} JOIN held ON held.alert = alerts.id
         JOIN texts AS channels ON channels.id = held.channel ORDER BY held.id"
    )
}

fn notice(row: &Row) -> Notice {
    let number = |column: usize| row.get::<_, i64>(column) as u64;
    Notice { number: number(11), attempts: number(12) as u32, channel: row.get(13), stored: stored(row) }
}

fn integers(numbers: &[u64]) -> Vec<i64> {
    numbers.iter().map(|number| *number as i64).collect()
}

/// Those of a channel, the oldest first.
pub(super) async fn due(
    cache: &mut Cache,
    db: &Transaction<'_>,
    (channel, limit): (&str, usize),
    owner: i64,
    (now_ns, until): (u64, i64),
) -> Result<Vec<Notice>, Error> {
    let statement = cache.statement(db, &take("channel = $5")).await?;
    let channel = text(cache, db, channel).await?;
    let rows = db.query(&statement, &[&owner, &(now_ns as i64), &until, &(limit as i64), &channel]).await?;
    Ok(rows.iter().map(notice).collect())
}

/// Those of these numbers.
pub(super) async fn claim(
    cache: &mut Cache,
    db: &Transaction<'_>,
    numbers: &[u64],
    owner: i64,
    (now_ns, until): (u64, i64),
) -> Result<Vec<Notice>, Error> {
    let statement = cache.statement(db, &take("id = ANY($5)")).await?;
    let numbers = integers(numbers);
    let limit = numbers.len() as i64;
    let rows = db.query(&statement, &[&owner, &(now_ns as i64), &until, &limit, &numbers]).await?;
    Ok(rows.iter().map(notice).collect())
}

/// Holds on to what is held.
pub(super) async fn hold(
    cache: &mut Cache,
    db: &Transaction<'_>,
    owner: i64,
    until: i64,
) -> Result<(), Error> {
    let statement = cache.statement(db, "UPDATE notices SET until = $2 WHERE owner = $1").await?;
    db.execute(&statement, &[&owner, &until]).await?;
    Ok(())
}

/// Lets go of what is held.
pub(super) async fn release(db: &Transaction<'_>, owner: i64) -> Result<(), Error> {
    db.execute("UPDATE notices SET owner = NULL, until = 0 WHERE owner = $1", &[&owner]).await?;
    Ok(())
}

/// Those of a channel that nobody holds, or nobody came for.
pub(super) async fn lapsed(
    cache: &mut Cache,
    db: &Transaction<'_>,
    (channel, limit): (&str, usize),
    (now_ns, until): (u64, i64),
) -> Result<Vec<Work>, Error> {
    let sql = "UPDATE notices SET owner = NULL, until = $3 FROM
        (SELECT id FROM notices WHERE channel = (SELECT id FROM texts WHERE text = $1) AND until < $2
         ORDER BY id LIMIT $4 FOR UPDATE SKIP LOCKED) AS old
        WHERE notices.id = old.id RETURNING notices.id";
    let statement = cache.statement(db, sql).await?;
    let rows = db.query(&statement, &[&channel, &(now_ns as i64), &until, &(limit as i64)]).await?;
    let mut numbers: Vec<i64> = rows.iter().map(|row| row.get(0)).collect();
    numbers.sort_unstable();
    let name: Arc<str> = Arc::from(channel);
    let work = |number: i64| Work { channel: Arc::clone(&name), number: number as u64 };
    Ok(numbers.into_iter().map(work).collect())
}

/// Makes dead letters of those of other channels.
pub(super) async fn give_up(
    db: &Transaction<'_>,
    known: &[Arc<str>],
    reason: &str,
    now_ns: u64,
) -> Result<u64, Error> {
    let known: Vec<&str> = known.iter().map(|channel| &**channel).collect();
    db.execute(
        "WITH gone AS (DELETE FROM notices
             WHERE channel NOT IN (SELECT id FROM texts WHERE text = ANY($1)) AND (owner IS NULL OR until < $3)
             RETURNING channel, alert, attempts)
         INSERT INTO dead (channel, alert, attempts, reason, at)
         SELECT channel, alert, attempts, $2, $3 FROM gone",
        &[&known, &reason, &(now_ns as i64)],
    )
    .await
}

/// Notes what became of tries.
pub(super) async fn told(
    cache: &mut Cache,
    db: &Transaction<'_>,
    results: &[(u64, Told)],
    now_ns: u64,
) -> Result<(), Error> {
    let (mut done, mut again) = (Vec::new(), Vec::new());
    for (number, result) in results {
        let number = *number as i64;
        match result {
            Told::Done => done.push(number),
            Told::Again => again.push(number),
            Told::Never(reason) => {
                let sql =
                    "WITH gone AS (DELETE FROM notices WHERE id = $1 RETURNING channel, alert, attempts)
                     INSERT INTO dead (channel, alert, attempts, reason, at)
                     SELECT channel, alert, attempts + 1, $2, $3 FROM gone";
                let statement = cache.statement(db, sql).await?;
                let reason = reason.replace('\0', "\u{fffd}");
                db.execute(&statement, &[&number, &reason, &(now_ns as i64)]).await?;
            }
        }
    }
    for (sql, numbers) in [
        ("DELETE FROM notices WHERE id = ANY($1)", done),
        ("UPDATE notices SET attempts = attempts + 1 WHERE id = ANY($1)", again),
    ] {
        if !numbers.is_empty() {
            let statement = cache.statement(db, sql).await?;
            db.execute(&statement, &[&numbers]).await?;
        }
    }
    Ok(())
}

/// Puts dead letters back.
pub(super) async fn redrive(
    db: &Transaction<'_>,
    channel: Option<&str>,
    number: Option<u64>,
) -> Result<u64, Error> {
    let number = number.map(|number| number as i64);
    // What an alert that is kept no longer would say is not known any more.
    db.execute(
        "WITH gone AS (DELETE FROM dead
             WHERE ($1::text IS NULL OR channel = (SELECT id FROM texts WHERE text = $1))
             AND ($2::int8 IS NULL OR id = $2) RETURNING id, channel, alert)
         INSERT INTO notices (channel, alert)
         SELECT channel, alert FROM gone WHERE alert IN (SELECT id FROM alerts) ORDER BY gone.id",
        &[&channel, &number],
    )
    .await
}
