//! A finished system call on its way through a family's program: what all families have in common.

use aya_ebpf::programs::BtfTracePointContext;
use rampart_common::event::{
    ArgSlot, AttrTag, BYTES_MAX, DATA_BUFFER, DATA_MAX, DATA_MSGHDR, EXTRA_LISTENER, EXTRA_MSGHDR,
    EXTRA_SOCKADDR, EXTRA_SOCKADDR_OUT, EventKind, Family, RECORD_COMPAT32, SLOT_NO_BASE, SLOT_RETURN,
    SOCKADDR_MAX, SyscallPlan,
};

use crate::{
    emit::{Seen, head, seen},
    file,
    judge::{First, Judge, shadow_every},
    maps::WANTED,
    path::{self, Path},
    probe::regs,
    read::{Typed, current_task, user},
    record::Record,
    sock, stream,
};

/// `AT_FDCWD`: the directory argument means the working directory.
const AT_FDCWD: i32 = -100;

/// A call on its way through a family's program.
pub(super) struct Step {
    pub(super) seen: Seen,
    pub(super) record: Record,
    pub(super) task: Typed,
    pub(super) plan: SyscallPlan,
    pub(super) ret: i64,
    pub(super) compat: bool,
    pub(super) family: Family,
    pub(super) judge: Judge,
}

/// A call that some rule may ask about: its record has been started with its arguments.
pub(super) struct Begun {
    pub(super) seen: Seen,
    pub(super) record: Record,
    pub(super) task: Typed,
    pub(super) plan: SyscallPlan,
    pub(super) ret: i64,
    pub(super) first: First,
    nr: u32,
    compat: bool,
    family: Family,
}

/// Counts the call, rejects the agent's own and those of which no rule speaks, and starts the record with its arguments.
#[inline(always)]
pub(super) fn begin(ctx: &BtfTracePointContext, family: Family) -> Option<Begun> {
    let task = current_task();
    let seen = seen(family, task)?;
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
    record.set_args(call.args);
    record.key().numbers =
        [record.arg(plan.numbers[0]), record.arg(plan.numbers[1]), record.arg(plan.numbers[2])];
    Some(Begun { seen, record, task, plan, ret, first, nr: call.nr, compat: call.compat, family })
}

/// As [`begin`], and goes on to judge the call.
#[inline(always)]
pub(super) fn start(ctx: &BtfTracePointContext, family: Family) -> Option<Step> {
    begin(ctx, family).map(Begun::judge)
}

impl Begun {
    /// Goes on to judge the call.
    #[inline(always)]
    pub(super) fn judge(self) -> Step {
        let Self { seen, record, task, plan, ret, first, nr, compat, family } = self;
        let judge = Judge::begin(record, family, first);
        let header = record.header();
        header.syscall = nr;
        header.ret = ret;
        if compat {
            header.flags |= RECORD_COMPAT32;
        }
        Step { seen, record, task, plan, ret, compat, family, judge }
    }

    /// The directory that a relative path starts from; nowhere when there is none.
    #[inline(always)]
    pub(super) fn base(&self) -> Path {
        base_of(self.record, self.task, self.plan.dir)
    }
}

/// The directory that a relative path starts from, by the argument that names it; nowhere when there is none.
#[inline(always)]
fn base_of(record: Record, task: Typed, dir: ArgSlot) -> Path {
    let fd = if dir == 0 { AT_FDCWD } else { record.arg(dir) as i32 };
    if fd == AT_FDCWD {
        return path::cwd(task);
    }
    let file = file::of(task, i64::from(fd));
    if file.is_null() { Path::NOWHERE } else { file::path(file) }
}

impl Step {
    /// Gives up an event that no rule can match; one in many goes on as a sample.
    #[inline(always)]
    pub(super) fn is_rejected(&self) -> bool {
        if !self.judge.rejects() || self.seen.is_sample(shadow_every()) {
            return false;
        }
        self.seen.filtered();
        self.record.release();
        true
    }

    /// Counts an event on a socket whose rules only want to know how many there are.
    #[inline(always)]
    pub(super) fn is_counted(&self) -> bool {
        if !stream::is_counted(self.seen, self.judge, self.record, self.ret) {
            return false;
        }
        self.record.release();
        true
    }

    /// Looks at the numbers and the process of a call that has no path to look at.
    #[inline(always)]
    pub(super) fn is_rejected_by_numbers(&self) -> bool {
        self.judge.process(self.task);
        self.judge.numbers();
        self.is_rejected()
    }

    /// A path argument, and the directory it starts from when it is relative.
    #[inline(always)]
    pub(super) fn path(&self, slot: ArgSlot, dir: ArgSlot, text: AttrTag, base: AttrTag) {
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

    /// Writes the directory that a relative path starts from.
    #[inline(always)]
    pub(super) fn base(&self, dir: ArgSlot, tag: AttrTag) {
        let start = base_of(self.record, self.task, dir);
        if !start.dentry.is_null() {
            let _ = path::put(self.record, tag, start, path::root(self.task));
        }
    }

    /// The file or socket of the plan's descriptor; whether it is a socket.
    #[inline(always)]
    pub(super) fn descriptor(&self) -> bool {
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
    pub(super) fn working_directory(&self) {
        let _ = path::put(self.record, AttrTag::Cwd, path::cwd(self.task), path::root(self.task));
    }

    /// The peer address that the program gave.
    #[inline(always)]
    pub(super) fn peer(&self) {
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
    pub(super) fn text(&self) {
        if self.plan.text != 0 {
            let _ = self.record.put_user_text(AttrTag::Text, self.record.arg(self.plan.text));
        }
    }

    /// A structure argument.
    #[inline(always)]
    pub(super) fn bytes(&self) {
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
    pub(super) fn data(&self) {
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
    pub(super) fn user_word(&self, address: u64, index: u64) -> u64 {
        if self.compat { u64::from(user::<u32>(address + index * 4)) } else { user(address + index * 8) }
    }

    /// The queue of the socket that a connection was accepted from.
    #[inline(always)]
    pub(super) fn listener(&self) {
        if self.plan.extra_kind == EXTRA_LISTENER {
            let fd = i64::from(self.record.arg(self.plan.extra) as i32);
            sock::put_backlog(self.record, file::of(self.task, fd));
        }
    }

    /// Completes the record and sends it.
    #[inline(always)]
    pub(super) fn finish(self) {
        self.judge.write();
        head(self.record, EventKind::Syscall, self.family, self.task);
        let is_sent = self.seen.send(self.record);
        if self.family == Family::Net {
            stream::end(self.record, is_sent);
        }
        self.record.release();
    }
}
