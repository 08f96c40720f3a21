//! `sock_ops` and `cgroup/sock_release`: timers of the SYN, the first byte of a probe, and a client that gives up.
//!
//! Minimum kernels: timers 4.13, header callbacks 5.10, `sock_release` 5.9.

use aya_ebpf::{
    bindings::{
        BPF_SOCK_OPS_HDR_OPT_LEN_CB, BPF_SOCK_OPS_TCP_CONNECT_CB, BPF_SOCK_OPS_TIMEOUT_INIT,
        BPF_SOCK_OPS_WRITE_HDR_OPT_CB_FLAG, bpf_sock_ops,
    },
    macros::{cgroup_sock, sock_ops},
    programs::{SockContext, SockOpsContext},
};
use rampart_common::service::signal::{CLOSE, COUNTED, ESTABLISHED, GAVE_UP, Outcome, SENT, SYN_SENT};

use super::datagram;
use crate::{
    breaker::service,
    fact::{in_charge, now, slot},
    socket::{Stream, UNPROBED, datagrams},
};

/// A probe's socket is asked for options of each packet it sends. It sends one for the first bytes that come, and at the
/// latest after 40 ms; no options are given. (The header of what comes is shown outside the fast path only.)
const WATCH: u32 = BPF_SOCK_OPS_WRITE_HDR_OPT_CB_FLAG;

/// Sets the first timer of a SYN, and sees when a probe gets its first byte.
///
/// A connection's end tells whether it got an answer; a probe may not wait for that.
#[sock_ops]
fn service_sock_ops(ctx: SockOpsContext) -> u32 {
    let op = ctx.op();
    if op != BPF_SOCK_OPS_TIMEOUT_INIT
        && op != BPF_SOCK_OPS_TCP_CONNECT_CB
        && op != BPF_SOCK_OPS_HDR_OPT_LEN_CB
    {
        return 1;
    }
    let ops = ctx.ops;
    // SAFETY: a member of the program's own context.
    let socket = unsafe { &(*ops).__bindgen_anon_2 };
    // SAFETY: the union has no other member.
    let socket = unsafe { socket.sk };
    if socket.is_null() {
        return 1;
    }
    let Some(stream) = Stream::of(socket.cast()) else { return 1 };
    if in_charge().is_none() {
        return 1;
    }
    let Some(slot) = slot() else { return 1 };
    let state = stream.state();
    if op == BPF_SOCK_OPS_TIMEOUT_INIT {
        if let Some(of) = service(slot, u32::from(state.service))
            && of.syn_timeout != 0
        {
            ctx.set_reply(of.syn_timeout);
        }
    } else if op == BPF_SOCK_OPS_TCP_CONNECT_CB {
        if state.probe != UNPROBED {
            // A kernel that does not know a flag watches nothing; the connection's end says it then.
            let _ = ctx.set_cb_flags((ctx.cb_flags() | WATCH) as i32);
        }
    } else if state.seen & COUNTED == 0 {
        // SAFETY: a member of the program's own context.
        let received = unsafe { &raw const (*ops).bytes_received };
        // SAFETY: as above.
        let received = unsafe { received.read_volatile() };
        // The peer's FIN counts too, and is no answer: the state says what it was.
        if received > 0 && ctx_state(ops) == ESTABLISHED {
            stream.count(slot, Outcome::Success, 0, 0, now());
            let _ = ctx.set_cb_flags((ctx.cb_flags() & !WATCH) as i32);
        }
    }
    1
}

#[inline(always)]
fn ctx_state(ops: *mut bpf_sock_ops) -> u32 {
    // SAFETY: a member of the program's own context.
    let state = unsafe { &raw const (*ops).state };
    // SAFETY: as above.
    unsafe { state.read_volatile() }
}

/// A socket is closed by its program.
#[cgroup_sock(sock_release)]
fn service_release(ctx: SockContext) -> i32 {
    let socket = ctx.sock;
    if in_charge().is_none() {
        return 1;
    }
    let Some(slot) = slot() else { return 1 };
    if let Some(stream) = Stream::of(socket.cast()) {
        // SAFETY: a member of the program's own context.
        let tcp_state = unsafe { &raw const (*socket).state };
        // SAFETY: as above.
        let tcp_state = unsafe { tcp_state.read_volatile() };
        let state = stream.state();
        if tcp_state == SYN_SENT {
            state.seen |= GAVE_UP;
        } else if tcp_state == CLOSE && state.seen & SENT == 0 {
            // It never came to a SYN: an error of the client's own.
            stream.forget(slot, now());
        }
        return 1;
    }
    if let Some(state) = datagrams(socket.cast()) {
        datagram::closed(state, slot, now());
    }
    1
}
