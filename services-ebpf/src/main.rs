//! Rampart's services: programs at `connect()` and at a connection's end around `rampart_common::service`.
//!
//! An object of its own, loaded apart from the event programs; its maps and links are pinned. It chooses backends, opens
//! breakers and tries again without the agent.
//!
//! A socket that asks for no virtual address of ours is left as it is, whatever happens here; so is one of a thread of the
//! kernel, and one that carries the mark of health checks. Programs of a loading that is not in charge do nothing.

#![no_std]
#![no_main]
#![feature(core_intrinsics)]
#![expect(internal_features, reason = "compare-exchange has no other way to this target")]
#![expect(
    clippy::inline_always,
    reason = "what is shared is a function the verifier sees once; all else is part of its program"
)]
#![expect(clippy::needless_pass_by_value, reason = "the program macros hand the context over by value")]
#![expect(unsafe_code, reason = "maps, helpers and sockets; each block says why it is sound")]

mod breaker;
mod choice;
mod fact;
mod maps;
mod probe;
mod socket;
mod word;

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
