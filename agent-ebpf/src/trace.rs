//! Files that were opened before by the same path: per CPU, what was left of the rules, found by the file's directory
//! entry and used only if everything is still the same.
//!
//! [`crate::trail`] gathers names, compares them with the given path, and [`crate::recall`] compares what was gathered
//! once more. Here the names from the file upwards are compared with those of the last time where they lie, and nothing is
//! written: a rename, a mount or another root in between is a difference. Only what costs the same for any rule set is
//! skipped, never a comparison.
//!
//! Left to the slow way: calls without a file, long paths, and relative ones that do not lead from their directory
//! to the file name by name. Stamps are as in [`crate::recall`].

#![expect(clippy::indexing_slicing, reason = "indices are masked or bounded by the arrays' lengths")]
#![expect(
    clippy::needless_range_loop,
    reason = "the end of an iterator is a pointer, which the verifier gives up on"
)]

use rampart_common::{
    abi::TRACE_SLOT_BYTES,
    event::{AttrHeader, HEADER_BYTES},
    member::Member as M,
    pushdown::{KEY_NUMBERS, Mask, is_none},
};

use crate::{
    cell::{
        BASE_DENTRY, BASE_MOUNT, BELOW_ROOT, CALL, DIFFERS, FILE_DENTRY, FILE_MOUNT, FILE_NAMES,
        FROM_BASE_AT, FROM_BASE_NAMES, LENGTH, RELATIVE, ROOT_DENTRY, ROOT_MOUNT, SAME, TEXT, WORDS,
    },
    judge::Judge,
    maps::TRACES,
    read::{Cast, Raw, casts, layout, path_slots},
    recall::{Stamp, set_stamp, stamp_of},
    record::Record,
    trail::{NAMES_MAX, cut, mix},
};

/// Most words of the names of a file, with their lengths; a power of two.
const WORDS_MAX: usize = 64;
/// Most words of one name, with its NUL.
const NAME_WORDS: usize = 7;
/// Longest name, bytes.
const NAME_MAX: u64 = NAME_WORDS as u64 * 8 - 1;
/// Most words of the given path, with its NUL; a power of two.
const TEXT_WORDS: usize = 16;
/// Names and mounts passed on the way.
const STEPS: u32 = 32;
/// Where the given path is in the record: it is the first attribute.
const TEXT_AT: u64 = (HEADER_BYTES + size_of::<AttrHeader>()) as u64;

/// A file that was opened.
#[repr(C)]
pub(crate) struct Traced {
    stamp: Stamp,
    /// Rule set, call and result.
    call: u64,
    numbers: [u64; KEY_NUMBERS],
    /// Bytes of the given path, and whether it is relative.
    given: u64,
    /// Words below of the names up to the directory that the given path starts from.
    below_base: u64,
    /// Words below of all names.
    count: u64,
    mask: Mask,
    text: [u64; TEXT_WORDS],
    /// Each name's length and its words, of which the last is filled up with NUL.
    words: [u64; WORDS_MAX + 1 + NAME_WORDS],
}

/// What is known of a file that a call opened.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Known {
    /// It was not opened before, or not in this way.
    Unknown = 0,
    /// Some rule was left.
    Some = 1,
    /// No rule was left.
    Nothing = 2,
}

/// The place of a file.
#[inline(always)]
fn place<'a>(record: Record) -> Option<&'a mut Traced> {
    let slots = path_slots();
    if slots == 0 {
        return None;
    }
    let [first, second, third] = record.key().numbers;
    let hash = mix(record.cell::<FILE_DENTRY>(), first ^ (second << 20) ^ (third << 40));
    let place = TRACES.get_ptr_mut(hash as u32 & (slots - 1))?;
    // SAFETY: a non-null map value of this CPU; see the module.
    Some(unsafe { &mut *place })
}

/// Length of the given path and whether it is relative, in one number.
#[inline(always)]
fn given(record: Record) -> u64 {
    record.cell::<LENGTH>() << 1 | record.cell::<RELATIVE>()
}

