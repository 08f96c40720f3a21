//! The event record: one header, then attributes.
//!
//! ```text
//! RecordHeader | AttrHeader payload pad | AttrHeader payload pad | …
//! ```
//!
//! A record is as long as what it carries (no maximum-size slots); each attribute starts on a multiple of
//! eight bytes. All integers are in the byte order of the machine. The kernel side is the only writer, yet the
//! decoder trusts nothing: lengths, tags and kinds are all checked.

use crate::pushdown::{KEY_NUMBERS, Mask};

/// What made the record.
#[repr(u16)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EventKind {
    /// A system call returned. [`RecordHeader::syscall`] says which.
    Syscall = 1,
    /// A process image was replaced (`sched_process_exec`, so `execve`/`execveat` that succeeded).
    Exec = 2,
    /// A process (not a thread) was created; the task facts are the child's.
    Fork = 3,
    /// The last thread of a process ended.
    Exit = 4,
}

impl TryFrom<u16> for EventKind {
    type Error = u16;

    fn try_from(raw: u16) -> Result<Self, u16> {
        Ok(match raw {
            1 => Self::Syscall,
            2 => Self::Exec,
            3 => Self::Fork,
            4 => Self::Exit,
            other => return Err(other),
        })
    }
}

/// Event family: index of the tail-call table and of the counters.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Family {
    /// Not wanted.
    None = 0,
    /// Calls that return a new file descriptor of a named file.
    Open = 1,
    /// Calls on one or two path names.
    Path = 2,
    /// Calls on sockets.
    Net = 3,
    /// Calls that work on an existing descriptor (`dup`, `finit_module`, …).
    Fd = 4,
    /// `execve` and `execveat`, failed (system call) and successful (tracepoint).
    Exec = 5,
    /// Process creation and end.
    Process = 6,
    /// Calls told by their numeric arguments alone.
    Scalar = 7,
}

/// Number of families, [`Family::None`] included.
pub const FAMILY_COUNT: usize = 8;

impl Family {
    /// All families that have a program, in index order.
    pub const ALL: [Self; FAMILY_COUNT - 1] =
        [Self::Open, Self::Path, Self::Net, Self::Fd, Self::Exec, Self::Process, Self::Scalar];

    /// The label used for metrics and alerts.
    #[cfg(feature = "user")]
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Open => "open",
            Self::Path => "path",
            Self::Net => "net",
            Self::Fd => "fd",
            Self::Exec => "exec",
            Self::Process => "process",
            Self::Scalar => "scalar",
        }
    }
}

impl TryFrom<u8> for Family {
    type Error = u8;

    fn try_from(raw: u8) -> Result<Self, u8> {
        if raw == 0 {
            return Ok(Self::None);
        }
        match Self::ALL.get(raw as usize - 1) {
            Some(family) => Ok(*family),
            None => Err(raw),
        }
    }
}

/// The call came through the 32-bit (`i386`) entry; `syscall` and `args` are already the native ones.
pub const RECORD_COMPAT32: u32 = 1;
/// An attribute was left out because the record reached its size limit.
pub const RECORD_TRUNCATED: u32 = 1 << 1;
/// The kernel would have rejected the event; it is sent as a sample, to check that no rule matches.
pub const RECORD_SHADOW: u32 = 1 << 2;
/// The masks of the process are not known, or no longer right.
pub const RECORD_UNSPECIALISED: u32 = 1 << 3;

