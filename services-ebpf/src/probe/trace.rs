//! Tracepoints: what becomes of connections that were given a backend. All others have no state and cost one look-up.
//!
//! Minimum kernels: typed tracepoints 5.5, state of sockets in them 5.11, `inet_sk_error_report` 5.14.

use aya_ebpf::{macros::btf_tracepoint, programs::BtfTracePointContext};
use rampart_common::service::{
    abi::{ESTABLISHED_IS_SUCCESS, Fact},
    signal::{
        CLOSE, CLOSED_FIRST, COUNTED, ESTABLISHED, FIN_WAIT1, Outcome, REPORTED, RESET, SENT, SENT_AGAIN,
        STOOD, SYN_SENT, Signals, classify, may_tell, of_error,
    },
};

use super::datagram;
use crate::{
    breaker::service,
    fact::{in_charge, now, read, slot},
    socket::{Stream, datagrams, error},
};

/// `inet_sock_set_state(const struct sock *sk, const int oldstate, const int newstate)`.
#[btf_tracepoint(function = "inet_sock_set_state")]
fn service_state(ctx: BtfTracePointContext) -> i32 {
    let sk: *mut core::ffi::c_void = ctx.arg(0);
    let Some(stream) = Stream::of(sk) else { return 0 };
    if in_charge().is_none() {
        return 0;
    }
    let Some(slot) = slot() else { return 0 };
    let (old, new) = (ctx.arg::<u64>(1) as u32, ctx.arg::<u64>(2) as u32);
    let state = stream.state();
    if state.is_open == 0 {
        return 0;
    }
    if new == SYN_SENT {
        state.seen |= SENT;
        return 0;
    }
    let now = now();
    let of = service(slot, u32::from(state.service));
    let slow_ns = of.map_or(0, |of| of.slow_ns);
    if old == SYN_SENT && new == ESTABLISHED {
        state.seen |= STOOD;
        stream.stands(slot, slow_ns, now);
    }
    let is_established_enough = of.is_some_and(|of| of.flags & ESTABLISHED_IS_SUCCESS != 0);
    if state.seen & COUNTED == 0 && may_tell(old, new, is_established_enough) {
        let at = sk as u64;
        let signals = Signals {
            old,
            new,
            seen: state.seen,
            error: error(at),
            soft_error: read::<u32>(at, Fact::SoftError),
            received: read::<u64>(at, Fact::Received),
            acked: read::<u64>(at, Fact::Acked),
            age_ns: now.wrapping_sub(state.begun_ns),
            slow_ns,
            is_established_enough,
        };
        if let Some(outcome) = classify(&signals) {
            let retransmits = read::<u32>(at, Fact::Retransmits);
            stream.count(slot, outcome, signals.error, retransmits, now);
        }
    }
    if old == ESTABLISHED && new == FIN_WAIT1 {
        state.seen |= CLOSED_FIRST;
    }
    if new == CLOSE {
        stream.close();
    }
    0
}

/// `inet_sk_error_report(const struct sock *sk)`.
#[btf_tracepoint(function = "inet_sk_error_report")]
fn service_error(ctx: BtfTracePointContext) -> i32 {
    let sk: *mut core::ffi::c_void = ctx.arg(0);
    if let Some(stream) = Stream::of(sk) {
        if in_charge().is_some() && read::<u8>(sk as u64, Fact::State) == SYN_SENT as u8 {
            stream.state().seen |= REPORTED;
        }
        return 0;
    }
    if let Some(state) = datagrams(sk)
        && in_charge().is_some()
        && let Some(slot) = slot()
    {
        // The error may have been fetched by the program meanwhile.
        let outcome = match error(sk as u64) {
            0 => Outcome::Unreachable,
            error => of_error(error),
        };
        datagram::failed(state, slot, outcome, now());
    }
    0
}

/// `tcp_receive_reset(const struct sock *sk)`.
#[btf_tracepoint(function = "tcp_receive_reset")]
fn service_reset(ctx: BtfTracePointContext) -> i32 {
    let sk: *mut core::ffi::c_void = ctx.arg(0);
    if let Some(stream) = Stream::of(sk) {
        stream.state().seen |= RESET;
    }
    0
}

/// `tcp_retransmit_skb(const struct sock *sk, const struct sk_buff *skb)`, since 6.15 with an error behind.
#[btf_tracepoint(function = "tcp_retransmit_skb")]
fn service_retransmit(ctx: BtfTracePointContext) -> i32 {
    let sk: *mut core::ffi::c_void = ctx.arg(0);
    if let Some(stream) = Stream::of(sk)
        && read::<u8>(sk as u64, Fact::State) == SYN_SENT as u8
    {
        stream.state().seen |= SENT_AGAIN;
    }
    0
}
