//! The choice of a backend.
//!
//! A service has a table of [`SLOTS`] backend numbers, in which weights are shares, and a list of its members by tier. A
//! slot is drawn; a backend whose breaker refuses is drawn past a few times, so the others keep their shares; after that
//! the members are asked one by one, best tier first, beginning at a random one of each tier. The backend that failed
//! this client just now is left for the very end. So the loss of backends and of tiers is answered without the agent.

#![expect(clippy::inline_always, reason = "kernel programs are made of it: a call is not free there")]

use super::{
    abi::{LEAST_CONNECTIONS, MEMBERS, PANIC, ROUND_ROBIN, SLOTS, SPREAD, STICKY, Service},
    breaker::{Entry, Policy, Token},
};

/// How often a slot is drawn before members are asked one by one.
pub const DRAWS: u32 = 4;

/// What a choice needs to know.
pub trait World {
    /// A service's slot, by an index below [`SLOTS`].
    fn slot(&self, index: u32) -> u16;
    /// Connections of a backend now.
    fn connections(&self, backend: u16) -> u64;
    /// Asks a backend's breaker; see [`pack`].
    fn enter(&self, backend: u16) -> u64;
    /// Asks all members; see [`ask_members`].
    fn enter_any(&self, service: &Service, failed: u16, random: u32) -> u64;
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
    /// The backend of this service that it had, while that holds; 0 = none.
    pub pinned: u16,
    /// The backend of this service that failed it just now; 0 = none.
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

/// Code of [`Nobody::Empty`].
const EMPTY: u64 = 0;
/// Code of [`Nobody::Refused`].
const REFUSED: u64 = 1;
/// Code of a backend that is not probed.
const PASS: u64 = 2;
/// Code of one that was taken in panic.
const PANICKED: u64 = 3;
/// Code of the first probe.
const PROBE: u64 = 4;

/// A choice as a number, in which functions of the kernel programs give it.
#[inline(always)]
pub const fn pack(choice: &Result<Chosen, Nobody>) -> u64 {
    match choice {
        Err(Nobody::Empty) => EMPTY,
        Err(Nobody::Refused) => REFUSED,
        Ok(chosen) => {
            let (epoch, code) = match chosen.entry {
                Entry::Pass(epoch) if chosen.is_panic => (epoch, PANICKED),
                Entry::Pass(epoch) => (epoch, PASS),
                Entry::Probe(epoch, index, _) => (epoch, PROBE + index as u64),
                Entry::Refused => return REFUSED,
            };
            epoch << 24 | (chosen.backend as u64) << 8 | code
        }
    }
}

/// The choice of a number, given the time at which it was made.
#[inline(always)]
pub const fn unpack(number: u64, now: u64, policy: &Policy) -> Result<Chosen, Nobody> {
    let (epoch, backend, code) = (number >> 24, (number >> 8) as u16, number & 0xff);
    let entry = match code {
        EMPTY => return Err(Nobody::Empty),
        REFUSED => return Err(Nobody::Refused),
        PASS | PANICKED => Entry::Pass(epoch),
        _ => Entry::Probe(epoch, (code - PROBE) as u8, Token::leased(epoch, now, policy).0),
    };
    Ok(Chosen { backend, entry, is_panic: code == PANICKED })
}

/// The backend of a choice.
#[inline(always)]
pub const fn backend_of(choice: u64) -> u32 {
    (choice >> 8) as u32 & 0xffff
}

/// Whether a choice is one that a breaker let through.
#[inline(always)]
pub const fn is_of_breaker(choice: u64) -> bool {
    is_through(choice) && !is_panic(choice)
}

/// Whether a choice was made although no breaker let anybody through.
#[inline(always)]
pub const fn is_panic(choice: u64) -> bool {
    choice & 0xff == PANICKED
}

/// Whether a choice is a probe.
#[inline(always)]
pub const fn is_probe(choice: u64) -> bool {
    choice & 0xff >= PROBE
}

/// Whether the answer of a breaker lets somebody through.
#[inline(always)]
const fn is_through(answer: u64) -> bool {
    answer & 0xff >= PASS
}

/// Chooses; gives the choice as [`pack`] does. The answers are numbers all the way: what the verifier follows holds
/// nothing that is set on some ways only.
#[inline(always)]
pub fn choose<W: World>(world: &W, service: &Service, asker: &Asker) -> u64 {
    if service.count == 0 {
        return EMPTY;
    }
    let random = world.random();
    let first = first_slot(world, service, asker, random);
    if service.flags & PANIC != 0 {
        return anybody(world, first);
    }
    if asker.pinned != 0 && asker.pinned != asker.failed {
        let answer = world.enter(asker.pinned);
        if is_through(answer) {
            return answer;
        }
    }
    let mut slot = first;
    for draw in 0..DRAWS {
        let backend = world.slot(slot % SLOTS as u32);
        if backend != 0 && backend != asker.failed {
            let answer = world.enter(backend);
            if is_through(answer) {
                return answer;
            }
        }
        // The next slot is another backend's mostly, and for one client always the same.
        slot = if service.algorithm == STICKY { slot + 1 } else { slot + 1 + (random >> (8 * draw) & 0x7f) };
    }
    let answer = world.enter_any(service, asker.failed, random);
    if is_through(answer) {
        return answer;
    }
    if asker.failed != 0 {
        let answer = world.enter(asker.failed);
        if is_through(answer) {
            return answer;
        }
    }
    if service.flags & SPREAD != 0 {
        return anybody(world, first);
    }
    REFUSED
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

/// Asks all members but the one that failed, best tier first, beginning at a random one of each tier.
#[inline(always)]
pub fn ask_members<W: World>(world: &W, service: &Service, failed: u16, random: u32) -> u64 {
    for place in 0..MEMBERS {
        if place >= usize::from(service.count) {
            break;
        }
        let backend = turned(service, place, random);
        if backend != 0 && backend != failed {
            let answer = world.enter(backend);
            if is_through(answer) {
                return answer;
            }
        }
    }
    REFUSED
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

/// Any backend that has slots, whatever its breaker says.
#[inline(always)]
fn anybody<W: World>(world: &W, first: u32) -> u64 {
    match world.slot(first % SLOTS as u32) {
        0 => EMPTY,
        backend => u64::from(backend) << 8 | PANICKED,
    }
}

#[cfg(test)]
mod tests;