/// Facts about the task, read in the kernel at the event.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TaskFacts {
    /// Start of the process (thread group leader), nanoseconds of the boot clock. With `pid`, its identity.
    pub start_ns: u64,
    /// Start of the parent process, nanoseconds of the boot clock; 0 when unknown.
    pub parent_start_ns: u64,
    /// Which image the process runs: counted up by the kernel at each exec (`task_struct.self_exec_id`).
    pub exec_id: u64,
    /// Id of the control group in the unified (v2) hierarchy.
    pub cgroup_id: u64,
    /// Effective capabilities, bit per capability.
    pub cap_effective: u64,
    /// Permitted capabilities.
    pub cap_permitted: u64,
    /// Inheritable capabilities.
    pub cap_inheritable: u64,
    /// Process id (thread group id) in the initial pid namespace.
    pub pid: u32,
    /// Thread id in the initial pid namespace.
    pub tid: u32,
    /// Process id of the real parent.
    pub ppid: u32,
    /// Session id, initial pid namespace.
    pub sid: u32,
    /// Process group id, initial pid namespace.
    pub pgid: u32,
    /// Process id in the task's own pid namespace.
    pub vpid: u32,
    /// Thread id in the task's own pid namespace.
    pub vtid: u32,
    /// Process group id in the task's own pid namespace.
    pub vpgid: u32,
    /// Session id in the task's own pid namespace.
    pub vsid: u32,
    /// Real user id, initial user namespace.
    pub uid: u32,
    /// Effective user id.
    pub euid: u32,
    /// Real group id.
    pub gid: u32,
    /// Effective group id.
    pub egid: u32,
    /// Audit login user id; `u32::MAX` when unset or when the kernel has no audit.
    pub loginuid: u32,
    /// Controlling terminal, device number as `stat` shows it; 0 when none.
    pub tty: u32,
    /// Inode of the pid namespace.
    pub pid_ns: u32,
    /// Inode of the mount namespace; 0 when the task has none any more.
    pub mnt_ns: u32,
    /// Inode of the network namespace; 0 when the task has none any more.
    pub net_ns: u32,
    /// Thread name, NUL-padded.
    pub comm: [u8; 16],
}

/// Start of every record.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RecordHeader {
    /// Bytes of the whole record, header and attributes; a multiple of eight.
    pub len: u32,
    /// [`EventKind`].
    pub kind: u16,
    /// [`Family`].
    pub family: u8,
    /// [`crate::abi::ABI_VERSION`].
    pub abi: u8,
    /// CPU the program ran on.
    pub cpu: u32,
    /// `RECORD_*` bits.
    pub flags: u32,
    /// Sequence number of this CPU, from 0, without holes except for records the ring had no room for.
    pub seq: u64,
    /// Time of the event, nanoseconds of the boot clock.
    pub time_ns: u64,
    /// The task that made the event (for [`EventKind::Fork`] the new process).
    pub task: TaskFacts,
    /// Native system call number; `u32::MAX` when the event is not a system call.
    pub syscall: u32,
    /// Rule set that `candidates` is about; 0 when the kernel judged nothing.
    pub generation: u32,
    /// Rules that may match, of the family's numbering in that rule set.
    pub candidates: Mask,
    /// Last change of process trees and metadata before the event, see [`crate::pushdown::ProcessEntry::epoch`].
    pub epoch: u64,
    /// Return value of the system call.
    pub ret: i64,
    /// Raw arguments of the system call.
    pub args: [u64; 6],
}

/// Bytes of [`RecordHeader`].
pub const HEADER_BYTES: usize = size_of::<RecordHeader>();

/// Start of an attribute.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AttrHeader {
    /// [`AttrTag`].
    pub tag: u16,
    /// `ATTR_*` bits.
    pub flags: u16,
    /// Payload bytes, without padding.
    pub len: u32,
}

/// The payload was cut at its limit.
pub const ATTR_TRUNCATED: u16 = 1;
/// Path: the walk ended at a dentry that hangs in no mount (memfd, pipe, socket, detached mount).
pub const ATTR_DISCONNECTED: u16 = 1 << 1;

