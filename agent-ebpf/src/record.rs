//! Builds one record in a per-CPU buffer: header, then attributes.
//!
//! The write position lives in the buffer too, not in a register: the verifier then knows nothing about it but
//! the bounds checked right before each use, so every iteration of a loop looks alike and verification stays
//! short.

#![expect(clippy::indexing_slicing, reason = "indices are masked to the arrays' lengths")]

use aya_ebpf::{
    helpers::generated::{
        bpf_probe_read_kernel, bpf_probe_read_kernel_str, bpf_probe_read_user, bpf_probe_read_user_str,
    },
    maps::lpm_trie::Key,
};
use rampart_common::{
    event::{
        ATTR_TRUNCATED, AttrHeader, AttrTag, HEADER_BYTES, RECORD_MAX, RECORD_TRUNCATED, RecordHeader,
        TEXT_MAX,
    },
    member::Member,
    pushdown::{AddressKey, CallKey, Signature},
};

use crate::{
    cell,
    judge::Judged,
    maps::SCRATCH,
    read::{Plain, Raw, casts, layout, user},
    trail,
};

/// Buffers per CPU.
pub(crate) const SCRATCH_SLOTS: u32 = 2;

/// Longest component of a path with its NUL (`NAME_MAX` + 1).
const NAME_BYTES: u64 = 256;
/// Offsets of single bytes that are read again; paths that are classified lie below it.
const BYTE_LIMIT: u64 = 16 * 1024;
/// A payload may start no later than this, so that the longest still fits.
const START_LIMIT: u64 = (RECORD_MAX - TEXT_MAX - size_of::<AttrHeader>()) as u64;

/// The build buffer.
#[repr(C)]
pub(crate) struct Scratch {
    data: [u8; RECORD_MAX],
    /// End of what is written.
    cursor: u64,
    /// Bytes of the payload being written.
    fill: u64,
    /// Tag of the attribute being written.
    tag: u64,
    /// 1 while a program uses the buffer.
    busy: u64,
    /// A copy of the start of a kernel object.
    copy: [u8; COPY_BYTES],
    /// Words of the names that are judged.
    trail: [u64; TRAIL_WORDS],
    /// Their lengths.
    lens: Lengths,
    /// Bits of the automaton's states on the way.
    signature: Signature,
    /// Facts of the call that a mask is looked up for.
    key: CallKey,
    /// An address whose class is looked up.
    address: Key<AddressKey>,
    /// Where loops keep their place: see the module.
    cells: [u64; cell::COUNT],
    /// What is known of the event.
    judged: Judged,
}

/// Words of a trail; a power of two.
const TRAIL_WORDS: usize = trail::WORDS_MAX as usize;

/// Lengths of the names of a trail, a byte each.
pub(crate) type Lengths = [u64; trail::NAMES_MAX as usize / 8];

/// Bytes copied of a kernel object by [`Record::copy`]: what is used of an inode lies in its first 200 bytes.
const COPY_BYTES: usize = 256;

/// A kernel object whose start has been copied in one read; members behind it are read one by one.
#[derive(Clone, Copy)]
pub(crate) struct Copied {
    at: Raw,
    copy: *const u8,
}

impl Copied {
    /// Reads a member.
    #[inline(always)]
    pub(crate) fn load<T: Plain>(self, member: Member) -> T {
        let offset = layout(member);
        if casts() || offset > (COPY_BYTES - 8) as u64 {
            return self.at.load(member);
        }
        let place = self.copy.wrapping_add(offset as usize).cast::<T>();
        // SAFETY: the member lies inside the copy (checked above, members are eight bytes at the most).
        unsafe { place.read_unaligned() }
    }
}

/// A record being built.
#[derive(Clone, Copy)]
pub(crate) struct Record {
    scratch: *mut Scratch,
    slot: u32,
}

/// An attribute being written: where its header and payload are.
#[derive(Clone, Copy)]
pub(crate) struct OpenAttr {
    header: u64,
}

impl OpenAttr {
    /// The attribute that begins at an offset.
    #[inline(always)]
    pub(crate) fn at(header: u64) -> Self {
        // Bounded here, for the compiler may add it to a pointer at once.
        Self { header: header & (BYTE_LIMIT - 1) }
    }

    /// Where it begins.
    #[inline(always)]
    pub(crate) fn start(self) -> u64 {
        self.header
    }

