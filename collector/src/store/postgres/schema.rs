//! The tables, and how those of older versions become them.

use tokio_postgres::Error;

use super::connection::Connection;
use crate::store::StoreError;

/// Waits for the turn to change alerts; the end of the transaction gives it to the next. The numbers say `RMPT`.
pub(super) const TURN: &str = "SELECT pg_advisory_xact_lock(1380798548, 1)";
/// The same for changes of the tables.
const MIGRATION: &str = "SELECT pg_advisory_xact_lock(1380798548, 2)";

/// Steps from nothing to the current format; a released step never changes.
const STEPS: [&str; 2] = [
    "
    CREATE TABLE texts (
        id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY, text TEXT COLLATE \"C\" NOT NULL UNIQUE);
    CREATE TABLE boots (
        id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY, node BIGINT NOT NULL, boot BYTEA NOT NULL,
        UNIQUE (node, boot));
    CREATE TABLE counts (
        boot BIGINT NOT NULL, cpu BIGINT NOT NULL,
        stored BIGINT NOT NULL, highest BIGINT NOT NULL, received BIGINT NOT NULL,
        PRIMARY KEY (boot, cpu));
    CREATE TABLE alerts (
        id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY, node BIGINT NOT NULL, boot BIGINT NOT NULL,
        cpu BIGINT NOT NULL, sequence BIGINT NOT NULL, time BIGINT NOT NULL, received BIGINT NOT NULL,
        priority SMALLINT NOT NULL, rule BIGINT NOT NULL, source BIGINT NOT NULL, json TEXT NOT NULL,
        UNIQUE (boot, cpu, sequence));
    CREATE INDEX alerts_by_priority ON alerts (priority, received);
    CREATE INDEX alerts_by_rule ON alerts (rule, id);
    CREATE INDEX alerts_by_node ON alerts (node, id);
    CREATE TABLE notices (
        id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY, channel BIGINT NOT NULL, alert BIGINT NOT NULL,
        attempts BIGINT NOT NULL DEFAULT 0, owner BIGINT, until BIGINT NOT NULL DEFAULT 0);
    CREATE INDEX notices_by_channel ON notices (channel, id);
    CREATE INDEX notices_by_alert ON notices (alert);
    CREATE INDEX notices_by_owner ON notices (owner) WHERE owner IS NOT NULL;
    CREATE TABLE dead (
        id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY, channel BIGINT NOT NULL, alert BIGINT NOT NULL,
        attempts BIGINT NOT NULL, reason TEXT NOT NULL, at BIGINT NOT NULL);
    CREATE TABLE sizes (
        one BOOLEAN PRIMARY KEY DEFAULT TRUE CHECK (one), alerts BIGINT NOT NULL, bytes BIGINT NOT NULL);
    INSERT INTO sizes (alerts, bytes) VALUES (0, 0);
",
    "
    CREATE TABLE identities (
        kind TEXT NOT NULL, name TEXT COLLATE \"C\" NOT NULL, revision BIGINT NOT NULL, ends BIGINT,
        value TEXT NOT NULL, PRIMARY KEY (kind, name));
    CREATE INDEX identities_by_end ON identities (ends) WHERE ends IS NOT NULL;
    CREATE TABLE audit (
        number BIGINT PRIMARY KEY, time BIGINT NOT NULL, actor TEXT NOT NULL, action TEXT NOT NULL,
        object TEXT NOT NULL, detail TEXT NOT NULL, previous BYTEA NOT NULL, hash BYTEA NOT NULL);
    CREATE FUNCTION audit_grows() RETURNS trigger LANGUAGE plpgsql AS
        'BEGIN RAISE EXCEPTION ''the audit log only grows''; END';
    CREATE TRIGGER audit_stays BEFORE UPDATE OR DELETE OR TRUNCATE ON audit
        FOR EACH STATEMENT EXECUTE FUNCTION audit_grows();
",
];

/// Brings the database to the current format, in one transaction.
pub(super) fn migrate(connection: &mut Connection) -> Result<(), StoreError> {
    let known = STEPS.len() as u32;
    let found = connection.run("migrate the store", async |client| {
        let db = client.transaction().await?;
        db.batch_execute(MIGRATION).await?;
        db.batch_execute(
            "CREATE SCHEMA IF NOT EXISTS rampart; SET LOCAL search_path TO rampart;
             CREATE TABLE IF NOT EXISTS format (version BIGINT NOT NULL);",
        )
        .await?;
        let row = db.query_one("SELECT coalesce(max(version), 0) FROM format", &[]).await?;
        let found: i64 = row.get(0);
        for (version, step) in STEPS.iter().enumerate().skip(found as usize) {
            db.batch_execute(step).await?;
            let version = version as i64 + 1;
            db.execute("INSERT INTO format (version) VALUES ($1)", &[&version]).await?;
        }
        db.commit().await?;
        Ok::<u32, Error>(found as u32)
    })?;
    if found > known {
        return Err(StoreError::TooNew { found, known });
    }
    Ok(())
}
