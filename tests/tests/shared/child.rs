//! Things that only a process of its own can do: it changes its root, its directory or its user.

/// Runs a closure in a child process that shares nothing which it may change, and returns its id; the closure must not
/// allocate locks.
pub(crate) fn in_child(act: impl FnOnce() -> nix::Result<()>) -> u32 {
    // SAFETY: the child runs the closure and ends without unwinding or running the parent's destructors.
    match unsafe { libc::fork() } {
        0 => {
            let code = i32::from(act().is_err());
            // SAFETY: ends the child at once.
            unsafe { libc::_exit(code) }
        }
        child => {
            let mut status = 0;
            // SAFETY: waits for the child made above.
            unsafe { libc::waitpid(child, &raw mut status, 0) };
            assert_eq!(status, 0, "the attempt itself failed");
            u32::try_from(child).expect("process ids are small")
        }
    }
}
