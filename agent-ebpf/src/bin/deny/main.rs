//! Programs that refuse operations before they happen, at the kernel's security hooks (BPF LSM).
//!
//! An object of its own, loaded only where a rule asks for it. The hooks look the operation up in tables that the agent
//! made of rules (see `rampart_common::deny`); three tracepoints keep what each process runs. Whatever is not known lets the
//! operation go on: the programs refuse only what is certain.
//!
//! Minimum kernel 5.12, for atomic exchange; security hooks run only where `bpf` is in the kernel's list of security modules.

#![no_std]
#![no_main]
#![feature(asm_experimental_arch, core_intrinsics)]
#![expect(internal_features, reason = "the target has no atomic types, but the instructions")]
#![expect(clippy::inline_always, reason = "kernel programs are made of it: a call is not free there")]
#![expect(
    clippy::needless_borrows_for_generic_args,
    reason = "by value keys and values would go over the stack"
)]
#![expect(clippy::needless_pass_by_value, reason = "the program macros hand the context over by value")]
#![expect(unsafe_code, reason = "maps, helpers and kernel pointers; each block says why it is sound")]

mod connect;
mod exec;
mod follow;
mod maps;
mod open;
mod scratch;
mod subject;
mod tell;
mod walk;

#[path = "../../read.rs"]
#[expect(dead_code, reason = "shared with the event programs, which read more")]
mod read;
#[path = "../../task.rs"]
mod task;

/// The operation goes on.
const PASS: i32 = 0;
/// It fails with `EPERM`.
const REFUSE: i32 = -1;

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
