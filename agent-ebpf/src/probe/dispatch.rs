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

/// Looks the call up and leaves for its family; an unwanted call ends here after one array lookup. Whether a call is one of
/// 32 bits is asked only where its number may be another call's then: the family's program asks once more.
#[btf_tracepoint(function = "sys_exit")]
fn dispatch(ctx: BtfTracePointContext) -> i32 {
    if let Some(family) = family(Typed(ctx.arg(0))) {
        // By a number that the verifier knows the call is a plain jump, otherwise one by way of a table, which
        // mitigations make slow.
        macro_rules! leave_for {
            ($($family:ident)*) => {
                $(if family == Family::$family as u8 {
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

/// The family of a call that is wanted, or may be: never 0.
#[inline(always)]
fn family(regs: Typed) -> Option<u8> {
    let mut plan = WANTED.get(regs::plain_number(regs))?;
    if plan.aliased != 0 {
        plan = WANTED.get(regs::number(regs, current_task())?.0)?;
    }
    (plan.family != 0).then_some(plan.family)
}
