//! Path names from dentries, as the process would see them.

use rampart_common::{
    event::{ATTR_DISCONNECTED, ATTR_TRUNCATED, AttrTag},
    member::Member as M,
};

use crate::{
    cell::{ATTRIBUTE, DENTRY, END_DENTRY, END_MOUNT, MOUNT},
    read::{Raw, Typed, casts, layout},
    record::{OpenAttr, Record},
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

/// Whether parent, hash and length, and name of a dentry lie side by side. Known to the verifier.
#[inline(always)]
fn side_by_side() -> bool {
    layout(M::DentryName) == layout(M::DentryParent) + 16
}

/// Parent, name and length of the name of a dentry, in one read where they lie side by side; the length is 0 where it is
/// not known.
#[inline(always)]
pub(crate) fn parent_and_name(dentry: Raw) -> (Raw, Raw, u64) {
    if let Some(dentry) = dentry.typed(M::DentryParent) {
        let (parent, name) = (dentry.follow(M::DentryParent), dentry.follow(M::DentryName));
        return (parent.raw(), name.raw(), u64::from(dentry.load::<u32>(M::DentryLen)));
    }
    if side_by_side() {
        let [parent, hash_and_len, name] = dentry.load::<[u64; 3]>(M::DentryParent);
        // Both supported machines are little-endian: the hash is in the low half.
        return (Raw(parent), Raw(name), hash_and_len >> 32);
    }
    (dentry.follow(M::DentryParent), dentry.follow(M::DentryName), 0)
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

/// Writes the names from `path` up to `root` (of the task that acts, or [`Path::NOWHERE`]). Gives the attribute when
/// they are all there.
///
/// The walk reads live structures without locks: a rename in the same instant can mix old and new names, as it
/// can for `/proc`; the walk is bounded and cannot fault.
#[inline(always)]
pub(crate) fn put(record: Record, tag: AttrTag, path: Path, root: Path) -> Option<OpenAttr> {
    let attr = record.open(tag)?;
    record.set_cell::<ATTRIBUTE>(attr.start());
    // By way of the buffer, for such a function takes numbers, and what the verifier knows to be a pointer is none.
    record.set_cell::<DENTRY>(path.dentry.0);
    record.set_cell::<MOUNT>(path.mnt.0);
    record.set_cell::<END_DENTRY>(root.dentry.0);
    record.set_cell::<END_MOUNT>(root.mnt.0);
    let flags = walk_path(record.slot()) as u16;
    record.close(attr, flags);
    (flags == 0).then(|| OpenAttr::at(record.cell::<ATTRIBUTE>()))
}

/// Writes the names of a path into the attribute that begins at the offset in [`ATTRIBUTE`], and gives its flags.
///
/// A function of the kernel's own kind: the verifier checks it once.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn walk_path(slot: u32) -> u32 {
    let Some(record) = Record::claimed(slot) else { return u32::from(ATTR_TRUNCATED) };
    let attr = OpenAttr::at(record.cell::<ATTRIBUTE>());
    let mount_offset = layout(M::MountMnt);
    let (mut dentry, mut mnt) = (Raw(record.cell::<DENTRY>()), Raw(record.cell::<MOUNT>()));
    let (root_dentry, root_mnt) = (record.cell::<END_DENTRY>(), record.cell::<END_MOUNT>());
    let mut mnt_root = mnt.follow(M::VfsmountRoot);
    for _ in 0..DEPTH {
        if dentry == Raw(root_dentry) && mnt == Raw(root_mnt) {
            return 0;
        }
        if dentry == mnt_root {
            let mount = Raw(mnt.0.wrapping_sub(mount_offset));
            let parent = mount.follow(M::MountParent);
            if parent == mount || parent.is_null() {
                return 0;
            }
            dentry = mount.follow(M::MountMountpoint);
            mnt = parent.plus(mount_offset);
            mnt_root = mnt.follow(M::VfsmountRoot);
            continue;
        }
        let (parent, name, len) = parent_and_name(dentry);
        let pushed = if casts() || side_by_side() {
            record.push_name_of(attr, name, len)
        } else {
            record.push_name(attr, name)
        };
        if !pushed {
            break;
        }
        if parent == dentry || parent.is_null() {
            return u32::from(ATTR_DISCONNECTED);
        }
        dentry = parent;
    }
    u32::from(ATTR_TRUNCATED)
}
