//! Alerts: what leaves the detection thread. Owned data only.
//!
//! The texts and JSON keys are Falco's, so that whatever reads Falco's alerts reads these.

pub mod build;
pub mod order;

use std::{borrow::Cow, collections::BTreeMap, sync::Arc};

use rampart_rules::rule::Priority;
use serde_json::{Map, Value as Json};
use uuid::Uuid;

use self::order::Order;
use crate::engine::clock::iso_into;

/// Source of alerts that the agent raises about itself.
pub const INTERNAL_SOURCE: &str = "internal";

/// One alert.
#[derive(Clone, Debug, PartialEq)]
pub struct Alert {
    /// Name of the rule.
    pub rule: String,
    /// Severity.
    pub priority: Priority,
    /// Source of the event; [`INTERNAL_SOURCE`] for the agent's own alerts.
    pub source: String,
    /// Tags of the rule, sorted; `None` for the agent's own alerts.
    pub tags: Option<Vec<String>>,
    /// Name of the node.
    pub hostname: Arc<str>,
    /// Time of the event, nanoseconds since the epoch.
    pub time_ns: u64,
    /// Time of the event as the text form shows it.
    pub time_text: String,
    /// The rule's output with its fields filled in.
    pub message: String,
    /// The fields the output shows, by name.
    pub fields: BTreeMap<String, Json>,
    /// Unique id.
    pub uuid: Uuid,
    /// Number of the alert since the agent started, from 1, without holes.
    pub sequence: u64,
    /// Digest of the policy that raised it.
    pub policy_digest: Option<Arc<str>>,
    /// How it waited for what is known of its container; `None` when it did not.
    pub wait: Option<Wait>,
    /// What is to be done about it; taken out on the way to the outputs.
    pub order: Option<Box<Order>>,
}

/// An alert's wait for the metadata of its container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wait {
    /// How long, milliseconds.
    pub millis: u64,
    /// How it ended.
    pub outcome: WaitOutcome,
}

/// How a wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum WaitOutcome {
    /// The metadata came.
    Arrived,
    /// No runtime knows the container.
    Unknown,
    /// The longest wait was over.
    Timeout,
    /// Too many events waited already.
    QueueFull,
    /// The agent stopped.
    Shutdown,
}

impl WaitOutcome {
    /// All.
    pub const ALL: [Self; 5] = [Self::Arrived, Self::Unknown, Self::Timeout, Self::QueueFull, Self::Shutdown];

    /// Word in alerts and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Arrived => "arrived",
            Self::Unknown => "unknown",
            Self::Timeout => "timeout",
            Self::QueueFull => "queue_full",
            Self::Shutdown => "shutdown",
        }
    }
}

/// What the JSON form holds beyond what is always there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of the configuration of its own")]
pub struct JsonOptions {
    /// `output`: the text form.
    pub output: bool,
    /// `message`: the text form without time and priority.
    pub message: bool,
    /// `output_fields`.
    pub fields: bool,
    /// `tags`.
    pub tags: bool,
    /// `uuid`, `sequence`, `policy_digest` and `container_metadata`, which Falco does not have.
    pub identity: bool,
}

impl Default for JsonOptions {
    fn default() -> Self {
        Self { output: true, message: false, fields: true, tags: true, identity: true }
    }
}

impl Alert {
    /// The text form, `TIME: PRIORITY MESSAGE`, without a line end; a wait in vain is noted behind it.
    pub fn text(&self) -> String {
        let note = match self.wait {
            Some(Wait { millis, outcome }) if outcome != WaitOutcome::Arrived => {
                format!(" (container metadata missing: {} after {millis} ms)", outcome.name())
            }
            _ => String::new(),
        };
        format!("{}: {} {}{note}", self.time_text, self.priority, self.message)
    }

    /// The JSON form, one compact line with sorted keys, without a line end.
    pub fn json(&self, options: JsonOptions) -> String {
        // The map type keeps insertion order if any crate of the build asks for that, so insert in order.
        let mut map = Map::new();
        let mut put = |wanted: bool, key: &str, value: Json| {
            if wanted {
                map.insert(key.to_owned(), value);
            }
        };
        if let Some(wait) = self.wait {
            let note = [
                ("outcome".to_owned(), Json::from(wait.outcome.name())),
                ("waited_ms".to_owned(), Json::from(wait.millis)),
            ];
            put(options.identity, "container_metadata", Json::from(Map::from_iter(note)));
        }
        put(true, "hostname", Json::from(&*self.hostname));
        put(options.message, "message", Json::from(self.message.as_str()));
        put(options.output, "output", if options.output { self.text().into() } else { Json::Null });
        put(options.fields, "output_fields", self.fields.clone().into_iter().collect::<Map<_, _>>().into());
        if let Some(digest) = &self.policy_digest {
            put(options.identity, "policy_digest", Json::from(&**digest));
        }
        put(true, "priority", Json::from(self.priority.as_str()));
        put(true, "rule", Json::from(self.rule.as_str()));
        put(options.identity, "sequence", Json::from(self.sequence));
        put(true, "source", Json::from(self.source.as_str()));
        if let Some(tags) = &self.tags {
            put(options.tags, "tags", Json::from(tags.as_slice()));
        }
        let mut time = String::new();
        iso_into(self.time_ns, "Z", &mut time);
        put(true, "time", Json::from(time));
        put(options.identity, "uuid", Json::from(self.uuid.to_string()));
        Json::from(map).to_string()
    }

    /// A field of the output as text; `None` when the output does not show it or it is missing.
    pub fn field(&self, key: &str) -> Option<Cow<'_, str>> {
        match self.fields.get(key)? {
            Json::Null => None,
            Json::String(text) => Some(Cow::Borrowed(text)),
            other => Some(Cow::Owned(other.to_string())),
        }
    }
}

