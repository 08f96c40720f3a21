//! How things stand, for pages and metrics.

use std::collections::BTreeMap;

use rampart_common::service::breaker::{Mode, Policy, State, Token, Word};

use super::{Thread, known::Known};
use crate::{
    config::ServiceSettings,
    engine::clock::boot_now_ns,
    telemetry::services::{BackendStanding, BreakerStanding, HealthStanding, ServiceStanding, Serving},
};

pub(super) fn report(thread: &Thread) -> Serving {
    let now_ns = boot_now_ns();
    let mut services = BTreeMap::new();
    for (number, name) in &thread.plan.services {
        let Some(settings) = thread.settings.list.get(name) else { continue };
        let service = thread.plan.tables.services.iter().find(|(own, ..)| own == number);
        let policy = service.map(|(_, service, _)| service.policy).unwrap_or_default();
        let standing = ServiceStanding {
            vip: settings.vip,
            protocol: settings.protocol,
            algorithm: settings.algorithm,
            tier: thread.tiers.get(name).and_then(|tiers| tiers.active).unwrap_or(0),
            is_panic: thread.panics.contains(name),
            counts: thread.services.counts(*number).unwrap_or_default(),
            backends: backends(thread, name, settings, &policy, now_ns),
        };
        services.insert(name.clone(), standing);
    }
    Serving {
        generation: thread.generation,
        now_ns,
        services,
        is_tested: thread.is_tested,
        fault: thread.faults.iter().chain(&thread.left_out).next().cloned(),
    }
}

fn backends(
    thread: &Thread,
    service: &str,
    settings: &ServiceSettings,
    policy: &Policy,
    now_ns: u64,
) -> BTreeMap<String, BackendStanding> {
    let unknown = Known::default();
    let mut backends = BTreeMap::new();
    for (backend, written) in &settings.backends {
        let name = (service.to_owned(), backend.clone());
        let known = thread.known.get(&name).unwrap_or(&unknown);
        // What the kernel says now, and not at the last look.
        let number = thread.number(&name);
        let breaker = number.and_then(|number| thread.services.breaker(number).ok()).unwrap_or(known.breaker);
        let order = number.and_then(|number| thread.services.order(number).ok()).unwrap_or(known.order);
        let word = Word(breaker.word).under(&order);
        let seen = word.at(now_ns, policy);
        let probes = if word.state() == State::HalfOpen { tokens(&breaker.tokens, word) } else { (0, 0) };
        let health = settings.health.as_ref().map(|_| HealthStanding {
            is_up: known.health.is_up,
            checks: known.health.checks,
            failures: known.health.failures,
            fault: known.health.fault.clone(),
        });
        let standing = BackendStanding {
            address: written.address,
            weight: written.weight,
            tier: written.tier,
            admin: known.admin(settings, written.admin),
            health,
            told: settings.agent.as_ref().map(|_| known.told.clone()),
            ejected_until: known.ejected_until.filter(|until| now_ns < *until),
            breaker: BreakerStanding {
                word: seen,
                mode: Mode::of(order.mode),
                open_until: seen.open_until(policy),
                probes,
                window: known.window.sum(),
                opens: known.opens,
                events: known.events.clone(),
            },
            connections: (breaker.opened, breaker.closed),
            tally: known.tally,
            flaps: (known.flaps.penalty(), known.flaps.is_suppressed()),
            drain: thread.draining.standing(number, &name),
        };
        backends.insert(backend.clone(), standing);
    }
    backends
}

/// Tokens that are out, and that are spent.
fn tokens(tokens: &[u64], word: Word) -> (u8, u8) {
    let own: Vec<Token> =
        tokens.iter().map(|token| Token(*token)).filter(|token| token.is_of(word.stamp())).collect();
    let spent = own.iter().filter(|token| token.is_spent()).count();
    ((own.len() - spent) as u8, spent as u8)
}
