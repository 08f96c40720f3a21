//! Process creation and end.
//!
//! Prototypes: `sched_process_fork(struct task_struct *parent, struct task_struct *child)` and
//! `sched_process_exit(struct task_struct *p)` (6.16 adds `bool group_dead`, not used). Minimum kernel 5.5. If
//! either does not attach, parents and ancestors go stale, so the agent refuses to start.

use aya_ebpf::{macros::btf_tracepoint, programs::BtfTracePointContext};
use rampart_common::{
    event::{EventKind, Family},
    member::Member as M,
};

use crate::{
    emit::seen,
    judge,
    maps::PROCESSES,
    read::{Typed, current_task},
};

/// A new process. Threads share their process's entry and are rejected here.
#[btf_tracepoint(function = "sched_process_fork")]
fn process_fork(ctx: BtfTracePointContext) -> i32 {
    let Some(seen) = seen(Family::Process, current_task()) else { return 0 };
    let child = Typed(ctx.arg(1));
    if child.load::<u32>(M::TaskPid) != child.load::<u32>(M::TaskTgid) {
        seen.filtered();
        return 0;
    }
    if let Some(record) = seen.record(EventKind::Fork, Family::Process, child) {
        seen.submit(record);
    }
    0
}

/// The end of a process: its last thread is going. Two last threads that leave at once may both report it.
#[btf_tracepoint(function = "sched_process_exit")]
fn process_exit(_ctx: BtfTracePointContext) -> i32 {
    let task = current_task();
    let Some(seen) = seen(Family::Process, task) else { return 0 };
    // Its children get another parent, also when only this thread ends.
    let parent = judge::has_children(task);
    if parent {
        judge::tree_changes();
    }
    if task.follow(M::TaskSignal).load::<u32>(M::SignalLive) != 0 {
        seen.filtered();
        return 0;
    }
    if let Some(record) = seen.record(EventKind::Exit, Family::Process, task) {
        record.header().ret = i64::from(task.load::<i32>(M::TaskExitCode));
        seen.submit(record);
    }
    if parent {
        judge::tree_changes();
    }
    let _ = PROCESSES.remove(task.load::<u32>(M::TaskTgid));
    0
}