    /// Where the payload starts.
    #[inline(always)]
    pub(crate) fn payload(self) -> u64 {
        self.header + size_of::<AttrHeader>() as u64
    }
}

impl Record {
    /// Claims a free buffer of this CPU.
    #[inline(always)]
    pub(crate) fn claim() -> Option<Self> {
        let first = Self::claimed(0)?;
        if first.take() {
            return Some(first);
        }
        let spare = Self::claimed(1)?;
        spare.take().then_some(spare)
    }

    /// The buffer that this program has claimed, by its number.
    #[inline(always)]
    pub(crate) fn claimed(slot: u32) -> Option<Self> {
        Some(Self { scratch: SCRATCH.get_ptr_mut(slot)?, slot })
    }

    /// The number of the buffer.
    #[inline(always)]
    pub(crate) fn slot(self) -> u32 {
        self.slot
    }

    #[inline(always)]
    fn take(self) -> bool {
        if read(&raw const self.get().busy) != 0 {
            return false;
        }
        write(&raw mut self.get_mut().busy, 1);
        write(&raw mut self.get_mut().cursor, HEADER_BYTES as u64);
        true
    }

    /// Gives the buffer back.
    #[inline(always)]
    pub(crate) fn release(self) {
        write(&raw mut self.get_mut().busy, 0);
    }

    #[inline(always)]
    fn get<'a>(self) -> &'a Scratch {
        // SAFETY: a non-null map value that lives as long as the program; only this CPU and program use it.
        unsafe { &*self.scratch }
    }

    #[inline(always)]
    fn get_mut<'a>(&self) -> &'a mut Scratch {
        // SAFETY: as in `get`; no reference outlives the statement it is made in.
        unsafe { &mut *self.scratch }
    }

    /// The header.
    #[inline(always)]
    pub(crate) fn header<'a>(self) -> &'a mut RecordHeader {
        // SAFETY: the buffer starts with the header, is larger and is aligned as map values are (8 bytes).
        unsafe { &mut *self.scratch.cast::<RecordHeader>() }
    }

    /// Writes the raw arguments, for [`Self::arg`]: word by word, for a copy of all would be a call of a function that
    /// goes byte by byte.
    #[inline(always)]
    pub(crate) fn set_args(self, args: [u64; 6]) {
        for (slot, arg) in self.header().args.iter_mut().zip(args) {
            write(slot, arg);
        }
    }

    /// Argument of a plan slot (1-based); zero for slot 0.
    #[inline(always)]
    pub(crate) fn arg(self, slot: u8) -> u64 {
        let index = usize::from(slot.wrapping_sub(1));
        let args = &self.header().args;
        if index >= args.len() {
            return 0;
        }
        let entry = args.as_ptr().wrapping_add(index);
        // SAFETY: the index is less than the array's length.
        unsafe { entry.read_volatile() }
    }

    /// Copies the start of a kernel object, for cheap reads of many members. One object at a time.
    #[inline(always)]
    pub(crate) fn copy(self, at: Raw) -> Copied {
        let copy = self.get().copy.as_ptr();
        if casts() {
            return Copied { at, copy };
        }
        // SAFETY: the destination is this long; the helper checks the source and zeroes what it cannot read.
        unsafe { bpf_probe_read_kernel(copy.cast_mut().cast(), COPY_BYTES as u32, at.0 as *const _) };
        Copied { at, copy }
    }

    /// Bytes of the finished record.
    #[inline(always)]
    pub(crate) fn bytes<'a>(self) -> Option<&'a [u8]> {
        let len = read(&raw const self.get().cursor);
        if len > RECORD_MAX as u64 || len < HEADER_BYTES as u64 {
            return None;
        }
        // SAFETY: the length is at most that of the buffer.
        Some(unsafe { core::slice::from_raw_parts(self.scratch.cast::<u8>(), len as usize) })
    }

    /// Starts an attribute. `None` when the record is full; the record is then marked truncated.
    #[inline(always)]
    pub(crate) fn open(self, tag: AttrTag) -> Option<OpenAttr> {
        let header = read(&raw const self.get().cursor);
        if header > START_LIMIT {
            self.header().flags |= RECORD_TRUNCATED;
            return None;
        }
        write(&raw mut self.get_mut().fill, 0);
        write(&raw mut self.get_mut().tag, tag as u64);
        Some(OpenAttr { header })
    }

