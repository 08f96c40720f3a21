//! A durable queue of byte records between detection and the collector: what is in it survives the agent's death.
//!
//! Owns the files of one directory; knows nothing of what records hold. Must never block detection: whoever calls it
//! runs on a thread of its own. One owner; called by `control`.
//!
//! # Format
//!
//! A lane per priority, lane 0 the most urgent. A lane is a row of segment files `L-NNNNNNNNNNNNNNNN.seg`: its digit,
//! and the number of the segment's first record, hexadecimal. Records of a lane are numbered without holes as long as
//! the lane has a segment; nothing outside the directory may keep a number.
//!
//! ```text
//! segment   magic "RAMPSPL1" · lane u32 · first u64 · boot [16] · crc32c u32 · records
//! record    marker "\xA7rec" · crc32c u32 · length u32 · cpu u32 · sequence u64 · number u64 · payload
//! ```
//!
//! All numbers are little endian. A record's checksum begins with that of the segment's head and covers everything
//! behind itself, so a record found in another segment's leftovers does not verify. (boot, cpu, sequence) is the
//! identity of a record for whoever receives it: `boot` is drawn at random by each start of the agent, so that the
//! identity holds across restarts. A segment is only written by the start that made it.
//!
//! # What is promised
//!
//! - A record whose [`Spool::append`] returned survives a killed agent. With [`Sync::Always`] it also survives a power
//!   cut; with [`Sync::Interval`] when [`Spool::sync`] was called since; with [`Sync::Never`] when the kernel wrote it.
//! - It is given to the reader until it is acknowledged, at least once, in the order of its lane, urgent lanes first.
//!   After a restart, records that were acknowledged may come once more: a segment goes as a whole.
//! - The files together are no larger than the bound. Room is made by dropping the oldest segment of the least urgent
//!   lane that has one, never one more urgent than the record that needs the room. When there is none, that record is
//!   dropped. Both are counted by lane.
//!
//! # What damage costs
//!
//! | damage | costs |
//! |---|---|
//! | the end of a segment is missing or torn (crash, power cut) | the records there that were not synchronised |
//! | bytes of a record changed | this record; reading goes on at the next marker that verifies |
//! | bytes of a segment's head changed | the segment: identities of its records are unknown |
//! | a file is missing | its records |
//! | a file of another name | nothing, it is left alone and not counted into the bound |
//!
//! What is missing in the numbers of a lane is counted when the reader comes to it ([`Counts::damaged`]).
//!
//! # Recovery
//!
//! [`Spool::open`] reads every segment once, notes how far it verifies, removes those whose head does not, and starts
//! new segments for what comes; it never writes into an old one. A segment without a whole record is removed.

pub mod disk;
mod lane;
mod record;
mod segment;

use std::io;

use self::{
    disk::Disk,
    lane::{Lane, Left},
    segment::{HEAD_BYTES, Head, Name},
};
pub use self::{disk::Folder, record::PAYLOAD_MAX};

/// Lanes, as many as there are priorities.
pub const LANES: usize = 8;
/// Below, a restart sends so few records again that a new segment is not worth its file.
const SEGMENT_MIN: u64 = 64 << 10;
/// Larger segments make dropping and resending coarser and save nothing.
const SEGMENT_MAX: u64 = 4 << 20;
/// So many segments fit into the bound.
const SEGMENTS: u64 = 64;

/// When records are forced to the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sync {
    /// Before an append returns.
    Always,
    /// When the owner calls [`Spool::sync`] in intervals.
    Interval,
    /// When the kernel sees fit.
    Never,
}

/// How a spool is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// When records are forced to the disk.
    pub sync: Sync,
    /// Bound of all files together.
    pub bytes: u64,
    /// Drawn at random by this start of the agent.
    pub boot: [u8; 16],
}

/// A record to keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    /// 0 the most urgent; everything above the last counts as the last.
    pub lane: usize,
    /// Who made it: the CPU, or 0 where that says nothing.
    pub cpu: u32,
    /// Its number there.
    pub sequence: u64,
    /// What it holds, at most [`PAYLOAD_MAX`] bytes.
    pub payload: &'a [u8],
}

