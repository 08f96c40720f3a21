//! Quarantine: what a control group sends, or sends and receives, is dropped until a moment, but for addresses that must
//! stay in reach.
//!
//! Attached to one group by links that are pinned, so it holds without the agent and ends by the kernel's clock.

#![no_std]
#![no_main]
#![expect(clippy::needless_pass_by_value, reason = "the program macros hand the context over by value")]
#![expect(unsafe_code, reason = "values that the loader sets and helpers; each block says why it is sound")]

use aya_ebpf::{
    EbpfContext as _,
    bindings::BPF_F_NO_PREALLOC,
    helpers::generated::{bpf_ktime_get_boot_ns, bpf_skb_load_bytes},
    macros::{cgroup_skb, map},
    maps::{Array, LpmTrie, PerCpuArray, lpm_trie::Key},
    programs::SkBuffContext,
};

/// Verdicts of such programs.
const DROP: i32 = 0;
const PASS: i32 = 1;
/// Where the source lies in the two headers; the destination is behind it.
const V4_SOURCE: u32 = 12;
const V6_SOURCE: u32 = 8;
/// Whose address the other end's is.
const SOURCE: u32 = 0;
const DESTINATION: u32 = 1;

/// When it ends, nanoseconds of the boot clock.
#[map]
static UNTIL: Array<u64> = Array::with_max_entries(1, 0);
/// Packets that were dropped.
#[map]
static DROPPED: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);
/// Addresses that stay in reach, IPv4 ones as mapped ones.
#[map]
static REACH: LpmTrie<[u8; 16], u8> = LpmTrie::with_max_entries(4096, BPF_F_NO_PREALLOC);

/// What the group sends.
#[cgroup_skb]
fn quarantine_egress(ctx: SkBuffContext) -> i32 {
    judge(&ctx, DESTINATION)
}

/// What it receives.
#[cgroup_skb]
fn quarantine_ingress(ctx: SkBuffContext) -> i32 {
    judge(&ctx, SOURCE)
}

/// `other` says which of the two addresses is the other end's.
#[inline]
fn judge(ctx: &SkBuffContext, other: u32) -> i32 {
    let until = UNTIL.get(0).copied().unwrap_or(0);
    // SAFETY: no arguments.
    if unsafe { bpf_ktime_get_boot_ns() } >= until {
        return PASS;
    }
    if let Some(address) = address(ctx, other)
        && REACH.get(Key::new(128, address)).is_some()
    {
        return PASS;
    }
    if let Some(count) = DROPPED.get_ptr_mut(0) {
        // SAFETY: a value of this CPU; the program is not interrupted by itself on it.
        unsafe { *count += 1 };
    }
    DROP
}

/// The address of the other end; `None` when there is no whole IP header.
#[inline]
fn address(ctx: &SkBuffContext, other: u32) -> Option<[u8; 16]> {
    let mut first = [0u8; 1];
    load(ctx, 0, &mut first)?;
    let [version] = first.map(|byte| byte >> 4);
    match version {
        4 => {
            let mut v4 = [0u8; 4];
            load(ctx, V4_SOURCE + other * 4, &mut v4)?;
            let [a, b, c, d] = v4;
            Some([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d])
        }
        6 => {
            let mut v6 = [0u8; 16];
            load(ctx, V6_SOURCE + other * 16, &mut v6)?;
            Some(v6)
        }
        _ => None,
    }
}

#[inline]
fn load<const N: usize>(ctx: &SkBuffContext, offset: u32, into: &mut [u8; N]) -> Option<()> {
    // SAFETY: the buffer is `N` bytes long and lives on; the helper checks the packet's length.
    let code = unsafe { bpf_skb_load_bytes(ctx.as_ptr().cast(), offset, into.as_mut_ptr().cast(), N as u32) };
    (code == 0).then_some(())
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
