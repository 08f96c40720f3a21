//! What of an agent's messages is taken, and what is wrong with the rest.

use std::collections::{BTreeMap, HashMap};

use rampart_proto::v1::{self, BundleState, Heartbeat};
use serde::de::IgnoredAny;

use crate::{
    alert::{Alert, Id, Priority},
    identity::hex,
    registry::{Beat, Bundle},
};

/// Longest names, in bytes.
pub(super) const NAME_MAX: usize = 1024;
/// Longest JSON of an alert.
const JSON_MAX: usize = 1 << 20;
/// Labels of a node, and bytes of their names and values.
const LABELS_MAX: usize = 32;
const LABEL_MAX: usize = 63;
/// Most causes of losses that are kept of a heartbeat.
const LOSSES_MAX: usize = 64;

/// The alert, or what is wrong with it.
pub(super) fn checked(alert: v1::Alert) -> Result<Alert, &'static str> {
    let priority =
        u8::try_from(i64::from(alert.priority) - 1).ok().and_then(Priority::of).ok_or("priority")?;
    let id = alert.id.ok_or("id")?;
    let boot = id.boot.try_into().map_err(|_| "id")?;
    if id.sequence == 0 || i64::try_from(id.sequence).is_err() {
        return Err("id");
    }
    if i64::try_from(alert.time_ns).is_err() {
        return Err("time");
    }
    if alert.rule.is_empty() || alert.rule.len() > NAME_MAX {
        return Err("rule");
    }
    if alert.source.len() > NAME_MAX {
        return Err("source");
    }
    // It is put into answers as it is, so it must be an object and nothing behind it.
    let is_object = alert.json.starts_with('{') && serde_json::from_str::<IgnoredAny>(&alert.json).is_ok();
    if alert.json.len() > JSON_MAX || !is_object {
        return Err("json");
    }
    Ok(Alert {
        id: Id { boot, cpu: id.cpu, sequence: id.sequence },
        time_ns: alert.time_ns,
        priority,
        rule: alert.rule,
        source: alert.source,
        json: alert.json,
    })
}

/// What a heartbeat says.
pub(super) fn beat_of(beat: Heartbeat) -> Beat {
    let losses = beat.losses.into_iter().take(LOSSES_MAX).map(|loss| (short(loss.cause), loss.count));
    Beat {
        losses: losses.collect(),
        policy_digest: short(beat.policy_digest),
        rules: beat.rules,
        is_ready: beat.is_ready,
        cpu_ms: beat.cpu_ms,
        rss_bytes: beat.rss_bytes,
        events: beat.events,
        alerts: beat.alerts,
        spool_pending: beat.spool_pending,
        spool_bytes: beat.spool_bytes,
        policy_fault: short(beat.policy_fault),
    }
}

/// What an agent says of policy bundles; one of an earlier version says nothing.
pub(super) fn bundle_of(state: Option<BundleState>) -> Bundle {
    let Some(BundleState { is_accepting, digest, name, fault, fault_digest }) = state else {
        return Bundle::default();
    };
    // Anything else is no digest of ours.
    let digest_of = |bytes: Vec<u8>| if bytes.len() == 32 { hex(&bytes) } else { String::new() };
    Bundle {
        is_accepting,
        digest: digest_of(digest),
        name: short(name),
        fault: short(fault),
        fault_digest: digest_of(fault_digest),
    }
}

/// Labels, as many as an agent may have.
pub(super) fn labels_of(labels: HashMap<String, String>) -> BTreeMap<String, String> {
    let allowed = |name: &String, value: &String| name.len() <= LABEL_MAX && value.len() <= LABEL_MAX;
    let labels = labels.into_iter().filter(|(name, value)| allowed(name, value));
    labels.collect::<BTreeMap<_, _>>().into_iter().take(LABELS_MAX).collect()
}

/// The text, cut where it is longer than any of these should be.
pub(super) fn short(mut text: String) -> String {
    if let Some((end, _)) = text.char_indices().find(|(at, _)| *at >= NAME_MAX) {
        text.truncate(end);
    }
    text
}

#[cfg(test)]
mod tests {
    use rampart_proto::v1::AlertId;

    use super::*;

    fn sent() -> v1::Alert {
        v1::Alert {
            id: Some(AlertId { boot: vec![1; 16], cpu: 0, sequence: 1 }),
            time_ns: 5,
            priority: v1::Priority::Warning.into(),
            rule: "A".to_owned(),
            source: "syscall".to_owned(),
            tags: Vec::new(),
            json: r#"{"rule":"A"}"#.to_owned(),
        }
    }

    #[test]
    fn only_sound_alerts_are_taken() {
        let alert = checked(sent()).unwrap();
        assert_eq!((alert.priority, alert.id.boot), (Priority::Warning, [1; 16]));
        let id = |boot: usize, sequence| Some(AlertId { boot: vec![1; boot], cpu: 0, sequence });
        let json = |json: &str| v1::Alert { json: json.to_owned(), ..sent() };
        for (expected, wrong) in [
            ("id", v1::Alert { id: None, ..sent() }),
            ("id", v1::Alert { id: id(15, 1), ..sent() }),
            ("id", v1::Alert { id: id(16, 0), ..sent() }),
            ("id", v1::Alert { id: id(16, u64::MAX), ..sent() }),
            ("priority", v1::Alert { priority: 0, ..sent() }),
            ("priority", v1::Alert { priority: 9, ..sent() }),
            ("priority", v1::Alert { priority: i32::MIN, ..sent() }),
            ("time", v1::Alert { time_ns: u64::MAX, ..sent() }),
            ("rule", v1::Alert { rule: String::new(), ..sent() }),
            ("source", v1::Alert { source: "s".repeat(2000), ..sent() }),
            ("json", json("[]")),
            ("json", json("{} {}")),
            ("json", json("{")),
            ("json", json(&format!(r#"{{"a":"{}"}}"#, "x".repeat(JSON_MAX)))),
        ] {
            assert_eq!(checked(wrong).unwrap_err(), expected);
        }
        assert_eq!(short("ä".repeat(600)).len(), 1024);
    }
}
