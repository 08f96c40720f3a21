//! The version of the kernel/user contract and the names both sides agree on.
//!
//! Owned by this crate; the loader looks programs and maps up by these constants and nothing else.

use crate::event::Family;

/// Version of every layout in this crate. A record with another version is refused by the decoder.
///
/// - 1: first layout.
/// - 2: plans of 16 bytes, attributes for texts, data and structures.
/// - 3: pushdown: candidates in the header, identity of the image, plans of 24 bytes.
/// - 4: events that were counted before one.
pub const ABI_VERSION: u8 = 4;
/// Oldest version whose records, kept in a file, are still understood.
pub const ABI_OLDEST: u8 = 3;

/// Ring buffer that carries records from the kernel to the agent.
pub const MAP_EVENTS: &str = "EVENTS";
/// Array, native syscall number → [`crate::event::SyscallPlan`] (family 0 = not wanted). Written by the agent, read by the dispatcher.
pub const MAP_WANTED: &str = "WANTED";
/// Array, 32-bit syscall number (i386, Arm) → native syscall number plus one (0 = no counterpart).
pub const MAP_COMPAT: &str = "COMPAT";
/// Program array, family → tail-called program.
pub const MAP_FAMILIES: &str = "FAMILIES";
/// Per-CPU array, family → [`crate::counter::FamilyCounters`].
pub const MAP_COUNTERS: &str = "COUNTERS";
/// Per-CPU array with one entry, the next sequence number of the CPU.
pub const MAP_SEQUENCE: &str = "SEQUENCE";
/// Array with one entry, [`crate::event::Control`].
pub const MAP_CONTROL: &str = "CONTROL";

/// Array of [`crate::role::Set`]: which side opened the TCP connection of a socket.
pub const MAP_ROLES: &str = "ROLES";
/// Ring buffer that carries DNS answers, [`crate::event::Answer`], to the agent. Apart from the events, so that a
/// flood of datagrams costs no event its place.
pub const MAP_ANSWERS: &str = "ANSWERS";
/// Per-CPU array with one entry, [`crate::event::AnswerCounters`].
pub const MAP_ANSWER_COUNTERS: &str = "ANSWER_COUNTERS";
/// Per-CPU array of buffers in which records are built.
pub const MAP_SCRATCH: &str = "SCRATCH";
/// Array with one entry, [`crate::pushdown::Policy`]. Written by the agent only.
pub const MAP_POLICY: &str = "POLICY";
/// Array with one entry, u64: time of the last change of process trees or metadata, nanoseconds of the boot clock. Never
/// the same twice, so that nothing older can look up to date.
pub const MAP_EPOCH: &str = "EPOCH";
/// Array with two entries, [`crate::pushdown::Tables`]: by the parity of their generation.
pub const MAP_TABLES: &str = "TABLES";
/// Hash, [`crate::pushdown::CallKey`] → [`crate::pushdown::Mask`].
pub const MAP_MEMO: &str = "MEMO";
/// Per-CPU array of paths that were judged before, with what was left of the rules; the programs' own.
pub const MAP_PATHS: &str = "PATHS";
/// Per-CPU array of files that were opened before, with what was left of the rules; the programs' own.
pub const MAP_TRACES: &str = "TRACES";
/// Frozen number of entries of [`MAP_PATHS`] and of [`MAP_TRACES`], a power of two, or 0 for none.
pub const GLOBAL_PATH_SLOTS: &str = "PATH_SLOTS";
/// Bytes of an entry of [`MAP_PATHS`].
pub const PATH_SLOT_BYTES: u64 = 296;
/// Bytes of an entry of [`MAP_TRACES`].
pub const TRACE_SLOT_BYTES: u64 = 800;
/// Hash, process id → [`crate::pushdown::ProcessEntry`]. Written by the agent; the programs remove what ends.
pub const MAP_PROCESSES: &str = "PROCESSES";
/// Hash, [`crate::pushdown::ImageKey`] → masks by family. Written by the agent; the programs give them to processes
/// that start the image.
pub const MAP_IMAGES: &str = "IMAGES";
/// Hash, [`crate::stream::StreamKey`] → [`crate::stream::StreamTerms`]. Written by the agent only.
pub const MAP_STREAMS: &str = "STREAMS";
/// Hash per CPU, [`crate::stream::StreamKey`] → [`crate::stream::StreamCount`]. Entries are made and removed by the agent,
/// values written by the programs.
pub const MAP_STREAM_COUNTS: &str = "STREAM_COUNTS";
/// Longest prefix match, [`crate::pushdown::AddressKey`] → u32 class.
pub const MAP_ADDRESSES: &str = "ADDRESSES";
/// Where the programs need the offset of a member ([`crate::member::Member`]) on this kernel, they have an instruction that
/// loads this number, with the member's index in the low half. The loader puts the offset in its place.
pub const PLACE_OF_OFFSET: u32 = 0x5241_0000;
/// Where they load a member from a typed object, the instruction has this offset and twice the member's index: an odd
/// one, which no other load of more than a byte has.
pub const PLACE_IN_LOAD: i16 = 0x4001;
/// As [`PLACE_OF_OFFSET`], for the BTF id of the structure that the member is in; 0 = not known, or the kernel has no
/// [`CALL_RDONLY_CAST`].
pub const PLACE_OF_TYPE: u32 = 0x5254_0000;

