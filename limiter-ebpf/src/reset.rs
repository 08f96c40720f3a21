//! Answers a TCP packet with a reset, by turning the packet itself round.
//!
//! TCP right behind IPv4, or behind IPv6 without extension headers, below at most two VLAN tags; others are dropped
//! without an answer, as is what exceeds the budget. Functions of their own, which work on scratch memory: the pipeline
//! leaves little of the stack.

#![expect(
    clippy::cast_ptr_alignment,
    reason = "headers and the members of the scratch memory lie at even offsets"
)]

use aya_ebpf::{
    bindings::{__sk_buff, BPF_F_INGRESS, TC_ACT_SHOT, xdp_md},
    helpers::generated::{
        bpf_csum_diff, bpf_ktime_get_boot_ns, bpf_redirect, bpf_skb_change_tail, bpf_skb_load_bytes,
        bpf_skb_store_bytes, bpf_xdp_adjust_tail,
    },
};
use rampart_common::limit::{
    abi::reset_index,
    gcra::{Mode, Outcome, STRETCH_ONE},
    packet::TCP,
    reset::{BUDGET, Segment, V4_BYTES, V6_BYTES, folded, ip4, ip6, is_answered},
    verdict::Direction,
};

use crate::{
    maps::{L_LOCAL, L_RESETS, L_SCRATCH},
    probe::NOTES_XDP,
    word::Own,
};

const ETHERNET: u32 = 14;
const TAG: u32 = 4;
const TAGS_MAX: u32 = 2;
const TYPE_IPV4: [u8; 2] = [8, 0];
const TYPE_IPV6: [u8; 2] = [0x86, 0xdd];
const TYPE_TAGS: [[u8; 2]; 2] = [[0x81, 0], [0x88, 0xa8]];
/// Where the flags lie in a TCP header.
const FLAGS: usize = 13;

/// Headers of the packet and of its answer; nobody else uses them while a program runs on this CPU that has the same
/// hook and direction.
#[repr(C)]
pub(crate) struct Scratch {
    segment: Segment,
    to: [u8; 6],
    from: [u8; 6],
    kind: [u8; 2],
    head: [u8; 8],
    ip4: [u8; 20],
    source: [u8; 16],
    destination: [u8; 16],
    answer4: [u8; 20],
    tcp: [u8; 20],
}

/// A packet of either hook.
trait Bytes {
    /// Reads from `offset` on; false when the packet ends before.
    fn get<const N: usize>(&self, offset: u32, to: &mut [u8; N]) -> bool;
    /// Puts bytes there; false when the packet ends before.
    fn put<const N: usize>(&self, offset: u32, bytes: &[u8; N]) -> bool;
    /// Bytes of the packet.
    fn length(&self) -> u32;
    /// Cuts the packet to this length, as far as it has to be done before bytes are put.
    fn cut_first(&self, length: u32) -> bool;
    /// The same for what has to be done after it.
    fn cut_last(&self, length: u32) -> bool;
    /// Whether an interface may complete checksums of what leaves here.
    const COMPLETES: bool;
}

struct Frame {
    context: *mut xdp_md,
    length: u32,
}

struct Buffer(*mut __sk_buff);

/// Turns a packet of XDP round. When false it is to be dropped.
#[inline(never)]
pub(crate) fn answer_xdp(context: *mut xdp_md, length: u32) -> bool {
    let done = is_within_budget() && turn(&Frame { context, length }, NOTES_XDP);
    count(done, Direction::Ingress as u32);
    done
}

/// Turns a packet of tc round and sends it back where it came from; gives what the program is to return.
#[inline(never)]
pub(crate) fn answer_tc(context: *mut __sk_buff, direction: u32) -> i32 {
    let done = is_within_budget() && turn(&Buffer(context), direction);
    count(done, direction);
    if !done {
        return TC_ACT_SHOT;
    }
    // What leaves comes from this node, which gets the answer as if it came from outside.
    let flags = if direction == Direction::Egress as u32 { u64::from(BPF_F_INGRESS) } else { 0 };
    // SAFETY: the program's own context.
    let interface = unsafe { (*context).ifindex };
    // SAFETY: numbers only.
    unsafe { bpf_redirect(interface, flags) as i32 }
}

