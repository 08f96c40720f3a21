//! Paths of a call as they are judged: the names from the file upwards, each in words of its own.
//!
//! A name lies in whole words with at least one NUL behind it, so names are read, compared and hashed eight bytes at
//! a time. The walk compares the names with the path that the program gave on the way, which spares a second walk
//! where they are the same. What the walk found is what is judged, remembered and sent: nothing is read twice.
//!
//! The walk reads live structures without locks: a rename in the same instant can mix old and new names, as it can
//! for `/proc`; it is bounded and cannot fault.

use rampart_common::{event::AttrTag, member::Member as M};

use crate::{
    cell::{
        ATTRIBUTE, BASE_DENTRY, BASE_MOUNT, BELOW_ROOT, DENTRY, DIFFERS, FILE_DENTRY, FILE_MOUNT, FROM_BASE,
        FROM_BASE_AT, FROM_BASE_DIFFERS, FROM_BASE_NAMES, HASH, MOUNT, NAMES, REST, ROOT_DENTRY, ROOT_MOUNT,
        TEXT, TO_ROOT, WORDS, unknown,
    },
    path::parent_and_name,
    read::{Raw, casts, layout},
    record::{OpenAttr, Record},
};

/// Most names of a trail.
pub(crate) const NAMES_MAX: u64 = 24;
/// Words of a name of the longest kind that is judged, with its NUL.
pub(crate) const NAME_WORDS: u64 = 11;
/// Longest name that is judged, bytes.
pub(crate) const NAME_MAX: u64 = NAME_WORDS * 8 - 1;
/// Most words of a trail.
pub(crate) const WORDS_MAX: u64 = 128;
/// Names and mounts passed on a walk.
const STEPS: u32 = NAMES_MAX as u32 + 12;

/// How the path of the file and the path that the program gave are related.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Given {
    /// They are one, byte by byte.
    Verbatim,
    /// They are one, the program gave it from the directory on.
    FromBase,
    /// They differ.
    Other,
}

/// The trail in a record's buffer.
#[derive(Clone, Copy)]
pub(crate) struct Trail(Record);

impl Trail {
    /// The trail of an event whose record this is.
    #[inline(always)]
    pub(crate) fn of(record: Record) -> Self {
        Self(record)
    }

    /// An empty trail. Where its paths begin is in the cells.
    #[inline(always)]
    pub(crate) fn begin(record: Record) -> Self {
        record.set_cell::<WORDS>(0);
        record.set_cell::<NAMES>(0);
        record.set_cell::<HASH>(0);
        record.clear_lens();
        Self(record)
    }

    /// Adds the names of a file, up to the root of the mount namespace, not of the process: a process that made some
    /// directory its root shall not thereby rename what it opens. The given path is compared, which is `len` bytes
    /// from `start`. `None` when not all could be kept.
    #[inline(always)]
    pub(crate) fn file(self, start: u64, len: u64, relative: bool) -> Option<Given> {
        let record = self.0;
        record.set_cell::<TO_ROOT>(0);
        if !self.walk(record.cell::<FILE_DENTRY>(), record.cell::<FILE_MOUNT>(), start + len) {
            return None;
        }
        if !relative && start != 0 && record.cell::<DIFFERS>() == 0 && record.cell::<REST>() == start {
            return Some(Given::Verbatim);
        }
        // Only where the process and the walk have one root, the names above the directory are those it would give.
        let one_root = record.cell::<BELOW_ROOT>() == record.cell::<NAMES>();
        let from_base = record.cell::<FROM_BASE>() == start && record.cell::<FROM_BASE_DIFFERS>() == 0;
        if relative && start != 0 && one_root && from_base {
            return Some(Given::FromBase);
        }
        Some(Given::Other)
    }

    /// Adds the names of the directory that the given path starts from, up to the task's root. Says whether all could be
    /// kept.
    #[inline(always)]
    pub(crate) fn base(self) -> bool {
        let record = self.0;
        record.set_cell::<TO_ROOT>(1);
        self.walk(record.cell::<BASE_DENTRY>(), record.cell::<BASE_MOUNT>(), 0)
    }

