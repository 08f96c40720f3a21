//! Operations: the commands of calls that do many things.

/// Name of a `bpf` command.
pub fn bpf_command(command: u64) -> Option<&'static str> {
    const NAMES: [&str; 37] = [
        "BPF_MAP_CREATE",
        "BPF_MAP_LOOKUP_ELEM",
        "BPF_MAP_UPDATE_ELEM",
        "BPF_MAP_DELETE_ELEM",
        "BPF_MAP_GET_NEXT_KEY",
        "BPF_PROG_LOAD",
        "BPF_OBJ_PIN",
        "BPF_OBJ_GET",
        "BPF_PROG_ATTACH",
        "BPF_PROG_DETACH",
        "BPF_PROG_TEST_RUN",
        "BPF_PROG_GET_NEXT_ID",
        "BPF_MAP_GET_NEXT_ID",
        "BPF_PROG_GET_FD_BY_ID",
        "BPF_MAP_GET_FD_BY_ID",
        "BPF_OBJ_GET_INFO_BY_FD",
        "BPF_PROG_QUERY",
        "BPF_RAW_TRACEPOINT_OPEN",
        "BPF_BTF_LOAD",
        "BPF_BTF_GET_FD_BY_ID",
        "BPF_TASK_FD_QUERY",
        "BPF_MAP_LOOKUP_AND_DELETE_ELEM",
        "BPF_MAP_FREEZE",
        "BPF_BTF_GET_NEXT_ID",
        "BPF_MAP_LOOKUP_BATCH",
        "BPF_MAP_LOOKUP_AND_DELETE_BATCH",
        "BPF_MAP_UPDATE_BATCH",
        "BPF_MAP_DELETE_BATCH",
        "BPF_LINK_CREATE",
        "BPF_LINK_UPDATE",
        "BPF_LINK_GET_FD_BY_ID",
        "BPF_LINK_GET_NEXT_ID",
        "BPF_ENABLE_STATS",
        "BPF_ITER_CREATE",
        "BPF_LINK_DETACH",
        "BPF_PROG_BIND_MAP",
        "BPF_TOKEN_CREATE",
    ];
    nth(&NAMES, command)
}

/// Name of a `fcntl` command.
pub fn fcntl_command(command: u64) -> Option<&'static str> {
    const LOW: [&str; 17] = [
        "F_DUPFD",
        "F_GETFD",
        "F_SETFD",
        "F_GETFL",
        "F_SETFL",
        "F_GETLK",
        "F_SETLK",
        "F_SETLKW",
        "F_SETOWN",
        "F_GETOWN",
        "F_SETSIG",
        "F_GETSIG",
        "F_GETLK64",
        "F_SETLK64",
        "F_SETLKW64",
        "F_SETOWN_EX",
        "F_GETOWN_EX",
    ];
    Some(match command {
        36 => "F_OFD_GETLK",
        37 => "F_OFD_SETLK",
        38 => "F_OFD_SETLKW",
        1024 => "F_SETLEASE",
        1025 => "F_GETLEASE",
        1026 => "F_NOTIFY",
        1029 => "F_CANCELLK",
        1030 => "F_DUPFD_CLOEXEC",
        1031 => "F_SETPIPE_SZ",
        1032 => "F_GETPIPE_SZ",
        1033 => "F_ADD_SEALS",
        1034 => "F_GET_SEALS",
        low => return nth(&LOW, low),
    })
}

/// Name of a `prctl` option.
pub fn prctl_option(option: u64) -> Option<&'static str> {
    Some(match option {
        1 => "PR_SET_PDEATHSIG",
        2 => "PR_GET_PDEATHSIG",
        3 => "PR_GET_DUMPABLE",
        4 => "PR_SET_DUMPABLE",
        7 => "PR_GET_KEEPCAPS",
        8 => "PR_SET_KEEPCAPS",
        13 => "PR_GET_TIMING",
        14 => "PR_SET_TIMING",
        15 => "PR_SET_NAME",
        16 => "PR_GET_NAME",
        21 => "PR_GET_SECCOMP",
        22 => "PR_SET_SECCOMP",
        23 => "PR_CAPBSET_READ",
        24 => "PR_CAPBSET_DROP",
        25 => "PR_GET_TSC",
        26 => "PR_SET_TSC",
        27 => "PR_GET_SECUREBITS",
        28 => "PR_SET_SECUREBITS",
        29 => "PR_SET_TIMERSLACK",
        30 => "PR_GET_TIMERSLACK",
        31 => "PR_TASK_PERF_EVENTS_DISABLE",
        32 => "PR_TASK_PERF_EVENTS_ENABLE",
        33 => "PR_MCE_KILL",
        34 => "PR_MCE_KILL_GET",
        35 => "PR_SET_MM",
        36 => "PR_SET_CHILD_SUBREAPER",
        37 => "PR_GET_CHILD_SUBREAPER",
        38 => "PR_SET_NO_NEW_PRIVS",
        39 => "PR_GET_NO_NEW_PRIVS",
        40 => "PR_GET_TID_ADDRESS",
        41 => "PR_SET_THP_DISABLE",
        42 => "PR_GET_THP_DISABLE",
        47 => "PR_CAP_AMBIENT",
        50 => "PR_SVE_SET_VL",
        51 => "PR_SVE_GET_VL",
        52 => "PR_GET_SPECULATION_CTRL",
        53 => "PR_SET_SPECULATION_CTRL",
        57 => "PR_SET_IO_FLUSHER",
        58 => "PR_GET_IO_FLUSHER",
        59 => "PR_SET_SYSCALL_USER_DISPATCH",
        62 => "PR_SCHED_CORE",
        0x5356_4d41 => "PR_SET_VMA",
        0x5961_6d61 => "PR_SET_PTRACER",
        _ => return None,
    })
}

