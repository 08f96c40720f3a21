//! What is known of backends, and what follows for the plan, the checks and the ejections.

use std::{
    collections::{BTreeMap, VecDeque},
    net::SocketAddr,
    time::Duration,
};

use rampart_common::service::{
    abi::{Backend, Breaker, Event, Service, Tally},
    breaker::{Mode, Order, State, Word},
    wire,
};

use super::{admin, draining::LeftOut};
use crate::{
    config::{AdminState, Drain, DrainCause, ServiceSettings, Services as Settings},
    services::{
        check::{Ask, Target, Told},
        flap::Damping,
        health::Standing,
        outlier::{self, Host},
        plan::{Condition, Name, Plan, service_hash},
        rates::{self, Calls, Window},
    },
};

/// What is known of a backend.
#[derive(Debug, Default)]
pub(super) struct Known {
    pub(super) health: Standing,
    pub(super) window: Window,
    pub(super) breaker: Breaker,
    pub(super) order: Order,
    pub(super) tally: Tally,
    pub(super) events: VecDeque<Event>,
    pub(super) opens: u64,
    /// What it says of itself.
    pub(super) told: Told,
    /// What somebody wants of it while the agent runs.
    pub(super) ordered_admin: Option<AdminState>,
    /// Until when it is ejected, and how often it was.
    pub(super) ejected_until: Option<u64>,
    pub(super) ejections: u32,
    /// How often it came and went lately.
    pub(super) flaps: Damping,
    /// Its connections at the last sweep.
    swept: Option<Calls>,
}

impl Known {
    /// The breaker's word as orders make it.
    pub(super) fn word(&self) -> Word {
        Word(self.breaker.word).under(&self.order)
    }

    /// What is wanted of it: what somebody ordered, what it says itself, or what is written.
    pub(super) fn admin(&self, own: &ServiceSettings, written: AdminState) -> AdminState {
        let told = own.agent.as_ref().and(self.told.admin);
        let nothing = own.agent.is_some() && self.told.percent == Some(0);
        let told = told.or(nothing.then_some(AdminState::Drain));
        admin(self.ordered_admin.or(told), written)
    }

    /// Whether it is up, as far as checks and its own words say.
    pub(super) fn is_up(&self, own: &ServiceSettings) -> bool {
        let says_so = own.agent.is_none() || !matches!(self.told.is_up, Some(Err(_)));
        says_so && (own.health.is_none() || self.health.is_up)
    }

    /// Whether it is left out for what it did.
    fn is_ejected(&self, now_ns: u64) -> bool {
        self.flaps.is_suppressed() || self.ejected_until.is_some_and(|until| now_ns < until)
    }

    /// The state that connections meet.
    fn state(&self) -> State {
        match Mode::of(self.order.mode) {
            Mode::ForcedOpen => State::Open,
            Mode::ForcedClosed | Mode::MetricsOnly => State::Closed,
            Mode::Auto => self.word().state(),
        }
    }
}

/// The backends' conditions for the plan.
pub(super) fn conditions(
    settings: &Settings,
    known: &BTreeMap<Name, Known>,
    now_ns: u64,
) -> BTreeMap<Name, Condition> {
    let mut conditions = BTreeMap::new();
    for (service, own) in &settings.list {
        for (backend, written) in &own.backends {
            let name = (service.clone(), backend.clone());
            let Some(known) = known.get(&name) else { continue };
            let condition = Condition {
                admin: known.admin(own, written.admin),
                is_up: known.is_up(own),
                percent: own.agent.as_ref().and(known.told.percent).unwrap_or(100),
                is_ejected: known.is_ejected(now_ns),
                state: known.state(),
                word: known.word(),
            };
            conditions.insert(name, condition);
        }
    }
    conditions
}

/// The backends to check, each with the interval that holds now.
pub(super) fn targets(settings: &Settings, known: &BTreeMap<Name, Known>) -> Vec<Target> {
    let mut targets = Vec::new();
    for (service, own) in &settings.list {
        for (backend, written) in &own.backends {
            let name = (service.clone(), backend.clone());
            let known = known.get(&name);
            let ordered = admin(known.and_then(|known| known.ordered_admin), written.admin);
            if let Some(agent) = own.agent.clone().filter(|_| ordered != AdminState::Maintenance) {
                targets.push(Target { name: name.clone(), address: written.address, ask: Ask::Agent(agent) });
            }
            let wanted = known.map_or(ordered, |known| known.admin(own, written.admin));
            let Some(mut health) = own.health.clone().filter(|_| wanted != AdminState::Maintenance) else {
                continue;
            };
            if let Some(known) = known {
                // Checks say one thing, connections another; the first that fails is enough.
                let works = known.state() == State::Closed && known.word().failures() == 0;
                let disagrees = known.health.is_up != works;
                health.interval = known.health.interval(&health, disagrees);
            }
            targets.push(Target { name, address: written.address, ask: Ask::Health(health) });
        }
    }
    targets
}

/// What becomes of the connections of each backend of a plan, should it be left out.
pub(super) fn drains(settings: &Settings, plan: &Plan) -> BTreeMap<u32, (Name, Drain)> {
    let of = |name: &Name| Some(settings.list.get(&name.0)?.drain);
    plan.backends.iter().filter_map(|(number, name)| Some((*number, (name.clone(), of(name)?)))).collect()
}

