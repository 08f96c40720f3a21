//! `file_open`: a file is about to be opened.
//!
//! Prototype: `int file_open(struct file *file)`, since 3.5. Asked whichever call opens the file, also `io_uring`. Not
//! asked for `O_PATH`, which opens nothing.

use aya_ebpf::{macros::lsm, programs::LsmContext};
use rampart_common::{
    deny::{OPEN_CLASSES, armed, open_class},
    member::Member as M,
};

use crate::{
    PASS,
    maps::DENY_ASKED,
    read::{Typed, current_task},
    scratch::{Held, below},
    subject::{Force, Image, OPEN, judge},
    tell::About,
    walk::{Place, is_in_namespace, walk},
};

/// `O_ACCMODE`.
const ACCESS: u32 = 3;
/// `FMODE_EXEC`: opened to be run, which is another operation.
const FMODE_EXEC: u32 = 0x20;
/// `O_DIRECTORY`, and the bit by which `O_TMPFILE` differs from it: a file without a name.
#[cfg(bpf_target_arch = "x86_64")]
const DIRECTORY: u32 = 0o200_000;
#[cfg(not(bpf_target_arch = "x86_64"))]
const DIRECTORY: u32 = 0o40_000;
const NAMELESS: u32 = 0o20_000_000;

/// Notes that the kernel asks.
#[inline(always)]
fn asked() {
    if let Some(asked) = DENY_ASKED.get_ptr_mut(0) {
        // SAFETY: a value of an array map; everybody writes the same.
        unsafe { asked.write_volatile(1) };
    }
}

#[lsm(hook = "file_open")]
fn deny_open(ctx: LsmContext) -> i32 {
    let Some(force) = Force::now() else {
        asked();
        return PASS;
    };
    let file = Typed(ctx.arg(0));
    let flags: u32 = file.load(M::FileFlags);
    let to_run = file.load::<u32>(M::FileMode) & FMODE_EXEC != 0 || flags & FMODE_EXEC != 0;
    let mode = u32::from(file.follow(M::FileInode).load::<u16>(M::InodeMode));
    let class =
        below::<{ OPEN_CLASSES as u64 }>(open_class((flags & ACCESS) as usize, flags & DIRECTORY != 0));
    let terms = force.settings.open.get(class).copied().unwrap_or(0) & armed(&force.switch);
    if to_run || terms == 0 || flags & NAMELESS != 0 {
        return PASS;
    }
    let Some(held) = Held::take() else { return PASS };
    let about = About { operation: OPEN, protocol: 0, number: flags, mode };
    let mut verdict = PASS;
    if walk(held, Place::of_file(file.raw()), Place::NOWHERE) && is_in_namespace(held) {
        held.path_to_key(force.slot);
        let left = terms & held.about().terms;
        if left != 0 {
            verdict = judge(held, &force, current_task(), (left, Image::Present), &about);
        }
    }
    held.release();
    verdict
}
