//! Services as written, checked; each fault with its place.

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use jiff::tz::TimeZone;
use rampart_common::{
    limit::packet::{TCP, UDP},
    service::{
        abi::{MEMBERS, TOKENS},
        breaker::FAILURES_MAX,
    },
};
use serde_yaml::{Mapping, Value};

use super::{
    AdminState, AgentCheck, Algorithm, BackendSettings, BreakerSettings, Calendar, Check, Defaults, Drain,
    DrainCause, Failback, Health, Panic, ServiceSettings, Span, TlsCheck,
};
use crate::config::{fault::Place, limits::read::Section, raw::Raw};

/// Settings of a service, in the order of the documentation.
pub(in crate::config) const SERVICE_KEYS: [&str; 22] = [
    "vip",
    "protocol",
    "algorithm",
    "backends",
    "breaker",
    "health",
    "agent",
    "sticky_secs",
    "client",
    "exclude_secs",
    "syn_timeout_ms",
    "syn_retries",
    "panic",
    "failback",
    "failback_delay_secs",
    "failback_windows",
    "failback_time_zone",
    "flap_damping",
    "slow_start_secs",
    "drain",
    "drain_secs",
    "drain_when",
];
/// Settings of a backend.
pub(in crate::config) const BACKEND_KEYS: [&str; 4] = ["address", "weight", "tier", "admin"];
/// Settings below `breaker`.
pub(in crate::config) const BREAKER_KEYS: [&str; 14] = [
    "failure_threshold",
    "recovery_timeout_secs",
    "recovery_max_secs",
    "half_open_max_calls",
    "probe_timeout_secs",
    "half_open_max_secs",
    "success_when",
    "window_secs",
    "min_calls",
    "failure_percent",
    "slow_ms",
    "slow_percent",
    "max_ejection_percent",
    "mode",
];
/// Settings below `health`.
pub(in crate::config) const HEALTH_KEYS: [&str; 13] = [
    "type",
    "interval_secs",
    "fast_interval_secs",
    "timeout_secs",
    "rise",
    "fall",
    "port",
    "path",
    "host",
    "statuses",
    "body",
    "verify",
    "service",
];
/// Settings below `agent`.
pub(in crate::config) const AGENT_KEYS: [&str; 4] = ["port", "interval_secs", "timeout_secs", "send"];
/// Seconds of a setting that is a time.
const SECS_MAX: u64 = 86_400;
/// Longest time that a breaker's lease and half-open state can be.
const LEASE_SECS_MAX: u64 = 1800;
/// Tiers of a service.
const TIERS: u64 = 8;

/// Reads a service.
pub(in crate::config) fn service(
    defaults: &Defaults,
    raw: &mut Raw,
    path: &str,
    value: Value,
    place: &Place,
) -> Option<ServiceSettings> {
    let mut section = Section::open(raw, path, value, place, &SERVICE_KEYS)?;
    let vip = address(&mut section, "vip");
    let protocol = match section.choice("protocol", &["tcp", "udp"], "tcp") {
        "udp" => UDP,
        _ => TCP,
    };
    let algorithm =
        algorithm(section.choice("algorithm", crate::config::keys::ALGORITHMS, defaults.algorithm));
    let breaker = {
        let (value, full, place) = inner(&mut section, "breaker");
        let mut own = Section::open(section.raw, &full, value, &place, &BREAKER_KEYS)?;
        breaker(&mut own, defaults)
    };
    let health = match section.entries.get("health").and_then(Value::as_str) {
        Some("none") => {
            section.entries.remove("health");
            None
        }
        // A datagram that nobody answers says nothing.
        _ if protocol == UDP && !section.entries.contains_key("health") => None,
        _ => {
            let (value, full, place) = inner(&mut section, "health");
            let mut own = Section::open(section.raw, &full, value, &place, &HEALTH_KEYS)?;
            Some(health(&mut own, defaults))
        }
    };
    let agent = if section.entries.contains_key("agent") {
        let (value, full, place) = inner(&mut section, "agent");
        let mut own = Section::open(section.raw, &full, value, &place, &AGENT_KEYS)?;
        agent(&mut own)
    } else {
        None
    };
    let backends = backends(&mut section, vip);
    let panic = match section.choice("panic", &["auto", "spread", "fail_fast"], "auto") {
        "spread" => Panic::Spread,
        "fail_fast" => Panic::FailFast,
        _ => Panic::Auto,
    };
    let failback = match section.choice("failback", &["auto", "manual", "window"], "auto") {
        "manual" => Failback::Manual,
        "window" => Failback::Window,
        _ => Failback::Auto,
    };
    let is_client_cgroup = section.choice("client", &["netns", "cgroup"], "netns") == "cgroup";
    let failback_windows = windows(&mut section, failback);
    let syn_timeout = section.number("syn_timeout_ms", 0, 60_000, 0);
    let drain = drain(&mut section);
    Some(ServiceSettings {
        vip: vip?,
        protocol,
        algorithm,
        breaker,
        health,
        agent,
        sticky: secs(&mut section, "sticky_secs", 1, 10_800),
        is_client_cgroup,
        exclude: secs(&mut section, "exclude_secs", 0, 5),
        syn_timeout: (syn_timeout > 0).then(|| Duration::from_millis(syn_timeout)),
        syn_retries: section.number("syn_retries", 0, 15, 0) as u32,
        panic,
        failback,
        failback_delay: secs(&mut section, "failback_delay_secs", 0, 30),
        failback_windows,
        is_damped: section.choice("flap_damping", &["on", "off"], "on") == "on",
        slow_start: secs(&mut section, "slow_start_secs", 0, 30),
        drain,
        backends,
    })
}

