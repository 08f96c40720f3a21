//! Whole attributes of a record, and the pieces that some are made of.

use aya_ebpf::helpers::generated::{
    bpf_probe_read_kernel, bpf_probe_read_kernel_str, bpf_probe_read_user, bpf_probe_read_user_str,
};
use rampart_common::event::{ATTR_TRUNCATED, AttrTag, TEXT_MAX};

use super::{NAME_BYTES, OpenAttr, Record};
use crate::{
    read::{Raw, user},
    trail,
};

impl Record {
    /// Appends a NUL-ended name of kernel memory. False when there is no room for the longest name.
    #[inline(always)]
    pub(crate) fn push_name(self, attr: OpenAttr, name: Raw) -> bool {
        let Some(spot) = self.spot(attr, NAME_BYTES) else { return false };
        // SAFETY: `spot` has room for NAME_BYTES; the helper checks the source.
        let len = unsafe { bpf_probe_read_kernel_str(spot.cast(), NAME_BYTES as u32, name.0 as *const _) };
        if len > 0 {
            self.grow(len as u64);
        }
        true
    }

    /// Appends a name of kernel memory whose length is known. False when there is no room for the longest.
    #[inline(always)]
    pub(crate) fn push_name_of(self, attr: OpenAttr, name: Raw, len: u64) -> bool {
        let Some(spot) = self.spot(attr, NAME_BYTES) else { return false };
        let len = len & (NAME_BYTES - 1);
        // With the NUL behind it.
        // SAFETY: `spot` has room for NAME_BYTES, which `len` is less than; the helper checks the source and zeroes what
        // it cannot read.
        unsafe { bpf_probe_read_kernel(spot.cast(), len as u32 + 1, name.0 as *const _) };
        self.grow(len + 1);
        true
    }

    /// Appends a name of the trail, with the NUL behind it. False when there is no room for the longest.
    #[inline(always)]
    pub(crate) fn push_words(self, attr: OpenAttr, at: u64, len: u64) -> bool {
        let Some(spot) = self.spot(attr, NAME_BYTES) else { return false };
        if at > trail::WORDS_MAX - trail::NAME_WORDS || len > trail::NAME_MAX {
            return false;
        }
        let source = self.get().trail.as_ptr().wrapping_add(at as usize);
        // SAFETY: `spot` has room for NAME_BYTES, which is more than the longest name; the source is inside the trail.
        unsafe { bpf_probe_read_kernel(spot.cast(), len as u32 + 1, source.cast()) };
        self.grow(len + 1);
        true
    }

    /// Appends a NUL-ended string of the current process, cut to the longest name, with its NUL. False when
    /// there is no room or nothing could be read.
    #[inline(always)]
    pub(crate) fn push_user_word(self, attr: OpenAttr, address: u64) -> bool {
        let Some(spot) = self.spot(attr, NAME_BYTES) else { return false };
        // SAFETY: `spot` has room for NAME_BYTES; the helper checks the source.
        let len = unsafe { bpf_probe_read_user_str(spot.cast(), NAME_BYTES as u32, address as *const _) };
        if len <= 0 {
            return false;
        }
        self.grow(len as u64);
        true
    }

    /// An attribute that holds one value.
    #[inline(always)]
    pub(crate) fn put<T>(self, tag: AttrTag, value: T) {
        let Some(attr) = self.open(tag) else { return };
        let Some(spot) = self.spot(attr, size_of::<T>() as u64) else { return };
        // SAFETY: `spot` has room for the value and is eight-byte aligned: nothing was written before it.
        unsafe { spot.cast::<T>().write(value) };
        self.grow(size_of::<T>() as u64);
        self.close(attr, 0);
    }

