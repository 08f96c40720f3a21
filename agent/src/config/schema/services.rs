//! The schema of a service.

use serde_json::{Value, json};

use super::super::keys::ALGORITHMS;

/// A service.
pub(super) fn service() -> Value {
    json!({
        "type": "object",
        "additionalProperties": false,
        "required": ["vip"],
        "properties": {
            "vip": { "description": "virtual address and port", "type": "string", "pattern": ":[0-9]+$" },
            "protocol": { "description": "default: tcp", "enum": ["tcp", "udp"] },
            "algorithm": { "description": "default: services.defaults.algorithm", "enum": ALGORITHMS },
            "backends": {
                "description": "backends by name",
                "type": ["object", "null"],
                "additionalProperties": { "anyOf": [address(), backend()] },
            },
            "breaker": breaker(),
            "health": { "anyOf": [{ "const": "none" }, health()] },
            "agent": agent(),
            "sticky_secs": whole(1, 86_400, "how long a client of the algorithm sticky stays; default: 10800"),
            "client": { "description": "what a client is; default: netns", "enum": ["netns", "cgroup"] },
            "exclude_secs": whole(0, 86_400, "how long a client is kept from the backend that failed it; default: 5"),
            "syn_timeout_ms": whole(0, 60_000, "time of the first SYN; default: 0, the kernel's"),
            "syn_retries": whole(0, 15, "SYNs sent again; default: 0, the kernel's"),
            "panic": {
                "description": "what happens when most backends are out; default: auto, spread with three backends or more",
                "enum": ["auto", "spread", "fail_fast"],
            },
            "failback": {
                "description": "whether a better tier is returned to by itself; default: auto",
                "enum": ["auto", "manual", "window"],
            },
            "failback_delay_secs": whole(0, 86_400, "default: 30"),
            "failback_windows": {
                "description": "when it may be, with failback window, such as mon-fri 17:30-22:00",
                "type": ["array", "string"],
                "items": { "type": "string" },
            },
            "failback_time_zone": { "description": "IANA time zone of these times; default: UTC", "type": "string" },
            "flap_damping": { "description": "a backend that comes and goes is left out for a time; default: on", "enum": ["on", "off"] },
            "slow_start_secs": whole(0, 86_400, "default: 30"),
            "drain": {
                "description": "connections to a backend that is left out are ended: never, after drain_secs, or at once; default: none",
                "enum": ["none", "graceful", "immediate"],
            },
            "drain_secs": whole(1, 86_400, "default: 30"),
            "drain_when": {
                "description": "why it must be left out; default: admin, removed and down",
                "type": ["array", "string"],
                "items": { "enum": ["admin", "removed", "down", "open", "ejected"] },
            },
        },
    })
}

fn whole(least: u64, most: u64, what: &str) -> Value {
    json!({ "description": what, "type": "integer", "minimum": least, "maximum": most })
}

fn address() -> Value {
    json!({ "type": "string", "pattern": ":[0-9]+$" })
}

fn backend() -> Value {
    json!({
        "type": "object",
        "additionalProperties": false,
        "required": ["address"],
        "properties": {
            "address": address(),
            "weight": whole(1, 256, "default: 1"),
            "tier": whole(0, 7, "0 is the best; default: 0"),
            "admin": { "description": "default: ready", "enum": ["ready", "drain", "maintenance"] },
        },
    })
}

fn breaker() -> Value {
    json!({
        "type": ["object", "null"],
        "additionalProperties": false,
        "properties": {
            "failure_threshold": whole(1, 1023, "failures in a row; default: services.defaults"),
            "recovery_timeout_secs": whole(1, 3600, "default: services.defaults"),
            "recovery_max_secs": whole(1, 86_400, "default: ten times the recovery timeout"),
            "half_open_max_calls": whole(1, 8, "default: services.defaults"),
            "probe_timeout_secs": whole(1, 1800, "default: services.defaults.health_timeout_secs"),
            "half_open_max_secs": whole(1, 1800, "default: 30"),
            "success_when": { "description": "default: first_byte", "enum": ["first_byte", "established"] },
            "window_secs": whole(1, 600, "over which rates are looked at; default: 10"),
            "min_calls": whole(1, 1_000_000, "in the window, below which rates say nothing; default: 20"),
            "failure_percent": whole(0, 100, "of the window's connections; 0 = off; default: 50"),
            "slow_ms": whole(0, 600_000, "a connect that takes longer is slow; default: 0, none is"),
            "slow_percent": whole(1, 100, "of the window's connections; default: 100"),
            "max_ejection_percent": whole(0, 100, "share of a tier that outliers may be ejected from; default: 50"),
            "mode": { "description": "default: enforce", "enum": ["enforce", "metrics_only"] },
        },
    })
}

fn health() -> Value {
    json!({
        "type": ["object", "null"],
        "additionalProperties": false,
        "properties": {
            "type": { "description": "default: tcp", "enum": ["tcp", "http", "https", "grpc"] },
            "interval_secs": whole(1, 86_400, "default: services.defaults"),
            "fast_interval_secs": whole(1, 86_400, "after a change and while connections disagree; default: 1"),
            "timeout_secs": whole(1, 600, "default: services.defaults"),
            "rise": whole(1, 100, "successes in a row that bring a backend back; default: 2"),
            "fall": whole(1, 100, "failures in a row that take it out; default: 3"),
            "port": whole(0, 65_535, "default: the backend's"),
            "path": { "description": "default: /", "type": "string" },
            "host": { "description": "default: the address", "type": "string" },
            "statuses": {
                "description": "such as 200 or 200-299; default: 200-299",
                "type": ["array", "integer", "string"],
                "items": { "type": ["integer", "string"] },
            },
            "body": { "description": "what the page must hold", "type": "string" },
            "verify": { "description": "of https: whether the certificate must be good; default: true", "type": "boolean" },
            "service": { "description": "of grpc: name of the service; default: the server as a whole", "type": "string" },
        },
    })
}

fn agent() -> Value {
    json!({
        "description": "where backends say how they are, as HAProxy's agent check reads it",
        "type": "object",
        "additionalProperties": false,
        "required": ["port"],
        "properties": {
            "port": whole(1, 65_535, "port of the backend's address"),
            "interval_secs": whole(1, 86_400, "default: 5"),
            "timeout_secs": whole(1, 600, "default: 2"),
            "send": { "description": "a line that is sent before", "type": "string" },
        },
    })
}
