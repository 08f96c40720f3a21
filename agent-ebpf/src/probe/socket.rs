//! `tp_btf/inet_sock_set_state`: which side opened a TCP connection, for the fields that tell client from server.
//!
//! Prototype: `inet_sock_set_state(const struct sock *sk, const int oldstate, const int newstate)`, since 4.16.
//! Minimum kernel 5.5. Makes no record. The kernel keeps no such fact once a connection stands.

use aya_ebpf::{
    EbpfContext as _, helpers::generated::bpf_probe_read_kernel, macros::btf_tracepoint,
    programs::BtfTracePointContext,
};
use rampart_common::{
    event::{ROLE_CLIENT, ROLE_SERVER, ROLE_UNKNOWN},
    role,
};

use crate::maps::ROLES;

const TCP_SYN_SENT: u32 = 2;
const TCP_SYN_RECV: u32 = 3;
const TCP_CLOSE: u32 = 7;

/// Remembers the role when the connection begins and forgets it at the end.
#[btf_tracepoint(function = "inet_sock_set_state")]
fn socket_state(ctx: BtfTracePointContext) -> i32 {
    let role = match ctx.arg::<u64>(2) as u32 {
        TCP_SYN_SENT => ROLE_CLIENT,
        TCP_SYN_RECV => ROLE_SERVER,
        TCP_CLOSE => ROLE_UNKNOWN,
        _ => return 0,
    };
    // Read like this it is a number; the verifier knows the argument as a pointer, of which nothing may be computed.
    let mut sk = 0_u64;
    // SAFETY: the first argument, the socket's address, is in the program's own context.
    if unsafe { bpf_probe_read_kernel((&raw mut sk).cast(), 8, ctx.as_ptr()) } != 0 {
        return 0;
    }
    let Some(set) = ROLES.get_ptr_mut(role::set_of(sk)) else { return 0 };
    let first = set.cast::<u64>();
    // SAFETY: a place of the set, read whole.
    let place = |way: usize| unsafe { first.wrapping_add(way).read_volatile() };
    let (way, entry) = if role == ROLE_UNKNOWN {
        let Some(way) = role::place_of(place, sk) else { return 0 };
        (way, 0)
    } else {
        (role::place_for(place, sk), role::entry(sk, role))
    };
    // SAFETY: as above; the way is below the set's length, which the mask tells the verifier.
    unsafe { first.wrapping_add(way & (role::WAYS - 1)).write_volatile(entry) };
    0
}
