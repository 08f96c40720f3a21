//! A flood for measurements, and the quickest receiver there can be: both are no part of the product.
//!
//! The sender runs by `BPF_PROG_TEST_RUN` with live frames (Linux 5.18): the kernel keeps a stock of frames, this
//! program gives each a random source and sends it out of an interface. No packet is allocated or copied, so that the
//! receiver is what takes the time.

#![no_std]
#![no_main]
#![expect(clippy::needless_pass_by_value, reason = "the program macros hand the context over by value")]
#![expect(
    unsafe_code,
    reason = "packet bytes and values that the loader sets; each block says why it is sound"
)]

use aya_ebpf::{
    bindings::xdp_action,
    helpers::generated::{bpf_get_prandom_u32, bpf_redirect},
    macros::xdp,
    programs::XdpContext,
};

/// The frame's headers: Ethernet, IPv4 without options, UDP.
const HEADERS: usize = 42;
/// Where the IPv4 header's checksum and source lie.
const CHECKSUM: usize = 24;
const SOURCE: usize = 26;

/// Interface that frames leave by; set by the loader, as the next two.
#[unsafe(no_mangle)]
static FLOOD_INTERFACE: u32 = 0;
/// First source.
#[unsafe(no_mangle)]
static FLOOD_SOURCE: u32 = 0;
/// Bits of the source that are random.
#[unsafe(no_mangle)]
static FLOOD_MASK: u32 = 0;
/// Sum of the header's words without checksum and source.
#[unsafe(no_mangle)]
static FLOOD_SUM: u32 = 0;

/// Gives the frame a source and sends it.
#[xdp]
fn flood(ctx: XdpContext) -> u32 {
    let (data, end) = (ctx.data(), ctx.data_end());
    if data + HEADERS > end {
        return xdp_action::XDP_ABORTED;
    }
    // SAFETY: no arguments.
    let random = unsafe { bpf_get_prandom_u32() };
    let source = set(&FLOOD_SOURCE) | (random & set(&FLOOD_MASK));
    let (high, low) = (source >> 16, source & 0xffff);
    let sum = set(&FLOOD_SUM) + high + low;
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    for (offset, word) in [(CHECKSUM, !sum), (SOURCE, high), (SOURCE + 2, low)] {
        let place = (data + offset) as *mut u16;
        // SAFETY: within the headers, which were checked to be there, at an even address.
        unsafe { place.write((word as u16).to_be()) };
    }
    // SAFETY: numbers only.
    unsafe { bpf_redirect(set(&FLOOD_INTERFACE), 0) as u32 }
}

/// Drops everything.
#[xdp]
fn drop_all(_ctx: XdpContext) -> u32 {
    xdp_action::XDP_DROP
}

/// A value that the loader has set.
#[inline]
fn set(value: &'static u32) -> u32 {
    // SAFETY: a static. Volatile, or the compiler would take the value that stands here.
    unsafe { core::ptr::from_ref(value).read_volatile() }
}

/// An endless loop, which the verifier refuses: code that can panic does not load.
#[cfg(target_arch = "bpf")]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

/// The kernel lets only GPL-compatible programs call the helpers used here.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
