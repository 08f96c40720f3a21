//! TCP: a connection is given a backend once, when it begins.

use aya_ebpf::helpers::generated::bpf_setsockopt;
use rampart_common::{
    limit::gate::mix,
    service::{abi::Socket, breaker::Entry, select::Nobody, signal::Outcome},
};

use super::address::{Answer, Asked, Call, Target};
use crate::{
    breaker::{Terms, backend},
    choice::backend_for,
    socket::{Stream, UNPROBED},
};

const IPPROTO_TCP: i32 = 6;
const TCP_SYNCNT: i32 = 7;

/// Chooses a backend for the connection.
#[inline(always)]
pub(super) fn connect(call: Call, asked: &Asked) -> Answer {
    let hash = mix(asked.client) as u32;
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
    let state = Socket {
        epoch,
        token,
        begun_ns: asked.now,
        client: asked.client,
        vip: asked.target.address,
        vip_port: asked.target.port,
        service: asked.service as u16,
        backend: chosen.backend,
        seen: 0,
        probe,
        is_open: 1,
        is_named: 1,
        pad: [0; 5],
    };
    if let Some(stream) = Stream::new(call.socket().cast()) {
        stream.begin(asked.slot, state, asked.now);
    } else {
        // Nobody will hear what becomes of it. The connection is let through all the same.
        let terms = Terms { slot: asked.slot, backend: chosen.backend, epoch, probe, token };
        terms.end(Outcome::Neutral, asked.now);
    }
    if asked.of.syn_retries != 0 {
        let mut tries = asked.of.syn_retries as i32;
        // SAFETY: the program's own context, and a number of the size that is said. A kernel that does not take it
        // sends as often as it is used to.
        let _ = unsafe {
            bpf_setsockopt(
                call.context().cast(),
                IPPROTO_TCP,
                TCP_SYNCNT,
                (&raw mut tries).cast(),
                size_of::<i32>() as i32,
            )
        };
    }
    Answer::To(Target { address: to.address, port: to.port })
}

/// Shows what was asked for as the peer.
#[inline(always)]
pub(super) fn peer(call: Call) {
    let Some(stream) = Stream::of(call.socket().cast()) else { return };
    let state = stream.state();
    if state.is_named != 0 {
        call.set_target(&Target { address: state.vip, port: state.vip_port });
    }
}
