//! `bench collector`: a program of the collector and one of the agent's spool, with goals.

use anyhow::Result;

use super::measured::{Goal, Report};
use super::program;

/// The collector: alerts stored for good, and from sending to the acknowledgement at 5000 a second.
const INGEST: [(&str, Option<Goal>); 3] = [
    ("collector.ingest_per_s", Some(Goal::AtLeast(20_000.0))),
    ("collector.ack_p50_ms", None),
    ("collector.ack_p99_ms", Some(Goal::AtMost(50.0))),
];
/// The same with the store in PostgreSQL.
const POSTGRES: [(&str, Option<Goal>); 3] = [
    ("collector.pg_ingest_per_s", None),
    ("collector.pg_ack_p50_ms", None),
    ("collector.pg_ack_p99_ms", Some(Goal::AtMost(50.0))),
];
/// The agent's spool.
const SPOOL: [(&str, Option<Goal>); 3] =
    [("spool.write_mb_per_s", None), ("spool.recovery_1gb_ms", None), ("spool.read_mb_per_s", None)];

/// Builds and runs both programs, the collector's a second time on PostgreSQL if that is wanted.
pub(super) fn run(json: bool, is_postgres: bool) -> Result<Report> {
    let example = |package, name, further: &[&str], goals| {
        let args = ["run", "--quiet", "--release", "--package", package, "--example", name];
        program::run("collector", &[&args, further].concat(), goals, json)
    };
    let mut report = example("rampart-collector", "ingest", &[], &INGEST)?;
    if is_postgres {
        let shared = example("rampart-collector", "ingest", &["--", "--postgres"], &POSTGRES)?;
        report.results.extend(shared.results);
        report.notes.push("PostgreSQL on the same machine, as it is installed, on a local socket".to_owned());
    }
    let spool = example("rampart-agent", "spool", &[], &SPOOL)?;
    report.results.extend(spool.results);
    report.notes.push("SQLite on the disk of the working directory, four agents on loopback".to_owned());
    Ok(report)
}
