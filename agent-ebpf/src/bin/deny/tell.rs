//! What the agent is told: each refusal, up to a number in a second; all are counted.

use aya_ebpf::{
    bindings::{BPF_RB_FORCE_WAKEUP, BPF_RB_NO_WAKEUP},
    helpers::generated::{bpf_get_smp_processor_id, bpf_ktime_get_boot_ns, bpf_probe_read_kernel_str},
};
use rampart_common::{
    deny::{Counts, Notice, OBSERVED, REFUSED, SHOWN_BYTES},
    wake::{CPU_WORDS, CpuBits},
};

use crate::{
    maps::{DENY_COUNTS, DENY_NOTICES, DENY_RATE},
    read::Typed,
    scratch::Held,
    subject::{CONNECT, Force},
    task,
};

/// Notices in a second.
const PER_SECOND: u64 = 200;
const SECOND_NS: u64 = 1_000_000_000;

/// CPUs that are not to be interrupted; frozen by the loader before verification.
#[unsafe(no_mangle)]
static ISOLATED: CpuBits = [0; CPU_WORDS];

/// What the operation is about, besides the path that was walked.
pub(crate) struct About {
    pub(crate) operation: u8,
    pub(crate) protocol: u8,
    pub(crate) number: u32,
    pub(crate) mode: u32,
}

/// Counts and tells that an operation is refused.
#[inline(always)]
pub(crate) fn refused(held: Held, force: &Force<'_>, task: Typed, term: u32, about: &About) {
    let told = tell(held, force, task, (term, REFUSED), about);
    count(term, |counts| {
        counts.refused += 1;
        counts.untold += u64::from(!told);
    });
}

/// Counts and tells that it would be.
#[inline(always)]
pub(crate) fn observed(held: Held, force: &Force<'_>, task: Typed, term: u32, about: &About) {
    let told = tell(held, force, task, (term, OBSERVED), about);
    count(term, |counts| {
        counts.observed += 1;
        counts.untold += u64::from(!told);
    });
}

#[inline(always)]
fn count(term: u32, change: impl FnOnce(&mut Counts)) {
    if let Some(counts) = DENY_COUNTS.get_ptr_mut(term) {
        // SAFETY: a value of this CPU; what a preempted program loses is a count.
        change(unsafe { &mut *counts });
    }
}

/// Whether there may be one more in this second.
#[inline(always)]
fn may(now_ns: u64) -> bool {
    let Some(rate) = DENY_RATE.get_ptr_mut(0) else { return false };
    // SAFETY: a value of an array map; two programs at once count one for two.
    let [second, count] = unsafe { &mut *rate };
    if *second != now_ns / SECOND_NS {
        (*second, *count) = (now_ns / SECOND_NS, 0);
    }
    *count += 1;
    *count <= PER_SECOND
}

/// Tells the agent; says whether it is told.
#[inline(always)]
pub(crate) fn tell(
    held: Held,
    force: &Force<'_>,
    task: Typed,
    (term, outcome): (u32, u8),
    about: &About,
) -> bool {
    // SAFETY: no arguments.
    let now_ns = unsafe { bpf_ktime_get_boot_ns() };
    if !may(now_ns) {
        return false;
    }
    let Some(mut entry) = DENY_NOTICES.reserve::<Notice>(0) else { return false };
    // SAFETY: the entry is this large, and every bit pattern is a value.
    let notice = unsafe { &mut *entry.as_mut_ptr() };
    notice.time_ns = now_ns;
    notice.generation = force.generation;
    notice.term = term as u8;
    notice.operation = about.operation;
    notice.outcome = outcome;
    notice.protocol = about.protocol;
    notice.number = about.number;
    notice.mode = about.mode;
    notice.pad = 0;
    notice.address = held.get().address.data.address;
    task::fill(task, &mut notice.task);
    let (start, len) = held.span();
    notice.path_len = if about.operation == CONNECT { 0 } else { len as u32 };
    let from = held.get().path.as_ptr().wrapping_add(start as usize);
    // SAFETY: this many bytes fit; the path ends with NUL, and the helper checks the source.
    unsafe {
        bpf_probe_read_kernel_str(notice.path.as_mut_ptr().cast(), SHOWN_BYTES as u32, from.cast());
    }
    entry.submit(wake_flags());
    true
}

#[inline(always)]
fn wake_flags() -> u64 {
    // SAFETY: no arguments.
    let cpu = unsafe { bpf_get_smp_processor_id() };
    let word = ISOLATED.as_ptr().wrapping_add(cpu as usize / 64 % CPU_WORDS);
    // SAFETY: the index is below the array's length.
    let word = unsafe { word.read_volatile() };
    u64::from(if word >> (cpu % 64) & 1 == 0 { BPF_RB_FORCE_WAKEUP } else { BPF_RB_NO_WAKEUP })
}
