//! JSON schema of the configuration file, for editors, made from the table the file is checked with.
//!
//! It is kept in `agent/schema/`; a test compares it with what this module makes, and writes it anew when
//! `RAMPART_UPDATE` is set. A file names it in its first line:
//! `# yaml-language-server: $schema=PATH/config.schema.json`.

mod lists;
mod services;
mod trading;

use serde_json::{Map, Value, json};

use super::{
    keys::{KEYS, Key, Kind},
    limits::read,
};
use crate::limits::class::Class;

/// The schema.
pub fn schema() -> Value {
    let mut root = section();
    for key in KEYS {
        insert(&mut root, key.path, value(key));
    }
    let mut schema = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Rampart configuration",
    });
    if let (Some(schema), Value::Object(root)) = (schema.as_object_mut(), root) {
        schema.extend(root);
    }
    schema
}

/// A section without settings. One that is left empty in a file counts as not there.
fn section() -> Value {
    json!({ "type": ["object", "null"], "properties": {}, "additionalProperties": false })
}

/// Puts a setting at its place below `node`, making the sections on the way.
fn insert(node: &mut Value, path: &str, leaf: Value) {
    let Some(properties) = node.get_mut("properties").and_then(Value::as_object_mut) else { return };
    match path.split_once('.') {
        Some((name, rest)) => insert(properties.entry(name).or_insert_with(section), rest, leaf),
        None => {
            properties.insert(path.to_owned(), leaf);
        }
    }
}

/// What a setting may be.
fn value(key: &Key) -> Value {
    let mut out = Map::new();
    out.insert("description".to_owned(), format!("{}; default: {}", key.help, key.default).into());
    match key.kind {
        Kind::Text | Kind::Path => {
            out.insert("type".to_owned(), "string".into());
        }
        Kind::Paths | Kind::Words | Kind::Nets => {
            out.insert("type".to_owned(), "array".into());
            out.insert("items".to_owned(), json!({ "type": "string" }));
        }
        Kind::Urls => {
            out.insert("type".to_owned(), "array".into());
            out.insert("items".to_owned(), json!({ "type": "string", "pattern": "^https?://" }));
        }
        Kind::Bool => {
            out.insert("type".to_owned(), "boolean".into());
        }
        Kind::Number => {
            out.insert("type".to_owned(), "integer".into());
            out.insert("minimum".to_owned(), 0.into());
        }
        Kind::Percent => {
            out.insert("type".to_owned(), json!(["number", "string"]));
            out.insert("exclusiveMinimum".to_owned(), 0.into());
            out.insert("maximum".to_owned(), 100.into());
            out.insert("pattern".to_owned(), "^([0-9.]+ *%?|[oO][fF][fF])$".into());
        }
        Kind::Choice(words) => {
            // Letter case does not matter; editors complete these spellings.
            let spelled =
                words.iter().flat_map(|word| [(*word).to_owned(), word.to_uppercase(), titled(word)]);
            out.insert("enum".to_owned(), spelled.collect::<Vec<_>>().into());
        }
        Kind::Policies => by_name(&mut out, &policy()),
        Kind::Interfaces => by_name(&mut out, &interface()),
        Kind::Services => by_name(&mut out, &services::service()),
        Kind::Venues => by_name(&mut out, &trading::venue()),
        Kind::Calendars => by_name(&mut out, &trading::calendar()),
        Kind::Roles => by_name(&mut out, &trading::role()),
        Kind::Assets => by_name(&mut out, &trading::paths()),
        Kind::Lists => by_name(&mut out, &lists::list()),
        Kind::Socket => {
            out.insert("type".to_owned(), "string".into());
            out.insert("pattern".to_owned(), ":[0-9]+$".into());
        }
    }
    Value::Object(out)
}

/// A section whose names the user chooses.
fn by_name(out: &mut Map<String, Value>, each: &Value) {
    out.insert("type".to_owned(), json!(["object", "null"]));
    out.insert("additionalProperties".to_owned(), each.clone());
}

/// An interface of the rate limiter.
fn interface() -> Value {
    json!({
        "type": ["object", "null"],
        "additionalProperties": false,
        "properties": {
            "directions": {
                "description": "which ways; default: [ingress]",
                "type": ["array", "string"],
                "items": { "enum": ["ingress", "egress"] },
            },
            "hook": {
                "description": "how to attach; default: auto, the first of native XDP, tcx, clsact that works; \
                                native is for devices, native_virtual also for interfaces that lose their offload by it",
                "enum": read::HOOKS,
            },
        },
    })
}

