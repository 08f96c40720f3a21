//! Pushdown: which rules may still match an event, from what the agent's tables say of its facts.
//!
//! See `rampart_common::pushdown` for the argument why nothing is rejected that a rule could match.

#![expect(clippy::indexing_slicing, reason = "indices are masked to the arrays' lengths")]

use aya_ebpf::helpers::generated::{bpf_get_current_cgroup_id, bpf_ktime_get_boot_ns};
use rampart_common::{
    abi::SYSCALL_SLOTS,
    event::{AttrTag, Family, RECORD_SHADOW, RECORD_UNSPECIALISED},
    member::Member as M,
    pushdown::{
        ALL, CLASS_FAILED, CLASS_PATH, CLASS_SOCKET, CLASS_VERBATIM, EPOCH_OF_IMAGE, LOOK_NEVER,
        LOOK_NUMBERS, LOOK_PATH, LOOK_PROCESS, LOOK_SOCKET, LOOK_STREAM, Mask, NONE, Signature, Tables, both,
        either, is_none,
    },
};

use crate::{
    maps::{EPOCH, MEMO, POLICY, PROCESSES, TABLES},
    read::{Typed, has, layout},
    record::Record,
};

/// What is known of an event that is being judged. Kept in the record's buffer, where the verifier does not tell one
/// outcome of a look-up from another.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Judged {
    generation: u64,
    epoch: u64,
    mask: Mask,
    /// What one view of the path leaves, while the other is looked at.
    view: Mask,
    call: u64,
    failed: u64,
    looks: u64,
    /// 1: the key in the buffer has no mask yet.
    unknown_key: u64,
    /// 1: the process has no masks that hold.
    unknown_process: u64,
    /// The facts of the process as one number; 0 = it has no masks that hold.
    identity: u64,
}

/// An event that is being judged.
#[derive(Clone, Copy)]
pub(crate) struct Judge {
    record: Record,
    family: Family,
}

/// What the call and its result alone say.
#[derive(Clone, Copy)]
pub(crate) struct First {
    generation: u32,
    call: u32,
    failed: bool,
    looks: u8,
    mask: Mask,
}

/// Rule set in force; 0 = none.
#[inline(always)]
pub(crate) fn generation() -> u32 {
    // SAFETY: a value of the map, read whole.
    POLICY.get(0).map_or(0, |policy| unsafe { (&raw const policy.generation).read_volatile() })
}

/// Last change of process trees and metadata.
#[inline(always)]
fn epoch() -> u64 {
    // SAFETY: a value of the map, read whole.
    EPOCH.get(0).map_or(0, |epoch| unsafe { core::ptr::from_ref(epoch).read_volatile() })
}

impl First {
    /// Looks at the call and its result.
    #[inline(always)]
    pub(crate) fn look(call: u32, failed: bool) -> Self {
        let call = call & (SYSCALL_SLOTS - 1);
        let generation = generation();
        let off = Self { generation: 0, call, failed, looks: 0, mask: ALL };
        if generation == 0 {
            return off;
        }
        let Some(tables) = TABLES.get(generation & 1) else { return off };
        let slot = call as usize;
        let (looks, mask) = (tables.calls.looks[slot], tables.calls.base[slot][usize::from(failed)]);
        Self { generation, call, failed, looks, mask }
    }

    /// Whether no rule is left, by the rule set that is in force still.
    #[inline(always)]
    pub(crate) fn rejects(&self) -> bool {
        is_none(&self.mask) && self.still_holds()
    }

    /// Whether calls of this kind may be rejected, and the rule set is in force still.
    #[inline(always)]
    pub(crate) fn still_holds(&self) -> bool {
        self.looks & LOOK_NEVER == 0 && self.generation != 0 && generation() == self.generation
    }

    /// Whether the paths of the call make a difference.
    #[inline(always)]
    pub(crate) fn wants_path(&self) -> bool {
        self.looks & LOOK_PATH != 0
    }