/// Name of a `keyctl` operation.
pub fn keyctl_operation(operation: u64) -> Option<&'static str> {
    const NAMES: [&str; 33] = [
        "KEYCTL_GET_KEYRING_ID",
        "KEYCTL_JOIN_SESSION_KEYRING",
        "KEYCTL_UPDATE",
        "KEYCTL_REVOKE",
        "KEYCTL_CHOWN",
        "KEYCTL_SETPERM",
        "KEYCTL_DESCRIBE",
        "KEYCTL_CLEAR",
        "KEYCTL_LINK",
        "KEYCTL_UNLINK",
        "KEYCTL_SEARCH",
        "KEYCTL_READ",
        "KEYCTL_INSTANTIATE",
        "KEYCTL_NEGATE",
        "KEYCTL_SET_REQKEY_KEYRING",
        "KEYCTL_SET_TIMEOUT",
        "KEYCTL_ASSUME_AUTHORITY",
        "KEYCTL_GET_SECURITY",
        "KEYCTL_SESSION_TO_PARENT",
        "KEYCTL_REJECT",
        "KEYCTL_INSTANTIATE_IOV",
        "KEYCTL_INVALIDATE",
        "KEYCTL_GET_PERSISTENT",
        "KEYCTL_DH_COMPUTE",
        "KEYCTL_PKEY_QUERY",
        "KEYCTL_PKEY_ENCRYPT",
        "KEYCTL_PKEY_DECRYPT",
        "KEYCTL_PKEY_SIGN",
        "KEYCTL_PKEY_VERIFY",
        "KEYCTL_RESTRICT_KEYRING",
        "KEYCTL_MOVE",
        "KEYCTL_CAPABILITIES",
        "KEYCTL_WATCH_KEY",
    ];
    nth(&NAMES, operation)
}

/// Name of an `io_uring_register` operation.
pub fn ring_operation(operation: u64) -> Option<&'static str> {
    const NAMES: [&str; 24] = [
        "IORING_REGISTER_BUFFERS",
        "IORING_UNREGISTER_BUFFERS",
        "IORING_REGISTER_FILES",
        "IORING_UNREGISTER_FILES",
        "IORING_REGISTER_EVENTFD",
        "IORING_UNREGISTER_EVENTFD",
        "IORING_REGISTER_FILES_UPDATE",
        "IORING_REGISTER_EVENTFD_ASYNC",
        "IORING_REGISTER_PROBE",
        "IORING_REGISTER_PERSONALITY",
        "IORING_UNREGISTER_PERSONALITY",
        "IORING_REGISTER_RESTRICTIONS",
        "IORING_REGISTER_ENABLE_RINGS",
        "IORING_REGISTER_FILES2",
        "IORING_REGISTER_FILES_UPDATE2",
        "IORING_REGISTER_BUFFERS2",
        "IORING_REGISTER_BUFFERS_UPDATE",
        "IORING_REGISTER_IOWQ_AFF",
        "IORING_UNREGISTER_IOWQ_AFF",
        "IORING_REGISTER_IOWQ_MAX_WORKERS",
        "IORING_REGISTER_RING_FDS",
        "IORING_UNREGISTER_RING_FDS",
        "IORING_REGISTER_PBUF_RING",
        "IORING_UNREGISTER_PBUF_RING",
    ];
    nth(&NAMES, operation)
}

/// Name of a resource limit.
pub fn resource_name(resource: u64) -> Option<&'static str> {
    const NAMES: [&str; 16] = [
        "RLIMIT_CPU",
        "RLIMIT_FSIZE",
        "RLIMIT_DATA",
        "RLIMIT_STACK",
        "RLIMIT_CORE",
        "RLIMIT_RSS",
        "RLIMIT_NPROC",
        "RLIMIT_NOFILE",
        "RLIMIT_MEMLOCK",
        "RLIMIT_AS",
        "RLIMIT_LOCKS",
        "RLIMIT_SIGPENDING",
        "RLIMIT_MSGQUEUE",
        "RLIMIT_NICE",
        "RLIMIT_RTPRIO",
        "RLIMIT_RTTIME",
    ];
    nth(&NAMES, resource)
}

/// Name of an `lseek` origin.
pub fn seek_origin(whence: u64) -> Option<&'static str> {
    nth(&["SEEK_SET", "SEEK_CUR", "SEEK_END", "SEEK_DATA", "SEEK_HOLE"], whence)
}

/// Name of a `shutdown` direction.
pub fn shutdown_direction(how: u64) -> Option<&'static str> {
    nth(&["SHUT_RD", "SHUT_WR", "SHUT_RDWR"], how)
}

/// Name of an `fsconfig` command.
pub fn fsconfig_command(command: u64) -> Option<&'static str> {
    const NAMES: [&str; 8] = [
        "FSCONFIG_SET_FLAG",
        "FSCONFIG_SET_STRING",
        "FSCONFIG_SET_BINARY",
        "FSCONFIG_SET_PATH",
        "FSCONFIG_SET_PATH_EMPTY",
        "FSCONFIG_SET_FD",
        "FSCONFIG_CMD_CREATE",
        "FSCONFIG_CMD_RECONFIGURE",
    ];
    nth(&NAMES, command)
}

fn nth(names: &[&'static str], index: u64) -> Option<&'static str> {
    names.get(usize::try_from(index).ok()?).copied()
}
