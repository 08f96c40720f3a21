//! Programs at socket addresses: what a program asked for becomes a backend, and back again for whoever looks.
//!
//! Minimum kernels: connect and sendmsg 4.18, recvmsg 5.2, getpeername 5.8, and 5.18 to say why a connection is refused.
//! Each exists for IPv4 and for IPv6; an IPv6 socket that asks for an IPv4 address meets the latter only.

use aya_ebpf::{
    bindings::{bpf_sock, bpf_sock_addr},
    helpers::generated::{bpf_get_current_cgroup_id, bpf_get_netns_cookie, bpf_set_retval},
    macros::cgroup_sock_addr,
    programs::SockAddrContext,
};
use rampart_common::service::{
    abi::{CLIENT_IS_CGROUP, Control, Service, VipKey},
    signal::{ECONNREFUSED, EHOSTUNREACH},
};

use super::{datagram, stream};
use crate::{
    breaker::service,
    choice::count_passed,
    fact::{in_charge, is_kernel_thread, now, slot},
    maps::S_VIPS,
};

/// The mark of an IPv4 address in IPv6 form, in memory order.
const MAPPED: u32 = 0xffff_u32.to_be();
const TCP: u32 = 6;
const UDP: u32 = 17;
/// The call goes on.
const GO_ON: i32 = 1;
/// The call ends with the error that was set.
const END: i32 = 0;

/// A socket address as a program sees it.
#[derive(Clone, Copy)]
pub(super) struct Call {
    context: *mut bpf_sock_addr,
    is_v6: bool,
}

/// An address and a port in network order.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) address: [u32; 4],
    pub(super) port: u16,
}

/// What a program asked for, when it is ours.
pub(super) struct Asked {
    pub(super) target: Target,
    pub(super) service: u32,
    pub(super) of: &'static Service,
    pub(super) slot: u32,
    pub(super) client: u64,
    pub(super) now: u64,
}

/// What becomes of the call.
pub(super) enum Answer {
    /// It goes to a backend.
    To(Target),
    /// All breakers are open.
    Refused,
    /// There is no backend.
    Nobody,
}

impl Call {
    #[inline(always)]
    fn field(place: *const u32) -> u32 {
        // SAFETY: a member of the program's own context.
        unsafe { place.read_volatile() }
    }

    #[inline(always)]
    pub(super) fn target(self) -> Target {
        let context = self.context;
        // SAFETY: members of the program's own context.
        let port = unsafe { &raw const (*context).user_port };
        let port = Self::field(port) as u16;
        if !self.is_v6 {
            // SAFETY: as above.
            let address = unsafe { &raw const (*context).user_ip4 };
            return Target { address: [0, 0, MAPPED, Self::field(address)], port };
        }
        // SAFETY: as above.
        let first = unsafe { &raw const (*context).user_ip6 }.cast::<u32>();
        let word = |index| Self::field(first.wrapping_add(index));
        Target { address: [word(0), word(1), word(2), word(3)], port }
    }

    #[inline(always)]
    pub(super) fn set_target(self, target: &Target) {
        let context = self.context;
        let set = |place: *mut u32, value| {
            // SAFETY: a member of the program's own context, which programs of these kinds may write.
            unsafe { place.write_volatile(value) };
        };
        // SAFETY: as above.
        set(unsafe { &raw mut (*context).user_port }, u32::from(target.port));
        let [a, b, c, d] = target.address;
        if !self.is_v6 {
            // SAFETY: as above.
            set(unsafe { &raw mut (*context).user_ip4 }, d);
            return;
        }
        // SAFETY: as above.
        let first = unsafe { &raw mut (*context).user_ip6 }.cast::<u32>();
        set(first, a);
        set(first.wrapping_add(1), b);
        set(first.wrapping_add(2), c);
        set(first.wrapping_add(3), d);
    }

    #[inline(always)]
    pub(super) fn protocol(self) -> u32 {
        // SAFETY: a member of the program's own context.
        Self::field(unsafe { &raw const (*self.context).protocol })
    }

    #[inline(always)]
    pub(super) fn socket(self) -> *mut bpf_sock {
        // SAFETY: a member of the program's own context.
        let socket = unsafe { &(*self.context).__bindgen_anon_1 };
        // SAFETY: the union has no other member.
        unsafe { socket.sk }
    }

    #[inline(always)]
    pub(super) fn context(self) -> *mut core::ffi::c_void {
        self.context.cast()
    }

