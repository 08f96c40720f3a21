//! `tp_btf/sched_process_exec`: a process image was replaced.
//!
//! Prototype: `sched_process_exec(struct task_struct *p, pid_t old_pid, struct linux_binprm *bprm)`, since 3.4.
//! Minimum kernel 5.5. If it does not attach, no exec is seen and the process table goes stale, so the agent
//! refuses to start.

use aya_ebpf::{macros::btf_tracepoint, programs::BtfTracePointContext};
use rampart_common::{
    event::{AttrTag, EXEC_WRITABLE, EventKind, ExecFacts, Family, TEXT_MAX, UsageFacts},
    member::Member as M,
};

use crate::{
    cgroup,
    emit::seen,
    file, image, judge, path,
    probe::regs,
    read::{Raw, Typed, current_task, has, layout},
    record::Record,
};

/// Index of the limit of descriptors in `signal_struct.rlim` (`RLIMIT_NOFILE`).
const RLIMIT_NOFILE: u64 = 7;
/// Bytes of `struct rlimit`: soft and hard.
const RLIMIT_BYTES: u64 = 16;
/// Indices in `mm_struct.rss_stat`.
const MM_FILE: u64 = 0;
const MM_ANONYMOUS: u64 = 1;
const MM_SWAP: u64 = 2;
const MM_SHARED: u64 = 3;

/// Arguments and environment are read from the new image's memory, where the kernel has just put them.
#[btf_tracepoint(function = "sched_process_exec")]
fn process_exec(ctx: BtfTracePointContext) -> i32 {
    let task = current_task();
    let Some(seen) = seen(Family::Exec, task) else { return 0 };
    let parent = judge::has_children(task);
    if parent {
        judge::tree_changes();
    }
    let Some(record) = seen.record(EventKind::Exec, Family::Exec, task) else { return 0 };
    let bprm = Typed(ctx.arg(2));
    let by_descriptor = has(M::BprmFdpath) && bprm.load::<u64>(M::BprmFdpath) != 0;
    record.header().syscall = if by_descriptor { regs::EXEC.1 } else { regs::EXEC.0 };
    let mm = task.follow(M::TaskMm);
    let exe = Raw(mm.load(M::MmExeFile));
    put_memory(record, mm, exe, ctx.arg::<u64>(1) as u32);
    put_usage(record, task, mm);
    record.put_kernel_text(AttrTag::ExecName, Raw(bprm.load(M::BprmFilename)));
    file::put_facts(record, exe);
    let root = path::root(task);
    record.image().path_len = 0;
    if let Some(path) = path::put(record, AttrTag::ExePath, file::path(exe), root) {
        record.set_image_path(path);
    }
    image::specialise(record);
    let _ = path::put(record, AttrTag::Cwd, path::cwd(task), root);
    cgroup::put(record, task);
    seen.submit(record);
    if parent {
        judge::tree_changes();
    }
    0
}

/// Arguments, environment and their sizes.
#[inline(always)]
fn put_memory(record: Record, mm: Typed, exe: Raw, old_tid: u32) {
    let (args, args_end): (u64, u64) = (mm.load(M::MmArgStart), mm.load(M::MmArgEnd));
    let (env, env_end): (u64, u64) = (mm.load(M::MmEnvStart), mm.load(M::MmEnvEnd));
    let argv_bytes = args_end.wrapping_sub(args);
    let envp_bytes = env_end.wrapping_sub(env);
    let inode = exe.follow(M::FileInode);
    let mode = u32::from(inode.load::<u16>(M::InodeMode));
    let facts = &record.header().task;
    let writable = if facts.euid == 0 {
        true
    } else if inode.load::<u32>(M::InodeUid) == facts.euid {
        mode & 0o200 != 0
    } else if inode.load::<u32>(M::InodeGid) == facts.egid {
        mode & 0o020 != 0
    } else {
        mode & 0o002 != 0
    };
    let flags = if writable { EXEC_WRITABLE } else { 0 };
    record.put(AttrTag::Exec, ExecFacts { argv_bytes, envp_bytes, old_tid, flags });
    record.put_user_bytes(AttrTag::Argv, args, argv_bytes, TEXT_MAX as u64);
    record.put_user_bytes(AttrTag::Envp, env, envp_bytes, TEXT_MAX as u64);
}

/// Memory, page faults and the limit of descriptors. Zero where this kernel has no such member.
#[inline(always)]
fn put_usage(record: Record, task: Typed, mm: Typed) {
    let word = |object: Typed, member: M| if has(member) { object.load(member) } else { 0 };
    let fd_limit = if has(M::SignalLimits) {
        task.follow(M::TaskSignal).raw().plus(layout(M::SignalLimits)).load_at(RLIMIT_NOFILE * RLIMIT_BYTES)
    } else {
        0
    };
    let usage = UsageFacts {
        major_faults: word(task, M::TaskMajorFaults),
        minor_faults: word(task, M::TaskMinorFaults),
        virtual_pages: word(mm, M::MmTotalVm),
        resident_pages: pages(mm, MM_FILE) + pages(mm, MM_ANONYMOUS) + pages(mm, MM_SHARED),
        swapped_pages: pages(mm, MM_SWAP),
        fd_limit,
    };
    record.put(AttrTag::Usage, usage);
}

/// Pages of one kind.
#[inline(always)]
fn pages(mm: Typed, kind: u64) -> u64 {
    if !has(M::MmRssStat) {
        return 0;
    }
    let start = mm.raw().plus(layout(M::MmRssStat));
    let count: i64 = if has(M::MmRssCount) {
        start.plus(layout(M::MmRssCount)).load_at(kind * 8)
    } else if has(M::PercpuCounterSize) && has(M::PercpuCounterCount) {
        start.plus(kind * layout(M::PercpuCounterSize)).load(M::PercpuCounterCount)
    } else {
        0
    };
    // What other CPUs have not added yet can make it negative.
    if count < 0 { 0 } else { count as u64 }
}
