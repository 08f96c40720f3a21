//! JSON schemas of rule files and of their tests, for editors.
//!
//! They are kept in `rules/schema/`; a test compares them with what this module makes, and writes them anew when
//! `RAMPART_UPDATE` is set. A file names its schema in its first line:
//! `# yaml-language-server: $schema=PATH/rules.schema.json`.

use serde_json::{Map, Value, json};

use crate::{
    catalog::{ArgKind, EVENTS, FIELDS, Field, FieldType},
    response::{ACTIONS_MAX, CAPTURE_MAX_MS, Kind, Mode, Scope, Traffic},
    rule::Priority,
    unit::{event::CALL, series::TIMES_MAX},
    window::COUNT_MAX,
};

const DIALECT: &str = "https://json-schema.org/draft/2020-12/schema";

/// The schema of rule files.
pub fn rules() -> Value {
    let mut priorities: Vec<String> = Vec::new();
    for name in Priority::ALL.iter().map(|priority| priority.as_str()).chain(["Info"]) {
        priorities.extend([name.to_owned(), name.to_uppercase(), name.to_lowercase()]);
    }
    let text = |description: &str| json!({ "type": "string", "description": description });
    let flag = |description: &str| json!({ "type": "boolean", "description": description });
    let texts = |description: &str| json!({ "type": "array", "items": { "type": ["string", "number", "boolean"] }, "description": description });
    let item = |keys: Value, required: &[&str]| json!({ "type": "object", "properties": keys, "required": required });
    let changes = |keys: &[&str]| {
        let keys: Map<String, Value> =
            keys.iter().map(|&key| (key.to_owned(), json!({ "enum": ["append", "replace"] }))).collect();
        json!({ "type": "object", "properties": keys, "description": "keys that change an earlier item of this name, and how" })
    };
    let append = flag("add to the earlier item of this name; `override` is the newer way");
    let list = item(
        json!({
            "list": text("name of the list"),
            "items": texts("its values, or names of other lists"),
            "append": append,
            "override": changes(&["items"]),
        }),
        &["list"],
    );
    let macros = item(
        json!({
            "macro": text("name of the macro"),
            "condition": text("what the name stands for"),
            "append": append,
            "override": changes(&["condition"]),
        }),
        &["macro"],
    );
    let exception = item(
        json!({
            "name": text("name of the exception"),
            "fields": { "type": ["string", "array"], "description": "one field, or several compared together" },
            "comps": { "type": ["string", "array"], "description": "the operator of each field" },
            "values": { "type": "array", "description": "a value, or one per field" },
        }),
        &["name"],
    );
    let rule = item(
        json!({
            "rule": text("name of the rule"),
            "desc": text("what it detects"),
            "condition": text("which events it matches"),
            "output": text("text of its alerts, with `%field` for values"),
            "priority": { "enum": priorities, "description": "how severe a match is" },
            "source": text("source of its events; `syscall` when not given"),
            "enabled": flag("whether it is evaluated"),
            "tags": texts("for choosing rules together"),
            "warn_evttypes": flag("whether to warn when it is tried on very many event types"),
            "skip-if-unknown-filter": flag("whether to skip it, not fail, when it uses an unknown field"),
            "exceptions": { "type": ["array", "object"], "items": exception, "description": "cases it must not match" },
            "capture": flag("whether a match starts a capture"),
            "capture_duration": { "type": "integer", "minimum": 0, "description": "how long, milliseconds" },
            "threshold": rate("count", "within", "only the last of so many events in a time is a match"),
            "throttle": rate("burst", "per", "how many alerts there may be in a time"),
            "active": active(),
            "sequence": sequence(),
            "response": response(),
            "append": append,
            "override": changes(&[
                "condition", "output", "desc", "tags", "exceptions", "priority", "enabled", "capture",
                "capture_duration", "warn_evttypes", "skip-if-unknown-filter", "threshold", "throttle", "active",
                "sequence", "response",
            ]),
        }),
        &["rule"],
    );
    let engine = item(
        json!({ "required_engine_version": { "type": ["integer", "string"], "description": "oldest engine that understands the file" } }),
        &["required_engine_version"],
    );
    let plugins = item(
        json!({ "required_plugin_versions": { "type": "array", "items": { "type": "object" }, "description": "plugins the file needs" } }),
        &["required_plugin_versions"],
    );
    json!({
        "$schema": DIALECT,
        "title": "Rampart rules",
        "type": ["array", "null"],
        "items": { "anyOf": [rule, macros, list, engine, plugins] },
    })
}

