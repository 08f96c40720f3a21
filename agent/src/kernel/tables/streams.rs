//! Streams in the kernel: when their events are counted, and places for what is.

use aya::{
    maps::{MapData, PerCpuHashMap, PerCpuValues},
    util::nr_cpus,
};
use rampart_common::{
    abi,
    stream::{STREAM_COUNT_WORDS, STREAM_KEY_WORDS, STREAM_TERMS_WORDS, StreamKey, StreamTerms},
};

use super::{FULL, Kernel, KernelError, NO_EXIST, is, map, without};

/// A key, as the maps take it.
type Key = [u64; STREAM_KEY_WORDS];

impl Kernel {
    /// Says when events of streams are counted, and forgets those that have long been silent. Says how many were written;
    /// those for which there is no room are not counted.
    pub fn learn_streams(
        &mut self,
        streams: &[(StreamKey, StreamTerms)],
        silent: &[StreamKey],
    ) -> Result<u64, KernelError> {
        for key in silent {
            self.forget_stream(&key.to_words())?;
            if let Some(kept) = self.written.streams.get_mut(&key.generation) {
                kept.retain(|one| *one != key.to_words());
            }
        }
        let mut written = 0;
        for (key, terms) in streams {
            let (words, generation) = (key.to_words(), key.generation);
            // What is counted already stays.
            match self.stream_counts()?.insert(words, nothing()?, NO_EXIST) {
                Ok(()) => self.written.streams.entry(generation).or_default().push(words),
                Err(error) if is(&error, libc::EEXIST) => {}
                Err(error) if is(&error, FULL) => continue,
                Err(error) => return Err(map(abi::MAP_STREAM_COUNTS)(error)),
            }
            let mut of = self.hash::<Key, [u64; STREAM_TERMS_WORDS]>(abi::MAP_STREAMS)?;
            match of.insert(words, terms.to_words(), 0) {
                Ok(()) => written += 1,
                Err(error) if is(&error, FULL) => {}
                Err(error) => return Err(map(abi::MAP_STREAMS)(error)),
            }
        }
        Ok(written)
    }

    /// Forgets the streams of all rule sets but one.
    pub(super) fn forget_streams_before(&mut self, generation: u32) -> Result<(), KernelError> {
        for key in without(&mut self.written.streams, generation) {
            self.forget_stream(&key)?;
        }
        Ok(())
    }

    /// The terms first: without them nothing more is counted.
    fn forget_stream(&mut self, key: &Key) -> Result<(), KernelError> {
        let _ = self.hash::<Key, [u64; STREAM_TERMS_WORDS]>(abi::MAP_STREAMS)?.remove(key);
        let _ = self.stream_counts()?.remove(key);
        Ok(())
    }

    fn stream_counts(
        &mut self,
    ) -> Result<PerCpuHashMap<&mut MapData, Key, [u64; STREAM_COUNT_WORDS]>, KernelError> {
        let name = abi::MAP_STREAM_COUNTS;
        let of = self.ebpf.map_mut(name).ok_or(KernelError::Missing(name))?;
        PerCpuHashMap::try_from(of).map_err(map(name))
    }
}

/// Nothing counted on any CPU.
fn nothing() -> Result<PerCpuValues<[u64; STREAM_COUNT_WORDS]>, KernelError> {
    let cpus = nr_cpus().map_err(|_| KernelError::Missing("number of CPUs"))?;
    PerCpuValues::try_from(vec![[0; STREAM_COUNT_WORDS]; cpus])
        .map_err(|_| KernelError::Missing("number of CPUs"))
}
