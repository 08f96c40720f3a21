//! Translation of 32-bit system call numbers to native ones, so that nobody can hide behind them: on x86-64 any program can
//! make i386 calls by `int 0x80`, on arm64 those of 32-bit programs are Arm's.

#[cfg(target_arch = "aarch64")]
mod arm;
#[cfg(target_arch = "x86_64")]
mod i386;

use rampart_common::abi::{COMPAT_SOCKET_SLOTS, SHARED_FROM, SYSCALL_SLOTS};

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
    use super::table;

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
