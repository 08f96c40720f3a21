//! Facts about a task.

use core::arch::asm;

use aya_ebpf::helpers::generated::bpf_get_current_cgroup_id;
use rampart_common::{event::TaskFacts, member::Member as M};

use crate::read::{Raw, Typed, has, layout};

/// Index of the process group in `signal_struct.pids` (`PIDTYPE_PGID`).
const PIDTYPE_PGID: u64 = 2;
/// Index of the session in `signal_struct.pids` (`PIDTYPE_SID`).
const PIDTYPE_SID: u64 = 3;
/// Deepest nesting of pid namespaces (`MAX_PID_NS_LEVEL`).
const PID_LEVELS: u32 = 32;

/// Fills the facts of a task, which is the current one or its new child (the control group is the current's in
/// both cases: a child starts in its parent's unless `clone3` says otherwise, and its exec corrects that).
#[inline(always)]
pub(crate) fn fill(task: Typed, facts: &mut TaskFacts) {
    facts.pid = task.load(M::TaskTgid);
    facts.tid = task.load(M::TaskPid);
    facts.comm = task.load_comm();
    let leader = task.follow(M::TaskGroupLeader);
    facts.start_ns = leader.load(M::TaskStartBoottime);
    facts.exec_id = task.load(M::TaskExecId);
    let parent = task.follow(M::TaskRealParent);
    facts.ppid = parent.load(M::TaskTgid);
    facts.parent_start_ns = parent.follow(M::TaskGroupLeader).load(M::TaskStartBoottime);
    // SAFETY: no arguments.
    facts.cgroup_id = unsafe { bpf_get_current_cgroup_id() };
    facts.loginuid = if has(M::TaskLoginuid) { task.load(M::TaskLoginuid) } else { u32::MAX };
    credentials(task, facts);
    ids(task, leader, facts);
    let nsproxy = task.follow(M::TaskNsproxy);
    facts.mnt_ns = nsproxy.follow(M::NsproxyMnt).load(M::MntNsInum);
    facts.net_ns = nsproxy.follow(M::NsproxyNet).load(M::NetNsInum);
}

#[inline(always)]
fn credentials(task: Typed, facts: &mut TaskFacts) {
    let cred = task.follow(M::TaskCred);
    facts.uid = cred.load(M::CredUid);
    facts.gid = cred.load(M::CredGid);
    facts.euid = cred.load(M::CredEuid);
    facts.egid = cred.load(M::CredEgid);
    facts.cap_inheritable = cred.load(M::CredCapInheritable);
    facts.cap_permitted = cred.load(M::CredCapPermitted);
    facts.cap_effective = cred.load(M::CredCapEffective);
}

/// Ids by namespace, session, process group and terminal.
#[inline(always)]
fn ids(task: Typed, leader: Typed, facts: &mut TaskFacts) {
    let signal = task.follow(M::TaskSignal);
    let pids = layout(M::SignalPids);
    let group = signal.follow_at(pids + PIDTYPE_PGID * 8);
    let session = signal.follow_at(pids + PIDTYPE_SID * 8);
    facts.pgid = outermost(group);
    facts.sid = outermost(session);
    facts.tty = terminal(signal);
    let pid = task.follow(M::TaskThreadPid);
    let mut level: u32 = pid.load(M::PidLevel);
    if level > PID_LEVELS {
        level = 0;
    }
    if level == 0 {
        facts.vpid = facts.pid;
        facts.vtid = facts.tid;
        facts.vpgid = facts.pgid;
        facts.vsid = facts.sid;
    } else {
        facts.vtid = inner(pid.raw(), level);
        facts.vpid = inner(leader.follow(M::TaskThreadPid).raw(), level);
        facts.vpgid = inner(group.raw(), level);
        facts.vsid = inner(session.raw(), level);
    }
    facts.pid_ns = upid(pid.raw(), level).follow(M::UpidNs).load(M::PidNsInum);
}

/// Number of a pid in the initial namespace: the first of its numbers.
#[inline(always)]
fn outermost(pid: Typed) -> u32 {
    pid.load_at(layout(M::PidNumbers) + layout(M::UpidNr))
}

/// Entry of a pid for one namespace level.
#[inline(always)]
fn upid(pid: Raw, level: u32) -> Raw {
    let mut offset = u64::from(level);
    // Old verifiers follow bounds only where the known factor is the second one, and do not see that the level has any;
    // the compiler, which does, would drop an ordinary mask and choose its own order.
    // SAFETY: computes in registers.
    unsafe {
        asm!(
            "{0} &= 63",
            "{0} *= {1}",
            inout(reg) offset,
            in(reg) layout(M::UpidSize),
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    pid.plus(layout(M::PidNumbers) + offset)
}

/// Number of a pid on an inner namespace level; 0 when the pid is not visible there.
#[inline(always)]
fn inner(pid: Raw, level: u32) -> u32 {
    if pid.load::<u32>(M::PidLevel) < level {
        return 0;
    }
    upid(pid, level).load(M::UpidNr)
}

/// Device number of the controlling terminal in the encoding of `stat`.
#[inline(always)]
fn terminal(signal: Typed) -> u32 {
    let tty = signal.follow(M::SignalTty);
    if tty.is_null() {
        return 0;
    }
    let driver = tty.follow(M::TtyDriver);
    let major: u32 = driver.load(M::TtyDriverMajor);
    let minor = driver.load::<u32>(M::TtyDriverMinorStart).wrapping_add(tty.load::<u32>(M::TtyIndex));
    (minor & 0xff) | (major << 8) | ((minor & !0xff) << 12)
}

impl Typed {
    /// Thread name, in two words (one load of sixteen bytes is not a load the verifier knows).
    #[inline(always)]
    fn load_comm(self) -> [u8; 16] {
        let low: u64 = self.load(M::TaskComm);
        let high: u64 = self.load_at(layout(M::TaskComm) + 8);
        let mut comm = [0; 16];
        let (first, last) = comm.split_at_mut(8);
        first.copy_from_slice(&low.to_ne_bytes());
        last.copy_from_slice(&high.to_ne_bytes());
        comm
    }
}
