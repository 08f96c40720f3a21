//! What the thread of services last said: its pages, and its part of the metrics page.

use std::{
    collections::{BTreeMap, VecDeque},
    net::SocketAddr,
    time::{Duration, SystemTime},
};

use jiff::Timestamp;
use rampart_common::service::{
    abi::{Counts, Event, Tally},
    breaker::{Mode, State, Word},
    signal::Outcome,
};
use serde_json::{Value, json};

use super::{metrics::Page, names::Name};
use crate::{
    config::{AdminState, Algorithm},
    engine::clock::boot_now_ns,
    services::{check::Told, drain::Ended, rates::Calls},
};

/// Events of a backend that are kept.
pub const EVENTS: usize = 5;

/// What the thread last said.
#[derive(Clone, Debug, Default)]
pub struct Serving {
    /// Number of the tables in force; 0 when none are.
    pub generation: u32,
    /// When this was so, by the boot clock.
    pub now_ns: u64,
    /// Services by name.
    pub services: BTreeMap<String, ServiceStanding>,
    /// Whether the programs were seen to work on a socket of the agent's own.
    pub is_tested: bool,
    /// What is wrong.
    pub fault: Option<String>,
}

/// A service.
#[derive(Clone, Debug)]
pub struct ServiceStanding {
    /// Its virtual address.
    pub vip: SocketAddr,
    /// Protocol number.
    pub protocol: u8,
    /// How a backend is chosen.
    pub algorithm: Algorithm,
    /// The tier in use.
    pub tier: u8,
    /// What is known of backends counts for nothing now.
    pub is_panic: bool,
    /// Its counters.
    pub counts: Counts,
    /// Backends by name.
    pub backends: BTreeMap<String, BackendStanding>,
}

/// A backend.
#[derive(Clone, Debug)]
pub struct BackendStanding {
    /// Where it is.
    pub address: SocketAddr,
    /// Its share.
    pub weight: u32,
    /// Its tier.
    pub tier: u8,
    /// What is wanted of it.
    pub admin: AdminState,
    /// What health checks say; `None` when it is not checked.
    pub health: Option<HealthStanding>,
    /// What it says of itself; `None` when it is not asked.
    pub told: Option<Told>,
    /// Until when it is ejected, by the boot clock.
    pub ejected_until: Option<u64>,
    /// Its breaker.
    pub breaker: BreakerStanding,
    /// Connections begun and ended.
    pub connections: (u64, u64),
    /// Its counters.
    pub tally: Tally,
    /// The penalty for coming and going, and whether it is left out for that.
    pub flaps: (u32, bool),
    /// What becomes of its connections.
    pub drain: DrainStanding,
}

/// What becomes of the connections to a backend.
#[derive(Clone, Copy, Debug, Default)]
pub struct DrainStanding {
    /// Why it is left out, while that ends its connections.
    pub cause: Option<&'static str>,
    /// When they are ended, by the boot clock.
    pub due_ns: Option<u64>,
    /// What became of them the last time.
    pub last: Ended,
    /// All that were ended since the agent started.
    pub total: u64,
}

/// What health checks say.
#[derive(Clone, Debug, Default)]
pub struct HealthStanding {
    /// It is up.
    pub is_up: bool,
    /// Checks so far.
    pub checks: u64,
    /// Failed ones.
    pub failures: u64,
    /// The last failure, if the last check was one.
    pub fault: Option<String>,
}

/// A breaker.
#[derive(Clone, Debug)]
pub struct BreakerStanding {
    /// Its word, as orders and the clock make it.
    pub word: Word,
    /// What is ordered.
    pub mode: Mode,
    /// Until when it is open, by the boot clock.
    pub open_until: u64,
    /// Probes that are out, and that succeeded.
    pub probes: (u8, u8),
    /// Connections in the window.
    pub window: Calls,
    /// Times it opened since the agent started.
    pub opens: u64,
    /// The newest events, oldest first.
    pub events: VecDeque<Event>,
}

impl BreakerStanding {
    /// The state as it is for connections.
    pub const fn state(&self) -> State {
        match self.mode {
            Mode::ForcedOpen => State::Open,
            Mode::ForcedClosed => State::Closed,
            Mode::Auto | Mode::MetricsOnly => self.word.state(),
        }
    }
}

