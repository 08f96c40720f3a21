//! Pushdown: what the kernel programs know of the rules, so that events no rule can match end in the kernel.
//!
//! Every enabled rule has a bit in the [`Mask`] of each event family. A mask answers a question ("what if the call is
//! this, its result that, its flags these?"): a bit is 0 only if the rule is **definitely false** when nothing but
//! the question's facts is known. An event's candidates are the intersection of the masks of its facts; if none is
//! left, no rule can match, and the event ends there. So a mask may hold bits too many, never too few, and any
//! missing table, full map or unknown fact is a mask of all ones.
//!
//! Masks come from two places. [`CallKey`] names all the facts of the call that count together (call, result, flag
//! arguments, addresses, which comparisons on the path hold), and the map [`crate::abi::MAP_MEMO`] remembers the
//! mask of each key that has been seen. [`ProcessEntry`] holds the masks of one process as long as nothing changed
//! that they depend on. Both are computed by the agent, on demand: an event that finds no entry is sent up as it
//! would be without pushdown. A process that has just started an image gets those of the image ([`ImageKey`]), which
//! hold whoever runs it.
//!
//! The tables of a rule set lie in one of two slots, by the parity of its generation. A slot is written only while
//! the other one is in force, and a program that finds another generation at its end than at its start rejects
//! nothing: no event is judged by half a rule set.

#![expect(clippy::inline_always, reason = "kernel programs are made of it: a call is not free there")]
#![expect(clippy::indexing_slicing, reason = "indices are masked to the arrays' lengths")]

use core::mem::offset_of;

use crate::{abi::SYSCALL_SLOTS, event::FAMILY_COUNT};

/// Words of a mask.
pub const MASK_WORDS: usize = 4;
/// Rules with a bit of their own, per family; beyond that, rules share bits.
pub const MASK_BITS: usize = MASK_WORDS * 64;

/// A bit per rule of an event family: 0 = cannot match.
pub type Mask = [u64; MASK_WORDS];

/// Every rule may match.
pub const ALL: Mask = [u64::MAX; MASK_WORDS];
/// No rule can match.
pub const NONE: Mask = [0; MASK_WORDS];

/// What both masks leave.
#[inline(always)]
pub const fn both(a: &Mask, b: &Mask) -> Mask {
    [a[0] & b[0], a[1] & b[1], a[2] & b[2], a[3] & b[3]]
}

/// What either mask leaves.
#[inline(always)]
pub const fn either(a: &Mask, b: &Mask) -> Mask {
    [a[0] | b[0], a[1] | b[1], a[2] | b[2], a[3] | b[3]]
}

/// Whether no rule is left.
#[inline(always)]
pub const fn is_none(mask: &Mask) -> bool {
    mask[0] | mask[1] | mask[2] | mask[3] == 0
}

/// Whether every rule is left.
#[inline(always)]
pub const fn is_all(mask: &Mask) -> bool {
    mask[0] & mask[1] & mask[2] & mask[3] == u64::MAX
}

/// Words of a signature.
pub const SIGNATURE_WORDS: usize = 2;
/// Comparisons on paths with a bit of their own; beyond that, comparisons share bits, which are then "maybe".
pub const SIGNATURE_BITS: usize = SIGNATURE_WORDS * 64;

/// Which comparisons on a path hold: a bit per comparison (or per group of them).
pub type Signature = [u64; SIGNATURE_WORDS];

/// Numbers of a [`CallKey`].
pub const KEY_NUMBERS: usize = 3;

/// [`CallKey::class`]: the call failed (its return value is negative).
pub const CLASS_FAILED: u8 = 1;
/// [`CallKey::class`]: a path was classified: `signature` holds for it. Without this bit nothing is known of paths.
pub const CLASS_PATH: u8 = 1 << 1;
/// [`CallKey::class`]: the path as given is the classified one byte by byte, so that bits of comparisons on the path
/// as given hold too. Without this bit nothing is known of them.
pub const CLASS_VERBATIM: u8 = 1 << 2;
/// [`CallKey::class`]: the numbers are those of a socket (see [`CallKey::numbers`]).
pub const CLASS_SOCKET: u8 = 1 << 3;

