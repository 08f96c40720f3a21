//! Calls that arm64 has no number for, while its 32-bit programs make them: they get numbers of the agent's own, which lie
//! where the kernel has none. The kernel programs leave 64-bit calls with such a number alone.

use rampart_common::abi::{COMPAT_ONLY_FROM, SHARED_FROM};

/// Names as in the C library; the place is the number.
const NAMES: [&str; 16] = [
    "SYS_open",
    "SYS_creat",
    "SYS_link",
    "SYS_unlink",
    "SYS_mknod",
    "SYS_chmod",
    "SYS_chown",
    "SYS_lchown",
    "SYS_access",
    "SYS_rename",
    "SYS_mkdir",
    "SYS_rmdir",
    "SYS_symlink",
    "SYS_dup2",
    "SYS_fork",
    "SYS_vfork",
];

const _: () = assert!(COMPAT_ONLY_FROM + (NAMES.len() as u32) < SHARED_FROM);

/// The number of a call by its name; `None` for calls that 32-bit programs are not followed for either.
pub const fn number(name: &str) -> Option<u32> {
    let (mut left, mut number): (&[&str], _) = (&NAMES, COMPAT_ONLY_FROM);
    while let [first, rest @ ..] = left {
        if same(first.as_bytes(), name.as_bytes()) {
            return Some(number);
        }
        left = rest;
        number += 1;
    }
    None
}

/// Texts cannot be compared while compiling.
const fn same(mut one: &[u8], mut other: &[u8]) -> bool {
    while let ([first, rest @ ..], [byte, others @ ..]) = (one, other) {
        if *first != *byte {
            return false;
        }
        (one, other) = (rest, others);
    }
    one.is_empty() && other.is_empty()
}