/// The wall clock's time of one of the boot clock.
fn wall(now_ns: u64, at_ns: u64) -> String {
    // What was said a moment ago is shown now.
    let now = SystemTime::now() - Duration::from_nanos(boot_now_ns().saturating_sub(now_ns));
    let at = if at_ns >= now_ns {
        now + Duration::from_nanos(at_ns - now_ns)
    } else {
        now - Duration::from_nanos(now_ns - at_ns)
    };
    Timestamp::try_from(at).map(|time| time.to_string()).unwrap_or_default()
}

/// All services.
pub fn services(serving: &Serving) -> Value {
    let all: Vec<Value> =
        serving.services.iter().map(|(name, service)| service_page(serving, name, service)).collect();
    json!({
        "generation": serving.generation,
        "self_test": serving.is_tested,
        "fault": serving.fault,
        "services": all,
    })
}

/// One service.
pub fn service(serving: &Serving, name: &str) -> Option<Value> {
    serving.services.get(name).map(|service| service_page(serving, name, service))
}

fn service_page(serving: &Serving, name: &str, service: &ServiceStanding) -> Value {
    let backends: Vec<Value> = service
        .backends
        .iter()
        .map(|(backend, standing)| {
            let health = standing.health.as_ref().map(|health| {
                json!({
                    "up": health.is_up,
                    "checks": health.checks,
                    "failures": health.failures,
                    "last_fault": health.fault,
                })
            });
            json!({
                "name": backend,
                "address": standing.address.to_string(),
                "weight": standing.weight,
                "tier": standing.tier,
                "admin": standing.admin.name(),
                "health": health,
                "says": standing.told.as_ref().map(|told| json!({
                    "percent": told.percent,
                    "admin": told.admin.map(AdminState::name),
                    "up": told.is_up.as_ref().map(Result::is_ok),
                    "why": told.is_up.as_ref().and_then(|is_up| is_up.as_ref().err()),
                })),
                "ejected_until": standing.ejected_until.map(|until| wall(serving.now_ns, until)),
                "breaker": standing.breaker.state().name(),
                "connections": standing.connections.0.saturating_sub(standing.connections.1),
                "connections_total": standing.connections.0,
                "outcomes": outcomes(&standing.tally),
                "flap_penalty": standing.flaps.0,
                "suppressed": standing.flaps.1,
                "drain": {
                    "cause": standing.drain.cause,
                    "ends_at": standing.drain.due_ns.map(|due| wall(serving.now_ns, due)),
                    "found": standing.drain.last.found,
                    "destroyed": standing.drain.last.destroyed,
                    "gone": standing.drain.last.gone,
                    "failed": standing.drain.last.failed,
                    "destroyed_total": standing.drain.total,
                },
                "slow": standing.tally.slow,
            })
        })
        .collect();
    json!({
        "name": name,
        "vip": service.vip.to_string(),
        "protocol": if service.protocol == 17 { "udp" } else { "tcp" },
        "algorithm": service.algorithm.name(),
        "tier": service.tier,
        "panic": service.is_panic,
        "state": derived(service).name(),
        "chosen": service.counts.chosen,
        "probes": service.counts.probes,
        "in_panic": service.counts.panics,
        "refused": service.counts.refused,
        "no_backend": service.counts.empty,
        "passed": service.counts.passed,
        "backends": backends,
    })
}

fn outcomes(tally: &Tally) -> Value {
    let of = Outcome::ALL.iter().zip(tally.outcomes);
    Value::Object(of.map(|(outcome, count)| (outcome.name().to_owned(), count.into())).collect())
}

/// A service is open when none of its backends lets anybody through.
fn derived(service: &ServiceStanding) -> State {
    let states: Vec<State> = service.backends.values().map(|backend| backend.breaker.state()).collect();
    if states.is_empty() || states.contains(&State::Closed) {
        State::Closed
    } else if states.contains(&State::HalfOpen) {
        State::HalfOpen
    } else {
        State::Open
    }
}