    /// Rule set, call and result in one number; bits 1 to 15 are free.
    #[inline(always)]
    pub(crate) fn call(&self) -> u64 {
        u64::from(self.generation) << 32 | u64::from(self.call) << 16 | u64::from(self.failed)
    }
}

macro_rules! get {
    ($judge:expr, $name:ident) => {
        // SAFETY: a member of a claimed buffer.
        unsafe { (&raw const $judge.record.judged().$name).read_volatile() }
    };
}

macro_rules! set {
    ($judge:expr, $name:ident, $value:expr) => {{
        let value = $value;
        // SAFETY: a member of a claimed buffer.
        unsafe { (&raw mut $judge.record.judged().$name).write_volatile(value) }
    }};
}

impl Judge {
    /// Goes on from the first look.
    #[inline(always)]
    pub(crate) fn begin(record: Record, family: Family, first: First) -> Self {
        let judge = Self { record, family };
        set!(judge, generation, u64::from(first.generation));
        set!(judge, epoch, 0);
        set!(judge, mask, first.mask);
        set!(judge, view, NONE);
        set!(judge, call, u64::from(first.call));
        set!(judge, failed, u64::from(first.failed));
        set!(judge, looks, u64::from(first.looks));
        set!(judge, unknown_key, 0);
        set!(judge, unknown_process, 0);
        set!(judge, identity, 0);
        judge
    }

    /// What is known of the event whose record this is, whatever its family.
    #[inline(always)]
    pub(crate) fn of(record: Record) -> Self {
        Self { record, family: Family::None }
    }

    /// Rule set, call and result in one number; bits 1 to 15 are free.
    #[inline(always)]
    pub(crate) fn call(self) -> u64 {
        get!(self, generation) << 32 | get!(self, call) << 16 | get!(self, failed)
    }

    /// What is left.
    #[inline(always)]
    pub(crate) fn left(self) -> Mask {
        get!(self, mask)
    }

    /// Says what is left.
    #[inline(always)]
    pub(crate) fn leave(self, mask: Mask) {
        set!(self, mask, mask);
    }

    /// Whether no key without a mask was met.
    #[inline(always)]
    pub(crate) fn knows_key(self) -> bool {
        get!(self, unknown_key) == 0
    }

    /// Rule set the event is judged by.
    #[inline(always)]
    pub(crate) fn generation(self) -> u32 {
        get!(self, generation) as u32
    }

    /// The tables of that rule set; `None` when nothing is judged.
    #[inline(always)]
    pub(crate) fn tables<'a>(self) -> Option<&'a Tables> {
        let generation = self.generation();
        if generation == 0 { None } else { TABLES.get(generation & 1) }
    }

    /// The tables by which a record is judged.
    #[inline(always)]
    pub(crate) fn tables_of<'a>(record: Record) -> Option<&'a Tables> {
        Self::of(record).tables()
    }

    #[inline(always)]
    fn looks(self, at: u8) -> bool {
        get!(self, looks) & u64::from(at) != 0
    }

    /// Whether the paths of the call make a difference.
    #[inline(always)]
    pub(crate) fn wants_path(self) -> bool {
        self.looks(LOOK_PATH)
    }

    /// Whether the socket of the call makes a difference.
    #[inline(always)]
    pub(crate) fn wants_socket(self) -> bool {
        self.looks(LOOK_SOCKET)
    }

    /// Whether events of the call may be counted, and everything is known of this one that can be.
    #[inline(always)]
    pub(crate) fn may_stream(self) -> bool {
        let unknown = get!(self, unknown_key) | get!(self, unknown_process);
        self.looks(LOOK_STREAM) && unknown == 0 && get!(self, identity) != 0
    }

    /// The facts of the process as one number.
    #[inline(always)]
    pub(crate) fn identity(self) -> u64 {
        get!(self, identity)
    }

