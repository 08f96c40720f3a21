//! What a socket carries along, and what becomes of its connection.

use aya_ebpf::{
    bindings::BPF_SK_STORAGE_GET_F_CREATE, btf_maps::SkStorage, helpers::generated::bpf_sk_storage_get,
};
use rampart_common::service::{
    abi::{Datagrams, Fact, NO_PROBE, Socket, latency_step},
    signal::{COUNTED, Meaning, Outcome},
};

use crate::{
    breaker::{Account, Cellar, Terms, service, tell_end},
    choice::remember_failed,
    fact::read,
    maps::{S_DATAGRAMS, S_SOCKETS, S_TALLIES},
};

/// State of a TCP socket.
#[derive(Clone, Copy)]
pub(crate) struct Stream(*mut Socket);

#[inline(always)]
fn storage<T>(map: *const SkStorage<T>, sk: *mut core::ffi::c_void, flags: u64) -> Option<*mut T> {
    // SAFETY: the socket is one that the verifier knows; the map outlives the program.
    let value = unsafe { bpf_sk_storage_get(map.cast_mut().cast(), sk.cast(), core::ptr::null_mut(), flags) };
    let value = value.cast::<T>();
    if value.is_null() { None } else { Some(value) }
}

/// State of a UDP socket, if it has any.
#[inline(always)]
pub(crate) fn datagrams(sk: *mut core::ffi::c_void) -> Option<*mut Datagrams> {
    storage(&raw const S_DATAGRAMS, sk, 0)
}

/// State of a UDP socket, made if need be.
#[inline(always)]
pub(crate) fn datagrams_or_new(sk: *mut core::ffi::c_void) -> Option<*mut Datagrams> {
    storage(&raw const S_DATAGRAMS, sk, u64::from(BPF_SK_STORAGE_GET_F_CREATE))
}

impl Stream {
    /// State of a TCP socket, if its connection was given a backend.
    #[inline(always)]
    pub(crate) fn of(sk: *mut core::ffi::c_void) -> Option<Self> {
        storage(&raw const S_SOCKETS, sk, 0).map(Self)
    }

    /// The same, made if need be.
    #[inline(always)]
    pub(crate) fn new(sk: *mut core::ffi::c_void) -> Option<Self> {
        storage(&raw const S_SOCKETS, sk, u64::from(BPF_SK_STORAGE_GET_F_CREATE)).map(Self)
    }

    /// The state. One CPU at a time works on a connecting or closing socket: the kernel holds its lock.
    #[inline(always)]
    pub(crate) fn state(&self) -> &'static mut Socket {
        // SAFETY: a map value that lives as long as the socket, which the program's context holds.
        unsafe { &mut *self.0 }
    }

    #[inline(always)]
    pub(crate) fn terms(self, slot: u32) -> Terms {
        let state = self.state();
        Terms { slot, backend: state.backend, epoch: state.epoch, probe: state.probe, token: state.token }
    }

    /// What became of the connection, said once.
    #[inline(always)]
    pub(crate) fn count(self, slot: u32, outcome: Outcome, error: u32, retransmits: u32, now: u64) {
        let state = self.state();
        if state.seen & COUNTED != 0 {
            return;
        }
        state.seen |= COUNTED;
        let terms = self.terms(slot);
        terms.end(outcome, now);
        if let Some(tally) = S_TALLIES.get_ptr_mut(u32::from(state.backend)) {
            // SAFETY: a member of this CPU's map value.
            let first = unsafe { &raw mut (*tally).outcomes }.cast::<u64>();
            let place = first.wrapping_add(outcome as usize & 7);
            // SAFETY: one of the eight outcomes.
            unsafe { *place += 1 };
        }
        if matches!(outcome.meaning(), Meaning::Failure)
            && let Some(of) = service(slot, u32::from(state.service))
        {
            remember_failed(of, state.service, state.client, state.backend, now);
        }
        let age_ns = now.wrapping_sub(state.begun_ns);
        let account = Account { service: state.service, client: state.client, age_ns, error, retransmits };
        tell_end(&terms, &account, outcome, now);
    }

    /// The connection stands.
    #[inline(always)]
    pub(crate) fn stands(self, slot: u32, slow_ns: u64, now: u64) {
        let state = self.state();
        state.token = self.terms(slot).stands();
        let latency_ns = now.wrapping_sub(state.begun_ns);
        let Some(tally) = S_TALLIES.get_ptr_mut(u32::from(state.backend)) else { return };
        // SAFETY: a member of this CPU's map value.
        let first = unsafe { &raw mut (*tally).latencies }.cast::<u64>();
        let place = first.wrapping_add(latency_step(latency_ns) as usize & 15);
        // SAFETY: one of the sixteen steps.
        unsafe { *place += 1 };
        // SAFETY: this CPU's map value.
        unsafe { (*tally).latency_ns += latency_ns };
        if slow_ns != 0 && latency_ns > slow_ns {
            // SAFETY: as above.
            unsafe { (*tally).slow += 1 };
        }
    }

    /// The connection is over; said once.
    #[inline(always)]
    pub(crate) fn close(self) {
        let state = self.state();
        if state.is_open == 0 {
            return;
        }
        state.is_open = 0;
        if let Some(cells) = Cellar::of(u32::from(state.backend)) {
            cells.count_closed();
        }
    }

    /// Gives the socket to another connection; what became of the one before is not known.
    #[inline(always)]
    pub(crate) fn begin(self, slot: u32, state: Socket, now: u64) {
        self.forget(slot, now);
        *self.state() = state;
        if let Some(cells) = Cellar::of(u32::from(state.backend)) {
            cells.count_opened();
        }
    }

    /// The connection did not come about, by no fault of the backend.
    #[inline(always)]
    pub(crate) fn forget(self, slot: u32, now: u64) {
        if self.state().is_open != 0 {
            self.count(slot, Outcome::Neutral, 0, 0, now);
            self.close();
        }
    }
}

/// `sk_err`, as told by the kernel.
#[inline(always)]
pub(crate) fn error(sk: u64) -> u32 {
    read::<u32>(sk, Fact::Error)
}

/// What a state has without a probe.
pub(crate) const UNPROBED: u8 = NO_PROBE;
