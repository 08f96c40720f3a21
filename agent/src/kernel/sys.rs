//! The crate's only unsafe code: calls into the C library that no crate wraps.

#![expect(unsafe_code, reason = "foreign functions; each block says why it is sound")]

/// Gives the memory that loading has used and freed back to the system: the kernel's type information alone takes
/// tens of megabytes while it is parsed.
pub(super) fn return_free_memory() {
    #[cfg(target_env = "gnu")]
    // SAFETY: may be called at any time, from any thread; it only returns pages that hold no allocation.
    unsafe {
        libc::malloc_trim(0);
    }
}
