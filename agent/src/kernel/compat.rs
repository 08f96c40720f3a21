//! Translation of 32-bit system call numbers to native ones, so that nobody can hide behind them: on x86-64 any program can
//! make i386 calls by `int 0x80`, on arm64 those of 32-bit programs are Arm's.

#[cfg(target_arch = "aarch64")]
mod arm;
#[cfg(target_arch = "x86_64")]
mod i386;

use rampart_common::{
    abi::{COMPAT_SOCKET_SLOTS, COMPAT_SOCKETCALL, SHARED_FROM, SYSCALL_SLOTS},
    event::SyscallPlan,
};

/// 32-bit number or slot → native number plus one.
pub(super) fn table() -> Vec<u32> {
    let mut table = vec![0; (SYSCALL_SLOTS + COMPAT_SOCKET_SLOTS) as usize];
    for (slot, native) in pairs() {
        if let Some(entry) = table.get_mut(slot as usize) {
            *entry = native + 1;
        }
    }
    for number in SHARED_FROM..SYSCALL_SLOTS {
        if let Some(entry) = table.get_mut(number as usize) {
            *entry = number + 1;
        }
    }
    table
}

/// Marks the numbers that are wanted calls when a 32-bit program makes them. Those that mean the same to all programs need
/// no mark: whoever makes them, their family's program looks.
pub(super) fn mark(plans: &mut [SyscallPlan]) {
    let table = table();
    let is_wanted =
        |plans: &[SyscallPlan], native: u32| plans.get(native as usize).is_some_and(|plan| plan.family != 0);
    for number in 0..SYSCALL_SLOTS {
        let leads_to = |slot: u32| table.get(slot as usize).and_then(|entry| entry.checked_sub(1));
        let is_alias =
            |slot| leads_to(slot).is_some_and(|native| native != number && is_wanted(plans, native));
        let is_socket = cfg!(target_arch = "x86_64")
            && number == COMPAT_SOCKETCALL
            && (0..COMPAT_SOCKET_SLOTS).any(|operation| is_alias(SYSCALL_SLOTS + operation));
        let aliased = u8::from(is_socket || is_alias(number));
        if let Some(plan) = plans.get_mut(number as usize) {
            plan.aliased = aliased;
        }
    }
}

#[cfg(target_arch = "x86_64")]
fn pairs() -> impl Iterator<Item = (u32, u32)> {
    let sockets = i386::SOCKETCALL.iter().map(|(operation, native)| (SYSCALL_SLOTS + operation, *native));
    i386::PAIRS.iter().copied().chain(sockets)
}

#[cfg(target_arch = "aarch64")]
fn pairs() -> impl Iterator<Item = (u32, u32)> {
    let only = arm::ONLY.iter().filter_map(|(number, own)| Some((*number, (*own)?)));
    arm::PAIRS.iter().copied().chain(only)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn old_numbers_lead_to_native_ones() {
        let table = table();
        assert_eq!(table[5], libc::SYS_open as u32 + 1);
        assert_eq!(table[512 + 3], libc::SYS_connect as u32 + 1);
        assert_eq!(table[437], libc::SYS_openat2 as u32 + 1);
        // uname has no row: nothing asks for it.
        assert_eq!(table[122], 0);
    }

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn numbers_of_wanted_calls_are_marked() {
        let mut plans = vec![SyscallPlan::default(); SYSCALL_SLOTS as usize];
        let wanted = [libc::SYS_open, libc::SYS_openat2, libc::SYS_connect];
        for number in wanted {
            plans[number as usize].family = 1;
        }
        mark(&mut plans);
        let marked: Vec<u32> =
            (0..SYSCALL_SLOTS).filter(|number| plans[*number as usize].aliased != 0).collect();
        // `open` and `connect` of i386, and `socketcall`, which has a `connect` too; `openat2` is the same to all.
        assert_eq!(marked, [5, 102, 362]);
        plans[libc::SYS_open as usize].family = 0;
        plans[libc::SYS_connect as usize].family = 0;
        mark(&mut plans);
        assert!(plans.iter().all(|plan| plan.aliased == 0));
    }

    #[cfg(target_arch = "aarch64")]
    #[test]
    fn numbers_of_arm_lead_to_native_ones_or_to_the_agents_own() {
        let table = table();
        assert_eq!(table[322], libc::SYS_openat as u32 + 1);
        assert_eq!(table[5], rampart_common::abi::COMPAT_ONLY_FROM + 1);
        assert_eq!(table[437], libc::SYS_openat2 as u32 + 1);
        // `fcntl64`, whose number is that of `execve` to a 64-bit program.
        assert_eq!(table[221], 0);
    }
}
