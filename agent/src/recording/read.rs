//! Reads a recording frame by frame; a fault ends it, what came before stays valid.

use std::io::Read;

use super::{
    Damage, ReadError, SKIPPABLE,
    facts::Facts,
    frame::{FrameReader, Kind},
    item::{Item, Items},
};

/// A recording being read.
#[derive(Debug)]
pub struct Reader<R> {
    frames: FrameReader<R>,
    facts: Facts,
    records: u64,
    ended: bool,
    payload: Vec<u8>,
}

impl<R: Read> Reader<R> {
    /// Reads the start of a recording.
    pub fn new(from: R) -> Result<Self, ReadError> {
        let mut frames = FrameReader::new(from)?;
        let mut payload = Vec::new();
        let facts = match frames.next(&mut payload)? {
            Some((offset, Kind::Facts)) => {
                let facts = rmp_serde::from_slice(&payload);
                facts.map_err(|_| ReadError::Damaged { offset, what: Damage::Contents })?
            }
            Some((offset, _)) => return Err(ReadError::Damaged { offset, what: Damage::Contents }),
            None => return Err(ReadError::Truncated { offset: frames.offset() }),
        };
        Ok(Self { frames, facts, records: 0, ended: false, payload })
    }

    /// What is true of the whole recording.
    pub const fn facts(&self) -> &Facts {
        &self.facts
    }

    /// Records read so far.
    pub const fn records(&self) -> u64 {
        self.records
    }

    /// Hands out the items of the next frame that has some; false after the last. Items handed out before an error
    /// are as they were written.
    pub fn next(&mut self, mut take: impl FnMut(Item<'_>)) -> Result<bool, ReadError> {
        loop {
            let Some((offset, kind)) = self.frames.next(&mut self.payload)? else {
                return if self.ended {
                    Ok(false)
                } else {
                    Err(ReadError::Truncated { offset: self.frames.offset() })
                };
            };
            let damaged = |what| ReadError::Damaged { offset, what };
            if self.ended {
                return Err(damaged(Damage::Rest));
            }
            match kind {
                Kind::Items => {
                    for item in Items::new(&self.payload) {
                        let item = item.map_err(damaged)?;
                        self.records += u64::from(matches!(item, Item::Record(_)));
                        take(item);
                    }
                    return Ok(true);
                }
                Kind::End => {
                    if self.payload != self.records.to_le_bytes() {
                        return Err(damaged(Damage::Contents));
                    }
                    self.ended = true;
                }
                Kind::Other(SKIPPABLE..) => {}
                Kind::Other(unknown) => return Err(damaged(Damage::Kind(unknown))),
                Kind::Facts => return Err(damaged(Damage::Contents)),
            }
        }
    }
}

#[cfg(test)]
#[path = "read/tests.rs"]
mod tests;
