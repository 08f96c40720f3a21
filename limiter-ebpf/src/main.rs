//! Rampart's rate limiter: XDP and tc programs around the pipeline of `rampart_common::limit`.
//!
//! An object of its own, loaded apart from the event programs: what fails in one leaves the other running, and these
//! maps and links are pinned where those are not.
//!
//! Each packet is counted under exactly one reason. A program that cannot do its work (a map that is not there) lets
//! the packet pass.

#![no_std]
#![no_main]
#![feature(core_intrinsics)]
#![expect(internal_features, reason = "compare-exchange has no other way to this target")]
#![expect(
    clippy::inline_always,
    reason = "one program, one function: the verifier follows it best, and calls cost"
)]
#![expect(clippy::needless_pass_by_value, reason = "the program macros hand the context over by value")]
#![expect(unsafe_code, reason = "maps, helpers and packet bytes; each block says why it is sound")]

mod frame;
mod maps;
mod probe;
mod reset;
mod word;
mod world;

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