/// Backends that were in force and are not in the plan, of services that are there still. Of their names the kernel knows
/// nothing; their addresses stand for them.
pub(super) fn removed(
    settings: &Settings,
    plan: &Plan,
    services: &[(u32, Service)],
    backends: &[(u32, Backend)],
) -> BTreeMap<u32, (Name, Drain)> {
    let stays = |number: u32, before: &Backend| {
        plan.tables.backends.iter().any(|(own, now)| *own == number && now.name_hash == before.name_hash)
    };
    let service_of = |backend: &Backend| {
        let (_, service) = services.iter().find(|(number, _)| *number == u32::from(backend.service))?;
        settings.list.iter().find(|(name, _)| service_hash(name) == service.name_low)
    };
    let mut removed = BTreeMap::new();
    for (number, backend) in backends {
        if stays(*number, backend) {
            continue;
        }
        if let Some((service, own)) =
            service_of(backend).filter(|(_, own)| own.drain.is_for(DrainCause::Removed))
        {
            let address = SocketAddr::new(wire::address_of(backend.address), u16::from_be(backend.port));
            removed.insert(*number, ((service.clone(), address.to_string()), own.drain));
        }
    }
    removed
}

/// Backends that are left out, with the reason. While a service is in panic, what is guessed of its backends counts for
/// nothing.
pub(super) fn left_out(settings: &Settings, plan: &Plan, conditions: &BTreeMap<Name, Condition>) -> LeftOut {
    let mut left_out = LeftOut::new();
    for (number, (name, drain)) in drains(settings, plan) {
        let Some(condition) = conditions.get(&name) else { continue };
        let guessed = [
            (!condition.is_up, DrainCause::Down),
            (condition.state != State::Closed, DrainCause::Open),
            (condition.is_ejected, DrainCause::Ejected),
        ];
        let guessed = if plan.panics.contains(&name.0) { &[][..] } else { &guessed };
        let ordered = (condition.admin != AdminState::Ready, DrainCause::Admin);
        let causes = std::iter::once(&ordered).chain(guessed);
        let cause =
            causes.filter(|(holds, cause)| *holds && drain.is_for(*cause)).map(|(_, cause)| *cause).next();
        if let Some(cause) = cause {
            left_out.insert(number, (name, cause, drain));
        }
    }
    left_out
}

/// Looks who comes and goes too often, while there is somebody else. Gives those of which that changed.
pub(super) fn damp(
    service: &str,
    settings: &ServiceSettings,
    known: &mut BTreeMap<Name, Known>,
    now_ns: u64,
) -> Vec<Name> {
    let bears = |known: &BTreeMap<Name, Known>, name: &Name, written: AdminState| {
        known.get(name).is_none_or(|own| {
            admin(own.ordered_admin, written) == AdminState::Ready
                && (settings.health.is_none() || own.health.is_up)
                && own.state() == State::Closed
                && !own.is_ejected(now_ns)
        })
    };
    let names: Vec<(Name, AdminState)> = settings
        .backends
        .iter()
        .map(|(backend, written)| ((service.to_owned(), backend.clone()), written.admin))
        .collect();
    let mut changed = Vec::new();
    for (name, _) in &names {
        let others = names.iter().filter(|(other, _)| other != name);
        let may = settings.is_damped && others.clone().any(|(other, written)| bears(known, other, *written));
        if known.get_mut(name).is_some_and(|own| own.flaps.look(may, now_ns)) {
            changed.push(name.clone());
        }
    }
    changed
}

/// Ejects outliers of each tier of a service, and takes back those whose time is over. Gives those that were ejected,
/// with the time until which they are.
pub(super) fn sweep(
    service: &str,
    settings: &ServiceSettings,
    known: &mut BTreeMap<Name, Known>,
    now_ns: u64,
) -> Vec<(Name, u64)> {
    let mut tiers: BTreeMap<u8, Vec<Name>> = BTreeMap::new();
    for (backend, written) in &settings.backends {
        tiers.entry(written.tier).or_default().push((service.to_owned(), backend.clone()));
    }
    let mut ejected = Vec::new();
    for names in tiers.values() {
        let mut hosts = Vec::new();
        for name in names {
            let own = known.entry(name.clone()).or_default();
            if own.ejected_until.is_some_and(|until| until <= now_ns) {
                own.ejected_until = None;
            }
            let total = rates::calls(&own.tally);
            let before = own.swept.replace(total).unwrap_or(total);
            let calls = total.calls.saturating_sub(before.calls);
            if calls > 0 && own.ejected_until.is_none() && total.failures == before.failures {
                // A sweep in health makes the next ejection shorter.
                own.ejections = own.ejections.saturating_sub(1);
            }
            hosts.push(Host {
                calls,
                failures: total.failures.saturating_sub(before.failures),
                is_ejected: own.ejected_until.is_some(),
                is_available: own.state() == State::Closed && own.health.is_up,
            });
        }
        for place in outlier::sweep(&hosts, settings.breaker.max_ejection_percent) {
            let Some(name) = names.get(place) else { continue };
            let own = known.entry(name.clone()).or_default();
            own.ejections += 1;
            let until = now_ns + nanos(outlier::span(own.ejections));
            own.ejected_until = Some(until);
            ejected.push((name.clone(), until));
        }
    }
    ejected
}

fn nanos(span: Duration) -> u64 {
    span.as_nanos() as u64
}
