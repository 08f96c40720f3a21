//! The event table: one row per event gives its constant, its name, its group and its parameters.
//!
//! Only the exit form of a system call is listed (enter events carry no more than it does). System calls without
//! parameters of their own follow as generic ones, so that a rule may name them.

use super::{CREATES_FD, DESTROYS_FD, MODIFIES_STATE, READS_FD, USES_FD, WAITS, WRITES_FD};
use super::{Category, EventDef, EventKind, Param, ParamType};

/// Parameters of every generic system call event.
const GENERIC: &[Param] =
    &[Param { name: "ID", ty: ParamType::SyscallId }, Param { name: "nativeID", ty: ParamType::Uint(16) }];

/// Expands the rows to [`EVENTS`] and to one constant per event in [`event_ids`].
macro_rules! events {
    (own {$($id:ident $name:literal $kind:ident $category:ident ($flags:expr)
        {$($param:ident: $ty:ident $(($bits:literal))?),*};)*}
        generic { $($gid:ident $gname:literal)* }
    ) => {
        /// Position of each event in the table; makes the constants of [`event_ids`] agree with it.
        #[expect(non_camel_case_types, reason = "variants are named like the constants they number")]
        #[expect(clippy::upper_case_acronyms, reason = "variants are named like the constants they number")]
        #[repr(u16)]
        enum Ordinal { $($id,)* $($gid),* }

        /// One constant per event: its name in upper case.
        pub mod event_ids {
            use super::Ordinal;
            use crate::catalog::EventId;

            $(#[doc = concat!("`", $name, "`")] pub const $id: EventId = EventId(Ordinal::$id as u16);)*
            $(#[doc = concat!("`", $gname, "`")] pub const $gid: EventId = EventId(Ordinal::$gid as u16);)*
        }

        /// All events: those with parameters of their own first, then the generic system calls.
        pub static EVENTS: &[EventDef] = &[
            $(EventDef {
                name: $name,
                kind: EventKind::$kind,
                category: Category::$category,
                generic: false,
                flags: $flags,
                params: &[$(Param { name: stringify!($param), ty: ParamType::$ty $(($bits))? }),*],
            },)*
            $(EventDef {
                name: $gname,
                kind: EventKind::Syscall,
                category: Category::Other,
                generic: true,
                flags: 0,
                params: GENERIC,
            }),*
        ];
    };
}

events! {
    own {
        SYSCALL "syscall" Syscall Other (0) {ID: SyscallId, nativeID: Uint(16)};
        OPEN "open" Syscall File (CREATES_FD | MODIFIES_STATE) {
            fd: Fd, name: Path, flags: Flags(32), mode: Uint(32), dev: Uint(32), ino: Uint(64)
        };
        CLOSE "close" Syscall IoOther (DESTROYS_FD | USES_FD | MODIFIES_STATE) {res: Errno, fd: Fd};
        READ "read" Syscall IoRead (USES_FD | READS_FD) {res: Errno, data: Buffer, fd: Fd, size: Uint(32)};
        WRITE "write" Syscall IoWrite (USES_FD | WRITES_FD) {
            res: Errno, data: Buffer, fd: Fd, size: Uint(32)
        };
        SOCKET "socket" Syscall Net (CREATES_FD | MODIFIES_STATE) {
            fd: Fd, domain: EnumFlags(32), type: Uint(32), proto: Uint(32), flags: Flags(32)
        };
        BIND "bind" Syscall Net (USES_FD | MODIFIES_STATE) {res: Errno, addr: SockAddr, fd: Fd};
        CONNECT "connect" Syscall Net (USES_FD | MODIFIES_STATE) {
            res: Errno, tuple: SockTuple, fd: Fd, addr: SockAddr
        };
        LISTEN "listen" Syscall Net (USES_FD) {res: Errno, fd: Fd, backlog: Int(32)};
        SEND "send" Syscall IoWrite (USES_FD | WRITES_FD) {
            res: Errno, data: Buffer, fd: Fd, size: Uint(32), tuple: SockTuple
        };
        SENDTO "sendto" Syscall IoWrite (USES_FD | WRITES_FD | MODIFIES_STATE) {
            res: Errno, data: Buffer, fd: Fd, size: Uint(32), tuple: SockTuple
        };
        RECV "recv" Syscall IoRead (USES_FD | READS_FD) {
            res: Errno, data: Buffer, fd: Fd, size: Uint(32), tuple: SockTuple
        };
        RECVFROM "recvfrom" Syscall IoRead (USES_FD | READS_FD | MODIFIES_STATE) {
            res: Errno, data: Buffer, tuple: SockTuple, fd: Fd, size: Uint(32)
        };
        SHUTDOWN "shutdown" Syscall Net (USES_FD | MODIFIES_STATE) {res: Errno, fd: Fd, how: EnumFlags(8)};
        GETSOCKNAME "getsockname" Syscall Net (0) {};
        GETPEERNAME "getpeername" Syscall Net (0) {};
        SOCKETPAIR "socketpair" Syscall Ipc (CREATES_FD | MODIFIES_STATE) {
            res: Errno, fd1: Fd, fd2: Fd, source: Uint(64), peer: Uint(64), domain: EnumFlags(32),
            type: Uint(32), proto: Uint(32)
        };
        SETSOCKOPT "setsockopt" Syscall Net (USES_FD) {
            res: Errno, fd: Fd, level: EnumFlags(8), optname: EnumFlags(8), val: Dyn,
            optlen: Uint(32)
        };
        GETSOCKOPT "getsockopt" Syscall Net (USES_FD | MODIFIES_STATE) {
            res: Errno, fd: Fd, level: EnumFlags(8), optname: EnumFlags(8), val: Dyn,
            optlen: Uint(32)
        };
        SENDMSG "sendmsg" Syscall IoWrite (USES_FD | WRITES_FD | MODIFIES_STATE) {
            res: Errno, data: Buffer, fd: Fd, size: Uint(32), tuple: SockTuple
        };
        SENDMMSG "sendmmsg" Syscall IoWrite (USES_FD | WRITES_FD | MODIFIES_STATE) {
            res: Errno, fd: Fd, size: Uint(32), data: Buffer, tuple: SockTuple
        };
        RECVMSG "recvmsg" Syscall IoRead (USES_FD | READS_FD | MODIFIES_STATE) {
            res: Errno, size: Uint(32), data: Buffer, tuple: SockTuple, msgcontrol: Buffer, fd: Fd
        };
        RECVMMSG "recvmmsg" Syscall IoRead (USES_FD | READS_FD | MODIFIES_STATE) {
            res: Errno, fd: Fd, size: Uint(32), data: Buffer, tuple: SockTuple, msgcontrol: Buffer
        };
        CREAT "creat" Syscall File (CREATES_FD | MODIFIES_STATE) {
            fd: Fd, name: Path, mode: Uint(32), dev: Uint(32), ino: Uint(64), creat_flags: Flags(16)
        };
        PIPE "pipe" Syscall Ipc (CREATES_FD | MODIFIES_STATE) {res: Errno, fd1: Fd, fd2: Fd, ino: Uint(64)};
        EVENTFD "eventfd" Syscall Ipc (CREATES_FD | MODIFIES_STATE) {
            res: Fd, initval: Uint(64), flags: Uint(32)
        };
        FUTEX "futex" Syscall Ipc (0) {res: Errno, addr: Uint(64), op: Flags(16), val: Uint(64)};
        STAT "stat" Syscall File (0) {res: Errno, path: Path};
        LSTAT "lstat" Syscall File (0) {res: Errno, path: Path};
        FSTAT "fstat" Syscall File (USES_FD) {res: Errno, fd: Fd};
        STAT64 "stat64" Syscall File (0) {res: Errno, path: Path};
        LSTAT64 "lstat64" Syscall File (0) {res: Errno, path: Path};
        FSTAT64 "fstat64" Syscall File (0) {res: Errno};
        EPOLL_WAIT "epoll_wait" Syscall Wait (WAITS) {res: Errno, maxevents: Errno};
        POLL "poll" Syscall Wait (WAITS) {res: Errno, fds: FdList, timeout: Int(64)};
        SELECT "select" Syscall Wait (WAITS) {res: Errno};
        LSEEK "lseek" Syscall File (USES_FD) {res: Errno, fd: Fd, offset: Uint(64), whence: EnumFlags(8)};
        LLSEEK "llseek" Syscall File (USES_FD) {res: Errno, fd: Fd, offset: Uint(64), whence: EnumFlags(8)};
        GETCWD "getcwd" Syscall File (0) {res: Errno, path: Text};
        CHDIR "chdir" Syscall File (MODIFIES_STATE) {res: Errno, path: Text};
        FCHDIR "fchdir" Syscall File (USES_FD | MODIFIES_STATE) {res: Errno, fd: Fd};
        PREAD "pread" Syscall IoRead (USES_FD | READS_FD) {
            res: Errno, data: Buffer, fd: Fd, size: Uint(32), pos: Uint(64)
        };
        PWRITE "pwrite" Syscall IoWrite (USES_FD | WRITES_FD) {
            res: Errno, data: Buffer, fd: Fd, size: Uint(32), pos: Uint(64)
        };
        READV "readv" Syscall IoRead (USES_FD | READS_FD) {res: Errno, size: Uint(32), data: Buffer, fd: Fd};
        WRITEV "writev" Syscall IoWrite (USES_FD | WRITES_FD) {
            res: Errno, data: Buffer, fd: Fd, size: Uint(32)
        };
        PREADV "preadv" Syscall IoRead (USES_FD | READS_FD) {
            res: Errno, size: Uint(32), data: Buffer, fd: Fd, pos: Uint(64)
        };
        PWRITEV "pwritev" Syscall IoWrite (USES_FD | WRITES_FD) {
            res: Errno, data: Buffer, fd: Fd, size: Uint(32), pos: Uint(64)
        };
        SIGNALFD "signalfd" Syscall Signal (CREATES_FD | MODIFIES_STATE) {
            res: Fd, fd: Fd, mask: Uint(32), flags: Uint(8)
        };
        KILL "kill" Syscall Signal (0) {res: Errno, pid: Pid, sig: Signal};
        TKILL "tkill" Syscall Signal (0) {res: Errno, tid: Pid, sig: Signal};
        TGKILL "tgkill" Syscall Signal (0) {res: Errno, pid: Pid, tid: Pid, sig: Signal};
        NANOSLEEP "nanosleep" Syscall Sleep (WAITS) {res: Errno, interval: RelTime};
        TIMERFD_CREATE "timerfd_create" Syscall Time (CREATES_FD | MODIFIES_STATE) {
            res: Fd, clockid: Uint(8), flags: Uint(8)
        };
        INOTIFY_INIT "inotify_init" Syscall Ipc (CREATES_FD | MODIFIES_STATE) {res: Fd, flags: Uint(8)};
        GETRLIMIT "getrlimit" Syscall Process (0) {
            res: Errno, cur: Int(64), max: Int(64), resource: EnumFlags(8)
        };
        SETRLIMIT "setrlimit" Syscall Process (0) {
            res: Errno, cur: Int(64), max: Int(64), resource: EnumFlags(8)
        };
        PRLIMIT "prlimit" Syscall Process (0) {
            res: Errno, newcur: Int(64), newmax: Int(64), oldcur: Int(64), oldmax: Int(64),
            pid: Int(64), resource: EnumFlags(8)
        };
        DROP "drop" Meta Internal (0) {ratio: Uint(32)};
        FCNTL "fcntl" Syscall IoOther (USES_FD | MODIFIES_STATE) {
            res: Fd, fd: Fd, cmd: EnumFlags(8), arg: Uint(64)
        };
        SWITCH "switch" Tracepoint Scheduler (0) {
            next: Pid, pgft_maj: Uint(64), pgft_min: Uint(64), vm_size: Uint(32), vm_rss: Uint(32),
            vm_swap: Uint(32)
        };
        BRK "brk" Syscall Memory (0) {
            res: Uint(64), vm_size: Uint(32), vm_rss: Uint(32), vm_swap: Uint(32), addr: Uint(64)
        };
        MMAP "mmap" Syscall Memory (USES_FD) {
            res: Errno, vm_size: Uint(32), vm_rss: Uint(32), vm_swap: Uint(32), addr: Uint(64),
            length: Uint(64), prot: Flags(32), flags: Flags(32), fd: Fd, offset: Uint(64)
        };
        MMAP2 "mmap2" Syscall Memory (USES_FD) {
            res: Errno, vm_size: Uint(32), vm_rss: Uint(32), vm_swap: Uint(32), addr: Uint(64),
            length: Uint(64), prot: Flags(32), flags: Flags(32), fd: Fd, pgoffset: Uint(64)
        };
        MUNMAP "munmap" Syscall Memory (0) {
            res: Errno, vm_size: Uint(32), vm_rss: Uint(32), vm_swap: Uint(32), addr: Uint(64),
            length: Uint(64)
        };
        SPLICE "splice" Syscall IoOther (USES_FD) {
            res: Errno, fd_in: Fd, fd_out: Fd, size: Uint(64), flags: Flags(32)
        };
        PTRACE "ptrace" Syscall Process (0) {
            res: Errno, addr: Dyn, data: Dyn, request: EnumFlags(16), pid: Pid
        };
        IOCTL "ioctl" Syscall IoOther (USES_FD) {res: Errno, fd: Fd, request: Uint(64), argument: Uint(64)};
        RENAME "rename" Syscall File (0) {res: Errno, oldpath: Path, newpath: Path};
        RENAMEAT "renameat" Syscall File (0) {
            res: Errno, olddirfd: Fd, oldpath: RelPath, newdirfd: Fd, newpath: RelPath
        };
        SYMLINK "symlink" Syscall File (0) {res: Errno, target: Text, linkpath: Path};
        SYMLINKAT "symlinkat" Syscall File (USES_FD) {
            res: Errno, target: Text, linkdirfd: Fd, linkpath: RelPath
        };
        PROCEXIT "procexit" Tracepoint Process (MODIFIES_STATE) {
            status: Errno, ret: Errno, sig: Signal, core: Uint(8), reaper_tid: Pid
        };
        SENDFILE "sendfile" Syscall IoWrite (USES_FD) {
            res: Errno, offset: Uint(64), out_fd: Fd, in_fd: Fd, size: Uint(64)
        };
        QUOTACTL "quotactl" Syscall User (0) {
            res: Errno, special: Text, quotafilepath: Text, dqb_bhardlimit: Uint(64),
            dqb_bsoftlimit: Uint(64), dqb_curspace: Uint(64), dqb_ihardlimit: Uint(64),
            dqb_isoftlimit: Uint(64), dqb_btime: RelTime, dqb_itime: RelTime, dqi_bgrace: RelTime,
            dqi_igrace: RelTime, dqi_flags: Flags(8), quota_fmt_out: Flags(8), cmd: Flags(16),
            type: Flags(8), id: Uint(32), quota_fmt: Flags(8)
        };
        SETRESUID "setresuid" Syscall User (MODIFIES_STATE) {res: Errno, ruid: Uid, euid: Uid, suid: Uid};
        SETRESGID "setresgid" Syscall User (MODIFIES_STATE) {res: Errno, rgid: Gid, egid: Gid, sgid: Gid};
        SCAPEVENT "scapevent" Meta Internal (0) {event_type: Uint(32), event_data: Uint(64)};
        CLOSE_RANGE "close_range" Syscall IoOther (MODIFIES_STATE) {
            res: Errno, first: Uint(32), last: Uint(32), flags: Flags(32)
        };
        SETUID "setuid" Syscall User (MODIFIES_STATE) {res: Errno, uid: Uid};
        SETGID "setgid" Syscall User (MODIFIES_STATE) {res: Errno, gid: Gid};
        GETUID "getuid" Syscall User (0) {uid: Uid};
        GETEUID "geteuid" Syscall User (0) {euid: Uid};
        GETGID "getgid" Syscall User (0) {gid: Gid};
        GETEGID "getegid" Syscall User (0) {egid: Gid};
        GETRESUID "getresuid" Syscall User (0) {res: Errno, ruid: Uid, euid: Uid, suid: Uid};
        GETRESGID "getresgid" Syscall User (0) {res: Errno, rgid: Gid, egid: Gid, sgid: Gid};
        CLONE "clone" Syscall Process (MODIFIES_STATE) {
            res: Pid, exe: Text, args: Buffer, tid: Pid, pid: Pid, ptid: Pid, cwd: Text,
            fdlimit: Int(64), pgft_maj: Uint(64), pgft_min: Uint(64), vm_size: Uint(32),
            vm_rss: Uint(32), vm_swap: Uint(32), comm: Text, cgroups: Buffer, flags: Flags(32),
            uid: Uint(32), gid: Uint(32), vtid: Pid, vpid: Pid, pidns_init_start_ts: Uint(64)
        };
        FORK "fork" Syscall Process (MODIFIES_STATE) {
            res: Pid, exe: Text, args: Buffer, tid: Pid, pid: Pid, ptid: Pid, cwd: Text,
            fdlimit: Int(64), pgft_maj: Uint(64), pgft_min: Uint(64), vm_size: Uint(32),
            vm_rss: Uint(32), vm_swap: Uint(32), comm: Text, cgroups: Buffer, flags: Flags(32),
            uid: Uint(32), gid: Uint(32), vtid: Pid, vpid: Pid, pidns_init_start_ts: Uint(64)
        };
        VFORK "vfork" Syscall Process (MODIFIES_STATE) {
            res: Pid, exe: Text, args: Buffer, tid: Pid, pid: Pid, ptid: Pid, cwd: Text,
            fdlimit: Int(64), pgft_maj: Uint(64), pgft_min: Uint(64), vm_size: Uint(32),
            vm_rss: Uint(32), vm_swap: Uint(32), comm: Text, cgroups: Buffer, flags: Flags(32),
            uid: Uint(32), gid: Uint(32), vtid: Pid, vpid: Pid, pidns_init_start_ts: Uint(64)
        };
        SIGNALDELIVER "signaldeliver" Tracepoint Signal (0) {spid: Pid, dpid: Pid, sig: Signal};
        PROCINFO "procinfo" Meta Internal (0) {cpu_usr: Uint(64), cpu_sys: Uint(64)};
        GETDENTS "getdents" Syscall File (USES_FD) {res: Errno, fd: Fd};
        GETDENTS64 "getdents64" Syscall File (USES_FD) {res: Errno, fd: Fd};
        SETNS "setns" Syscall Process (USES_FD) {res: Errno, fd: Fd, nstype: Flags(32)};
        FLOCK "flock" Syscall File (USES_FD) {res: Errno, fd: Fd, operation: Flags(32)};
        CPU_HOTPLUG "cpu_hotplug" Meta System (MODIFIES_STATE) {cpu: Uint(32), action: Uint(32)};
        ACCEPT "accept" Syscall Net (CREATES_FD | MODIFIES_STATE) {
            fd: Fd, tuple: SockTuple, queuepct: Uint(8), queuelen: Uint(32), queuemax: Uint(32)
        };
        SEMOP "semop" Syscall Process (0) {
            res: Errno, nsops: Uint(32), sem_num_0: Uint(16), sem_op_0: Int(16),
            sem_flg_0: Flags(16), sem_num_1: Uint(16), sem_op_1: Int(16), sem_flg_1: Flags(16),
            semid: Int(32)
        };
        SEMCTL "semctl" Syscall Process (0) {
            res: Errno, semid: Int(32), semnum: Int(32), cmd: Flags(16), val: Int(32)
        };
        PPOLL "ppoll" Syscall Wait (WAITS) {res: Errno, fds: FdList, timeout: RelTime, sigmask: SigSet};
        MOUNT "mount" Syscall File (MODIFIES_STATE) {
            res: Errno, dev: Text, dir: Path, type: Text, flags: Flags(32)
        };
        SEMGET "semget" Syscall Process (0) {res: Errno, key: Int(32), nsems: Int(32), semflg: Flags(32)};
        ACCESS "access" Syscall File (0) {res: Errno, name: Path, mode: Flags(32)};
        CHROOT "chroot" Syscall Process (MODIFIES_STATE) {res: Errno, path: Path};
        SETSID "setsid" Syscall Process (MODIFIES_STATE) {res: Pid};
        MKDIR "mkdir" Syscall File (0) {res: Errno, path: Path, mode: Uint(32)};
        RMDIR "rmdir" Syscall File (0) {res: Errno, path: Path};
        NOTIFICATION "notification" Meta Other (0) {id: Text, desc: Text};
        UNSHARE "unshare" Syscall Process (0) {res: Errno, flags: Flags(32)};
        INFRA "infra" Meta Internal (0) {source: Text, name: Text, description: Text, scope: Text};
        PAGE_FAULT "page_fault" Tracepoint Other (0) {addr: Uint(64), ip: Uint(64), error: Flags(32)};
        EXECVE "execve" Syscall Process (MODIFIES_STATE) {
            res: Errno, exe: Text, args: Buffer, tid: Pid, pid: Pid, ptid: Pid, cwd: Text,
            fdlimit: Uint(64), pgft_maj: Uint(64), pgft_min: Uint(64), vm_size: Uint(32),
            vm_rss: Uint(32), vm_swap: Uint(32), comm: Text, cgroups: Buffer, env: Buffer,
            tty: Uint(32), vpgid: Pid, loginuid: Uid, flags: Flags(32), cap_inheritable: Uint(64),
            cap_permitted: Uint(64), cap_effective: Uint(64), exe_ino: Uint(64),
            exe_ino_ctime: AbsTime, exe_ino_mtime: AbsTime, uid: Uid, trusted_exepath: Path,
            pgid: Pid, gid: Gid, filename: Path
        };
        SETPGID "setpgid" Syscall Process (0) {res: Errno, pid: Pid, pgid: Pid};
        SECCOMP "seccomp" Syscall Other (0) {res: Errno, op: Uint(64), flags: Uint(64)};
        UNLINK "unlink" Syscall File (0) {res: Errno, path: Path};
        UNLINKAT "unlinkat" Syscall File (USES_FD) {res: Errno, dirfd: Fd, name: RelPath, flags: Flags(32)};
        MKDIRAT "mkdirat" Syscall File (USES_FD) {res: Errno, dirfd: Fd, path: RelPath, mode: Uint(32)};
        OPENAT "openat" Syscall File (CREATES_FD | MODIFIES_STATE) {
            fd: Fd, dirfd: Fd, name: RelPath, flags: Flags(32), mode: Uint(32), dev: Uint(32),
            ino: Uint(64)
        };
        LINK "link" Syscall File (0) {res: Errno, oldpath: Path, newpath: Path};
        LINKAT "linkat" Syscall File (0) {
            res: Errno, olddir: Fd, oldpath: RelPath, newdir: Fd, newpath: RelPath, flags: Flags(32)
        };
        FCHMODAT "fchmodat" Syscall File (USES_FD) {res: Errno, dirfd: Fd, filename: RelPath, mode: Mode};
        CHMOD "chmod" Syscall File (0) {res: Errno, filename: Path, mode: Mode};
        FCHMOD "fchmod" Syscall File (USES_FD) {res: Errno, fd: Fd, mode: Mode};
        RENAMEAT2 "renameat2" Syscall File (0) {
            res: Errno, olddirfd: Fd, oldpath: RelPath, newdirfd: Fd, newpath: RelPath,
            flags: Flags(32)
        };
        USERFAULTFD "userfaultfd" Syscall File (CREATES_FD | MODIFIES_STATE) {res: Errno, flags: Flags(32)};
        PLUGINEVENT "pluginevent" Plugin Other (0) {plugin_id: Uint(32), event_data: Buffer};
        CONTAINER "container" Meta Process (MODIFIES_STATE) {json: Text};
        OPENAT2 "openat2" Syscall File (CREATES_FD | MODIFIES_STATE) {
            fd: Fd, dirfd: Fd, name: RelPath, flags: Flags(32), mode: Uint(32), resolve: Flags(32),
            dev: Uint(32), ino: Uint(64)
        };
        MPROTECT "mprotect" Syscall Memory (0) {
            res: Errno, addr: Uint(64), length: Uint(64), prot: Flags(32)
        };
        EXECVEAT "execveat" Syscall Process (MODIFIES_STATE) {
            res: Errno, exe: Text, args: Buffer, tid: Pid, pid: Pid, ptid: Pid, cwd: Text,
            fdlimit: Uint(64), pgft_maj: Uint(64), pgft_min: Uint(64), vm_size: Uint(32),
            vm_rss: Uint(32), vm_swap: Uint(32), comm: Text, cgroups: Buffer, env: Buffer,
            tty: Uint(32), vpgid: Pid, loginuid: Uid, flags: Flags(32), cap_inheritable: Uint(64),
            cap_permitted: Uint(64), cap_effective: Uint(64), exe_ino: Uint(64),
            exe_ino_ctime: AbsTime, exe_ino_mtime: AbsTime, uid: Uid, trusted_exepath: Path,
            pgid: Pid, gid: Gid
        };
        COPY_FILE_RANGE "copy_file_range" Syscall File (USES_FD | READS_FD | WRITES_FD) {
            res: Errno, fdout: Fd, offout: Uint(64), fdin: Fd, offin: Uint(64), len: Uint(64)
        };
        CLONE3 "clone3" Syscall Process (MODIFIES_STATE) {
            res: Pid, exe: Text, args: Buffer, tid: Pid, pid: Pid, ptid: Pid, cwd: Text,
            fdlimit: Int(64), pgft_maj: Uint(64), pgft_min: Uint(64), vm_size: Uint(32),
            vm_rss: Uint(32), vm_swap: Uint(32), comm: Text, cgroups: Buffer, flags: Flags(32),
            uid: Uint(32), gid: Uint(32), vtid: Pid, vpid: Pid, pidns_init_start_ts: Uint(64)
        };
        OPEN_BY_HANDLE_AT "open_by_handle_at" Syscall File (CREATES_FD | MODIFIES_STATE) {
            fd: Fd, mountfd: Fd, flags: Flags(32), path: Path, dev: Uint(32), ino: Uint(64)
        };
        IO_URING_SETUP "io_uring_setup" Syscall IoOther (CREATES_FD | MODIFIES_STATE) {
            res: Errno, entries: Uint(32), sq_entries: Uint(32), cq_entries: Uint(32),
            flags: Flags(32), sq_thread_cpu: Uint(32), sq_thread_idle: Uint(32), features: Flags(32)
        };
        IO_URING_ENTER "io_uring_enter" Syscall IoOther (USES_FD) {
            res: Errno, fd: Fd, to_submit: Uint(32), min_complete: Uint(32), flags: Flags(32),
            sig: SigSet
        };
        IO_URING_REGISTER "io_uring_register" Syscall IoOther (USES_FD) {
            res: Errno, fd: Fd, opcode: EnumFlags(16), arg: Uint(64), nr_args: Uint(32)
        };
        MLOCK "mlock" Syscall Memory (0) {res: Errno, addr: Uint(64), len: Uint(64)};
        MUNLOCK "munlock" Syscall Memory (0) {res: Errno, addr: Uint(64), len: Uint(64)};
        MLOCKALL "mlockall" Syscall Memory (0) {res: Errno, flags: Flags(32)};
        MUNLOCKALL "munlockall" Syscall Memory (0) {res: Errno};
        CAPSET "capset" Syscall Process (MODIFIES_STATE) {
            res: Errno, cap_inheritable: Uint(64), cap_permitted: Uint(64), cap_effective: Uint(64)
        };
        USERADDED "useradded" Meta Process (MODIFIES_STATE) {
            uid: Uint(32), gid: Uint(32), name: Text, home: Text, shell: Text, container_id: Text
        };
        USERDELETED "userdeleted" Meta Process (MODIFIES_STATE) {
            uid: Uint(32), gid: Uint(32), name: Text, home: Text, shell: Text, container_id: Text
        };
        GROUPADDED "groupadded" Meta Process (MODIFIES_STATE) {gid: Uint(32), name: Text, container_id: Text};
        GROUPDELETED "groupdeleted" Meta Process (MODIFIES_STATE) {
            gid: Uint(32), name: Text, container_id: Text
        };
        DUP2 "dup2" Syscall IoOther (CREATES_FD | USES_FD | MODIFIES_STATE) {res: Fd, oldfd: Fd, newfd: Fd};
        DUP3 "dup3" Syscall IoOther (CREATES_FD | USES_FD | MODIFIES_STATE) {
            res: Fd, oldfd: Fd, newfd: Fd, flags: Flags(32)
        };
        DUP "dup" Syscall IoOther (CREATES_FD | USES_FD | MODIFIES_STATE) {res: Fd, oldfd: Fd};
        BPF "bpf" Syscall Other (CREATES_FD) {fd: Fd, cmd: EnumFlags(32)};
        MLOCK2 "mlock2" Syscall Memory (0) {res: Errno, addr: Uint(64), len: Uint(64), flags: Flags(32)};
        FSCONFIG "fsconfig" Syscall System (USES_FD) {
            res: Errno, fd: Fd, cmd: EnumFlags(32), key: Text, value_bytebuf: Buffer,
            value_charbuf: Text, aux: Int(32)
        };
        EPOLL_CREATE "epoll_create" Syscall Wait (CREATES_FD | MODIFIES_STATE) {res: Errno, size: Int(32)};
        EPOLL_CREATE1 "epoll_create1" Syscall Wait (CREATES_FD | MODIFIES_STATE) {
            res: Errno, flags: Flags(32)
        };
        CHOWN "chown" Syscall File (0) {res: Errno, path: Path, uid: Uint(32), gid: Uint(32)};
        LCHOWN "lchown" Syscall File (0) {res: Errno, path: Path, uid: Uint(32), gid: Uint(32)};
        FCHOWN "fchown" Syscall File (USES_FD) {res: Errno, fd: Fd, uid: Uint(32), gid: Uint(32)};
        FCHOWNAT "fchownat" Syscall File (USES_FD) {
            res: Errno, dirfd: Fd, pathname: RelPath, uid: Uint(32), gid: Uint(32), flags: Flags(32)
        };
        UMOUNT "umount" Syscall File (MODIFIES_STATE) {res: Errno, name: Path};
        ACCEPT4 "accept4" Syscall Net (CREATES_FD | MODIFIES_STATE) {
            fd: Fd, tuple: SockTuple, queuepct: Uint(8), queuelen: Uint(32), queuemax: Uint(32),
            flags: Int(32)
        };
        UMOUNT2 "umount2" Syscall File (MODIFIES_STATE) {res: Errno, name: Path, flags: Flags(32)};
        PIPE2 "pipe2" Syscall Ipc (CREATES_FD | MODIFIES_STATE) {
            res: Errno, fd1: Fd, fd2: Fd, ino: Uint(64), flags: Flags(32)
        };
        INOTIFY_INIT1 "inotify_init1" Syscall Ipc (CREATES_FD | MODIFIES_STATE) {res: Fd, flags: Flags(16)};
        EVENTFD2 "eventfd2" Syscall Ipc (CREATES_FD | MODIFIES_STATE) {
            res: Fd, flags: Flags(16), initval: Uint(64)
        };
        SIGNALFD4 "signalfd4" Syscall Signal (CREATES_FD | MODIFIES_STATE) {
            res: Fd, flags: Flags(16), fd: Fd, mask: Uint(32)
        };
        PRCTL "prctl" Syscall Process (MODIFIES_STATE) {
            res: Errno, option: EnumFlags(32), arg2_str: Text, arg2_int: Int(64)
        };
        ASYNCEVENT "asyncevent" Meta Other (0) {plugin_id: Uint(32), name: Text, data: Buffer};
        MEMFD_CREATE "memfd_create" Syscall Memory (CREATES_FD | MODIFIES_STATE) {
            fd: Fd, name: Text, flags: Flags(32)
        };
        PIDFD_GETFD "pidfd_getfd" Syscall Process (CREATES_FD | MODIFIES_STATE) {
            fd: Fd, pid_fd: Fd, target_fd: Fd, flags: Uint(32)
        };
        PIDFD_OPEN "pidfd_open" Syscall Process (CREATES_FD | MODIFIES_STATE) {
            fd: Fd, pid: Pid, flags: Flags(32)
        };
        INIT_MODULE "init_module" Syscall Other (0) {res: Errno, img: Buffer, length: Uint(64), uargs: Text};
        FINIT_MODULE "finit_module" Syscall Other (USES_FD | READS_FD) {
            res: Errno, fd: Fd, uargs: Text, flags: Flags(32)
        };
        MKNOD "mknod" Syscall Other (0) {res: Errno, path: Path, mode: Mode, dev: Uint(32)};
        MKNODAT "mknodat" Syscall Other (USES_FD) {
            res: Errno, dirfd: Fd, path: RelPath, mode: Mode, dev: Uint(32)
        };
        NEWFSTATAT "newfstatat" Syscall File (USES_FD) {
            res: Errno, dirfd: Fd, path: RelPath, flags: Flags(32)
        };
        PROCESS_VM_READV "process_vm_readv" Syscall Ipc (0) {res: Int(64), pid: Pid, data: Buffer};
        PROCESS_VM_WRITEV "process_vm_writev" Syscall Ipc (0) {res: Int(64), pid: Pid, data: Buffer};
        DELETE_MODULE "delete_module" Syscall Other (0) {res: Errno, name: Text, flags: Flags(32)};
        SETREUID "setreuid" Syscall User (MODIFIES_STATE) {res: Errno, ruid: Uid, euid: Uid};
        SETREGID "setregid" Syscall User (MODIFIES_STATE) {res: Errno, rgid: Uid, egid: Uid};
        TASK "task" Iterator Process (MODIFIES_STATE) {
            ppid: Pid, pgid: Pid, vpgid: Pid, sid: Pid, comm: Text, argv: TextArray, exepath: Path,
            flags: Flags(32), env: TextArray, cwd: Text, fdlimit: Uint(64), euid: Uid, egid: Gid,
            cap_permitted: Uint(64), cap_effective: Uint(64), cap_inheritable: Uint(64),
            exe_ino_num: Uint(64), exe_ino_ctime: AbsTime, exe_ino_mtime: AbsTime,
            vm_size: Uint(32), vm_rss: Uint(32), vm_swap: Uint(32), pgft_maj: Uint(64),
            pgft_min: Uint(64), vtgid: Pid, vpid: Pid, pidns_init_start_ts: Uint(64),
            cgroups: TextArray, root: Path, start_time: AbsTime, tty: Uint(32), loginuid: Uid
        };
        TASK_FILE_PIPE "task_file_pipe" Iterator File (MODIFIES_STATE) {
            fd: Fd, path: Path, ino_num: Uint(64)
        };
        TASK_FILE_MEMFD "task_file_memfd" Iterator File (MODIFIES_STATE) {
            fd: Fd, path: Path, ino_num: Uint(64)
        };
        TASK_FILE_REGULAR "task_file_regular" Iterator File (MODIFIES_STATE) {
            fd: Fd, path: Path, flags: Flags(32), mnt_id: Uint(32), ino_num: Uint(64)
        };
        TASK_FILE_DIRECTORY "task_file_directory" Iterator File (MODIFIES_STATE) {
            fd: Fd, path: Path, ino_num: Uint(64)
        };
        TASK_FILE_SOCKET_INET "task_file_socket_inet" Iterator File (MODIFIES_STATE) {
            fd: Fd, sk_type: Uint(16), sk_proto: Uint(16), local_ip: Ipv4, local_port: Port,
            remote_ip: Ipv4, remote_port: Port, ino_num: Uint(64)
        };
        TASK_FILE_SOCKET_INET6 "task_file_socket_inet6" Iterator File (MODIFIES_STATE) {
            fd: Fd, sk_type: Uint(16), sk_proto: Uint(16), local_ip: Ipv6, local_port: Port,
            remote_ip: Ipv6, remote_port: Port, ino_num: Uint(64)
        };
        TASK_FILE_SOCKET_UNIX "task_file_socket_unix" Iterator File (MODIFIES_STATE) {
            fd: Fd, sk_type: Uint(16), sk_proto: Uint(16), sk_pointer: Uint(64), sun_path: Path,
            ino_num: Uint(64)
        };
        TASK_FILE_SOCKET_NETLINK "task_file_socket_netlink" Iterator File (MODIFIES_STATE) {
            fd: Fd, sk_type: Uint(16), sk_proto: Uint(16), ino_num: Uint(64)
        };
        TASK_FILE_ANON_INODE "task_file_anon_inode" Iterator File (MODIFIES_STATE) {
            fd: Fd, fd_type: Flags(8), path: Path, ino_num: Uint(64)
        };
        KEYCTL "keyctl" Syscall Other (0) {
            res: Errno, operation: EnumFlags(32), arg2: Dyn, arg3: Dyn, arg4: Dyn, arg5: Dyn
        };
    }
    generic {
        RESTART_SYSCALL "restart_syscall" EXIT "exit" TIME "time" GETPID "getpid" ALARM "alarm"
        PAUSE "pause" UTIME "utime" SYNC "sync" TIMES "times" ACCT "acct" UMASK "umask" USTAT "ustat"
        GETPPID "getppid" GETPGRP "getpgrp" SETHOSTNAME "sethostname" GETRUSAGE "getrusage"
        GETTIMEOFDAY "gettimeofday" SETTIMEOFDAY "settimeofday" READLINK "readlink" USELIB "uselib"
        SWAPON "swapon" REBOOT "reboot" TRUNCATE "truncate" FTRUNCATE "ftruncate"
        GETPRIORITY "getpriority" SETPRIORITY "setpriority" STATFS "statfs" FSTATFS "fstatfs"
        SYSLOG "syslog" SETITIMER "setitimer" GETITIMER "getitimer" UNAME "uname" VHANGUP "vhangup"
        WAIT4 "wait4" SWAPOFF "swapoff" SYSINFO "sysinfo" FSYNC "fsync" SETDOMAINNAME "setdomainname"
        ADJTIMEX "adjtimex" GETPGID "getpgid" SYSFS "sysfs" PERSONALITY "personality" MSYNC "msync"
        GETSID "getsid" FDATASYNC "fdatasync" SCHED_SETPARAM "sched_setparam"
        SCHED_GETPARAM "sched_getparam" SCHED_SETSCHEDULER "sched_setscheduler"
        SCHED_GETSCHEDULER "sched_getscheduler" SCHED_YIELD "sched_yield"
        SCHED_GET_PRIORITY_MAX "sched_get_priority_max" SCHED_GET_PRIORITY_MIN "sched_get_priority_min"
        SCHED_RR_GET_INTERVAL "sched_rr_get_interval" MREMAP "mremap" RT_SIGACTION "rt_sigaction"
        RT_SIGPROCMASK "rt_sigprocmask" RT_SIGPENDING "rt_sigpending" RT_SIGTIMEDWAIT "rt_sigtimedwait"
        RT_SIGQUEUEINFO "rt_sigqueueinfo" RT_SIGSUSPEND "rt_sigsuspend" CAPGET "capget"
        GETGROUPS "getgroups" SETGROUPS "setgroups" SETFSUID "setfsuid" SETFSGID "setfsgid"
        PIVOT_ROOT "pivot_root" MINCORE "mincore" MADVISE "madvise" GETTID "gettid" SETXATTR "setxattr"
        LSETXATTR "lsetxattr" FSETXATTR "fsetxattr" GETXATTR "getxattr" LGETXATTR "lgetxattr"
        FGETXATTR "fgetxattr" LISTXATTR "listxattr" LLISTXATTR "llistxattr" FLISTXATTR "flistxattr"
        REMOVEXATTR "removexattr" LREMOVEXATTR "lremovexattr" FREMOVEXATTR "fremovexattr"
        SCHED_SETAFFINITY "sched_setaffinity" SCHED_GETAFFINITY "sched_getaffinity"
        SET_THREAD_AREA "set_thread_area" GET_THREAD_AREA "get_thread_area" IO_SETUP "io_setup"
        IO_DESTROY "io_destroy" IO_GETEVENTS "io_getevents" IO_SUBMIT "io_submit" IO_CANCEL "io_cancel"
        EXIT_GROUP "exit_group" EPOLL_CTL "epoll_ctl" REMAP_FILE_PAGES "remap_file_pages"
        SET_TID_ADDRESS "set_tid_address" TIMER_CREATE "timer_create" TIMER_SETTIME "timer_settime"
        TIMER_GETTIME "timer_gettime" TIMER_GETOVERRUN "timer_getoverrun" TIMER_DELETE "timer_delete"
        CLOCK_SETTIME "clock_settime" CLOCK_GETTIME "clock_gettime" CLOCK_GETRES "clock_getres"
        CLOCK_NANOSLEEP "clock_nanosleep" UTIMES "utimes" MQ_OPEN "mq_open" MQ_UNLINK "mq_unlink"
        MQ_TIMEDSEND "mq_timedsend" MQ_TIMEDRECEIVE "mq_timedreceive" MQ_NOTIFY "mq_notify"
        MQ_GETSETATTR "mq_getsetattr" KEXEC_LOAD "kexec_load" WAITID "waitid" ADD_KEY "add_key"
        REQUEST_KEY "request_key" IOPRIO_SET "ioprio_set" IOPRIO_GET "ioprio_get"
        INOTIFY_ADD_WATCH "inotify_add_watch" INOTIFY_RM_WATCH "inotify_rm_watch" FUTIMESAT "futimesat"
        READLINKAT "readlinkat" FACCESSAT "faccessat" PSELECT6 "pselect6"
        SET_ROBUST_LIST "set_robust_list" GET_ROBUST_LIST "get_robust_list" TEE "tee"
        VMSPLICE "vmsplice" GETCPU "getcpu" EPOLL_PWAIT "epoll_pwait" UTIMENSAT "utimensat"
        TIMERFD_SETTIME "timerfd_settime" TIMERFD_GETTIME "timerfd_gettime"
        RT_TGSIGQUEUEINFO "rt_tgsigqueueinfo" PERF_EVENT_OPEN "perf_event_open"
        FANOTIFY_INIT "fanotify_init" PRLIMIT64 "prlimit64" CLOCK_ADJTIME "clock_adjtime"
        SYNCFS "syncfs" MSGSND "msgsnd" MSGRCV "msgrcv" MSGGET "msgget" MSGCTL "msgctl" SHMDT "shmdt"
        SHMGET "shmget" SHMCTL "shmctl" STATFS64 "statfs64" FSTATFS64 "fstatfs64" FSTATAT64 "fstatat64"
        SENDFILE64 "sendfile64" UGETRLIMIT "ugetrlimit" BDFLUSH "bdflush" SIGPROCMASK "sigprocmask"
        IPC "ipc" SOCKETCALL "socketcall" FCNTL64 "fcntl64" _NEWSELECT "_newselect" SGETMASK "sgetmask"
        SSETMASK "ssetmask" SIGPENDING "sigpending" OLDUNAME "olduname" SIGNAL "signal" NICE "nice"
        STIME "stime" _LLSEEK "_llseek" WAITPID "waitpid" PREAD64 "pread64" PWRITE64 "pwrite64"
        ARCH_PRCTL "arch_prctl" SHMAT "shmat" RT_SIGRETURN "rt_sigreturn" FALLOCATE "fallocate"
        SETUID32 "setuid32" GETUID32 "getuid32" SETGID32 "setgid32" GETEUID32 "geteuid32"
        GETGID32 "getgid32" SETRESUID32 "setresuid32" SETRESGID32 "setresgid32"
        GETRESUID32 "getresuid32" GETRESGID32 "getresgid32" SIGALTSTACK "sigaltstack"
        GETRANDOM "getrandom" FADVISE64 "fadvise64" GETEGID32 "getegid32" FSPICK "fspick"
        FSMOUNT "fsmount" FSOPEN "fsopen" OPEN_TREE "open_tree" MOVE_MOUNT "move_mount"
        MOUNT_SETATTR "mount_setattr" MEMFD_SECRET "memfd_secret" IOPERM "ioperm"
        KEXEC_FILE_LOAD "kexec_file_load" PIDFD_SEND_SIGNAL "pidfd_send_signal" PKEY_ALLOC "pkey_alloc"
        PKEY_MPROTECT "pkey_mprotect" PKEY_FREE "pkey_free"
        LANDLOCK_CREATE_RULESET "landlock_create_ruleset" QUOTACTL_FD "quotactl_fd"
        LANDLOCK_RESTRICT_SELF "landlock_restrict_self" LANDLOCK_ADD_RULE "landlock_add_rule"
        EPOLL_PWAIT2 "epoll_pwait2" MIGRATE_PAGES "migrate_pages" MOVE_PAGES "move_pages"
        PREADV2 "preadv2" PWRITEV2 "pwritev2" KCMP "kcmp" SCHED_SETATTR "sched_setattr" MBIND "mbind"
        EPOLL_CTL_OLD "epoll_ctl_old" LOOKUP_DCOOKIE "lookup_dcookie" MODIFY_LDT "modify_ldt"
        STATX "statx" SET_MEMPOLICY "set_mempolicy" IO_PGETEVENTS "io_pgetevents"
        SET_MEMPOLICY_HOME_NODE "set_mempolicy_home_node" SEMTIMEDOP "semtimedop"
        GET_KERNEL_SYMS "get_kernel_syms" READAHEAD "readahead" FUTEX_WAITV "futex_waitv"
        GETPMSG "getpmsg" NAME_TO_HANDLE_AT "name_to_handle_at" PROCESS_MRELEASE "process_mrelease"
        NFSSERVCTL "nfsservctl" EPOLL_WAIT_OLD "epoll_wait_old" RSEQ "rseq"
        CREATE_MODULE "create_module" SCHED_GETATTR "sched_getattr" FACCESSAT2 "faccessat2"
        _SYSCTL "_sysctl" QUERY_MODULE "query_module" GET_MEMPOLICY "get_mempolicy"
        SYNC_FILE_RANGE "sync_file_range" PROCESS_MADVISE "process_madvise" MEMBARRIER "membarrier"
        IOPL "iopl" FANOTIFY_MARK "fanotify_mark" SCHED_PROCESS_EXIT "sched_process_exit"
        SCHED_SWITCH "sched_switch" PAGE_FAULT_USER "page_fault_user"
        PAGE_FAULT_KERNEL "page_fault_kernel" SIGNAL_DELIVER "signal_deliver" TIMERFD "timerfd"
        S390_PCI_MMIO_READ "s390_pci_mmio_read" SIGACTION "sigaction"
        S390_PCI_MMIO_WRITE "s390_pci_mmio_write" READDIR "readdir" S390_STHYI "s390_sthyi"
        SIGSUSPEND "sigsuspend" IDLE "idle" S390_RUNTIME_INSTR "s390_runtime_instr"
        SIGRETURN "sigreturn" S390_GUARDED_STORAGE "s390_guarded_storage" CACHESTAT "cachestat"
        FCHMODAT2 "fchmodat2" MAP_SHADOW_STACK "map_shadow_stack"
        RISCV_FLUSH_ICACHE "riscv_flush_icache" RISCV_HWPROBE "riscv_hwprobe" FUTEX_WAKE "futex_wake"
        FUTEX_REQUEUE "futex_requeue" FUTEX_WAIT "futex_wait" OLDSTAT "oldstat"
        SWITCH_ENDIAN "switch_endian" MULTIPLEXER "multiplexer" OLDLSTAT "oldlstat"
        SPU_CREATE "spu_create" SYNC_FILE_RANGE2 "sync_file_range2" OLDFSTAT "oldfstat"
        SPU_RUN "spu_run" SWAPCONTEXT "swapcontext" PCICONFIG_WRITE "pciconfig_write" RTAS "rtas"
        PCICONFIG_READ "pciconfig_read" SYS_DEBUG_SETCONTEXT "sys_debug_setcontext" VM86 "vm86"
        OLDOLDUNAME "oldolduname" SUBPAGE_PROT "subpage_prot" PCICONFIG_IOBASE "pciconfig_iobase"
        LISTMOUNT "listmount" STATMOUNT "statmount" LSM_GET_SELF_ATTR "lsm_get_self_attr"
        LSM_SET_SELF_ATTR "lsm_set_self_attr" LSM_LIST_MODULES "lsm_list_modules" MSEAL "mseal"
        URETPROBE "uretprobe" REMOVEXATTRAT "removexattrat" LISTXATTRAT "listxattrat"
        GETXATTRAT "getxattrat" SETXATTRAT "setxattrat" OPEN_TREE_ATTR "open_tree_attr"
        FILE_GETATTR "file_getattr" FILE_SETATTR "file_setattr" LISTNS "listns" UPROBE "uprobe"
        RSEQ_SLICE_YIELD "rseq_slice_yield"
    }
}
