//! Streams: events that are counted instead of sent, see `rampart_common::stream`.

use core::sync::atomic::{Ordering, compiler_fence};

use aya_ebpf::helpers::{bpf_get_current_pid_tgid, generated::bpf_ktime_get_boot_ns};
use rampart_common::{
    event::{AttrTag, SocketFacts},
    stream::{StreamCount, StreamTerms},
};

use crate::{
    cell::COUNTED,
    emit::Seen,
    judge::{Judge, generation, shadow_every},
    maps::{STREAM_COUNTS, STREAMS},
    record::Record,
};

/// Reads a member of terms, at this place of the program.
macro_rules! read {
    ($terms:ident, $($member:tt)+) => {
        // SAFETY: a member of a map value.
        unsafe { (&raw const (*$terms).$($member)+).read_volatile() }
    };
}

/// Counts an event that some rule is left for, if that is all there is to do. The socket's facts are the record's first
/// attribute; what was counted before an event that is sent is added to its record.
#[inline(always)]
pub(crate) fn is_counted(seen: Seen, judge: Judge, record: Record, ret: i64) -> bool {
    if !judge.may_stream() || ret <= 0 {
        return false;
    }
    let facts: &SocketFacts = record.first();
    let key = record.stream();
    key.sock = facts.sock;
    key.generation = judge.generation();
    key.pid = (bpf_get_current_pid_tgid() >> 32) as u32;
    key.syscall = record.header().syscall;
    key.ino = facts.ino;
    let Some(count) = count_of(record) else { return false };
    if let Some(terms) = terms_of(record)
        && add(judge, facts, terms, count, ret as u64)
    {
        if generation() == judge.generation() && !seen.is_sample(shadow_every()) {
            seen.counted();
            return true;
        }
        // It is sent, and so are those before it.
        count.events -= 1;
        count.sum = count.sum.wrapping_sub(ret as u64);
    }
    if count.events != 0
        && let Some((attr, told)) = record.open_value::<StreamCount>(AttrTag::Counted)
    {
        told.matching = count.matching;
        told.events = count.events;
        told.sum = count.sum;
        told.since_ns = count.since_ns;
        record.close_value::<StreamCount>(attr);
        record.set_cell::<COUNTED>(1);
    }
    false
}

/// Adds an event to those that were counted, if it is one of them and there is room.
#[inline(always)]
fn add(
    judge: Judge,
    facts: &SocketFacts,
    terms: *const StreamTerms,
    count: &mut StreamCount,
    amount: u64,
) -> bool {
    let is_first = count.events == 0;
    // Read before it is looked whether they hold: should their place have been used again for others, they do not.
    let mut differs = 0;
    macro_rules! matching {
        ($($word:literal)*) => {
            $(
                let matching = read!(terms, matching[$word]);
                if is_first {
                    // Nothing is counted: what it would be of may be written.
                    count.matching[$word] = matching;
                } else {
                    differs |= count.matching[$word] ^ matching;
                }
            )*
        };
    }
    matching!(0 1 2 3);
    let (events_max, sum_max, age_ns) =
        (read!(terms, events_max), read!(terms, sum_max), read!(terms, age_ns));
    compiler_fence(Ordering::SeqCst);
    // SAFETY: no arguments.
    let now = unsafe { bpf_ktime_get_boot_ns() };
    let sum = count.sum.wrapping_add(amount);
    if sum >= sum_max
        || (!is_first && (count.events >= events_max || now.wrapping_sub(count.since_ns) >= age_ns))
    {
        return false;
    }
    differs |= differing(judge, facts, terms);
    let epoch = read!(terms, epoch);
    if differs != 0 || (epoch != 0 && epoch != judge.epoch()) {
        return false;
    }
    if is_first {
        count.since_ns = now;
    }
    count.events += 1;
    count.sum = sum;
    true
}

/// Not 0 when something is not as it was when the terms were made.
#[inline(always)]
fn differing(judge: Judge, facts: &SocketFacts, terms: *const StreamTerms) -> u64 {
    let ([l0, l1], [r0, r1]) = (words(&facts.local), words(&facts.remote));
    let ports =
        u64::from(facts.local_port) | u64::from(facts.remote_port) << 16 | u64::from(facts.role) << 32;
    let left = judge.left();
    (read!(terms, identity) ^ judge.identity())
        | (read!(terms, ends.local[0]) ^ l0)
        | (read!(terms, ends.local[1]) ^ l1)
        | (read!(terms, ends.remote[0]) ^ r0)
        | (read!(terms, ends.remote[1]) ^ r1)
        | (read!(terms, ends.ports) ^ ports)
        | (read!(terms, candidates[0]) ^ left[0])
        | (read!(terms, candidates[1]) ^ left[1])
        | (read!(terms, candidates[2]) ^ left[2])
        | (read!(terms, candidates[3]) ^ left[3])
}

/// What was counted on this CPU of the stream whose key is in the record's buffer.
#[inline(always)]
fn count_of<'a>(record: Record) -> Option<&'a mut StreamCount> {
    #[expect(clippy::needless_borrows_for_generic_args, reason = "by value the key would go over the stack")]
    let count = STREAM_COUNTS.get_ptr_mut(&*record.stream())?;
    // SAFETY: a non-null map value of this CPU. The agent removes it only when the stream has long been silent.
    Some(unsafe { &mut *count })
}

/// When events of that stream are counted.
#[inline(always)]
fn terms_of(record: Record) -> Option<*const StreamTerms> {
    #[expect(clippy::needless_borrows_for_generic_args, reason = "by value the key would go over the stack")]
    STREAMS.get_ptr(&*record.stream())
}

/// Begins anew once what was counted has been sent with a record.
#[inline(always)]
pub(crate) fn end(record: Record, is_sent: bool) {
    if record.cell::<COUNTED>() == 0 {
        return;
    }
    record.set_cell::<COUNTED>(0);
    if is_sent && let Some(count) = count_of(record) {
        count.events = 0;
        count.sum = 0;
    }
}

/// An address as two words, as it lies in memory.
#[inline(always)]
fn words(address: &[u8; 16]) -> [u64; 2] {
    // SAFETY: an array of 16 bytes; the read needs no alignment.
    unsafe { address.as_ptr().cast::<[u64; 2]>().read_unaligned() }
}
