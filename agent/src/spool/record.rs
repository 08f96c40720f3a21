//! A record's bytes: marker, checksum, length, identity, number, payload.

use super::Entry;

/// Largest payload. A longer record is certainly damage, so this also bounds what is read for one.
pub const PAYLOAD_MAX: usize = 1 << 20;
/// First bytes of a record, by which the next one is found behind damage. No text contains the first.
pub(super) const MARKER: [u8; 4] = *b"\xA7rec";
/// Bytes before the payload.
pub(super) const HEAD_BYTES: usize = 32;
/// Where the bytes begin that the checksum covers.
const COVERED: usize = 8;

/// A record within bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Found<'a> {
    /// Where it begins.
    pub(super) start: usize,
    /// Where it ends.
    pub(super) end: usize,
    /// Its number in the lane.
    pub(super) number: u64,
    /// Who made it.
    pub(super) cpu: u32,
    /// Its number there.
    pub(super) sequence: u64,
    /// What it holds.
    pub(super) payload: &'a [u8],
}

/// What is at the begin of some bytes.
enum Look<'a> {
    Record(Found<'a>),
    /// It may be one when there are more bytes.
    Short,
    Nothing,
}

/// Bytes of a record with such a payload.
pub(super) const fn size(payload: usize) -> u64 {
    (HEAD_BYTES + payload) as u64
}

/// Appends a record. `seed` is the checksum of the segment's head.
pub(super) fn encode(entry: &Entry<'_>, number: u64, seed: u32, out: &mut Vec<u8>) {
    let mut body = [0; HEAD_BYTES - COVERED];
    let parts: [&[u8]; 4] = [
        &(entry.payload.len() as u32).to_le_bytes(),
        &entry.cpu.to_le_bytes(),
        &entry.sequence.to_le_bytes(),
        &number.to_le_bytes(),
    ];
    for (slot, byte) in body.iter_mut().zip(parts.into_iter().flatten()) {
        *slot = *byte;
    }
    let sum = crc32c::crc32c_append(crc32c::crc32c_append(seed, &body), entry.payload);
    out.extend_from_slice(&MARKER);
    out.extend_from_slice(&sum.to_le_bytes());
    out.extend_from_slice(&body);
    out.extend_from_slice(entry.payload);
}

/// The first record in the bytes that verifies. `Err` holds how many bytes are certainly of no use; behind them may be
/// the begin of a record.
pub(super) fn next(bytes: &[u8], seed: u32, is_end: bool) -> Result<Found<'_>, usize> {
    let mut start = 0;
    while let Some(rest) = bytes.get(start..).filter(|rest| !rest.is_empty()) {
        match look(rest, seed) {
            Look::Record(found) => {
                return Ok(Found { start, end: start + found.end, ..found });
            }
            Look::Short if !is_end => return Err(start),
            Look::Short | Look::Nothing => {
                let rest = rest.get(1..).unwrap_or_default();
                start += 1 + memchr::memchr(MARKER[0], rest).unwrap_or(rest.len());
            }
        }
    }
    Err(bytes.len())
}

fn look(bytes: &[u8], seed: u32) -> Look<'_> {
    let (marked, head) = (bytes.len().min(MARKER.len()), bytes.get(..HEAD_BYTES));
    if bytes.get(..marked) != MARKER.get(..marked) {
        return Look::Nothing;
    }
    let Some(head) = head else { return Look::Short };
    let word = |at: usize| -> u32 {
        head.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).map_or(0, u32::from_le_bytes)
    };
    let long = |at: usize| u64::from(word(at)) | u64::from(word(at + 4)) << 32;
    let length = word(8) as usize;
    if length > PAYLOAD_MAX {
        return Look::Nothing;
    }
    let end = HEAD_BYTES + length;
    let (Some(covered), Some(payload)) = (bytes.get(COVERED..end), bytes.get(HEAD_BYTES..end)) else {
        return Look::Short;
    };
    if crc32c::crc32c_append(seed, covered) != word(4) {
        return Look::Nothing;
    }
    Look::Record(Found { start: 0, end, number: long(24), cpu: word(12), sequence: long(16), payload })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn entry(payload: &[u8]) -> Entry<'_> {
        Entry { lane: 3, cpu: 7, sequence: 1 << 40, payload }
    }

    #[test]
    fn what_was_written_is_found_with_its_seed_only() {
        let mut bytes = Vec::new();
        encode(&entry(b"text"), 9, 5, &mut bytes);
        assert_eq!(bytes.len() as u64, size(4));
        let found = next(&bytes, 5, true).unwrap();
        assert_eq!((found.start, found.end, found.number), (0, bytes.len(), 9));
        assert_eq!((found.cpu, found.sequence, found.payload), (7, 1 << 40, b"text".as_slice()));
        assert_eq!(next(&bytes, 6, true), Err(bytes.len()));
    }

    proptest! {
        #[test]
        fn damage_costs_the_record_it_is_in(
            payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..80), 2..6),
            at in any::<prop::sample::Index>(),
            flip in 1_u8..,
        ) {
            let mut bytes = Vec::new();
            let mut ends = Vec::new();
            for (number, payload) in payloads.iter().enumerate() {
                encode(&entry(payload), number as u64, 1, &mut bytes);
                ends.push(bytes.len());
            }
            let at = at.index(bytes.len());
            bytes[at] ^= flip;
            let hit = ends.iter().position(|end| at < *end).unwrap() as u64;
            let (mut from, mut seen) = (0, Vec::new());
            while let Ok(found) = next(&bytes[from..], 1, true) {
                prop_assert_eq!(found.payload, payloads[found.number as usize].as_slice());
                seen.push(found.number);
                from += found.end;
            }
            let expected: Vec<u64> = (0..payloads.len() as u64).filter(|number| *number != hit).collect();
            prop_assert_eq!(seen, expected);
        }

        #[test]
        fn cut_bytes_ask_for_more(payload in prop::collection::vec(any::<u8>(), 0..80), cut in any::<prop::sample::Index>()) {
            let mut bytes = b"damage".to_vec();
            encode(&entry(&payload), 1, 1, &mut bytes);
            let cut = 6 + cut.index(bytes.len() - 6);
            // Without the first byte of the marker nothing is known of the record.
            prop_assert_eq!(next(&bytes[..cut], 1, false), Err(6));
            prop_assert_eq!(next(&bytes[..cut], 1, true), Err(cut));
        }
    }
}
