//! UDP: a socket stays with the backend it has for a virtual address, as long as the backend's breaker lets it.
//!
//! An answer is a success, an ICMP error a failure; a probe without an answer is one that never came back.

use rampart_common::{
    limit::gate::mix,
    service::{
        abi::{Connected, Datagrams, PEERS, Peer},
        breaker::Entry,
        select::{Nobody, unpack},
        signal::Outcome,
    },
};

use aya_ebpf::helpers::generated::bpf_get_socket_cookie;

use super::address::{Answer, Asked, Call, Target};
use crate::{
    breaker::{Terms, ask, backend},
    choice::backend_for,
    fact::{in_charge, now, slot},
    maps::S_CONNECTED,
    socket::{UNPROBED, datagrams, datagrams_or_new},
};

/// A peer of a socket's.
#[inline(always)]
fn at(state: *mut Datagrams, index: usize) -> &'static mut Peer {
    // SAFETY: a map value that lives as long as the socket, which the program's context holds.
    let first = unsafe { &raw mut (*state).peers }.cast::<Peer>();
    // SAFETY: the index is below the number of peers.
    unsafe { &mut *first.wrapping_add(index & (PEERS - 1)) }
}

#[inline(always)]
fn terms(peer: &Peer, slot: u32) -> Terms {
    Terms { slot, backend: peer.backend, epoch: peer.epoch, probe: peer.probe, token: peer.token }
}

/// The backend for a datagram.
#[inline(always)]
pub(super) fn send(call: Call, asked: &Asked) -> Answer {
    let Some(state) = datagrams_or_new(call.socket().cast()) else { return Answer::Nobody };
    // The peer of this address, or else the one that was used longest ago.
    let mut found = PEERS;
    let mut oldest = 0;
    let mut oldest_ns = u64::MAX;
    for index in 0..PEERS {
        let peer = at(state, index);
        let own = Target { address: peer.vip, port: peer.vip_port };
        if peer.backend != 0 && own == asked.target && u32::from(peer.service) == asked.service {
            found = index;
        }
        if peer.used_ns < oldest_ns {
            oldest_ns = peer.used_ns;
            oldest = index;
        }
    }
    if found < PEERS {
        let peer = at(state, found);
        if let Some(to) = still(peer, asked) {
            peer.used_ns = asked.now;
            return Answer::To(to);
        }
        oldest = found;
    }
    let peer = at(state, oldest);
    let_go(peer, asked);
    // SAFETY: the program's own context.
    let cookie = unsafe { bpf_get_socket_cookie(call.context().cast()) };
    let hash = mix(cookie) as u32;
    let chosen = match backend_for(asked.slot, asked.service, asked.of, asked.client, hash, asked.now) {
        Ok(chosen) => chosen,
        Err(Nobody::Refused) => return Answer::Refused,
        Err(Nobody::Empty) => return Answer::Nobody,
    };
    let (epoch, probe, token) = match chosen.entry {
        Entry::Pass(epoch) => (epoch, UNPROBED, 0),
        Entry::Probe(epoch, index, token) => (epoch, index, token),
        Entry::Refused => return Answer::Refused,
    };
    let Some(to) = backend(asked.slot, u32::from(chosen.backend)) else { return Answer::Nobody };
    let to = Target { address: to.address, port: to.port };
    *peer = Peer {
        used_ns: asked.now,
        epoch,
        token,
        vip: asked.target.address,
        address: to.address,
        vip_port: asked.target.port,
        port: to.port,
        service: asked.service as u16,
        backend: chosen.backend,
        probe,
        pad: [0; 7],
    };
    Answer::To(to)
}