/// So many events in a time, by key.
fn rate(count: &str, time: &str, description: &str) -> Value {
    json!({
        "type": "object",
        "description": description,
        "properties": {
            count: { "type": "integer", "minimum": 1, "maximum": COUNT_MAX },
            time: duration(),
            "sum": { "type": "string", "description": "of a threshold: a field that is summed up instead of counting events" },
            "by": by(),
        },
        "required": [count, time],
        "additionalProperties": false,
    })
}

fn active() -> Value {
    let one = json!({ "enum": ["pre_open", "auction", "continuous", "post_close", "closed"] });
    let sessions = json!({ "anyOf": [one, { "type": "array", "items": one }] });
    json!({
        "type": "object",
        "description": "when the rule counts",
        "properties": {
            "session": sessions,
            "not_session": sessions,
            "calendar": { "type": "string", "description": "which calendar's sessions; without it the busiest one's" },
            "cron": { "type": "string", "description": "minutes in the node's time zone, as in `* 9-17 * * mon-fri`" },
        },
        "additionalProperties": false,
    })
}

/// What is done about a match.
fn response() -> Value {
    let text = json!({ "type": "string" });
    let one = |kind: Kind| {
        let settings = match kind {
            Kind::Kill => json!({ "scope": { "enum": Scope::ALL.map(Scope::name) } }),
            Kind::BlockIp => json!({ "ttl": duration() }),
            Kind::Deny => json!({}),
            Kind::LimitIp => json!({ "policy": text, "ttl": duration() }),
            Kind::Quarantine => {
                json!({ "traffic": { "enum": Traffic::ALL.map(Traffic::name) }, "ttl": duration() })
            }
            Kind::OpenBreaker => json!({ "service": text, "ttl": duration() }),
            Kind::Notify => json!({ "channel": text }),
            Kind::Capture => {
                json!({ "seconds": { "type": "integer", "minimum": 1, "maximum": CAPTURE_MAX_MS / 1000 } })
            }
        };
        let map = json!({ "type": "object", "properties": settings, "additionalProperties": false });
        let body = json!({ "anyOf": [map, { "type": ["string", "integer", "null"] }] });
        (kind.name().to_owned(), body)
    };
    let map = json!({
        "type": "object",
        "properties": Map::from_iter(Kind::ALL.map(one)),
        "minProperties": 1,
        "maxProperties": 1,
        "additionalProperties": false,
    });
    let alone = json!({ "enum": ["kill", "block_ip", "quarantine", "capture", "deny"] });
    let action = json!({ "anyOf": [alone, map] });
    let list = json!({ "type": "array", "items": action, "minItems": 1, "maxItems": ACTIONS_MAX });
    let whole = json!({
        "type": "object",
        "properties": { "mode": { "enum": Mode::ALL.map(Mode::name) }, "actions": list },
        "required": ["actions"],
        "additionalProperties": false,
    });
    json!({
        "description": "what is done about a match, as far as `responses.mode` of the agent lets it",
        "anyOf": [action, list, whole],
    })
}

fn sequence() -> Value {
    let text = json!({ "type": "string" });
    let step = json!({
        "type": "object",
        "properties": { "condition": text, "by": by() },
        "required": ["condition"],
        "additionalProperties": false,
    });
    json!({
        "type": "object",
        "description": "what must have come before, in order; the rule's condition is the last step",
        "properties": {
            "after": { "anyOf": [text, { "type": "array", "items": { "anyOf": [text, step] } }, step] },
            "within": duration(),
            "by": by(),
        },
        "required": ["after", "within"],
        "additionalProperties": false,
    })
}

fn duration() -> Value {
    json!({ "type": "string", "description": "a time with units, such as `500ms`, `30s`, `1h30m`" })
}

fn by() -> Value {
    json!({
        "type": ["array", "string"],
        "items": { "type": "string" },
        "description": "fields whose values tell what counts together",
    })
}

