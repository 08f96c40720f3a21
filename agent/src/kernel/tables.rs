//! Pushdown's tables in the kernel: putting a rule set in force, remembering masks.

mod streams;

use std::collections::HashMap as Keys;

use aya::{
    Pod,
    maps::{Array, HashMap, LpmTrie, MapData, MapError, lpm_trie::Key},
};
use rampart_common::{
    abi,
    event::FAMILY_COUNT,
    pushdown::{
        AddressKey, CallKey, ENTRY_WORDS, IMAGE_WORDS, ImageKey, KEY_WORDS, MASK_WORDS, Mask, ProcessEntry,
        TABLE_WORDS,
    },
    stream::STREAM_KEY_WORDS,
};

use super::{Kernel, KernelError};

/// `BPF_NOEXIST`: only where nothing is yet.
const NO_EXIST: u64 = 1;
/// `E2BIG`: the map is full.
const FULL: i32 = libc::E2BIG;

/// Masks of an image, by family.
type ImageValue = [[u64; MASK_WORDS]; FAMILY_COUNT];

/// Classes of address prefixes.
type Addresses = Keys<(u32, [u8; 20]), u32>;

/// What the agent remembers of what it wrote, so that it can be taken back.
#[derive(Debug, Default)]
pub(super) struct Written {
    /// Keys of masks, by rule set.
    memo: Keys<u32, Vec<[u64; KEY_WORDS]>>,
    /// Keys of masks of images, by rule set.
    images: Keys<u32, Vec<[u64; IMAGE_WORDS]>>,
    /// Keys of streams, by rule set.
    streams: Keys<u32, Vec<[u64; STREAM_KEY_WORDS]>>,
    /// Address prefixes of either slot.
    addresses: [Addresses; 2],
}

/// What became of masks that were to be remembered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Learned {
    /// Written.
    pub written: u64,
    /// Left out because the map of calls is full.
    pub full_calls: u64,
    /// Left out because the map of processes is full.
    pub full_processes: u64,
}

impl Kernel {
    /// Puts a rule set in force. `words` are [`rampart_common::pushdown::Tables`]; its generation is the successor of
    /// the one in force, so that nobody reads the slot that is written; `now_ns` is the boot clock.
    pub fn publish(
        &mut self,
        generation: u32,
        words: &[u64],
        addresses: &[(u32, AddressKey, u32)],
        shadow_every: u32,
        now_ns: u64,
    ) -> Result<(), KernelError> {
        let words: &[u64; TABLE_WORDS] =
            words.try_into().map_err(|_| KernelError::Missing(abi::MAP_TABLES))?;
        let slot = generation & 1;
        self.array::<[u64; TABLE_WORDS]>(abi::MAP_TABLES)?
            .set(slot, words, 0)
            .map_err(map(abi::MAP_TABLES))?;
        self.write_addresses(slot as usize, addresses)?;
        self.touch_epoch(now_ns)?;
        self.set_policy(generation, shadow_every)?;
        self.forget_before(generation)
    }

    /// Lets every event pass.
    pub fn set_policy(&mut self, generation: u32, shadow_every: u32) -> Result<(), KernelError> {
        let every = if shadow_every == 0 { 0 } else { shadow_every.next_power_of_two() };
        self.array::<[u32; 2]>(abi::MAP_POLICY)?.set(0, [generation, every], 0).map_err(map(abi::MAP_POLICY))
    }

    /// Makes masks that depend on process trees or metadata hold no longer; `now_ns` is the boot clock.
    pub fn touch_epoch(&mut self, now_ns: u64) -> Result<(), KernelError> {
        self.array::<u64>(abi::MAP_EPOCH)?.set(0, now_ns, 0).map_err(map(abi::MAP_EPOCH))
    }

    /// Remembers masks of calls and processes.
    pub fn learn(
        &mut self,
        calls: &[(CallKey, Mask)],
        processes: &[(u32, ProcessEntry)],
    ) -> Result<Learned, KernelError> {
        let mut learned = Learned::default();
        if !calls.is_empty() {
            let mut memo = self.hash::<[u64; KEY_WORDS], [u64; MASK_WORDS]>(abi::MAP_MEMO)?;
            let mut kept = Vec::new();
            for (key, mask) in calls {
                // Never over another entry: a program may be reading it.
                match memo.insert(key.to_words(), mask, NO_EXIST) {
                    Ok(()) => kept.push((key.generation, key.to_words())),
                    Err(error) if is(&error, libc::EEXIST) => {}
                    Err(error) if is(&error, FULL) => learned.full_calls += 1,
                    Err(error) => return Err(map(abi::MAP_MEMO)(error)),
                }
            }
            learned.written += kept.len() as u64;
            for (generation, key) in kept {
                self.written.memo.entry(generation).or_default().push(key);
            }
        }
        if !processes.is_empty() {
            let mut map_of = self.hash::<u32, [u64; ENTRY_WORDS]>(abi::MAP_PROCESSES)?;
            for (pid, entry) in processes {
                match map_of.insert(pid, entry.to_words(), 0) {
                    Ok(()) => learned.written += 1,
                    Err(error) if is(&error, FULL) => learned.full_processes += 1,
                    Err(error) => return Err(map(abi::MAP_PROCESSES)(error)),
                }
            }
        }
        Ok(learned)
    }

