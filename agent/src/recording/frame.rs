//! Frames: length, checksum, compression. Knows nothing of what they hold.

use std::{
    fmt,
    io::{self, Read, Write},
};

use lz4_flex::block;
use rampart_common::abi::ABI_VERSION;
use twox_hash::XxHash3_64;

use super::{Damage, ReadError, VERSION};

/// First bytes of a recording. The first is no text and the last changes when line ends are translated.
pub const MAGIC: [u8; 8] = *b"\x89RAMPRC\n";
/// Bytes of a frame, and of the file, before its payload.
const HEAD: usize = 16;
/// Bytes of a checksum.
const SUM: usize = 8;
/// Largest payload, packed or not; the writer stays far below.
const PAYLOAD_MAX: usize = 64 << 20;
/// Payload as it is.
const CODEC_PLAIN: u8 = 0;
/// Payload is one LZ4 block.
const CODEC_LZ4: u8 = 1;

/// What a frame holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Facts of the recording.
    Facts,
    /// Items.
    Items,
    /// The end.
    End,
    /// Unknown to this program.
    Other(u8),
}

impl Kind {
    const fn number(self) -> u8 {
        match self {
            Self::Facts => 1,
            Self::Items => 2,
            Self::End => 3,
            Self::Other(number) => number,
        }
    }

    const fn of(number: u8) -> Self {
        match number {
            1 => Self::Facts,
            2 => Self::Items,
            3 => Self::End,
            other => Self::Other(other),
        }
    }
}

/// What the records of a recording are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    /// Version of the records.
    pub abi: u16,
    /// Machine that made them, as ELF counts machines; 0 for one that Rampart does not know.
    pub machine: u16,
}

impl Origin {
    /// What this program makes and reads.
    pub const OWN: Self = Self {
        abi: ABI_VERSION as u16,
        machine: if cfg!(target_arch = "x86_64") {
            62
        } else if cfg!(target_arch = "aarch64") {
            183
        } else {
            0
        },
    };
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.machine {
            62 => f.write_str("x86-64")?,
            183 => f.write_str("arm64")?,
            other => write!(f, "machine {other}")?,
        }
        write!(f, ", version {}", self.abi)
    }
}

/// Writes frames.
#[derive(Debug)]
pub struct FrameWriter<W> {
    to: W,
    sum: u64,
    bytes: u64,
    buffer: Vec<u8>,
}

impl<W: Write> FrameWriter<W> {
    /// Starts a file.
    pub fn new(to: W) -> io::Result<Self> {
        let mut writer = Self { to, sum: 0, bytes: 0, buffer: Vec::new() };
        writer.buffer.extend_from_slice(&MAGIC);
        for word in [VERSION, Origin::OWN.abi, Origin::OWN.machine, 0] {
            writer.buffer.extend_from_slice(&word.to_le_bytes());
        }
        writer.seal()?;
        Ok(writer)
    }

