//! Breakers in their map, and what happens to them told to the agent.

use rampart_common::service::{
    abi::{BACKENDS, Backend, Breaker, EVENT_END, EVENT_STATE, Event, NO_PROBE, SERVICES, Service, TOKENS},
    breaker::{Cells, Change, End, Entry, State, ended, enter, established},
    select::{Chosen, Nobody, pack},
    signal::{Meaning, Outcome},
};

use crate::{
    maps::{S_BACKENDS, S_BREAKERS, S_EVENTS, S_ORDERS, S_SERVICES},
    word::Shared,
};

/// A breaker of the map.
#[derive(Clone, Copy)]
pub(crate) struct Cellar(*mut Breaker);

impl Cellar {
    #[inline(always)]
    pub(crate) fn of(backend: u32) -> Option<Self> {
        S_BREAKERS.get_ptr_mut(backend).map(Self)
    }

    /// Counts a connection that begins.
    #[inline(always)]
    pub(crate) fn count_opened(self) {
        // SAFETY: a member of a map value.
        Shared(unsafe { &raw mut (*self.0).opened }).count();
    }

    /// Counts a connection that is over.
    #[inline(always)]
    pub(crate) fn count_closed(self) {
        // SAFETY: a member of a map value.
        Shared(unsafe { &raw mut (*self.0).closed }).count();
    }

    /// Connections now.
    #[inline(always)]
    pub(crate) fn connections(self) -> u64 {
        // SAFETY: a map value; both numbers only grow, and which is read first makes a difference of a moment.
        let breaker = unsafe { &*self.0 };
        breaker.opened.wrapping_sub(breaker.closed)
    }
}

impl Cells for Cellar {
    type Cell = Shared;

    #[inline(always)]
    fn word(&self) -> Shared {
        // SAFETY: a member of a map value.
        Shared(unsafe { &raw mut (*self.0).word })
    }

    #[inline(always)]
    fn token(&self, index: u8) -> Option<Shared> {
        if usize::from(index) >= TOKENS {
            return None;
        }
        // SAFETY: a member of a map value.
        let first = unsafe { &raw mut (*self.0).tokens }.cast::<u64>();
        Some(Shared(first.wrapping_add(usize::from(index))))
    }
}

/// A backend of a slot.
#[inline(always)]
pub(crate) fn backend(slot: u32, number: u32) -> Option<&'static Backend> {
    if number >= BACKENDS {
        return None;
    }
    S_BACKENDS.get((slot & 1) * BACKENDS + number)
}

/// A service of a slot.
#[inline(always)]
pub(crate) fn service(slot: u32, number: u32) -> Option<&'static Service> {
    if number >= SERVICES {
        return None;
    }
    S_SERVICES.get((slot & 1) * SERVICES + number)
}

/// Asks the breaker of a backend; gives the answer as a choice is packed.
///
/// A function of its own: the verifier sees it once, not once for each time that a breaker is asked.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn service_enter(slot: u32, number: u32, now: u64) -> u64 {
    let refused = pack(&Err(Nobody::Refused));
    let Some(of) = backend(slot, number) else { return refused };
    let Some(service) = service(slot, u32::from(of.service)) else { return refused };
    let Some(cells) = Cellar::of(number) else { return refused };
    let Some(order) = S_ORDERS.get(number) else { return refused };
    let (entry, change) = enter(&cells, order, &service.policy, now);
    if let Some(change) = change {
        tell_change(of.service, number, change, now);
    }
    match entry {
        Entry::Refused => refused,
        entry => pack(&Ok(Chosen { backend: number as u16, entry, is_panic: false })),
    }
}

/// See [`service_enter`].
#[inline(always)]
pub(crate) fn ask(slot: u32, number: u32, now: u64) -> u64 {
    service_enter(slot, number, now)
}

