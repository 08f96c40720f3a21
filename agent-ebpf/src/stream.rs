//! Streams: events that are counted instead of sent, see `rampart_common::stream`.

#![expect(clippy::indexing_slicing, reason = "indices are bounded by the arrays' lengths")]

use core::sync::atomic::{Ordering, compiler_fence};

use aya_ebpf::helpers::{bpf_get_current_pid_tgid, generated::bpf_ktime_get_boot_ns};
use rampart_common::{
    event::{AttrTag, SocketFacts},
    pushdown::{LOOK_STREAM, Mask},
    stream::{StreamCount, StreamKey, StreamTerms},
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
    let Some(count) = STREAM_COUNTS.get_ptr_mut(&*key) else { return false };
    // SAFETY: a non-null map value of this CPU. The agent removes it only when the stream has long been silent.
    let count = unsafe { &mut *count };
    if let Some(terms) = STREAMS.get_ptr(&*key)
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
    // Read before it is looked whether they hold: should their place have been used again for others, they do not.
    let matching: Mask = read!(terms, matching);
    let (events_max, sum_max, age_ns) =
        (read!(terms, events_max), read!(terms, sum_max), read!(terms, age_ns));
    compiler_fence(Ordering::SeqCst);
    // SAFETY: no arguments.
    let now = unsafe { bpf_ktime_get_boot_ns() };
    let is_first = count.events == 0;
    let sum = count.sum.wrapping_add(amount);
    if sum >= sum_max
        || (!is_first && (count.events >= events_max || now.wrapping_sub(count.since_ns) >= age_ns))
    {
        return false;
    }
    let mut differs = differing(judge, facts, terms);
    for word in 0..matching.len() {
        differs |= if is_first { 0 } else { matching[word] ^ count.matching[word] };
    }
    let epoch = read!(terms, epoch);
    if differs != 0 || (epoch != 0 && epoch != judge.epoch()) {
        return false;
    }
    if is_first {
        count.matching = matching;
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
    let mut differs = (read!(terms, identity) ^ judge.identity())
        | (read!(terms, ends.local[0]) ^ l0)
        | (read!(terms, ends.local[1]) ^ l1)
        | (read!(terms, ends.remote[0]) ^ r0)
        | (read!(terms, ends.remote[1]) ^ r1)
        | (read!(terms, ends.ports) ^ ports);
    for word in 0..left.len() {
        differs |= read!(terms, candidates[word]) ^ left[word];
    }
    differs
}

/// Begins anew once what was counted has been sent with a record.
#[inline(always)]
pub(crate) fn end(record: Record, is_sent: bool) {
    if record.cell::<COUNTED>() == 0 {
        return;
    }
    record.set_cell::<COUNTED>(0);
    if is_sent && let Some(count) = STREAM_COUNTS.get_ptr_mut(&*record.stream()) {
        // SAFETY: as above.
        let count = unsafe { &mut *count };
        count.events = 0;
        count.sum = 0;
    }
}

/// An address as two words, as it lies in memory.
#[inline(always)]
fn words(address: &[u8; 16]) -> [u64; 2] {
    let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = *address;
    [u64::from_ne_bytes([a, b, c, d, e, f, g, h]), u64::from_ne_bytes([i, j, k, l, m, n, o, p])]
}
