//! `tp_btf/sys_exit`: one program in front of all families.
//!
//! Prototype: `sys_exit(struct pt_regs *regs, long ret)`, unchanged since 2.6. Minimum kernel 5.5 for BTF
//! tracepoints. If it does not attach, no system call is seen at all, and the agent refuses to start.

use aya_ebpf::{macros::btf_tracepoint, programs::BtfTracePointContext};
use rampart_common::event::Family;

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
        // By a number that the verifier knows the call is a plain jump, otherwise one by way of a table, which
        // mitigations make slow.
        macro_rules! leave_for {
            ($($family:ident)*) => {
                $(if plan.family == Family::$family as u8 {
                    // SAFETY: a tail call leaves nothing behind that would need dropping; if it fails the call is not
                    // seen, which cannot happen while the agent keeps every family's program in the array.
                    unsafe { FAMILIES.tail_call(&ctx, Family::$family as u32) };
                })*
            };
        }
        leave_for!(Open Net Fd Path Exec Scalar);
    }
    0
}
