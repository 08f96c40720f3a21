//! Buffers of a CPU, each used by one program at a time.

use core::{
    arch::asm,
    intrinsics::{AtomicOrdering, atomic_cxchg},
};

use aya_ebpf::{
    helpers::generated::{bpf_probe_read_kernel, bpf_probe_read_kernel_str},
    maps::lpm_trie::Key,
};
use rampart_common::{
    deny::{
        FILE_NAME_BYTES, NameKey, PATH_BYTES, PathKey, PathTerms, Running, Terms, UNDECIDED_BUSY, WALK_BYTES,
    },
    pushdown::AddressKey,
};

use crate::{
    maps::{DENY_EXES, DENY_NAMES, DENY_PATHS, DENY_SCRATCH, DENY_UNDECIDED},
    read::Raw,
};

/// Buffers per CPU.
pub(crate) const SLOTS: u32 = 4;

/// A buffer.
#[repr(C)]
pub(crate) struct Scratch {
    /// 1 while a program uses it.
    busy: u64,
    /// Where the walk is; see [`crate::walk`].
    pub(crate) mount: u64,
    pub(crate) dentry: u64,
    pub(crate) end_mount: u64,
    pub(crate) end_dentry: u64,
    /// Where the path begins in `path`.
    pub(crate) start: u64,
    /// Bytes of the last name.
    pub(crate) file_len: u64,
    /// The namespace of the mount that the walk ended at.
    pub(crate) namespace: u64,
    /// A path, written from its end at [`WALK_BYTES`]; behind it room for one name more, so that any masked start is inside.
    pub(crate) path: [u8; WALK_BYTES + 256],
    /// What is looked up.
    pub(crate) key: Key<PathKey>,
    /// What is looked up.
    pub(crate) address: Key<AddressKey>,
    /// What is looked up.
    pub(crate) name: NameKey,
    /// What is looked up.
    pub(crate) file_name: [u8; FILE_NAME_BYTES],
    /// What a process runs, on its way into the map.
    pub(crate) running: Running,
}

/// A buffer that this program has.
#[derive(Clone, Copy)]
pub(crate) struct Held {
    scratch: *mut Scratch,
    slot: u32,
}

/// Counts an operation of which it is not known whether it is to be refused.
#[inline(always)]
pub(crate) fn undecided(kind: u32) {
    if let Some(count) = DENY_UNDECIDED.get_ptr_mut(kind) {
        // SAFETY: a value of this CPU; what a preempted program loses is a count.
        unsafe { *count += 1 };
    }
}

impl Held {
    /// Takes a free buffer of this CPU; counted when there is none.
    #[inline(always)]
    pub(crate) fn take() -> Option<Self> {
        for slot in 0..SLOTS {
            let held = Self::of(slot)?;
            let busy = &raw mut held.get().busy;
            // SAFETY: points into a map value, which is aligned and stays mapped while the program runs.
            let (_, taken) = unsafe {
                atomic_cxchg::<u64, { AtomicOrdering::SeqCst }, { AtomicOrdering::SeqCst }>(busy, 0, 1)
            };
            if taken {
                return Some(held);
            }
        }
        undecided(UNDECIDED_BUSY);
        None
    }

    /// The buffer that this program has taken, by its number.
    #[inline(always)]
    pub(crate) fn of(slot: u32) -> Option<Self> {
        Some(Self { scratch: DENY_SCRATCH.get_ptr_mut(slot)?, slot })
    }

    /// Its number.
    #[inline(always)]
    pub(crate) fn slot(self) -> u32 {
        self.slot
    }

    /// Gives it back.
    #[inline(always)]
    pub(crate) fn release(self) {
        // SAFETY: a member of the buffer that this program has.
        unsafe { (&raw mut self.get().busy).write_volatile(0) };
    }

    /// It.
    #[inline(always)]
    pub(crate) fn get<'a>(self) -> &'a mut Scratch {
        // SAFETY: a non-null map value; only the program that took it uses it, and one reference at a time.
        unsafe { &mut *self.scratch }
    }

    /// Where the path begins, and its length without the NUL behind it.
    #[inline(always)]
    pub(crate) fn span(self) -> (u64, u64) {
        let start = read(&raw const self.get().start) & (WALK_BYTES as u64 - 1);
        (start, WALK_BYTES as u64 - start)
    }

    /// Puts the path that was walked into the key.
    #[inline(always)]
    pub(crate) fn path_to_key(self, slot: u32) {
        let (start, len) = self.span();
        let scratch = self.get();
        let from = scratch.path.as_ptr().wrapping_add(start as usize);
        self.fill_key(slot, Raw(from as u64), len);
    }

    /// Puts a text and the NUL behind it into the key, as much as fits.
    #[inline(always)]
    pub(crate) fn fill_key(self, slot: u32, text: Raw, len: u64) {
        let scratch = self.get();
        let whole = len + 1;
        let taken = if whole > PATH_BYTES as u64 { PATH_BYTES as u64 } else { whole };
        let taken = (taken & 0xff) as u32;
        scratch.key.prefix_len = 8 + taken * 8;
        scratch.key.data.slot = slot as u8;
        // SAFETY: at most this many bytes fit; the helper checks the source.
        unsafe {
            bpf_probe_read_kernel(scratch.key.data.path.as_mut_ptr().cast(), taken, text.0 as *const _)
        };
    }

    /// What holds for the path in the key.
    #[inline(always)]
    pub(crate) fn about(self) -> PathTerms {
        DENY_PATHS.get(&self.get().key).copied().unwrap_or_default()
    }

    /// What holds for the executable in the key.
    #[inline(always)]
    pub(crate) fn executable(self) -> PathTerms {
        DENY_EXES.get(&self.get().key).copied().unwrap_or_default()
    }

    /// What holds for the name in the key.
    #[inline(always)]
    pub(crate) fn named(self, slot: u32, others: Terms) -> Terms {
        let scratch = self.get();
        scratch.name.slot = u64::from(slot);
        // SAFETY: entries of a slot are not removed while it is in force, which is checked before anything is refused.
        unsafe { DENY_NAMES.get(&scratch.name) }.copied().unwrap_or(others)
    }

    /// Reads a text of the kernel behind the place for paths; its length without the NUL.
    #[inline(always)]
    pub(crate) fn read_text(self, text: Raw) -> u64 {
        let scratch = self.get();
        // SAFETY: the destination is this long; the helper checks the source.
        let read = unsafe {
            bpf_probe_read_kernel_str(
                scratch.path.as_mut_ptr().cast(),
                PATH_BYTES as u32 + 1,
                text.0 as *const _,
            )
        };
        if read <= 0 { 0 } else { read as u64 - 1 }
    }
}

/// A number below a power of two. Masked where the compiler does not know that nothing is lost: verifiers before 6.12
/// forget what they know of a number that was put together.
#[inline(always)]
pub(crate) fn below<const LIMIT: u64>(number: usize) -> usize {
    let mut number = number as u64;
    // SAFETY: computes in a register.
    unsafe {
        asm!(
            "{0} &= {1}",
            inout(reg) number,
            const LIMIT as i32 - 1,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    number as usize
}

/// One load, of which the verifier then knows nothing but the type.
#[inline(always)]
pub(crate) fn read(place: *const u64) -> u64 {
    // SAFETY: a member of a map's value.
    unsafe { place.read_volatile() }
}
