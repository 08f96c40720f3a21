//! `tp_btf/sys_exit`: one program in front of all families.
//!
//! Prototype: `sys_exit(struct pt_regs *regs, long ret)`, unchanged since 2.6. Minimum kernel 5.5 for BTF
//! tracepoints. If it does not attach, no system call is seen at all, and the agent refuses to start.

use aya_ebpf::{macros::btf_tracepoint, programs::BtfTracePointContext};

use crate::{
    maps::{FAMILIES, WANTED},
    probe::regs,
    read::{Typed, current_task},
};

/// Looks the call up and leaves for its family; an unwanted call ends here after one array lookup.
#[btf_tracepoint(function = "sys_exit")]
fn dispatch(ctx: BtfTracePointContext) -> i32 {
    let regs = Typed(ctx.arg(0));
    if let Some((nr, _)) = regs::number(regs, current_task())
        && let Some(plan) = WANTED.get(nr)
        && plan.family != 0
    {
        let family = u32::from(plan.family);
        // SAFETY: a tail call leaves nothing behind that would need dropping; if it fails the call is not seen,
        // which cannot happen while the agent keeps every family's program in the array.
        unsafe { FAMILIES.tail_call(&ctx, family) };
    }
    0
}
