//! Settings of what several collectors share.

use std::time::Duration;

use super::{
    ConfigError,
    raw::{Bus, Store, wrong},
};
use crate::{
    bus,
    store::{TAKEOVER, postgres},
};

/// Entries of a stream of the bus, up to 64 things to tell each.
const BUS_ENTRIES: u64 = 10_000;

/// The database, if one is named.
pub(super) fn database(raw: &Store) -> Result<Option<postgres::Settings>, ConfigError> {
    let parsed = |key: &str, text: &Option<String>| -> Result<Option<tokio_postgres::Config>, ConfigError> {
        let Some(text) = text else { return Ok(None) };
        // What is wrong is not said: it may hold a password.
        let url: tokio_postgres::Config = text.parse().map_err(|_| {
            wrong(key, "use `postgres://USER:PASSWORD@HOST/DATABASE` or `host=… user=… dbname=…`")
        })?;
        if url.get_hosts().is_empty() {
            return Err(wrong(key, "there is no host"));
        }
        Ok(Some(url))
    };
    let read_url = parsed("store.read_url", &raw.read_url)?;
    let takeover = takeover(raw)?;
    match parsed("store.url", &raw.url)? {
        Some(url) => Ok(Some(postgres::Settings { url, read_url, ca_file: raw.ca_file.clone(), takeover })),
        None if read_url.is_some() || raw.ca_file.is_some() || raw.takeover_secs.is_some() => {
            Err(wrong("store", "`read_url`, `ca_file` and `takeover_secs` need a `url`"))
        }
        None => Ok(None),
    }
}

fn takeover(raw: &Store) -> Result<Duration, ConfigError> {
    match raw.takeover_secs {
        None => Ok(TAKEOVER),
        Some(secs @ 2..=3600) => Ok(Duration::from_secs(secs)),
        Some(_) => Err(wrong("store.takeover_secs", "use 2 to 3600")),
    }
}

/// The bus, if one is named.
pub(super) fn bus(raw: Bus, store: &Store) -> Result<Option<bus::Settings>, ConfigError> {
    let Some(url) = raw.url else { return Ok(None) };
    if store.url.is_none() {
        return Err(wrong(
            "bus.url",
            "it needs a `store.url`: collectors that hear of each other share a store",
        ));
    }
    let known = ["redis://", "rediss://", "redis+unix://", "unix://"];
    if !known.iter().any(|scheme| url.starts_with(scheme)) {
        return Err(wrong("bus.url", format!("use one of {}", known.join(", "))));
    }
    let prefix = raw.prefix.unwrap_or_else(|| "rampart".to_owned());
    if prefix.is_empty() || !prefix.chars().all(|letter| letter.is_ascii_graphic()) {
        return Err(wrong("bus.prefix", "use letters, digits and signs"));
    }
    let max_entries = match raw.max_entries {
        None => BUS_ENTRIES,
        Some(entries @ 100..) => entries,
        Some(_) => return Err(wrong("bus.max_entries", "use 100 or more")),
    };
    Ok(Some(bus::Settings { url, prefix, max_entries, takeover: takeover(store)? }))
}
