//! The path of a file, from its directory entry up to a root.
//!
//! Names are found from the last to the first, so the path is written from its end. Its place is kept in the buffer, where the
//! verifier does not follow it: every step then looks alike.

use aya_ebpf::helpers::generated::bpf_probe_read_kernel;
use rampart_common::{
    deny::{UNDECIDED_PATH, WALK_BYTES},
    member::Member as M,
};

use crate::{
    read::{Raw, Typed, layout},
    scratch::{Held, read, undecided},
};

/// Names and mounts passed, as for events.
const STEPS: u32 = 64;
/// Longest name.
const NAME_MAX: u64 = 255;
/// Errors as pointers lie above this.
const ERRORS: u64 = -4095i64 as u64;

/// Where a walk begins or ends: a mount and a directory entry.
#[derive(Clone, Copy)]
pub(crate) struct Place {
    pub(crate) mount: Raw,
    pub(crate) dentry: Raw,
}

impl Place {
    /// Nowhere: a walk to it ends at the root of the mount namespace.
    pub(crate) const NOWHERE: Self = Self { mount: Raw(0), dentry: Raw(0) };

    /// The `struct path` at an address.
    #[inline(always)]
    pub(crate) fn at(address: Raw) -> Self {
        Self { mount: address.follow(M::PathMnt), dentry: address.follow(M::PathDentry) }
    }

    /// That of an open file.
    #[inline(always)]
    pub(crate) fn of_file(file: Raw) -> Self {
        Self::at(file.plus(layout(M::FilePath)))
    }

    /// The root directory of a task.
    #[inline(always)]
    pub(crate) fn root_of(task: Typed) -> Self {
        Self::at(task.follow(M::TaskFs).raw().plus(layout(M::FsRoot)))
    }
}

/// Walks up; false, and counted, when the path is too long or leads to no root.
#[inline(always)]
pub(crate) fn walk(held: Held, from: Place, to: Place) -> bool {
    let scratch = held.get();
    write(&raw mut scratch.mount, from.mount.0);
    write(&raw mut scratch.dentry, from.dentry.0);
    write(&raw mut scratch.end_mount, to.mount.0);
    write(&raw mut scratch.end_dentry, to.dentry.0);
    write(&raw mut scratch.start, WALK_BYTES as u64);
    write(&raw mut scratch.namespace, 0);
    write(&raw mut scratch.file_len, 0);
    let is_whole = deny_walk(held.slot()) != 0;
    if !is_whole {
        undecided(UNDECIDED_PATH);
    }
    is_whole
}

/// Whether the walk ended at the root of a mount namespace that processes live in. File systems that the kernel mounts for
/// itself (such as the layers of an overlay) have none, and paths there mean nothing to a rule.
#[inline(always)]
pub(crate) fn is_in_namespace(held: Held) -> bool {
    let namespace = read(&raw const held.get().namespace);
    namespace != 0 && namespace < ERRORS
}

/// One store, of which the verifier then knows nothing but the type.
#[inline(always)]
pub(crate) fn write(place: *mut u64, value: u64) {
    // SAFETY: a member of a buffer that this program has.
    unsafe { place.write_volatile(value) };
}

/// Writes a name and the slash before it.
#[inline(always)]
fn put(held: Held, name: Raw, len: u64) -> bool {
    let scratch = held.get();
    let start = read(&raw const scratch.start);
    if len == 0 || len > NAME_MAX || start > WALK_BYTES as u64 || start < len + 1 {
        return false;
    }
    let begin = (start - len) & (WALK_BYTES as u64 - 1);
    let place = scratch.path.as_mut_ptr().wrapping_add(begin as usize);
    // SAFETY: behind any masked place there is room for one name.
    unsafe { bpf_probe_read_kernel(place.cast(), (len & NAME_MAX) as u32, name.0 as *const _) };
    let slash = (start - len - 1) & (WALK_BYTES as u64 - 1);
    // SAFETY: masked to the buffer.
    unsafe { scratch.path.as_mut_ptr().wrapping_add(slash as usize).write_volatile(b'/') };
    if start == WALK_BYTES as u64 {
        write(&raw mut scratch.file_len, len);
    }
    write(&raw mut scratch.start, start - len - 1);
    true
}

/// Ends a walk; a path without names is `/`.
#[inline(always)]
fn end(held: Held) -> u32 {
    let scratch = held.get();
    let start = read(&raw const scratch.start);
    let end = scratch.path.as_mut_ptr().wrapping_add(WALK_BYTES);
    // SAFETY: inside the buffer.
    unsafe { end.write_volatile(0) };
    if start == WALK_BYTES as u64 {
        let slash = scratch.path.as_mut_ptr().wrapping_add(WALK_BYTES - 1);
        // SAFETY: inside the buffer.
        unsafe { slash.write_volatile(b'/') };
        write(&raw mut scratch.start, WALK_BYTES as u64 - 1);
    }
    1
}

/// See [`walk`]. A function of the kernel's own kind: the verifier checks it once.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn deny_walk(slot: u32) -> u32 {
    let Some(held) = Held::of(slot) else { return 0 };
    let scratch = held.get();
    let mount_offset = layout(M::MountMnt);
    let (mut dentry, mut mnt) = (Raw(read(&raw const scratch.dentry)), Raw(read(&raw const scratch.mount)));
    let (end_dentry, end_mount) = (read(&raw const scratch.end_dentry), read(&raw const scratch.end_mount));
    let mut mount_root = mnt.follow(M::VfsmountRoot);
    for _ in 0..STEPS {
        if dentry.0 == end_dentry && mnt.0 == end_mount {
            return end(held);
        }
        if dentry == mount_root {
            let mount = Raw(mnt.0.wrapping_sub(mount_offset));
            let parent = mount.follow(M::MountParent);
            if parent == mount || parent.is_null() {
                write(&raw mut scratch.namespace, mount.load(M::MountNs));
                return end(held);
            }
            dentry = mount.follow(M::MountMountpoint);
            mnt = parent.plus(mount_offset);
            mount_root = mnt.follow(M::VfsmountRoot);
            continue;
        }
        let parent = dentry.follow(M::DentryParent);
        let len = u64::from(dentry.load::<u32>(M::DentryLen));
        if parent == dentry || parent.is_null() || !put(held, dentry.follow(M::DentryName), len) {
            return 0;
        }
        dentry = parent;
    }
    0
}