    #[inline(always)]
    fn walk(self, dentry: u64, mnt: u64, rest: u64) -> bool {
        let record = self.0;
        // By way of the buffer, for such a function takes numbers, and what the verifier knows to be a pointer is none.
        record.set_cell::<DENTRY>(dentry);
        record.set_cell::<MOUNT>(mnt);
        record.set_cell::<REST>(rest);
        record.set_cell::<FROM_BASE>(0);
        record.set_cell::<BELOW_ROOT>(u64::MAX);
        dentry != 0 && walk_trail(record.slot()) != 0
    }

    /// Adds the given path, which is `len` bytes from `start`. Says whether there was room.
    #[inline(always)]
    pub(crate) fn text(self, start: u64, len: u64) -> bool {
        copy_text(self.0.slot(), start, len) != 0
    }

    /// Names so far.
    #[inline(always)]
    pub(crate) fn names(self) -> u64 {
        self.0.cell::<NAMES>()
    }

    /// Words so far.
    #[inline(always)]
    pub(crate) fn words(self) -> u64 {
        self.0.cell::<WORDS>()
    }

    /// Writes names of the trail into the record: `count` from the name with index `first`, which begins at the word
    /// `at`.
    #[inline(always)]
    pub(crate) fn put(self, tag: AttrTag, first: u64, count: u64, at: u64) {
        let Some(attr) = self.0.open(tag) else { return };
        self.0.set_cell::<ATTRIBUTE>(attr.start());
        put_names(self.0.slot(), first, count, at);
        self.0.close(attr, 0);
    }
}

/// See [`Trail::put`]. Gives how many names were written.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn put_names(slot: u32, first: u64, count: u64, at: u64) -> u32 {
    let Some(record) = Record::claimed(slot) else { return 0 };
    let attr = OpenAttr::at(record.cell::<ATTRIBUTE>());
    record.set_cell::<WORDS>(at);
    record.set_cell::<NAMES>(0);
    for _ in 0..NAMES_MAX {
        let (done, at) = (record.cell::<NAMES>(), record.cell::<WORDS>());
        if done >= count {
            break;
        }
        let len = record.len_of(first.wrapping_add(done));
        if !record.push_words(attr, at, len) {
            break;
        }
        record.set_cell::<WORDS>(at.wrapping_add((len >> 3) + 1));
        record.set_cell::<NAMES>(done + 1);
    }
    record.cell::<NAMES>() as u32
}

/// Adds a word to the hash.
#[inline(always)]
pub(crate) fn mix(hash: u64, word: u64) -> u64 {
    let hash = (hash ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    hash ^ (hash >> 32)
}

/// The first bytes of a word: as many as `len` is over a multiple of 8.
#[inline(always)]
pub(crate) fn cut(word: u64, len: u64) -> u64 {
    word & !(u64::MAX << ((len & 7) * 8))
}

/// What changes from name to name on a walk, and is in no cell meanwhile.
#[derive(Clone, Copy)]
struct Walk {
    record: Record,
    /// Where the part of the given path ends that has not been compared.
    rest: u64,
    /// Where the given path begins, if it is relative; else 0.
    relative: u64,
    /// Not 0 once a name differed from the given path.
    differs: u64,
    hash: u64,
}

/// See [`Trail::walk`]. 0 = not all could be kept.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn walk_trail(slot: u32) -> u32 {
    let Some(record) = Record::claimed(slot) else { return 0 };
    let mount_offset = layout(M::MountMnt);
    let (mut dentry, mut mnt) = (Raw(record.cell::<DENTRY>()), Raw(record.cell::<MOUNT>()));
    let mut mount_root = mnt.follow(M::VfsmountRoot);
    let (base, root) = (Raw(record.cell::<BASE_DENTRY>()), Raw(record.cell::<ROOT_DENTRY>()));
    let relative = if base.is_null() { 0 } else { record.cell::<TEXT>() };
    let mut walk =
        Walk { record, rest: record.cell::<REST>(), relative, differs: 0, hash: record.cell::<HASH>() };
    for _ in 0..STEPS {
        if dentry == base && mnt.0 == record.cell::<BASE_MOUNT>() {
            // Not looked at here, which would only make more states for the verifier.
            record.set_cell::<FROM_BASE>(walk.rest);
            record.set_cell::<FROM_BASE_DIFFERS>(walk.differs);
            record.set_cell::<FROM_BASE_NAMES>(record.cell::<NAMES>());
            record.set_cell::<FROM_BASE_AT>(record.cell::<WORDS>());
        }
        if dentry == root && mnt.0 == record.cell::<ROOT_MOUNT>() {
            record.set_cell::<BELOW_ROOT>(record.cell::<NAMES>());
            if record.cell::<TO_ROOT>() != 0 {
                return walk.end();
            }
        }
        if dentry == mount_root {
            let mount = Raw(mnt.0.wrapping_sub(mount_offset));
            let parent = mount.follow(M::MountParent);
            if parent == mount || parent.is_null() {
                return walk.end();
            }
            dentry = mount.follow(M::MountMountpoint);
            mnt = parent.plus(mount_offset);
            mount_root = mnt.follow(M::VfsmountRoot);
            continue;
        }
        let (parent, name, len) = parent_and_name(dentry);
        if parent == dentry || parent.is_null() || !walk.push(name, len) {
            return 0;
        }
        dentry = parent;
    }
    0
}

