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
    emit::{Seen, head, seen},
    file,
    judge::{First, Judge, shadow_every},
    maps::WANTED,
    path::{self, Written},
    probe::regs,
    read::{Raw, Typed, current_task, user},
    record::Record,
    scan::{Run, SAME, SKIP},
    sock,
};

/// Longer text is not looked at.
const SCANNED_TEXT: u64 = 512;

/// `AT_FDCWD`: the directory argument means the working directory.
const AT_FDCWD: i32 = -100;

/// Cell with where the text of the path starts; 0 = it could not be read.
const TEXT: usize = 4;
/// Cell with its length.
const LENGTH: usize = 5;
/// Cell that is 1 when it is relative.
const RELATIVE: usize = 6;
/// Cell that is 1 when nothing is left to be done about the paths.
const DONE: usize = 7;
/// Cell with where the directory's path starts; 0 = it is not known.
const BASE: usize = 8;

/// A call on its way through a family's program.
struct Step {
    seen: Seen,
    record: Record,
    task: Typed,
    plan: SyscallPlan,
    ret: i64,
    compat: bool,
    family: Family,
    judge: Judge,
}

/// Counts the call, rejects the agent's own and those of which no rule speaks, and starts the record with its number,
/// arguments and result.
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
    if plan.family != family as u8 {
        // The table changed between the dispatcher and here.
        seen.filtered();
        return None;
    }
    let ret: i64 = ctx.arg::<u64>(1) as i64;
    let ret = if call.compat { i64::from(ret as i32) } else { ret };
    let first = First::look(call.nr, ret < 0);
    if first.rejects() && !seen.is_sample(shadow_every()) {
        seen.filtered();
        return None;
    }
    let plan = *plan;
    let record = seen.claim()?;
    let judge = Judge::begin(record, family, first);
    record.set_args(call.args);
    let header = record.header();
    header.syscall = call.nr;
    header.ret = ret;
    header.args = call.args;
    if call.compat {
        header.flags |= RECORD_COMPAT32;
    }
    record.key().numbers =
        [record.arg(plan.numbers[0]), record.arg(plan.numbers[1]), record.arg(plan.numbers[2])];
    Some(Step { seen, record, task, plan, ret, compat: call.compat, family, judge })
}

impl Step {
    /// Gives up an event that no rule can match; one in many goes on as a sample.
    #[inline(always)]
    fn is_rejected(&self) -> bool {
        if !self.judge.rejects() || self.seen.is_sample(shadow_every()) {
            return false;
        }
        self.seen.filtered();
        self.record.release();
        true
    }

    /// Looks at the numbers and the process of a call that has no path to look at.
    #[inline(always)]
    fn is_rejected_by_numbers(&self) -> bool {
        self.judge.process(self.task);
        self.judge.numbers();
        self.is_rejected()
    }

    /// Writes the path as the program gave it, and notes what it is like.
    #[inline(always)]
    fn given(&self) {
        let record = self.record;
        record.set_cell::<TEXT>(0);
        record.set_cell::<LENGTH>(0);
        record.set_cell::<RELATIVE>(0);
        if self.plan.path == 0 {
            return;
        }
        let Some(payload) = record.put_user_text(AttrTag::UserPath, record.arg(self.plan.path)) else {
            return;
        };
        let len = record.filled();
        record.set_cell::<TEXT>(payload);
        record.set_cell::<LENGTH>(len);
        record.set_cell::<RELATIVE>(u64::from(len == 0 || record.byte(payload) != b'/'));
    }

    /// Writes the paths of an opened file, or of one that could not be opened, and narrows by them.
    #[inline(always)]
    fn paths(&self, file: Raw) {
        let record = self.record;
        self.given();
        record.set_cell::<DONE>(u64::from(!self.judge.wants_path()));
        if !file.is_null()
            && let Some(real) = file::put_path(record, file)
            && record.cell::<DONE>() == 0
        {
            self.real_path(real);
        }
        record.set_cell::<BASE>(0);
        if record.cell::<RELATIVE>() != 0
            && let Some(base) = self.base(self.plan.dir, AttrTag::BaseDir)
            && base.whole
        {
            record.set_cell::<BASE>(base.payload);
        }
        if record.cell::<DONE>() == 0 {
            self.lexical_path();
        }
    }

