//! Real paths for calls on path names that give no descriptor (`unlink`, `rename`, `chmod`, …).
//!
//! The kernel side sends such a path as the program wrote it. Where its directory really lies is asked of the file
//! system when the record arrives: a moment after the call, so whoever changes a link in between is seen at the new
//! place. Nothing is opened for reading, and no look-up waits for a file server: it goes through the kernel's cache of
//! names only, or else stays on the file system of the process's root, if that is a local one.

use std::{
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::ffi::OsStringExt,
    },
    path::{Path, PathBuf},
};

use nix::{
    errno::Errno,
    fcntl::{OFlag, OpenHow, ResolveFlag, open, openat2, readlink},
    sys::{
        stat::Mode,
        statfs::{self, FsType, fstatfs},
    },
};
use rampart_common::event::{AttrTag, RecordHeader};

use super::{process::Process, procfs::namespace};
use crate::event::{Event, lexical};

/// Directories given up one by one when the deeper ones are gone already.
const GONE_MAX: usize = 16;
/// Local file systems that nobody without privileges can mount, or that wait for nobody.
const LOCAL: [FsType; 4] =
    [statfs::EXT4_SUPER_MAGIC, statfs::XFS_SUPER_MAGIC, statfs::BTRFS_SUPER_MAGIC, statfs::TMPFS_MAGIC];
/// The first user namespace has a fixed number (`PROC_USER_INIT_INO`).
const FIRST_USER_NS: u32 = 0xefff_fffd;

/// A path to find, as its process sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    /// Absolute, from the root of the process; links, `.` and `..` as they were given.
    path: Vec<u8>,
    /// Whether a link in the last place was followed.
    follow: bool,
    /// The mount namespace of the process.
    mnt_ns: u32,
}

/// How a path argument can be known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// From the record alone.
    Known(Vec<u8>),
    /// By a look into the file system.
    Asked(Wanted),
}

/// What the record tells of a path argument; `None` when it does not tell where it starts from.
pub(super) fn place(
    event: &Event<'_>,
    second: bool,
    follow: bool,
    process: Option<&Process>,
) -> Option<Place> {
    let (tag, base_tag) =
        if second { (AttrTag::UserPath2, AttrTag::BaseDir2) } else { (AttrTag::UserPath, AttrTag::BaseDir) };
    let given = event.attr(tag).filter(|attr| attr.flags == 0)?.bytes;
    let header = &event.header;
    let mnt_ns = header.task.mnt_ns;
    if given.first() == Some(&b'/') {
        let path = in_proc(given, header, process).unwrap_or_else(|| given.to_vec());
        return Some(Place::Asked(Wanted { path, follow, mnt_ns }));
    }
    let mut path = Vec::new();
    event.attr(base_tag).filter(|attr| attr.flags == 0)?;
    event.path_into(base_tag, &mut path);
    // The kernel told the directory; one name in it, not followed, leaves nothing to ask.
    let at_root = process.is_some_and(|process| !process.chrooted);
    if at_root && (given.is_empty() || !follow && is_name(given)) {
        let mut out = Vec::new();
        lexical::join_dir(&path, given, None, &mut out);
        return Some(Place::Known(out));
    }
    path.push(b'/');
    path.extend_from_slice(given);
    Some(Place::Asked(Wanted { path, follow, mnt_ns }))
}

fn is_name(text: &[u8]) -> bool {
    !matches!(text, b"" | b"." | b"..") && !text.contains(&b'/')
}

/// A path below `/proc/self/root` or `/proc/self/cwd`, which mean something else to everybody who looks.
fn in_proc(path: &[u8], header: &RecordHeader, process: Option<&Process>) -> Option<Vec<u8>> {
    let rest = path.strip_prefix(b"/proc/")?;
    let slash = memchr::memchr(b'/', rest)?;
    let (who, rest) = (rest.get(..slash)?, rest.get(slash + 1..)?);
    let own = [header.task.vpid, header.task.pid].map(|pid| pid.to_string());
    if who != b"self" && who != b"thread-self" && own.iter().all(|own| own.as_bytes() != who) {
        return None;
    }
    let slash = memchr::memchr(b'/', rest)?;
    let (link, rest) = (rest.get(..slash)?, rest.get(slash..)?);
    match link {
        b"root" => Some(rest.to_vec()),
        b"cwd" => {
            process.filter(|process| !process.cwd.is_empty()).map(|process| [&*process.cwd, rest].concat())
        }
        _ => None,
    }
}

