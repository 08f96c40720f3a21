//! Translation of 32-bit (i386) system call numbers to native ones, so that a 64-bit program cannot hide behind
//! `int 0x80`. Numbers from `arch/x86/entry/syscalls/syscall_32.tbl` of the kernel.

use rampart_common::abi::{COMPAT_SOCKET_SLOTS, SYSCALL_SLOTS};

/// i386 number or slot → native number plus one.
pub(super) fn table() -> Vec<u32> {
    let mut table = vec![0; (SYSCALL_SLOTS + COMPAT_SOCKET_SLOTS) as usize];
    let sockets = SOCKETCALL.iter().map(|(operation, native)| (SYSCALL_SLOTS + operation, *native));
    for (slot, native) in PAIRS.iter().copied().chain(sockets) {
        if let (Some(entry), Ok(native)) = (table.get_mut(slot as usize), u32::try_from(native)) {
            *entry = native + 1;
        }
    }
    // From 424 on, all architectures share the numbers.
    for number in SHARED_FROM..SYSCALL_SLOTS {
        if let Some(entry) = table.get_mut(number as usize) {
            *entry = number + 1;
        }
    }
    table
}

const SHARED_FROM: u32 = 424;

/// Calls with their own i386 number.
#[cfg(target_arch = "x86_64")]
const PAIRS: &[(u32, libc::c_long)] = &[
    (2, libc::SYS_fork),
    (3, libc::SYS_read),
    (4, libc::SYS_write),
    (5, libc::SYS_open),
    (6, libc::SYS_close),
    (8, libc::SYS_creat),
    (9, libc::SYS_link),
    (10, libc::SYS_unlink),
    (11, libc::SYS_execve),
    (12, libc::SYS_chdir),
    (14, libc::SYS_mknod),
    (15, libc::SYS_chmod),
    (16, libc::SYS_lchown),
    (21, libc::SYS_mount),
    (23, libc::SYS_setuid),
    (26, libc::SYS_ptrace),
    (37, libc::SYS_kill),
    (38, libc::SYS_rename),
    (39, libc::SYS_mkdir),
    (40, libc::SYS_rmdir),
    (41, libc::SYS_dup),
    (46, libc::SYS_setgid),
    (52, libc::SYS_umount2),
    (57, libc::SYS_setpgid),
    (61, libc::SYS_chroot),
    (63, libc::SYS_dup2),
    (66, libc::SYS_setsid),
    (70, libc::SYS_setreuid),
    (71, libc::SYS_setregid),
    (79, libc::SYS_settimeofday),
    (83, libc::SYS_symlink),
    (92, libc::SYS_truncate),
    (93, libc::SYS_ftruncate),
    (94, libc::SYS_fchmod),
    (95, libc::SYS_fchown),
    (120, libc::SYS_clone),
    (124, libc::SYS_adjtimex),
    (128, libc::SYS_init_module),
    (129, libc::SYS_delete_module),
    (133, libc::SYS_fchdir),
    (156, libc::SYS_sched_setscheduler),
    (164, libc::SYS_setresuid),
    (170, libc::SYS_setresgid),
    (172, libc::SYS_prctl),
    (182, libc::SYS_chown),
    (185, libc::SYS_capset),
    (190, libc::SYS_vfork),
    (198, libc::SYS_lchown),
    (203, libc::SYS_setreuid),
    (204, libc::SYS_setregid),
    (207, libc::SYS_fchown),
    (208, libc::SYS_setresuid),
    (210, libc::SYS_setresgid),
    (212, libc::SYS_chown),
    (213, libc::SYS_setuid),
    (214, libc::SYS_setgid),
    (217, libc::SYS_pivot_root),
    (238, libc::SYS_tkill),
    (241, libc::SYS_sched_setaffinity),
    (264, libc::SYS_clock_settime),
    (270, libc::SYS_tgkill),
    (295, libc::SYS_openat),
    (296, libc::SYS_mkdirat),
    (297, libc::SYS_mknodat),
    (298, libc::SYS_fchownat),
    (301, libc::SYS_unlinkat),
    (302, libc::SYS_renameat),
    (303, libc::SYS_linkat),
    (304, libc::SYS_symlinkat),
    (306, libc::SYS_fchmodat),
    (310, libc::SYS_unshare),
    (330, libc::SYS_dup3),
    (341, libc::SYS_name_to_handle_at),
    (342, libc::SYS_open_by_handle_at),
    (343, libc::SYS_clock_adjtime),
    (346, libc::SYS_setns),
    (347, libc::SYS_process_vm_readv),
    (348, libc::SYS_process_vm_writev),
    (350, libc::SYS_finit_module),
    (353, libc::SYS_renameat2),
    (356, libc::SYS_memfd_create),
    (357, libc::SYS_bpf),
    (358, libc::SYS_execveat),
    (359, libc::SYS_socket),
    (360, libc::SYS_socketpair),
    (361, libc::SYS_bind),
    (362, libc::SYS_connect),
    (363, libc::SYS_listen),
    (364, libc::SYS_accept4),
    (366, libc::SYS_setsockopt),
    (369, libc::SYS_sendto),
    (370, libc::SYS_sendmsg),
    (371, libc::SYS_recvfrom),
    (372, libc::SYS_recvmsg),
    (373, libc::SYS_shutdown),
    (374, libc::SYS_userfaultfd),
];

/// Operations of `socketcall`.
#[cfg(target_arch = "x86_64")]
const SOCKETCALL: &[(u32, libc::c_long)] = &[
    (1, libc::SYS_socket),
    (2, libc::SYS_bind),
    (3, libc::SYS_connect),
    (4, libc::SYS_listen),
    (5, libc::SYS_accept),
    (8, libc::SYS_socketpair),
    (11, libc::SYS_sendto),
    (12, libc::SYS_recvfrom),
    (14, libc::SYS_setsockopt),
    (16, libc::SYS_sendmsg),
    (17, libc::SYS_recvmsg),
    (18, libc::SYS_accept4),
];

/// arm64 programs cannot enter 32-bit calls from 64-bit mode.
#[cfg(not(target_arch = "x86_64"))]
const PAIRS: &[(u32, libc::c_long)] = &[];
#[cfg(not(target_arch = "x86_64"))]
const SOCKETCALL: &[(u32, libc::c_long)] = &[];

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
}
