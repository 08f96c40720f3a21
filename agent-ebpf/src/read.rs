//! The only reads of kernel and user memory.
//!
//! Two kinds of kernel pointer: [`Typed`] ones, whose type the verifier knows (the current task, tracepoint
//! arguments, and what is loaded from their members), are read by plain loads; [`Raw`] ones, which are just addresses, by
//! `bpf_probe_read_kernel`, or, where the kernel has `bpf_rdonly_cast` (6.2), by plain loads too: it costs nothing, while
//! a helper costs some 40 ns. All give zero where the memory cannot be read, so a race with a dying task or a layout
//! surprise yields an empty fact, never a fault.

use core::mem::MaybeUninit;

use aya_ebpf::helpers::generated::{
    bpf_get_current_task, bpf_get_current_task_btf, bpf_probe_read_kernel, bpf_probe_read_user,
};
use rampart_common::{
    abi::CALL_RDONLY_CAST,
    member::{ABSENT, MEMBER_COUNT, Member},
};

/// Offsets of this kernel, frozen by the loader before verification; all absent until then.
#[unsafe(no_mangle)]
static LAYOUT: [u32; MEMBER_COUNT] = [ABSENT; MEMBER_COUNT];

/// BTF ids of the structures, frozen likewise; all unknown until then.
#[unsafe(no_mangle)]
static TYPES: [u32; MEMBER_COUNT] = [0; MEMBER_COUNT];

/// How many judged paths are remembered per CPU, a power of two or 0; frozen likewise.
#[unsafe(no_mangle)]
static PATH_SLOTS: u32 = 0;

/// How many judged paths are remembered per CPU. Volatile as in [`layout`].
#[inline(always)]
pub(crate) fn path_slots() -> u32 {
    // SAFETY: a static of this crate.
    unsafe { (&raw const PATH_SLOTS).read_volatile() }
}

/// The BTF id of the structure that a member is in; 0 where addresses cannot be given a type. Volatile as in [`layout`].
#[inline(always)]
fn type_of(member: Member) -> u32 {
    let entry = TYPES.as_ptr().wrapping_add(member as usize);
    // SAFETY: `member` is an index of the table by construction of the enum.
    unsafe { entry.read_volatile() }
}

/// Whether addresses can be given a type. Known to the verifier.
#[inline(always)]
pub(crate) fn casts() -> bool {
    type_of(Member::AnyWord) != 0
}

/// The address as a pointer to a structure, by the structure's BTF id, which the verifier must know.
#[inline(always)]
fn cast(address: u64, structure: u32) -> *const u8 {
    // SAFETY: the loader has put `bpf_rdonly_cast(void *, u32)` in place of this number, or the ids are all zero and
    // nobody comes here.
    let function: unsafe extern "C" fn(u64, u32) -> *const u8 =
        unsafe { core::mem::transmute(CALL_RDONLY_CAST as usize) };
    // SAFETY: any address will do; loads through the pointer give zero where there is nothing.
    unsafe { function(address, structure) }
}

/// The offset (or size, or value) of a member on this kernel.
///
/// The load is volatile so that the compiler does not fold the initial value in; the verifier then sees a
/// constant, because the map behind it is frozen.
#[inline(always)]
pub(crate) fn layout(member: Member) -> u64 {
    let entry = LAYOUT.as_ptr().wrapping_add(member as usize);
    // SAFETY: `member` is an index of the table by construction of the enum.
    u64::from(unsafe { entry.read_volatile() })
}

/// Whether this kernel has the member.
#[inline(always)]
pub(crate) fn has(member: Member) -> bool {
    layout(member) != u64::from(ABSENT)
}

/// Integers, and rows of them, that may be read from foreign memory: every bit pattern is a value.
pub(crate) trait Plain: Copy + Default {
    /// Whether [`Plain::at`] can be used for typed pointers, through which only whole numbers can be loaded.
    const LOADS: bool;

    /// Loads from a place that the verifier has checked.
    ///
    /// # Safety
    /// The place is a member of this type, or several in a row.
    unsafe fn at(place: *const u8) -> Self;
}

/// One load.
///
/// # Safety
/// As [`Plain::at`].
#[inline(always)]
unsafe fn plainly<T: Copy>(place: *const u8) -> T {
    // SAFETY: as the caller says.
    unsafe { place.cast::<T>().read_volatile() }
}

macro_rules! numbers {
    ($($number:ty)*) => {$(
        impl Plain for $number {
            const LOADS: bool = true;

            #[inline(always)]
            unsafe fn at(place: *const u8) -> Self {
                // SAFETY: as the caller says.
                unsafe { plainly(place) }
            }
        }
    )*};
}

numbers!(u8 u16 u32 i32 u64 i64);

impl<const N: usize> Plain for [u8; N]
where
    [u8; N]: Default,
{
    const LOADS: bool = false;

    #[inline(always)]
    unsafe fn at(place: *const u8) -> Self {
        // SAFETY: as the caller says.
        unsafe { plainly(place) }
    }
}

