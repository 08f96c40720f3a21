//! The families of finished system calls. Attached to nothing: the dispatcher tail-calls them, so all share its
//! prototype, `sys_exit(struct pt_regs *regs, long ret)`.
//!
//! What a call's arguments mean comes from its plan (`SyscallPlan`); a family differs from the others only in
//! what it reads, which keeps each program small for the verifier.

use aya_ebpf::{macros::btf_tracepoint, programs::BtfTracePointContext};
use rampart_common::event::{
    ArgSlot, AttrTag, BYTES_MAX, DATA_BUFFER, DATA_MAX, DATA_MSGHDR, EXTRA_ARGV, EXTRA_LISTENER,
    EXTRA_MSGHDR, EXTRA_OPEN_HOW, EXTRA_SOCKADDR, EXTRA_SOCKADDR_OUT, EventKind, Family, RECORD_COMPAT32,
    SLOT_CWD, SLOT_NO_BASE, SLOT_RETURN, SOCKADDR_MAX, SyscallPlan,
};

use crate::{
    emit::{Seen, seen},
    file,
    maps::WANTED,
    path,
    probe::regs,
    read::{Typed, current_task, user},
    record::Record,
    sock,
};

/// `AT_FDCWD`: the directory argument means the working directory.
const AT_FDCWD: i32 = -100;

/// A call on its way through a family's program.
struct Step {
    seen: Seen,
    record: Record,
    task: Typed,
    plan: SyscallPlan,
    ret: i64,
    compat: bool,
}

/// Counts the call, rejects the agent's own, and starts the record with its number, arguments and result.
#[inline(always)]
fn start(ctx: &BtfTracePointContext, family: Family) -> Option<Step> {
    let seen = seen(family)?;
    let task = current_task();
    let call = regs::call(Typed(ctx.arg(0)), task);
    let plan = call.and_then(|call| WANTED.get(call.nr));
    let (Some(call), Some(plan)) = (call, plan) else {
        seen.filtered();
        return None;
    };
    let plan = *plan;
    if plan.family != family as u8 {
        // The table changed between the dispatcher and here.
        seen.filtered();
        return None;
    }
    let ret: i64 = ctx.arg::<u64>(1) as i64;
    let ret = if call.compat { i64::from(ret as i32) } else { ret };
    let record = seen.record(EventKind::Syscall, family, task)?;
    record.set_args(call.args);
    let header = record.header();
    header.syscall = call.nr;
    header.ret = ret;
    header.args = call.args;
    if call.compat {
        header.flags |= RECORD_COMPAT32;
    }
    Some(Step { seen, record, task, plan, ret, compat: call.compat })
}

impl Step {
    /// A path argument, and the directory it starts from when it is relative.
    #[inline(always)]
    fn path(&self, slot: ArgSlot, dir: ArgSlot, text: AttrTag, base: AttrTag) {
        if slot == 0 {
            return;
        }
        let address = self.record.arg(slot);
        self.record.put_user_text(text, address);
        if dir == SLOT_NO_BASE || user::<u8>(address) == b'/' {
            return;
        }
        let fd = if dir == 0 { AT_FDCWD } else { self.record.arg(dir) as i32 };
        let start = if fd == AT_FDCWD {
            path::cwd(self.task)
        } else {
            let file = file::of(self.task, i64::from(fd));
            if file.is_null() {
                return;
            }
            file::path(file)
        };
        path::put(self.record, base, start, path::root(self.task));
    }

    /// The file or socket of the plan's descriptor.
    #[inline(always)]
    fn descriptor(&self) {
        if self.plan.fd == 0 {
            return;
        }
        let fd = if self.plan.fd == SLOT_RETURN {
            self.ret
        } else {
            i64::from(self.record.arg(self.plan.fd) as i32)
        };
        file::put(self.record, file::of(self.task, fd));
    }

    /// The working directory after the call.
    #[inline(always)]
    fn working_directory(&self) {
        path::put(self.record, AttrTag::Cwd, path::cwd(self.task), path::root(self.task));
    }

    /// The peer address that the program gave.
    #[inline(always)]
    fn peer(&self) {
        let pointer = self.record.arg(self.plan.extra);
        if self.plan.extra == 0 || pointer == 0 {
            return;
        }
        if self.plan.extra_kind == EXTRA_SOCKADDR {
            let len = self.record.arg(self.plan.extra + 1) & 0xffff_ffff;
            self.record.put_user_bytes(AttrTag::SockAddr, pointer, len, SOCKADDR_MAX as u64);
        }
        if self.plan.extra_kind == EXTRA_SOCKADDR_OUT && self.ret >= 0 {
            let len = user::<u32>(self.record.arg(self.plan.extra + 1));
            self.record.put_user_bytes(AttrTag::SockAddr, pointer, u64::from(len), SOCKADDR_MAX as u64);
        }
        if self.plan.extra_kind == EXTRA_MSGHDR {
            let (name, len) = if self.compat {
                (u64::from(user::<u32>(pointer)), user::<u32>(pointer + 4))
            } else {
                (user::<u64>(pointer), user::<u32>(pointer + 8))
            };
            if name != 0 {
                self.record.put_user_bytes(AttrTag::SockAddr, name, u64::from(len), SOCKADDR_MAX as u64);
            }
        }
    }

