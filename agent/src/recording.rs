//! Recordings: everything that came into the detector, in a file, so that it can be judged again.
//!
//! Owns the file format, its writer and reader, the replay and the comparison of two rule sets. A recording holds
//! the records of the ring byte for byte and, between them, whatever else the detector was told: answers of `/proc`,
//! names, clock, counters, metadata of containers. The same file and rules therefore give the same alerts, and
//! nothing of the machine that replays is asked. Files are not trusted: every length is bounded, every frame is
//! checked before it is used.
//!
//! ```text
//! file    magic[8] version:u16 abi:u16 machine:u16 zero:u16 checksum:u64   frame*
//! frame   kind:u8 codec:u8 zero:u16 stored:u32 plain:u32 zero:u32   payload[stored]   checksum:u64
//! ```
//!
//! Integers are little-endian. A checksum (XXH3, 64 bit) covers what precedes it in its frame and starts from the
//! checksum before it, so that a frame cannot be changed, moved or left out unnoticed. The first frame holds
//! [`facts::Facts`], the last one says that the recording is whole, those between hold [`item::Item`]s. Frame and
//! item kinds from 128 on may be skipped by a reader that does not know them.

pub mod diff;
pub mod facts;
pub mod frame;
pub mod item;
pub mod read;
pub mod replay;
pub mod write;

use std::io;

/// Version of the format; a reader refuses others.
pub const VERSION: u16 = 1;
/// Kinds of frames and items from here on may be skipped.
const SKIPPABLE: u8 = 128;

/// Why a recording, or the rest of it, cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The system refuses.
    #[error("cannot read at offset {offset}")]
    Io {
        /// Bytes from the start of the file.
        offset: u64,
        /// Why.
        source: io::Error,
    },
    /// Something else than a recording.
    #[error("this is no recording of Rampart")]
    Alien,
    /// Written by another version.
    #[error("the recording has format version {found}, this program reads {VERSION}")]
    Version {
        /// Its version.
        found: u16,
    },
    /// The records are of another kind.
    #[error("the recording holds records of {found}, this program reads those of {own}")]
    Foreign {
        /// What they are.
        found: frame::Origin,
        /// What this program reads.
        own: frame::Origin,
    },
    /// The file ends too early.
    #[error(
        "the recording ends at offset {offset} without its end mark: it was cut off, or its writer was killed"
    )]
    Truncated {
        /// Where the last whole frame ends.
        offset: u64,
    },
    /// The bytes are not those that were written.
    #[error("the recording is damaged at offset {offset}: {what}")]
    Damaged {
        /// Start of the damaged frame.
        offset: u64,
        /// What is wrong.
        what: Damage,
    },
}

/// What is wrong with a frame or an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    /// The checksum does not fit.
    #[error("checksum does not match")]
    Checksum,
    /// A length beyond any that is written.
    #[error("impossible length")]
    Length,
    /// Compressed data that cannot be unpacked.
    #[error("data cannot be unpacked")]
    Packing,
    /// A kind that this program does not know and must not skip.
    #[error("unknown kind {0}")]
    Kind(u8),
    /// Contents that cannot be understood.
    #[error("contents cannot be understood")]
    Contents,
    /// Bytes after the end mark.
    #[error("bytes after the end mark")]
    Rest,
}
