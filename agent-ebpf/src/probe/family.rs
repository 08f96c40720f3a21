//! The families of finished system calls. Attached to nothing: the dispatcher tail-calls them, so all share its
//! prototype, `sys_exit(struct pt_regs *regs, long ret)`.
//!
//! What a call's arguments mean comes from its plan (`SyscallPlan`); a family differs from the others only in
//! what it reads, which keeps each program small for the verifier.

use aya_ebpf::{macros::btf_tracepoint, programs::BtfTracePointContext};
use rampart_common::event::{AttrTag, EXTRA_ARGV, Family, SLOT_CWD};

use super::step::{begin, start};
use crate::{
    file, sock,
    trace::{self, Known},
};

/// open, openat, openat2, creat: path as given, its base, and the opened file.
#[btf_tracepoint(function = "sys_exit")]
#[inline(always)]
fn family_open(ctx: BtfTracePointContext) -> i32 {
    let Some(begun) = begin(&ctx, Family::Open) else { return 0 };
    begun.how();
    let file = begun.opened();
    begun.given(file);
    let known = if begun.first.wants_path() { trace::look(begun.record) } else { Known::Unknown };
    if begun.is_rejected(known) {
        return 0;
    }
    let step = begun.judge();
    if step.judge.wants_path() {
        if step.is_rejected_for_process(known) {
            return 0;
        }
        step.judge_paths(file);
        step.judge.process(step.task);
        if step.is_rejected() {
            return 0;
        }
    } else if step.is_rejected_by_numbers() {
        return 0;
    }
    step.put_paths(file);
    if !file.is_null() {
        file::put_facts(step.record, file);
    }
    step.finish();
    0
}

/// link, symlink and their kin: one or two paths; chdir: the directory it leads to.
#[btf_tracepoint(function = "sys_exit")]
#[inline(always)]
fn family_path(ctx: BtfTracePointContext) -> i32 {
    if let Some(step) = start(&ctx, Family::Path) {
        if step.is_rejected_by_numbers() {
            return 0;
        }
        step.path(step.plan.path, step.plan.dir, AttrTag::UserPath, AttrTag::BaseDir);
        if step.plan.fd == SLOT_CWD {
            // One or the other: each walk in a row multiplies the verifier's work.
            step.working_directory();
        } else {
            step.path(step.plan.path2, step.plan.dir2, AttrTag::UserPath2, AttrTag::BaseDir2);
        }
        step.text();
        step.finish();
    }
    0
}

/// Calls on sockets: the socket as the kernel has it after the call, and the address the program gave.
#[btf_tracepoint(function = "sys_exit")]
#[inline(always)]
fn family_net(ctx: BtfTracePointContext) -> i32 {
    if let Some(step) = start(&ctx, Family::Net) {
        if step.is_rejected_by_numbers() {
            return 0;
        }
        // First of all, for there its facts are looked for.
        if step.descriptor() && step.judge.wants_socket() {
            sock::classify(step.judge, step.record);
            step.judge.socket();
            if step.is_rejected() || step.is_counted() {
                return 0;
            }
        }
        step.peer();
        step.listener();
        step.data();
        step.bytes();
        step.finish();
    }
    0
}

/// Calls on an existing descriptor, and fchdir: the directory it leads to.
#[btf_tracepoint(function = "sys_exit")]
#[inline(always)]
fn family_fd(ctx: BtfTracePointContext) -> i32 {
    if let Some(step) = start(&ctx, Family::Fd) {
        if step.is_rejected_by_numbers() {
            return 0;
        }
        step.text();
        step.data();
        step.bytes();
        if step.plan.fd == SLOT_CWD {
            step.working_directory();
        } else {
            step.descriptor();
        }
        step.finish();
    }
    0
}

/// execve and execveat that failed; those that succeed are seen by `process_exec`.
#[btf_tracepoint(function = "sys_exit")]
#[inline(always)]
fn family_exec(ctx: BtfTracePointContext) -> i32 {
    if ctx.arg::<u64>(1) as i64 >= 0 {
        return 0;
    }
    if let Some(step) = start(&ctx, Family::Exec) {
        if step.is_rejected_by_numbers() {
            return 0;
        }
        step.path(step.plan.path, step.plan.dir, AttrTag::UserPath, AttrTag::BaseDir);
        if step.plan.extra_kind == EXTRA_ARGV {
            step.record.put_user_vector(AttrTag::Argv, step.record.arg(step.plan.extra), step.compat);
        }
        step.finish();
    }
    0
}

/// Calls told by their numbers, and a string or a structure at the most.
#[btf_tracepoint(function = "sys_exit")]
#[inline(always)]
fn family_scalar(ctx: BtfTracePointContext) -> i32 {
    if let Some(step) = start(&ctx, Family::Scalar) {
        if step.is_rejected_by_numbers() {
            return 0;
        }
        step.text();
        step.data();
        step.bytes();
        step.finish();
    }
    0
}
