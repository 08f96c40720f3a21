//! Writes a recording, so that whatever reached the file is readable, whenever the writer dies.

use std::io::{self, Write};

use super::{
    facts::Facts,
    frame::{FrameWriter, Kind},
    item::Item,
};

/// Bytes of items gathered before they become a frame: enough to pack well, few enough to lose little.
const BATCH: usize = 256 * 1024;

/// A recording being written.
#[derive(Debug)]
pub struct Writer<W> {
    frames: FrameWriter<W>,
    batch: Vec<u8>,
    records: u64,
}

impl<W: Write> Writer<W> {
    /// Starts a recording.
    pub fn new(to: W, facts: &Facts) -> io::Result<Self> {
        let mut frames = FrameWriter::new(to)?;
        frames.frame(Kind::Facts, &rmp_serde::to_vec_named(facts).map_err(io::Error::other)?)?;
        Ok(Self { frames, batch: Vec::with_capacity(BATCH), records: 0 })
    }

    /// Adds an item; it is in the file after the next [`Writer::flush`] at the latest.
    pub fn item(&mut self, item: &Item<'_>) -> io::Result<()> {
        item.append(&mut self.batch).map_err(io::Error::other)?;
        self.records += u64::from(matches!(item, Item::Record(_)));
        if self.batch.len() >= BATCH { self.flush() } else { Ok(()) }
    }

    /// Hands what was gathered to the system.
    pub fn flush(&mut self) -> io::Result<()> {
        if !self.batch.is_empty() {
            self.frames.frame(Kind::Items, &self.batch)?;
            self.batch.clear();
        }
        Ok(())
    }

    /// Writes the end mark.
    pub fn finish(mut self) -> io::Result<W> {
        self.flush()?;
        self.frames.frame(Kind::End, &self.records.to_le_bytes())?;
        Ok(self.frames.into_inner())
    }

    /// Records so far.
    pub const fn records(&self) -> u64 {
        self.records
    }

    /// Bytes in the file so far.
    pub const fn bytes(&self) -> u64 {
        self.frames.bytes()
    }
}