    /// Last change of process trees and metadata, when the process was looked at.
    #[inline(always)]
    pub(crate) fn epoch(self) -> u64 {
        get!(self, epoch)
    }

    /// Adds what is left under one view of the path: the call's numbers and the path's signature together.
    #[inline(always)]
    pub(crate) fn view(self, signature: Signature, verbatim: bool) {
        let Some(tables) = self.tables() else { return };
        let mask = get!(self, mask);
        let mut left = mask;
        if verbatim && signature[0] | signature[1] == 0 {
            let slot = get!(self, call) as usize & (SYSCALL_SLOTS as usize - 1);
            let plain = &tables.calls.plain[slot][get!(self, failed) as usize & 1];
            left = both(&mask, plain);
            if is_none(&left) || !self.looks(LOOK_NUMBERS) {
                set!(self, view, either(&get!(self, view), &left));
                return;
            }
        }
        let class = CLASS_PATH | if verbatim { CLASS_VERBATIM } else { 0 };
        if let Some(remembered) = self.remembered(class, signature) {
            left = both(&left, remembered);
        }
        set!(self, view, either(&get!(self, view), &left));
    }

    /// Narrows to what the views added leave.
    #[inline(always)]
    pub(crate) fn narrow(self) {
        set!(self, mask, both(&get!(self, mask), &get!(self, view)));
    }

    /// Narrows by the call's numbers, for calls without a path.
    #[inline(always)]
    pub(crate) fn numbers(self) {
        if self.looks(LOOK_NUMBERS) {
            self.narrow_by(0);
        }
    }

    /// Narrows by the socket, whose facts are the key's numbers.
    #[inline(always)]
    pub(crate) fn socket(self) {
        self.narrow_by(CLASS_SOCKET);
    }

    #[inline(always)]
    fn narrow_by(self, class: u8) {
        let mask = get!(self, mask);
        if is_none(&mask) {
            return;
        }
        if let Some(remembered) = self.remembered(class, [0; 2]) {
            set!(self, mask, both(&mask, remembered));
        }
    }