/// A record to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its lane.
    pub lane: usize,
    /// Its number in the lane, for [`Spool::acknowledge`].
    pub number: u64,
    /// The start of the agent that made it.
    pub boot: [u8; 16],
    /// Who made it.
    pub cpu: u32,
    /// Its number there.
    pub sequence: u64,
    /// What it holds.
    pub payload: Vec<u8>,
}

/// What became of records since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Records kept.
    pub appended: u64,
    /// Records acknowledged; those that come once more after a restart count again.
    pub acknowledged: u64,
    /// Records dropped unacknowledged because the bound was reached, by lane.
    pub shed: [u64; LANES],
    /// Records that could not be written, or are too large.
    pub failed: u64,
    /// Records found damaged or missing.
    pub damaged: u64,
    /// Bytes at the ends of segments that did not verify at the start.
    pub torn_bytes: u64,
    /// Segments that were removed at the start because their head did not verify.
    pub lost_segments: u64,
}

/// Something is wrong with the directory.
#[derive(Debug, thiserror::Error)]
#[error("cannot {operation} `{name}` in the spool")]
pub struct SpoolError {
    /// What was tried.
    pub operation: &'static str,
    /// On what.
    pub name: String,
    /// What came back.
    pub source: io::Error,
}

/// The queue.
#[derive(Debug)]
pub struct Spool<D> {
    disk: D,
    options: Options,
    lanes: [Lane; LANES],
    /// Of all segments.
    bytes: u64,
    counts: Counts,
    /// Files that were made since the directory was synchronised.
    is_directory_dirty: bool,
}

impl<D: Disk> Spool<D> {
    /// Reads what an agent before left.
    pub fn open(disk: D, options: Options) -> Result<Self, SpoolError> {
        let mut spool = Self {
            disk,
            options,
            lanes: Default::default(),
            bytes: 0,
            counts: Counts::default(),
            is_directory_dirty: false,
        };
        let files = spool.disk.list().map_err(|source| SpoolError {
            operation: "list",
            name: ".".to_owned(),
            source,
        })?;
        let mut names: Vec<Name> = files.iter().filter_map(|file| Name::parse(file)).collect();
        names.sort_unstable();
        for name in names {
            let found = segment::recover(&spool.disk, name)?;
            let Some(lane) = spool.lanes.get_mut(name.lane) else { continue };
            match found {
                Some((segment, torn_bytes)) => {
                    spool.counts.torn_bytes += torn_bytes;
                    if segment.end > name.first {
                        spool.bytes += segment.bytes;
                        lane.restore(segment);
                        continue;
                    }
                    // Its first record was never whole, and its name is free for the next one.
                }
                None => spool.counts.lost_segments += 1,
            }
            let file = name.file();
            spool.disk.remove(&file).map_err(|source| SpoolError {
                operation: "remove",
                name: file,
                source,
            })?;
        }
        for lane in 0..LANES {
            spool.trim(lane);
        }
        Ok(spool)
    }