/// A section within, with its name and place.
fn inner(section: &mut Section<'_>, name: &str) -> (Value, String, Place) {
    let value = section.take(name).unwrap_or_else(|| Value::Mapping(Mapping::new()));
    (value, format!("{}.{name}", section.path), section.place_of(name))
}

fn secs(section: &mut Section<'_>, name: &str, least: u64, usual: u64) -> Duration {
    Duration::from_secs(section.number(name, least, SECS_MAX, usual))
}

fn address(section: &mut Section<'_>, name: &str) -> Option<SocketAddr> {
    let Some(value) = section.take(name) else {
        let message = format!("`{}` has no {name}", section.path);
        let help = Some(format!("set it, such as `{name}: 10.96.7.1:8080`"));
        section.raw.fault(section.place.clone(), message, help);
        return None;
    };
    let parsed = value.as_str().and_then(|text| text.parse::<SocketAddr>().ok());
    let fit = parsed.filter(|address| address.port() != 0 && !address.ip().is_unspecified());
    if fit.is_none() {
        section.wrong(name, &value, "an address and a port, such as `10.96.7.1:8080` or `[fd00::1]:8080`");
    }
    fit
}

fn algorithm(word: &str) -> Algorithm {
    match word {
        "weighted" => Algorithm::Weighted,
        "least_connections" => Algorithm::LeastConnections,
        "sticky" => Algorithm::Sticky,
        _ => Algorithm::RoundRobin,
    }
}

/// When a better tier may be returned to.
fn windows(section: &mut Section<'_>, failback: Failback) -> Calendar {
    let mut spans = Vec::new();
    for (word, place) in section.words("failback_windows") {
        match Span::read(&word) {
            Some(span) => spans.push(span),
            None => section.raw.fault(
                place,
                format!("`{}.failback_windows` names `{word}`", section.path),
                Some("write `mon-fri 17:30-22:00` or `22:00-06:00`".to_owned()),
            ),
        }
    }
    if (failback == Failback::Window) == spans.is_empty() {
        let place = section.place_of("failback_windows");
        let message =
            format!("`{0}.failback: window` and `{0}.failback_windows` need each other", section.path);
        section.raw.fault(place, message, None);
    }
    let name = text(section, "failback_time_zone");
    let zone = name.as_deref().map_or(Some(TimeZone::UTC), |name| TimeZone::get(name).ok());
    if zone.is_none() {
        let place = section.place_of("failback_time_zone");
        let message = format!("`{}.failback_time_zone` is no time zone", section.path);
        let help = "use a name such as `Europe/London` or `America/New_York`".to_owned();
        section.raw.fault(place, message, Some(help));
    }
    Calendar { zone: zone.unwrap_or(TimeZone::UTC), spans }
}