#[inline(always)]
fn is_within_budget() -> bool {
    let Some(local) = L_LOCAL.get_ptr_mut(0) else { return false };
    // SAFETY: a member of this CPU's map value.
    let word = Own(unsafe { &raw mut (*local).reset_tat });
    // SAFETY: no arguments.
    let now = unsafe { bpf_ktime_get_boot_ns() };
    BUDGET.charge(&word, now, BUDGET.step_ns(1, STRETCH_ONE), Mode::Throttle) == Outcome::Admitted
}

#[inline(always)]
fn count(done: bool, direction: u32) {
    if let Some(counter) = L_RESETS.get_ptr_mut(reset_index(done, direction as u8)) {
        // SAFETY: this CPU's map value.
        unsafe { *counter += 1 };
    }
}

/// Makes the answer out of the packet.
#[inline(always)]
fn turn<B: Bytes>(packet: &B, kind: u32) -> bool {
    let Some(scratch) = L_SCRATCH.get_ptr_mut(kind) else { return false };
    // SAFETY: this CPU's map value, which no program of the same kind interrupts.
    let scratch = unsafe { &mut *scratch };
    let mut start = ETHERNET;
    for _ in 0..TAGS_MAX {
        if !packet.get(start - 2, &mut scratch.kind) {
            return false;
        }
        if scratch.kind != TYPE_TAGS[0] && scratch.kind != TYPE_TAGS[1] {
            break;
        }
        start += TAG;
    }
    if !packet.get(0, &mut scratch.to) || !packet.get(6, &mut scratch.from) {
        return false;
    }
    if !packet.get(start - 2, &mut scratch.kind) {
        return false;
    }
    match scratch.kind {
        TYPE_IPV4 => turn_v4(packet, start, scratch),
        TYPE_IPV6 => turn_v6(packet, start, scratch),
        _ => false,
    }
}

#[inline(always)]
fn turn_v4<B: Bytes>(packet: &B, start: u32, scratch: &mut Scratch) -> bool {
    if !packet.get(start, &mut scratch.ip4) {
        return false;
    }
    let ip = &scratch.ip4;
    let header = u32::from(ip[0] & 15) * 4;
    if ip[0] >> 4 != 4 || header < 20 || ip[9] != TCP {
        return false;
    }
    let total = u32::from(u16::from_be_bytes([ip[2], ip[3]]));
    ip4(&scratch.ip4, &mut scratch.answer4, sum);
    let addresses = sum_of(&raw const scratch.ip4[12], 8);
    let end = start + V4_BYTES as u32;
    answer(packet, start + header, start, total, addresses, scratch)
        && packet.cut_first(end)
        && packet.put(start, &scratch.answer4)
        && packet.put(start + 20, &scratch.tcp)
        && packet.put(0, &scratch.from)
        && packet.put(6, &scratch.to)
        && packet.cut_last(end)
}

#[inline(always)]
fn turn_v6<B: Bytes>(packet: &B, start: u32, scratch: &mut Scratch) -> bool {
    if !packet.get(start, &mut scratch.head)
        || !packet.get(start + 8, &mut scratch.source)
        || !packet.get(start + 24, &mut scratch.destination)
    {
        return false;
    }
    let head = &scratch.head;
    if head[0] >> 4 != 6 || head[6] != TCP {
        return false;
    }
    let payload = u32::from(u16::from_be_bytes([head[4], head[5]]));
    let addresses = sum(&scratch.source) + sum(&scratch.destination);
    ip6(&mut scratch.head);
    let end = start + V6_BYTES as u32;
    answer(packet, start + 40, start + 40, payload, addresses, scratch)
        && packet.cut_first(end)
        && packet.put(start, &scratch.head)
        && packet.put(start + 8, &scratch.destination)
        && packet.put(start + 24, &scratch.source)
        && packet.put(start + 40, &scratch.tcp)
        && packet.put(0, &scratch.from)
        && packet.put(6, &scratch.to)
        && packet.cut_last(end)
}

/// Writes the answer to the TCP header at `place`; false when it gets none. `claimed`: the bytes from `from` on by the
/// IP header, which leaves out what pads a short frame; segmentation offload writes zero.
#[inline(always)]
fn answer<B: Bytes>(
    packet: &B,
    place: u32,
    from: u32,
    claimed: u32,
    addresses: u32,
    scratch: &mut Scratch,
) -> bool {
    if !packet.get(place, &mut scratch.segment.header) || !is_answered(scratch.segment.header[FLAGS]) {
        return false;
    }
    let rest = packet.length().wrapping_sub(from);
    let whole = if claimed == 0 || claimed > rest { rest } else { claimed };
    scratch.segment.bytes = (from + whole).saturating_sub(place);
    scratch.segment.answer(addresses, B::COMPLETES, &mut scratch.tcp, sum);
    true
}