/// What an attribute holds.
///
/// "Path" payloads are component names from the leaf to the root of the process, each ended by a NUL byte;
/// the root itself is the empty payload. "Text" payloads are bytes as the program gave them, without the NUL.
#[repr(u16)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AttrTag {
    /// Text: first path argument (or the new target of `symlink` as the first of two).
    UserPath = 1,
    /// Text: second path argument.
    UserPath2 = 2,
    /// Path: the file behind the returned or given descriptor, from the root of the mount namespace.
    RealPath = 3,
    /// Path: directory that a relative [`AttrTag::UserPath`] starts from.
    BaseDir = 4,
    /// Path: directory that a relative [`AttrTag::UserPath2`] starts from.
    BaseDir2 = 5,
    /// [`FileFacts`] of the file behind the descriptor.
    File = 6,
    /// [`SocketFacts`] of the socket behind the descriptor.
    Socket = 7,
    /// Text: `struct sockaddr` argument, as the program gave it.
    SockAddr = 8,
    /// Text: bound path of a unix socket (abstract names start with a NUL byte).
    UnixPath = 9,
    /// Argument vector, each argument ended by a NUL byte.
    Argv = 10,
    /// Environment, each variable ended by a NUL byte.
    Envp = 11,
    /// Path: executable file.
    ExePath = 12,
    /// Path: working directory.
    Cwd = 13,
    /// Path: control group (v2, or the `pids` hierarchy when v2 is not in use).
    Cgroup = 14,
    /// Text: file name given to the kernel for exec, before any interpreter.
    ExecName = 15,
    /// [`ExecFacts`].
    Exec = 16,
    /// `struct open_how` of `openat2`, flags, mode, resolve: three u64.
    OpenHow = 17,
    /// Text: a string argument that is not a path.
    Text = 18,
    /// Start of the data that was read or written, at most [`DATA_MAX`] bytes.
    Data = 19,
    /// Bytes of a structure argument, at most [`BYTES_MAX`].
    Bytes = 20,
    /// Queue of the listening socket: connections waiting and their limit, two u32.
    Backlog = 21,
    /// [`crate::pushdown::CallKey`] whose mask the kernel does not know yet.
    CallKey = 22,
    /// [`UsageFacts`] of a process right after its exec.
    Usage = 23,
    /// [`crate::stream::StreamCount`]: events of this kind that were counted before this one.
    Counted = 24,
}

impl TryFrom<u16> for AttrTag {
    type Error = u16;

    fn try_from(raw: u16) -> Result<Self, u16> {
        Ok(match raw {
            1 => Self::UserPath,
            2 => Self::UserPath2,
            3 => Self::RealPath,
            4 => Self::BaseDir,
            5 => Self::BaseDir2,
            6 => Self::File,
            7 => Self::Socket,
            8 => Self::SockAddr,
            9 => Self::UnixPath,
            10 => Self::Argv,
            11 => Self::Envp,
            12 => Self::ExePath,
            13 => Self::Cwd,
            14 => Self::Cgroup,
            15 => Self::ExecName,
            16 => Self::Exec,
            17 => Self::OpenHow,
            18 => Self::Text,
            19 => Self::Data,
            20 => Self::Bytes,
            21 => Self::Backlog,
            22 => Self::CallKey,
            23 => Self::Usage,
            24 => Self::Counted,
            other => return Err(other),
        })
    }
}

/// Largest text, path, argument or environment payload in bytes (`PATH_MAX`, and what Falco keeps of argv).
pub const TEXT_MAX: usize = 4096;
/// Largest [`AttrTag::SockAddr`] payload in bytes (`sockaddr_storage`).
pub const SOCKADDR_MAX: usize = 128;
/// Largest [`AttrTag::Data`] payload in bytes (what Falco keeps of a buffer by default).
pub const DATA_MAX: usize = 80;
/// Largest [`AttrTag::Bytes`] payload in bytes.
pub const BYTES_MAX: usize = 64;
/// Largest record in bytes.
pub const RECORD_MAX: usize = 20 * 1024;

/// File is on the upper layer of an overlay file system.
pub const FILE_UPPER_LAYER: u32 = 1;
/// File is on a lower layer of an overlay file system.
pub const FILE_LOWER_LAYER: u32 = 1 << 1;
/// File is anonymous memory (`memfd_create`).
pub const FILE_MEMFD: u32 = 1 << 2;
/// File was made by the open that gave the descriptor.
pub const FILE_CREATED: u32 = 1 << 3;

/// A file, read in the kernel.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FileFacts {
    /// Inode number.
    pub ino: u64,
    /// Inode change time, nanoseconds since the epoch; 0 when this kernel's layout is not known.
    pub ctime_ns: u64,
    /// Modification time, nanoseconds since the epoch; 0 when this kernel's layout is not known.
    pub mtime_ns: u64,
    /// Device number, kernel-internal encoding (`major << 20 | minor`).
    pub dev: u32,
    /// Type and permission bits, as in `st_mode`.
    pub mode: u32,
    /// Owner, initial user namespace.
    pub uid: u32,
    /// Group, initial user namespace.
    pub gid: u32,
    /// Hard links; 0 for an unlinked file.
    pub nlink: u32,
    /// `FILE_*` bits.
    pub flags: u32,
    /// `f_flags` of the open file description; 0 when there is none.
    pub open_flags: u32,
    /// Magic number of the file system.
    pub fs_magic: u32,
}

