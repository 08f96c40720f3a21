//! The file as written, and what is made of it.

use std::{collections::BTreeMap, net::SocketAddr, path::PathBuf};

use serde::Deserialize;

use super::{Config, ConfigError, Grpc, Tls};
use crate::{
    alert::Priority,
    notify::channel::{Channel, settings},
    store::Retention,
};

const DAY_NS: u64 = 86_400_000_000_000;
/// Days that an alert is kept.
const DAYS: u32 = 30;
/// Days up to which nanoseconds fit.
const DAYS_MAX: u32 = 36_500;
/// Bytes of the store.
const BYTES: u64 = 10 << 30;
/// Below, the store cannot hold a minute of a storm.
const BYTES_MIN: u64 = 16 << 20;
const LEVELS: [&str; 5] = ["error", "warn", "info", "debug", "trace"];

/// The whole file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Raw {
    log: Log,
    grpc: RawGrpc,
    http: Http,
    store: Store,
    webhook: settings::Webhook,
    slack: settings::Slack,
    teams: settings::Teams,
    pagerduty: settings::PagerDuty,
    opsgenie: settings::OpsGenie,
    alertmanager: settings::Alertmanager,
    loki: settings::Loki,
    elasticsearch: settings::Elasticsearch,
    cloudevents: settings::CloudEvents,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Log {
    level: Option<String>,
    format: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawGrpc {
    listen: Option<SocketAddr>,
    cert_file: Option<PathBuf>,
    key_file: Option<PathBuf>,
    client_ca_file: Option<PathBuf>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Http {
    listen: Option<SocketAddr>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Store {
    path: Option<PathBuf>,
    max_bytes: Option<u64>,
    keep_days: Option<u32>,
    keep_days_by_priority: BTreeMap<String, u32>,
}

/// Checks everything.
pub(super) fn check(raw: Raw) -> Result<Config, ConfigError> {
    let level = raw.log.level.unwrap_or_else(|| "info".to_owned()).to_lowercase();
    if !LEVELS.contains(&level.as_str()) {
        return Err(wrong("log.level", format!("use one of {}", LEVELS.join(", "))));
    }
    let is_log_json = match raw.log.format.as_deref() {
        None | Some("text") => false,
        Some("json") => true,
        Some(_) => return Err(wrong("log.format", "use `text` or `json`")),
    };
    let http = raw.http.listen.unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 8080)));
    if !http.ip().is_loopback() {
        return Err(wrong(
            "http.listen",
            "only loopback is served: there is no login; put a proxy that asks for one in front of it",
        ));
    }
    Ok(Config {
        log_level: level,
        is_log_json,
        grpc: grpc(raw.grpc)?,
        http,
        retention: retention(&raw.store)?,
        store: raw.store.path.unwrap_or_else(|| PathBuf::from("/var/lib/rampart-collector/collector.db")),
        channels: [
            raw.webhook.channel("webhook")?,
            raw.slack.channel("slack")?,
            raw.teams.channel("teams")?,
            raw.pagerduty.channel("pagerduty")?,
            raw.opsgenie.channel("opsgenie")?,
            raw.alertmanager.channel("alertmanager")?,
            raw.loki.channel("loki")?,
            raw.elasticsearch.channel("elasticsearch")?,
            raw.cloudevents.channel("cloudevents")?,
        ]
        .into_iter()
        .flatten()
        .collect::<Vec<Channel>>(),
    })
}

fn grpc(raw: RawGrpc) -> Result<Grpc, ConfigError> {
    let listen = raw.listen.unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 7443)));
    let tls = match (raw.cert_file, raw.key_file, raw.client_ca_file) {
        (Some(cert), Some(key), Some(client_ca)) => Some(Tls { cert, key, client_ca }),
        (None, None, None) => None,
        _ => return Err(wrong("grpc", "`cert_file`, `key_file` and `client_ca_file` go together")),
    };
    if tls.is_none() && !listen.ip().is_loopback() {
        return Err(wrong(
            "grpc.listen",
            "without `cert_file`, `key_file` and `client_ca_file` only loopback is served",
        ));
    }
    Ok(Grpc { listen, tls })
}

fn retention(raw: &Store) -> Result<Retention, ConfigError> {
    let max_bytes = raw.max_bytes.unwrap_or(BYTES);
    if max_bytes < BYTES_MIN {
        return Err(wrong("store.max_bytes", format!("use {BYTES_MIN} or more")));
    }
    let age = |key: &str, days: u32| match days {
        1..=DAYS_MAX => Ok(u64::from(days) * DAY_NS),
        _ => Err(wrong(key, format!("use 1 to {DAYS_MAX}"))),
    };
    let mut retention = Retention::uniform(age("store.keep_days", raw.keep_days.unwrap_or(DAYS))?, max_bytes);
    for (name, days) in &raw.keep_days_by_priority {
        let key = format!("store.keep_days_by_priority.{name}");
        let priority: Priority =
            name.parse().map_err(|error: crate::alert::NoPriority| wrong(&key, error.to_string()))?;
        if let Some(slot) = retention.age_ns.get_mut(priority as usize) {
            *slot = age(&key, *days)?;
        }
    }
    Ok(retention)
}

fn wrong(key: &str, problem: impl Into<String>) -> ConfigError {
    ConfigError::Value { key: key.to_owned(), problem: problem.into() }
}
