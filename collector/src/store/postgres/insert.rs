//! Putting alerts in, and taking old ones out: whole columns at a time.

use std::collections::HashMap;

use tokio_postgres::{Error, Transaction, types::ToSql};

use super::connection::Cache;
use crate::store::{Batch, Route, Work};

/// Bytes that a row and its entries in indexes take besides the JSON.
const ROW_BYTES: i64 = 300;

const ALERTS: &str = "INSERT INTO alerts
    (node, boot, cpu, sequence, time, received, priority, rule, source, json)
    SELECT node, boot, cpu, sequence, time, $10, priority, rule, source, json FROM unnest(
        $1::int8[], $2::int8[], $3::int8[], $4::int8[], $5::int8[], $6::int2[], $7::int8[], $8::int8[], $9::text[])
    WITH ORDINALITY AS new (node, boot, cpu, sequence, time, priority, rule, source, json, place)
    ORDER BY place ON CONFLICT (boot, cpu, sequence) DO NOTHING RETURNING id, boot, cpu, sequence";

const COUNTS: &str = "INSERT INTO counts (boot, cpu, stored, highest, received)
    SELECT boot, cpu, stored, highest, $5 FROM unnest($1::int8[], $2::int8[], $3::int8[], $4::int8[])
    AS new (boot, cpu, stored, highest)
    ON CONFLICT (boot, cpu) DO UPDATE SET stored = counts.stored + excluded.stored,
    highest = greatest(counts.highest, excluded.highest), received = excluded.received";

const NOTICES: &str = "INSERT INTO notices (channel, alert, until)
    SELECT channel, alert, $3 FROM unnest($1::int8[], $2::int8[])
    WITH ORDINALITY AS new (channel, alert, place) ORDER BY place RETURNING id";

const SIZES: &str = "UPDATE sizes SET alerts = alerts + $1, bytes = bytes + $2";

/// Alerts of a priority that are too old.
pub(super) const OLD: &str =
    "SELECT id FROM alerts WHERE priority = $2 AND received < $3 ORDER BY received LIMIT $1";
/// The oldest of the least severe.
pub(super) const LEAST: &str = "SELECT id FROM alerts WHERE priority = (SELECT max(priority) FROM alerts)
    ORDER BY received LIMIT $1";

/// Alerts as columns.
#[derive(Default)]
pub(super) struct Columns<'a> {
    node: Vec<i64>,
    boot: Vec<i64>,
    cpu: Vec<i64>,
    sequence: Vec<i64>,
    time: Vec<i64>,
    priority: Vec<i16>,
    rule: Vec<i64>,
    source: Vec<i64>,
    json: Vec<&'a str>,
}

/// The number of a text.
pub(super) async fn text(cache: &mut Cache, db: &Transaction<'_>, text: &str) -> Result<i64, Error> {
    if let Some(number) = cache.texts.get(text) {
        return Ok(*number);
    }
    // The one letter that PostgreSQL's text does not have.
    let clean = text.replace('\0', "\u{fffd}");
    db.execute("INSERT INTO texts (text) VALUES ($1) ON CONFLICT DO NOTHING", &[&clean]).await?;
    let number = db.query_one("SELECT id FROM texts WHERE text = $1", &[&clean]).await?.get(0);
    cache.texts.insert(text.to_owned(), number);
    Ok(number)
}

async fn boot(cache: &mut Cache, db: &Transaction<'_>, node: i64, boot: [u8; 16]) -> Result<i64, Error> {
    if let Some(number) = cache.boots.get(&(node, boot)) {
        return Ok(*number);
    }
    let bytes = boot.as_slice();
    db.execute("INSERT INTO boots (node, boot) VALUES ($1, $2) ON CONFLICT DO NOTHING", &[&node, &bytes])
        .await?;
    let found = db.query_one("SELECT id FROM boots WHERE node = $1 AND boot = $2", &[&node, &bytes]).await?;
    let number = found.get(0);
    cache.boots.insert((node, boot), number);
    Ok(number)
}

impl<'a> Columns<'a> {
    /// The columns of all alerts of these batches.
    pub(super) async fn of(
        cache: &mut Cache,
        db: &Transaction<'_>,
        batches: &'a [Batch],
    ) -> Result<Self, Error> {
        let mut columns = Self::default();
        for batch in batches {
            let node = text(cache, db, &batch.node).await?;
            for alert in &batch.alerts {
                columns.node.push(node);
                columns.boot.push(boot(cache, db, node, alert.id.boot).await?);
                columns.cpu.push(alert.id.cpu.into());
                columns.sequence.push(alert.id.sequence as i64);
                columns.time.push(alert.time_ns as i64);
                columns.priority.push(alert.priority as i16);
                columns.rule.push(text(cache, db, &alert.rule).await?);
                columns.source.push(text(cache, db, &alert.source).await?);
                columns.json.push(&alert.json);
            }
        }
        Ok(columns)
    }

