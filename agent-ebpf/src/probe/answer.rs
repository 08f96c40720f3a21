//! `cgroup_skb/ingress` of the root group: datagrams from port 53 that reach a socket of the node, so that addresses
//! can be shown by the names programs asked for.
//!
//! Attached only while a rule names a field that needs it. Lets every packet pass, whatever happens. Minimum
//! kernel 4.10, with the ring buffer 5.8. A packet that is not UDP costs two loads and no helper.

use core::mem::offset_of;

use aya_ebpf::{
    bindings::BPF_RB_NO_WAKEUP, helpers::generated::bpf_skb_load_bytes, macros::cgroup_skb,
    programs::SkBuffContext,
};
use rampart_common::event::{ANSWER_MAX, Answer};

use crate::{
    cell::unknown,
    maps::{ANSWER_COUNTERS, ANSWERS},
};

const PROTOCOL_UDP: u8 = 17;
const PORT_DNS: u16 = 53;
const UDP_HEADER: u32 = 8;
const IPV6_HEADER: u32 = 40;
/// Bytes of a header as far as IPv4's protocol, which IPv6 has earlier.
const AS_FAR_AS_PROTOCOL: usize = 10;

/// Copies the message to the agent.
#[cgroup_skb]
fn dns_answers(ctx: SkBuffContext) -> i32 {
    if may_be_datagram(&ctx)
        && let Some(offset) = datagram(&ctx)
    {
        send(&ctx, offset);
    }
    1
}

/// Whether a packet is UDP by what of its header lies in one piece; true when too little of it does.
#[inline(always)]
fn may_be_datagram(ctx: &SkBuffContext) -> bool {
    // SAFETY: the context, as the kernel hands it over.
    let context = unsafe { &*ctx.skb.skb };
    let (data, end) = (context.data as usize, context.data_end as usize);
    if data + AS_FAR_AS_PROTOCOL > end {
        return true;
    }
    let header = data as *const [u8; AS_FAR_AS_PROTOCOL];
    // SAFETY: so many bytes lie before the end.
    let [first, _, _, _, _, _, six, _, _, four] = unsafe { *header };
    PROTOCOL_UDP == if first >> 4 == 4 { four } else { six }
}

/// Where the message starts, when the packet is a datagram from a name server. Fragments after the first carry no
/// ports and are left out; options before the UDP header of IPv6 are not followed.
#[inline(always)]
fn datagram(ctx: &SkBuffContext) -> Option<u32> {
    let [first, _, _, _, _, _, high, low, _, protocol]: [u8; AS_FAR_AS_PROTOCOL] = ctx.load(0).ok()?;
    let transport = if first >> 4 == 4 {
        if protocol != PROTOCOL_UDP || u16::from_be_bytes([high, low]) & 0x1fff != 0 {
            return None;
        }
        u32::from(first & 0xf) * 4
    } else {
        if high != PROTOCOL_UDP {
            return None;
        }
        IPV6_HEADER
    };
    let port = u16::from_be(ctx.load(transport as usize).ok()?);
    (port == PORT_DNS).then_some(transport + UDP_HEADER)
}

#[inline(always)]
fn send(ctx: &SkBuffContext, offset: u32) {
    let Some(counters) = ANSWER_COUNTERS.get_ptr_mut(0) else { return };
    // SAFETY: a non-null map value of this CPU.
    let counters = unsafe { &mut *counters };
    if ctx.len() <= offset {
        return;
    }
    // Bounded without the first byte, which is added again: that a number is not zero old verifiers forget.
    let behind = unknown(u64::from(ctx.len() - offset - 1)) as u32;
    let len = 1 + if behind < ANSWER_MAX as u32 { behind } else { ANSWER_MAX as u32 - 1 };
    let Some(mut entry) = ANSWERS.reserve::<Answer>(0) else {
        counters.ring_full += 1;
        return;
    };
    let answer = entry.as_mut_ptr().cast::<u8>();
    #[expect(clippy::cast_ptr_alignment, reason = "entries of the ring are eight-byte aligned")]
    let header = answer.cast::<[u32; 2]>();
    // SAFETY: the reserved entry starts with the length and its padding.
    unsafe { header.write([len, 0]) };
    let message = answer.wrapping_add(offset_of!(Answer, message));
    // SAFETY: the rest of the entry has room for the longest message, and the length is at most that.
    let loaded = unsafe { bpf_skb_load_bytes(ctx.skb.skb.cast(), offset, message.cast(), len) };
    if loaded == 0 {
        // Nobody waits at this ring: the reader takes what is there before the next event.
        entry.submit(u64::from(BPF_RB_NO_WAKEUP));
        counters.emitted += 1;
    } else {
        entry.discard(u64::from(BPF_RB_NO_WAKEUP));
    }
}