/// What the programs call where they mean the kernel's function [`FUNCTION_RDONLY_CAST`]: a helper number that no kernel
/// has. The loader puts the function in its place; where there is none, the call is never reached.
pub const CALL_RDONLY_CAST: i32 = 0x7fff_0001;
/// The kernel function that makes a typed pointer of an address, so that members are read by plain loads (since 6.2).
pub const FUNCTION_RDONLY_CAST: &str = "bpf_rdonly_cast";

/// Frozen set of CPUs on which no program wakes the reader, [`crate::wake::CpuBits`].
pub const GLOBAL_ISOLATED: &str = "ISOLATED";

/// `tp_btf/sys_exit`: looks the syscall up and tail-calls its family.
pub const PROG_DISPATCH: &str = "dispatch";
/// `tp_btf/sched_process_exec`.
pub const PROG_EXEC: &str = "process_exec";
/// `tp_btf/sched_process_fork`.
pub const PROG_FORK: &str = "process_fork";
/// `tp_btf/sched_process_exit`.
pub const PROG_EXIT: &str = "process_exit";

/// `tp_btf/inet_sock_set_state`.
pub const PROG_SOCKET: &str = "socket_state";

/// `cgroup_skb/ingress` of the root group: DNS answers.
pub const PROG_ANSWERS: &str = "dns_answers";

/// Programs the dispatcher tail-calls, with the family that selects each.
pub const FAMILY_PROGRAMS: [(&str, Family); 6] = [
    ("family_open", Family::Open),
    ("family_path", Family::Path),
    ("family_net", Family::Net),
    ("family_fd", Family::Fd),
    ("family_exec", Family::Exec),
    ("family_scalar", Family::Scalar),
];

/// i386 number of `socketcall`, through which old 32-bit programs reach all socket calls.
pub const COMPAT_SOCKETCALL: u32 = 102;
/// Slots of [`MAP_COMPAT`] behind [`SYSCALL_SLOTS`], one per operation of `socketcall`.
pub const COMPAT_SOCKET_SLOTS: u32 = 32;

/// From here on up to [`SHARED_FROM`], arm64 has no numbers for 64-bit programs; the agent gives some to calls that only
/// 32-bit programs have.
pub const COMPAT_ONLY_FROM: u32 = 300;
/// From here on, system calls have the same number on all machines, and for 32-bit programs.
pub const SHARED_FROM: u32 = 424;

/// Number of entries of [`MAP_WANTED`], and of [`MAP_COMPAT`] before its socket slots; syscall numbers at or above it are never wanted.
///
/// x86-64 and arm64 end below 500; the room above is for newer kernels.
pub const SYSCALL_SLOTS: u32 = 512;
