//! System call number and arguments from the saved registers.

use rampart_common::{
    abi::{COMPAT_SOCKET_SLOTS, COMPAT_SOCKETCALL, SYSCALL_SLOTS},
    member::Member as M,
};

use crate::{
    maps::COMPAT,
    read::{Typed, has, user},
};

/// A finished system call in native terms.
#[derive(Clone, Copy)]
pub(crate) struct Call {
    pub(crate) nr: u32,
    pub(crate) args: [u64; 6],
    /// Came through the 32-bit entry.
    pub(crate) compat: bool,
}

/// `TS_COMPAT` of `thread_info.status`: the call in progress came through the 32-bit entry.
#[cfg(bpf_target_arch = "x86_64")]
const TS_COMPAT: u32 = 2;

/// Number of the call as it was made.
#[inline(always)]
pub(crate) fn plain_number(regs: Typed) -> u32 {
    arch::number(regs)
}

/// Number of the call, native; `None` for a 32-bit call without a counterpart.
#[inline(always)]
pub(crate) fn number(regs: Typed, task: Typed) -> Option<(u32, bool)> {
    let nr = arch::number(regs);
    if is_compat(task) {
        // A 64-bit program of x86 can use the 32-bit entry too; without this it would pass unseen.
        let native = *COMPAT.get(compat_slot(nr, regs))?;
        return (native != 0).then(|| (native - 1, true));
    }
    (!arch::is_compat_only(nr)).then_some((nr, false))
}

/// Slot of the translation table: the number, or for the socket multiplexer the slot of its operation.
#[inline(always)]
fn compat_slot(nr: u32, regs: Typed) -> u32 {
    if arch::HAS_SOCKETCALL && nr == COMPAT_SOCKETCALL {
        let [operation, ..] = arch::compat_args(regs);
        return SYSCALL_SLOTS + (operation as u32 & (COMPAT_SOCKET_SLOTS - 1));
    }
    nr
}

/// Number and arguments.
#[inline(always)]
pub(crate) fn call(regs: Typed, task: Typed) -> Option<Call> {
    let (nr, compat) = number(regs, task)?;
    if !compat {
        return Some(Call { nr, args: arch::args(regs), compat });
    }
    let args = arch::compat_args(regs);
    if arch::HAS_SOCKETCALL && arch::number(regs) == COMPAT_SOCKETCALL {
        // The operation's own arguments are an array of the program.
        let [_, array, ..] = args;
        let word = |index: u64| u64::from(user::<u32>(array + index * 4));
        let args = [word(0), word(1), word(2), word(3), word(4), word(5)];
        return Some(Call { nr, args, compat });
    }
    Some(Call { nr, args, compat })
}

#[cfg(bpf_target_arch = "x86_64")]
#[inline(always)]
fn is_compat(task: Typed) -> bool {
    has(M::TaskThreadStatus) && task.load::<u32>(M::TaskThreadStatus) & TS_COMPAT != 0
}

/// `TIF_32BIT` of `thread_info.flags`: the program is a 32-bit one. At the end of an exec it is about the new program: the
/// exec of a 32-bit program by a 64-bit one is then no call of ours (`process_exec` tells of it), the exec of a 64-bit
/// program by a 32-bit one looks like `listxattr` without arguments.
#[cfg(bpf_target_arch = "aarch64")]
const TIF_32BIT: u64 = 1 << 22;

#[cfg(bpf_target_arch = "aarch64")]
#[inline(always)]
fn is_compat(task: Typed) -> bool {
    has(M::TaskThreadFlags) && task.load::<u64>(M::TaskThreadFlags) & TIF_32BIT != 0
}

/// `struct pt_regs` of x86-64, whose layout is part of the user ABI.
#[cfg(bpf_target_arch = "x86_64")]
mod arch {
    use crate::read::Typed;

    const R10: u64 = 56;
    const R9: u64 = 64;
    const R8: u64 = 72;
    const BP: u64 = 32;
    const BX: u64 = 40;
    const CX: u64 = 88;
    const DX: u64 = 96;
    const SI: u64 = 104;
    const DI: u64 = 112;
    const ORIG_AX: u64 = 120;

    /// `execve` and `execveat`.
    pub(crate) const EXEC: (u32, u32) = (59, 322);

    pub(super) const HAS_SOCKETCALL: bool = true;

    /// Marks a call of the x32 ABI, which shares the native numbers below 512.
    const X32_BIT: u32 = 1 << 30;

    #[inline(always)]
    pub(super) fn number(regs: Typed) -> u32 {
        regs.load_at::<u64>(ORIG_AX) as u32 & !X32_BIT
    }

    /// Every number is the kernel's.
    #[inline(always)]
    pub(super) fn is_compat_only(_nr: u32) -> bool {
        false
    }

    #[inline(always)]
    pub(super) fn args(regs: Typed) -> [u64; 6] {
        [
            regs.load_at(DI),
            regs.load_at(SI),
            regs.load_at(DX),
            regs.load_at(R10),
            regs.load_at(R8),
            regs.load_at(R9),
        ]
    }

    #[inline(always)]
    pub(super) fn compat_args(regs: Typed) -> [u64; 6] {
        let low = |offset| regs.load_at::<u64>(offset) & 0xffff_ffff;
        [low(BX), low(CX), low(DX), low(SI), low(DI), low(BP)]
    }
}

/// `struct pt_regs` of arm64: 31 general registers, sp, pc, pstate, the first argument, the call number.
#[cfg(bpf_target_arch = "aarch64")]
mod arch {
    use rampart_common::abi::{COMPAT_ONLY_FROM, SHARED_FROM};

    use crate::read::Typed;

    const ORIG_X0: u64 = 272;
    const SYSCALLNO: u64 = 280;

    /// `execve` and `execveat`.
    pub(crate) const EXEC: (u32, u32) = (221, 281);

    /// The multiplexer is of the ABI before EABI, which arm64 does not run.
    pub(super) const HAS_SOCKETCALL: bool = false;

    #[inline(always)]
    pub(super) fn number(regs: Typed) -> u32 {
        regs.load_at::<u32>(SYSCALLNO)
    }

    /// Whether the agent uses the number for a call that only 32-bit programs have; the kernel has none for it.
    #[inline(always)]
    pub(super) fn is_compat_only(nr: u32) -> bool {
        (COMPAT_ONLY_FROM..SHARED_FROM).contains(&nr)
    }

    #[inline(always)]
    pub(super) fn args(regs: Typed) -> [u64; 6] {
        [
            regs.load_at(ORIG_X0),
            regs.load_at(8),
            regs.load_at(16),
            regs.load_at(24),
            regs.load_at(32),
            regs.load_at(40),
        ]
    }

    #[inline(always)]
    pub(super) fn compat_args(regs: Typed) -> [u64; 6] {
        args(regs).map(|register| register & 0xffff_ffff)
    }
}

pub(crate) use arch::EXEC;
