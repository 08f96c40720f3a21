//! The file as written, and what is made of it.

use std::{collections::BTreeMap, path::PathBuf};

use serde::Deserialize;

use super::{
    Config, ConfigError,
    identity::{self, RawGrpc, RawHttp, RawIdentity},
    shared,
    traces::{self, RawTraces},
};
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
    http: RawHttp,
    identity: RawIdentity,
    store: Store,
    bus: Bus,
    traces: RawTraces,
    webhook: settings::Webhook,
    slack: settings::Slack,
    teams: settings::Teams,
    pagerduty: settings::PagerDuty,
    opsgenie: settings::OpsGenie,
    alertmanager: settings::Alertmanager,
    loki: settings::Loki,
    elasticsearch: settings::Elasticsearch,
    cloudevents: settings::CloudEvents,
    smtp: settings::Smtp,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Log {
    level: Option<String>,
    format: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Store {
    pub(super) path: Option<PathBuf>,
    pub(super) url: Option<String>,
    pub(super) read_url: Option<String>,
    pub(super) ca_file: Option<PathBuf>,
    pub(super) takeover_secs: Option<u64>,
    max_bytes: Option<u64>,
    keep_days: Option<u32>,
    keep_days_by_priority: BTreeMap<String, u32>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Bus {
    pub(super) url: Option<String>,
    pub(super) prefix: Option<String>,
    pub(super) max_entries: Option<u64>,
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
    let store = raw.store.path.clone();
    let store = store.unwrap_or_else(|| PathBuf::from("/var/lib/rampart-collector/collector.db"));
    Ok(Config {
        log_level: level,
        is_log_json,
        grpc: identity::grpc(raw.grpc)?,
        http: identity::http(&raw.http)?,
        identity: identity::identity(raw.identity, &store)?,
        retention: retention(&raw.store)?,
        database: shared::database(&raw.store)?,
        bus: shared::bus(raw.bus, &raw.store)?,
        traces: traces::traces(raw.traces)?,
        store,
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
            raw.smtp.channel("smtp")?,
        ]
        .into_iter()
        .flatten()
        .collect::<Vec<Channel>>(),
    })
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

/// A setting whose value cannot be.
pub(super) fn wrong(key: &str, problem: impl Into<String>) -> ConfigError {
    ConfigError::Value { key: key.to_owned(), problem: problem.into() }
}
