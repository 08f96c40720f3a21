//! `tp_btf/inet_sock_set_state`: which side opened a TCP connection, for the fields that tell client from server.
//!
//! Prototype: `inet_sock_set_state(const struct sock *sk, const int oldstate, const int newstate)`, since 4.16.
//! Minimum kernel 5.5. Makes no record. The kernel keeps no such fact once a connection stands.

use aya_ebpf::{macros::btf_tracepoint, programs::BtfTracePointContext};
use rampart_common::event::{ROLE_CLIENT, ROLE_SERVER};

use crate::maps::ROLES;

const TCP_SYN_SENT: u32 = 2;
const TCP_SYN_RECV: u32 = 3;
const TCP_CLOSE: u32 = 7;

/// Remembers the role when the connection begins and forgets it at the end.
#[btf_tracepoint(function = "inet_sock_set_state")]
fn socket_state(ctx: BtfTracePointContext) -> i32 {
    let sk: u64 = ctx.arg(0);
    // A map without room loses the role, and the ports decide.
    let _ = match ctx.arg::<u64>(2) as u32 {
        TCP_SYN_SENT => ROLES.insert(sk, ROLE_CLIENT, 0),
        TCP_SYN_RECV => ROLES.insert(sk, ROLE_SERVER, 0),
        TCP_CLOSE => ROLES.remove(sk),
        _ => Ok(()),
    };
    0
}
