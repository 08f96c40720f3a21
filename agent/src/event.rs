//! Events as the rest of the agent sees them: a checked header and borrowed attributes.
//!
//! Owns: decoding of kernel records and the tables that name system calls. Must never do I/O or keep state.
//! Called by the detection thread for every record.

pub mod build;
pub mod decode;
pub mod lexical;
pub mod names;
pub mod syscall;

use std::{fmt, ops::Range};

pub use rampart_common::event::{
    AttrTag, EventKind, ExecFacts, Family, FileFacts, RecordHeader, SocketFacts, TaskFacts, UsageFacts,
};

/// One decoded record. Borrows the record's bytes.
#[derive(Clone, Debug)]
pub struct Event<'a> {
    /// The header, copied out of the record.
    pub header: RecordHeader,
    /// What made the record.
    pub kind: EventKind,
    /// Counter family.
    pub family: Family,
    attrs: decode::AttrTable,
    bytes: &'a [u8],
}

/// An attribute's payload and flags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attr<'a> {
    /// `ATTR_*` bits of `rampart_common::event`.
    pub flags: u16,
    /// Payload without padding.
    pub bytes: &'a [u8],
}

/// Identity of a process: its id and the moment it started, so that a reused id is another process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ProcessId {
    /// Process (thread group) id in the initial pid namespace.
    pub pid: u32,
    /// Start of the leader, in clock ticks (1/100 s) of the boot clock: the precision `/proc` offers too.
    pub start_ticks: u64,
}

/// Nanoseconds of one clock tick as `/proc/PID/stat` counts them (`USER_HZ` is 100 on every supported machine).
pub const TICK_NS: u64 = 10_000_000;

impl ProcessId {
    /// Identity from a start time in nanoseconds of the boot clock.
    pub const fn from_start_ns(pid: u32, start_ns: u64) -> Self {
        Self { pid, start_ticks: start_ns / TICK_NS }
    }
}

impl<'a> Event<'a> {
    /// The payload of an attribute, if the record has it.
    pub fn attr(&self, tag: AttrTag) -> Option<Attr<'a>> {
        let (flags, range): (u16, Range<usize>) = self.attrs.get(tag)?;
        Some(Attr { flags, bytes: self.bytes.get(range)? })
    }

    /// Identity of the process that made the event.
    pub const fn process(&self) -> ProcessId {
        ProcessId::from_start_ns(self.header.task.pid, self.header.task.start_ns)
    }

    /// Identity of the parent, if it was known to the kernel side.
    pub const fn parent(&self) -> Option<ProcessId> {
        match self.header.task.ppid {
            0 => None,
            ppid => Some(ProcessId::from_start_ns(ppid, self.header.task.parent_start_ns)),
        }
    }

    /// Thread name up to its NUL.
    pub fn comm(&self) -> &[u8] {
        until_nul(&self.header.task.comm)
    }

    /// File facts, if the record has them.
    pub fn file(&self) -> Option<FileFacts> {
        decode::file_facts(self.attr(AttrTag::File)?.bytes)
    }

    /// Socket facts, if the record has them.
    pub fn socket(&self) -> Option<SocketFacts> {
        decode::socket_facts(self.attr(AttrTag::Socket)?.bytes)
    }

    /// Exec facts, if the record has them.
    pub fn exec(&self) -> Option<ExecFacts> {
        decode::exec_facts(self.attr(AttrTag::Exec)?.bytes)
    }

    /// Usage facts, if the record has them.
    pub fn usage(&self) -> Option<UsageFacts> {
        decode::usage_facts(self.attr(AttrTag::Usage)?.bytes)
    }

    /// Writes a path attribute as an absolute path: components come leaf first, the result reads root first.
    /// Returns false, with nothing written, when the record has no such attribute.
    pub fn path_into(&self, tag: AttrTag, out: &mut Vec<u8>) -> bool {
        let Some(attr) = self.attr(tag) else { return false };
        decode::path_into(attr, out);
        true
    }
}

/// A decoding fault; the record is counted and skipped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Fewer bytes than a header, or than the header's length.
    #[error("record of {have} bytes is shorter than the {need} bytes it needs")]
    Short {
        /// Bytes there are.
        have: usize,
        /// Bytes the record needs.
        need: usize,
    },
    /// Made by programs of another version.
    #[error("record has ABI version {0}, expected {expected}", expected = rampart_common::abi::ABI_VERSION)]
    Version(u8),
    /// Unknown [`EventKind`].
    #[error("unknown event kind {0}")]
    Kind(u16),
    /// Unknown [`Family`].
    #[error("unknown event family {0}")]
    Family(u8),
    /// Unknown [`AttrTag`].
    #[error("unknown attribute {0}")]
    Attr(u16),
    /// An attribute reaches past the record's end.
    #[error("attribute {tag} at offset {offset} reaches past the end of the record")]
    AttrLength {
        /// Raw tag.
        tag: u16,
        /// Offset of the attribute's header.
        offset: usize,
    },
}

/// Bytes up to the first NUL.
pub fn until_nul(bytes: &[u8]) -> &[u8] {
    let end = memchr::memchr(0, bytes).unwrap_or(bytes.len());
    bytes.get(..end).unwrap_or(bytes)
}

/// Bytes shown to people: invalid UTF-8 is replaced.
pub struct Lossy<'a>(pub &'a [u8]);

impl fmt::Display for Lossy<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(self.0))
    }
}