/// Sum of the words in the order of the wire, as one word.
#[inline(always)]
fn sum<const N: usize>(bytes: &[u8; N]) -> u32 {
    sum_of(bytes.as_ptr(), N as u32)
}

#[inline(always)]
fn sum_of(bytes: *const u8, length: u32) -> u32 {
    // SAFETY: the helper reads the bytes; lengths are multiples of four.
    let sum = unsafe { bpf_csum_diff(core::ptr::null_mut(), 0, bytes.cast_mut().cast(), length, 0) };
    u32::from(folded(sum as u32).swap_bytes())
}

impl Bytes for Frame {
    const COMPLETES: bool = false;

    #[inline(always)]
    fn get<const N: usize>(&self, offset: u32, to: &mut [u8; N]) -> bool {
        // SAFETY: the program's own context.
        let fields = unsafe { &*self.context };
        let start = fields.data as usize + (offset & OFFSET_MASK) as usize;
        if start + N > fields.data_end as usize {
            return false;
        }
        for (index, pair) in to.as_chunks_mut::<2>().0.iter_mut().enumerate() {
            let word = (start as *const u16).wrapping_add(index);
            // SAFETY: checked against the end just now; headers begin at even offsets of an even address.
            let word = unsafe { word.read() };
            // Volatile, or each word would be kept on the stack for whoever reads it here.
            // SAFETY: scratch memory, whose members all lie at even offsets.
            unsafe { core::ptr::from_mut(pair).cast::<u16>().write_volatile(word) };
        }
        true
    }

    #[inline(always)]
    fn put<const N: usize>(&self, offset: u32, bytes: &[u8; N]) -> bool {
        // SAFETY: the program's own context.
        let fields = unsafe { &*self.context };
        let start = fields.data as usize + (offset & OFFSET_MASK) as usize;
        if start + N > fields.data_end as usize {
            return false;
        }
        for (index, pair) in bytes.as_chunks::<2>().0.iter().enumerate() {
            let place = (start as *mut u16).wrapping_add(index);
            // SAFETY: scratch memory, whose members all lie at even offsets. Volatile as above.
            let word = unsafe { core::ptr::from_ref(pair).cast::<u16>().read_volatile() };
            // SAFETY: checked against the end just now; headers begin at even offsets of an even address.
            unsafe { place.write(word) };
        }
        true
    }

    #[inline(always)]
    fn length(&self) -> u32 {
        self.length
    }

    #[inline(always)]
    fn cut_first(&self, _length: u32) -> bool {
        true
    }

    #[inline(always)]
    fn cut_last(&self, length: u32) -> bool {
        // SAFETY: the program's own context; no pointer into the packet is used afterwards.
        unsafe { bpf_xdp_adjust_tail(self.context, length as i32 - self.length as i32) == 0 }
    }
}

/// Answers lie far below it.
const OFFSET_MASK: u32 = 0xff;

impl Bytes for Buffer {
    const COMPLETES: bool = true;

    #[inline(always)]
    fn get<const N: usize>(&self, offset: u32, to: &mut [u8; N]) -> bool {
        // SAFETY: the helper writes `N` bytes or fails.
        unsafe { bpf_skb_load_bytes(self.0.cast(), offset, to.as_mut_ptr().cast(), N as u32) == 0 }
    }

    #[inline(always)]
    fn put<const N: usize>(&self, offset: u32, bytes: &[u8; N]) -> bool {
        // SAFETY: the helper reads `N` bytes.
        unsafe { bpf_skb_store_bytes(self.0, offset, bytes.as_ptr().cast(), N as u32, 0) == 0 }
    }

    #[inline(always)]
    fn length(&self) -> u32 {
        // SAFETY: the program's own context.
        unsafe { (*self.0).len }
    }

    #[inline(always)]
    fn cut_first(&self, length: u32) -> bool {
        // The helper makes the packet writable and takes segmentation offload away, which store alone does not.
        // SAFETY: the program's own context; no pointer into the packet is used afterwards.
        unsafe { bpf_skb_change_tail(self.0, length, 0) == 0 }
    }

    #[inline(always)]
    fn cut_last(&self, _length: u32) -> bool {
        true
    }
}
