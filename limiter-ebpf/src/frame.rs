//! Bytes of the packet, read directly where they lie in one piece and by a helper where not.

use core::mem::MaybeUninit;

use aya_ebpf::{
    bindings::{__sk_buff, xdp_md},
    helpers::generated::{bpf_skb_load_bytes, bpf_xdp_get_buff_len},
};
use rampart_common::limit::packet::{Frame, Packet, parse_into};

use crate::maps::L_NOTES;

/// No header begins behind this: Ethernet, two tags, and the longest chain of extension headers take 12.4 KB. Tells
/// the verifier that offsets are bounded.
const OFFSET_MASK: usize = 0x3fff;

/// What a program remembers of its packet. In a map and not on the stack, so that the verifier forgets by which way the
/// parser came to it.
#[repr(C)]
pub(crate) struct Notes {
    packet: Packet,
    /// A number that is being settled.
    number: u64,
}

/// A program's notes, which nobody else uses while it runs.
#[derive(Clone, Copy)]
pub(crate) struct Notebook(*mut Notes);

/// A packet of XDP.
pub(crate) struct Xdp {
    notes: Notebook,
    pub(crate) context: *mut xdp_md,
    data: usize,
    end: usize,
    pub(crate) length: usize,
}

/// A packet of tc.
pub(crate) struct Skb {
    notes: Notebook,
    context: *mut __sk_buff,
    data: usize,
    end: usize,
    length: usize,
}

impl Notebook {
    /// The notes of a kind of program.
    #[inline(always)]
    pub(crate) fn of(kind: u32) -> Option<Self> {
        L_NOTES.get_ptr_mut(kind).map(Self)
    }

    /// Parses into the notes; gives what they say then.
    #[inline(always)]
    pub(crate) fn parse<'a, F: Frame>(self, frame: &F, is_loopback: bool) -> &'a Packet {
        // SAFETY: this CPU's map value, which no program of the same kind interrupts.
        let place = unsafe { &raw mut (*self.0).packet };
        for word in 0..size_of::<Packet>() / 8 {
            // Word by word: one assignment would be a call that goes byte by byte.
            let word = place.cast::<u64>().wrapping_add(word);
            // SAFETY: within the value, which is aligned to words.
            unsafe { word.write_volatile(0) };
        }
        // SAFETY: zeros are a packet that says nothing.
        let packet = unsafe { &mut *place };
        parse_into(frame, is_loopback, packet);
        packet
    }

    #[inline(always)]
    fn settle(self, number: usize) -> usize {
        // SAFETY: as above.
        let place = unsafe { &raw mut (*self.0).number };
        // SAFETY: a member of the same value.
        unsafe { place.write_volatile(number as u64) };
        // SAFETY: as above.
        unsafe { place.read_volatile() as usize }
    }
}

impl Xdp {
    /// A packet in one buffer.
    #[inline(always)]
    pub(crate) fn single(context: *mut xdp_md, notes: Notebook) -> Self {
        // SAFETY: the program's own context.
        let fields = unsafe { &*context };
        let (data, end) = (fields.data as usize, fields.data_end as usize);
        Self { notes, context, data, end, length: end.wrapping_sub(data) }
    }

    /// A packet that may lie in several buffers; headers lie in the first.
    #[inline(always)]
    pub(crate) fn frags(context: *mut xdp_md, notes: Notebook) -> Self {
        // SAFETY: the program's own context.
        let length = unsafe { bpf_xdp_get_buff_len(context) } as usize;
        Self { length, ..Self::single(context, notes) }
    }
}

impl Skb {
    #[inline(always)]
    pub(crate) fn new(context: *mut __sk_buff, notes: Notebook) -> Self {
        // SAFETY: the program's own context.
        let fields = unsafe { &*context };
        let (data, end) = (fields.data as usize, fields.data_end as usize);
        let length = fields.len as usize;
        Self { notes, context, data, end, length }
    }
}

impl Frame for Xdp {
    #[inline(always)]
    fn read<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        direct(self.data, self.end, offset)
    }

    #[inline(always)]
    fn length(&self) -> usize {
        self.length
    }

    #[inline(always)]
    fn settle(&self, number: usize) -> usize {
        self.notes.settle(number)
    }
}

impl Frame for Skb {
    #[inline(always)]
    fn read<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        if let Some(bytes) = direct(self.data, self.end, offset) {
            return Some(bytes);
        }
        // Headers may lie outside the linear part.
        let mut bytes = MaybeUninit::<[u8; N]>::uninit();
        // SAFETY: the helper writes `N` bytes or fails.
        let failed = unsafe {
            bpf_skb_load_bytes(
                self.context.cast(),
                (offset & OFFSET_MASK) as u32,
                bytes.as_mut_ptr().cast(),
                N as u32,
            )
        };
        if failed != 0 {
            return None;
        }
        // SAFETY: written by the helper.
        Some(unsafe { bytes.assume_init() })
    }

    #[inline(always)]
    fn length(&self) -> usize {
        self.length
    }

    #[inline(always)]
    fn settle(&self, number: usize) -> usize {
        self.notes.settle(number)
    }
}

/// `N` bytes of the linear part.
#[inline(always)]
pub(crate) fn direct<const N: usize>(data: usize, end: usize, offset: usize) -> Option<[u8; N]> {
    let start = data + (offset & OFFSET_MASK);
    if start + N > end {
        return None;
    }
    let mut bytes = [0; N];
    let (pairs, last) = bytes.as_chunks_mut::<2>();
    for (index, pair) in pairs.iter_mut().enumerate() {
        // Headers begin at even offsets of a buffer that begins at an even address; no wider word is aligned, and byte
        // by byte is slower.
        let word = (start as *const u16).wrapping_add(index);
        // SAFETY: checked against the end just now, in the way the verifier follows.
        *pair = unsafe { word.read() }.to_ne_bytes();
    }
    if let [last] = last {
        // SAFETY: as above.
        *last = unsafe { (start as *const u8).wrapping_add(N - 1).read() };
    }
    Some(bytes)
}
