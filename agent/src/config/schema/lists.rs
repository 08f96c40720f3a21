//! The schema of a list that rules name.

use rampart_rules::set::SetKind;
use serde_json::{Value, json};

/// A list.
pub(super) fn list() -> Value {
    let whole = |least: u64, what: &str| json!({ "description": what, "type": "integer", "minimum": least });
    json!({
        "type": "object",
        "additionalProperties": false,
        "required": ["kind"],
        "oneOf": [{ "required": ["file"] }, { "required": ["url"] }],
        "properties": {
            "kind": { "description": "what its members are", "enum": SetKind::ALL.map(SetKind::name) },
            "file": { "description": "file of the members, read again when it changes", "type": "string" },
            "url": { "description": "web address of the members", "type": "string", "pattern": "^https?://" },
            "format": {
                "description": "default: auto, csv with a column, stix for a JSON object, else plain",
                "enum": ["auto", "plain", "csv", "stix"],
            },
            "column": { "description": "column of a table, by name or number from 1", "type": ["string", "integer"] },
            "refresh_secs": whole(1, "time between two looks; default: 3600"),
            "max_mib": whole(1, "largest text; default: 16"),
            "max_entries": whole(1, "most members; default: 500000"),
            "max_age_secs": whole(0, "a copy that nobody confirmed for so long is stale; default: 604800, 0 = never"),
            "stale": { "description": "whether a stale list counts; default: keep", "enum": ["keep", "drop"] },
            "allow_private": {
                "description": "take addresses of private networks and of the node too; default: false",
                "type": "boolean",
            },
            "headers_file": { "description": "file of more headers for requests, a line each", "type": "string" },
        },
    })
}
