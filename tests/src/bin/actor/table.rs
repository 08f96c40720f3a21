//! The system calls that cases may make: numbers and parameters in the kernel's order.
//!
//! Names of parameters are those of Falco's generator, or of the manual page; `|` separates names that mean the same.

use Kind::{
    Address, AddressLength, Attributes, Buffer, Default, Either, Fixed, Handle, How, Integer, Length,
    MaybeAddress, MaybeText, Message, Number, Ones, Preset, Room, Text, Zeros,
};
use Parameter as P;

/// What a parameter looks like.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    /// A number, a name of a constant, a descriptor.
    Number,
    /// The same, with a value when the case gives none.
    Default(i64),
    /// A value no case gives.
    Fixed(i64),
    /// A NUL-ended text.
    Text,
    /// A NUL-ended text, empty when the case gives none.
    MaybeText,
    /// A number or a text.
    Either,
    /// Bytes to be read by the kernel.
    Buffer,
    /// Room for the kernel to write to: as long as the text given or as the next parameter says.
    Room,
    /// Length of the bytes before it.
    Length,
    /// A socket address.
    Address,
    /// A socket address, or none.
    MaybeAddress,
    /// Length of the address before it.
    AddressLength,
    /// A `struct open_how`.
    How,
    /// A `struct file_handle`, of the file whose path is given.
    Handle,
    /// A `union bpf_attr`: bytes, or `program` for that of a small program to be loaded.
    Attributes,
    /// A `struct msghdr` from an object with `buf` and `address`.
    Message,
    /// Address of an `int`.
    Integer,
    /// Address of an `int` with this value.
    Preset(i32),
    /// Address of this many zero bytes, or of those given.
    Zeros(usize),
    /// Address of this many bytes with all bits set.
    Ones(usize),
}

/// Name and kind of a parameter.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Parameter(pub(crate) &'static str, pub(crate) Kind);

/// How a call is made.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Manner {
    /// Returns once.
    Plain,
    /// Returns in a copy of the process too, which ends at once.
    Twice,
}

/// One system call.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) number: i64,
    pub(crate) manner: Manner,
    pub(crate) parameters: &'static [Parameter],
}

/// Directory descriptor that stands for the working directory.
const AT_FDCWD: i64 = libc::AT_FDCWD as i64;

/// A call that returns once.
const fn plain(name: &'static str, number: i64, parameters: &'static [Parameter]) -> Row {
    Row { name, number, manner: Manner::Plain, parameters }
}

