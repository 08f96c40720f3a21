//! What is remembered by key: bounded, and what was not asked for the longest time goes first.

use rustc_hash::FxHashMap;

use super::key::Key;

/// Keys of one rule.
pub(super) const KEYS_MAX: usize = 4096;

/// A value that may take memory outside of itself.
pub(super) trait Weighs {
    /// Bytes of that memory.
    fn weight(&self) -> usize;
}

impl Weighs for u64 {
    fn weight(&self) -> usize {
        0
    }
}

impl<T> Weighs for Vec<T> {
    fn weight(&self) -> usize {
        self.capacity() * size_of::<T>()
    }
}

/// Values by key.
#[derive(Debug)]
pub(super) struct Table<V> {
    entries: FxHashMap<Key, Entry<V>>,
    bytes: usize,
}

#[derive(Debug, Default)]
struct Entry<V> {
    value: V,
    /// When it was changed last.
    used_ns: u64,
    /// Bytes it is counted with.
    bytes: usize,
}

impl<V> Default for Table<V> {
    fn default() -> Self {
        Self { entries: FxHashMap::default(), bytes: 0 }
    }
}

impl<V: Weighs + Default> Table<V> {
    /// Keys.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Memory, about.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The value of a key.
    pub(super) fn get(&self, key: &Key) -> Option<&V> {
        Some(&self.entries.get(key)?.value)
    }

    /// Forgets a key.
    pub(super) fn remove(&mut self, key: &Key) {
        if let Some(entry) = self.entries.remove(key) {
            self.bytes = self.bytes.saturating_sub(entry.bytes);
        }
    }

    /// Changes the value of a key. What was not changed for `keep_ns` is over; gives how many keys had to go before.
    pub(super) fn entry(&mut self, key: Key, now_ns: u64, keep_ns: u64, change: impl FnOnce(&mut V)) -> u64 {
        let mut evicted = 0;
        if self.entries.len() >= KEYS_MAX && !self.entries.contains_key(&key) {
            self.entries.retain(|_, entry| {
                let stays = now_ns.saturating_sub(entry.used_ns) <= keep_ns;
                self.bytes = self.bytes.saturating_sub(if stays { 0 } else { entry.bytes });
                stays
            });
            if self.entries.len() >= KEYS_MAX {
                evicted = self.shrink();
            }
        }
        let own = size_of::<Key>() + size_of::<Entry<V>>() + key.len();
        let entry = self.entries.entry(key).or_default();
        change(&mut entry.value);
        entry.used_ns = entry.used_ns.max(now_ns);
        let bytes = own + entry.value.weight();
        self.bytes = (self.bytes + bytes).saturating_sub(entry.bytes);
        entry.bytes = bytes;
        evicted
    }

    /// Forgets the eighth of the keys that was not changed for the longest time; gives how many these are.
    pub(super) fn shrink(&mut self) -> u64 {
        let mut times: Vec<u64> = self.entries.values().map(|entry| entry.used_ns).collect();
        let wanted = times.len().div_ceil(8);
        if wanted == 0 {
            return 0;
        }
        let (_, cut, _) = times.select_nth_unstable(wanted - 1);
        let cut = *cut;
        let mut left = wanted;
        self.entries.retain(|_, entry| {
            let goes = left > 0 && entry.used_ns <= cut;
            left -= usize::from(goes);
            self.bytes = self.bytes.saturating_sub(if goes { entry.bytes } else { 0 });
            !goes
        });
        (wanted - left) as u64
    }
}
