//! The trail in a record's buffer, and bytes of the buffer that are read again.

use aya_ebpf::helpers::generated::bpf_probe_read_kernel;

use super::{BYTE_LIMIT, Lengths, Record, TRAIL_WORDS, read, write};
use crate::{read::Raw, trail};

impl Record {
    /// A word of the trail.
    #[inline(always)]
    pub(crate) fn trail(self, at: u64) -> u64 {
        read(&raw const self.get().trail[at as usize & (TRAIL_WORDS - 1)])
    }

    /// Writes a word of the trail.
    #[inline(always)]
    pub(crate) fn set_trail(self, at: u64, word: u64) {
        write(&raw mut self.get_mut().trail[at as usize & (TRAIL_WORDS - 1)], word);
    }

    /// Copies a name of kernel memory, with what is behind it, into words of the trail that have room for the longest.
    #[inline(always)]
    pub(crate) fn read_words(self, at: u64, name: Raw, len: u64) {
        if at > trail::WORDS_MAX - trail::NAME_WORDS || len > trail::NAME_MAX {
            return;
        }
        let place = self.get().trail.as_ptr().wrapping_add(at as usize).cast_mut();
        // SAFETY: the place has room for the longest name; the helper checks the source.
        unsafe { bpf_probe_read_kernel(place.cast(), len as u32 + 1, name.0 as *const _) };
    }

    /// A byte of the trail.
    #[inline(always)]
    pub(crate) fn trail_byte(self, offset: u64) -> u8 {
        let place =
            self.get().trail.as_ptr().cast::<u8>().wrapping_add(offset as usize & (TRAIL_WORDS * 8 - 1));
        // SAFETY: masked to the trail's length.
        unsafe { place.read_volatile() }
    }

    /// Lengths of the names of the trail.
    #[inline(always)]
    pub(crate) fn lens(self) -> Lengths {
        read(&raw const self.get().lens)
    }

    /// Forgets the lengths.
    #[inline(always)]
    pub(crate) fn clear_lens(self) {
        write(&raw mut self.get_mut().lens, Lengths::default());
    }

    /// Length of a name of the trail.
    #[inline(always)]
    pub(crate) fn len_of(self, name: u64) -> u64 {
        if name >= trail::NAMES_MAX {
            return 0;
        }
        let place = self.get().lens.as_ptr().cast::<u8>().wrapping_add(name as usize);
        // SAFETY: inside the lengths (checked above).
        u64::from(unsafe { place.read_volatile() })
    }

    /// Notes the length of a name of the trail.
    #[inline(always)]
    pub(crate) fn set_len(self, name: u64, len: u8) {
        if name < trail::NAMES_MAX {
            let place = self.get_mut().lens.as_mut_ptr().cast::<u8>().wrapping_add(name as usize);
            // SAFETY: inside the lengths (checked above).
            unsafe { place.write_volatile(len) };
        }
    }

    /// Eight bytes of the buffer from any offset; the offset wraps at a power of two inside it.
    #[inline(always)]
    pub(crate) fn word(self, offset: u64) -> u64 {
        let shift = (offset & 7) * 8;
        let place = self.scratch.cast::<u64>().wrapping_add((offset & (BYTE_LIMIT - 8)) as usize / 8);
        // SAFETY: masked to less than the buffer's length, which is a multiple of eight like the place.
        let low = unsafe { place.read_volatile() };
        // SAFETY: the buffer is longer than the mask by more than a word.
        let high = unsafe { place.wrapping_add(1).read_volatile() };
        // In two steps, for a shift by a whole word is none.
        (low >> shift) | ((high << 1) << (63 - shift))
    }

    /// A byte of the buffer; the offset wraps at a power of two inside it.
    #[inline(always)]
    pub(crate) fn byte(self, offset: u64) -> u8 {
        let place = self.at(offset & (BYTE_LIMIT - 1)).cast_const();
        // SAFETY: masked to less than the buffer's length.
        unsafe { place.read() }
    }
}
