//! Path names from dentries, as the process would see them.

use rampart_common::{
    event::{ATTR_DISCONNECTED, ATTR_TRUNCATED, AttrTag},
    member::Member as M,
};

use crate::{
    read::{Raw, Typed, layout},
    record::Record,
};

/// Components and mount crossings followed. Deeper paths keep the part nearest to the file and are marked
/// truncated.
const DEPTH: u32 = 64;

/// A `struct path`: a mount and a dentry.
#[derive(Clone, Copy)]
pub(crate) struct Path {
    /// `struct vfsmount`.
    pub(crate) mnt: Raw,
    pub(crate) dentry: Raw,
}

impl Path {
    /// No place: a walk towards it ends at the root of the mount namespace.
    pub(crate) const NOWHERE: Self = Self { mnt: Raw(0), dentry: Raw(0) };

    /// Reads a `struct path` at an address: its two pointers in one read where they lie side by side.
    #[inline(always)]
    pub(crate) fn read(at: Raw) -> Self {
        if layout(M::PathDentry) == layout(M::PathMnt) + 8 {
            let [mnt, dentry] = at.load(M::PathMnt);
            return Self { mnt: Raw(mnt), dentry: Raw(dentry) };
        }
        Self { mnt: at.follow(M::PathMnt), dentry: at.follow(M::PathDentry) }
    }

    /// Reads a `struct path` inside a typed object.
    #[inline(always)]
    fn inside(object: Typed, offset: u64) -> Self {
        Self {
            mnt: Raw(object.load_at(offset + layout(M::PathMnt))),
            dentry: Raw(object.load_at(offset + layout(M::PathDentry))),
        }
    }
}

/// Parent and name pointer of a dentry, in one read where they lie side by side.
#[inline(always)]
fn parent_and_name(dentry: Raw) -> (Raw, Raw) {
    if layout(M::DentryName) == layout(M::DentryParent) + 16 {
        let [parent, _hash_and_len, name] = dentry.load::<[u64; 3]>(M::DentryParent);
        return (Raw(parent), Raw(name));
    }
    (dentry.follow(M::DentryParent), dentry.follow(M::DentryName))
}

/// Root directory of a task.
#[inline(always)]
pub(crate) fn root(task: Typed) -> Path {
    Path::inside(task.follow(M::TaskFs), layout(M::FsRoot))
}

/// Working directory of a task.
#[inline(always)]
pub(crate) fn cwd(task: Typed) -> Path {
    Path::inside(task.follow(M::TaskFs), layout(M::FsPwd))
}

/// Writes the names from `path` up to `root` (of the task that acts, or [`Path::NOWHERE`]).
///
/// The walk reads live structures without locks: a rename in the same instant can mix old and new names, as it
/// can for `/proc`; the walk is bounded and cannot fault.
#[inline(always)]
pub(crate) fn put(record: Record, tag: AttrTag, path: Path, root: Path) {
    let Some(attr) = record.open(tag) else { return };
    let mount_offset = layout(M::MountMnt);
    let (mut dentry, mut mnt) = (path.dentry, path.mnt);
    let mut mnt_root = mnt.follow(M::VfsmountRoot);
    let mut flags = ATTR_TRUNCATED;
    for _ in 0..DEPTH {
        if dentry == root.dentry && mnt == root.mnt {
            flags = 0;
            break;
        }
        if dentry == mnt_root {
            let mount = Raw(mnt.0.wrapping_sub(mount_offset));
            let parent = mount.follow(M::MountParent);
            if parent == mount || parent.is_null() {
                flags = 0;
                break;
            }
            dentry = mount.follow(M::MountMountpoint);
            mnt = parent.plus(mount_offset);
            mnt_root = mnt.follow(M::VfsmountRoot);
            continue;
        }
        let (parent, name) = parent_and_name(dentry);
        if !record.push_name(attr, name) {
            break;
        }
        if parent == dentry || parent.is_null() {
            flags = ATTR_DISCONNECTED;
            break;
        }
        dentry = parent;
    }
    record.close(attr, flags);
}