/// Class of an address or a port that was not looked at: nothing is known of it. No table holds it.
pub const UNKNOWN_CLASS: u16 = u16::MAX;

/// Facts of a call that a mask is remembered for.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct CallKey {
    /// Rule set.
    pub generation: u32,
    /// Native system call number.
    pub syscall: u16,
    /// `CLASS_*` bits.
    pub class: u8,
    /// Always zero.
    pub pad: u8,
    /// Arguments in the plan's order ([`crate::event::SyscallPlan::numbers`]), zero where the plan has none.
    ///
    /// With [`CLASS_SOCKET`]: the first is `family | kind << 16 | protocol << 32 | role << 48` of the socket after
    /// the call, the second `local address class | local port class << 16 | remote address class << 32 | remote port
    /// class << 48`, the third the plan's first argument. Both ends are the socket's own after the call, whatever
    /// address the program gave; an end that was not looked at has [`UNKNOWN_CLASS`].
    pub numbers: [u64; KEY_NUMBERS],
    /// Which comparisons hold for the path, when `class` says so.
    pub signature: Signature,
}

/// Words of [`CallKey`] as its map takes it.
#[cfg(feature = "user")]
pub const KEY_WORDS: usize = size_of::<CallKey>() / 8;
/// Words of [`ProcessEntry`] as its map takes it.
#[cfg(feature = "user")]
pub const ENTRY_WORDS: usize = size_of::<ProcessEntry>() / 8;
/// Words of [`ImageKey`] as its map takes it.
#[cfg(feature = "user")]
pub const IMAGE_WORDS: usize = size_of::<ImageKey>() / 8;
/// Words of [`Tables`] as their map takes them.
#[cfg(feature = "user")]
pub const TABLE_WORDS: usize = size_of::<Tables>() / 8;

#[cfg(feature = "user")]
impl CallKey {
    /// The key as its map takes it.
    pub const fn to_words(self) -> [u64; KEY_WORDS] {
        let Self { generation, syscall, class, pad, numbers: [n0, n1, n2], signature: [s0, s1] } = self;
        let ([g0, g1, g2, g3], [c0, c1]) = (generation.to_ne_bytes(), syscall.to_ne_bytes());
        [u64::from_ne_bytes([g0, g1, g2, g3, c0, c1, class, pad]), n0, n1, n2, s0, s1]
    }

    /// The key of an attribute's payload, whose size is right.
    pub const fn from_words(words: [u64; KEY_WORDS]) -> Self {
        let [first, n0, n1, n2, s0, s1] = words;
        let [g0, g1, g2, g3, c0, c1, class, pad] = first.to_ne_bytes();
        Self {
            generation: u32::from_ne_bytes([g0, g1, g2, g3]),
            syscall: u16::from_ne_bytes([c0, c1]),
            class,
            pad,
            numbers: [n0, n1, n2],
            signature: [s0, s1],
        }
    }
}

#[cfg(feature = "user")]
impl ImageKey {
    /// The key of an image; `None` when its path is not known or too long.
    pub fn new(generation: u32, comm: [u8; 16], path: &[u8]) -> Option<Self> {
        let mut key = Self { generation, path_len: path.len() as u32, comm, path: [0; IMAGE_PATH_BYTES] };
        key.path.get_mut(..path.len()).filter(|place| !place.is_empty())?.copy_from_slice(path);
        Some(key)
    }

    /// The key as its map takes it.
    pub fn to_words(&self) -> [u64; IMAGE_WORDS] {
        let numbers = self.generation.to_ne_bytes().into_iter().chain(self.path_len.to_ne_bytes());
        let mut bytes = numbers.chain(self.comm).chain(self.path);
        let mut words = [0; IMAGE_WORDS];
        for word in &mut words {
            let mut eight = [0; 8];
            eight.iter_mut().zip(&mut bytes).for_each(|(to, from)| *to = from);
            *word = u64::from_ne_bytes(eight);
        }
        words
    }
}

