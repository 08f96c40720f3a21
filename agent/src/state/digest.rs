//! SHA-256 of executed files: what is known of each version of a file, and which are to be read.
//!
//! Plain data, owned by the detection thread. A version seen first is put into the outbox; whoever reads files answers by
//! [`Digests::take`]. Bounded: the least recently used go first, and a version that finds no room in the outbox has no
//! digest until it is seen again.

use std::collections::VecDeque;

use rampart_common::event::FileFacts;
use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};

/// Versions remembered.
const VERSIONS_MAX: usize = 16_384;
/// Share of them that goes at once.
const EVICT_SHARE: usize = 16;
/// Versions that may wait to be read.
const OUTBOX_MAX: usize = 4096;
/// How long a version that could not be read is not tried again, nanoseconds.
const ABSENT_NS: u64 = 10_000_000_000;
/// Longest wait for an answer; it can only be lost with the side that reads.
const PENDING_NS: u64 = 60_000_000_000;

/// What tells one version of a file from all others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct FileVersion {
    /// Device, as the kernel numbers it.
    pub dev: u32,
    /// Inode.
    pub ino: u64,
    /// Last change of the inode, nanoseconds since the epoch.
    pub ctime_ns: u64,
    /// Last change of the content.
    pub mtime_ns: u64,
}

/// A file that is to be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DigestWanted {
    /// A process that runs it.
    pub pid: u32,
    /// Its path, should that process be gone already.
    pub path: Box<[u8]>,
    /// Other processes that see it there.
    pub peers: Box<[u32]>,
    /// Which version.
    pub version: FileVersion,
    /// No event waits for it, so it may take its time.
    pub is_patient: bool,
}

/// What is known of a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KnownDigest<'t> {
    /// Its digest, in hexadecimal digits.
    Yes(&'t [u8]),
    /// It is being read.
    Pending,
    /// Nobody reads it, or nobody could.
    No,
}

#[derive(Debug)]
enum Entry {
    Pending { since_ns: u64 },
    Known([u8; 64]),
    Absent { until_ns: u64 },
}

#[derive(Debug)]
struct Slot {
    entry: Entry,
    used_ns: u64,
}

/// The table.
#[derive(Debug, Default)]
pub struct Digests {
    is_asked: bool,
    slots: FxHashMap<FileVersion, Slot>,
    outbox: VecDeque<DigestWanted>,
    pending: usize,
    full: u64,
}

impl From<&FileFacts> for FileVersion {
    fn from(facts: &FileFacts) -> Self {
        Self { dev: facts.dev, ino: facts.ino, ctime_ns: facts.ctime_ns, mtime_ns: facts.mtime_ns }
    }
}

impl Digests {
    /// Whether anybody wants digests. What is known stays.
    pub fn ask(&mut self, is_asked: bool) {
        self.is_asked = is_asked;
    }

    /// Whether anybody does.
    pub const fn is_asked(&self) -> bool {
        self.is_asked
    }

    /// A process runs a version; one that is not known is to be read, as `wanted` says.
    pub fn touch(&mut self, version: FileVersion, now_ns: u64, wanted: impl FnOnce() -> DigestWanted) {
        if !self.is_asked || version.ino == 0 {
            return;
        }
        let again = match self.slots.get_mut(&version) {
            None => true,
            Some(slot) => {
                slot.used_ns = now_ns;
                match slot.entry {
                    Entry::Known(_) => false,
                    Entry::Pending { since_ns } => since_ns.saturating_add(PENDING_NS) <= now_ns,
                    Entry::Absent { until_ns } => until_ns <= now_ns,
                }
            }
        };
        if !again {
            return;
        }
        if self.outbox.len() >= OUTBOX_MAX {
            self.full += 1;
            return;
        }
        self.make_room();
        self.outbox.push_back(wanted());
        self.put(version, Entry::Pending { since_ns: now_ns }, now_ns);
    }

    /// Takes an answer over.
    pub fn take(&mut self, version: FileVersion, digest: Option<[u8; 32]>, now_ns: u64) {
        let entry = match digest {
            Some(digest) => Entry::Known(hex(digest)),
            None => Entry::Absent { until_ns: now_ns.saturating_add(ABSENT_NS) },
        };
        self.make_room();
        self.put(version, entry, now_ns);
    }

    fn put(&mut self, version: FileVersion, entry: Entry, now_ns: u64) {
        let is_pending = |entry: &Entry| matches!(entry, Entry::Pending { .. });
        self.pending += usize::from(is_pending(&entry));
        if let Some(old) = self.slots.insert(version, Slot { entry, used_ns: now_ns }) {
            self.pending -= usize::from(is_pending(&old.entry));
        }
    }

