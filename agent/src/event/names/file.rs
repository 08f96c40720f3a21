//! Open flags, modes and other file bits.

use super::BitNames;

/// Falco's read bit; both it and [`OPEN_WRITE`] are set for read-write.
pub const OPEN_READ: u32 = 1;
/// Falco's write bit.
pub const OPEN_WRITE: u32 = 1 << 1;
/// Falco's `O_CREAT` bit.
pub const OPEN_CREAT: u32 = 1 << 2;
/// Falco's `O_TMPFILE` bit.
pub const OPEN_TMPFILE: u32 = 1 << 13;

const APPEND: u32 = 1 << 3;
const DSYNC: u32 = 1 << 4;
const EXCL: u32 = 1 << 5;
const NONBLOCK: u32 = 1 << 6;
const SYNC: u32 = 1 << 7;
const TRUNC: u32 = 1 << 8;
const DIRECT: u32 = 1 << 9;
const DIRECTORY: u32 = 1 << 10;
const LARGEFILE: u32 = 1 << 11;
const CLOEXEC: u32 = 1 << 12;
/// Falco's bit for a file that the call made.
pub const OPEN_CREATED: u32 = 1 << 14;

/// Open flags in Falco's numbers, in the order it shows them.
pub static OPEN_FLAGS: &BitNames = &[
    ("O_LARGEFILE", LARGEFILE),
    ("O_DIRECTORY", DIRECTORY),
    ("O_DIRECT", DIRECT),
    ("O_TRUNC", TRUNC),
    ("O_SYNC", SYNC),
    ("O_NONBLOCK", NONBLOCK),
    ("O_EXCL", EXCL),
    ("O_DSYNC", DSYNC),
    ("O_APPEND", APPEND),
    ("O_CREAT", OPEN_CREAT),
    ("O_RDWR", OPEN_READ | OPEN_WRITE),
    ("O_WRONLY", OPEN_WRITE),
    ("O_RDONLY", OPEN_READ),
    ("O_CLOEXEC", CLOEXEC),
    ("O_TMPFILE", OPEN_TMPFILE),
    ("O_F_CREATED", OPEN_CREATED),
];

/// Properties of an executable, in Falco's numbers.
pub static EXEC_FLAGS: &BitNames =
    &[("EXE_WRITABLE", 1), ("EXE_UPPER_LAYER", 2), ("EXE_FROM_MEMFD", 4), ("EXE_LOWER_LAYER", 8)];

/// Flags of `linkat`, in the kernel's numbers.
pub static LINKAT_FLAGS: &BitNames = &[("AT_SYMLINK_FOLLOW", 0x400), ("AT_EMPTY_PATH", 0x1000)];

/// Flags of `unlinkat`, in the kernel's numbers.
pub static UNLINKAT_FLAGS: &BitNames = &[("AT_REMOVEDIR", 0x200)];

/// Path resolution flags of `openat2`, in Falco's numbers.
pub static RESOLVE_FLAGS: &BitNames = &[
    ("RESOLVE_BENEATH", 1),
    ("RESOLVE_IN_ROOT", 2),
    ("RESOLVE_NO_MAGICLINKS", 4),
    ("RESOLVE_NO_SYMLINKS", 8),
    ("RESOLVE_NO_XDEV", 16),
    ("RESOLVE_CACHED", 32),
];

/// The kernel's open flags in Falco's numbers.
pub fn open_flags(native: u32) -> u32 {
    let mut flags = match native & libc::O_ACCMODE as u32 {
        0 => OPEN_READ,
        1 => OPEN_WRITE,
        2 => OPEN_READ | OPEN_WRITE,
        // Mode 3 allows neither; the kernel uses it for `ioctl`-only descriptors.
        _ => 0,
    };
    let has = |bits: i32| native & bits as u32 == bits as u32;
    for (bits, falco) in [
        (libc::O_CREAT, OPEN_CREAT),
        (libc::O_TMPFILE, OPEN_TMPFILE),
        (libc::O_APPEND, APPEND),
        (libc::O_DSYNC, DSYNC),
        (libc::O_EXCL, EXCL),
        (libc::O_NONBLOCK, NONBLOCK),
        (libc::O_SYNC, SYNC),
        (libc::O_TRUNC, TRUNC),
        (libc::O_DIRECT, DIRECT),
        (libc::O_DIRECTORY, DIRECTORY),
        (LARGEFILE_NATIVE, LARGEFILE),
        (libc::O_CLOEXEC, CLOEXEC),
    ] {
        if has(bits) {
            flags |= falco;
        }
    }
    flags
}

/// `O_LARGEFILE` of the kernel; the C library defines it away on 64-bit machines.
#[cfg(target_arch = "aarch64")]
const LARGEFILE_NATIVE: i32 = 0o400_000;
#[cfg(not(target_arch = "aarch64"))]
const LARGEFILE_NATIVE: i32 = 0o100_000;

/// The kernel's `openat2` resolution flags in Falco's numbers.
pub fn resolve_flags(native: u64) -> u32 {
    let bit = |kernel: u64, falco: u32| if native & kernel == kernel { falco } else { 0 };
    bit(0x08, 1) | bit(0x10, 2) | bit(0x02, 4) | bit(0x04, 8) | bit(0x01, 16) | bit(0x20, 32)
}
