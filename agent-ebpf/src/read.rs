//! The only reads of kernel and user memory.
//!
//! Two kinds of kernel pointer: [`Typed`] ones, whose type the verifier knows (the current task, tracepoint
//! arguments, and what is loaded from their members), are read by plain loads; [`Raw`] ones, which are just addresses, by
//! `bpf_probe_read_kernel`, or, where the kernel has `bpf_rdonly_cast` (6.2), by plain loads too: it costs nothing, while
//! a helper costs some 40 ns. All give zero where the memory cannot be read, so a race with a dying task or a layout
//! surprise yields an empty fact, never a fault.

use core::{arch::asm, mem::MaybeUninit};

use aya_ebpf::helpers::generated::{
    bpf_get_current_task, bpf_get_current_task_btf, bpf_probe_read_kernel, bpf_probe_read_user,
};
use rampart_common::{
    abi::{CALL_RDONLY_CAST, PLACE_IN_LOAD, PLACE_OF_OFFSET, PLACE_OF_TYPE},
    for_members,
    member::{ABSENT, Member},
};

/// How many judged paths are remembered per CPU, a power of two or 0; frozen likewise.
#[unsafe(no_mangle)]
static PATH_SLOTS: u32 = 0;

/// How many judged paths are remembered per CPU. Volatile, so that the compiler does not fold the
/// initial value in.
#[inline(always)]
pub(crate) fn path_slots() -> u32 {
    // SAFETY: a static of this crate.
    unsafe { (&raw const PATH_SLOTS).read_volatile() }
}

macro_rules! immediates {
    ($($member:ident)*) => {
        /// Calls a macro with the name of a member that the compiler knows.
        macro_rules! match_member {
            ($value:expr, $macro:ident) => {
                match $value {
                    $(Member::$member => $macro!($member),)*
                }
            };
        }

        /// The offset (or size, or value) of a member on this kernel.
        ///
        /// An instruction with a number that stands for the member, in whose place the loader puts this kernel's; the
        /// assembler keeps the compiler from knowing it. Without a member, the number is [`ABSENT`].
        #[inline(always)]
        pub(crate) fn layout(member: Member) -> u64 {
            let value: u64;
            match member {
                $(
                    // SAFETY: puts a number into a register.
                    Member::$member => unsafe {
                        asm!(
                            "{0} = {1}",
                            out(reg) value,
                            const PLACE_OF_OFFSET | Member::$member as u32,
                            options(pure, nomem, nostack, preserves_flags),
                        );
                    },
                )*
            }
            value
        }

        /// The BTF id of the structure that a member is in; 0 where addresses cannot be given a type. As [`layout`].
        #[inline(always)]
        fn type_of(member: Member) -> u32 {
            let value: u64;
            match member {
                $(
                    // SAFETY: puts a number into a register.
                    Member::$member => unsafe {
                        asm!(
                            "{0} = {1}",
                            out(reg) value,
                            const PLACE_OF_TYPE | Member::$member as u32,
                            options(pure, nomem, nostack, preserves_flags),
                        );
                    },
                )*
            }
            value as u32
        }
    };
}

for_members!(immediates);

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

/// Whether this kernel has the member.
#[inline(always)]
pub(crate) fn has(member: Member) -> bool {
    // Instructions hold signed numbers of 32 bits.
    layout(member) != ABSENT as i32 as u64
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

    /// Loads a member of a typed object, in one instruction where the loader can fill its offset in.
    ///
    /// # Safety
    /// The member is of this type, or several of them in a row.
    #[inline(always)]
    unsafe fn of(object: *const u8, member: Member) -> Self {
        // SAFETY: as the caller says.
        unsafe { Self::at(object.wrapping_add(layout(member) as usize)) }
    }
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

// Loads of bytes have odd offsets by nature.
numbers!(u8);

macro_rules! sized {
    ($(($size:literal: $($number:ty)*))*) => {$($(
        impl Plain for $number {
            const LOADS: bool = true;

            #[inline(always)]
            unsafe fn at(place: *const u8) -> Self {
                // SAFETY: as the caller says.
                unsafe { plainly(place) }
            }

            #[inline(always)]
            unsafe fn of(object: *const u8, member: Member) -> Self {
                let value: u64;
                macro_rules! load {
                    ($known:ident) => {
                        // SAFETY: one load; as the caller says.
                        unsafe {
                            asm!(
                                concat!("{0} = *(", $size, " *)({1} + {2})"),
                                out(reg) value,
                                in(reg) object,
                                const PLACE_IN_LOAD + 2 * Member::$known as i16,
                                options(pure, readonly, nostack, preserves_flags),
                            );
                        }
                    };
                }
                match_member!(member, load);
                value as Self
            }
        }
    )*)*};
}

sized!(("u16": u16) ("u32": u32 i32) ("u64": u64 i64));

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

/// A kernel address that was given a type.
#[derive(Clone, Copy)]
pub(crate) struct Cast(*const u8);

impl Cast {
    /// Follows a pointer member.
    #[inline(always)]
    pub(crate) fn follow(self, member: Member) -> Raw {
        // SAFETY: the verifier has checked that the structure has this member; what cannot be read is zero.
        Raw(unsafe { u64::of(self.0, member) })
    }

    /// Reads a word, by index.
    #[inline(always)]
    pub(crate) fn word(self, index: u64) -> u64 {
        // SAFETY: as above.
        unsafe { u64::at(self.0.wrapping_add(index as usize * 8)) }
    }
}

impl Typed {
    /// Reads a member.
    #[inline(always)]
    pub(crate) fn load<T: Plain>(self, member: Member) -> T {
        if layout(Member::TypedTask) == 1 {
            // SAFETY: as in `load_at`.
            unsafe { T::of(self.0, member) }
        } else {
            Raw(self.0 as u64).load_at(layout(member))
        }
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
        Self(self.load::<u64>(member) as *const u8)
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
            return unsafe { T::of(cast(self.0, structure), member) };
        }
        self.load_at(layout(member))
    }

    /// The address as a pointer to the structure that a member is in, where addresses can be given a type.
    #[inline(always)]
    pub(crate) fn typed(self, member: Member) -> Option<Typed> {
        let structure = type_of(member);
        (structure != 0).then(|| Typed(cast(self.0, structure)))
    }

    /// The address as such a pointer, where [`casts`] says that this can be.
    #[inline(always)]
    pub(crate) fn cast(self, member: Member) -> Cast {
        Cast(cast(self.0, type_of(member)))
    }

    /// Reads the pointer that lies here.
    #[inline(always)]
    pub(crate) fn pointer(self) -> Self {
        Self(self.load(Member::AnyPointer))
    }

    /// Reads at a byte offset.
    #[inline(always)]
    pub(crate) fn load_at<T: Plain>(self, offset: u64) -> T {
        let mut value = MaybeUninit::<T>::uninit();
        let source = self.0.wrapping_add(offset) as *const _;
        // SAFETY: the destination is a local of this size; the helper checks the source.
        unsafe { bpf_probe_read_kernel(value.as_mut_ptr().cast(), size_of::<T>() as u32, source) };
        // SAFETY: the helper writes all of it, zeros where it cannot read, and every bit pattern of a `Plain` type is a value.
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
    let mut value = MaybeUninit::<T>::uninit();
    // SAFETY: the destination is a local of this size; the helper checks the source.
    unsafe { bpf_probe_read_user(value.as_mut_ptr().cast(), size_of::<T>() as u32, address as *const _) };
    // SAFETY: the helper writes all of it, zeros where it cannot read, and every bit pattern of a `Plain` type is a value.
    unsafe { value.assume_init() }
}
