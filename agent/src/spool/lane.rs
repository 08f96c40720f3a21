//! The segments of one priority, and how far they are read and acknowledged.

use std::collections::VecDeque;

use super::{
    Entry, Record, SpoolError,
    disk::Disk,
    record,
    segment::{CHUNK, HEAD_BYTES, Head, Segment},
};

/// Smallest number of bytes read at a time: reading less is not faster.
const CHUNK_MIN: usize = 64 << 10;

/// What may still be read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Left {
    pub(super) bytes: usize,
    pub(super) records: usize,
}

impl Left {
    pub(super) const fn is_over(self) -> bool {
        self.bytes == 0 || self.records == 0
    }
}

/// One lane.
#[derive(Debug)]
pub(super) struct Lane {
    /// Oldest first; numbers grow.
    segments: VecDeque<Segment>,
    /// Whether the last segment is written to.
    is_open: bool,
    /// Number of the next record to come.
    next: u64,
    /// Everything below has arrived.
    acknowledged: u64,
    /// Number of the next record to send.
    cursor: u64,
    /// First number of the segment that is being read, and how far that is.
    place: (u64, u64),
    /// Number behind the last record that was handed out.
    sent: u64,
    /// Below, losses have been counted.
    counted: u64,
    /// Numbers given to records that could not be written: missing, but no damage.
    unwritten: u64,
}

impl Default for Lane {
    fn default() -> Self {
        Self {
            segments: VecDeque::new(),
            is_open: false,
            next: 1,
            acknowledged: 1,
            cursor: 1,
            place: (0, 0),
            sent: 1,
            counted: 1,
            unwritten: 0,
        }
    }
}

impl Lane {
    /// Takes over a segment found at the start; they come in the order of their numbers.
    pub(super) fn restore(&mut self, segment: Segment) {
        if let Some(before) = self.segments.back_mut() {
            // What is missing between two segments belonged to the first.
            before.end = segment.name.first.max(before.end);
        } else {
            let first = segment.name.first;
            (self.acknowledged, self.cursor, self.sent, self.counted) = (first, first, first, first);
        }
        self.next = segment.end.max(self.next);
        self.segments.push_back(segment);
    }

    pub(super) fn begin(&mut self, head: &Head) {
        self.segments.push_back(head.segment());
        self.is_open = true;
    }

    pub(super) fn open(&self) -> Option<&Segment> {
        self.segments.back().filter(|_| self.is_open)
    }

    pub(super) const fn seal(&mut self) {
        self.is_open = false;
    }

    /// Records were not written. Their numbers are not used again: parts of them may be in the segment.
    pub(super) const fn give_up(&mut self, records: u64) {
        self.next += records;
        self.unwritten += records;
        self.is_open = false;
    }

    pub(super) const fn next(&self) -> u64 {
        self.next
    }

    pub(super) fn has_segment(&self) -> bool {
        !self.segments.is_empty()
    }

    pub(super) fn has_one_open_segment(&self) -> bool {
        self.is_open && self.segments.len() == 1
    }

    /// Appends the bytes of a record that `waiting` others precede which are not written yet.
    pub(super) fn encode(&self, entry: &Entry<'_>, waiting: u64, out: &mut Vec<u8>) {
        if let Some(segment) = self.open() {
            record::encode(entry, self.next + waiting, segment.seed, out);
        }
    }

    /// The open segment has grown.
    pub(super) fn extend(&mut self, bytes: u64, records: u64) {
        self.next += records;
        if let Some(segment) = self.segments.back_mut() {
            segment.bytes += bytes;
            segment.end = self.next;
            segment.is_synced = false;
        }
    }

    pub(super) fn unsynced(&mut self) -> impl Iterator<Item = &mut Segment> {
        self.segments.iter_mut().filter(|segment| !segment.is_synced)
    }

    pub(super) const fn has_unread(&self) -> bool {
        self.cursor < self.next
    }

    pub(super) const fn pending(&self) -> u64 {
        self.next - self.acknowledged
    }

