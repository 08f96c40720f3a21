//! The choice of a backend, with the maps as its world.

use aya_ebpf::helpers::generated::bpf_get_prandom_u32;
use rampart_common::service::{
    abi::{BACKENDS, ClientKey, SERVICES, SLOTS, STICKY, Service, Sticky},
    select::{
        Asker, Chosen, Nobody, World, ask_members, backend_of, choose, is_of_breaker, is_panic, is_probe,
        pack, unpack,
    },
};

use crate::{
    breaker::{Cellar, ask, backend, service},
    maps::{S_COUNTS, S_CURSORS, S_FAILED, S_FAILED_UNTIL, S_SLOTS, S_STICKY},
};

struct Maps {
    slot: u32,
    service: u32,
    now: u64,
}

impl World for Maps {
    #[inline(always)]
    fn slot(&self, index: u32) -> u16 {
        let Some(table) = S_SLOTS.get(self.slot * SERVICES + self.service) else { return 0 };
        let first = table.as_ptr();
        // SAFETY: the index is below the table's length.
        unsafe { first.wrapping_add(index as usize & (SLOTS - 1)).read_volatile() }
    }

    #[inline(always)]
    fn connections(&self, backend: u16) -> u64 {
        Cellar::of(u32::from(backend)).map_or(0, Cellar::connections)
    }

    #[inline(always)]
    fn enter(&self, backend: u16) -> u64 {
        ask(self.slot, u32::from(backend), self.now)
    }

    #[inline(always)]
    fn enter_any(&self, _service: &Service, failed: u16, random: u32) -> u64 {
        service_members(self.service | self.slot << 16, u32::from(failed), random, self.now)
    }

    #[inline(always)]
    fn next_slot(&self) -> u32 {
        let Some(cursor) = S_CURSORS.get_ptr_mut(self.service) else { return 0 };
        // SAFETY: this CPU's map value; whoever interrupts costs a turn.
        let cursor = unsafe { &mut *cursor };
        *cursor = cursor.wrapping_add(1);
        *cursor
    }

    #[inline(always)]
    fn random(&self) -> u32 {
        // SAFETY: the helper has no conditions.
        unsafe { bpf_get_prandom_u32() }
    }
}

/// Chooses a backend of a service for a client; `place` is the service and, above 16 bits, the slot.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn service_choose(place: u32, client: u64, hash: u32, now: u64) -> u64 {
    let (number, slot) = (place & 0xffff, place >> 16 & 1);
    let empty = pack(&Err(Nobody::Empty));
    if number >= SERVICES {
        return empty;
    }
    let Some(of) = service(slot, number) else { return empty };
    let key = ClientKey { client, service: number, pad: 0 };
    let asker = Asker {
        hash,
        pinned: if of.algorithm == STICKY { remembered(&S_STICKY, &key, slot, now) } else { 0 },
        failed: if of.exclude_ns != 0 && now < failed_until(number) {
            remembered(&S_FAILED, &key, slot, now)
        } else {
            0
        },
    };
    let world = Maps { slot, service: number, now };
    let choice = choose(&world, of, &asker);
    if of.algorithm == STICKY && is_of_breaker(choice) {
        let pin = Sticky { until_ns: now + of.sticky_ns, backend: backend_of(choice), pad: 0 };
        // A client that cannot be remembered is sent by its hash, which is the same place mostly.
        let _ = S_STICKY.insert(key, pin, 0);
    }
    count(number, choice);
    choice
}

/// Asks all members of a service but one; `place` as for [`service_choose`].
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn service_members(place: u32, failed: u32, random: u32, now: u64) -> u64 {
    let (number, slot) = (place & 0xffff, place >> 16 & 1);
    let Some(of) = service(slot, number) else { return pack(&Err(Nobody::Refused)) };
    ask_members(&Maps { slot, service: number, now }, of, failed as u16, random)
}

/// Chooses; see [`service_choose`].
#[inline(always)]
pub(crate) fn backend_for(
    slot: u32,
    number: u32,
    of: &Service,
    client: u64,
    hash: u32,
    now: u64,
) -> Result<Chosen, Nobody> {
    unpack(service_choose(number | slot << 16, client, hash, now), now, &of.policy)
}

/// Until when a client of a service may be remembered.
#[inline(always)]
fn failed_until(number: u32) -> u64 {
    // SAFETY: a value of the map, read whole.
    S_FAILED_UNTIL.get(number).map_or(0, |until| unsafe { core::ptr::from_ref(until).read_volatile() })
}

/// The backend of a client in one of the memories, if it holds and is still the service's.
#[inline(always)]
fn remembered(
    memory: &aya_ebpf::maps::LruHashMap<ClientKey, Sticky>,
    key: &ClientKey,
    slot: u32,
    now: u64,
) -> u16 {
    // SAFETY: a map value; both members were true of the client at some time.
    let Some(pin) = (unsafe { memory.get(key) }) else { return 0 };
    if now >= pin.until_ns || pin.backend >= BACKENDS {
        return 0;
    }
    match backend(slot, pin.backend) {
        Some(of) if u32::from(of.service) == key.service => pin.backend as u16,
        _ => 0,
    }
}

#[inline(always)]
fn count(number: u32, choice: u64) {
    let Some(counts) = S_COUNTS.get_ptr_mut(number) else { return };
    // SAFETY: this CPU's map value.
    let counts = unsafe { &mut *counts };
    if choice == pack(&Err(Nobody::Empty)) {
        counts.empty += 1;
    } else if choice == pack(&Err(Nobody::Refused)) {
        counts.refused += 1;
    } else {
        counts.chosen += 1;
        counts.panics += u64::from(is_panic(choice));
        counts.probes += u64::from(is_probe(choice));
    }
}

/// Counts a socket that is left alone.
#[inline(always)]
pub(crate) fn count_passed(number: u32) {
    if let Some(counts) = S_COUNTS.get_ptr_mut(number) {
        // SAFETY: this CPU's map value.
        unsafe { (*counts).passed += 1 };
    }
}

/// Remembers which backend failed a client, so that its next try goes elsewhere.
#[inline(always)]
pub(crate) fn remember_failed(of: &Service, number: u16, client: u64, backend: u16, now: u64) {
    if of.exclude_ns == 0 || client == 0 {
        return;
    }
    let key = ClientKey { client, service: u32::from(number), pad: 0 };
    let pin = Sticky { until_ns: now + of.exclude_ns, backend: u32::from(backend), pad: 0 };
    // A client that cannot be remembered may meet the same backend again.
    let _ = S_FAILED.insert(key, pin, 0);
    if let Some(until) = S_FAILED_UNTIL.get_ptr_mut(u32::from(number)) {
        // SAFETY: a value of an array map, written whole. Of two at once the later clock may lose, by a moment.
        unsafe { until.write_volatile(pin.until_ns) };
    }
}