/// Opened before the programs were attached, or not a stream of IP.
pub const ROLE_UNKNOWN: u8 = 0;
/// This side accepted the connection.
pub const ROLE_SERVER: u8 = 1;
/// This side asked for the connection.
pub const ROLE_CLIENT: u8 = 2;

/// A socket, read in the kernel.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SocketFacts {
    /// Kernel address of the socket: an identity for unix sockets, never dereferenced by the agent.
    pub sock: u64,
    /// For unix sockets, kernel address of the peer; else 0.
    pub peer: u64,
    /// Local address, network order; IPv4 in the first four bytes.
    pub local: [u8; 16],
    /// Remote address, network order; IPv4 in the first four bytes.
    pub remote: [u8; 16],
    /// Local port, host order.
    pub local_port: u16,
    /// Remote port, host order.
    pub remote_port: u16,
    /// `AF_*`.
    pub family: u16,
    /// `SOCK_*` without flag bits.
    pub kind: u16,
    /// `IPPROTO_*`.
    pub protocol: u16,
    /// `TCP_*` state (also set for UDP: 1 when connected).
    pub state: u8,
    /// `ROLE_*`: which side opened the connection.
    pub role: u8,
    /// Inode number of the socket, low 32 bits.
    pub ino: u32,
}

/// Facts of a successful exec, beside the executable's [`FileFacts`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ExecFacts {
    /// Bytes of the whole argument vector in the new image.
    pub argv_bytes: u64,
    /// Bytes of the whole environment in the new image.
    pub envp_bytes: u64,
    /// Thread id that called exec, before it took over the leader's id.
    pub old_tid: u32,
    /// `EXEC_*` bits.
    pub flags: u32,
}

/// What a process uses and may use, right after its exec.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UsageFacts {
    /// Page faults that read from disk, of the thread.
    pub major_faults: u64,
    /// Page faults that did not, of the thread.
    pub minor_faults: u64,
    /// Virtual memory, pages.
    pub virtual_pages: u64,
    /// Resident memory, pages; as exact as the kernel's own quick count.
    pub resident_pages: u64,
    /// Swapped memory, pages.
    pub swapped_pages: u64,
    /// Descriptors it may have (soft limit).
    pub fd_limit: u64,
}

/// The executable can be written by the user who runs it (owner, group or other bits; no ACLs).
pub const EXEC_WRITABLE: u32 = 1;

/// An argument position in a [`SyscallPlan`]: 0 is "none", `n` is argument `n - 1`.
pub type ArgSlot = u8;
/// [`SyscallPlan::fd`]: the descriptor is the return value.
pub const SLOT_RETURN: ArgSlot = 0xff;

/// [`SyscallPlan::fd`]: not a descriptor but the working directory after the call ([`AttrTag::Cwd`]).
pub const SLOT_CWD: ArgSlot = 0xfd;

/// [`SyscallPlan::extra`] is a `struct sockaddr *`; the next argument is its length.
pub const EXTRA_SOCKADDR: u8 = 1;
/// [`SyscallPlan::extra`] is a `struct msghdr *`.
pub const EXTRA_MSGHDR: u8 = 2;
/// [`SyscallPlan::extra`] is a `struct open_how *`.
pub const EXTRA_OPEN_HOW: u8 = 3;
/// [`SyscallPlan::extra`] is an argument vector (`char **`).
pub const EXTRA_ARGV: u8 = 4;
/// [`SyscallPlan::extra`] is a `struct sockaddr *` that the call filled; the next argument points at its length.
pub const EXTRA_SOCKADDR_OUT: u8 = 5;
/// [`SyscallPlan::extra`] is a listening socket ([`AttrTag::Backlog`]).
pub const EXTRA_LISTENER: u8 = 6;

/// [`SyscallPlan::data`] is a buffer.
pub const DATA_BUFFER: u8 = 1;
/// [`SyscallPlan::data`] is an array of `struct iovec`; its first element is kept.
pub const DATA_IOVEC: u8 = 2;
/// [`SyscallPlan::data`] is a `struct msghdr *`; the first element of its vector is kept.
pub const DATA_MSGHDR: u8 = 3;