/// Compares a name with that of the last time, whose length and words begin at the word [`WORDS`], and goes on behind
/// them. False when it is too long.
///
/// As much is compared as the name had then, with the NUL behind it: a longer one differs there.
#[inline(always)]
fn compare(record: Record, known: &Traced, name: Cast) -> bool {
    // By way of the buffer: then the verifier does not know the numbers, and one name is seen once.
    let (at, differs) = (record.cell::<WORDS>(), record.cell::<DIFFERS>());
    let known = known.words.as_ptr().wrapping_add(at as usize & (WORDS_MAX - 1));
    macro_rules! word {
        ($index:literal) => {
            // SAFETY: inside the words: the index is masked, and they are longer by the longest name.
            unsafe { known.wrapping_add(1 + $index).read_volatile() } ^ name.word($index)
        };
    }
    // SAFETY: as above.
    let len = unsafe { known.read_volatile() };
    let end = u64::MAX >> ((!len & 7) * 8);
    macro_rules! words {
        ($($before:literal)*; $last:literal) => {
            if len < ($last + 1) * 8 {
                record.set_cell::<DIFFERS>(differs $(| word!($before))* | (word!($last) & end));
                record.set_cell::<WORDS>(at + $last + 2);
                return true;
            }
        };
    }
    words!(; 0);
    words!(0; 1);
    words!(0 1; 2);
    words!(0 1 2; 3);
    words!(0 1 2 3; 4);
    words!(0 1 2 3 4; 5);
    words!(0 1 2 3 4 5; 6);
    false
}

/// Walks up from the file and compares the names. False when the way does not end at the root of the mount namespace.
#[inline(always)]
fn walk<const RELATIVE: bool>(record: Record, known: &Traced) -> bool {
    let mount_offset = layout(M::MountMnt);
    let (mut dentry, mut mnt) = (Raw(record.cell::<FILE_DENTRY>()), Raw(record.cell::<FILE_MOUNT>()));
    let mut mount_root = mnt.follow(M::VfsmountRoot);
    let (base, root) = (Raw(record.cell::<BASE_DENTRY>()), Raw(record.cell::<ROOT_DENTRY>()));
    for _ in 0..STEPS {
        if RELATIVE && dentry == base && mnt.0 == record.cell::<BASE_MOUNT>() {
            record.set_cell::<FROM_BASE_AT>(record.cell::<WORDS>());
        }
        if RELATIVE && dentry == root && mnt.0 == record.cell::<ROOT_MOUNT>() {
            record.set_cell::<BELOW_ROOT>(record.cell::<WORDS>());
        }
        if dentry == mount_root {
            let mount = Raw(mnt.0.wrapping_sub(mount_offset));
            let parent = mount.follow(M::MountParent);
            if parent == mount {
                return true;
            }
            dentry = mount.follow(M::MountMountpoint);
            mnt = parent.plus(mount_offset);
            mount_root = mnt.follow(M::VfsmountRoot);
            continue;
        }
        let entry = dentry.cast(M::DentryParent);
        dentry = entry.follow(M::DentryParent);
        let name = entry.follow(M::DentryName).cast(M::AnyWords);
        if !compare(record, known, name) {
            return false;
        }
    }
    false
}

/// See [`look`].
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn retrace(slot: u32) -> u32 {
    // Nobody comes here then; but the verifier looks at each function by itself.
    if !casts() {
        return 0;
    }
    let Some(record) = Record::claimed(slot) else { return 0 };
    let Some(known) = place(record) else { return 0 };
    let stamp = stamp_of(&known.stamp);
    let [n0, n1, n2] = record.key().numbers;
    let len = record.cell::<LENGTH>();
    let mut differs = (known.call ^ record.cell::<CALL>())
        | (known.numbers[0] ^ n0)
        | (known.numbers[1] ^ n1)
        | (known.numbers[2] ^ n2)
        | (known.given ^ given(record));
    let text = record.first::<[u64; TEXT_WORDS]>();
    for turn in 0..TEXT_WORDS {
        if turn as u64 * 8 + 8 > len {
            break;
        }
        differs |= known.text[turn] ^ text[turn];
    }
    let last = (len >> 3) as usize & (TEXT_WORDS - 1);
    differs |= known.text[last] ^ cut(text[last], len);
    if differs | (stamp & 1) != 0 {
        return 0;
    }
    let relative = record.cell::<RELATIVE>() != 0;
    record.set_cell::<WORDS>(0);
    record.set_cell::<DIFFERS>(0);
    let whole = if relative {
        record.set_cell::<FROM_BASE_AT>(u64::MAX);
        record.set_cell::<BELOW_ROOT>(u64::MAX);
        walk::<true>(record, known)
    } else {
        walk::<false>(record, known)
    };
    if !whole {
        return 0;
    }
    let at = record.cell::<WORDS>();
    let mut differs = record.cell::<DIFFERS>() | (known.count ^ at);
    if relative {
        differs |= (known.below_base ^ record.cell::<FROM_BASE_AT>()) | (record.cell::<BELOW_ROOT>() ^ at);
    }
    let mask = known.mask;
    if differs != 0 || stamp_of(&known.stamp) != stamp {
        return 0;
    }
    *record.traced() = mask;
    if is_none(&mask) { Known::Nothing as u32 } else { Known::Some as u32 }
}