/// Looks where a path leads, from the root of the first of these processes that is still there.
pub(super) fn look(
    proc_root: &Path,
    pids: impl IntoIterator<Item = u32>,
    wanted: &Wanted,
) -> Option<Vec<u8>> {
    let root = pids.into_iter().find_map(|pid| Root::of(proc_root, pid, wanted.mnt_ns))?;
    below(proc_root, &root, wanted)
}

/// The root directory of a process.
struct Root {
    fd: OwnedFd,
    process: PathBuf,
}

impl Root {
    /// The root of a process, if that is in the mount namespace.
    fn of(proc_root: &Path, pid: u32, mnt_ns: u32) -> Option<Self> {
        let process = proc_root.join(pid.to_string());
        let fd = open(&process.join("root"), OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty()).ok()?;
        // Asked last: a process of that number that is another by now is most likely elsewhere too.
        (namespace(&process.join("ns/mnt")) == mnt_ns).then_some(Self { fd, process })
    }

    /// Whether a look-up on its file system waits for no other machine and no other program.
    fn is_local(&self) -> bool {
        let Ok(stat) = fstatfs(&self.fd) else { return false };
        match stat.filesystem_type() {
            // In a user namespace of one's own, an overlay can be laid over anything.
            statfs::OVERLAYFS_SUPER_MAGIC => namespace(&self.process.join("ns/user")) == FIRST_USER_NS,
            kind => LOCAL.contains(&kind),
        }
    }
}

fn below(proc_root: &Path, root: &Root, wanted: &Wanted) -> Option<Vec<u8>> {
    let path = trimmed(&wanted.path);
    let mut end = if wanted.follow { path.len() } else { parent(path)? };
    for _ in 0..GONE_MAX {
        let (start, rest) = path.split_at_checked(end)?;
        match enter(root, if start.is_empty() { b"/" } else { start }) {
            Ok(found) => {
                let mut out = Vec::new();
                lexical::join_dir(&name(proc_root, &found)?, relative(rest), None, &mut out);
                return Some(out);
            }
            // Removed meanwhile. What is gone was a name in what is still there.
            Err(Errno::ENOENT) => end = parent(start)?,
            Err(_) => return None,
        }
    }
    None
}

/// Without final slashes.
fn trimmed(path: &[u8]) -> &[u8] {
    let end = path.iter().rposition(|byte| *byte != b'/').map_or(0, |last| last + 1);
    path.get(..end).unwrap_or(path)
}

/// Where the last name of a path begins, its slash included; `None` when that is no name.
fn parent(path: &[u8]) -> Option<usize> {
    let slash = memchr::memrchr(b'/', path)?;
    is_name(path.get(slash + 1..)?).then(|| trimmed(path.get(..slash).unwrap_or_default()).len())
}

fn relative(rest: &[u8]) -> &[u8] {
    let start = rest.iter().position(|byte| *byte != b'/').unwrap_or(rest.len());
    rest.get(start..).unwrap_or_default()
}

/// Follows a path below a root, without ever waiting for another machine or program.
fn enter(root: &Root, path: &[u8]) -> nix::Result<OwnedFd> {
    let scoped = ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS;
    let how = |resolve| OpenHow::new().flags(OFlag::O_PATH | OFlag::O_CLOEXEC).resolve(resolve);
    let cached = ResolveFlag::from_bits_retain(libc::RESOLVE_CACHED);
    match openat2(&root.fd, path, how(scoped | cached)) {
        // Not all of it is known to the cache, or the kernel is too old to be asked for that.
        Err(Errno::EAGAIN | Errno::EINVAL) if root.is_local() => {
            openat2(&root.fd, path, how(scoped | ResolveFlag::RESOLVE_NO_XDEV))
        }
        found => found,
    }
}

/// The path of a directory or file that was found, from the root of its mount namespace.
fn name(proc_root: &Path, found: &OwnedFd) -> Option<Vec<u8>> {
    let link = proc_root.join(format!("self/fd/{}", found.as_raw_fd()));
    let name = readlink(&link).ok()?.into_vec();
    (name.first() == Some(&b'/') && !name.ends_with(b" (deleted)")).then_some(name)
}

#[cfg(test)]
mod tests;
