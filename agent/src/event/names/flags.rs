//! Flag words of calls on files, mounts, memory and modules, in the kernel's numbers.

use super::BitNames;

/// Flags of `mount`.
pub static MOUNT_FLAGS: &BitNames = &[
    ("RDONLY", 1),
    ("NOSUID", 2),
    ("NODEV", 4),
    ("NOEXEC", 8),
    ("SYNCHRONOUS", 16),
    ("REMOUNT", 32),
    ("MANDLOCK", 64),
    ("DIRSYNC", 128),
    ("NOATIME", 1 << 10),
    ("NODIRATIME", 1 << 11),
    ("BIND", 1 << 12),
    ("MOVE", 1 << 13),
    ("REC", 1 << 14),
    ("SILENT", 1 << 15),
    ("POSIXACL", 1 << 16),
    ("UNBINDABLE", 1 << 17),
    ("PRIVATE", 1 << 18),
    ("SLAVE", 1 << 19),
    ("SHARED", 1 << 20),
    ("RELATIME", 1 << 21),
    ("KERNMOUNT", 1 << 22),
    ("I_VERSION", 1 << 23),
    ("STRICTATIME", 1 << 24),
    ("LAZYTIME", 1 << 25),
];

/// Flags of `umount2`.
pub static UMOUNT_FLAGS: &BitNames = &[("FORCE", 1), ("DETACH", 2), ("EXPIRE", 4), ("NOFOLLOW", 8)];

/// Flags of `fchownat`, `newfstatat` and their kin.
pub static AT_FLAGS: &BitNames =
    &[("AT_SYMLINK_NOFOLLOW", 0x100), ("AT_NO_AUTOMOUNT", 0x800), ("AT_EMPTY_PATH", 0x1000)];

/// Flags of `renameat2`.
pub static RENAME_FLAGS: &BitNames =
    &[("RENAME_NOREPLACE", 1), ("RENAME_EXCHANGE", 2), ("RENAME_WHITEOUT", 4)];

/// Modes of `access`.
pub static ACCESS_FLAGS: &BitNames = &[("R_OK", 4), ("W_OK", 2), ("X_OK", 1)];

/// Flags of `memfd_create`.
pub static MEMFD_FLAGS: &BitNames = &[
    ("MFD_CLOEXEC", 1),
    ("MFD_ALLOW_SEALING", 2),
    ("MFD_HUGETLB", 4),
    ("MFD_NOEXEC_SEAL", 8),
    ("MFD_EXEC", 16),
];

/// Flags of `pidfd_open`.
pub static PIDFD_FLAGS: &BitNames = &[("PIDFD_NONBLOCK", 0o4000)];

/// Flags of `splice`.
pub static SPLICE_FLAGS: &BitNames =
    &[("SPLICE_F_MOVE", 1), ("SPLICE_F_NONBLOCK", 2), ("SPLICE_F_MORE", 4), ("SPLICE_F_GIFT", 8)];

/// Operations of `flock`.
pub static FLOCK_FLAGS: &BitNames = &[("LOCK_SH", 1), ("LOCK_EX", 2), ("LOCK_NB", 4), ("LOCK_UN", 8)];

/// Flags of `close_range`.
pub static CLOSE_RANGE_FLAGS: &BitNames = &[("CLOSE_RANGE_UNSHARE", 2), ("CLOSE_RANGE_CLOEXEC", 4)];

/// Flags of `mlock2`.
pub static MLOCK_FLAGS: &BitNames = &[("MLOCK_ONFAULT", 1)];

/// Flags of `mlockall`.
pub static MLOCKALL_FLAGS: &BitNames = &[("MCL_CURRENT", 1), ("MCL_FUTURE", 2), ("MCL_ONFAULT", 4)];

/// Protection of `mmap` and `mprotect`.
pub static PROT_FLAGS: &BitNames = &[
    ("PROT_READ", 1),
    ("PROT_WRITE", 2),
    ("PROT_EXEC", 4),
    ("PROT_SEM", 8),
    ("PROT_GROWSDOWN", 0x0100_0000),
    ("PROT_GROWSUP", 0x0200_0000),
];

/// Flags of `mmap`.
pub static MMAP_FLAGS: &BitNames = &[
    ("MAP_SHARED", 1),
    ("MAP_PRIVATE", 2),
    ("MAP_FIXED", 0x10),
    ("MAP_ANONYMOUS", 0x20),
    ("MAP_32BIT", 0x40),
    ("MAP_GROWSDOWN", 0x100),
    ("MAP_DENYWRITE", 0x800),
    ("MAP_EXECUTABLE", 0x1000),
    ("MAP_LOCKED", 0x2000),
    ("MAP_NORESERVE", 0x4000),
    ("MAP_POPULATE", 0x8000),
    ("MAP_NONBLOCK", 0x1_0000),
];

/// Flags of `finit_module`.
pub static FINIT_FLAGS: &BitNames = &[
    ("MODULE_INIT_IGNORE_MODVERSIONS", 1),
    ("MODULE_INIT_IGNORE_VERMAGIC", 2),
    ("MODULE_INIT_COMPRESSED_FILE", 4),
];

/// Flags of `delete_module`.
pub static DELETE_MODULE_FLAGS: &BitNames = &[("O_NONBLOCK", 0o4000), ("O_TRUNC", 0o1000)];

/// Flags of `userfaultfd`.
pub static USERFAULTFD_FLAGS: &BitNames =
    &[("O_NONBLOCK", 0o4000), ("O_CLOEXEC", 0o200_0000), ("UFFD_USER_MODE_ONLY", 1)];

/// Flags of `epoll_create1`, `inotify_init1`, `pipe2` and other calls that take open flags.
pub static FD_FLAGS: &BitNames =
    &[("O_NONBLOCK", 0o4000), ("O_CLOEXEC", 0o200_0000), ("O_DIRECT", libc::O_DIRECT as u32)];

/// Flags of `io_uring_setup`.
pub static RING_SETUP_FLAGS: &BitNames = &[
    ("IORING_SETUP_IOPOLL", 1),
    ("IORING_SETUP_SQPOLL", 2),
    ("IORING_SETUP_SQ_AFF", 4),
    ("IORING_SETUP_CQSIZE", 8),
    ("IORING_SETUP_CLAMP", 16),
    ("IORING_SETUP_ATTACH_WQ", 32),
    ("IORING_SETUP_R_DISABLED", 64),
];

/// Features that `io_uring_setup` reports.
pub static RING_FEATURES: &BitNames = &[
    ("IORING_FEAT_SINGLE_MMAP", 1),
    ("IORING_FEAT_NODROP", 2),
    ("IORING_FEAT_SUBMIT_STABLE", 4),
    ("IORING_FEAT_RW_CUR_POS", 8),
    ("IORING_FEAT_CUR_PERSONALITY", 16),
    ("IORING_FEAT_FAST_POLL", 32),
    ("IORING_FEAT_POLL_32BITS", 64),
    ("IORING_FEAT_SQPOLL_NONFIXED", 128),
    ("IORING_FEAT_ENTER_EXT_ARG", 256),
    ("IORING_FEAT_NATIVE_WORKERS", 512),
    ("IORING_FEAT_RSRC_TAGS", 1024),
];

/// Flags of `io_uring_enter`.
pub static RING_ENTER_FLAGS: &BitNames = &[
    ("IORING_ENTER_GETEVENTS", 1),
    ("IORING_ENTER_SQ_WAKEUP", 2),
    ("IORING_ENTER_SQ_WAIT", 4),
    ("IORING_ENTER_EXT_ARG", 8),
];