/// What somebody did on purpose or is sure of ends connections, unless it is said otherwise; a guess does not.
const DRAIN_CAUSES: [DrainCause; 3] = [DrainCause::Admin, DrainCause::Removed, DrainCause::Down];

fn drain(section: &mut Section<'_>) -> Drain {
    let wait = secs(section, "drain_secs", 1, 30);
    let after = match section.choice("drain", &["none", "graceful", "immediate"], "none") {
        "graceful" => Some(wait),
        "immediate" => Some(Duration::ZERO),
        _ => None,
    };
    let mut causes = 0;
    for (word, place) in section.words("drain_when") {
        match DrainCause::ALL.into_iter().find(|cause| cause.name() == word) {
            Some(cause) => causes |= cause as u8,
            None => section.raw.fault(
                place,
                format!("`{}.drain_when` names `{word}`", section.path),
                Some("use `admin`, `removed`, `down`, `open` and `ejected`".to_owned()),
            ),
        }
    }
    if causes == 0 {
        causes = DRAIN_CAUSES.into_iter().fold(0, |causes, cause| causes | cause as u8);
    }
    Drain { after, causes }
}

fn breaker(section: &mut Section<'_>, defaults: &Defaults) -> BreakerSettings {
    let recovery = section.number("recovery_timeout_secs", 1, 3600, defaults.recovery_secs);
    let most = section.number("recovery_max_secs", recovery, SECS_MAX, recovery.saturating_mul(10));
    BreakerSettings {
        failure_threshold: section.number(
            "failure_threshold",
            1,
            u64::from(FAILURES_MAX),
            defaults.failure_threshold,
        ) as u16,
        recovery: Duration::from_secs(recovery),
        recovery_max: Duration::from_secs(most),
        half_open_calls: section.number("half_open_max_calls", 1, TOKENS as u64, defaults.half_open_max_calls)
            as u8,
        probe: Duration::from_secs(section.number(
            "probe_timeout_secs",
            1,
            LEASE_SECS_MAX,
            defaults.health_timeout_secs,
        )),
        half_open: Duration::from_secs(section.number("half_open_max_secs", 1, LEASE_SECS_MAX, 30)),
        is_established_enough: section.choice("success_when", &["first_byte", "established"], "first_byte")
            == "established",
        window: Duration::from_secs(section.number("window_secs", 1, 600, 10)),
        min_calls: section.number("min_calls", 1, 1_000_000, 20),
        failure_percent: section.number("failure_percent", 0, 100, 50) as u8,
        slow: Duration::from_millis(section.number("slow_ms", 0, 600_000, 0)),
        slow_percent: section.number("slow_percent", 1, 100, 100) as u8,
        max_ejection_percent: section.number("max_ejection_percent", 0, 100, 50) as u8,
        is_metrics_only: section.choice("mode", &["enforce", "metrics_only"], "enforce") == "metrics_only",
    }
}

fn health(section: &mut Section<'_>, defaults: &Defaults) -> Health {
    let kind = section.choice("type", &["tcp", "http", "https", "grpc"], "tcp");
    let is_verified = section.flag("verify", true);
    let service = text(section, "service");
    let path = text(section, "path");
    let host = text(section, "host");
    let body = text(section, "body");
    let statuses = statuses(section);
    let check = if kind == "grpc" {
        Check::Grpc { service: service.unwrap_or_default() }
    } else if kind.starts_with("http") {
        let path = path.unwrap_or_else(|| "/".to_owned());
        if !path.starts_with('/') {
            let place = section.place_of("path");
            section.raw.fault(place, format!("`{}.path` must begin with a slash", section.path), None);
        }
        let tls = (kind == "https").then_some(TlsCheck { is_verified });
        Check::Http { path, host, statuses, body, tls }
    } else {
        Check::Tcp
    };
    let interval = section.number("interval_secs", 1, SECS_MAX, defaults.health_interval_secs);
    let port = section.number("port", 0, u64::from(u16::MAX), 0);
    Health {
        check,
        interval: Duration::from_secs(interval),
        fast_interval: Duration::from_secs(section.number(
            "fast_interval_secs",
            1,
            interval,
            1.min(interval),
        )),
        timeout: Duration::from_secs(section.number("timeout_secs", 1, 600, defaults.health_timeout_secs)),
        rise: section.number("rise", 1, 100, 2) as u32,
        fall: section.number("fall", 1, 100, 3) as u32,
        port: u16::try_from(port).ok().filter(|port| *port > 0),
    }
}

