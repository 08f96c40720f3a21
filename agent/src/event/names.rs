//! Numbers of the kernel interface to the names Falco shows for them, and to its own numbers where those differ.
//!
//! Owns: the name tables. Pure; called by the field getters.

mod errno;
mod file;
mod flags;
mod operation;
mod process;
mod signal;
mod socket;

pub use errno::errno_name;
pub use file::{
    EXEC_FLAGS, LINKAT_FLAGS, OPEN_CREAT, OPEN_CREATED, OPEN_FLAGS, OPEN_READ, OPEN_TMPFILE, OPEN_WRITE,
    RESOLVE_FLAGS, UNLINKAT_FLAGS, open_flags, resolve_flags,
};
pub use flags::{
    ACCESS_FLAGS, AT_FLAGS, CLOSE_RANGE_FLAGS, DELETE_MODULE_FLAGS, FD_FLAGS, FINIT_FLAGS, FLOCK_FLAGS,
    MEMFD_FLAGS, MLOCK_FLAGS, MLOCKALL_FLAGS, MMAP_FLAGS, MOUNT_FLAGS, PIDFD_FLAGS, PROT_FLAGS, RENAME_FLAGS,
    RING_ENTER_FLAGS, RING_FEATURES, RING_SETUP_FLAGS, SPLICE_FLAGS, UMOUNT_FLAGS, USERFAULTFD_FLAGS,
};
pub use operation::{
    bpf_command, fcntl_command, fsconfig_command, keyctl_operation, prctl_option, resource_name,
    ring_operation, seek_origin, shutdown_direction,
};
pub use process::{CLONE_FLAGS, capability_name, ptrace_name, ptrace_request};
pub use signal::signal_name;
pub use socket::{icmp_protocol, l4_protocol, membership_option, socket_domain, socket_level, socket_option};

/// A table of bit names, in the order the names are shown.
pub type BitNames = [(&'static str, u32)];

/// Appends the names of the bits of `value`, joined by `|`; nothing when no bit has a name.
///
/// A name of several bits takes them all, so that `O_RDWR` is not shown as its two halves.
pub fn bits_into(names: &BitNames, value: u32, out: &mut Vec<u8>) {
    let mut rest = value;
    let mut any = false;
    for (name, bits) in names {
        if *bits != 0 && rest & bits == *bits {
            if any {
                out.push(b'|');
            }
            out.extend_from_slice(name.as_bytes());
            rest &= !bits;
            any = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{
        CLONE_FLAGS, EXEC_FLAGS, OPEN_FLAGS, bits_into, capability_name, errno_name, open_flags,
        ptrace_request, socket_domain,
    };

    fn bits(names: &super::BitNames, value: u32) -> String {
        let mut out = Vec::new();
        bits_into(names, value, &mut out);
        String::from_utf8(out).expect("names are text")
    }

    #[test]
    fn open_flags_are_named_like_upstream() {
        let native = |flags: i32| bits(OPEN_FLAGS, open_flags(flags as u32));
        assert_eq!(native(libc::O_RDONLY | libc::O_CLOEXEC), "O_RDONLY|O_CLOEXEC");
        assert_eq!(native(libc::O_RDWR | libc::O_CREAT), "O_CREAT|O_RDWR");
        assert_eq!(native(libc::O_WRONLY | libc::O_CREAT | libc::O_TRUNC), "O_TRUNC|O_CREAT|O_WRONLY");
        assert_eq!(native(libc::O_RDONLY | libc::O_DIRECTORY), "O_DIRECTORY|O_RDONLY");
        assert_eq!(native(libc::O_RDWR | libc::O_TMPFILE), "O_DIRECTORY|O_RDWR|O_TMPFILE");
        assert_eq!(native(libc::O_SYNC | libc::O_WRONLY), "O_SYNC|O_DSYNC|O_WRONLY");
    }

    #[test]
    fn other_tables_name_what_rules_ask_for() {
        assert_eq!(bits(EXEC_FLAGS, 7), "EXE_WRITABLE|EXE_UPPER_LAYER|EXE_FROM_MEMFD");
        assert_eq!(bits(CLONE_FLAGS, libc::CLONE_NEWUSER as u32), "CLONE_NEWUSER");
        assert_eq!(bits(CLONE_FLAGS, 0), "");
        assert_eq!(errno_name(libc::EINPROGRESS as u32), Some("EINPROGRESS"));
        assert_eq!(errno_name(0), None);
        assert_eq!(ptrace_request(16), "PTRACE_ATTACH");
        assert_eq!(ptrace_request(0x4206), "PTRACE_SEIZE");
        assert_eq!(ptrace_request(77_777), "PTRACE_UNKNOWN");
        assert_eq!(socket_domain(17), Some("AF_PACKET"));
        assert_eq!(capability_name(21), Some("CAP_SYS_ADMIN"));
        assert_eq!(capability_name(60), None);
    }
}