    /// Keeps records. Those that cannot be kept are counted; the fault of the disk, if there was one, is returned
    /// once for all.
    pub fn append(&mut self, entries: &[Entry<'_>]) -> Result<(), SpoolError> {
        let mut outcome = Ok(());
        for index in 0..LANES {
            let mut buffer = Vec::new();
            let mut count = 0;
            for entry in entries.iter().filter(|entry| entry.lane.min(LANES - 1) == index) {
                if entry.payload.len() > PAYLOAD_MAX {
                    self.counts.failed += 1;
                    continue;
                }
                let size = record::size(entry.payload.len());
                if !self.make_room(index, buffer.len() as u64 + size + HEAD_BYTES as u64) {
                    self.count_shed(index, 1);
                    continue;
                }
                if self.is_full(index, buffer.len() as u64) {
                    outcome = outcome.and(self.write(index, &mut buffer, &mut count));
                    self.seal(index);
                }
                if let Err(error) = self.open_segment(index) {
                    self.counts.failed += 1;
                    outcome = outcome.and(Err(error));
                    continue;
                }
                if let Some(lane) = self.lanes.get(index) {
                    lane.encode(entry, count, &mut buffer);
                    count += 1;
                }
            }
            outcome = outcome.and(self.write(index, &mut buffer, &mut count));
        }
        if self.options.sync == Sync::Always {
            outcome = outcome.and(self.sync());
        }
        outcome
    }

    /// The next records to send, urgent lanes first, until they have so many bytes or are so many.
    pub fn read(&mut self, bytes: usize, count: usize) -> Result<Vec<Record>, SpoolError> {
        let mut records = Vec::new();
        let mut left = Left { bytes, records: count };
        for (index, lane) in self.lanes.iter_mut().enumerate() {
            let mut outcome = lane.read(&self.disk, index, &mut left, &mut records, &mut self.counts.damaged);
            if let Err(error) = &mut outcome
                && !records.is_empty()
            {
                // What was read is sent first; the fault comes again.
                tracing::debug!("Reading the spool stops early: {error}");
                break;
            }
            outcome?;
            if left.is_over() {
                break;
            }
        }
        Ok(records)
    }

    /// Whether [`Spool::read`] would find something.
    pub fn has_unread(&self) -> bool {
        self.lanes.iter().any(Lane::has_unread)
    }

    /// Everything of a lane up to this number has arrived: it is forgotten.
    pub fn acknowledge(&mut self, lane: usize, number: u64) {
        if let Some(entry) = self.lanes.get_mut(lane) {
            self.counts.acknowledged += entry.acknowledge(number);
            self.trim(lane);
        }
    }

    /// Gives everything that is not acknowledged to the reader once more.
    pub fn rewind(&mut self) {
        for lane in &mut self.lanes {
            lane.rewind();
        }
    }

    /// Forces everything to the disk.
    pub fn sync(&mut self) -> Result<(), SpoolError> {
        let mut outcome = Ok(());
        for index in 0..LANES {
            outcome = outcome.and(self.sync_lane(index));
        }
        if self.is_directory_dirty {
            match self.disk.sync_directory() {
                Ok(()) => self.is_directory_dirty = false,
                Err(source) => {
                    let name = ".".to_owned();
                    outcome = outcome.and(Err(SpoolError { operation: "synchronise", name, source }));
                }
            }
        }
        outcome
    }

    /// Bytes of all segments.
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Records that are not acknowledged.
    pub fn pending(&self) -> u64 {
        self.lanes.iter().map(Lane::pending).sum()
    }

    /// What became of records.
    pub const fn counts(&self) -> &Counts {
        &self.counts
    }

    fn segment_bytes(&self) -> u64 {
        (self.options.bytes / SEGMENTS).clamp(SEGMENT_MIN, SEGMENT_MAX)
    }

    /// Whether the open segment of a lane has its size with what waits to be written.
    fn is_full(&self, index: usize, waiting: u64) -> bool {
        let open = self.lanes.get(index).and_then(Lane::open);
        open.is_some_and(|segment| segment.bytes + waiting >= self.segment_bytes())
    }

    /// Drops old segments until so many bytes fit; false when nothing may be dropped for them.
    fn make_room(&mut self, index: usize, wanted: u64) -> bool {
        while self.bytes + wanted > self.options.bytes {
            if !self.shed_one(index) {
                return false;
            }
        }
        true
    }

    /// Drops the oldest segment of the least urgent lane, which may be `index` itself but not one more urgent.
    fn shed_one(&mut self, index: usize) -> bool {
        let victim = (index..LANES).rev().find(|lane| self.lanes.get(*lane).is_some_and(Lane::has_segment));
        let Some(victim) = victim else { return false };
        let Some(lane) = self.lanes.get_mut(victim) else { return false };
        // Records that wait in the buffer of the open segment are written behind its end, so it must stay.
        if victim == index && lane.has_one_open_segment() {
            return false;
        }
        let Some((segment, unacknowledged)) = lane.drop_oldest() else { return false };
        self.count_shed(victim, unacknowledged);
        self.bytes -= segment.bytes;
        self.remove(segment.name);
        true
    }

    fn count_shed(&mut self, lane: usize, records: u64) {
        if let Some(shed) = self.counts.shed.get_mut(lane) {
            *shed += records;
        }
    }

    /// Makes sure that a lane has a segment to write to.
    fn open_segment(&mut self, index: usize) -> Result<(), SpoolError> {
        let boot = self.options.boot;
        let Some(lane) = self.lanes.get_mut(index) else { return Ok(()) };
        if lane.open().is_some() {
            return Ok(());
        }
        let head = Head { name: Name { lane: index, first: lane.next() }, boot };
        let file = head.name.file();
        let made = match self.disk.create(&file, &head.encode()) {
            // Left from a try that failed.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                self.disk.remove(&file).and_then(|()| self.disk.create(&file, &head.encode()))
            }
            made => made,
        };
        match made {
            Ok(()) => {
                lane.begin(&head);
                self.bytes += HEAD_BYTES as u64;
                self.is_directory_dirty = true;
                Ok(())
            }
            Err(source) => {
                // A file without a whole head is of no use to anybody.
                let _ = self.disk.remove(&file);
                Err(SpoolError { operation: "create", name: file, source })
            }
        }
    }