    /// Writes a frame in one piece.
    pub fn frame(&mut self, kind: Kind, payload: &[u8]) -> io::Result<()> {
        if payload.len() > PAYLOAD_MAX {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let packed = block::compress(payload);
        let (codec, stored) = if packed.len() < payload.len() {
            (CODEC_LZ4, packed.as_slice())
        } else {
            (CODEC_PLAIN, payload)
        };
        self.buffer.extend_from_slice(&[kind.number(), codec, 0, 0]);
        for length in [stored.len() as u32, payload.len() as u32, 0] {
            self.buffer.extend_from_slice(&length.to_le_bytes());
        }
        self.buffer.extend_from_slice(stored);
        self.seal()
    }

    /// Bytes written so far.
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Gives back what was written to.
    pub fn into_inner(self) -> W {
        self.to
    }

    fn seal(&mut self) -> io::Result<()> {
        self.sum = XxHash3_64::oneshot_with_seed(self.sum, &self.buffer);
        self.buffer.extend_from_slice(&self.sum.to_le_bytes());
        self.to.write_all(&self.buffer)?;
        self.bytes += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }
}

/// Reads frames.
#[derive(Debug)]
pub struct FrameReader<R> {
    from: R,
    sum: u64,
    offset: u64,
    buffer: Vec<u8>,
}

impl<R: Read> FrameReader<R> {
    /// Checks the start of a file.
    pub fn new(from: R) -> Result<Self, ReadError> {
        let mut reader = Self { from, sum: 0, offset: 0, buffer: Vec::new() };
        let whole = reader.fill(HEAD + SUM)?;
        let known = reader.buffer.len().min(MAGIC.len());
        if known == 0 || reader.buffer.get(..known) != MAGIC.get(..known) {
            return Err(ReadError::Alien);
        }
        if !whole {
            return Err(ReadError::Truncated { offset: 0 });
        }
        if !reader.unseal() {
            return Err(ReadError::Damaged { offset: 0, what: Damage::Checksum });
        }
        let word = |at: usize| {
            let bytes = reader.buffer.get(at..).and_then(<[u8]>::first_chunk);
            bytes.map_or(0, |bytes| u16::from_le_bytes(*bytes))
        };
        let (version, found) = (word(8), Origin { abi: word(10), machine: word(12) });
        if version != VERSION {
            return Err(ReadError::Version { found: version });
        }
        if found != Origin::OWN {
            return Err(ReadError::Foreign { found, own: Origin::OWN });
        }
        reader.offset = (HEAD + SUM) as u64;
        Ok(reader)
    }

    /// The next frame: where it starts, its kind, and its payload, which replaces `payload`. `None` at the end of
    /// the file.
    pub fn next(&mut self, payload: &mut Vec<u8>) -> Result<Option<(u64, Kind)>, ReadError> {
        let offset = self.offset;
        let damaged = |what| ReadError::Damaged { offset, what };
        self.buffer.clear();
        if !self.fill(HEAD)? {
            return if self.buffer.is_empty() { Ok(None) } else { Err(ReadError::Truncated { offset }) };
        }
        let length = |buffer: &[u8], at: usize| {
            let bytes = buffer.get(at..).and_then(<[u8]>::first_chunk);
            bytes.map_or(usize::MAX, |bytes| u32::from_le_bytes(*bytes) as usize)
        };
        let (stored, plain) = (length(&self.buffer, 4), length(&self.buffer, 8));
        if stored > PAYLOAD_MAX || plain > PAYLOAD_MAX {
            return Err(damaged(Damage::Length));
        }
        if !self.fill(stored + SUM)? {
            return Err(ReadError::Truncated { offset });
        }
        if !self.unseal() {
            return Err(damaged(Damage::Checksum));
        }
        let (kind, codec) = match self.buffer.as_slice() {
            [kind, codec, ..] => (Kind::of(*kind), *codec),
            _ => return Err(damaged(Damage::Length)),
        };
        let body = self.buffer.get(HEAD..HEAD + stored).unwrap_or_default();
        payload.clear();
        match codec {
            CODEC_PLAIN if stored == plain => payload.extend_from_slice(body),
            // No byte unpacks to more than 255, so a length that promises more is not believed.
            CODEC_LZ4 if plain / 255 <= stored => {
                payload.resize(plain, 0);
                let unpacked = block::decompress_into(body, payload).map_err(|_| damaged(Damage::Packing))?;
                if unpacked != plain {
                    return Err(damaged(Damage::Packing));
                }
            }
            CODEC_PLAIN | CODEC_LZ4 => return Err(damaged(Damage::Length)),
            other => return Err(damaged(Damage::Kind(other))),
        }
        self.offset += (HEAD + stored + SUM) as u64;
        Ok(Some((offset, kind)))
    }

    /// Where the last whole frame ends.
    pub const fn offset(&self) -> u64 {
        self.offset
    }

    /// Appends that many bytes to the buffer; false when the file ends before.
    fn fill(&mut self, count: usize) -> Result<bool, ReadError> {
        let before = self.buffer.len();
        // Grows with what is there, not with what a damaged length promises.
        let read = self.from.by_ref().take(count as u64).read_to_end(&mut self.buffer);
        read.map_err(|source| ReadError::Io { offset: self.offset, source })?;
        Ok(self.buffer.len() - before == count)
    }

