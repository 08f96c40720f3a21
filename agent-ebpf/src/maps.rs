//! Every map, with the reason for its size.

use aya_ebpf::{
    bindings::BPF_F_NO_PREALLOC,
    macros::map,
    maps::{Array, HashMap, LpmTrie, PerCpuArray, PerCpuHashMap, ProgramArray, RingBuf},
};
use rampart_common::{
    abi::{COMPAT_SOCKET_SLOTS, SYSCALL_SLOTS},
    counter::FamilyCounters,
    event::{AnswerCounters, Control, FAMILY_COUNT, SyscallPlan},
    pushdown::{
        ADDRESS_ENTRIES, AddressKey, CallKey, IMAGE_ENTRIES, ImageKey, MEMO_ENTRIES, Mask, PROCESS_ENTRIES,
        Policy, ProcessEntry, Tables,
    },
    role,
    stream::{STREAM_ENTRIES, StreamCount, StreamKey, StreamTerms},
};

use crate::{
    recall::Judged,
    record::{SCRATCH_SLOTS, Scratch},
    trace::Traced,
};

/// Records to the agent. The size here is the smallest; the loader sets the configured one.
#[map]
pub(crate) static EVENTS: RingBuf = RingBuf::with_byte_size(1 << 16, 0);

/// Native syscall number → `SyscallPlan`. An array map, because its lookup is inlined by the JIT.
#[map]
pub(crate) static WANTED: Array<SyscallPlan> = Array::with_max_entries(SYSCALL_SLOTS, 0);

/// i386 syscall number, or operation of `socketcall` → native number plus one.
#[map]
pub(crate) static COMPAT: Array<u32> = Array::with_max_entries(SYSCALL_SLOTS + COMPAT_SOCKET_SLOTS, 0);

/// Family → program.
#[map]
pub(crate) static FAMILIES: ProgramArray = ProgramArray::with_max_entries(FAMILY_COUNT as u32, 0);

/// Family → counters.
#[map]
pub(crate) static COUNTERS: PerCpuArray<FamilyCounters> =
    PerCpuArray::with_max_entries(FAMILY_COUNT as u32, 0);

/// Next sequence number of the CPU.
#[map]
pub(crate) static SEQUENCE: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);

/// Buffers in which records are built: one in use, one spare should a program ever interrupt another.
#[map]
pub(crate) static SCRATCH: PerCpuArray<Scratch> = PerCpuArray::with_max_entries(SCRATCH_SLOTS, 0);

/// Switches shared with the agent.
#[map]
pub(crate) static CONTROL: Array<Control> = Array::with_max_entries(1, 0);

/// Which side opened the connection of a TCP socket; where that is not known, the ports decide.
#[map]
pub(crate) static ROLES: Array<role::Set> = Array::with_max_entries(role::SETS, 0);

/// DNS answers to the agent; about 40 of them fit.
#[map]
pub(crate) static ANSWERS: RingBuf = RingBuf::with_byte_size(1 << 16, 0);

/// Counters of answers.
#[map]
pub(crate) static ANSWER_COUNTERS: PerCpuArray<AnswerCounters> = PerCpuArray::with_max_entries(1, 0);

/// What is in force.
#[map]
pub(crate) static POLICY: Array<Policy> = Array::with_max_entries(1, 0);

/// Last change of process trees or metadata.
#[map]
pub(crate) static EPOCH: Array<u64> = Array::with_max_entries(1, 0);

/// Tables of the rule set in force and of the one before or after it.
#[map]
pub(crate) static TABLES: Array<Tables> = Array::with_max_entries(2, 0);

/// Masks of calls. Not a map that evicts: there an entry could become another one while it is read.
#[map]
pub(crate) static MEMO: HashMap<CallKey, Mask> = HashMap::with_max_entries(MEMO_ENTRIES, BPF_F_NO_PREALLOC);

/// Paths that were judged. The loader sets how many.
#[map]
pub(crate) static PATHS: PerCpuArray<Judged> = PerCpuArray::with_max_entries(1, 0);

/// Files that were opened. The loader sets how many.
#[map]
pub(crate) static TRACES: PerCpuArray<Traced> = PerCpuArray::with_max_entries(1, 0);

/// Masks of processes; allocated as they come.
#[map]
pub(crate) static PROCESSES: HashMap<u32, ProcessEntry> =
    HashMap::with_max_entries(PROCESS_ENTRIES, BPF_F_NO_PREALLOC);

/// Masks of images, by family; allocated as they come.
#[map]
pub(crate) static IMAGES: HashMap<ImageKey, [Mask; FAMILY_COUNT]> =
    HashMap::with_max_entries(IMAGE_ENTRIES, BPF_F_NO_PREALLOC);

/// Classes of addresses.
#[map]
pub(crate) static ADDRESSES: LpmTrie<AddressKey, u32> = LpmTrie::with_max_entries(ADDRESS_ENTRIES, 0);

/// When events of a stream are counted; allocated as they come.
#[map]
pub(crate) static STREAMS: HashMap<StreamKey, StreamTerms> =
    HashMap::with_max_entries(STREAM_ENTRIES, BPF_F_NO_PREALLOC);

/// What was counted of them.
#[map]
pub(crate) static STREAM_COUNTS: PerCpuHashMap<StreamKey, StreamCount> =
    PerCpuHashMap::with_max_entries(STREAM_ENTRIES, BPF_F_NO_PREALLOC);