/// Remembers what is left for the file and the paths in the record's buffer. 0 = they are of no such kind.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn trace(slot: u32) -> u32 {
    let Some(record) = Record::claimed(slot) else { return 0 };
    let Some(known) = place(record) else { return 0 };
    let len = record.cell::<LENGTH>();
    let stamp = stamp_of(&known.stamp);
    if stamp & 1 != 0 {
        return 0;
    }
    set_stamp(&mut known.stamp, stamp + 1);
    // Nothing has this call: should the names be too long, the place is nobody's.
    known.call = 0;
    known.numbers = record.key().numbers;
    known.given = given(record);
    known.mask = Judge::of(record).left();
    let text = record.first::<[u64; TEXT_WORDS]>();
    for turn in 0..TEXT_WORDS {
        let done = turn as u64 * 8;
        known.text[turn] = if done + 8 > len { cut(text[turn], len) } else { text[turn] };
        if done + 8 > len {
            break;
        }
    }
    if keep_names(record, known) {
        known.call = record.cell::<CALL>();
    }
    set_stamp(&mut known.stamp, stamp + 2);
    1
}

/// Writes the names of the trail, each with its length before it. Says whether all fit.
#[inline(always)]
fn keep_names(record: Record, known: &mut Traced) -> bool {
    record.set_cell::<WORDS>(0);
    let (mut from, mut to) = (record.cell::<WORDS>(), record.cell::<WORDS>());
    known.below_base = u64::MAX;
    for name in 0..NAMES_MAX {
        if name == record.cell::<FROM_BASE_NAMES>() {
            known.below_base = to;
        }
        if name >= record.cell::<FILE_NAMES>() {
            known.count = to;
            return true;
        }
        let len = record.len_of(name);
        if len > NAME_MAX || to > (WORDS_MAX - 1 - NAME_WORDS) as u64 {
            return false;
        }
        let at = to as usize & (WORDS_MAX - 1);
        known.words[at] = len;
        for turn in 0..NAME_WORDS {
            known.words[at + 1 + turn] = record.trail(from + turn as u64);
        }
        from += (len >> 3) + 1;
        to += (len >> 3) + 2;
    }
    false
}

/// Whether a call's paths are of the kind that is remembered here.
#[inline(always)]
fn fits(record: Record) -> bool {
    casts()
        && record.cell::<FILE_DENTRY>() != 0
        && record.cell::<TEXT>() == TEXT_AT
        && record.cell::<LENGTH>() < TEXT_WORDS as u64 * 8
}

/// Looks whether the file was opened before by the same path; what was left then is in the record's buffer.
#[inline(always)]
pub(crate) fn look(record: Record) -> Known {
    if !fits(record) {
        return Known::Unknown;
    }
    match retrace(record.slot()) {
        1 => Known::Some,
        2 => Known::Nothing,
        _ => Known::Unknown,
    }
}

/// Remembers the event's mask for the file and its paths, as the trail has them.
#[inline(always)]
pub(crate) fn keep(record: Record) {
    let named = record.cell::<RELATIVE>() == 0 || record.cell::<SAME>() != 0;
    if fits(record) && named {
        trace(record.slot());
    }
}

const _: () = assert!(size_of::<Traced>() as u64 == TRACE_SLOT_BYTES);