    /// Writes the encoded records behind the open segment of a lane.
    fn write(&mut self, index: usize, buffer: &mut Vec<u8>, count: &mut u64) -> Result<(), SpoolError> {
        let (bytes, records) = (std::mem::take(buffer), std::mem::take(count));
        let Some(lane) = self.lanes.get_mut(index).filter(|_| records > 0) else { return Ok(()) };
        let Some(segment) = lane.open() else { return Ok(()) };
        let (file, length) = (segment.name.file(), segment.bytes);
        match self.disk.append(&file, &bytes) {
            Ok(()) => {
                lane.extend(bytes.len() as u64, records);
                self.bytes += bytes.len() as u64;
                self.counts.appended += records;
                Ok(())
            }
            Err(source) => {
                self.counts.failed += records;
                // Whatever part of it is there must not be followed by anything.
                let _ = self.disk.truncate(&file, length);
                lane.give_up(records);
                if source.kind() == io::ErrorKind::StorageFull {
                    // Others fill the disk too: give room for what comes next.
                    self.shed_one(index);
                }
                Err(SpoolError { operation: "write", name: file, source })
            }
        }
    }

    /// Ends the open segment of a lane. Except with [`Sync::Never`], only open segments can be torn.
    fn seal(&mut self, index: usize) {
        if self.options.sync != Sync::Never
            && let Err(error) = self.sync_lane(index)
        {
            tracing::warn!("A segment of the spool is not on the disk yet: {error}: {}", error.source);
        }
        if let Some(lane) = self.lanes.get_mut(index) {
            lane.seal();
        }
    }

    fn sync_lane(&mut self, index: usize) -> Result<(), SpoolError> {
        let Some(lane) = self.lanes.get_mut(index) else { return Ok(()) };
        for segment in lane.unsynced() {
            let file = segment.name.file();
            match self.disk.sync(&file) {
                Ok(()) => segment.is_synced = true,
                Err(source) => return Err(SpoolError { operation: "synchronise", name: file, source }),
            }
        }
        Ok(())
    }

    /// Removes the segments of a lane that hold nothing of interest any more.
    fn trim(&mut self, index: usize) {
        let Some(lane) = self.lanes.get_mut(index) else { return };
        for segment in lane.take_finished(SEGMENT_MIN) {
            self.bytes -= segment.bytes;
            self.remove(segment.name);
        }
    }

    fn remove(&self, name: Name) {
        let file = name.file();
        if let Err(error) = self.disk.remove(&file) {
            // It is found again at the next start, and its records come once more.
            tracing::warn!(file, "A segment of the spool cannot be removed: {error}");
        }
    }
}

#[cfg(test)]
mod tests;
