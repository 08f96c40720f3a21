//! Rampart's kernel programs.
//!
//! `tp_btf/sys_exit` looks the finished system call up in the table of wanted calls and tail-calls the program of
//! its family; three more tracepoints follow processes. Every program returns 0 whatever happens: nothing here
//! can change what the watched program sees.
//!
//! Invariants:
//! - a program that reaches its family's counter adds one to `seen` and one to exactly one of `filtered`,
//!   `emitted`, `ring_full`, `error`;
//! - kernel memory is read only through [`read`], whose loads fault to zero instead of failing;
//! - no structure offset is a literal: all come from [`read::layout`], whose numbers the loader fills in.

#![no_std]
#![no_main]
#![feature(asm_experimental_arch)]
#![expect(
    clippy::inline_always,
    reason = "tail calls and kernel-to-kernel function calls do not mix before 5.10 on every architecture"
)]
#![expect(clippy::needless_pass_by_value, reason = "the program macros hand the context over by value")]
#![expect(unsafe_code, reason = "maps, helpers and kernel pointers; each block says why it is sound")]

mod cell;
mod cgroup;
mod emit;
mod file;
mod image;
mod judge;
mod maps;
mod path;
mod probe;
mod read;
mod recall;
mod record;
mod scan;
mod sock;
mod stream;
mod task;
mod trace;
mod trail;

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
