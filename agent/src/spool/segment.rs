//! One file of the spool: its name, its head, and what is found in it at the start.

use super::{
    SpoolError,
    disk::Disk,
    record::{self, PAYLOAD_MAX},
};

/// First bytes; the last one is the version of the format.
const MAGIC: [u8; 8] = *b"RAMPSPL1";
/// Bytes of a head.
pub(super) const HEAD_BYTES: usize = 40;
/// Bytes read at a time; twice the largest record, so that one is always whole in it.
pub(super) const CHUNK: usize = 2 * (PAYLOAD_MAX + record::HEAD_BYTES);
const SUFFIX: &str = ".seg";

/// What a segment's file is named after.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Name {
    pub(super) lane: usize,
    /// Number of its first record.
    pub(super) first: u64,
}

/// What stands before the records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) name: Name,
    pub(super) boot: [u8; 16],
}

/// A segment as the spool knows it.
#[derive(Clone, Debug)]
pub(super) struct Segment {
    pub(super) name: Name,
    pub(super) boot: [u8; 16],
    /// Checksum of the head, with which those of the records begin.
    pub(super) seed: u32,
    /// Number behind the last record that is known.
    pub(super) end: u64,
    /// Size of the file.
    pub(super) bytes: u64,
    /// Whether everything in it was forced to the disk.
    pub(super) is_synced: bool,
}

impl Name {
    /// The file's name.
    pub(super) fn file(self) -> String {
        format!("{}-{:016x}{SUFFIX}", self.lane, self.first)
    }

    /// The name of a file that is one of ours.
    pub(super) fn parse(file: &str) -> Option<Self> {
        let (lane, first) = file.strip_suffix(SUFFIX)?.split_once('-')?;
        let name = Self { lane: lane.parse().ok()?, first: u64::from_str_radix(first, 16).ok()? };
        (name.lane < super::LANES && name.file() == file).then_some(name)
    }
}

impl Head {
    pub(super) fn encode(&self) -> [u8; HEAD_BYTES] {
        let mut bytes = [0; HEAD_BYTES];
        let (lane, first) = ((self.name.lane as u32).to_le_bytes(), self.name.first.to_le_bytes());
        let parts: [&[u8]; 4] = [&MAGIC, &lane, &first, &self.boot];
        let covered: Vec<u8> = parts.concat();
        let sum = crc32c::crc32c(&covered).to_le_bytes();
        for (slot, byte) in bytes.iter_mut().zip(covered.into_iter().chain(sum)) {
            *slot = byte;
        }
        bytes
    }

    /// The head of a file of that name, if it is whole.
    fn decode(name: Name, bytes: &[u8]) -> Option<Self> {
        let boot = bytes.get(20..36)?.try_into().ok()?;
        let head = Self { name, boot };
        (head.encode().as_slice() == bytes).then_some(head)
    }

    /// The segment that begins with it.
    pub(super) fn segment(&self) -> Segment {
        let Self { name, boot } = *self;
        let seed = crc32c::crc32c(&self.encode());
        Segment { name, boot, seed, end: name.first, bytes: HEAD_BYTES as u64, is_synced: false }
    }
}

/// Reads a segment that an agent before wrote; `None` when its head does not verify. The number of bytes is that behind
/// the last record, of no use to anybody.
pub(super) fn recover(disk: &impl Disk, name: Name) -> Result<Option<(Segment, u64)>, SpoolError> {
    let file = name.file();
    let read = |offset: u64, bytes: usize| {
        let fault = |source| SpoolError { operation: "read", name: file.clone(), source };
        disk.read(&file, offset, bytes).map_err(fault)
    };
    let Some(head) = Head::decode(name, &read(0, HEAD_BYTES)?) else { return Ok(None) };
    let mut segment = Segment { is_synced: true, ..head.segment() };
    let (mut offset, mut verified) = (segment.bytes, segment.bytes);
    loop {
        let chunk = read(offset, CHUNK)?;
        let is_end = chunk.len() < CHUNK;
        let mut from = 0;
        while let Some(rest) = chunk.get(from..) {
            match record::next(rest, segment.seed, is_end) {
                Ok(found) => {
                    from += found.end;
                    verified = offset + from as u64;
                    segment.end = segment.end.max(found.number.saturating_add(1));
                }
                Err(useless) => {
                    from += useless;
                    break;
                }
            }
        }
        offset += from as u64;
        if is_end {
            segment.bytes = offset.max(verified);
            return Ok(Some((segment, offset - verified)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_heads_are_read_back() {
        let name = Name { lane: 3, first: 0x1f };
        assert_eq!(name.file(), "3-000000000000001f.seg");
        assert_eq!(Name::parse(&name.file()), Some(name));
        for other in ["3-1f.seg", "8-000000000000001f.seg", "3-000000000000001F.seg", "notes", "3-x.seg"] {
            assert_eq!(Name::parse(other), None, "{other}");
        }
        let head = Head { name, boot: [9; 16] };
        let mut bytes = head.encode();
        assert_eq!(Head::decode(name, &bytes), Some(head));
        assert_eq!(Head::decode(Name { first: 0x20, ..name }, &bytes), None, "the file was renamed");
        bytes[21] ^= 1;
        assert_eq!(Head::decode(name, &bytes), None);
        assert_eq!(Head::decode(name, &bytes[..30]), None);
    }
}