/// Where the peer's backend is now, if the socket may stay with it.
#[inline(always)]
fn still(peer: &mut Peer, asked: &Asked) -> Option<Target> {
    let of = backend(asked.slot, u32::from(peer.backend))?;
    let to = Target { address: of.address, port: of.port };
    if u32::from(of.service) != asked.service || (Target { address: peer.address, port: peer.port }) != to {
        return None;
    }
    // A probe that is out lets its own socket go on.
    if peer.probe != UNPROBED {
        return Some(to);
    }
    match unpack(ask(asked.slot, u32::from(peer.backend), asked.now), asked.now, &asked.of.policy).ok()?.entry
    {
        Entry::Pass(epoch) => peer.epoch = epoch,
        Entry::Probe(epoch, index, token) => {
            peer.epoch = epoch;
            peer.probe = index;
            peer.token = token;
        }
        Entry::Refused => return None,
    }
    Some(to)
}

/// What becomes of a probe whose socket talks to somebody else is not known.
#[inline(always)]
fn let_go(peer: &mut Peer, asked: &Asked) {
    if peer.backend != 0 && peer.probe != UNPROBED {
        terms(peer, asked.slot).end(Outcome::Neutral, asked.now);
    }
}

/// A peer that is a backend, by its address.
#[inline(always)]
fn find(state: *mut Datagrams, from: &Target) -> Option<&'static mut Peer> {
    let mut found = PEERS;
    for index in 0..PEERS {
        let peer = at(state, index);
        if peer.backend != 0 && (Target { address: peer.address, port: peer.port }) == *from {
            found = index;
        }
    }
    if found < PEERS { Some(at(state, found)) } else { None }
}

/// The socket stays with a backend, whatever becomes of that: somebody may have to end it.
#[inline(always)]
pub(super) fn connected(call: Call, to: &Target) {
    let Some(state) = datagrams(call.socket().cast()) else { return };
    let Some(peer) = find(state, to) else { return };
    // SAFETY: the program's own context.
    let cookie = unsafe { bpf_get_socket_cookie(call.context().cast()) };
    let connected = Connected { address: to.address, port: to.port, backend: peer.backend, pad: 0 };
    // One that cannot be remembered is not ended.
    let _ = S_CONNECTED.insert(cookie, connected, 0);
}

/// An answer of a backend comes from what was asked.
#[inline(always)]
pub(super) fn receive(call: Call) {
    let Some(state) = datagrams(call.socket().cast()) else { return };
    let Some(peer) = find(state, &call.target()) else { return };
    call.set_target(&Target { address: peer.vip, port: peer.vip_port });
    if in_charge().is_some()
        && let Some(slot) = slot()
    {
        terms(peer, slot).end(Outcome::Success, now());
        peer.probe = UNPROBED;
    }
}

/// Shows what was asked for as the peer.
#[inline(always)]
pub(super) fn peer(call: Call) {
    let Some(state) = datagrams(call.socket().cast()) else { return };
    if let Some(peer) = find(state, &call.target()) {
        call.set_target(&Target { address: peer.vip, port: peer.vip_port });
    }
}

/// An error was reported, which names no peer: it is taken for the one that was talked to last.
#[inline(always)]
pub(super) fn failed(state: *mut Datagrams, slot: u32, outcome: Outcome, now: u64) {
    let mut last = PEERS;
    let mut last_ns = 0;
    for index in 0..PEERS {
        let peer = at(state, index);
        if peer.backend != 0 && peer.used_ns >= last_ns {
            last_ns = peer.used_ns;
            last = index;
        }
    }
    if last < PEERS {
        let peer = at(state, last);
        terms(peer, slot).end(outcome, now);
        peer.probe = UNPROBED;
    }
}

/// The socket is closed: probes that are out say nothing.
#[inline(always)]
pub(super) fn closed(state: *mut Datagrams, slot: u32, now: u64) {
    for index in 0..PEERS {
        let peer = at(state, index);
        if peer.backend != 0 && peer.probe != UNPROBED {
            terms(peer, slot).end(Outcome::Neutral, now);
            peer.probe = UNPROBED;
        }
    }
}
