//! Who asks: whether nothing may be refused to it, and which terms hold for it.

use aya_ebpf::helpers::{
    bpf_get_current_pid_tgid,
    generated::{bpf_get_current_cgroup_id, bpf_probe_read_kernel},
};
use rampart_common::{
    deny::{
        FILE_NAME_BYTES, NEEDS_GROUP, NumberKey, Operation, PATH_PROTECTED, PATH_SYSTEM, Running, Settings,
        Switch, TICK_NS, Terms, UNDECIDED_GROUP, UNDECIDED_PROCESS, UNKNOWN_GROUP, UNKNOWN_PROCESS, Verdict,
        armed, verdict,
    },
    member::Member as M,
};

use crate::{
    PASS, REFUSE,
    maps::{
        DENY_GENERATION, DENY_GROUPS, DENY_PROTECTED, DENY_RUNNING, DENY_SETTINGS, DENY_SPARED, DENY_USERS,
    },
    read::{Raw, Typed, has},
    scratch::{Held, below, read, undecided},
    tell::{self, About},
};

/// The thread that all threads of the kernel descend from.
const KTHREADD: u32 = 2;

/// What is in force.
#[derive(Clone, Copy)]
pub(crate) struct Force<'a> {
    pub(crate) generation: u32,
    pub(crate) switch: Switch,
    pub(crate) settings: &'a Settings,
    pub(crate) slot: u32,
}

/// Generation in force; 0 = nothing is.
#[inline(always)]
fn generation() -> u32 {
    // SAFETY: a value of the map, read whole.
    DENY_GENERATION.get(0).map_or(0, |word| unsafe { core::ptr::from_ref(word).read_volatile() }) as u32
}

impl Force<'_> {
    /// What is in force now; `None` when nothing is.
    #[inline(always)]
    pub(crate) fn now() -> Option<Self> {
        let generation = generation();
        let slot = generation & 1;
        let settings = DENY_SETTINGS.get(slot)?;
        let switch = Switch {
            enforce: read(&raw const settings.switch.enforce),
            observe: read(&raw const settings.switch.observe),
        };
        if generation == 0 || armed(&switch) == 0 {
            return None;
        }
        Some(Self { generation, switch, settings, slot })
    }

    /// Whether it is in force still.
    #[inline(always)]
    fn holds(&self) -> bool {
        generation() == self.generation
    }
}

/// Whether nothing is refused to a task, whatever it runs: the kernel's own threads, the first process, the agent, its
/// children and its parents.
#[inline(always)]
fn is_spared(settings: &Settings, task: Typed, pid: u32) -> bool {
    let parent: u32 = task.follow(M::TaskRealParent).load(M::TaskTgid);
    pid <= KTHREADD
        || parent == KTHREADD
        || pid == settings.own
        || parent == settings.own
        || DENY_SPARED.get_ptr(pid).is_some()
}

/// Whether a process on the node itself runs a program of the node. In a container a program can be called as its image
/// likes, so there none is protected.
#[inline(always)]
fn is_protected(held: Held, task: Typed, running: &Running, flags: u64) -> bool {
    if flags & (PATH_PROTECTED | PATH_SYSTEM) == 0 {
        return false;
    }
    if task.follow(M::TaskThreadPid).load::<u32>(M::PidLevel) != 0 {
        return false;
    }
    if flags & PATH_PROTECTED != 0 {
        return true;
    }
    let (len, file) = (running.exe_len, running.file_len);
    if len > 255 || file > len || file >= FILE_NAME_BYTES as u32 {
        return false;
    }
    let scratch = held.get();
    scratch.file_name = [0; FILE_NAME_BYTES];
    let from = running.exe.as_ptr() as u64 + u64::from(len - file);
    let bytes = below::<{ FILE_NAME_BYTES as u64 }>(file as usize) as u32;
    // SAFETY: at most this many bytes fit; the helper checks the source.
    unsafe {
        bpf_probe_read_kernel(scratch.file_name.as_mut_ptr().cast(), bytes, from as *const _);
    }
    DENY_PROTECTED.get_ptr(&scratch.file_name).is_some()
}

