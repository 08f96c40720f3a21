//! The schemas of venues, calendars, roles and assets.

use serde_json::{Value, json};

use super::super::trading::VENUE_KINDS;

/// A venue.
pub(super) fn venue() -> Value {
    json!({
        "type": "object",
        "additionalProperties": false,
        "required": ["kind"],
        "properties": {
            "kind": { "description": "what it is for", "enum": VENUE_KINDS },
            "hosts": words("host names"),
            "cidrs": words("addresses and networks"),
            "ports": {
                "description": "default: any",
                "type": ["array", "integer"],
                "items": { "type": "integer", "minimum": 1, "maximum": 65_535 },
            },
            "groups": words("multicast groups"),
        },
    })
}

/// A calendar.
pub(super) fn calendar() -> Value {
    let sessions = |what: &str| {
        let times = || words("times of the week such as mon-fri 09:00-17:30");
        json!({
            "description": what,
            "type": "object",
            "additionalProperties": false,
            "properties": {
                "pre_open": times(), "auction": times(), "continuous": times(), "post_close": times(),
            },
        })
    };
    let days = |what: &str| {
        json!({
            "description": what,
            "type": "array",
            "items": { "type": "string", "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}$" },
        })
    };
    json!({
        "type": "object",
        "additionalProperties": false,
        "required": ["time_zone", "sessions"],
        "properties": {
            "time_zone": { "description": "IANA time zone such as Europe/Berlin", "type": "string" },
            "sessions": sessions("times on ordinary days"),
            "half_day_sessions": sessions("times on half days"),
            "half_days": days("days such as 2026-12-24"),
            "holidays": days("days without any session"),
        },
    })
}

/// A role.
pub(super) fn role() -> Value {
    json!({
        "type": "object",
        "additionalProperties": false,
        "properties": {
            "images": words("images of containers, with or without tag; * stands for any text"),
            "labels": {
                "description": "labels of the container or pod; each alone will do, * for any value",
                "type": "object",
                "additionalProperties": { "type": ["string", "number", "boolean"] },
            },
            "exes": paths(),
            "comms": words("names of programs"),
        },
    })
}

/// Paths of a kind of assets.
pub(super) fn paths() -> Value {
    words("paths: /a/b, /a/ for all below it, or a pattern such as /a/*.key")
}

fn words(what: &str) -> Value {
    json!({ "description": what, "type": ["array", "string"], "items": { "type": "string" } })
}
