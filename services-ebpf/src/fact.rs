//! What is known of this loading, of the kernel, and of the moment.

use core::mem::MaybeUninit;

use aya_ebpf::helpers::generated::{bpf_get_current_task, bpf_ktime_get_boot_ns, bpf_probe_read_kernel};
use rampart_common::service::abi::{Control, FACTS, Fact};

use crate::maps::{S_CONTROL, S_GENERATION};

/// Which loading this is; frozen by the loader before verification.
#[unsafe(no_mangle)]
static INSTANCE: u64 = 0;

/// Offsets of this kernel; frozen likewise.
#[unsafe(no_mangle)]
static FACTS_OF_KERNEL: [u32; FACTS] = [0; FACTS];

/// `PF_KTHREAD`.
const KERNEL_THREAD: u32 = 0x0020_0000;

/// What the agent wrote, when this loading is in charge.
#[inline(always)]
pub(crate) fn in_charge() -> Option<&'static Control> {
    let control = S_CONTROL.get(0)?;
    // SAFETY: a static of this crate; volatile, or the compiler would fold the initial value in.
    let own = unsafe { (&raw const INSTANCE).read_volatile() };
    // SAFETY: a map value, read whole and only here.
    let now = unsafe { (&raw const control.instance).read_volatile() };
    (now == own).then_some(control)
}

/// Parity of the generation in force.
#[inline(always)]
pub(crate) fn slot() -> Option<u32> {
    let generation = S_GENERATION.get(0)?;
    // SAFETY: a map value, read whole and only here.
    match unsafe { core::ptr::from_ref(generation).read_volatile() } {
        0 => None,
        generation => Some(generation & 1),
    }
}

/// The boot clock.
#[inline(always)]
pub(crate) fn now() -> u64 {
    // SAFETY: the helper has no conditions.
    unsafe { bpf_ktime_get_boot_ns() }
}

/// Whether the kernel itself runs this, for a file system of the network for example.
#[inline(always)]
pub(crate) fn is_kernel_thread() -> bool {
    // SAFETY: the helper has no conditions.
    let task = unsafe { bpf_get_current_task() };
    read::<u32>(task, Fact::TaskFlags) & KERNEL_THREAD != 0
}

/// A member of a kernel structure; zero where it cannot be read.
#[inline(always)]
pub(crate) fn read<T: Copy + Default>(structure: u64, fact: Fact) -> T {
    let entry = FACTS_OF_KERNEL.as_ptr().wrapping_add(fact as usize);
    // SAFETY: `fact` is an index of the table by construction of the enum; volatile as above.
    let offset = u64::from(unsafe { entry.read_volatile() });
    let mut value = MaybeUninit::<T>::uninit();
    let from = structure.wrapping_add(offset) as *const core::ffi::c_void;
    // SAFETY: the helper writes the whole value or fails.
    let failed =
        unsafe { bpf_probe_read_kernel(value.as_mut_ptr().cast(), size_of::<T>() as u32, from.cast()) };
    if failed != 0 {
        return T::default();
    }
    // SAFETY: written by the helper; numbers are what is read.
    unsafe { value.assume_init() }
}