/// The schema of rule tests.
pub fn tests() -> Value {
    let mut known = Map::new();
    let mut patterns = Map::new();
    for field in FIELDS.iter().filter(|field| !field.hidden) {
        if !matches!(field.arg, ArgKind::Required(_)) {
            known.insert(field.name.to_owned(), value(field));
        }
        if !matches!(field.arg, ArgKind::None) {
            let name = field.name.replace('.', "\\.");
            patterns.insert(format!("^{name}[.\\[]"), value(field));
        }
    }
    let types: Vec<&str> = EVENTS.iter().map(|event| event.name).collect();
    known.insert("evt.type".to_owned(), json!({ "enum": types, "description": "type of the event" }));
    let call = json!({
        "type": "string",
        "description": "the system call instead of `evt.type`, as in `open(\"/etc/shadow\", O_RDONLY) = 3`; \
                        fields that follow from it are set too",
    });
    known.insert(CALL.to_owned(), call);
    let event = json!({
        "type": "object",
        "properties": known,
        "patternProperties": patterns,
        "additionalProperties": false,
        "oneOf": [{ "required": ["evt.type"] }, { "required": [CALL] }],
    });
    let reference = json!({ "$ref": "#/$defs/event" });
    let alert = json!({
        "type": "object",
        "properties": { "event": reference, "output": { "type": "string", "description": "text of the alert" } },
        "additionalProperties": false,
        "required": ["event"],
    });
    let one = json!({
        "type": "object",
        "properties": {
            "at": { "type": "string", "description": "when it happens, counted from the first; by default as the one before" },
            "times": { "type": "integer", "minimum": 1, "maximum": TIMES_MAX, "description": "how often" },
            "every": { "type": "string", "description": "time between two of them" },
            "event": reference,
        },
        "additionalProperties": false,
        "required": ["event"],
    });
    let series = json!({
        "type": "object",
        "properties": {
            "series": { "type": "array", "items": one, "description": "events in order, for rules that count; the last must match, or none" },
            "alerts": { "type": "integer", "minimum": 0, "description": "how many of them must match, when it is not the last alone" },
        },
        "additionalProperties": false,
        "required": ["series"],
    });
    let entry = json!({
        "type": "object",
        "properties": {
            "rule": { "type": "string", "description": "name of the rule" },
            "matches": { "type": "array", "items": { "anyOf": [reference, alert, series] }, "description": "events it must match" },
            "ignores": { "type": "array", "items": { "anyOf": [reference, alert, series] }, "description": "events it must not match" },
        },
        "additionalProperties": false,
        "required": ["rule"],
    });
    json!({
        "$schema": DIALECT,
        "title": "Tests of Rampart rules",
        "type": ["array", "null"],
        "items": entry,
        "$defs": { "event": event },
    })
}

/// What a field of an event may be: one value, or several.
fn value(field: &Field) -> Value {
    let types = match field.ty {
        FieldType::Int | FieldType::Uint | FieldType::Port | FieldType::RelTime | FieldType::AbsTime => {
            json!(["integer", "array", "null"])
        }
        FieldType::Float => json!(["number", "array", "null"]),
        FieldType::Bool => json!(["boolean", "null"]),
        FieldType::Ip | FieldType::Net => json!(["string", "array", "null"]),
        // YAML takes a text that looks like a number for one.
        _ => json!(["string", "number", "boolean", "array", "null"]),
    };
    json!({ "type": types, "description": field.desc })
}

#[cfg(test)]
mod tests {
    use std::{env, fs, path::Path};

    use super::*;
    use crate::{
        diagnostic::code,
        load::{LoadOptions, Source, load},
        pack::BASE_PACK,
        source::SourceId,
        yaml,
    };

    #[test]
    fn kept_schemas_are_current() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("schema");
        for (name, made) in [("rules.schema.json", rules()), ("tests.schema.json", tests())] {
            let path = folder.join(name);
            if env::var_os("RAMPART_UPDATE").is_some() {
                fs::write(&path, format!("{}\n", serde_json::to_string_pretty(&made).unwrap())).unwrap();
            }
            let kept: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
            assert!(kept == made, "{name} is old: run this test with RAMPART_UPDATE=1");
        }
    }

    /// The schema of the items that have this key.
    fn of_kind(schema: &Value, kind: &str) -> Option<Value> {
        let kinds = schema["items"]["anyOf"].as_array().unwrap();
        kinds.iter().find(|item| item["required"][0] == kind).cloned()
    }

    #[test]
    fn the_loader_knows_every_key_of_the_schema() {
        for kind in ["rule", "macro", "list"] {
            let schema = of_kind(&rules(), kind).unwrap();
            for key in schema["properties"].as_object().unwrap().keys().filter(|key| *key != kind) {
                let text = format!("- {kind}: x\n  {key}: y\n");
                let loaded =
                    load(&[Source { name: "t".to_owned(), text: text.into() }], &LoadOptions::default());
                assert!(
                    loaded.diagnostics.iter().all(|found| found.code != code::UNKNOWN_KEY),
                    "{kind} {key}"
                );
            }
        }
    }

    #[test]
    fn the_schema_knows_every_key_of_the_base_pack() {
        let (documents, _) = yaml::parse(BASE_PACK, SourceId(0));
        for item in documents[0].as_seq().unwrap() {
            let pairs = item.as_map().unwrap();
            let schema = of_kind(&rules(), pairs[0].0.as_text().unwrap()).unwrap();
            for (key, _) in pairs {
                assert!(!schema["properties"][key.as_text().unwrap()].is_null(), "{key:?}");
            }
        }
    }
}