/// All breakers: those of backends, and of each service that of all of them.
pub fn breakers(serving: &Serving) -> Value {
    let mut rows = Vec::new();
    for (name, service) in &serving.services {
        rows.push(json!({
            "id": name,
            "service": name,
            "backend": Value::Null,
            "state": derived(service).name(),
        }));
        for (backend, standing) in &service.backends {
            rows.push(breaker_page(serving, name, backend, standing));
        }
    }
    json!({ "circuit_breakers": rows, "fault": serving.fault })
}

/// One breaker, of a backend.
pub fn breaker(serving: &Serving, service: &str, backend: &str) -> Option<Value> {
    let standing = serving.services.get(service)?.backends.get(backend)?;
    Some(breaker_page(serving, service, backend, standing))
}

fn breaker_page(serving: &Serving, service: &str, backend: &str, standing: &BackendStanding) -> Value {
    let breaker = &standing.breaker;
    let word = breaker.word;
    let is_open = word.state() == State::Open;
    let events: Vec<Value> = breaker.events.iter().map(|event| event_page(serving.now_ns, event)).collect();
    json!({
        "id": format!("{service}/{backend}"),
        "service": service,
        "backend": backend,
        "address": standing.address.to_string(),
        "state": breaker.state().name(),
        "mode": breaker.mode.name(),
        "consecutive": word.failures(),
        "window": { "calls": breaker.window.calls, "fail": breaker.window.failures, "slow": breaker.window.slow },
        "since": (word.stamp() > 1).then(|| wall(serving.now_ns, word.since_ns())),
        "opened_at": is_open.then(|| wall(serving.now_ns, word.since_ns())),
        "open_until": is_open.then(|| wall(serving.now_ns, breaker.open_until)),
        "k": word.k(),
        "probes": { "in_flight": breaker.probes.0, "ok": breaker.probes.1 },
        "opens": breaker.opens,
        "last_events": events,
    })
}

fn event_page(now_ns: u64, event: &Event) -> Value {
    let outcome = Outcome::ALL.get(usize::from(event.outcome)).map_or("unknown", |outcome| outcome.name());
    json!({
        "at": wall(now_ns, event.time_ns),
        "outcome": outcome,
        "errno": event.error,
        "retransmits": event.retransmits,
        "after_us": event.age_ns / 1000,
    })
}

/// Adds the metrics of services. Labels are names of the configuration, never addresses of clients.
pub(super) fn add(page: &mut Page, serving: &Serving) {
    page.add(Name::ServicesGeneration, &[], u64::from(serving.generation));
    for (name, service) in &serving.services {
        let of = [("service", name.as_str())];
        page.add(Name::ServicePanic, &of, u64::from(service.is_panic));
        page.add(Name::ServiceTier, &of, u64::from(service.tier));
        for (result, count) in [
            ("chosen", service.counts.chosen),
            ("refused", service.counts.refused),
            ("no_backend", service.counts.empty),
        ] {
            page.add(Name::ServiceRequests, &[("service", name), ("result", result)], count);
        }
        for (backend, standing) in &service.backends {
            let of = [("service", name.as_str()), ("backend", backend.as_str())];
            page.add(Name::BreakerState, &of, standing.breaker.state() as u64);
            page.add(Name::BreakerOpens, &of, standing.breaker.opens);
            let open = standing.connections.0.saturating_sub(standing.connections.1);
            page.add(Name::BackendConnections, &of, open);
            page.add(Name::BackendDrained, &of, standing.drain.total);
            let is_up = standing.health.as_ref().is_none_or(|health| health.is_up);
            page.add(
                Name::BackendUp,
                &of,
                u64::from(is_up && standing.ejected_until.is_none() && !standing.flaps.1),
            );
            for (outcome, count) in Outcome::ALL.iter().zip(standing.tally.outcomes) {
                let labels =
                    [("service", name.as_str()), ("backend", backend.as_str()), ("outcome", outcome.name())];
                page.add(Name::BackendEnds, &labels, count);
            }
            let steps = standing.tally.latencies.iter().enumerate();
            let steps: Vec<(f64, u64)> = steps.map(|(step, count)| (bound(step), *count)).collect();
            page.add_histogram(Name::ConnectSeconds, &of, &steps, standing.tally.latency_ns);
        }
    }
}

/// Upper bound of a step of the connect latencies, seconds.
fn bound(step: usize) -> f64 {
    16e-6 * f64::from(1_u32 << step)
}
