//! What each process runs: written when it starts to, copied when it forks, removed when it ends.
//!
//! Prototypes: see the event programs, which are attached to the same tracepoints. Each runs before the process does anything
//! else: an exec before the new image runs, a fork before the child does.

use aya_ebpf::{macros::btf_tracepoint, maps::lpm_trie::Key, programs::BtfTracePointContext};
use rampart_common::{
    deny::{PATH_BYTES, TICK_NS},
    member::Member as M,
};

use crate::{
    maps::DENY_RUNNING,
    read::{Raw, Typed, current_task, layout},
    scratch::Held,
    walk::{Place, walk},
};

/// A process runs another image.
#[btf_tracepoint(function = "sched_process_exec")]
fn deny_image(_ctx: BtfTracePointContext) -> i32 {
    let task = current_task();
    let pid: u32 = task.load(M::TaskTgid);
    let Some(held) = Held::take() else {
        let _ = DENY_RUNNING.remove(pid);
        return 0;
    };
    let exe = Raw(task.follow(M::TaskMm).load::<u64>(M::MmExeFile));
    if walk(held, Place::of_file(exe), Place::root_of(task)) && fill(held, task) {
        // When there is no room nothing is refused to the process, which is counted.
        if DENY_RUNNING.insert(pid, &held.get().running, 0).is_err() {
            let _ = DENY_RUNNING.remove(pid);
        }
    } else {
        let _ = DENY_RUNNING.remove(pid);
    }
    held.release();
    0
}

/// Prepares the entry of a process whose executable has been walked.
#[inline(always)]
fn fill(held: Held, task: Typed) -> bool {
    let (_, len) = held.span();
    if len >= PATH_BYTES as u64 {
        return false;
    }
    held.path_to_key(0);
    let scratch = held.get();
    let running = &mut scratch.running;
    running.start_ticks = task.follow(M::TaskGroupLeader).load::<u64>(M::TaskStartBoottime) / TICK_NS;
    running.exe_len = len as u32;
    running.file_len = scratch.file_len as u32;
    let name: [u64; 2] = [task.load(M::TaskComm), task.load_at(layout(M::TaskComm) + 8)];
    // SAFETY: as many bytes, and every bit pattern is a value.
    running.name = unsafe { core::mem::transmute::<[u64; 2], [u8; 16]>(name) };
    let Key { data, .. } = &scratch.key;
    // What is behind the path is left over from another one, and not looked at.
    running.exe.get_mut(..PATH_BYTES).is_some_and(|place| {
        place.copy_from_slice(&data.path);
        true
    })
}

/// A process, not a thread, is made.
#[btf_tracepoint(function = "sched_process_fork")]
fn deny_fork(ctx: BtfTracePointContext) -> i32 {
    let (parent, child) = (Typed(ctx.arg(0)), Typed(ctx.arg(1)));
    let pid: u32 = child.load(M::TaskTgid);
    if child.load::<u32>(M::TaskPid) != pid {
        return 0;
    }
    let of_parent = DENY_RUNNING.get_ptr(parent.load::<u32>(M::TaskTgid));
    let held = Held::take();
    if let (Some(of_parent), Some(held)) = (of_parent, held) {
        let running = &mut held.get().running;
        // SAFETY: a value of the map; the parent is in its fork and runs nothing else meanwhile.
        *running = unsafe { *of_parent };
        running.start_ticks = child.load::<u64>(M::TaskStartBoottime) / TICK_NS;
        if DENY_RUNNING.insert(pid, &held.get().running, 0).is_err() {
            let _ = DENY_RUNNING.remove(pid);
        }
    } else {
        let _ = DENY_RUNNING.remove(pid);
    }
    if let Some(held) = held {
        held.release();
    }
    0
}

/// The last thread of a process ends.
#[btf_tracepoint(function = "sched_process_exit")]
fn deny_exit(_ctx: BtfTracePointContext) -> i32 {
    let task = current_task();
    if task.follow(M::TaskSignal).load::<u32>(M::SignalLive) == 0 {
        let _ = DENY_RUNNING.remove(task.load::<u32>(M::TaskTgid));
    }
    0
}