fn agent(section: &mut Section<'_>) -> Option<AgentCheck> {
    let port = section.number("port", 1, u64::from(u16::MAX), 0);
    if port == 0 {
        let message = format!("`{}` has no port", section.path);
        section.raw.fault(section.place.clone(), message, Some("set `port`".to_owned()));
    }
    Some(AgentCheck {
        port: u16::try_from(port).ok().filter(|port| *port > 0)?,
        interval: secs(section, "interval_secs", 1, 5),
        timeout: Duration::from_secs(section.number("timeout_secs", 1, 600, 2)),
        send: text(section, "send"),
    })
}

fn text(section: &mut Section<'_>, name: &str) -> Option<String> {
    let value = section.take(name)?;
    let text = value.as_str().map(str::to_owned);
    if text.as_ref().is_none_or(|text| text.contains(['\r', '\n'])) {
        section.wrong(name, &value, "text on one line");
    }
    text
}

/// `200`, `200-299`; all below 300 and from 200 on when nothing is said.
fn statuses(section: &mut Section<'_>) -> Vec<(u16, u16)> {
    let mut ranges = Vec::new();
    for (word, place) in section.words("statuses") {
        let (first, last) = word.split_once('-').unwrap_or((&word, &word));
        match (first.trim().parse(), last.trim().parse()) {
            (Ok(first), Ok(last)) if (100..=last).contains(&first) && last < 600 => {
                ranges.push((first, last));
            }
            _ => {
                let message = format!("`{}.statuses` names `{word}`", section.path);
                section.raw.fault(place, message, Some("write `200` or `200-299`".to_owned()));
            }
        }
    }
    if ranges.is_empty() { vec![(200, 299)] } else { ranges }
}

fn backends(section: &mut Section<'_>, vip: Option<SocketAddr>) -> BTreeMap<String, BackendSettings> {
    let (value, full, place) = inner(section, "backends");
    let entries = match value {
        Value::Mapping(entries) => entries,
        other => {
            section.wrong("backends", &other, "a section of names");
            return BTreeMap::new();
        }
    };
    let mut all = BTreeMap::new();
    if entries.len() > MEMBERS {
        let message = format!("`{full}` names {} backends, {MEMBERS} are possible", entries.len());
        section.raw.fault(place.clone(), message, None);
    }
    for (key, value) in entries {
        let Some(name) = key.as_str().filter(|name| is_name(name)) else {
            let message = format!("a name below `{full}` must be letters, digits, `-`, `_` and `.`");
            section.raw.fault(place.clone(), message, None);
            continue;
        };
        let own = format!("{full}.{name}");
        // `name: 10.0.0.1:80` is short for a section with nothing but the address.
        let value = match value {
            Value::String(address) => {
                let mut entries = Mapping::new();
                entries.insert("address".into(), address.into());
                Value::Mapping(entries)
            }
            other => other,
        };
        let Some(mut backend) = Section::open(section.raw, &own, value, &place, &BACKEND_KEYS) else {
            continue;
        };
        let to = address(&mut backend, "address");
        let settings = BackendSettings {
            address: to.unwrap_or_else(|| SocketAddr::from(([0, 0, 0, 0], 0))),
            weight: backend.number("weight", 1, 256, 1) as u32,
            tier: backend.number("tier", 0, TIERS - 1, 0) as u8,
            admin: match backend.choice("admin", &["ready", "drain", "maintenance"], "ready") {
                "drain" => AdminState::Drain,
                "maintenance" => AdminState::Maintenance,
                _ => AdminState::Ready,
            },
        };
        if let (Some(vip), Some(to)) = (vip, to)
            && vip.is_ipv4() != to.is_ipv4()
        {
            let place = backend.place_of("address");
            let message = format!("`{own}.address` is of another IP version than the service's `vip`");
            backend.raw.fault(place, message, None);
        }
        all.insert(name.to_owned(), settings);
    }
    all
}

/// Names are parts of pages' paths.
pub(in crate::config) fn is_name(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|letter| letter.is_ascii_alphanumeric() || "-_.".contains(letter))
}
