//! Every map; `rampart_common::deny` says what is in it.

use aya_ebpf::{
    bindings::BPF_F_NO_PREALLOC,
    macros::map,
    maps::{Array, HashMap, LpmTrie, PerCpuArray, RingBuf},
};
use rampart_common::{
    deny::{
        Counts, FILE_NAME_BYTES, GROUP_ENTRIES, HASH_ENTRIES, NameKey, NumberKey, PathKey, PathTerms,
        RUNNING_ENTRIES, Running, Settings, TABLE_ENTRIES, TERMS, Terms, UNDECIDED_KINDS,
    },
    pushdown::AddressKey,
};

use crate::scratch::{SLOTS, Scratch};

#[map]
pub(crate) static DENY_SETTINGS: Array<Settings> = Array::with_max_entries(2, 0);

#[map]
pub(crate) static DENY_GENERATION: Array<u64> = Array::with_max_entries(1, 0);

#[map]
pub(crate) static DENY_PATHS: LpmTrie<PathKey, PathTerms> =
    LpmTrie::with_max_entries(TABLE_ENTRIES, BPF_F_NO_PREALLOC);

#[map]
pub(crate) static DENY_EXES: LpmTrie<PathKey, PathTerms> =
    LpmTrie::with_max_entries(TABLE_ENTRIES, BPF_F_NO_PREALLOC);

#[map]
pub(crate) static DENY_ADDRESSES: LpmTrie<AddressKey, Terms> =
    LpmTrie::with_max_entries(TABLE_ENTRIES, BPF_F_NO_PREALLOC);

#[map]
pub(crate) static DENY_PORTS: HashMap<NumberKey, Terms> =
    HashMap::with_max_entries(HASH_ENTRIES, BPF_F_NO_PREALLOC);

#[map]
pub(crate) static DENY_USERS: HashMap<NumberKey, Terms> =
    HashMap::with_max_entries(HASH_ENTRIES, BPF_F_NO_PREALLOC);

#[map]
pub(crate) static DENY_NAMES: HashMap<NameKey, Terms> =
    HashMap::with_max_entries(HASH_ENTRIES, BPF_F_NO_PREALLOC);

#[map]
pub(crate) static DENY_PROTECTED: HashMap<[u8; FILE_NAME_BYTES], u32> =
    HashMap::with_max_entries(HASH_ENTRIES, BPF_F_NO_PREALLOC);

#[map]
pub(crate) static DENY_SPARED: HashMap<u32, u32> = HashMap::with_max_entries(64, BPF_F_NO_PREALLOC);

#[map]
pub(crate) static DENY_GROUPS: HashMap<u64, u32> =
    HashMap::with_max_entries(GROUP_ENTRIES, BPF_F_NO_PREALLOC);

#[map]
pub(crate) static DENY_RUNNING: HashMap<u32, Running> =
    HashMap::with_max_entries(RUNNING_ENTRIES, BPF_F_NO_PREALLOC);

#[map]
pub(crate) static DENY_COUNTS: PerCpuArray<Counts> = PerCpuArray::with_max_entries(TERMS as u32, 0);

#[map]
pub(crate) static DENY_UNDECIDED: PerCpuArray<u64> = PerCpuArray::with_max_entries(UNDECIDED_KINDS, 0);

#[map]
pub(crate) static DENY_ASKED: Array<u64> = Array::with_max_entries(1, 0);

/// Second of the boot clock and notices in it.
#[map]
pub(crate) static DENY_RATE: Array<[u64; 2]> = Array::with_max_entries(1, 0);

/// Notices to the agent; more than 300 of them fit.
#[map]
pub(crate) static DENY_NOTICES: RingBuf = RingBuf::with_byte_size(1 << 18, 0);

/// Buffers. A program at a hook can be preempted by another one on the same CPU, so there are several.
#[map]
pub(crate) static DENY_SCRATCH: PerCpuArray<Scratch> = PerCpuArray::with_max_entries(SLOTS, 0);