#[cfg(feature = "user")]
impl ProcessEntry {
    /// The entry as its map takes it.
    pub fn to_words(&self) -> [u64; ENTRY_WORDS] {
        let two = |first: u32, second: u32| {
            let mut bytes = [0; 8];
            let both = first.to_ne_bytes().into_iter().chain(second.to_ne_bytes());
            bytes.iter_mut().zip(both).for_each(|(to, from)| *to = from);
            u64::from_ne_bytes(bytes)
        };
        let facts = [
            self.start_ns,
            self.exec_id,
            self.cgroup_id,
            self.epoch,
            two(self.uid, self.euid),
            two(self.gid, self.egid),
            two(self.loginuid, self.generation),
            self.identity,
        ];
        let mut words = [0; ENTRY_WORDS];
        let all = facts.into_iter().chain(self.masks.into_iter().flatten());
        for (word, value) in words.iter_mut().zip(all) {
            *word = value;
        }
        words
    }
}

/// What masks of a process depend on besides its image, and the masks. Key of the map: process id.
///
/// The kernel uses the masks only while every fact is what it was when they were computed. So nobody has to be in time
/// to take them back.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProcessEntry {
    /// Start of the process, nanoseconds of the boot clock.
    pub start_ns: u64,
    /// `task_struct.self_exec_id`: which image it runs.
    pub exec_id: u64,
    /// Control group.
    pub cgroup_id: u64,
    /// Last change of process trees and metadata ([`crate::event::RecordHeader::epoch`]); 0 = the masks do not
    /// depend on them; [`EPOCH_OF_IMAGE`] = they do not either, and better ones are wanted.
    pub epoch: u64,
    /// Real user id.
    pub uid: u32,
    /// Effective user id.
    pub euid: u32,
    /// Real group id.
    pub gid: u32,
    /// Effective group id.
    pub egid: u32,
    /// Audit login user id.
    pub loginuid: u32,
    /// Rule set.
    pub generation: u32,
    /// One number for all of the above but `epoch`, for what else rests on them ([`crate::stream`]); 0 = nothing may.
    pub identity: u64,
    /// Masks by family.
    pub masks: [Mask; FAMILY_COUNT],
}

/// In [`ProcessEntry::epoch`]: the masks are those of the image, whoever runs it.
pub const EPOCH_OF_IMAGE: u64 = u64::MAX;

/// An image that processes run, as far as it is known when it starts: name and executable. Masks that hold for whoever
/// runs it serve for the first moments, until the agent has computed those of the process.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ImageKey {
    /// Rule set.
    pub generation: u32,
    /// Bytes of the path; 0 = it is not known, and there are no masks.
    pub path_len: u32,
    /// Name of the process, as exec set it.
    pub comm: [u8; 16],
    /// Path of the executable as in [`crate::event::AttrTag::ExePath`]; zeros behind it.
    pub path: [u8; IMAGE_PATH_BYTES],
}

/// Longest path of an executable in [`ImageKey`].
pub const IMAGE_PATH_BYTES: usize = 104;
/// Images with masks at most.
pub const IMAGE_ENTRIES: u32 = 2 * 1024;

/// Processes with masks at most.
pub const PROCESS_ENTRIES: u32 = 16 * 1024;
/// Remembered call keys at most; a rule set that needs more begins anew under another generation.
pub const MEMO_ENTRIES: u32 = 16 * 1024;

/// What is in force: one entry of [`crate::abi::MAP_POLICY`], written by the agent only.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// Rule set in force; 0 = pushdown is off, every event is sent.
    pub generation: u32,
    /// One in so many rejected events is sent all the same, marked
    /// ([`crate::event::RECORD_SHADOW`]), to be judged in userspace; a power of two, or 0 = none.
    pub shadow_every: u32,
}

/// What is looked at for a call: bits of [`CallTable::looks`].
pub const LOOK_PATH: u8 = 1;
/// Numbers of the plan are looked at.
pub const LOOK_NUMBERS: u8 = 1 << 1;
/// The socket is looked at.
pub const LOOK_SOCKET: u8 = 1 << 2;
/// The process is looked at.
pub const LOOK_PROCESS: u8 = 1 << 3;
/// Events of the call may be counted ([`crate::stream`]).
pub const LOOK_STREAM: u8 = 1 << 4;
/// The call is never rejected: the agent's own state depends on it.
pub const LOOK_NEVER: u8 = 1 << 7;