    /// Reads on until the bytes are used up or the lane has ended. Counts what is missing into `damaged`.
    pub(super) fn read(
        &mut self,
        disk: &impl Disk,
        index: usize,
        left: &mut Left,
        records: &mut Vec<Record>,
        damaged: &mut u64,
    ) -> Result<(), SpoolError> {
        let mut size = left.bytes.clamp(CHUNK_MIN, CHUNK);
        while !left.is_over() && self.has_unread() {
            let place = self.segments.iter().find(|segment| segment.end > self.cursor).cloned();
            let Some(segment) = place else {
                // Nothing is left that could hold what is missing.
                self.skip(self.next, damaged);
                return Ok(());
            };
            let first = segment.name.first;
            // What lay between the last segment and this one is gone.
            self.skip(first.max(self.cursor), damaged);
            if self.place.0 != first {
                self.place = (first, HEAD_BYTES as u64);
            }
            let offset = self.place.1.min(segment.bytes);
            let wanted = size.min((segment.bytes - offset) as usize);
            let file = segment.name.file();
            let chunk = match disk.read(&file, offset, wanted) {
                Ok(chunk) => chunk,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
                Err(source) => return Err(SpoolError { operation: "read", name: file, source }),
            };
            let is_end = offset + chunk.len() as u64 >= segment.bytes || chunk.len() < wanted;
            let mut from = 0;
            while let Some(rest) = chunk.get(from..) {
                if left.is_over() {
                    break;
                }
                match record::next(rest, segment.seed, is_end) {
                    Ok(found) => {
                        from += found.end;
                        if found.number < self.cursor || found.number >= segment.end {
                            continue;
                        }
                        self.skip(found.number, damaged);
                        self.cursor = found.number + 1;
                        self.sent = self.cursor;
                        self.counted = self.counted.max(self.cursor);
                        left.bytes = left.bytes.saturating_sub(found.payload.len().max(1));
                        left.records -= 1;
                        records.push(Record {
                            lane: index,
                            number: found.number,
                            boot: segment.boot,
                            cpu: found.cpu,
                            sequence: found.sequence,
                            payload: found.payload.to_vec(),
                        });
                    }
                    Err(useless) => {
                        from += useless;
                        // One that is larger than what was read may begin here.
                        size = if from == 0 { CHUNK } else { size };
                        if is_end {
                            self.skip(segment.end, damaged);
                        }
                        break;
                    }
                }
            }
            self.place = (first, offset + from as u64);
        }
        Ok(())
    }

    /// Goes on at `number`; what lies before it and was not read is lost, which is counted once.
    fn skip(&mut self, number: u64, damaged: &mut u64) {
        if number > self.counted {
            let missing = number - self.cursor.max(self.counted);
            let unwritten = missing.min(self.unwritten);
            self.unwritten -= unwritten;
            *damaged += missing - unwritten;
            self.counted = number;
        }
        let is_idle = self.acknowledged == self.cursor;
        self.cursor = self.cursor.max(number);
        if is_idle {
            self.acknowledged = self.cursor;
        }
    }

    /// Everything up to `number` has arrived; says how many that are.
    pub(super) fn acknowledge(&mut self, number: u64) -> u64 {
        let end = number.saturating_add(1).min(self.sent);
        let before = self.acknowledged;
        // Behind the last record that was handed out, nothing is missing but what is lost.
        let is_all = end >= self.sent;
        self.acknowledged = before.max(if is_all { self.cursor } else { end });
        end.saturating_sub(before)
    }

    /// Takes out the segments that have arrived. The one that is written to stays while it is small.
    pub(super) fn take_finished(&mut self, small: u64) -> Vec<Segment> {
        let mut finished = Vec::new();
        while let Some(segment) = self.segments.front() {
            let is_last_open = self.has_one_open_segment();
            if segment.end > self.acknowledged || (is_last_open && segment.bytes < small) {
                break;
            }
            self.is_open &= !is_last_open;
            finished.extend(self.segments.pop_front());
        }
        finished
    }

    /// Takes out the oldest segment, with the number of its records that had not arrived.
    pub(super) fn drop_oldest(&mut self) -> Option<(Segment, u64)> {
        self.is_open &= !self.has_one_open_segment();
        let segment = self.segments.pop_front()?;
        let first = segment.name.first;
        let records = segment.end - segment.end.min(self.acknowledged.max(first));
        // What lies before it and was never written was counted when it failed.
        let gap = first.saturating_sub(self.acknowledged.max(self.counted));
        let unwritten = gap.min(self.unwritten);
        self.unwritten -= unwritten;
        let lost = records + gap - unwritten;
        self.acknowledged = self.acknowledged.max(segment.end);
        self.counted = self.counted.max(segment.end);
        if self.cursor < segment.end {
            self.cursor = segment.end;
            self.sent = segment.end;
        }
        Some((segment, lost))
    }

    pub(super) const fn rewind(&mut self) {
        self.cursor = self.acknowledged;
        self.sent = self.acknowledged;
        self.place = (0, 0);
    }
}