    /// Remembers masks of images, and says how many were written. Those for which there is no room are computed for
    /// each process.
    pub fn learn_images(&mut self, images: &[(ImageKey, [Mask; FAMILY_COUNT])]) -> Result<u64, KernelError> {
        let mut kept = Vec::new();
        let mut map_of = self.hash::<[u64; IMAGE_WORDS], ImageValue>(abi::MAP_IMAGES)?;
        for (key, masks) in images {
            // As with masks of calls.
            match map_of.insert(key.to_words(), masks, NO_EXIST) {
                Ok(()) => kept.push((key.generation, key.to_words())),
                Err(error) if is(&error, libc::EEXIST) || is(&error, FULL) => {}
                Err(error) => return Err(map(abi::MAP_IMAGES)(error)),
            }
        }
        let written = kept.len() as u64;
        for (generation, key) in kept {
            self.written.images.entry(generation).or_default().push(key);
        }
        Ok(written)
    }

    fn forget_before(&mut self, generation: u32) -> Result<(), KernelError> {
        self.forget_streams_before(generation)?;
        for key in without(&mut self.written.memo, generation) {
            let _ = self.hash::<[u64; KEY_WORDS], [u64; MASK_WORDS]>(abi::MAP_MEMO)?.remove(&key);
        }
        for key in without(&mut self.written.images, generation) {
            let _ = self.hash::<[u64; IMAGE_WORDS], ImageValue>(abi::MAP_IMAGES)?.remove(&key);
        }
        Ok(())
    }

    fn write_addresses(&mut self, slot: usize, new: &[(u32, AddressKey, u32)]) -> Result<(), KernelError> {
        let fault = map(abi::MAP_ADDRESSES);
        let Some(old) = self.written.addresses.get_mut(slot) else { return Ok(()) };
        let of = self.ebpf.map_mut(abi::MAP_ADDRESSES).ok_or(KernelError::Missing(abi::MAP_ADDRESSES))?;
        let mut trie: LpmTrie<&mut MapData, [u8; 20], u32> = LpmTrie::try_from(of).map_err(&fault)?;
        let mut kept = Addresses::default();
        for (bits, key, class) in new {
            let mut data = [0; 20];
            for (to, from) in data.iter_mut().zip(key.slot.iter().chain(&key.address)) {
                *to = *from;
            }
            kept.insert((*bits, data), *class);
        }
        // A list that was renewed is mostly the same as before, and a slot's turn comes again with every other rule set.
        for ((bits, data), _) in old.extract_if(|key, _| !kept.contains_key(key)) {
            let _ = trie.remove(&Key::new(bits, data));
        }
        for ((bits, data), class) in kept {
            if old.get(&(bits, data)) != Some(&class) {
                trie.insert(&Key::new(bits, data), class, 0).map_err(&fault)?;
                old.insert((bits, data), class);
            }
        }
        Ok(())
    }

    fn array<T: Pod>(&mut self, name: &'static str) -> Result<Array<&mut MapData, T>, KernelError> {
        let of = self.ebpf.map_mut(name).ok_or(KernelError::Missing(name))?;
        Array::try_from(of).map_err(map(name))
    }

    fn hash<K: Pod, V: Pod>(
        &mut self,
        name: &'static str,
    ) -> Result<HashMap<&mut MapData, K, V>, KernelError> {
        let of = self.ebpf.map_mut(name).ok_or(KernelError::Missing(name))?;
        HashMap::try_from(of).map_err(map(name))
    }
}

/// Takes out the keys of all rule sets but one.
fn without<K>(keys: &mut Keys<u32, Vec<K>>, generation: u32) -> Vec<K> {
    keys.extract_if(|one, _| *one != generation).flat_map(|(_, keys)| keys).collect()
}

fn map(name: &'static str) -> impl Fn(MapError) -> KernelError {
    move |source| KernelError::Map { map: name, source }
}

fn is(error: &MapError, code: i32) -> bool {
    matches!(error, MapError::SyscallError(fault) if fault.io_error.raw_os_error() == Some(code))
}
