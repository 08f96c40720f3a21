//! Builds one record in a per-CPU buffer: header, then attributes.
//!
//! The write position lives in the buffer too, not in a register: the verifier then knows nothing about it but
//! the bounds checked right before each use, so every iteration of a loop looks alike and verification stays
//! short.

#![expect(clippy::indexing_slicing, reason = "indices are masked to the arrays' lengths")]

mod attr;
mod image;
mod words;

use aya_ebpf::{helpers::generated::bpf_probe_read_kernel, maps::lpm_trie::Key};
use rampart_common::{
    event::{AttrHeader, AttrTag, HEADER_BYTES, RECORD_MAX, RECORD_TRUNCATED, RecordHeader, TEXT_MAX},
    member::Member,
    pushdown::{AddressKey, CallKey, ImageKey, Mask, ProcessEntry, Signature},
    stream::StreamKey,
};

use crate::{
    cell,
    judge::Judged,
    maps::SCRATCH,
    read::{Plain, Raw, casts, layout},
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
    /// The image that masks are looked up for.
    image: ImageKey,
    /// Masks on their way to a process.
    entry: ProcessEntry,
    /// An address whose class is looked up.
    address: Key<AddressKey>,
    /// Where loops keep their place: see the module.
    cells: [u64; cell::COUNT],
    /// What is known of the event.
    judged: Judged,
    /// What was left for the file before.
    traced: Mask,
    /// The stream that the event may belong to.
    stream: StreamKey,
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

    /// Payload bytes of the attribute written last.
    #[inline(always)]
    pub(crate) fn filled(self) -> u64 {
        read(&raw const self.get().fill)
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

    /// What was left for the file before.
    #[inline(always)]
    pub(crate) fn traced<'a>(&self) -> &'a mut Mask {
        &mut self.get_mut().traced
    }

    /// The key of the stream that the event may belong to.
    #[inline(always)]
    pub(crate) fn stream<'a>(&self) -> &'a mut StreamKey {
        &mut self.get_mut().stream
    }

    /// The key for the look-up of a mask.
    #[inline(always)]
    pub(crate) fn key<'a>(&self) -> &'a mut CallKey {
        &mut self.get_mut().key
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
