//! What the agent says about itself: logs on standard error (standard output belongs to the alerts) and metrics.
//!
//! Owns the set-up of `tracing` and the metric names. Must never block a caller. Called by everything.

pub mod limits;
pub mod lists;
pub mod metrics;
pub mod names;
pub mod ready;
pub mod recent;
pub mod responses;
pub mod services;
pub mod status;

use tracing_subscriber::{EnvFilter, fmt, layer::SubscriberExt, registry, util::SubscriberInitExt};

use crate::config::{Format, Log};

/// Starts logging. A second call, or a subscriber set by someone else, is left as it is.
pub fn init(log: &Log) {
    // Other crates speak up only when something is wrong: their `info` is noise on a node.
    let filter = EnvFilter::new(format!("warn,rampart={level},rampart_agent={level}", level = log.level));
    let lines = fmt::layer().with_writer(std::io::stderr).with_target(false);
    let started = match log.format {
        Format::Text => registry().with(filter).with(lines.with_ansi(false)).try_init(),
        Format::Json => registry().with(filter).with(lines.json().flatten_event(true)).try_init(),
    };
    if let Err(error) = started {
        tracing::debug!(%error, "Logging was already set up");
    }
}
