//! The only reads of kernel and user memory.
//!
//! Two kinds of kernel pointer: [`Typed`] ones, whose type the verifier knows (the current task, tracepoint
//! arguments, and what is loaded from their members), are read by plain loads; [`Raw`] ones by
//! `bpf_probe_read_kernel`. Both give zero where the memory cannot be read, so a race with a dying task or a
//! layout surprise yields an empty fact, never a fault.

use core::mem::MaybeUninit;

use aya_ebpf::helpers::generated::{
    bpf_get_current_task, bpf_get_current_task_btf, bpf_probe_read_kernel, bpf_probe_read_user,
};
use rampart_common::member::{ABSENT, MEMBER_COUNT, Member};

/// Offsets of this kernel, frozen by the loader before verification; all absent until then.
#[unsafe(no_mangle)]
static LAYOUT: [u32; MEMBER_COUNT] = [ABSENT; MEMBER_COUNT];

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

/// Integers that may be read from foreign memory: every bit pattern is a value.
pub(crate) trait Plain: Copy + Default {}
impl Plain for u8 {}
impl Plain for u16 {}
impl Plain for u32 {}
impl Plain for i32 {}
impl Plain for u64 {}
impl Plain for i64 {}
impl<const N: usize> Plain for [u8; N] where [u8; N]: Default {}
impl Plain for [u64; 2] {}
impl Plain for [u64; 3] {}

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
            unsafe { address.cast::<T>().read_volatile() }
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
        self.load_at(layout(member))
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