/// A policy of the rate limiter.
fn policy() -> Value {
    let words = json!({ "type": ["array", "string"], "items": { "type": "string" } });
    json!({
        "type": "object",
        "additionalProperties": false,
        "required": ["rate"],
        "properties": {
            "rate": {
                "description": "units per second, or such as 90/m, 5k/h",
                "anyOf": [
                    { "type": "integer", "minimum": 1 },
                    { "type": "string", "pattern": "^ *[0-9]+ *[kMG]? */ *(s|sec|second|m|min|minute|h|hour) *$" },
                ],
            },
            "burst": { "description": "units at once; default: what a second brings", "type": "integer", "minimum": 1 },
            "unit": { "description": "default: new_flows", "enum": ["new_flows", "packets", "bytes"] },
            "mode": {
                "description": "whether rejected packets are free (throttle, the default) or count too (penalize)",
                "enum": ["throttle", "penalize"],
            },
            "action": { "description": "default: drop", "enum": read::ACTIONS },
            "mark": { "description": "mark of the action mark", "type": "integer", "minimum": 1 },
            "dry_run": { "description": "only count; default: false", "type": "boolean" },
            "on_demand": { "description": "only for sources that a response puts under it; default: false", "type": "boolean" },
            "key_v4": { "description": "prefix length that is one source; default: 32", "type": "integer", "minimum": 8, "maximum": 32 },
            "key_v6": { "description": "prefix length that is one source; default: 64", "type": "integer", "minimum": 16, "maximum": 64 },
            "class": {
                "description": "how important it is when the node is too busy; default: standard",
                "enum": Class::NAMES,
            },
            "quota": {
                "type": "object",
                "additionalProperties": false,
                "required": ["amount"],
                "properties": {
                    "amount": {
                        "description": "units that a source may use, or such as 500k, 10G",
                        "anyOf": [
                            { "type": "integer", "minimum": 1 },
                            { "type": "string", "pattern": "^ *[0-9]+ *[kMGT]? *$" },
                        ],
                    },
                    "per": {
                        "description": "session: from the opening of a trading day to that of the next; default: day",
                        "enum": ["day", "month", "session"],
                    },
                    "at": { "description": "time of day at which a day or a month begins, such as 09:30", "type": "string" },
                    "calendar": { "description": "name below trading.calendars, for a session", "type": "string" },
                },
            },
            "direction": { "description": "default: ingress", "enum": ["ingress", "egress"] },
            "match": {
                "type": ["object", "null"],
                "additionalProperties": false,
                "properties": {
                    "interfaces": words,
                    "protocol": { "description": "tcp, udp, sctp, icmp, icmpv6, any or a number", "type": ["string", "integer"] },
                    "ports": { "type": ["array", "integer", "string"], "items": { "type": ["integer", "string"] } },
                    "service": {
                        "description": "name below services.list, in place of protocol and ports: those of its backends",
                        "type": "string",
                    },
                    "sources": words,
                },
            },
        },
    })
}

fn titled(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

#[cfg(test)]
mod tests {
    use std::{env, fs, path::Path};

    use super::*;

    #[test]
    fn the_kept_schema_is_current() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("schema/config.schema.json");
        let made = schema();
        if env::var_os("RAMPART_UPDATE").is_some() {
            fs::write(&path, format!("{}\n", serde_json::to_string_pretty(&made).unwrap())).unwrap();
        }
        let kept: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
        assert!(kept == made, "config.schema.json is old: run this test with RAMPART_UPDATE=1");
    }

    #[test]
    fn every_setting_lies_at_its_place() {
        let schema = schema();
        for key in KEYS {
            let pointer = format!("/properties/{}", key.path.replace('.', "/properties/"));
            let found = schema.pointer(&pointer).unwrap_or_else(|| panic!("{} is missing", key.path));
            assert!(found["description"].as_str().unwrap().starts_with(key.help), "{}", key.path);
            if let Kind::Choice(words) = key.kind {
                assert!(words.iter().all(|word| found["enum"].as_array().unwrap().contains(&(*word).into())));
            }
        }
        assert_eq!(schema["properties"]["log"]["additionalProperties"], false);
        assert_eq!(schema.pointer("/properties/admin/properties/enabled/type").unwrap(), "boolean");
    }
}
