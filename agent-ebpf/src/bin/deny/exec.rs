//! `bprm_creds_from_file`: a program is about to be run, and its file is the one that will be: scripts have been replaced by
//! their interpreters.
//!
//! Prototype: `int bprm_creds_from_file(struct linux_binprm *bprm, struct file *file)`, since 5.9. The last hook before the
//! point of no return, so a refusal leaves the caller as it was.

use aya_ebpf::{macros::lsm, programs::LsmContext};
use rampart_common::{
    deny::{NAME_BYTES, PATH_BYTES, armed},
    member::Member as M,
};

use crate::{
    PASS,
    read::{Raw, Typed, current_task, has},
    scratch::{Held, read},
    subject::{EXEC, Force, Image, judge},
    tell::About,
    walk::{Place, walk, write},
};

#[lsm(hook = "bprm_creds_from_file")]
fn deny_exec(ctx: LsmContext) -> i32 {
    let Some(force) = Force::now() else { return PASS };
    let terms = force.settings.exec & armed(&force.switch);
    if terms == 0 || !has(M::BprmFile) || !has(M::BprmCred) {
        return PASS;
    }
    let bprm = Typed(ctx.arg(0));
    // What becomes the executable of the process, even where another file gives the credentials.
    let file = Raw(bprm.load::<u64>(M::BprmFile));
    let Some(held) = Held::take() else { return PASS };
    let task = current_task();
    let mut verdict = PASS;
    if walk(held, Place::of_file(file), Place::root_of(task)) {
        held.path_to_key(force.slot);
        let left = terms & held.executable().terms;
        if left != 0 {
            let named = name(held, bprm);
            // The name was read over the path.
            let walked = walk(held, Place::of_file(file), Place::root_of(task));
            let user = Raw(bprm.load::<u64>(M::BprmCred)).load::<u32>(M::CredEuid);
            let mode = u32::from(file.follow(M::FileInode).load::<u16>(M::InodeMode));
            let about = About { operation: EXEC, protocol: 0, number: 0, mode };
            if walked {
                verdict = judge(held, &force, task, (left, Image::Next { named, user }), &about);
            }
        }
    }
    held.release();
    verdict
}

/// Finds the name that the process will have: the last one of the path as it was given. False when that is not certain.
#[inline(always)]
fn name(held: Held, bprm: Typed) -> bool {
    // Run by descriptor: since 6.14 the name is the file's, before it was the descriptor's number.
    if has(M::BprmFdpath) && bprm.load::<u64>(M::BprmFdpath) != 0 {
        return false;
    }
    let len = held.read_text(Raw(bprm.load::<u64>(M::BprmFilename)));
    if len == 0 || len >= PATH_BYTES as u64 {
        return false;
    }
    deny_name(held.slot()) != 0
}

/// Puts what is behind the last slash of the text in the buffer into the key of names. A function of the kernel's own kind.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn deny_name(slot: u32) -> u32 {
    let Some(held) = Held::of(slot) else { return 0 };
    let scratch = held.get();
    // Kept in the buffer, where the verifier does not follow it: every turn then looks alike.
    let begin = &raw mut scratch.mount;
    write(begin, 0);
    for at in 0..PATH_BYTES as u32 {
        let byte = scratch.path.as_ptr().wrapping_add(at as usize);
        // SAFETY: inside the buffer.
        match unsafe { byte.read_volatile() } {
            0 => break,
            b'/' => write(begin, u64::from(at) + 1),
            _ => {}
        }
    }
    let begin = read(begin) as u32;
    scratch.name.name = [0; NAME_BYTES];
    for at in 0..NAME_BYTES as u32 - 1 {
        let from = scratch.path.as_ptr().wrapping_add(((begin + at) & 511) as usize);
        // SAFETY: masked to the buffer.
        let byte = unsafe { from.read_volatile() };
        if byte == 0 {
            break;
        }
        let to = scratch.name.name.as_mut_ptr().wrapping_add((at & 15) as usize);
        // SAFETY: masked to the array.
        unsafe { to.write_volatile(byte) };
    }
    1
}