/// What is known before anything is looked up, for each call.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct CallTable {
    /// Masks when only the call and its result are known: `[succeeded, failed]`.
    pub base: [[Mask; 2]; SYSCALL_SLOTS as usize],
    /// Masks when moreover no comparison on paths holds, neither on the path as given: `[succeeded, failed]`.
    pub plain: [[Mask; 2]; SYSCALL_SLOTS as usize],
    /// `LOOK_*` bits: what can still make a difference.
    pub looks: [u8; SYSCALL_SLOTS as usize],
}

/// Transitions of the automaton: states times byte classes, at most.
pub const TRANSITIONS: usize = 1 << 19;
/// States with an output, at most.
pub const OUTPUTS: usize = 1 << 12;

/// The byte that stands for both ends of a path. No path contains it.
pub const END: u8 = 0;

/// Finds which strings occur in a path, reading it backwards (last byte first), one step per byte whatever their
/// number (Aho and Corasick 1975).
///
/// The text read is [`END`], the path from its last byte to its first `/`, [`END`]: a string that must stand at the
/// path's end begins with [`END`], one that must stand at its beginning ends with it.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Automaton {
    /// State after the first [`END`].
    pub start: u32,
    /// States from here on have an output: that of state `first_output + n` is `outputs[n]`.
    pub first_output: u32,
    /// Bits of a byte class: the transitions of state `s` start at `s << shift`.
    pub shift: u32,
    /// Always zero.
    pub pad: u32,
    /// Signature bits that are about the path as given.
    pub verbatim: Signature,
    /// Class of each byte, below `1 << shift`.
    pub classes: [u8; 256],
    /// Bits that become true in a state.
    pub outputs: [Signature; OUTPUTS],
    /// Next states.
    pub transitions: [u16; TRANSITIONS],
}

impl Automaton {
    /// The state after a byte.
    #[inline(always)]
    pub fn step(&self, state: u32, byte: u8) -> u32 {
        // Masked, not checked: the verifier and the compiler then both see that it is inside. Added, not ored, for an
        // or the compiler would put behind the mask, where old verifiers forget all bounds.
        let class = u32::from(self.classes[byte as usize]);
        let index = (state << (self.shift & 15)).wrapping_add(class) as usize & (TRANSITIONS - 1);
        u32::from(self.transitions[index])
    }

    /// The bits that a state makes true.
    #[inline(always)]
    pub fn output(&self, state: u32) -> Option<&Signature> {
        // Not `state < first_output`, which would tell the verifier of the state what it need not know: it would then see
        // the loop around this once for each outcome.
        let index = state.wrapping_sub(self.first_output);
        if index > u32::MAX / 2 {
            return None;
        }
        Some(&self.outputs[index as usize & (OUTPUTS - 1)])
    }
}

/// Tables of one rule set, one slot of [`crate::abi::MAP_TABLES`].
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Tables {
    /// Calls.
    pub calls: CallTable,
    /// Paths.
    pub paths: Automaton,
    /// Class of each port; ports of one class satisfy the same comparisons.
    pub ports: [u16; 1 << 16],
}

/// Key of the address tries ([`crate::abi::MAP_ADDRESSES`]): slot, then the address in its IPv6 form (IPv4 as
/// `::ffff:a.b.c.d`), network order. The value is a class: addresses of one class satisfy the same comparisons; 0 when
/// nothing matches.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AddressKey {
    /// Slot, big endian.
    pub slot: [u8; 4],
    /// Address.
    pub address: [u8; 16],
}

/// Prefix bits of [`AddressKey`] in front of the address.
pub const ADDRESS_KEY_BITS: u32 = 32;
/// Networks of both slots at most. The table takes memory for those that are there only.
pub const ADDRESS_ENTRIES: u32 = 64 * 1024;

const _: () = assert!(size_of::<CallKey>() == 48);
const _: () = assert!(size_of::<ProcessEntry>() == 64 + FAMILY_COUNT * 32);
const _: () = assert!(size_of::<ImageKey>() == 128);
const _: () = assert!(size_of::<Policy>() == 8);
const _: () = assert!(size_of::<AddressKey>() == 20);
const _: () = assert!(offset_of!(Tables, paths).is_multiple_of(8) && size_of::<Tables>().is_multiple_of(8));
