//! Streams: events of one process on one connection by one call, which the kernel counts instead of sending.
//!
//! A rule with a threshold needs to know how many events there are, not what each of them is. So once the agent has
//! found that every rule that is left for such events is either false or true on **all** of them, and that those that
//! are true only count, it says so ([`StreamTerms`]). From then on the kernel adds the events up
//! ([`StreamCount`], per CPU) as long as everything that the finding rests on is compared and still the same, and sends
//! one now and then, with the number of those before it ([`crate::event::AttrTag::Counted`]). Whatever differs, the event
//! is sent as it would be without terms; what was counted until then goes with it.

use crate::pushdown::Mask;
#[cfg(feature = "user")]
use crate::pushdown::{MASK_WORDS, NONE};

/// Streams at most.
pub const STREAM_ENTRIES: u32 = 1024;

/// Which events are counted together.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct StreamKey {
    /// Kernel address of the socket.
    pub sock: u64,
    /// Rule set.
    pub generation: u32,
    /// Process id.
    pub pid: u32,
    /// Native system call number.
    pub syscall: u32,
    /// Inode number of the socket, low 32 bits.
    pub ino: u32,
}

/// Both ends of a connection, as they are compared.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StreamEnds {
    /// Local address, as in [`crate::event::SocketFacts::local`].
    pub local: [u64; 2],
    /// Remote address.
    pub remote: [u64; 2],
    /// `local port | remote port << 16 | role << 32`.
    pub ports: u64,
}

/// When the events of a stream are counted, and how far.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StreamTerms {
    /// Facts of the process ([`crate::pushdown::ProcessEntry::identity`]), never 0.
    pub identity: u64,
    /// Last change of process trees and metadata; 0 = the terms do not depend on them.
    pub epoch: u64,
    /// Both ends of the connection.
    pub ends: StreamEnds,
    /// Rules that the kernel must have left, neither more nor fewer.
    pub candidates: Mask,
    /// Those of them that are true.
    pub matching: Mask,
    /// Events counted before one is sent, per CPU.
    pub events_max: u64,
    /// Sum of the results before one is sent, per CPU.
    pub sum_max: u64,
    /// Time in which events are counted before one is sent, nanoseconds.
    pub age_ns: u64,
}

/// What was counted, per CPU; also the payload of [`crate::event::AttrTag::Counted`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StreamCount {
    /// Rules that are true on these events.
    pub matching: Mask,
    /// Events.
    pub events: u64,
    /// Sum of their results.
    pub sum: u64,
    /// Time of the first one, nanoseconds of the boot clock.
    pub since_ns: u64,
}

/// Words of [`StreamKey`] as its maps take it.
#[cfg(feature = "user")]
pub const STREAM_KEY_WORDS: usize = size_of::<StreamKey>() / 8;
/// Words of [`StreamTerms`] as their map takes them.
#[cfg(feature = "user")]
pub const STREAM_TERMS_WORDS: usize = size_of::<StreamTerms>() / 8;
/// Words of [`StreamCount`] as its map takes it.
#[cfg(feature = "user")]
pub const STREAM_COUNT_WORDS: usize = size_of::<StreamCount>() / 8;

#[cfg(feature = "user")]
impl StreamKey {
    /// The key as its maps take it.
    pub fn to_words(self) -> [u64; STREAM_KEY_WORDS] {
        [self.sock, two(self.generation, self.pid), two(self.syscall, self.ino)]
    }
}

#[cfg(feature = "user")]
impl StreamTerms {
    /// The terms as their map takes them.
    pub const fn to_words(&self) -> [u64; STREAM_TERMS_WORDS] {
        let StreamEnds { local: [l0, l1], remote: [r0, r1], ports } = self.ends;
        let ([c0, c1, c2, c3], [m0, m1, m2, m3]) = (self.candidates, self.matching);
        let (identity, epoch) = (self.identity, self.epoch);
        let (events, sum, age) = (self.events_max, self.sum_max, self.age_ns);
        [identity, epoch, l0, l1, r0, r1, ports, c0, c1, c2, c3, m0, m1, m2, m3, events, sum, age]
    }
}

#[cfg(feature = "user")]
impl StreamCount {
    /// The count of an attribute's payload, whose size is right.
    pub fn from_words(words: &[u64; STREAM_COUNT_WORDS]) -> Self {
        let (mask, [events, sum, since_ns]) = words
            .split_first_chunk::<MASK_WORDS>()
            .map_or((NONE, [0; 3]), |(mask, rest)| (*mask, rest.first_chunk().copied().unwrap_or_default()));
        Self { matching: mask, events, sum, since_ns }
    }
}

/// Two numbers in one word, as they lie in memory: kernel programs are little-endian.
#[cfg(feature = "user")]
fn two(first: u32, second: u32) -> u64 {
    u64::from(first) | u64::from(second) << 32
}

const _: () = assert!(size_of::<StreamKey>() == 24);
const _: () = assert!(size_of::<StreamTerms>() == 144);
const _: () = assert!(size_of::<StreamCount>() == 56);
