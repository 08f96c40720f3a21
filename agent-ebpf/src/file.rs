//! Files behind descriptors.

use rampart_common::{
    event::{AttrTag, FILE_CREATED, FILE_LOWER_LAYER, FILE_MEMFD, FILE_UPPER_LAYER, FileFacts},
    member::Member as M,
};

use crate::{
    path::{self, Path},
    read::{Raw, Typed, has, layout},
    record::{Copied, Record},
    sock,
};

/// Magic number of overlayfs (`OVERLAYFS_SUPER_MAGIC`).
const OVERLAY_MAGIC: u32 = 0x794c_7630;
/// Magic number of tmpfs (`TMPFS_MAGIC`), which carries memfds.
const TMPFS_MAGIC: u32 = 0x0102_1994;
/// File type bits of a mode (`S_IFMT`).
pub(crate) const S_IFMT: u32 = 0o170_000;
/// Type of a socket (`S_IFSOCK`).
pub(crate) const S_IFSOCK: u32 = 0o140_000;
/// Bit of `file.f_mode` for a file that this open made (`FMODE_CREATED`, since 4.19).
const FMODE_CREATED: u32 = 0x10_0000;
/// First bytes of a memfd's name, as the kernel makes it.
const MEMFD_PREFIX: u64 = u64::from_ne_bytes(*b"memfd:\0\0");

/// The `struct file` of a descriptor of the task; null when there is none.
#[inline(always)]
pub(crate) fn of(task: Typed, fd: i64) -> Raw {
    let table = task.follow(M::TaskFiles).follow(M::FilesFdt);
    let max: u32 = table.load(M::FdtableMaxFds);
    if fd < 0 || fd >= i64::from(max) {
        return Raw(0);
    }
    let slots: u64 = table.load(M::FdtableFd);
    Raw(slots).plus(fd as u64 * 8).pointer()
}

/// The `struct path` of an open file.
#[inline(always)]
pub(crate) fn path(file: Raw) -> Path {
    Path::read(file.plus(layout(M::FilePath)))
}

/// Writes what a descriptor refers to: socket facts, or path and file facts. Says whether it is a socket.
#[inline(always)]
pub(crate) fn put(record: Record, file: Raw) -> bool {
    if file.is_null() {
        return false;
    }
    let mode = u32::from(file.follow(M::FileInode).load::<u16>(M::InodeMode));
    if mode & S_IFMT == S_IFSOCK {
        return sock::put(record, file);
    }
    put_facts(record, file);
    put_path(record, file);
    false
}

/// Writes the path of an open file, from the root of the mount namespace, not of the process: a process that made
/// some directory its root shall not thereby rename what it opens.
#[inline(always)]
pub(crate) fn put_path(record: Record, file: Raw) {
    let _ = path::put(record, AttrTag::RealPath, path(file), Path::NOWHERE);
}

/// Writes the facts of an open file.
#[inline(always)]
pub(crate) fn put_facts(record: Record, file: Raw) {
    let at = file.follow(M::FileInode);
    let inode = record.copy(at);
    let sb = Raw(inode.load(M::InodeSb));
    let fs_magic = sb.load::<u64>(M::SbMagic) as u32;
    let mut flags = 0;
    if fs_magic == OVERLAY_MAGIC {
        // overlayfs keeps its inode around the generic one, with the upper dentry right behind it.
        let upper: u64 = at.load_at(layout(M::InodeSize));
        flags |= if upper == 0 { FILE_LOWER_LAYER } else { FILE_UPPER_LAYER };
    }
    if fs_magic == TMPFS_MAGIC && is_memfd(file) {
        flags |= FILE_MEMFD;
    }
    if file.load::<u32>(M::FileMode) & FMODE_CREATED != 0 {
        flags |= FILE_CREATED;
    }
    let facts = FileFacts {
        ino: inode.load(M::InodeIno),
        ctime_ns: time(inode, M::InodeCtimeSec, M::InodeCtimeNsec),
        mtime_ns: time(inode, M::InodeMtimeSec, M::InodeMtimeNsec),
        dev: sb.load(M::SbDev),
        mode: u32::from(inode.load::<u16>(M::InodeMode)),
        uid: inode.load(M::InodeUid),
        gid: inode.load(M::InodeGid),
        nlink: inode.load(M::InodeNlink),
        flags,
        open_flags: file.load(M::FileFlags),
        fs_magic,
    };
    record.put(AttrTag::File, facts);
}

/// A memfd's dentry hangs in no directory and carries the kernel's prefix.
#[inline(always)]
fn is_memfd(file: Raw) -> bool {
    let dentry = path(file).dentry;
    let name: u64 = dentry.follow(M::DentryName).load_at(0);
    let prefix = u64::from_ne_bytes(*b"\xff\xff\xff\xff\xff\xff\0\0");
    dentry.follow(M::DentryParent) == dentry && name & prefix == MEMFD_PREFIX
}

#[inline(always)]
fn time(inode: Copied, seconds: M, nanoseconds: M) -> u64 {
    if !has(seconds) || !has(nanoseconds) {
        return 0;
    }
    let whole: u64 = inode.load(seconds);
    whole.wrapping_mul(1_000_000_000).wrapping_add(u64::from(inode.load::<u32>(nanoseconds)))
}