/// Effective user of a task by its own credentials: file systems on top of others open the file below as somebody else.
#[inline(always)]
fn own_user(task: Typed) -> u32 {
    let own = if has(M::TaskRealCred) { M::TaskRealCred } else { M::TaskCred };
    task.follow(own).load(M::CredEuid)
}

/// Which image counts for the terms: what the process runs, or what it is about to.
#[derive(Clone, Copy)]
pub(crate) enum Image {
    /// What it runs.
    Present,
    /// What it is about to: its path has been walked, and its name and user are these.
    Next {
        /// Whether its name is known; it is in the buffer's key then.
        named: bool,
        /// Its effective user.
        user: u32,
    },
}

/// Judges who asks for an operation of which these terms are true, and does what follows.
#[inline(always)]
pub(crate) fn judge(
    held: Held,
    force: &Force<'_>,
    task: Typed,
    (terms, image): (Terms, Image),
    about: &About,
) -> i32 {
    let settings = force.settings;
    let pid = (bpf_get_current_pid_tgid() >> 32) as u32;
    if is_spared(settings, task, pid) {
        return PASS;
    }
    let running = DENY_RUNNING.get_ptr(pid);
    let started = task.follow(M::TaskGroupLeader).load::<u64>(M::TaskStartBoottime) / TICK_NS;
    let Some(running) = running else {
        undecided(UNDECIDED_PROCESS);
        tell::tell(held, force, task, (0, UNKNOWN_PROCESS), about);
        return PASS;
    };
    // SAFETY: a value of the map; its process, which is the one asking, is alive and the only one to change it.
    let running = unsafe { &*running };
    if running.exe_len == 0 || running.exe_len > 255 || running.start_ticks != started {
        undecided(UNDECIDED_PROCESS);
        tell::tell(held, force, task, (0, UNKNOWN_PROCESS), about);
        return PASS;
    }
    held.fill_key(force.slot, Raw(running.exe.as_ptr() as u64), u64::from(running.exe_len));
    let exe = held.executable();
    if is_protected(held, task, running, exe.flags) {
        return PASS;
    }
    let (of_image, user) = match image {
        Image::Present => {
            held.get().name.name = running.name;
            let names = name_terms(held, force, running.name[0] != 0);
            (exe.terms & names, own_user(task))
        }
        Image::Next { named, user } => (name_terms(held, force, named), user),
    };
    let key = NumberKey { slot: force.slot, number: user };
    // SAFETY: entries of a slot are not removed while it is in force, which is checked below.
    let users = unsafe { DENY_USERS.get(key) }.copied().unwrap_or(settings.other_users);
    let left = terms & of_image & users;
    if left & armed(&force.switch) == 0 {
        return PASS;
    }
    if settings.flags & NEEDS_GROUP != 0 {
        // SAFETY: no arguments.
        let group = unsafe { bpf_get_current_cgroup_id() };
        match DENY_GROUPS.get_ptr(group) {
            // SAFETY: a value of the map.
            Some(protected) if unsafe { *protected } != 0 => return PASS,
            Some(_) => {}
            None => {
                undecided(UNDECIDED_GROUP);
                tell::tell(held, force, task, (0, UNKNOWN_GROUP), about);
                return PASS;
            }
        }
    }
    if !force.holds() {
        return PASS;
    }
    match verdict(left, &force.switch) {
        Verdict::Refuse(term) => {
            tell::refused(held, force, task, term, about);
            REFUSE
        }
        Verdict::Observe(term) => {
            tell::observed(held, force, task, term, about);
            PASS
        }
        Verdict::Pass => PASS,
    }
}

#[inline(always)]
fn name_terms(held: Held, force: &Force<'_>, known: bool) -> Terms {
    if known { held.named(force.slot, force.settings.other_names) } else { force.settings.nameless }
}

/// What an operation is; see [`Operation`].
pub(crate) const OPEN: u8 = Operation::Open as u8;
pub(crate) const EXEC: u8 = Operation::Exec as u8;
pub(crate) const CONNECT: u8 = Operation::Connect as u8;