/// Makes alert ids: ordered by time, unique over restarts by a random seed.
#[derive(Clone, Debug)]
pub struct AlertIds {
    seed: u64,
    sequence: u64,
}

impl AlertIds {
    /// Ids from a random seed.
    pub fn new(seed: u64) -> Self {
        Self { seed, sequence: 0 }
    }

    /// The next sequence number and id, for an alert of that time.
    pub fn next(&mut self, time_ns: u64) -> (u64, Uuid) {
        self.sequence += 1;
        let mut random = [0; 10];
        let unique = self.seed.wrapping_add(self.sequence).to_be_bytes();
        for (slot, byte) in random.iter_mut().skip(2).zip(unique) {
            *slot = byte;
        }
        let top = self.seed.rotate_left(16).to_be_bytes();
        for (slot, byte) in random.iter_mut().take(2).zip(top) {
            *slot = byte;
        }
        (self.sequence, uuid::Builder::from_unix_timestamp_millis(time_ns / 1_000_000, &random).into_uuid())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, HashSet};

    use rampart_rules::rule::Priority;
    use serde_json::json;
    use uuid::Uuid;

    use super::{Alert, AlertIds, JsonOptions, Wait, WaitOutcome};

    fn alert() -> Alert {
        Alert {
            rule: "A rule".into(),
            priority: Priority::Informational,
            source: "syscall".into(),
            tags: Some(vec!["a".into(), "b".into()]),
            hostname: "node".into(),
            time_ns: 1_700_000_000_000_001_500,
            time_text: "22:13:20.000001500".into(),
            message: "opened | file=/etc/shadow".into(),
            fields: BTreeMap::from([
                ("fd.name".to_owned(), json!("/etc/shadow")),
                ("evt.time".to_owned(), json!(1_700_000_000_000_001_500_u64)),
                ("proc.pname".to_owned(), json!(null)),
            ]),
            uuid: Uuid::nil(),
            sequence: 7,
            policy_digest: Some("d1".into()),
            wait: None,
            order: None,
        }
    }

    #[test]
    fn a_wait_is_noted() {
        let late = |outcome| Alert { wait: Some(Wait { millis: 100, outcome }), ..alert() };
        let json: serde_json::Value =
            serde_json::from_str(&late(WaitOutcome::Timeout).json(JsonOptions::default())).expect("JSON");
        assert_eq!(json["container_metadata"], json!({"outcome": "timeout", "waited_ms": 100}));
        let text = json["output"].as_str().expect("text");
        assert!(text.ends_with("/etc/shadow (container metadata missing: timeout after 100 ms)"), "{text}");
        let text = late(WaitOutcome::Arrived).text();
        assert!(text.ends_with("/etc/shadow"), "what came in time needs no note for people: {text}");
        let plain = JsonOptions { identity: false, ..JsonOptions::default() };
        assert!(!late(WaitOutcome::Arrived).json(plain).contains("container_metadata"));
    }

    #[test]
    fn json_is_one_line_with_falcos_keys_in_order() {
        let plain = JsonOptions { identity: false, ..JsonOptions::default() };
        assert_eq!(
            alert().json(plain),
            r#"{"hostname":"node","output":"22:13:20.000001500: Informational opened | file=/etc/shadow","output_fields":{"evt.time":1700000000000001500,"fd.name":"/etc/shadow","proc.pname":null},"priority":"Informational","rule":"A rule","source":"syscall","tags":["a","b"],"time":"2023-11-14T22:13:20.000001500Z"}"#
        );
        let full = alert().json(JsonOptions { message: true, ..JsonOptions::default() });
        let keys: Vec<String> = serde_json::from_str::<BTreeMap<String, serde_json::Value>>(&full)
            .expect("JSON")
            .into_keys()
            .collect();
        let expected = [
            "hostname",
            "message",
            "output",
            "output_fields",
            "policy_digest",
            "priority",
            "rule",
            "sequence",
            "source",
            "tags",
            "time",
            "uuid",
        ];
        assert_eq!(keys, expected);
        let mut at = 0;
        for key in expected {
            let found = full.find(&format!("\"{key}\":")).expect("the key");
            assert!(found >= at, "{key} out of order");
            at = found;
        }
        let none = JsonOptions { output: false, message: false, fields: false, tags: false, identity: false };
        let small: BTreeMap<String, serde_json::Value> =
            serde_json::from_str(&alert().json(none)).expect("JSON");
        assert_eq!(small.into_keys().collect::<Vec<_>>(), ["hostname", "priority", "rule", "source", "time"]);
    }

    #[test]
    fn text_has_time_and_priority() {
        assert_eq!(alert().text(), "22:13:20.000001500: Informational opened | file=/etc/shadow");
        assert_eq!(alert().field("fd.name").as_deref(), Some("/etc/shadow"));
        assert_eq!(alert().field("evt.time").as_deref(), Some("1700000000000001500"));
        assert_eq!(alert().field("proc.pname"), None);
    }

    #[test]
    fn ids_are_unique_and_ordered_by_time() {
        let mut ids = AlertIds::new(u64::MAX - 3);
        let mut seen = HashSet::new();
        for step in 0..20 {
            let (sequence, id) = ids.next(1_700_000_000_000_000_000);
            assert_eq!(sequence, step + 1);
            assert!(seen.insert(id));
        }
        let (_, early) = AlertIds::new(1).next(1_700_000_000_000_000_000);
        let (_, late) = AlertIds::new(1).next(1_700_000_000_001_000_000);
        assert!(early < late && early.get_version_num() == 7);
        assert_ne!(AlertIds::new(1).next(0).1, AlertIds::new(2).next(0).1);
    }
}
