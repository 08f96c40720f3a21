//! Paths that were judged before: per CPU, what was left of the rules for a call, its numbers and the very names of its
//! paths.
//!
//! A place is found by a hash and used only if everything is the same, byte for byte; so a collision, or a place
//! that another path took meanwhile, costs time and nothing else. Should a program on a system call ever be interrupted by
//! another one on its CPU, the stamp tells: it is odd while a place is written, and another one afterwards.

#![expect(clippy::indexing_slicing, reason = "indices are masked or bounded by the arrays' lengths")]

use core::sync::atomic::{Ordering, compiler_fence};

use rampart_common::{
    abi::PATH_SLOT_BYTES,
    pushdown::{KEY_NUMBERS, Mask},
};

use crate::{
    cell::{HASH, HEAD, SHAPE, WORDS},
    judge::Judge,
    maps::PATHS,
    read::path_slots,
    record::{Lengths, Record},
    trail::mix,
};

/// Longest trail that is remembered, words.
const WORDS_MAX: usize = 24;

/// Counted up before and after a place is written.
pub(crate) type Stamp = u64;

/// A judged path.
#[repr(C)]
pub(crate) struct Judged {
    stamp: Stamp,
    /// Rule set, call, result, and how the paths are related.
    head: u64,
    /// How many names and words are whose.
    shape: u64,
    numbers: [u64; KEY_NUMBERS],
    lens: Lengths,
    mask: Mask,
    words: [u64; WORDS_MAX],
}

/// The place of the trail in a record's buffer.
#[inline(always)]
fn place<'a>(record: Record) -> Option<&'a mut Judged> {
    let slots = path_slots();
    if slots == 0 || record.cell::<WORDS>() > WORDS_MAX as u64 {
        return None;
    }
    let [first, second, third] = record.key().numbers;
    let hash = mix(mix(record.cell::<HASH>(), record.cell::<HEAD>()), first ^ (second << 20) ^ (third << 40));
    let place = PATHS.get_ptr_mut(hash as u32 & (slots - 1))?;
    // SAFETY: a non-null map value of this CPU; see the module.
    Some(unsafe { &mut *place })
}

/// Reads the stamp of a place, in this place of the program.
#[inline(always)]
pub(crate) fn stamp_of(place: &Stamp) -> Stamp {
    compiler_fence(Ordering::SeqCst);
    // SAFETY: a member of a map value.
    let stamp = unsafe { core::ptr::from_ref(place).read_volatile() };
    compiler_fence(Ordering::SeqCst);
    stamp
}

/// Writes the stamp of a place, in this place of the program.
#[inline(always)]
pub(crate) fn set_stamp(place: &mut Stamp, stamp: Stamp) {
    compiler_fence(Ordering::SeqCst);
    // SAFETY: a member of a map value.
    unsafe { core::ptr::from_mut(place).write_volatile(stamp) };
    compiler_fence(Ordering::SeqCst);
}

/// Takes what was left the last time over as the event's mask. 0 = the path is not remembered.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn recall(slot: u32) -> u32 {
    let Some(record) = Record::claimed(slot) else { return 0 };
    let Some(known) = place(record) else { return 0 };
    let stamp = stamp_of(&known.stamp);
    let [l0, l1, l2] = record.lens();
    let [n0, n1, n2] = record.key().numbers;
    // Differences are gathered rather than tested one by one: one branch instead of many.
    let mut differs = (known.head ^ record.cell::<HEAD>())
        | (known.shape ^ record.cell::<SHAPE>())
        | (known.lens[0] ^ l0)
        | (known.lens[1] ^ l1)
        | (known.lens[2] ^ l2)
        | (known.numbers[0] ^ n0)
        | (known.numbers[1] ^ n1)
        | (known.numbers[2] ^ n2);
    let count = record.cell::<WORDS>();
    for at in 0..WORDS_MAX {
        if at as u64 >= count {
            break;
        }
        differs |= known.words[at] ^ record.trail(at as u64);
    }
    let mask = known.mask;
    if differs | (stamp & 1) != 0 || stamp_of(&known.stamp) != stamp {
        return 0;
    }
    Judge::of(record).leave(mask);
    1
}

/// Remembers what is left for the trail in the record's buffer. 0 = it is too long.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn remember(slot: u32) -> u32 {
    let Some(record) = Record::claimed(slot) else { return 0 };
    let Some(known) = place(record) else { return 0 };
    let stamp = stamp_of(&known.stamp);
    if stamp & 1 != 0 {
        return 0;
    }
    set_stamp(&mut known.stamp, stamp + 1);
    known.head = record.cell::<HEAD>();
    known.shape = record.cell::<SHAPE>();
    known.lens = record.lens();
    known.numbers = record.key().numbers;
    known.mask = Judge::of(record).left();
    let count = record.cell::<WORDS>();
    for at in 0..WORDS_MAX {
        if at as u64 >= count {
            break;
        }
        known.words[at] = record.trail(at as u64);
    }
    set_stamp(&mut known.stamp, stamp + 2);
    1
}

/// Whether the path is remembered; the event's mask is then what it was.
#[inline(always)]
pub(crate) fn is_known(record: Record) -> bool {
    recall(record.slot()) != 0
}

/// Remembers the event's mask for the path.
#[inline(always)]
pub(crate) fn keep(record: Record) {
    remember(record.slot());
}

const _: () = assert!(size_of::<Judged>() as u64 == PATH_SLOT_BYTES);
