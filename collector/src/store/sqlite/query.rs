//! Reading.

use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, Row, ToSql, params};

use super::{SqliteReader, fault};
use crate::{
    alert::{Alert, Filter, Id, Priority, Stored},
    store::{Dead, NodeTotals, Reader, Size, StoreError},
};

pub(super) use crate::store::{COLUMNS, TABLES};

/// An alert from its row.
pub(super) fn stored(row: &Row<'_>) -> rusqlite::Result<Stored> {
    let number = |column: usize| row.get::<_, i64>(column).map(|number| number as u64);
    let node: String = row.get(1)?;
    Ok(Stored {
        number: number(0)?,
        node: Arc::from(node),
        received_ns: number(2)?,
        alert: Alert {
            id: Id { boot: row.get(3)?, cpu: row.get(4)?, sequence: number(5)? },
            time_ns: number(6)?,
            priority: Priority::of(row.get(7)?).unwrap_or(Priority::Emergency),
            rule: row.get(8)?,
            source: row.get(9)?,
            json: row.get(10)?,
        },
    })
}

/// Bytes in use, without pages that are free.
pub(super) fn bytes(db: &Connection) -> rusqlite::Result<u64> {
    let value = |sql| db.query_row(sql, [], |row| row.get::<_, i64>(0));
    let pages = value("SELECT page_count FROM pragma_page_count")?
        - value("SELECT freelist_count FROM pragma_freelist_count")?;
    Ok((pages * value("SELECT page_size FROM pragma_page_size")?) as u64)
}

impl SqliteReader {
    fn select(
        &self,
        filter: &Filter,
        limit: usize,
        (place, number, order): (&str, i64, &str),
    ) -> rusqlite::Result<Vec<Stored>> {
        let mut sql = format!("SELECT {COLUMNS} FROM {TABLES} WHERE alerts.id {place} ?");
        let mut values: Vec<Box<dyn ToSql>> = vec![Box::new(number)];
        let mut add = |condition: &str, value: Box<dyn ToSql>| {
            sql.push_str(" AND ");
            sql.push_str(condition);
            values.push(value);
        };
        let name = "= (SELECT id FROM texts WHERE text = ?)";
        for (column, value) in
            [("alerts.node", &filter.node), ("alerts.rule", &filter.rule), ("alerts.source", &filter.source)]
        {
            if let Some(value) = value {
                add(&format!("{column} {name}"), Box::new(value.clone()));
            }
        }
        if let Some(priority) = filter.priority {
            add("alerts.priority <= ?", Box::new(priority as u8));
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
            // Both know of no letters but those of ASCII.
            add("instr(lower(alerts.json), ?) > 0", Box::new(text.as_str().to_owned()));
        }
        if let Some(condition) = filter.kinds.condition("sources.text", "rules.text") {
            sql.push_str(" AND ");
            sql.push_str(&condition);
        }
        sql.push_str(" ORDER BY alerts.id ");
        sql.push_str(order);
        sql.push_str(" LIMIT ?");
        values.push(Box::new(limit as i64));
        let mut statement = self.db.prepare_cached(&sql)?;
        let rows = statement.query_map(rusqlite::params_from_iter(values), stored)?;
        rows.collect()
    }
}

impl Reader for SqliteReader {
    fn alerts(&self, filter: &Filter, limit: usize, before: Option<u64>) -> Result<Vec<Stored>, StoreError> {
        let before = before.map_or(i64::MAX, |before| before as i64);
        self.select(filter, limit, ("<", before, "DESC")).map_err(fault("read alerts"))
    }

    fn alerts_after(&self, filter: &Filter, limit: usize, after: u64) -> Result<Vec<Stored>, StoreError> {
        self.select(filter, limit, (">", after as i64, "ASC")).map_err(fault("read alerts"))
    }

    fn alert(&self, number: u64) -> Result<Option<Stored>, StoreError> {
        let sql = format!("SELECT {COLUMNS} FROM {TABLES} WHERE alerts.id = ?1");
        let read = || self.db.prepare_cached(&sql)?.query_row([number as i64], stored).optional();
        read().map_err(fault("read an alert"))
    }

    fn nodes(&self) -> Result<Vec<NodeTotals>, StoreError> {
        let read = || -> rusqlite::Result<Vec<NodeTotals>> {
            let mut statement = self.db.prepare_cached(
                "SELECT texts.text, sum(counts.stored), sum(counts.highest - counts.stored), max(counts.received)
                 FROM counts JOIN boots ON boots.id = counts.boot JOIN texts ON texts.id = boots.node
                 GROUP BY boots.node ORDER BY texts.text",
            )?;
            let rows = statement.query_map(params![], |row| {
                let number = |column: usize| row.get::<_, i64>(column).map(|number| number.max(0) as u64);
                Ok(NodeTotals {
                    node: row.get(0)?,
                    stored: number(1)?,
                    missing: number(2)?,
                    received_ns: number(3)?,
                })
            })?;
            rows.collect()
        };
        read().map_err(fault("read nodes"))
    }

    fn dead(&self, limit: usize) -> Result<Vec<Dead>, StoreError> {
        super::notices::dead(&self.db, limit).map_err(fault("read dead letters"))
    }

    fn size(&self) -> Result<Size, StoreError> {
        let count = |sql| self.db.query_row(sql, [], |row| row.get::<_, i64>(0)).map(|count| count as u64);
        let read = || {
            Ok(Size {
                bytes: bytes(&self.db)?,
                alerts: count("SELECT count(*) FROM alerts")?,
                notices: count("SELECT count(*) FROM notices")?,
                dead: count("SELECT count(*) FROM dead")?,
            })
        };
        read().map_err(fault("measure the store"))
    }
}