    /// Takes the checksum off the end of the buffer and compares it.
    fn unseal(&mut self) -> bool {
        let Some((rest, sum)) = self.buffer.split_last_chunk::<SUM>() else { return false };
        let found = u64::from_le_bytes(*sum);
        let expected = XxHash3_64::oneshot_with_seed(self.sum, rest);
        self.sum = found;
        found == expected
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(payloads: &[Vec<u8>]) -> Vec<u8> {
        let mut writer = FrameWriter::new(Vec::new()).expect("a vector takes all");
        for payload in payloads {
            writer.frame(Kind::Items, payload).expect("a vector takes all");
        }
        assert_eq!(writer.bytes(), writer.to.len() as u64);
        writer.into_inner()
    }

    fn read(bytes: &[u8]) -> (Vec<Vec<u8>>, Option<ReadError>) {
        let mut found = Vec::new();
        let mut reader = match FrameReader::new(bytes) {
            Ok(reader) => reader,
            Err(error) => return (found, Some(error)),
        };
        loop {
            let mut payload = Vec::new();
            match reader.next(&mut payload) {
                Ok(Some(_)) => found.push(payload),
                Ok(None) => return (found, None),
                Err(error) => return (found, Some(error)),
            }
        }
    }

    #[test]
    fn a_frame_cannot_be_moved_or_left_out() {
        let [first, second] = [vec![1; 30], vec![2; 30]];
        let both = written(&[first.clone(), second.clone()]);
        let start = written(&[]).len();
        let one = (both.len() - start) / 2;
        let without = [&both[..start], &both[start + one..]].concat();
        let swapped = [&both[..start], &both[start + one..], &both[start..start + one]].concat();
        for changed in [without, swapped] {
            let (found, error) = read(&changed);
            assert!(found.is_empty(), "{found:?}");
            assert!(
                matches!(error, Some(ReadError::Damaged { offset: 24, what: Damage::Checksum })),
                "{error:?}"
            );
        }
    }

    #[test]
    fn other_files_are_told_apart() {
        assert!(matches!(read(b"").1, Some(ReadError::Alien)));
        assert!(matches!(read(b"- rule: x\n").1, Some(ReadError::Alien)));
        assert!(matches!(read(&MAGIC).1, Some(ReadError::Truncated { offset: 0 })));
        let sealed = |version: u16, machine: u16| {
            let mut head = MAGIC.to_vec();
            for word in [version, Origin::OWN.abi, machine, 0] {
                head.extend_from_slice(&word.to_le_bytes());
            }
            let sum = XxHash3_64::oneshot_with_seed(0, &head);
            head.extend_from_slice(&sum.to_le_bytes());
            read(&head).1
        };
        assert!(sealed(VERSION, Origin::OWN.machine).is_none());
        assert!(matches!(sealed(VERSION + 1, Origin::OWN.machine), Some(ReadError::Version { .. })));
        let foreign = sealed(VERSION, 8).expect("refused");
        assert!(
            foreign.to_string().starts_with("the recording holds records of machine 8, version"),
            "{foreign}"
        );
    }

    #[test]
    fn a_length_that_cannot_be_is_refused_before_memory_is_taken() {
        let mut bytes = written(&[]);
        bytes.extend_from_slice(&[2, 0, 0, 0]);
        bytes.extend_from_slice(&u32::MAX.to_le_bytes());
        bytes.extend_from_slice(&[0; 40]);
        assert!(matches!(read(&bytes).1, Some(ReadError::Damaged { offset: 24, what: Damage::Length })));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..6)) {
            let (found, error) = read(&written(&payloads));
            prop_assert!(error.is_none());
            prop_assert_eq!(found, payloads);
        }

        #[test]
        fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            let mut file = written(&[vec![7; 50]]);
            file.extend_from_slice(&bytes);
            let (found, error) = read(&file);
            prop_assert_eq!(found, [vec![7; 50]]);
            prop_assert_eq!(error.is_none(), bytes.is_empty());
        }
    }
}