    /// Whether the socket carries the mark of health checks.
    #[inline(always)]
    fn is_marked(self, control: &Control) -> bool {
        let socket = self.socket();
        if socket.is_null() {
            return false;
        }
        // SAFETY: a member of the socket, which the verifier knows.
        let mark = unsafe { &raw const (*socket).mark };
        // SAFETY: as above.
        let mark = unsafe { mark.read_volatile() };
        control.probe_mark != 0 && mark == control.probe_mark
    }

    #[inline(always)]
    fn client(self, of: &Service) -> u64 {
        if of.flags & CLIENT_IS_CGROUP != 0 {
            // SAFETY: the helper has no conditions.
            return unsafe { bpf_get_current_cgroup_id() };
        }
        // SAFETY: the program's own context.
        unsafe { bpf_get_netns_cookie(self.context()) }
    }

    /// What was asked for, when it is an address of ours and the asker is not to be left alone.
    #[inline(always)]
    fn asked(self, protocol: u8) -> Option<Asked> {
        let control = in_charge()?;
        let slot = slot()?;
        let target = self.target();
        let key = VipKey { address: target.address, port: target.port, protocol, slot: slot as u8 };
        // SAFETY: a map value; addresses of a slot change only while the other is in force.
        let service_number = *unsafe { S_VIPS.get(key) }?;
        let of = service(slot, service_number)?;
        if self.is_marked(control) || is_kernel_thread() {
            count_passed(service_number);
            return None;
        }
        let client = self.client(of);
        Some(Asked { target, service: service_number, of, slot, client, now: now() })
    }
}

#[inline(always)]
fn call(ctx: &SockAddrContext, is_v6: bool) -> Call {
    Call { context: ctx.sock_addr, is_v6 }
}

#[inline(always)]
fn say(call: Call, answer: &Answer) -> i32 {
    let error = match answer {
        Answer::To(target) => {
            call.set_target(target);
            return GO_ON;
        }
        Answer::Refused => ECONNREFUSED,
        Answer::Nobody => EHOSTUNREACH,
    };
    // SAFETY: the helper has no conditions.
    unsafe { bpf_set_retval(-(error as i32)) };
    END
}

#[inline(always)]
fn connect(call: Call) -> i32 {
    match call.protocol() {
        TCP => match call.asked(TCP as u8) {
            Some(asked) => say(call, &stream::connect(call, &asked)),
            None => GO_ON,
        },
        UDP => match call.asked(UDP as u8) {
            Some(asked) => {
                let answer = datagram::send(call, &asked);
                if let Answer::To(target) = &answer {
                    datagram::connected(call, target);
                }
                say(call, &answer)
            }
            None => GO_ON,
        },
        _ => GO_ON,
    }
}

#[inline(always)]
fn send(call: Call) -> i32 {
    if call.protocol() != UDP {
        return GO_ON;
    }
    match call.asked(UDP as u8) {
        Some(asked) => say(call, &datagram::send(call, &asked)),
        None => GO_ON,
    }
}

/// Where it was sent from is shown as what was asked.
#[inline(always)]
fn receive(call: Call) -> i32 {
    if call.protocol() == UDP {
        datagram::receive(call);
    }
    GO_ON
}

#[inline(always)]
fn peer(call: Call) -> i32 {
    match call.protocol() {
        TCP => stream::peer(call),
        UDP => datagram::peer(call),
        _ => {}
    }
    GO_ON
}

#[cgroup_sock_addr(connect4)]
fn service_connect4(ctx: SockAddrContext) -> i32 {
    connect(call(&ctx, false))
}

#[cgroup_sock_addr(connect6)]
fn service_connect6(ctx: SockAddrContext) -> i32 {
    connect(call(&ctx, true))
}

#[cgroup_sock_addr(sendmsg4)]
fn service_sendmsg4(ctx: SockAddrContext) -> i32 {
    send(call(&ctx, false))
}

#[cgroup_sock_addr(sendmsg6)]
fn service_sendmsg6(ctx: SockAddrContext) -> i32 {
    send(call(&ctx, true))
}

#[cgroup_sock_addr(recvmsg4)]
fn service_recvmsg4(ctx: SockAddrContext) -> i32 {
    receive(call(&ctx, false))
}

#[cgroup_sock_addr(recvmsg6)]
fn service_recvmsg6(ctx: SockAddrContext) -> i32 {
    receive(call(&ctx, true))
}

#[cgroup_sock_addr(getpeername4)]
fn service_getpeername4(ctx: SockAddrContext) -> i32 {
    peer(call(&ctx, false))
}

#[cgroup_sock_addr(getpeername6)]
fn service_getpeername6(ctx: SockAddrContext) -> i32 {
    peer(call(&ctx, true))
}
