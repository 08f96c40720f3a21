//! Words of maps that all CPUs update.

use core::intrinsics::{AtomicOrdering, atomic_cxchg, atomic_xadd};

use rampart_common::limit::gcra::Cell;

/// A word of a map that all CPUs share. Compare-exchange needs Linux 5.12.
#[derive(Clone, Copy)]
pub(crate) struct Shared(pub(crate) *mut u64);

impl Cell for Shared {
    #[inline(always)]
    fn load(&self) -> u64 {
        // SAFETY: points into a map value, which is aligned and stays mapped while the program runs.
        unsafe { self.0.read_volatile() }
    }

    #[inline(always)]
    fn exchange(&self, old: u64, new: u64) -> bool {
        // SAFETY: as above.
        let (_, done) = unsafe {
            atomic_cxchg::<u64, { AtomicOrdering::SeqCst }, { AtomicOrdering::SeqCst }>(self.0, old, new)
        };
        done
    }
}

impl Shared {
    /// Adds one.
    #[inline(always)]
    pub(crate) fn count(self) {
        // SAFETY: points into a map value, which is aligned and stays mapped while the program runs.
        unsafe { atomic_xadd::<u64, u64, { AtomicOrdering::Relaxed }>(self.0, 1) };
    }
}
