//! A program that does nothing at the end of every system call, for measurements: what the kernel takes for calling it is
//! what any agent that watches system calls costs. No part of the product.
//!
//! Minimum kernel 5.5, for BTF tracepoints.

#![no_std]
#![no_main]
#![expect(unsafe_code, reason = "names of sections that the kernel reads")]

use aya_ebpf::{macros::btf_tracepoint, programs::BtfTracePointContext};

/// Returns.
#[btf_tracepoint(function = "sys_exit")]
fn nothing(_ctx: BtfTracePointContext) -> i32 {
    0
}

/// An endless loop, which the verifier refuses: code that can panic does not load.
#[cfg(target_arch = "bpf")]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

/// The same licence as the programs it is compared with.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