/// What the kernel side does with one system call: which arguments are paths, descriptors, structures. The agent
/// writes one per wanted call, so a new call is a row of the agent's table and no kernel code.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SyscallPlan {
    /// [`Family`]; 0 = not wanted.
    pub family: u8,
    /// First path argument ([`AttrTag::UserPath`]).
    pub path: ArgSlot,
    /// Directory descriptor of the first path; 0 = the working directory.
    pub dir: ArgSlot,
    /// Second path argument ([`AttrTag::UserPath2`]).
    pub path2: ArgSlot,
    /// Directory descriptor of the second path.
    pub dir2: ArgSlot,
    /// Descriptor to resolve to a file or socket, [`SLOT_RETURN`] or [`SLOT_CWD`].
    pub fd: ArgSlot,
    /// Family-specific pointer argument.
    pub extra: ArgSlot,
    /// `EXTRA_*`: what `extra` points at; 0 = nothing.
    pub extra_kind: u8,
    /// String argument that is not a path ([`AttrTag::Text`]).
    pub text: ArgSlot,
    /// Buffer, vector or message that data was moved to or from ([`AttrTag::Data`]).
    pub data: ArgSlot,
    /// Bytes moved when `data` is a buffer: an argument or [`SLOT_RETURN`].
    pub data_len: ArgSlot,
    /// `DATA_*`: what `data` points at.
    pub data_kind: u8,
    /// Structure argument to copy ([`AttrTag::Bytes`]).
    pub bytes: ArgSlot,
    /// Bytes of that structure.
    pub bytes_len: u8,
    /// Arguments that count for pushdown ([`crate::pushdown::CallKey::numbers`]); with [`EXTRA_OPEN_HOW`] the words of
    /// that structure instead.
    pub numbers: [ArgSlot; KEY_NUMBERS],
    /// 1: by 32-bit programs this number may be a call that is wanted, or the socket multiplexer.
    pub aliased: u8,
    /// Always zero.
    pub pad: [u8; 6],
}

/// The first path of the plan is text, never resolved against a directory (`symlink`'s target).
pub const SLOT_NO_BASE: ArgSlot = 0xfe;

impl SyscallPlan {
    /// The plan as the map stores it.
    #[cfg(feature = "user")]
    pub const fn to_words(self) -> [u64; 3] {
        let Self { family, path, dir, path2, dir2, fd, extra, extra_kind, .. } = self;
        let Self { text, data, data_len, data_kind, bytes, bytes_len, .. } = self;
        let Self { numbers: [one, two, three], aliased, .. } = self;
        [
            u64::from_ne_bytes([family, path, dir, path2, dir2, fd, extra, extra_kind]),
            u64::from_ne_bytes([text, data, data_len, data_kind, bytes, bytes_len, one, two]),
            u64::from_ne_bytes([three, aliased, 0, 0, 0, 0, 0, 0]),
        ]
    }
}

/// Longest DNS answer kept, bytes (what resolvers advertise today is 1,232).
pub const ANSWER_MAX: usize = 1472;

/// A datagram from a name server, as [`crate::abi::MAP_ANSWERS`] carries it.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Answer {
    /// Bytes of `message` that are used.
    pub len: u32,
    /// Always zero.
    pub pad: u32,
    /// The DNS message, cut at its limit.
    pub message: [u8; ANSWER_MAX],
}

/// Counters of answers, per CPU.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AnswerCounters {
    /// Sent to the agent.
    pub emitted: u64,
    /// Lost because the agent had not taken the earlier ones.
    pub ring_full: u64,
}

/// Switches and shared state, one entry of [`crate::abi::MAP_CONTROL`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Control {
    /// Process whose own events are rejected in the kernel (the agent); 0 = none.
    pub own_pid: u32,
    /// 1 while the reader sleeps; the program that emits next clears it and wakes the reader.
    pub reader_idle: u32,
    /// Bytes waiting in the ring at which the reader is woken even when it did not say it sleeps.
    pub wake_bytes: u32,
    /// Always zero.
    pub pad: u32,
}