/// Tells a breaker that a connection has an outcome. `what` is the backend, the outcome above 16 bits, the index of the
/// probe's token above 24, and the slot above 32.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn service_end(what: u64, epoch: u64, token: u64, now: u64) -> u32 {
    let (number, slot) = (what as u32 & 0xffff, (what >> 32) as u32);
    let probe = (what >> 24) as u8;
    let Some(outcome) = outcome((what >> 16) as u8) else { return 0 };
    let Some(of) = backend(slot, number) else { return 0 };
    let Some(service) = service(slot, u32::from(of.service)) else { return 0 };
    let Some(cells) = Cellar::of(number) else { return 0 };
    let Some(order) = S_ORDERS.get(number) else { return 0 };
    let probe = (probe != NO_PROBE).then_some((probe, token));
    let end = End { epoch, probe, outcome };
    if let Some(change) = ended(&cells, order, &service.policy, &end, now) {
        tell_change(of.service, number, change, now);
    }
    0
}

#[inline(always)]
fn outcome(number: u8) -> Option<Outcome> {
    Some(match number {
        0 => Outcome::Success,
        1 => Outcome::Refused,
        2 => Outcome::TimedOut,
        3 => Outcome::Unreachable,
        4 => Outcome::Reset,
        5 => Outcome::Empty,
        6 => Outcome::Abandoned,
        7 => Outcome::Neutral,
        _ => return None,
    })
}

/// A connection's terms with a breaker.
#[derive(Clone, Copy)]
pub(crate) struct Terms {
    pub(crate) slot: u32,
    pub(crate) backend: u16,
    pub(crate) epoch: u64,
    pub(crate) probe: u8,
    pub(crate) token: u64,
}

impl Terms {
    /// Tells the breaker what became of the connection.
    #[inline(always)]
    pub(crate) fn end(&self, outcome: Outcome, now: u64) {
        let what = u64::from(self.backend)
            | u64::from(outcome as u8) << 16
            | u64::from(self.probe) << 24
            | u64::from(self.slot) << 32;
        service_end(what, self.epoch, self.token, now);
    }

    /// Tells it that the probe's connection stands; gives the token from now on.
    #[inline(always)]
    pub(crate) fn stands(&self) -> u64 {
        match Cellar::of(u32::from(self.backend)) {
            Some(cells) if self.probe != NO_PROBE => established(&cells, self.probe, self.token),
            _ => self.token,
        }
    }
}

/// How a connection ended, for the agent.
#[derive(Clone, Copy)]
pub(crate) struct Account {
    pub(crate) service: u16,
    pub(crate) client: u64,
    pub(crate) age_ns: u64,
    pub(crate) error: u32,
    pub(crate) retransmits: u32,
}

/// Tells the agent how a connection ended that was no success. A full ring costs the event only.
#[inline(always)]
pub(crate) fn tell_end(terms: &Terms, account: &Account, outcome: Outcome, now: u64) {
    if !matches!(outcome.meaning(), Meaning::Failure) {
        return;
    }
    let word = Cellar::of(u32::from(terms.backend)).map_or(0, |cells| {
        use rampart_common::limit::gcra::Cell as _;
        cells.word().load()
    });
    let event = Event {
        time_ns: now,
        word,
        epoch: terms.epoch,
        client: account.client,
        age_ns: account.age_ns,
        service: account.service,
        backend: terms.backend,
        error: account.error as u16,
        retransmits: account.retransmits as u16,
        kind: EVENT_END,
        outcome: outcome as u8,
        from: 0,
        to: 0,
        pad: 0,
    };
    send(event);
}

#[inline(always)]
fn tell_change(service: u16, backend: u32, change: Change, now: u64) {
    let event = Event {
        time_ns: now,
        word: change.now.0,
        epoch: change.now.stamp(),
        client: 0,
        age_ns: 0,
        service,
        backend: backend as u16,
        error: 0,
        retransmits: 0,
        kind: EVENT_STATE,
        outcome: 0,
        from: number(change.from),
        to: number(change.now.state()),
        pad: 0,
    };
    send(event);
}

/// Tells the agent; made in the ring itself, for a copy on the stack would take more than older kernels have.
#[inline(always)]
fn send(event: Event) {
    if let Some(mut entry) = S_EVENTS.reserve::<Event>(0) {
        entry.write(event);
        entry.submit(0);
    }
}

#[inline(always)]
const fn number(state: State) -> u8 {
    state as u8
}
