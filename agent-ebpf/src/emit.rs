//! Counts an event in and out: claim, fill, submit.

use aya_ebpf::{
    bindings::{BPF_RB_AVAIL_DATA, BPF_RB_FORCE_WAKEUP, BPF_RB_NO_WAKEUP},
    helpers::generated::{bpf_get_smp_processor_id, bpf_ktime_get_boot_ns},
};
use rampart_common::{
    abi::ABI_VERSION,
    counter::FamilyCounters,
    event::{EventKind, Family},
    member::Member as M,
    pushdown::ALL,
    wake::{CPU_WORDS, CpuBits, wakes},
};

use crate::{
    maps::{CONTROL, COUNTERS, EVENTS, SEQUENCE},
    read::Typed,
    record::Record,
    task,
};

/// CPUs that are not to be interrupted; frozen by the loader before verification.
#[unsafe(no_mangle)]
static ISOLATED: CpuBits = [0; CPU_WORDS];

/// An event that has been counted as seen. Ends in exactly one of its methods.
#[derive(Clone, Copy)]
pub(crate) struct Seen {
    counters: *mut FamilyCounters,
}

/// Counts the event and rejects the agent's own. `task` is the current one.
#[inline(always)]
pub(crate) fn seen(family: Family, task: Typed) -> Option<Seen> {
    let seen = Seen { counters: COUNTERS.get_ptr_mut(family as u32)? };
    seen.get().seen += 1;
    let own = CONTROL.get(0).map_or(0, |control| control.own_pid);
    if own == task.load::<u32>(M::TaskTgid) {
        seen.filtered();
        return None;
    }
    Some(seen)
}

impl Seen {
    #[inline(always)]
    fn get<'a>(&self) -> &'a mut FamilyCounters {
        // SAFETY: a non-null map value of this CPU.
        unsafe { &mut *self.counters }
    }

    /// The event is rejected on purpose.
    #[inline(always)]
    pub(crate) fn filtered(self) {
        self.get().filtered += 1;
    }

    /// The event is counted and ends there.
    #[inline(always)]
    pub(crate) fn counted(self) {
        self.get().filtered += 1;
        self.get().counted += 1;
    }

    /// Starts a record of a task; counts an error when no buffer is free.
    #[inline(always)]
    pub(crate) fn record(self, kind: EventKind, family: Family, who: Typed) -> Option<Record> {
        let record = self.claim()?;
        let header = record.header();
        header.syscall = u32::MAX;
        header.ret = 0;
        record.set_args([0; 6]);
        header.generation = 0;
        header.candidates = ALL;
        header.epoch = 0;
        head(record, kind, family, who);
        Some(record)
    }

    /// A buffer for a record whose header is filled later; counts an error when none is free.
    #[inline(always)]
    pub(crate) fn claim(self) -> Option<Record> {
        let Some(record) = Record::claim() else {
            self.get().error += 1;
            return None;
        };
        record.header().flags = 0;
        Some(record)
    }

    /// Whether this event, about to be rejected, is to be sent as a sample. `every` is a power of two, or 0.
    #[inline(always)]
    pub(crate) fn is_sample(self, every: u32) -> bool {
        every != 0 && self.get().seen & u64::from(every - 1) == 0
    }

    /// Sends the record and gives the buffer back.
    #[inline(always)]
    pub(crate) fn submit(self, record: Record) {
        self.send(record);
        record.release();
    }

    /// Sends the record, and says whether it was taken.
    #[inline(always)]
    pub(crate) fn send(self, record: Record) -> bool {
        let (Some(sequence), Some(bytes)) = (SEQUENCE.get_ptr_mut(0), record.bytes()) else {
            self.get().error += 1;
            return false;
        };
        let header = record.header();
        header.len = bytes.len() as u32;
        // SAFETY: a non-null map value of this CPU.
        let next = unsafe { &mut *sequence };
        header.seq = *next;
        *next += 1;
        let taken = EVENTS.output::<[u8]>(bytes, wake_flags(header.cpu)).is_ok();
        if taken {
            self.get().emitted += 1;
        } else {
            self.get().ring_full += 1;
        }
        taken
    }
}

/// Fills the header with what every event has.
#[inline(always)]
pub(crate) fn head(record: Record, kind: EventKind, family: Family, who: Typed) {
    let header = record.header();
    header.kind = kind as u16;
    header.family = family as u8;
    header.abi = ABI_VERSION;
    // SAFETY: no arguments.
    header.cpu = unsafe { bpf_get_smp_processor_id() };
    // SAFETY: no arguments.
    header.time_ns = unsafe { bpf_ktime_get_boot_ns() };
    task::fill(who, &mut header.task);
}

/// Wakes the reader when it said it sleeps, or when much is waiting; else leaves it to its own bounded delay.
#[inline(always)]
fn wake_flags(cpu: u32) -> u64 {
    let Some(control) = CONTROL.get_ptr_mut(0) else { return u64::from(BPF_RB_NO_WAKEUP) };
    // SAFETY: a non-null map value; a race with the reader costs one wake-up or one bounded delay.
    let control = unsafe { &mut *control };
    let sleeps = control.reader_idle != 0;
    let waiting = || EVENTS.query(u64::from(BPF_RB_AVAIL_DATA));
    if !wakes(is_isolated(cpu), sleeps, waiting, control.wake_bytes) {
        return u64::from(BPF_RB_NO_WAKEUP);
    }
    if sleeps {
        control.reader_idle = 0;
    }
    u64::from(BPF_RB_FORCE_WAKEUP)
}

/// Whether a CPU is one of [`ISOLATED`]. Volatile, so that the compiler does not fold the initial value in.
#[inline(always)]
fn is_isolated(cpu: u32) -> bool {
    let word = ISOLATED.as_ptr().wrapping_add(cpu as usize / 64 % CPU_WORDS);
    // SAFETY: the index is below the array's length.
    let word = unsafe { word.read_volatile() };
    word >> (cpu % 64) & 1 != 0
}