    /// Ends an attribute: writes its header and moves the cursor behind the padded payload.
    #[inline(always)]
    pub(crate) fn close(self, attr: OpenAttr, flags: u16) {
        let fill = read(&raw const self.get().fill);
        let header = attr.header;
        if fill > TEXT_MAX as u64 || header > START_LIMIT {
            return;
        }
        let tag = read(&raw const self.get().tag) as u16;
        let place = self.at(header);
        #[expect(clippy::cast_ptr_alignment, reason = "the cursor only moves by multiples of eight bytes")]
        let place = place.cast::<AttrHeader>();
        // SAFETY: the header lies inside the buffer (checked above) and is eight-byte aligned like the cursor.
        unsafe {
            place.write(AttrHeader { tag, flags, len: fill as u32 });
        };
        let end = header + size_of::<AttrHeader>() as u64 + ((fill + 7) & !7);
        write(&raw mut self.get_mut().cursor, end);
    }

    #[inline(always)]
    fn at(self, offset: u64) -> *mut u8 {
        self.scratch.cast::<u8>().wrapping_add(offset as usize)
    }

    /// Where the next `room` payload bytes go, if they still fit.
    #[inline(always)]
    fn spot(self, attr: OpenAttr, room: u64) -> Option<*mut u8> {
        let fill = read(&raw const self.get().fill);
        if attr.header > START_LIMIT || fill > TEXT_MAX as u64 - room {
            return None;
        }
        Some(self.at(attr.header).wrapping_add(size_of::<AttrHeader>()).wrapping_add(fill as usize))
    }

    #[inline(always)]
    fn grow(self, bytes: u64) {
        let fill = read(&raw const self.get().fill);
        write(&raw mut self.get_mut().fill, fill + bytes);
    }

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

    /// Payload bytes of the attribute written last.
    #[inline(always)]
    pub(crate) fn filled(self) -> u64 {
        read(&raw const self.get().fill)
    }

    /// A byte of the buffer; the offset wraps at a power of two inside it.
    #[inline(always)]
    pub(crate) fn byte(self, offset: u64) -> u8 {
        let place = self.at(offset & (BYTE_LIMIT - 1)).cast_const();
        // SAFETY: masked to less than the buffer's length.
        unsafe { place.read() }
    }

    /// The signature so far.
    #[inline(always)]
    pub(crate) fn signature<'a>(&self) -> &'a mut Signature {
        &mut self.get_mut().signature
    }

    /// The value of the first attribute.
    #[inline(always)]
    pub(crate) fn first<'a, T>(self) -> &'a T {
        let place = self.at((HEADER_BYTES + size_of::<AttrHeader>()) as u64).cast::<T>();
        // SAFETY: inside the buffer; any bytes there are a value, because only types without invalid ones are kept.
        unsafe { &*place }
    }

    /// Reads a cell, of which the verifier then knows nothing.
    #[inline(always)]
    pub(crate) fn cell<const N: usize>(self) -> u64 {
        const { assert!(N < cell::COUNT) };
        read(&raw const self.get().cells[N])
    }

    /// Writes a cell.
    #[inline(always)]
    pub(crate) fn set_cell<const N: usize>(self, value: u64) {
        const { assert!(N < cell::COUNT) };
        write(&raw mut self.get_mut().cells[N], value);
    }

    /// The key for the look-up of an address.
    #[inline(always)]
    pub(crate) fn address<'a>(&self) -> &'a mut Key<AddressKey> {
        &mut self.get_mut().address
    }

    /// What is known of the event.
    #[inline(always)]
    pub(crate) fn judged<'a>(&self) -> &'a mut Judged {
        &mut self.get_mut().judged
    }

    /// The key for the look-up of a mask.
    #[inline(always)]
    pub(crate) fn key<'a>(&self) -> &'a mut CallKey {
        &mut self.get_mut().key
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

/// Reads a word of the buffer that the compiler must not keep in a register.
#[inline(always)]
fn read<T: Plain>(place: *const T) -> T {
    // SAFETY: only called with pointers to members of a claimed buffer.
    unsafe { place.read_volatile() }
}

/// Writes such a word.
#[inline(always)]
fn write<T: Plain>(place: *mut T, value: T) {
    // SAFETY: only called with pointers to members of a claimed buffer.
    unsafe { place.write_volatile(value) }
}
