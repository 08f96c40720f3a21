//! From the agent's alerts to those on the wire.

use prost::Message;
use rampart_proto::v1;
use rampart_rules::rule::Priority;

use crate::{
    alert::{Alert, JsonOptions},
    spool::Record,
};

/// An alert as it lies in the spool: without its identity, which the spool keeps.
pub(super) fn encode(alert: &Alert, out: &mut Vec<u8>) {
    let message = v1::Alert {
        id: None,
        time_ns: alert.time_ns,
        priority: priority(alert.priority).into(),
        rule: alert.rule.clone(),
        source: alert.source.clone(),
        tags: alert.tags.clone().unwrap_or_default(),
        json: alert.json(JsonOptions::default()),
    };
    // Vectors have room for everything.
    let _ = message.encode(out);
}

/// The alert that a record holds; `None` when an agent of another version put something else there.
pub(super) fn decode(record: &Record) -> Option<v1::Alert> {
    let mut alert = v1::Alert::decode(record.payload.as_slice()).ok()?;
    let (cpu, sequence) = (record.cpu, record.sequence);
    alert.id = Some(v1::AlertId { boot: record.boot.to_vec(), cpu, sequence });
    Some(alert)
}

const fn priority(priority: Priority) -> v1::Priority {
    match priority {
        Priority::Emergency => v1::Priority::Emergency,
        Priority::Alert => v1::Priority::Alert,
        Priority::Critical => v1::Priority::Critical,
        Priority::Error => v1::Priority::Error,
        Priority::Warning => v1::Priority::Warning,
        Priority::Notice => v1::Priority::Notice,
        Priority::Informational => v1::Priority::Informational,
        Priority::Debug => v1::Priority::Debug,
    }
}