    /// A string argument that is not a path.
    #[inline(always)]
    fn text(&self) {
        if self.plan.text != 0 {
            self.record.put_user_text(AttrTag::Text, self.record.arg(self.plan.text));
        }
    }

    /// A structure argument.
    #[inline(always)]
    fn bytes(&self) {
        if self.plan.bytes != 0 {
            let len = u64::from(self.plan.bytes_len);
            self.record.put_user_bytes(
                AttrTag::Bytes,
                self.record.arg(self.plan.bytes),
                len,
                BYTES_MAX as u64,
            );
        }
    }

    /// The start of what was read or written; nothing when the call failed.
    #[inline(always)]
    fn data(&self) {
        if self.plan.data == 0 || self.ret < 0 {
            return;
        }
        let mut address = self.record.arg(self.plan.data);
        let mut len = if self.plan.data_len == SLOT_RETURN {
            self.ret as u64
        } else {
            self.record.arg(self.plan.data_len)
        };
        if self.plan.data_kind == DATA_MSGHDR {
            // `msg_iov` lies behind the name and its length.
            address = self.user_word(address, 2);
        }
        if self.plan.data_kind != DATA_BUFFER {
            let room = self.user_word(address, 1);
            address = self.user_word(address, 0);
            // The call may have used less than the first element offers, or more than it.
            len = if self.ret as u64 > room { room } else { self.ret as u64 };
        }
        self.record.put_user_bytes(AttrTag::Data, address, len, DATA_MAX as u64);
    }

    /// A pointer-sized word of the program's memory, by index.
    #[inline(always)]
    fn user_word(&self, address: u64, index: u64) -> u64 {
        if self.compat { u64::from(user::<u32>(address + index * 4)) } else { user(address + index * 8) }
    }

    /// The queue of the socket that a connection was accepted from.
    #[inline(always)]
    fn listener(&self) {
        if self.plan.extra_kind == EXTRA_LISTENER {
            let fd = i64::from(self.record.arg(self.plan.extra) as i32);
            sock::put_backlog(self.record, file::of(self.task, fd));
        }
    }

    #[inline(always)]
    fn finish(self) {
        self.seen.submit(self.record);
    }
}

/// open, openat, openat2, creat: path as given, its base, and the opened file.
#[btf_tracepoint(function = "sys_exit")]
fn family_open(ctx: BtfTracePointContext) -> i32 {
    if let Some(step) = start(&ctx, Family::Open) {
        step.path(step.plan.path, step.plan.dir, AttrTag::UserPath, AttrTag::BaseDir);
        if step.plan.extra_kind == EXTRA_OPEN_HOW {
            let how: [u64; 3] = user(step.record.arg(step.plan.extra));
            step.record.put(AttrTag::OpenHow, how);
        }
        step.descriptor();
        step.finish();
    }
    0
}

/// link, symlink and their kin: one or two paths; chdir: the directory it leads to.
#[btf_tracepoint(function = "sys_exit")]
fn family_path(ctx: BtfTracePointContext) -> i32 {
    if let Some(step) = start(&ctx, Family::Path) {
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
fn family_net(ctx: BtfTracePointContext) -> i32 {
    if let Some(step) = start(&ctx, Family::Net) {
        step.peer();
        step.listener();
        step.data();
        step.bytes();
        step.descriptor();
        step.finish();
    }
    0
}

/// Calls on an existing descriptor, and fchdir: the directory it leads to.
#[btf_tracepoint(function = "sys_exit")]
fn family_fd(ctx: BtfTracePointContext) -> i32 {
    if let Some(step) = start(&ctx, Family::Fd) {
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
fn family_exec(ctx: BtfTracePointContext) -> i32 {
    if ctx.arg::<u64>(1) as i64 >= 0 {
        return 0;
    }
    if let Some(step) = start(&ctx, Family::Exec) {
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
fn family_scalar(ctx: BtfTracePointContext) -> i32 {
    if let Some(step) = start(&ctx, Family::Scalar) {
        step.text();
        step.data();
        step.bytes();
        step.finish();
    }
    0
}
