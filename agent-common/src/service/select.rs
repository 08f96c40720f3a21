//! The choice of a backend.
//!
//! A service has a table of [`SLOTS`] backend numbers, in which weights are shares, and a list of its members by tier. A
//! slot is drawn; a backend whose breaker refuses is drawn past a few times, so the others keep their shares; after that
//! the members are asked one by one, best tier first, beginning at a random one of each tier. The backend that failed
//! this client just now is left for the very end. So the loss of backends and of tiers is answered without the agent.

#![expect(clippy::inline_always, reason = "kernel programs are made of it: a call is not free there")]

use super::{
    abi::{LEAST_CONNECTIONS, MEMBERS, PANIC, ROUND_ROBIN, SLOTS, SPREAD, STICKY, Service},
    breaker::Entry,
};

/// How often a slot is drawn before members are asked one by one.
pub const DRAWS: u32 = 4;

/// What a choice needs to know.
pub trait World {
    /// A service's slot, by an index below [`SLOTS`].
    fn slot(&self, index: u32) -> u16;
    /// Connections of a backend now.
    fn connections(&self, backend: u16) -> u64;
    /// Asks a backend's breaker.
    fn enter(&self, backend: u16) -> Entry;
    /// Counts the slots of this service on.
    fn next_slot(&self) -> u32;
    /// Any number.
    fn random(&self) -> u32;
}

/// What is known of who asks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Asker {
    /// A number that is always the same for it.
    pub hash: u32,
    /// The backend that it had, while that holds; 0 = none.
    pub pinned: u16,
    /// The backend that failed it just now; 0 = none.
    pub failed: u16,
}

/// A backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chosen {
    /// Its number.
    pub backend: u16,
    /// On which terms.
    pub entry: Entry,
    /// Whether it was taken although no breaker let anybody through.
    pub is_panic: bool,
}

/// Why there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nobody {
    /// There is no backend.
    Empty,
    /// No breaker lets anybody through.
    Refused,
}

/// Chooses.
#[inline(always)]
pub fn choose<W: World>(world: &W, service: &Service, asker: &Asker) -> Result<Chosen, Nobody> {
    if service.count == 0 {
        return Err(Nobody::Empty);
    }
    let random = world.random();
    let first = first_slot(world, service, asker, random);
    if service.flags & PANIC != 0 {
        return anybody(world, first);
    }
    if asker.pinned != 0
        && asker.pinned != asker.failed
        && let Some(chosen) = ask(world, asker.pinned)
    {
        return Ok(chosen);
    }
    let mut slot = first;
    for draw in 0..DRAWS {
        let backend = world.slot(slot % SLOTS as u32);
        if backend != 0
            && backend != asker.failed
            && let Some(chosen) = ask(world, backend)
        {
            return Ok(chosen);
        }
        // The next slot is another backend's mostly, and for one client always the same.
        slot = if service.algorithm == STICKY { slot + 1 } else { slot + 1 + (random >> (8 * draw) & 0x7f) };
    }
    if let Some(chosen) = ask_members(world, service, asker, random) {
        return Ok(chosen);
    }
    if asker.failed != 0
        && is_member(service, asker.failed)
        && let Some(chosen) = ask(world, asker.failed)
    {
        return Ok(chosen);
    }
    if service.flags & SPREAD != 0 {
        return anybody(world, first);
    }
    Err(Nobody::Refused)
}

#[inline(always)]
fn first_slot<W: World>(world: &W, service: &Service, asker: &Asker, random: u32) -> u32 {
    match service.algorithm {
        ROUND_ROBIN => world.next_slot(),
        STICKY => asker.hash,
        LEAST_CONNECTIONS => {
            let (one, other) = (random % SLOTS as u32, (random >> 16) % SLOTS as u32);
            let (a, b) = (world.slot(one), world.slot(other));
            if world.connections(b) < world.connections(a) { other } else { one }
        }
        _ => random,
    }
}

#[inline(always)]
fn ask<W: World>(world: &W, backend: u16) -> Option<Chosen> {
    match world.enter(backend) {
        Entry::Refused => None,
        entry => Some(Chosen { backend, entry, is_panic: false }),
    }
}

#[inline(always)]
fn ask_members<W: World>(world: &W, service: &Service, asker: &Asker, random: u32) -> Option<Chosen> {
    for place in 0..MEMBERS {
        if place >= usize::from(service.count) {
            return None;
        }
        let backend = turned(service, place, random);
        if backend != 0
            && backend != asker.failed
            && let Some(chosen) = ask(world, backend)
        {
            return Some(chosen);
        }
    }
    None
}

/// The member of a place when each tier begins at a random one.
#[inline(always)]
#[expect(clippy::indexing_slicing, reason = "indices are masked to the arrays' length")]
fn turned(service: &Service, place: usize, random: u32) -> u16 {
    let (start, size) = (service.tier_start[place & (MEMBERS - 1)], service.tier_size[place & (MEMBERS - 1)]);
    if size == 0 {
        return 0;
    }
    let within =
        (place as u32).wrapping_sub(u32::from(start)).wrapping_add(random & 0xffff) % u32::from(size);
    service.members[(u32::from(start) + within) as usize & (MEMBERS - 1)]
}

#[inline(always)]
#[expect(clippy::indexing_slicing, reason = "indices are below the array's length")]
fn is_member(service: &Service, backend: u16) -> bool {
    let mut found = false;
    for place in 0..MEMBERS {
        found |= service.members[place] == backend && place < usize::from(service.count);
    }
    found
}

/// Any backend that has slots, whatever its breaker says.
#[inline(always)]
fn anybody<W: World>(world: &W, first: u32) -> Result<Chosen, Nobody> {
    match world.slot(first % SLOTS as u32) {
        0 => Err(Nobody::Empty),
        backend => Ok(Chosen { backend, entry: Entry::Pass(0), is_panic: true }),
    }
}

#[cfg(test)]
mod tests;