impl<const N: usize> Plain for [u64; N]
where
    [u64; N]: Default,
{
    const LOADS: bool = true;

    #[inline(always)]
    unsafe fn at(place: *const u8) -> Self {
        let mut words = Self::default();
        for (index, word) in words.iter_mut().enumerate() {
            // SAFETY: as the caller says.
            *word = unsafe { u64::at(place.wrapping_add(index * 8)) };
        }
        words
    }
}

/// A kernel pointer whose type the verifier tracks.
#[derive(Clone, Copy)]
pub(crate) struct Typed(pub(crate) *const u8);

/// A kernel address without a type.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Raw(pub(crate) u64);

impl Typed {
    /// Reads a member.
    #[inline(always)]
    pub(crate) fn load<T: Plain>(self, member: Member) -> T {
        self.load_at(layout(member))
    }

    /// Reads at a byte offset.
    #[inline(always)]
    pub(crate) fn load_at<T: Plain>(self, offset: u64) -> T {
        let address = self.0.wrapping_add(offset as usize);
        if layout(Member::TypedTask) == 1 {
            // SAFETY: the verifier has checked that the pointer has this type and that a member of this size
            // lies at the offset; a stale pointer reads as zero.
            unsafe { T::at(address) }
        } else {
            Raw(address as u64).load_at(0)
        }
    }

    /// Follows a pointer member to another typed object.
    #[inline(always)]
    pub(crate) fn follow(self, member: Member) -> Self {
        self.follow_at(layout(member))
    }

    /// Follows a pointer at a byte offset.
    #[inline(always)]
    pub(crate) fn follow_at(self, offset: u64) -> Self {
        Self(self.load_at::<u64>(offset) as *const u8)
    }

    /// The same address without its type.
    #[inline(always)]
    pub(crate) fn raw(self) -> Raw {
        Raw(self.0 as u64)
    }

    #[inline(always)]
    pub(crate) fn is_null(self) -> bool {
        self.0.is_null()
    }
}

impl Raw {
    /// Reads a member.
    #[inline(always)]
    pub(crate) fn load<T: Plain>(self, member: Member) -> T {
        let structure = type_of(member);
        if T::LOADS && structure != 0 {
            // SAFETY: as for typed pointers.
            return unsafe { T::at(cast(self.0, structure).wrapping_add(layout(member) as usize)) };
        }
        self.load_at(layout(member))
    }

    /// The address as a pointer to the structure that a member is in, where addresses can be given a type.
    #[inline(always)]
    pub(crate) fn typed(self, member: Member) -> Option<Typed> {
        let structure = type_of(member);
        (structure != 0).then(|| Typed(cast(self.0, structure)))
    }

    /// Reads the pointer that lies here.
    #[inline(always)]
    pub(crate) fn pointer(self) -> Self {
        Self(self.load(Member::AnyPointer))
    }

    /// Reads at a byte offset.
    #[inline(always)]
    pub(crate) fn load_at<T: Plain>(self, offset: u64) -> T {
        let mut value = MaybeUninit::<T>::zeroed();
        let source = self.0.wrapping_add(offset) as *const _;
        // SAFETY: the destination is a local of this size; the helper checks the source.
        unsafe { bpf_probe_read_kernel(value.as_mut_ptr().cast(), size_of::<T>() as u32, source) };
        // SAFETY: zeroed above and every bit pattern of a `Plain` type is a value.
        unsafe { value.assume_init() }
    }

    /// Follows a pointer member.
    #[inline(always)]
    pub(crate) fn follow(self, member: Member) -> Self {
        Self(self.load(member))
    }

    /// The address `offset` bytes further on.
    #[inline(always)]
    pub(crate) fn plus(self, offset: u64) -> Self {
        Self(self.0.wrapping_add(offset))
    }

    #[inline(always)]
    pub(crate) fn is_null(self) -> bool {
        self.0 == 0
    }
}

/// The current task.
#[inline(always)]
pub(crate) fn current_task() -> Typed {
    if layout(Member::TypedTask) == 1 {
        // SAFETY: no arguments; the loader sets the flag only where the helper exists.
        Typed(unsafe { bpf_get_current_task_btf() }.cast::<u8>().cast_const())
    } else {
        // SAFETY: no arguments.
        Typed(unsafe { bpf_get_current_task() } as *const u8)
    }
}

/// Reads a value of the current process; zero when the page is not there.
#[inline(always)]
pub(crate) fn user<T: Plain>(address: u64) -> T {
    let mut value = MaybeUninit::<T>::zeroed();
    // SAFETY: the destination is a local of this size; the helper checks the source.
    unsafe { bpf_probe_read_user(value.as_mut_ptr().cast(), size_of::<T>() as u32, address as *const _) };
    // SAFETY: zeroed above and every bit pattern of a `Plain` type is a value.
    unsafe { value.assume_init() }
}