    /// Classifies the path of the file.
    #[inline(always)]
    fn real_path(&self, real: Written) {
        let record = self.record;
        let Some(tables) = self.judge.tables() else { return };
        let (start, len) = (record.cell::<TEXT>(), record.cell::<LENGTH>());
        let same_len = start != 0 && record.cell::<RELATIVE>() == 0 && record.filled() == len;
        record.set_cell::<SAME>(u64::from(same_len));
        let whole = Run::start(record, &tables.paths).names(real.payload, 0, start + len);
        if !whole || !real.whole {
            record.set_cell::<DONE>(1);
            return;
        }
        let same = record.cell::<SAME>() != 0;
        self.judge.view(*record.signature(), same);
        // A file opened by handle has one name, the kernel's.
        if same || self.plan.path == 0 {
            self.judge.narrow();
            record.set_cell::<DONE>(1);
        }
    }

    /// Classifies the path as the program gave it, and narrows by both.
    #[inline(always)]
    fn lexical_path(&self) {
        let record = self.record;
        let Some(tables) = self.judge.tables() else { return };
        let (start, len, base) = (record.cell::<TEXT>(), record.cell::<LENGTH>(), record.cell::<BASE>());
        let relative = record.cell::<RELATIVE>() != 0;
        if start == 0 || len >= SCANNED_TEXT || (relative && base == 0) {
            return;
        }
        let run = Run::start(record, &tables.paths);
        if !run.text(start, len) {
            return;
        }
        if !relative {
            record.set_cell::<SKIP>(u64::MAX);
        }
        if run.names(base, record.cell::<SKIP>(), 0) {
            self.judge.view(*record.signature(), false);
            self.judge.narrow();
        }
    }

    /// A path argument, and the directory it starts from when it is relative.
    #[inline(always)]
    fn path(&self, slot: ArgSlot, dir: ArgSlot, text: AttrTag, base: AttrTag) {
        if slot == 0 {
            return;
        }
        let address = self.record.arg(slot);
        let _ = self.record.put_user_text(text, address);
        if dir == SLOT_NO_BASE || user::<u8>(address) == b'/' {
            return;
        }
        self.base(dir, base);
    }

    /// The directory that a relative path starts from.
    #[inline(always)]
    fn base(&self, dir: ArgSlot, tag: AttrTag) -> Option<Written> {
        let fd = if dir == 0 { AT_FDCWD } else { self.record.arg(dir) as i32 };
        let start = if fd == AT_FDCWD {
            path::cwd(self.task)
        } else {
            let file = file::of(self.task, i64::from(fd));
            if file.is_null() {
                return None;
            }
            file::path(file)
        };
        path::put(self.record, tag, start, path::root(self.task))
    }

    /// The file or socket of the plan's descriptor; whether it is a socket.
    #[inline(always)]
    fn descriptor(&self) -> bool {
        if self.plan.fd == 0 {
            return false;
        }
        let fd = if self.plan.fd == SLOT_RETURN {
            self.ret
        } else {
            i64::from(self.record.arg(self.plan.fd) as i32)
        };
        file::put(self.record, file::of(self.task, fd))
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
            let _ = self.record.put_user_text(AttrTag::Text, self.record.arg(self.plan.text));
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

    /// Completes the record and sends it.
    #[inline(always)]
    fn finish(self) {
        self.judge.write();
        head(self.record, EventKind::Syscall, self.family, self.task);
        self.seen.submit(self.record);
    }
}

/// open, openat, openat2, creat: path as given, its base, and the opened file.
#[btf_tracepoint(function = "sys_exit")]
fn family_open(ctx: BtfTracePointContext) -> i32 {
    if let Some(step) = start(&ctx, Family::Open) {
        if step.plan.extra_kind == EXTRA_OPEN_HOW {
            let how: [u64; 3] = user(step.record.arg(step.plan.extra));
            step.record.put(AttrTag::OpenHow, how);
            step.record.key().numbers = how;
        }
        if !step.judge.wants_path() && step.is_rejected_by_numbers() {
            return 0;
        }
        let file = if step.plan.fd == SLOT_RETURN { file::of(step.task, step.ret) } else { Raw(0) };
        step.paths(file);
        if step.judge.wants_path() {
            step.judge.process(step.task);
            if step.is_rejected() {
                return 0;
            }
        }
        if !file.is_null() {
            file::put_facts(step.record, file);
        }
        step.finish();
    }
    0
}

/// link, symlink and their kin: one or two paths; chdir: the directory it leads to.
#[btf_tracepoint(function = "sys_exit")]
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
fn family_net(ctx: BtfTracePointContext) -> i32 {
    if let Some(step) = start(&ctx, Family::Net) {
        if step.is_rejected_by_numbers() {
            return 0;
        }
        // First of all, for there its facts are looked for.
        if step.descriptor() && step.judge.wants_socket() {
            sock::classify(step.judge, step.record);
            step.judge.socket();
            if step.is_rejected() {
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