    /// What is known of a version.
    pub fn get(&self, version: FileVersion) -> KnownDigest<'_> {
        match self.slots.get(&version).map(|slot| &slot.entry) {
            Some(Entry::Known(text)) => KnownDigest::Yes(text),
            Some(Entry::Pending { .. }) => KnownDigest::Pending,
            Some(Entry::Absent { .. }) | None => KnownDigest::No,
        }
    }

    /// Whether a version is being read. Costs nothing while none is.
    pub fn is_pending(&self, version: FileVersion) -> bool {
        self.pending > 0 && self.get(version) == KnownDigest::Pending
    }

    /// The next version to read.
    pub fn next_request(&mut self) -> Option<DigestWanted> {
        self.outbox.pop_front()
    }

    /// Takes a request back that cannot be passed on now.
    pub fn put_back(&mut self, wanted: DigestWanted) {
        self.outbox.push_front(wanted);
    }

    /// Versions that found no room to wait.
    pub const fn full(&self) -> u64 {
        self.full
    }

    /// Versions remembered.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    fn make_room(&mut self) {
        if self.slots.len() < VERSIONS_MAX {
            return;
        }
        let mut used: Vec<u64> = self.slots.values().map(|slot| slot.used_ns).collect();
        let (_, last, _) = used.select_nth_unstable(VERSIONS_MAX / EVICT_SHARE);
        let last = *last;
        self.slots.retain(|_, slot| slot.used_ns > last);
        self.pending = self.slots.values().filter(|slot| matches!(slot.entry, Entry::Pending { .. })).count();
    }
}

fn hex(digest: [u8; 32]) -> [u8; 64] {
    let mut text = [0; 64];
    for (pair, byte) in text.chunks_exact_mut(2).zip(digest) {
        for (to, half) in pair.iter_mut().zip([byte >> 4, byte & 15]) {
            *to = if half < 10 { b'0' + half } else { b'a' + half - 10 };
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(ino: u64) -> DigestWanted {
        let version = FileVersion { dev: 1, ino, ctime_ns: 5, mtime_ns: 6 };
        DigestWanted { pid: 7, path: Box::default(), peers: Box::default(), version, is_patient: false }
    }

    fn touch(digests: &mut Digests, wanted: &DigestWanted, now_ns: u64) {
        digests.touch(wanted.version, now_ns, || wanted.clone());
    }

    #[test]
    fn a_version_is_asked_for_once_and_again_when_it_could_not_be_read() {
        let mut digests = Digests::default();
        let one = wanted(3);
        touch(&mut digests, &one, 1);
        assert_eq!(
            (digests.next_request(), digests.get(one.version)),
            (None, KnownDigest::No),
            "nobody asks"
        );
        digests.ask(true);
        touch(&mut digests, &one, 1);
        touch(&mut digests, &one, 2);
        assert_eq!((digests.next_request(), digests.next_request()), (Some(one.clone()), None));
        assert!(digests.is_pending(one.version));
        digests.take(one.version, None, 10);
        assert_eq!(digests.get(one.version), KnownDigest::No);
        touch(&mut digests, &one, 11);
        assert_eq!(digests.next_request(), None, "not so soon");
        touch(&mut digests, &one, 10 + ABSENT_NS);
        assert_eq!(digests.next_request(), Some(one.clone()));
        digests.take(one.version, Some([0xa9; 32]), 12);
        assert_eq!(digests.get(one.version), KnownDigest::Yes("a9".repeat(32).as_bytes()));
        assert!(!digests.is_pending(one.version) && digests.pending == 0);
        let changed = DigestWanted { version: FileVersion { mtime_ns: 9, ..one.version }, ..one.clone() };
        touch(&mut digests, &changed, 13);
        assert_eq!(digests.next_request(), Some(changed), "another version is another file");
    }

    #[test]
    fn table_and_outbox_are_bounded() {
        let mut digests = Digests::default();
        digests.ask(true);
        for ino in 1..=OUTBOX_MAX as u64 + 5 {
            touch(&mut digests, &wanted(ino), ino);
        }
        assert_eq!((digests.len(), digests.full()), (OUTBOX_MAX, 5));
        for ino in 1..=3 * VERSIONS_MAX as u64 {
            digests.take(wanted(ino).version, Some([1; 32]), ino);
            assert!(digests.len() <= VERSIONS_MAX + 1);
        }
        let last = wanted(3 * VERSIONS_MAX as u64).version;
        assert!(matches!(digests.get(last), KnownDigest::Yes(_)), "the newest stay");
        assert_eq!(digests.pending, 0);
    }
}
