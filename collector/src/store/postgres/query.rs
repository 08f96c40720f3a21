//! Reading.

use std::{fmt::Write as _, sync::Arc};

use tokio_postgres::{Error, GenericClient, Row, types::ToSql};

use super::{
    PostgresReader,
    connection::{Connection, may_pass},
};
use crate::{
    alert::{Alert, Filter, Id, Priority, Stored},
    store::{Dead, NodeTotals, Reader, Size, StoreError},
};

pub(super) use crate::store::{COLUMNS, TABLES};

/// An alert from its row.
pub(super) fn stored(row: &Row) -> Stored {
    let number = |column: usize| row.get::<_, i64>(column) as u64;
    let (node, priority): (&str, i16) = (row.get(1), row.get(7));
    let boot: &[u8] = row.get(3);
    Stored {
        number: number(0),
        node: Arc::from(node),
        received_ns: number(2),
        alert: Alert {
            id: Id { boot: boot.try_into().unwrap_or_default(), cpu: number(4) as u32, sequence: number(5) },
            time_ns: number(6),
            priority: Priority::of(priority as u8).unwrap_or(Priority::Emergency),
            rule: row.get(8),
            source: row.get(9),
            json: row.get(10),
        },
    }
}

/// How large it is.
pub(super) async fn size(db: &impl GenericClient) -> Result<Size, Error> {
    let row = db
        .query_one(
            "SELECT bytes, alerts, (SELECT count(*) FROM notices), (SELECT count(*) FROM dead) FROM sizes",
            &[],
        )
        .await?;
    let number = |column: usize| row.get::<_, i64>(column).max(0) as u64;
    Ok(Size { bytes: number(0), alerts: number(1), notices: number(2), dead: number(3) })
}

impl PostgresReader {
    /// Asks something. When the connection turns out to be gone it is made again, once.
    #[expect(clippy::needless_pass_by_value, reason = "each call makes its question on the spot")]
    pub(super) fn ask<T>(
        &self,
        operation: &'static str,
        question: impl AsyncFn(&tokio_postgres::Client) -> Result<T, Error>,
    ) -> Result<T, StoreError> {
        let mut kept = self.connection.borrow_mut();
        let mut is_new = false;
        loop {
            if kept.is_none() {
                let mut connection = Connection::open(&self.settings, self.copy)?;
                connection.enter(true)?;
                (*kept, is_new) = (Some(connection), true);
            }
            let Some(connection) = kept.as_mut() else { return Err(StoreError::Silence { operation }) };
            let outcome = connection.run(operation, async |client| question(client).await);
            let may_pass = outcome.as_ref().is_err_and(may_pass);
            if outcome.is_err() {
                *kept = None;
            }
            if is_new || !may_pass {
                return outcome;
            }
        }
    }

    fn select(
        &self,
        filter: &Filter,
        limit: usize,
        (place, number, order): (&str, i64, &str),
    ) -> Result<Vec<Stored>, StoreError> {
        let mut sql = format!("SELECT {COLUMNS} FROM {TABLES} WHERE alerts.id {place} $1");
        let mut values: Vec<Box<dyn ToSql + Sync>> = vec![Box::new(number)];
        let mut add = |condition: &str, value: Box<dyn ToSql + Sync>| {
            values.push(value);
            sql.push_str(" AND ");
            sql.push_str(&condition.replace('?', &format!("${}", values.len())));
        };
        let name = "= (SELECT id FROM texts WHERE text = ?)";
        for (column, value) in
            [("alerts.node", &filter.node), ("alerts.rule", &filter.rule), ("alerts.source", &filter.source)]
        {
            if let Some(value) = value {
                add(&format!("{column} {name}"), Box::new(value.replace('\0', "\u{fffd}")));
            }
        }
        if let Some(priority) = filter.priority {
            add("alerts.priority <= ?", Box::new(priority as i16));
        }
        if let Some(since) = filter.since_ns {
            add("alerts.time >= ?", Box::new(since as i64));
        }
        if let Some(until) = filter.until_ns {
            add("alerts.time < ?", Box::new(until as i64));
        }
        if let Some(above) = filter.above {
            add("alerts.id > ?", Box::new(above.min(i64::MAX as u64) as i64));
        }
        if let Some(text) = &filter.text {
            // In this order of letters, none but those of ASCII have two cases.
            add(
                "strpos(lower(alerts.json COLLATE \"C\"), ? COLLATE \"C\") > 0",
                Box::new(text.as_str().to_owned()),
            );
        }
        if let Some(condition) = filter.kinds.condition("sources.text", "rules.text") {
            sql.push_str(" AND ");
            sql.push_str(&condition);
        }
        values.push(Box::new(limit as i64));
        // Writing to text cannot fail.
        let _ = write!(sql, " ORDER BY alerts.id {order} LIMIT ${}", values.len());
        let values: Vec<&(dyn ToSql + Sync)> = values.iter().map(|value| &**value).collect();
        self.ask("read alerts", async |db| Ok(db.query(&sql, &values).await?.iter().map(stored).collect()))
    }
}

impl Reader for PostgresReader {
    fn alerts(&self, filter: &Filter, limit: usize, before: Option<u64>) -> Result<Vec<Stored>, StoreError> {
        let before = before.map_or(i64::MAX, |before| before as i64);
        self.select(filter, limit, ("<", before, "DESC"))
    }

    fn alerts_after(&self, filter: &Filter, limit: usize, after: u64) -> Result<Vec<Stored>, StoreError> {
        self.select(filter, limit, (">", after as i64, "ASC"))
    }

    fn alert(&self, number: u64) -> Result<Option<Stored>, StoreError> {
        let sql = format!("SELECT {COLUMNS} FROM {TABLES} WHERE alerts.id = $1");
        let number = number as i64;
        self.ask("read an alert", async |db| Ok(db.query_opt(&sql, &[&number]).await?.as_ref().map(stored)))
    }

    fn nodes(&self) -> Result<Vec<NodeTotals>, StoreError> {
        let sql = "SELECT texts.text, sum(counts.stored)::int8,
                sum(counts.highest - counts.stored)::int8, max(counts.received)
             FROM counts JOIN boots ON boots.id = counts.boot JOIN texts ON texts.id = boots.node
             GROUP BY texts.text ORDER BY texts.text";
        let node = |row: &Row| {
            let number = |column: usize| row.get::<_, i64>(column).max(0) as u64;
            let (stored, missing, received_ns) = (number(1), number(2), number(3));
            NodeTotals { node: row.get(0), stored, missing, received_ns }
        };
        self.ask("read nodes", async |db| Ok(db.query(sql, &[]).await?.iter().map(node).collect()))
    }

    fn dead(&self, limit: usize) -> Result<Vec<Dead>, StoreError> {
        let sql = "SELECT dead.id, texts.text, dead.attempts, dead.reason, dead.at, dead.alert
             FROM dead JOIN texts ON texts.id = dead.channel ORDER BY dead.id DESC LIMIT $1";
        let letter = |row: &Row| {
            let number = |column: usize| row.get::<_, i64>(column) as u64;
            Dead {
                number: number(0),
                channel: row.get(1),
                attempts: number(2) as u32,
                reason: row.get(3),
                dead_ns: number(4),
                alert: number(5),
            }
        };
        let limit = limit as i64;
        self.ask("read dead letters", async |db| {
            Ok(db.query(sql, &[&limit]).await?.iter().map(letter).collect())
        })
    }

    fn size(&self) -> Result<Size, StoreError> {
        self.ask("measure the store", async |db| size(db).await)
    }
}
