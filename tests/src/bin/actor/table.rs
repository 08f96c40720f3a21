//! The system calls that cases may make: numbers and parameters in the kernel's order.
//!
//! Names of parameters are those of Falco's generator, or of the manual page; `|` separates names that mean the same.

use Kind::{
    Address, AddressLength, Buffer, Default, Either, Fixed, How, Integer, Length, MaybeAddress, MaybeText,
    Message, Number, Ones, Preset, Room, Text, Zeros,
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

/// All calls. Those that arm64 lacks are missing there.
pub(crate) const ROWS: &[Row] = &[
    #[cfg(target_arch = "x86_64")]
    Row {
        name: "open",
        number: libc::SYS_open,
        manner: Manner::Plain,
        parameters: &[P("pathname", Text), P("flags", Number), P("mode", Default(0))],
    },
    #[cfg(target_arch = "x86_64")]
    Row {
        name: "creat",
        number: libc::SYS_creat,
        manner: Manner::Plain,
        parameters: &[P("pathname", Text), P("mode", Default(0))],
    },
    Row {
        name: "openat",
        number: libc::SYS_openat,
        manner: Manner::Plain,
        parameters: &[
            P("dirFd", Default(AT_FDCWD)),
            P("pathname", Text),
            P("flags", Number),
            P("mode", Default(0)),
        ],
    },
    Row {
        name: "openat2",
        number: libc::SYS_openat2,
        manner: Manner::Plain,
        parameters: &[P("dirFd", Default(AT_FDCWD)), P("pathname", Text), P("how", How), P("", Fixed(24))],
    },
    Row {
        name: "read",
        number: libc::SYS_read,
        manner: Manner::Plain,
        parameters: &[P("fd", Number), P("buffer|buf", Room), P("len|count", Length)],
    },
    Row {
        name: "write",
        number: libc::SYS_write,
        manner: Manner::Plain,
        parameters: &[P("fd", Number), P("buffer|buf", Buffer), P("len|count", Length)],
    },
    Row {
        name: "pread64",
        number: libc::SYS_pread64,
        manner: Manner::Plain,
        parameters: &[
            P("fd", Number),
            P("buffer|buf", Room),
            P("len|count", Length),
            P("offset", Default(0)),
        ],
    },
    Row {
        name: "pwrite64",
        number: libc::SYS_pwrite64,
        manner: Manner::Plain,
        parameters: &[
            P("fd", Number),
            P("buffer|buf", Buffer),
            P("len|count", Length),
            P("offset", Default(0)),
        ],
    },
    Row { name: "close", number: libc::SYS_close, manner: Manner::Plain, parameters: &[P("fd", Number)] },
    #[cfg(target_arch = "x86_64")]
    Row {
        name: "link",
        number: libc::SYS_link,
        manner: Manner::Plain,
        parameters: &[P("oldPath", Text), P("newPath", Text)],
    },
    Row {
        name: "linkat",
        number: libc::SYS_linkat,
        manner: Manner::Plain,
        parameters: &[
            P("oldDirFd", Default(AT_FDCWD)),
            P("oldPath", Text),
            P("newDirFd", Default(AT_FDCWD)),
            P("newPath", Text),
            P("flags", Default(0)),
        ],
    },
    #[cfg(target_arch = "x86_64")]
    Row {
        name: "symlink",
        number: libc::SYS_symlink,
        manner: Manner::Plain,
        parameters: &[P("target", Text), P("linkPath", Text)],
    },
    Row {
        name: "symlinkat",
        number: libc::SYS_symlinkat,
        manner: Manner::Plain,
        parameters: &[P("target", Text), P("newDirFd|linkDirFd", Default(AT_FDCWD)), P("linkPath", Text)],
    },
    #[cfg(target_arch = "x86_64")]
    Row {
        name: "unlink",
        number: libc::SYS_unlink,
        manner: Manner::Plain,
        parameters: &[P("pathname|path", Text)],
    },
    Row {
        name: "unlinkat",
        number: libc::SYS_unlinkat,
        manner: Manner::Plain,
        parameters: &[P("dirFd", Default(AT_FDCWD)), P("pathname|path|name", Text), P("flags", Default(0))],
    },
    #[cfg(target_arch = "x86_64")]
    Row {
        name: "rename",
        number: libc::SYS_rename,
        manner: Manner::Plain,
        parameters: &[P("oldPath", Text), P("newPath", Text)],
    },
    Row {
        name: "renameat",
        number: libc::SYS_renameat,
        manner: Manner::Plain,
        parameters: &[
            P("oldDirFd|oldDir", Default(AT_FDCWD)),
            P("oldPath", Text),
            P("newDirFd|newDir", Default(AT_FDCWD)),
            P("newPath", Text),
        ],
    },
    Row {
        name: "renameat2",
        number: libc::SYS_renameat2,
        manner: Manner::Plain,
        parameters: &[
            P("oldDirFd|oldDir", Default(AT_FDCWD)),
            P("oldPath", Text),
            P("newDirFd|newDir", Default(AT_FDCWD)),
            P("newPath", Text),
            P("flags", Default(0)),
        ],
    },
    #[cfg(target_arch = "x86_64")]
    Row {
        name: "mkdir",
        number: libc::SYS_mkdir,
        manner: Manner::Plain,
        parameters: &[P("pathname|path", Text), P("mode", Default(0))],
    },
    Row {
        name: "mkdirat",
        number: libc::SYS_mkdirat,
        manner: Manner::Plain,
        parameters: &[P("dirFd", Default(AT_FDCWD)), P("pathname|path", Text), P("mode", Default(0))],
    },
    #[cfg(target_arch = "x86_64")]
    Row {
        name: "rmdir",
        number: libc::SYS_rmdir,
        manner: Manner::Plain,
        parameters: &[P("pathname|path", Text)],
    },
    #[cfg(target_arch = "x86_64")]
    Row {
        name: "mknod",
        number: libc::SYS_mknod,
        manner: Manner::Plain,
        parameters: &[P("pathname|path", Text), P("mode", Default(0)), P("dev", Default(0))],
    },
    Row {
        name: "mknodat",
        number: libc::SYS_mknodat,
        manner: Manner::Plain,
        parameters: &[
            P("dirFd", Default(AT_FDCWD)),
            P("pathname|path", Text),
            P("mode", Default(0)),
            P("dev", Default(0)),
        ],
    },
    #[cfg(target_arch = "x86_64")]
    Row {
        name: "chmod",
        number: libc::SYS_chmod,
        manner: Manner::Plain,
        parameters: &[P("pathname|path|filename", Text), P("mode", Number)],
    },
    Row {
        name: "fchmod",
        number: libc::SYS_fchmod,
        manner: Manner::Plain,
        parameters: &[P("fd", Number), P("mode", Number)],
    },
    Row {
        name: "fchmodat",
        number: libc::SYS_fchmodat,
        manner: Manner::Plain,
        parameters: &[P("dirFd", Default(AT_FDCWD)), P("pathname|path|filename", Text), P("mode", Number)],
    },
    #[cfg(target_arch = "x86_64")]
    Row {
        name: "chown",
        number: libc::SYS_chown,
        manner: Manner::Plain,
        parameters: &[P("pathname|path", Text), P("owner|uid", Number), P("group|gid", Number)],
    },
    #[cfg(target_arch = "x86_64")]
    Row {
        name: "lchown",
        number: libc::SYS_lchown,
        manner: Manner::Plain,
        parameters: &[P("pathname|path", Text), P("owner|uid", Number), P("group|gid", Number)],
    },
    Row {
        name: "fchown",
        number: libc::SYS_fchown,
        manner: Manner::Plain,
        parameters: &[P("fd", Number), P("owner|uid", Number), P("group|gid", Number)],
    },
    Row {
        name: "fchownat",
        number: libc::SYS_fchownat,
        manner: Manner::Plain,
        parameters: &[
            P("dirFd", Default(AT_FDCWD)),
            P("pathname|path", Text),
            P("owner|uid", Number),
            P("group|gid", Number),
            P("flags", Default(0)),
        ],
    },
    Row {
        name: "truncate",
        number: libc::SYS_truncate,
        manner: Manner::Plain,
        parameters: &[P("pathname|path", Text), P("length", Default(0))],
    },
    Row {
        name: "ftruncate",
        number: libc::SYS_ftruncate,
        manner: Manner::Plain,
        parameters: &[P("fd", Number), P("length", Default(0))],
    },
    #[cfg(target_arch = "x86_64")]
    Row {
        name: "access",
        number: libc::SYS_access,
        manner: Manner::Plain,
        parameters: &[P("pathname|path", Text), P("mode", Default(0))],
    },
    Row {
        name: "faccessat",
        number: libc::SYS_faccessat,
        manner: Manner::Plain,
        parameters: &[P("dirFd", Default(AT_FDCWD)), P("pathname|path", Text), P("mode", Default(0))],
    },
    Row {
        name: "chdir",
        number: libc::SYS_chdir,
        manner: Manner::Plain,
        parameters: &[P("pathname|path", Text)],
    },
    Row { name: "fchdir", number: libc::SYS_fchdir, manner: Manner::Plain, parameters: &[P("fd", Number)] },
    Row {
        name: "chroot",
        number: libc::SYS_chroot,
        manner: Manner::Plain,
        parameters: &[P("pathname|path", Text)],
    },
    Row {
        name: "pivot_root",
        number: libc::SYS_pivot_root,
        manner: Manner::Plain,
        parameters: &[P("newRoot", Text), P("putOld", Text)],
    },
    Row { name: "dup", number: libc::SYS_dup, manner: Manner::Plain, parameters: &[P("oldFd|fd", Number)] },
    #[cfg(target_arch = "x86_64")]
    Row {
        name: "dup2",
        number: libc::SYS_dup2,
        manner: Manner::Plain,
        parameters: &[P("oldFd", Number), P("newFd", Number)],
    },
    Row {
        name: "dup3",
        number: libc::SYS_dup3,
        manner: Manner::Plain,
        parameters: &[P("oldFd", Number), P("newFd", Number), P("flags", Default(0))],
    },
    Row {
        name: "fcntl",
        number: libc::SYS_fcntl,
        manner: Manner::Plain,
        parameters: &[P("fd", Number), P("cmd|command", Number), P("arg", Default(0))],
    },
    Row {
        name: "flock",
        number: libc::SYS_flock,
        manner: Manner::Plain,
        parameters: &[P("fd", Number), P("operation", Number)],
    },
    #[cfg(target_arch = "x86_64")]
    Row { name: "pipe", number: libc::SYS_pipe, manner: Manner::Plain, parameters: &[P("pipefd", Zeros(8))] },
    Row {
        name: "pipe2",
        number: libc::SYS_pipe2,
        manner: Manner::Plain,
        parameters: &[P("pipefd", Zeros(8)), P("flags", Default(0))],
    },
    Row {
        name: "eventfd2",
        number: libc::SYS_eventfd2,
        manner: Manner::Plain,
        parameters: &[P("initval", Default(0)), P("flags", Default(0))],
    },
    Row {
        name: "epoll_create1",
        number: libc::SYS_epoll_create1,
        manner: Manner::Plain,
        parameters: &[P("flags", Default(0))],
    },
    Row {
        name: "inotify_init1",
        number: libc::SYS_inotify_init1,
        manner: Manner::Plain,
        parameters: &[P("flags", Default(0))],
    },
    Row {
        name: "inotify_add_watch",
        number: libc::SYS_inotify_add_watch,
        manner: Manner::Plain,
        parameters: &[P("fd", Number), P("pathname|path", Text), P("mask", Number)],
    },
    Row {
        name: "timerfd_create",
        number: libc::SYS_timerfd_create,
        manner: Manner::Plain,
        parameters: &[P("clockid|clock", Number), P("flags", Default(0))],
    },
    Row {
        name: "memfd_create",
        number: libc::SYS_memfd_create,
        manner: Manner::Plain,
        parameters: &[P("name", Text), P("flags", Default(0))],
    },
    Row {
        name: "userfaultfd",
        number: libc::SYS_userfaultfd,
        manner: Manner::Plain,
        parameters: &[P("flags", Default(0))],
    },
    Row {
        name: "io_uring_setup",
        number: libc::SYS_io_uring_setup,
        manner: Manner::Plain,
        parameters: &[P("entries", Number), P("params", Zeros(120))],
    },
    Row {
        name: "socket",
        number: libc::SYS_socket,
        manner: Manner::Plain,
        parameters: &[P("domain", Number), P("type", Number), P("protocol", Default(0))],
    },
    Row {
        name: "socketpair",
        number: libc::SYS_socketpair,
        manner: Manner::Plain,
        parameters: &[P("domain", Number), P("type", Number), P("protocol", Default(0)), P("sv", Zeros(8))],
    },
    Row {
        name: "bind",
        number: libc::SYS_bind,
        manner: Manner::Plain,
        parameters: &[P("fd|sockfd", Number), P("address|addr", Address), P("addrlen", AddressLength)],
    },
    Row {
        name: "listen",
        number: libc::SYS_listen,
        manner: Manner::Plain,
        parameters: &[P("fd|sockfd", Number), P("backlog", Default(0))],
    },
    Row {
        name: "connect",
        number: libc::SYS_connect,
        manner: Manner::Plain,
        parameters: &[
            P("fd|sockfd", Number),
            P("address|addr|destAddr", Address),
            P("addrlen", AddressLength),
        ],
    },
    Row {
        name: "accept4",
        number: libc::SYS_accept4,
        manner: Manner::Plain,
        parameters: &[
            P("fd|sockfd", Number),
            P("addr", Default(0)),
            P("addrlen", Default(0)),
            P("flags", Default(0)),
        ],
    },
    Row {
        name: "accept",
        number: libc::SYS_accept,
        manner: Manner::Plain,
        parameters: &[P("fd|sockfd", Number), P("addr", Default(0)), P("addrlen", Default(0))],
    },
    Row {
        name: "shutdown",
        number: libc::SYS_shutdown,
        manner: Manner::Plain,
        parameters: &[P("fd|sockfd", Number), P("how", Number)],
    },
    Row {
        name: "sendto",
        number: libc::SYS_sendto,
        manner: Manner::Plain,
        parameters: &[
            P("fd|sockfd", Number),
            P("buf|buffer", Buffer),
            P("len", Length),
            P("flags", Default(0)),
            P("address|destAddr|addr", MaybeAddress),
            P("addrlen", AddressLength),
        ],
    },
    Row {
        name: "sendmsg",
        number: libc::SYS_sendmsg,
        manner: Manner::Plain,
        parameters: &[P("fd|sockfd", Number), P("msg", Message), P("flags", Default(0))],
    },
    Row {
        name: "recvfrom",
        number: libc::SYS_recvfrom,
        manner: Manner::Plain,
        parameters: &[
            P("fd|sockfd", Number),
            P("buf|buffer", Room),
            P("len", Length),
            P("flags", Default(0)),
            P("srcAddr", Default(0)),
            P("addrlen", Default(0)),
        ],
    },
    Row {
        name: "setsockopt",
        number: libc::SYS_setsockopt,
        manner: Manner::Plain,
        parameters: &[
            P("fd|sockfd", Number),
            P("level", Number),
            P("optname|optionName|name", Number),
            P("optval|optionValue|value|val", Integer),
            P("", Fixed(4)),
        ],
    },
    Row {
        name: "getsockopt",
        number: libc::SYS_getsockopt,
        manner: Manner::Plain,
        parameters: &[
            P("fd|sockfd", Number),
            P("level", Number),
            P("optname|optionName|name", Number),
            P("optval", Zeros(4)),
            P("optlen", Preset(4)),
        ],
    },
    Row {
        name: "ptrace",
        number: libc::SYS_ptrace,
        manner: Manner::Plain,
        parameters: &[
            P("request", Number),
            P("pid", Default(0)),
            P("addr", Default(0)),
            P("data", Default(0)),
        ],
    },
    Row {
        name: "process_vm_readv",
        number: libc::SYS_process_vm_readv,
        manner: Manner::Plain,
        parameters: &[
            P("pid", Number),
            P("localIov", Default(0)),
            P("liovcnt", Default(0)),
            P("remoteIov", Default(0)),
            P("riovcnt", Default(0)),
            P("flags", Default(0)),
        ],
    },
    Row {
        name: "process_vm_writev",
        number: libc::SYS_process_vm_writev,
        manner: Manner::Plain,
        parameters: &[
            P("pid", Number),
            P("localIov", Default(0)),
            P("liovcnt", Default(0)),
            P("remoteIov", Default(0)),
            P("riovcnt", Default(0)),
            P("flags", Default(0)),
        ],
    },
    Row {
        name: "kill",
        number: libc::SYS_kill,
        manner: Manner::Plain,
        parameters: &[P("pid", Number), P("sig|signal", Number)],
    },
    Row {
        name: "tkill",
        number: libc::SYS_tkill,
        manner: Manner::Plain,
        parameters: &[P("tid", Number), P("sig|signal", Number)],
    },
    Row {
        name: "tgkill",
        number: libc::SYS_tgkill,
        manner: Manner::Plain,
        parameters: &[P("tgid|pid", Number), P("tid", Number), P("sig|signal", Number)],
    },
    Row {
        name: "pidfd_open",
        number: libc::SYS_pidfd_open,
        manner: Manner::Plain,
        parameters: &[P("pid", Number), P("flags", Default(0))],
    },
    Row {
        name: "pidfd_getfd",
        number: libc::SYS_pidfd_getfd,
        manner: Manner::Plain,
        parameters: &[P("pidfd", Number), P("targetFd", Number), P("flags", Default(0))],
    },
    Row {
        name: "pidfd_send_signal",
        number: libc::SYS_pidfd_send_signal,
        manner: Manner::Plain,
        parameters: &[
            P("pidfd", Number),
            P("sig|signal", Number),
            P("info", Default(0)),
            P("flags", Default(0)),
        ],
    },
    Row {
        name: "init_module",
        number: libc::SYS_init_module,
        manner: Manner::Plain,
        parameters: &[P("moduleImage|image", Buffer), P("len", Length), P("paramValues|params", MaybeText)],
    },
    Row {
        name: "finit_module",
        number: libc::SYS_finit_module,
        manner: Manner::Plain,
        parameters: &[P("fd", Number), P("paramValues|params", MaybeText), P("flags", Default(0))],
    },
    Row {
        name: "delete_module",
        number: libc::SYS_delete_module,
        manner: Manner::Plain,
        parameters: &[P("name", Text), P("flags", Default(0))],
    },
    Row {
        name: "bpf",
        number: libc::SYS_bpf,
        manner: Manner::Plain,
        parameters: &[P("cmd|command", Number), P("attr", Zeros(128)), P("size", Default(128))],
    },
    Row {
        name: "perf_event_open",
        number: libc::SYS_perf_event_open,
        manner: Manner::Plain,
        parameters: &[
            P("attr", Zeros(128)),
            P("pid", Default(0)),
            P("cpu", Default(-1)),
            P("groupFd", Default(-1)),
            P("flags", Default(0)),
        ],
    },
    Row {
        name: "mount",
        number: libc::SYS_mount,
        manner: Manner::Plain,
        parameters: &[
            P("source|dev", MaybeText),
            P("target|dir", Text),
            P("filesystemtype|fstype|type", MaybeText),
            P("flags|mountflags", Default(0)),
            P("data", MaybeText),
        ],
    },
    Row {
        name: "umount2",
        number: libc::SYS_umount2,
        manner: Manner::Plain,
        parameters: &[P("target|name", Text), P("flags", Default(0))],
    },
    Row {
        name: "unshare",
        number: libc::SYS_unshare,
        manner: Manner::Plain,
        parameters: &[P("flags", Number)],
    },
    Row {
        name: "setns",
        number: libc::SYS_setns,
        manner: Manner::Plain,
        parameters: &[P("fd", Number), P("nstype|flags", Default(0))],
    },
    Row { name: "setuid", number: libc::SYS_setuid, manner: Manner::Plain, parameters: &[P("uid", Number)] },
    Row { name: "setgid", number: libc::SYS_setgid, manner: Manner::Plain, parameters: &[P("gid", Number)] },
    Row {
        name: "setreuid",
        number: libc::SYS_setreuid,
        manner: Manner::Plain,
        parameters: &[P("ruid", Number), P("euid", Number)],
    },
    Row {
        name: "setregid",
        number: libc::SYS_setregid,
        manner: Manner::Plain,
        parameters: &[P("rgid", Number), P("egid", Number)],
    },
    Row {
        name: "setresuid",
        number: libc::SYS_setresuid,
        manner: Manner::Plain,
        parameters: &[P("ruid", Number), P("euid", Number), P("suid", Number)],
    },
    Row {
        name: "setresgid",
        number: libc::SYS_setresgid,
        manner: Manner::Plain,
        parameters: &[P("rgid", Number), P("egid", Number), P("sgid", Number)],
    },
    Row {
        name: "setfsuid",
        number: libc::SYS_setfsuid,
        manner: Manner::Plain,
        parameters: &[P("uid", Number)],
    },
    Row {
        name: "setfsgid",
        number: libc::SYS_setfsgid,
        manner: Manner::Plain,
        parameters: &[P("gid", Number)],
    },
    Row { name: "setsid", number: libc::SYS_setsid, manner: Manner::Plain, parameters: &[] },
    Row {
        name: "setpgid",
        number: libc::SYS_setpgid,
        manner: Manner::Plain,
        parameters: &[P("pid", Default(0)), P("pgid", Default(0))],
    },
    Row { name: "getpid", number: libc::SYS_getpid, manner: Manner::Plain, parameters: &[] },
    Row { name: "getuid", number: libc::SYS_getuid, manner: Manner::Plain, parameters: &[] },
    Row { name: "geteuid", number: libc::SYS_geteuid, manner: Manner::Plain, parameters: &[] },
    Row {
        name: "getcwd",
        number: libc::SYS_getcwd,
        manner: Manner::Plain,
        parameters: &[P("buf", Zeros(4096)), P("size", Default(4096))],
    },
    Row {
        name: "prctl",
        number: libc::SYS_prctl,
        manner: Manner::Plain,
        parameters: &[
            P("option", Number),
            P("arg2|name", Either),
            P("arg3", Default(0)),
            P("arg4", Default(0)),
            P("arg5", Default(0)),
        ],
    },
    Row {
        name: "seccomp",
        number: libc::SYS_seccomp,
        manner: Manner::Plain,
        parameters: &[P("operation|op", Number), P("flags", Default(0)), P("args", Default(0))],
    },
    Row {
        name: "setrlimit",
        number: libc::SYS_setrlimit,
        manner: Manner::Plain,
        parameters: &[P("resource", Number), P("rlim", Zeros(16))],
    },
    Row {
        name: "prlimit64",
        number: libc::SYS_prlimit64,
        manner: Manner::Plain,
        parameters: &[
            P("pid", Default(0)),
            P("resource", Number),
            P("newLimit", Default(0)),
            P("oldLimit", Zeros(16)),
        ],
    },
    Row {
        name: "mprotect",
        number: libc::SYS_mprotect,
        manner: Manner::Plain,
        parameters: &[P("addr", Default(0)), P("len", Default(0)), P("prot", Default(0))],
    },
    Row {
        name: "munmap",
        number: libc::SYS_munmap,
        manner: Manner::Plain,
        parameters: &[P("addr", Default(0)), P("len", Number)],
    },
    Row {
        name: "mmap",
        number: libc::SYS_mmap,
        manner: Manner::Plain,
        parameters: &[
            P("addr", Default(0)),
            P("length|len", Number),
            P("prot", Number),
            P("flags", Number),
            P("fd", Default(-1)),
            P("offset", Default(0)),
        ],
    },
    Row {
        name: "sethostname",
        number: libc::SYS_sethostname,
        manner: Manner::Plain,
        parameters: &[P("name", Buffer), P("len", Length)],
    },
    Row {
        name: "swapon",
        number: libc::SYS_swapon,
        manner: Manner::Plain,
        parameters: &[P("path|specialfile", Text), P("flags", Default(0))],
    },
    Row {
        name: "swapoff",
        number: libc::SYS_swapoff,
        manner: Manner::Plain,
        parameters: &[P("path|specialfile", Text)],
    },
    Row {
        name: "quotactl",
        number: libc::SYS_quotactl,
        manner: Manner::Plain,
        parameters: &[P("cmd", Number), P("special", Text), P("id", Default(0)), P("addr", Default(0))],
    },
    Row {
        name: "sched_setaffinity",
        number: libc::SYS_sched_setaffinity,
        manner: Manner::Plain,
        parameters: &[P("pid", Default(0)), P("size", Default(8)), P("mask", Ones(8))],
    },
    Row {
        name: "sched_setscheduler",
        number: libc::SYS_sched_setscheduler,
        manner: Manner::Plain,
        parameters: &[P("pid", Default(0)), P("policy", Number), P("priority", Integer)],
    },
    Row {
        name: "clock_settime",
        number: libc::SYS_clock_settime,
        manner: Manner::Plain,
        parameters: &[P("clockid|clock", Number), P("tp", Default(0))],
    },
    Row {
        name: "name_to_handle_at",
        number: libc::SYS_name_to_handle_at,
        manner: Manner::Plain,
        parameters: &[
            P("dirFd", Default(AT_FDCWD)),
            P("pathname|path", Text),
            P("handle", Zeros(136)),
            P("mountId", Zeros(8)),
            P("flags", Default(0)),
        ],
    },
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