impl Walk {
    /// Leaves what was found in the cells.
    #[inline(always)]
    fn end(self) -> u32 {
        self.record.set_cell::<REST>(self.rest);
        self.record.set_cell::<DIFFERS>(self.differs);
        self.record.set_cell::<HASH>(self.hash);
        1
    }

    /// Adds a name and compares it with the end of the rest of the given path. False when it does not fit.
    #[inline(always)]
    fn push(&mut self, name: Raw, len: u64) -> bool {
        let record = self.record;
        let (at, names) = (record.cell::<WORDS>(), record.cell::<NAMES>());
        if len > NAME_MAX || at > WORDS_MAX - NAME_WORDS || names >= NAMES_MAX {
            return false;
        }
        if !casts() {
            record.read_words(at, name, len);
        }
        let first = self.rest.wrapping_sub(len);
        let mut all = 0;
        // The turn is the only number here that the verifier knows; so one turn is seen once.
        for turn in 0..NAME_WORDS - 1 {
            let done = turn * 8;
            if done + 8 > len {
                break;
            }
            let word = name_word(record, name, at, turn);
            record.set_trail(at + turn, word);
            all ^= word;
            self.differs |= word ^ record.word(first.wrapping_add(done));
        }
        // The last one, which has the name's end or is nothing but NUL.
        let turn = len >> 3;
        let word = cut(name_word(record, name, at, turn), len);
        record.set_trail(at + turn, word);
        self.hash = mix(self.hash, all ^ word);
        self.differs |= word ^ cut(record.word(first.wrapping_add(turn * 8)), len);
        self.rest = first;
        // A name that begins the relative path has no slash before it.
        if first != self.relative {
            self.rest = first.wrapping_sub(1);
            self.differs |= u64::from(record.byte(self.rest) ^ b'/');
        }
        record.set_len(names, len as u8);
        record.set_cell::<NAMES>(names + 1);
        record.set_cell::<WORDS>(at + turn + 1);
        true
    }
}

/// A word of a name that goes to the word `at` of the trail.
#[inline(always)]
fn name_word(record: Record, name: Raw, at: u64, turn: u64) -> u64 {
    if casts() { name.plus(turn * 8).load(M::AnyWord) } else { record.trail(at + turn) }
}

/// See [`Trail::text`]. 0 = there is no room.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn copy_text(slot: u32, start: u64, len: u64) -> u32 {
    let Some(record) = Record::claimed(slot) else { return 0 };
    let at = record.cell::<WORDS>();
    if at >= WORDS_MAX || len >= WORDS_MAX * 8 || at + (len >> 3) >= WORDS_MAX {
        return 0;
    }
    let mut hash = record.cell::<HASH>();
    // From the length the compiler would know that the loop ends, and leave its own end out. Old verifiers know only that one:
    // they do not follow a comparison of a number they know with one of which they have bounds.
    let len = unknown(len);
    for turn in 0..WORDS_MAX {
        let done = turn * 8;
        if done + 8 > len {
            break;
        }
        let word = record.word(start.wrapping_add(done));
        record.set_trail(at + turn, word);
        hash = mix(hash, word);
    }
    let turn = len >> 3;
    let word = cut(record.word(start.wrapping_add(turn * 8)), len);
    record.set_trail(at + turn, word);
    hash = mix(hash, word);
    record.set_cell::<HASH>(hash);
    record.set_cell::<WORDS>(at + (len >> 3) + 1);
    1
}