/// All calls. Those that arm64 lacks are missing there.
pub(crate) const ROWS: &[Row] = &[
    #[cfg(target_arch = "x86_64")]
    plain("open", libc::SYS_open, &[P("pathname", Text), P("flags", Number), P("mode", Default(0))]),
    #[cfg(target_arch = "x86_64")]
    plain("creat", libc::SYS_creat, &[P("pathname", Text), P("mode", Default(0))]),
    plain(
        "openat",
        libc::SYS_openat,
        &[P("dirFd", Default(AT_FDCWD)), P("pathname", Text), P("flags", Number), P("mode", Default(0))],
    ),
    plain(
        "openat2",
        libc::SYS_openat2,
        &[P("dirFd", Default(AT_FDCWD)), P("pathname", Text), P("how", How), P("", Fixed(24))],
    ),
    plain("read", libc::SYS_read, &[P("fd", Number), P("buffer|buf", Room), P("len|count", Length)]),
    plain("write", libc::SYS_write, &[P("fd", Number), P("buffer|buf", Buffer), P("len|count", Length)]),
    plain(
        "pread64",
        libc::SYS_pread64,
        &[P("fd", Number), P("buffer|buf", Room), P("len|count", Length), P("offset", Default(0))],
    ),
    plain(
        "pwrite64",
        libc::SYS_pwrite64,
        &[P("fd", Number), P("buffer|buf", Buffer), P("len|count", Length), P("offset", Default(0))],
    ),
    plain("close", libc::SYS_close, &[P("fd", Number)]),
    #[cfg(target_arch = "x86_64")]
    plain("link", libc::SYS_link, &[P("oldPath", Text), P("newPath", Text)]),
    plain(
        "linkat",
        libc::SYS_linkat,
        &[
            P("oldDirFd", Default(AT_FDCWD)),
            P("oldPath", Text),
            P("newDirFd", Default(AT_FDCWD)),
            P("newPath", Text),
            P("flags", Default(0)),
        ],
    ),
    #[cfg(target_arch = "x86_64")]
    plain("symlink", libc::SYS_symlink, &[P("target", Text), P("linkPath", Text)]),
    plain(
        "symlinkat",
        libc::SYS_symlinkat,
        &[P("target", Text), P("newDirFd|linkDirFd", Default(AT_FDCWD)), P("linkPath", Text)],
    ),
    #[cfg(target_arch = "x86_64")]
    plain("unlink", libc::SYS_unlink, &[P("pathname|path", Text)]),
    plain(
        "unlinkat",
        libc::SYS_unlinkat,
        &[P("dirFd", Default(AT_FDCWD)), P("pathname|path|name", Text), P("flags", Default(0))],
    ),
    #[cfg(target_arch = "x86_64")]
    plain("rename", libc::SYS_rename, &[P("oldPath", Text), P("newPath", Text)]),
    plain(
        "renameat",
        libc::SYS_renameat,
        &[
            P("oldDirFd|oldDir", Default(AT_FDCWD)),
            P("oldPath", Text),
            P("newDirFd|newDir", Default(AT_FDCWD)),
            P("newPath", Text),
        ],
    ),
    plain(
        "renameat2",
        libc::SYS_renameat2,
        &[
            P("oldDirFd|oldDir", Default(AT_FDCWD)),
            P("oldPath", Text),
            P("newDirFd|newDir", Default(AT_FDCWD)),
            P("newPath", Text),
            P("flags", Default(0)),
        ],
    ),
    #[cfg(target_arch = "x86_64")]
    plain("mkdir", libc::SYS_mkdir, &[P("pathname|path", Text), P("mode", Default(0))]),
    plain(
        "mkdirat",
        libc::SYS_mkdirat,
        &[P("dirFd", Default(AT_FDCWD)), P("pathname|path", Text), P("mode", Default(0))],
    ),
    #[cfg(target_arch = "x86_64")]
    plain("rmdir", libc::SYS_rmdir, &[P("pathname|path", Text)]),
    #[cfg(target_arch = "x86_64")]
    plain("mknod", libc::SYS_mknod, &[P("pathname|path", Text), P("mode", Default(0)), P("dev", Default(0))]),
    plain(
        "mknodat",
        libc::SYS_mknodat,
        &[
            P("dirFd", Default(AT_FDCWD)),
            P("pathname|path", Text),
            P("mode", Default(0)),
            P("dev", Default(0)),
        ],
    ),
    #[cfg(target_arch = "x86_64")]
    plain("chmod", libc::SYS_chmod, &[P("pathname|path|filename", Text), P("mode", Number)]),
    plain("fchmod", libc::SYS_fchmod, &[P("fd", Number), P("mode", Number)]),
    plain(
        "fchmodat",
        libc::SYS_fchmodat,
        &[P("dirFd", Default(AT_FDCWD)), P("pathname|path|filename", Text), P("mode", Number)],
    ),
    #[cfg(target_arch = "x86_64")]
    plain(
        "chown",
        libc::SYS_chown,
        &[P("pathname|path", Text), P("owner|uid", Number), P("group|gid", Number)],
    ),
    #[cfg(target_arch = "x86_64")]
    plain(
        "lchown",
        libc::SYS_lchown,
        &[P("pathname|path", Text), P("owner|uid", Number), P("group|gid", Number)],
    ),
    plain("fchown", libc::SYS_fchown, &[P("fd", Number), P("owner|uid", Number), P("group|gid", Number)]),
    plain(
        "fchownat",
        libc::SYS_fchownat,
        &[
            P("dirFd", Default(AT_FDCWD)),
            P("pathname|path", Text),
            P("owner|uid", Number),
            P("group|gid", Number),
            P("flags", Default(0)),
        ],
    ),
    plain("truncate", libc::SYS_truncate, &[P("pathname|path", Text), P("length", Default(0))]),
    plain("ftruncate", libc::SYS_ftruncate, &[P("fd", Number), P("length", Default(0))]),
    #[cfg(target_arch = "x86_64")]
    plain("access", libc::SYS_access, &[P("pathname|path", Text), P("mode", Default(0))]),
    plain(
        "faccessat",
        libc::SYS_faccessat,
        &[P("dirFd", Default(AT_FDCWD)), P("pathname|path", Text), P("mode", Default(0))],
    ),
    plain("chdir", libc::SYS_chdir, &[P("pathname|path", Text)]),
    plain("fchdir", libc::SYS_fchdir, &[P("fd", Number)]),
    plain("chroot", libc::SYS_chroot, &[P("pathname|path", Text)]),
    plain("pivot_root", libc::SYS_pivot_root, &[P("newRoot", Text), P("putOld", Text)]),
    plain("dup", libc::SYS_dup, &[P("oldFd|fd", Number)]),
    #[cfg(target_arch = "x86_64")]
    plain("dup2", libc::SYS_dup2, &[P("oldFd", Number), P("newFd", Number)]),
    plain("dup3", libc::SYS_dup3, &[P("oldFd", Number), P("newFd", Number), P("flags", Default(0))]),
    plain("fcntl", libc::SYS_fcntl, &[P("fd", Number), P("cmd|command", Number), P("arg", Default(0))]),
    plain("flock", libc::SYS_flock, &[P("fd", Number), P("operation", Number)]),
    #[cfg(target_arch = "x86_64")]
    plain("pipe", libc::SYS_pipe, &[P("pipefd", Zeros(8))]),
    plain("pipe2", libc::SYS_pipe2, &[P("pipefd", Zeros(8)), P("flags", Default(0))]),
    plain("eventfd2", libc::SYS_eventfd2, &[P("initval", Default(0)), P("flags", Default(0))]),
    plain("epoll_create1", libc::SYS_epoll_create1, &[P("flags", Default(0))]),
    plain("inotify_init1", libc::SYS_inotify_init1, &[P("flags", Default(0))]),
    plain(
        "inotify_add_watch",
        libc::SYS_inotify_add_watch,
        &[P("fd", Number), P("pathname|path", Text), P("mask", Number)],
    ),
    plain("timerfd_create", libc::SYS_timerfd_create, &[P("clockid|clock", Number), P("flags", Default(0))]),
    plain("memfd_create", libc::SYS_memfd_create, &[P("name", Text), P("flags", Default(0))]),
    plain("userfaultfd", libc::SYS_userfaultfd, &[P("flags", Default(0))]),
    plain("io_uring_setup", libc::SYS_io_uring_setup, &[P("entries", Number), P("params", Zeros(120))]),
    plain("socket", libc::SYS_socket, &[P("domain", Number), P("type", Number), P("protocol", Default(0))]),
    plain(
        "socketpair",
        libc::SYS_socketpair,
        &[P("domain", Number), P("type", Number), P("protocol", Default(0)), P("sv", Zeros(8))],
    ),
    plain(
        "bind",
        libc::SYS_bind,
        &[P("fd|sockfd", Number), P("address|addr", Address), P("addrlen", AddressLength)],
    ),
    plain("listen", libc::SYS_listen, &[P("fd|sockfd", Number), P("backlog", Default(0))]),
    plain(
        "connect",
        libc::SYS_connect,
        &[P("fd|sockfd", Number), P("address|addr|destAddr", Address), P("addrlen", AddressLength)],
    ),
    plain(
        "accept4",
        libc::SYS_accept4,
        &[P("fd|sockfd", Number), P("addr", Default(0)), P("addrlen", Default(0)), P("flags", Default(0))],
    ),
    plain(
        "accept",
        libc::SYS_accept,
        &[P("fd|sockfd", Number), P("addr", Default(0)), P("addrlen", Default(0))],
    ),
    plain("shutdown", libc::SYS_shutdown, &[P("fd|sockfd", Number), P("how", Number)]),
    plain(
        "sendto",
        libc::SYS_sendto,
        &[
            P("fd|sockfd", Number),
            P("buf|buffer", Buffer),
            P("len", Length),
            P("flags", Default(0)),
            P("address|destAddr|addr", MaybeAddress),
            P("addrlen", AddressLength),
        ],
    ),
    plain("sendmsg", libc::SYS_sendmsg, &[P("fd|sockfd", Number), P("msg", Message), P("flags", Default(0))]),
    plain(
        "recvfrom",
        libc::SYS_recvfrom,
        &[
            P("fd|sockfd", Number),
            P("buf|buffer", Room),
            P("len", Length),
            P("flags", Default(0)),
            P("srcAddr", Default(0)),
            P("addrlen", Default(0)),
        ],
    ),
    plain(
        "setsockopt",
        libc::SYS_setsockopt,
        &[
            P("fd|sockfd", Number),
            P("level", Number),
            P("optname|optionName|name", Number),
            P("optval|optionValue|value|val", Integer),
            P("", Fixed(4)),
        ],
    ),
    plain(
        "getsockopt",
        libc::SYS_getsockopt,
        &[
            P("fd|sockfd", Number),
            P("level", Number),
            P("optname|optionName|name", Number),
            P("optval", Zeros(4)),
            P("optlen", Preset(4)),
        ],
    ),
    plain(
        "ptrace",
        libc::SYS_ptrace,
        &[P("request", Number), P("pid", Default(0)), P("addr", Default(0)), P("data", Default(0))],
    ),
    plain(
        "process_vm_readv",
        libc::SYS_process_vm_readv,
        &[
            P("pid", Number),
            P("localIov", Default(0)),
            P("liovcnt", Default(0)),
            P("remoteIov", Default(0)),
            P("riovcnt", Default(0)),
            P("flags", Default(0)),
        ],
    ),
    plain(
        "process_vm_writev",
        libc::SYS_process_vm_writev,
        &[
            P("pid", Number),
            P("localIov", Default(0)),
            P("liovcnt", Default(0)),
            P("remoteIov", Default(0)),
            P("riovcnt", Default(0)),
            P("flags", Default(0)),
        ],
    ),
    plain("kill", libc::SYS_kill, &[P("pid", Number), P("sig|signal", Number)]),
    plain("tkill", libc::SYS_tkill, &[P("tid", Number), P("sig|signal", Number)]),
    plain("tgkill", libc::SYS_tgkill, &[P("tgid|pid", Number), P("tid", Number), P("sig|signal", Number)]),
    plain("pidfd_open", libc::SYS_pidfd_open, &[P("pid", Number), P("flags", Default(0))]),
    plain(
        "pidfd_getfd",
        libc::SYS_pidfd_getfd,
        &[P("pidfd", Number), P("targetFd", Number), P("flags", Default(0))],
    ),
    plain(
        "pidfd_send_signal",
        libc::SYS_pidfd_send_signal,
        &[P("pidfd", Number), P("sig|signal", Number), P("info", Default(0)), P("flags", Default(0))],
    ),
    plain(
        "init_module",
        libc::SYS_init_module,
        &[P("moduleImage|image", Buffer), P("len", Length), P("paramValues|params", MaybeText)],
    ),
    plain(
        "finit_module",
        libc::SYS_finit_module,
        &[P("fd", Number), P("paramValues|params", MaybeText), P("flags", Default(0))],
    ),
    plain("delete_module", libc::SYS_delete_module, &[P("name", Text), P("flags", Default(0))]),
    plain("bpf", libc::SYS_bpf, &[P("cmd|command", Number), P("attr", Attributes), P("size", Default(128))]),
    plain(
        "perf_event_open",
        libc::SYS_perf_event_open,
        &[
            P("attr", Attributes),
            P("pid", Default(0)),
            P("cpu", Default(-1)),
            P("groupFd", Default(-1)),
            P("flags", Default(0)),
        ],
    ),
    plain(
        "mount",
        libc::SYS_mount,
        &[
            P("source|dev", MaybeText),
            P("target|dir", Text),
            P("filesystemtype|fstype|type", MaybeText),
            P("flags|mountflags", Default(0)),
            P("data", MaybeText),
        ],
    ),
    plain("umount2", libc::SYS_umount2, &[P("target|name", Text), P("flags", Default(0))]),
    plain("unshare", libc::SYS_unshare, &[P("flags", Number)]),
    plain("setns", libc::SYS_setns, &[P("fd", Number), P("nstype|flags", Default(0))]),
    plain("setuid", libc::SYS_setuid, &[P("uid", Number)]),
    plain("setgid", libc::SYS_setgid, &[P("gid", Number)]),
    plain("setreuid", libc::SYS_setreuid, &[P("ruid", Number), P("euid", Number)]),
    plain("setregid", libc::SYS_setregid, &[P("rgid", Number), P("egid", Number)]),
    plain("setresuid", libc::SYS_setresuid, &[P("ruid", Number), P("euid", Number), P("suid", Number)]),
    plain("setresgid", libc::SYS_setresgid, &[P("rgid", Number), P("egid", Number), P("sgid", Number)]),
    plain("setfsuid", libc::SYS_setfsuid, &[P("uid", Number)]),
    plain("setfsgid", libc::SYS_setfsgid, &[P("gid", Number)]),
    plain("setsid", libc::SYS_setsid, &[]),
    plain("setpgid", libc::SYS_setpgid, &[P("pid", Default(0)), P("pgid", Default(0))]),
    plain("getpid", libc::SYS_getpid, &[]),
    plain("getuid", libc::SYS_getuid, &[]),
    plain("geteuid", libc::SYS_geteuid, &[]),
    plain("getcwd", libc::SYS_getcwd, &[P("buf", Zeros(4096)), P("size", Default(4096))]),
    plain(
        "prctl",
        libc::SYS_prctl,
        &[
            P("option", Number),
            P("arg2|name", Either),
            P("arg3", Default(0)),
            P("arg4", Default(0)),
            P("arg5", Default(0)),
        ],
    ),
    plain(
        "seccomp",
        libc::SYS_seccomp,
        &[P("operation|op", Number), P("flags", Default(0)), P("args", Default(0))],
    ),
    plain("setrlimit", libc::SYS_setrlimit, &[P("resource", Number), P("rlim", Zeros(16))]),
    plain(
        "prlimit64",
        libc::SYS_prlimit64,
        &[P("pid", Default(0)), P("resource", Number), P("newLimit", Default(0)), P("oldLimit", Zeros(16))],
    ),
    plain(
        "mprotect",
        libc::SYS_mprotect,
        &[P("addr", Default(0)), P("len", Default(0)), P("prot", Default(0))],
    ),
    plain("munmap", libc::SYS_munmap, &[P("addr", Default(0)), P("len", Number)]),
    plain(
        "mmap",
        libc::SYS_mmap,
        &[
            P("addr", Default(0)),
            P("length|len", Number),
            P("prot", Number),
            P("flags", Number),
            P("fd", Default(-1)),
            P("offset", Default(0)),
        ],
    ),
    plain("sethostname", libc::SYS_sethostname, &[P("name", Buffer), P("len", Length)]),
    plain("swapon", libc::SYS_swapon, &[P("path|specialfile", Text), P("flags", Default(0))]),
    plain("swapoff", libc::SYS_swapoff, &[P("path|specialfile", Text)]),
    plain(
        "quotactl",
        libc::SYS_quotactl,
        &[P("cmd", Number), P("special", Text), P("id", Default(0)), P("addr", Default(0))],
    ),
    plain(
        "sched_setaffinity",
        libc::SYS_sched_setaffinity,
        &[P("pid", Default(0)), P("size", Default(8)), P("mask", Ones(8))],
    ),
    plain(
        "sched_setscheduler",
        libc::SYS_sched_setscheduler,
        &[P("pid", Default(0)), P("policy", Number), P("priority", Integer)],
    ),
    plain("settimeofday", libc::SYS_settimeofday, &[P("tv", Default(0)), P("tz", Default(0))]),
    plain("clock_settime", libc::SYS_clock_settime, &[P("clockid|clock", Number), P("tp", Default(0))]),
    plain(
        "name_to_handle_at",
        libc::SYS_name_to_handle_at,
        &[
            P("dirFd", Default(AT_FDCWD)),
            P("pathname|path", Text),
            P("handle", Zeros(136)),
            P("mountId", Zeros(8)),
            P("flags", Default(0)),
        ],
    ),
    plain(
        "open_by_handle_at",
        libc::SYS_open_by_handle_at,
        &[P("mountFd", Number), P("pathname|path", Handle), P("flags", Number)],
    ),
    #[cfg(target_arch = "x86_64")]
    Row { name: "fork", number: libc::SYS_fork, manner: Manner::Twice, parameters: &[] },
    Row {
        name: "clone",
        number: libc::SYS_clone,
        manner: Manner::Twice,
        parameters: &[
            P("flags", Number),
            P("stack", Default(0)),
            P("parentTid", Default(0)),
            P("childTid", Default(0)),
            P("tls", Default(0)),
        ],
    },
];