    /// Starts an attribute that holds one value, and gives the place of the value, which has no meaning yet. Made where it
    /// lies: a large value on the stack would take more than older kernels have.
    #[inline(always)]
    pub(crate) fn open_value<'a, T>(self, tag: AttrTag) -> Option<(OpenAttr, &'a mut T)> {
        let attr = self.open(tag)?;
        let spot = self.spot(attr, size_of::<T>() as u64)?;
        // SAFETY: `spot` has room for the value and is eight-byte aligned: nothing was written before it. Any bytes there
        // are a value, because only types without invalid ones are kept.
        Some((attr, unsafe { &mut *spot.cast::<T>() }))
    }

    /// Ends such an attribute.
    #[inline(always)]
    pub(crate) fn close_value<T>(self, attr: OpenAttr) {
        self.grow(size_of::<T>() as u64);
        self.close(attr, 0);
    }

    /// A text attribute from a NUL-ended string of the current process; where its payload starts.
    #[inline(always)]
    pub(crate) fn put_user_text(self, tag: AttrTag, address: u64) -> Option<u64> {
        let attr = self.open(tag)?;
        let spot = self.spot(attr, TEXT_MAX as u64)?;
        // SAFETY: `spot` has room for TEXT_MAX; the helper checks the source.
        let len = unsafe { bpf_probe_read_user_str(spot.cast(), TEXT_MAX as u32, address as *const _) };
        if len <= 0 {
            return None;
        }
        self.grow(len as u64 - 1);
        self.close(attr, if len as usize == TEXT_MAX { ATTR_TRUNCATED } else { 0 });
        Some(attr.payload())
    }

    /// A text attribute from a NUL-ended string of the kernel.
    #[inline(always)]
    pub(crate) fn put_kernel_text(self, tag: AttrTag, address: Raw) {
        let Some(attr) = self.open(tag) else { return };
        let Some(spot) = self.spot(attr, TEXT_MAX as u64) else { return };
        // SAFETY: `spot` has room for TEXT_MAX; the helper checks the source.
        let len = unsafe { bpf_probe_read_kernel_str(spot.cast(), TEXT_MAX as u32, address.0 as *const _) };
        if len <= 0 {
            return;
        }
        self.grow(len as u64 - 1);
        self.close(attr, if len as usize == TEXT_MAX { ATTR_TRUNCATED } else { 0 });
    }

    /// An attribute copied from the current process: at most `limit` (a constant) of `len` bytes.
    #[inline(always)]
    pub(crate) fn put_user_bytes(self, tag: AttrTag, address: u64, len: u64, limit: u64) {
        let Some(attr) = self.open(tag) else { return };
        let Some(spot) = self.spot(attr, limit) else { return };
        let flags = if len > limit { ATTR_TRUNCATED } else { 0 };
        let take = if len > limit { limit } else { len };
        if take == 0 {
            return;
        }
        // SAFETY: `spot` has room for `limit` bytes; the helper checks the source.
        let result = unsafe { bpf_probe_read_user(spot.cast(), take as u32, address as *const _) };
        if result == 0 {
            self.grow(take);
            self.close(attr, flags);
        }
    }

    /// An attribute copied from kernel memory: at most `limit` (a constant) of `len` bytes.
    #[inline(always)]
    pub(crate) fn put_kernel_bytes(self, tag: AttrTag, address: Raw, len: u64, limit: u64) {
        let Some(attr) = self.open(tag) else { return };
        let Some(spot) = self.spot(attr, limit) else { return };
        let take = if len > limit { limit } else { len };
        // SAFETY: `spot` has room for `limit` bytes; the helper checks the source.
        let result = unsafe { bpf_probe_read_kernel(spot.cast(), take as u32, address.0 as *const _) };
        if result == 0 {
            self.grow(take);
            self.close(attr, 0);
        }
    }

    /// A `char **` of the current process as NUL-ended words, 32 at the most.
    #[inline(always)]
    pub(crate) fn put_user_vector(self, tag: AttrTag, vector: u64, compat: bool) {
        let Some(attr) = self.open(tag) else { return };
        let mut flags = ATTR_TRUNCATED;
        for index in 0..32u64 {
            let word: u64 =
                if compat { u64::from(user::<u32>(vector + index * 4)) } else { user(vector + index * 8) };
            if word == 0 {
                flags = 0;
                break;
            }
            if !self.push_user_word(attr, word) {
                break;
            }
        }
        self.close(attr, flags);
    }
}
