//! Calls on files, directories, mounts and descriptors.

use rampart_common::event::{EXTRA_OPEN_HOW, Family, SLOT_CWD, SLOT_NO_BASE, SLOT_RETURN, SyscallPlan};
use rampart_rules::catalog::event_ids as ev;

use super::{
    Row,
    Source::{
        Arg, Bits, Data, Dev, Device, FilePath, HowFlags, HowMode, HowResolve, Ino, Missing, Mode, Moved,
        Named, OpenFlags, Path, Path2, Ret, Text, Verbatim,
    },
    every, legacy,
    plan::{FD, LINK_TEXT, NEW_FD, NONE, PATH, PATH_AT, PATHS, PATHS_AT, READ, VECTOR, WRITE, text},
    row,
};
use crate::event::names::{
    ACCESS_FLAGS, AT_FLAGS, CLOSE_RANGE_FLAGS, FLOCK_FLAGS, LINKAT_FLAGS, MOUNT_FLAGS, RENAME_FLAGS,
    SPLICE_FLAGS, UMOUNT_FLAGS, UNLINKAT_FLAGS, fcntl_command, fsconfig_command, seek_origin,
};

pub(super) static ROWS: &[Row] = &[
    row(
        ev::OPEN,
        legacy!(SYS_open),
        Family::Open,
        SyscallPlan { fd: SLOT_RETURN, ..PATH },
        &[Ret, Path, OpenFlags(1), Mode(2), Dev, Ino],
    ),
    row(
        ev::OPENAT,
        every!(SYS_openat),
        Family::Open,
        SyscallPlan { fd: SLOT_RETURN, ..PATH_AT },
        &[Ret, Arg(0), Path, OpenFlags(2), Mode(3), Dev, Ino],
    ),
    row(
        ev::OPENAT2,
        every!(SYS_openat2),
        Family::Open,
        SyscallPlan { fd: SLOT_RETURN, extra: 3, extra_kind: EXTRA_OPEN_HOW, ..PATH_AT },
        &[Ret, Arg(0), Path, HowFlags, HowMode, HowResolve, Dev, Ino],
    ),
    row(
        ev::CREAT,
        legacy!(SYS_creat),
        Family::Open,
        SyscallPlan { fd: SLOT_RETURN, ..PATH },
        &[Ret, Path, Mode(1), Dev, Ino, Missing],
    ),
    row(
        ev::OPEN_BY_HANDLE_AT,
        every!(SYS_open_by_handle_at),
        Family::Open,
        NEW_FD,
        &[Ret, Arg(0), OpenFlags(2), FilePath, Dev, Ino],
    ),
    row(ev::LINK, legacy!(SYS_link), Family::Path, PATHS, &[Ret, Path, Path2]),
    row(
        ev::LINKAT,
        every!(SYS_linkat),
        Family::Path,
        PATHS_AT,
        &[Ret, Arg(0), Path, Arg(2), Path2, Bits(4, LINKAT_FLAGS)],
    ),
    row(ev::SYMLINK, legacy!(SYS_symlink), Family::Path, LINK_TEXT, &[Ret, Verbatim, Path2]),
    row(
        ev::SYMLINKAT,
        every!(SYS_symlinkat),
        Family::Path,
        SyscallPlan { path2: 3, dir2: 2, ..LINK_TEXT },
        &[Ret, Verbatim, Arg(1), Path2],
    ),
    row(ev::RENAME, legacy!(SYS_rename), Family::Path, PATHS, &[Ret, Path, Path2]),
    row(ev::RENAMEAT, every!(SYS_renameat), Family::Path, PATHS_AT, &[Ret, Arg(0), Path, Arg(2), Path2]),
    row(
        ev::RENAMEAT2,
        every!(SYS_renameat2),
        Family::Path,
        PATHS_AT,
        &[Ret, Arg(0), Path, Arg(2), Path2, Bits(4, RENAME_FLAGS)],
    ),
    row(ev::UNLINK, legacy!(SYS_unlink), Family::Path, PATH, &[Ret, Path]),
    row(
        ev::UNLINKAT,
        every!(SYS_unlinkat),
        Family::Path,
        PATH_AT,
        &[Ret, Arg(0), Path, Bits(2, UNLINKAT_FLAGS)],
    ),
    row(ev::MKDIR, legacy!(SYS_mkdir), Family::Path, PATH, &[Ret, Path, Arg(1)]),
    row(ev::MKDIRAT, every!(SYS_mkdirat), Family::Path, PATH_AT, &[Ret, Arg(0), Path, Arg(2)]),
    row(ev::RMDIR, legacy!(SYS_rmdir), Family::Path, PATH, &[Ret, Path]),
    row(ev::MKNOD, legacy!(SYS_mknod), Family::Path, PATH, &[Ret, Path, Mode(1), Device(2)]),
    row(ev::MKNODAT, every!(SYS_mknodat), Family::Path, PATH_AT, &[Ret, Arg(0), Path, Mode(2), Device(3)]),
    row(ev::CHMOD, legacy!(SYS_chmod), Family::Path, PATH, &[Ret, Path, Mode(1)]),
    row(ev::FCHMODAT, every!(SYS_fchmodat), Family::Path, PATH_AT, &[Ret, Arg(0), Path, Mode(2)]),
    row(ev::FCHMOD, every!(SYS_fchmod), Family::Fd, FD, &[Ret, Arg(0), Mode(1)]),
    row(ev::CHOWN, legacy!(SYS_chown), Family::Path, PATH, &[Ret, Path, Arg(1), Arg(2)]),
    row(ev::LCHOWN, legacy!(SYS_lchown), Family::Path, PATH, &[Ret, Path, Arg(1), Arg(2)]),
    row(ev::FCHOWN, every!(SYS_fchown), Family::Fd, FD, &[Ret, Arg(0), Arg(1), Arg(2)]),
    row(
        ev::FCHOWNAT,
        every!(SYS_fchownat),
        Family::Path,
        PATH_AT,
        &[Ret, Arg(0), Path, Arg(2), Arg(3), Bits(4, AT_FLAGS)],
    ),
    row(ev::ACCESS, legacy!(SYS_access), Family::Path, PATH, &[Ret, Path, Bits(1, ACCESS_FLAGS)]),
    row(ev::STAT, legacy!(SYS_stat), Family::Path, PATH, &[Ret, Path]),
    row(ev::LSTAT, legacy!(SYS_lstat), Family::Path, PATH, &[Ret, Path]),
    row(ev::FSTAT, every!(SYS_fstat), Family::Fd, FD, &[Ret, Arg(0)]),
    // 32-bit programs' calls with structures of their own.
    row(ev::STAT64, None, Family::Path, PATH, &[Ret, Path]),
    row(ev::LSTAT64, None, Family::Path, PATH, &[Ret, Path]),
    row(ev::FSTAT64, None, Family::Fd, FD, &[Ret]),
    row(
        ev::NEWFSTATAT,
        every!(SYS_newfstatat),
        Family::Path,
        PATH_AT,
        &[Ret, Arg(0), Path, Bits(3, AT_FLAGS)],
    ),
    row(ev::CHDIR, every!(SYS_chdir), Family::Path, SyscallPlan { fd: SLOT_CWD, ..PATH }, &[Ret, Path])
        .always(),
    row(ev::FCHDIR, every!(SYS_fchdir), Family::Fd, SyscallPlan { fd: SLOT_CWD, ..NONE }, &[Ret, Arg(0)])
        .always(),
    row(ev::GETCWD, every!(SYS_getcwd), Family::Scalar, text(1), &[Ret, Text]),
    row(ev::CHROOT, every!(SYS_chroot), Family::Path, PATH, &[Ret, Path]).always(),
    row(
        ev::MOUNT,
        every!(SYS_mount),
        Family::Path,
        SyscallPlan { path: 1, dir: SLOT_NO_BASE, path2: 2, ..text(3) },
        &[Ret, Verbatim, Path2, Text, Bits(3, MOUNT_FLAGS)],
    ),
    // 32-bit programs only.
    row(ev::UMOUNT, None, Family::Path, PATH, &[Ret, Path]),
    row(ev::UMOUNT2, every!(SYS_umount2), Family::Path, PATH, &[Ret, Path, Bits(1, UMOUNT_FLAGS)]),
    row(
        ev::FSCONFIG,
        every!(SYS_fsconfig),
        Family::Fd,
        SyscallPlan { fd: 1, ..text(3) },
        &[Ret, Arg(0), Named(1, fsconfig_command), Text, Missing, Missing, Arg(4)],
    ),
    row(
        ev::QUOTACTL,
        every!(SYS_quotactl),
        Family::Scalar,
        text(2),
        &[
            Ret,
            Text,
            Missing,
            Missing,
            Missing,
            Missing,
            Missing,
            Missing,
            Missing,
            Missing,
            Missing,
            Missing,
            Missing,
            Missing,
            Arg(0),
            Missing,
            Arg(2),
            Missing,
        ],
    ),
    row(ev::DUP, every!(SYS_dup), Family::Fd, FD, &[Ret, Arg(0)]),
    row(ev::DUP2, legacy!(SYS_dup2), Family::Fd, FD, &[Ret, Arg(0), Arg(1)]),
    row(ev::DUP3, every!(SYS_dup3), Family::Fd, FD, &[Ret, Arg(0), Arg(1), OpenFlags(2)]),
    row(ev::FCNTL, every!(SYS_fcntl), Family::Fd, FD, &[Ret, Arg(0), Named(1, fcntl_command), Arg(2)])
        .when_named(),
    row(ev::IOCTL, every!(SYS_ioctl), Family::Fd, FD, &[Ret, Arg(0), Arg(1), Arg(2)]).when_named(),
    row(ev::FLOCK, every!(SYS_flock), Family::Fd, FD, &[Ret, Arg(0), Bits(1, FLOCK_FLAGS)]),
    row(ev::LSEEK, every!(SYS_lseek), Family::Fd, FD, &[Ret, Arg(0), Arg(1), Named(2, seek_origin)])
        .when_named(),
    // 32-bit programs only.
    row(ev::LLSEEK, None, Family::Fd, FD, &[Ret, Arg(0), Missing, Named(4, seek_origin)]),
    row(ev::GETDENTS, legacy!(SYS_getdents), Family::Fd, FD, &[Ret, Arg(0)]),
    row(ev::GETDENTS64, every!(SYS_getdents64), Family::Fd, FD, &[Ret, Arg(0)]).when_named(),
    // The descriptor is gone by the time the call is seen.
    row(ev::CLOSE, every!(SYS_close), Family::Scalar, NONE, &[Ret, Arg(0)]).when_named(),
    row(
        ev::CLOSE_RANGE,
        every!(SYS_close_range),
        Family::Scalar,
        NONE,
        &[Ret, Arg(0), Arg(1), Bits(2, CLOSE_RANGE_FLAGS)],
    ),
    row(ev::READ, every!(SYS_read), Family::Fd, READ, &[Ret, Data, Arg(0), Arg(2)]).when_named(),
    row(ev::WRITE, every!(SYS_write), Family::Fd, WRITE, &[Ret, Data, Arg(0), Arg(2)]).when_named(),
    row(ev::PREAD, every!(SYS_pread64), Family::Fd, READ, &[Ret, Data, Arg(0), Arg(2), Arg(3)]).when_named(),
    row(ev::PWRITE, every!(SYS_pwrite64), Family::Fd, WRITE, &[Ret, Data, Arg(0), Arg(2), Arg(3)])
        .when_named(),
    row(ev::READV, every!(SYS_readv), Family::Fd, VECTOR, &[Ret, Moved, Data, Arg(0)]).when_named(),
    row(ev::WRITEV, every!(SYS_writev), Family::Fd, VECTOR, &[Ret, Data, Arg(0), Moved]).when_named(),
    row(ev::PREADV, every!(SYS_preadv), Family::Fd, VECTOR, &[Ret, Moved, Data, Arg(0), Arg(3)]).when_named(),
    row(ev::PWRITEV, every!(SYS_pwritev), Family::Fd, VECTOR, &[Ret, Data, Arg(0), Moved, Arg(3)])
        .when_named(),
    row(ev::SENDFILE, every!(SYS_sendfile), Family::Fd, FD, &[Ret, Missing, Arg(0), Arg(1), Arg(3)])
        .when_named(),
    row(
        ev::SPLICE,
        every!(SYS_splice),
        Family::Fd,
        FD,
        &[Ret, Arg(0), Arg(2), Arg(4), Bits(5, SPLICE_FLAGS)],
    )
    .when_named(),
    row(
        ev::COPY_FILE_RANGE,
        every!(SYS_copy_file_range),
        Family::Fd,
        FD,
        &[Ret, Arg(2), Missing, Arg(0), Missing, Arg(4)],
    )
    .when_named(),
];

/// Newer forms of calls above, which show as the event of the older one.
pub(super) static NEWER_ROWS: &[Row] = &[
    // `fchmodat2`, since 6.6. As an event of its own it would slip past every rule written before it.
    row(ev::FCHMODAT, Some(452), Family::Path, PATH_AT, &[Ret, Arg(0), Path, Mode(2)]),
];