    /// Stores those that are new; gives the number of each, in order, `None` when it was there.
    pub(super) async fn insert(
        &self,
        cache: &mut Cache,
        db: &Transaction<'_>,
        now_ns: u64,
    ) -> Result<Vec<Option<u64>>, Error> {
        if self.node.is_empty() {
            return Ok(Vec::new());
        }
        let statement = cache.statement(db, ALERTS).await?;
        let now = now_ns as i64;
        let columns: [&(dyn ToSql + Sync); 10] = [
            &self.node,
            &self.boot,
            &self.cpu,
            &self.sequence,
            &self.time,
            &self.priority,
            &self.rule,
            &self.source,
            &self.json,
            &now,
        ];
        let mut new: HashMap<(i64, i64, i64), i64> = HashMap::new();
        for row in db.query(&statement, &columns).await? {
            new.insert((row.get(1), row.get(2), row.get(3)), row.get(0));
        }
        let (count, mut bytes) = (new.len() as i64, 0);
        let mut gains: HashMap<(i64, i64), (i64, i64)> = HashMap::new();
        let mut numbers = Vec::with_capacity(self.node.len());
        let ids = self.boot.iter().zip(&self.cpu).zip(&self.sequence).zip(&self.json);
        for (((boot, cpu), sequence), json) in ids {
            // Only the first of the same.
            let number = new.remove(&(*boot, *cpu, *sequence));
            if number.is_some() {
                let (stored, highest) = gains.entry((*boot, *cpu)).or_default();
                *stored += 1;
                *highest = (*highest).max(*sequence);
                bytes += json.len() as i64 + ROW_BYTES;
            }
            numbers.push(number.map(|number| number as u64));
        }
        if count > 0 {
            Self::count(cache, db, gains, now).await?;
            let statement = cache.statement(db, SIZES).await?;
            db.execute(&statement, &[&count, &bytes]).await?;
        }
        Ok(numbers)
    }

    async fn count(
        cache: &mut Cache,
        db: &Transaction<'_>,
        gains: HashMap<(i64, i64), (i64, i64)>,
        now: i64,
    ) -> Result<(), Error> {
        let (keys, values): (Vec<_>, Vec<_>) = gains.into_iter().unzip();
        let (boots, cpus): (Vec<i64>, Vec<i64>) = keys.into_iter().unzip();
        let (stored, highest): (Vec<i64>, Vec<i64>) = values.into_iter().unzip();
        let statement = cache.statement(db, COUNTS).await?;
        db.execute(&statement, &[&boots, &cpus, &stored, &highest, &now]).await?;
        Ok(())
    }
}

/// Notes whom to tell of the alerts that have a number.
pub(super) async fn notices(
    cache: &mut Cache,
    db: &Transaction<'_>,
    (batches, numbers): (&[Batch], &[Option<u64>]),
    until: i64,
    route: Route<'_>,
) -> Result<Vec<Work>, Error> {
    let (mut names, mut channels, mut alerts) = (Vec::new(), Vec::new(), Vec::new());
    let all = batches.iter().flat_map(|batch| batch.alerts.iter().map(move |alert| (&batch.node, alert)));
    for ((node, alert), number) in all.zip(numbers) {
        let Some(number) = number else { continue };
        for channel in route(node, alert) {
            channels.push(text(cache, db, &channel).await?);
            alerts.push(*number as i64);
            names.push(channel);
        }
    }
    if names.is_empty() {
        return Ok(Vec::new());
    }
    let statement = cache.statement(db, NOTICES).await?;
    let rows = db.query(&statement, &[&channels, &alerts, &until]).await?;
    let work =
        |(channel, row): (_, tokio_postgres::Row)| Work { channel, number: row.get::<_, i64>(0) as u64 };
    Ok(names.into_iter().zip(rows).map(work).collect())
}

/// Removes the alerts that a question chooses, and what is to be told of them; says how many.
pub(super) async fn remove(
    cache: &mut Cache,
    db: &Transaction<'_>,
    chosen: &str,
    values: &[&(dyn ToSql + Sync)],
) -> Result<u64, Error> {
    let sql = format!(
        "WITH old AS ({chosen}),
         gone AS (DELETE FROM alerts USING old WHERE alerts.id = old.id
                  RETURNING alerts.id, octet_length(alerts.json) + {ROW_BYTES} AS bytes),
         quiet AS (DELETE FROM notices USING gone WHERE notices.alert = gone.id)
         SELECT count(*), coalesce(sum(bytes), 0)::int8 FROM gone"
    );
    let statement = cache.statement(db, &sql).await?;
    let row = db.query_one(&statement, values).await?;
    let (count, bytes): (i64, i64) = (row.get(0), row.get(1));
    if count > 0 {
        let statement = cache.statement(db, SIZES).await?;
        db.execute(&statement, &[&-count, &-bytes]).await?;
    }
    Ok(count as u64)
}