    /// Looks up the record's key, completed here; the first one without a mask is kept for the agent.
    #[inline(always)]
    fn remembered<'a>(self, class: u8, signature: Signature) -> Option<&'a Mask> {
        if get!(self, unknown_key) != 0 {
            return None;
        }
        let key = self.record.key();
        key.signature = signature;
        key.generation = self.generation();
        key.syscall = get!(self, call) as u16;
        key.class = class | if get!(self, failed) == 0 { 0 } else { CLASS_FAILED };
        key.pad = 0;
        #[expect(
            clippy::needless_borrows_for_generic_args,
            reason = "by value the key would go over the stack"
        )]
        // SAFETY: entries of a rule set are never changed and are removed only when it is no longer in force, which
        // is checked again before anything is rejected.
        let mask = unsafe { MEMO.get(&*key) };
        if mask.is_none() {
            set!(self, unknown_key, 1);
        }
        mask
    }

    /// Narrows by the masks of the process, if they still hold for it.
    #[inline(always)]
    pub(crate) fn process(self, task: Typed) {
        if self.generation() == 0 {
            return;
        }
        let now = epoch();
        set!(self, epoch, now);
        let mask = get!(self, mask);
        if !self.looks(LOOK_PROCESS) || is_none(&mask) {
            return;
        }
        set!(self, unknown_process, 1);
        let pid: u32 = task.load(M::TaskTgid);
        let Some(entry) = PROCESSES.get_ptr(pid) else { return };
        // SAFETY: a value of the map. It may be freed and used again while it is read: every fact is read before and
        // after the mask, and an entry is written from its beginning.
        let entry = unsafe { &*entry };
        macro_rules! fact {
            ($name:ident) => {
                // SAFETY: a member of the value above.
                unsafe { (&raw const entry.$name).read_volatile() }
            };
        }
        let start_ns: u64 = task.follow(M::TaskGroupLeader).load(M::TaskStartBoottime);
        let exec_id: u64 = task.load(M::TaskExecId);
        let cred = task.follow(M::TaskCred);
        let loginuid = if has(M::TaskLoginuid) { task.load(M::TaskLoginuid) } else { u32::MAX };
        // SAFETY: no arguments.
        let cgroup = unsafe { bpf_get_current_cgroup_id() };
        let epoch = fact!(epoch);
        // Differences are gathered rather than tested one by one: one branch instead of ten.
        let differs = (fact!(start_ns) ^ start_ns)
            | (fact!(exec_id) ^ exec_id)
            | (fact!(cgroup_id) ^ cgroup)
            | u64::from(fact!(uid) ^ cred.load::<u32>(M::CredUid))
            | u64::from(fact!(euid) ^ cred.load::<u32>(M::CredEuid))
            | u64::from(fact!(gid) ^ cred.load::<u32>(M::CredGid))
            | u64::from(fact!(egid) ^ cred.load::<u32>(M::CredEgid))
            | u64::from(fact!(loginuid) ^ loginuid)
            | u64::from(fact!(generation) ^ self.generation());
        let of_image = epoch == EPOCH_OF_IMAGE;
        if differs != 0 || (epoch != 0 && epoch != now && !of_image) {
            return;
        }
        // SAFETY: a member of the value above; the index is masked to the array's length.
        let masks = unsafe { (&raw const entry.masks[self.family as usize & 7]).read_volatile() };
        let differs = (fact!(start_ns) ^ start_ns) | (fact!(exec_id) ^ exec_id) | (fact!(epoch) ^ epoch);
        if differs == 0 {
            set!(self, unknown_process, u64::from(of_image));
            set!(self, identity, fact!(identity));
            set!(self, mask, both(&mask, &masks));
        }
    }

    /// Whether the event ends here: no rule is left, by the rule set that is in force still.
    #[inline(always)]
    pub(crate) fn rejects(self) -> bool {
        if !self.has_none() {
            return false;
        }
        if generation() == self.generation() {
            return true;
        }
        // Judged by tables that were on their way out: that counts as not judged.
        set!(self, generation, 0);
        set!(self, mask, ALL);
        false
    }

    #[inline(always)]
    fn has_none(self) -> bool {
        self.generation() != 0 && !self.looks(LOOK_NEVER) && is_none(&get!(self, mask))
    }

    /// Writes what came of it into the record.
    #[inline(always)]
    pub(crate) fn write(self) {
        let header = self.record.header();
        header.generation = self.generation();
        header.candidates = get!(self, mask);
        header.epoch = get!(self, epoch);
        if self.has_none() {
            header.flags |= RECORD_SHADOW;
        }
        if get!(self, unknown_process) != 0 {
            header.flags |= RECORD_UNSPECIALISED;
        }
        if get!(self, unknown_key) != 0 {
            self.record.put(AttrTag::CallKey, *self.record.key());
        }
    }
}

/// How many events there are to one that is sent as a sample though it is rejected; 0 = none is.
#[inline(always)]
pub(crate) fn shadow_every() -> u32 {
    POLICY.get(0).map_or(0, |policy| policy.shadow_every)
}

/// Whether a task has children: then what changes about it changes what is true of them.
#[inline(always)]
pub(crate) fn has_children(task: Typed) -> bool {
    let list = layout(M::TaskChildren);
    task.load_at::<u64>(list) != task.raw().0 + list
}

/// Notes a change of process trees. Called before and after the record that tells the agent: masks computed from
/// what the agent knew in between hold for nobody.
#[inline(always)]
pub(crate) fn tree_changes() {
    if let Some(epoch) = EPOCH.get_ptr_mut(0) {
        // SAFETY: no arguments.
        let now = unsafe { bpf_ktime_get_boot_ns() };
        // SAFETY: a value of an array map. Whichever of two simultaneous writers comes last, the value is a new one.
        unsafe { epoch.write_volatile(now) };
    }
}
