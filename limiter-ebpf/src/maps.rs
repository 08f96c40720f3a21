//! Every map. Sizes and their reasons are in `rampart_common::limit::abi`.

use aya_ebpf::{
    macros::map,
    maps::{Array, HashMap, LpmTrie, LruHashMap, PerCpuArray, RingBuf},
};
use rampart_common::limit::{
    abi::{
        ADDRESSES, Config, Control, DEFECT_COUNTERS, ENTRIES, Entry, EntryKey, FLOWS, GRANTS, Grant, Local,
        POLICIES, PREFIXES, Policy, RESET_COUNTERS, Rule, RuleKey, SERVICES, Service, ServiceKey, TALLIES,
        Tally,
    },
    gate::CELLS,
};

use crate::{
    frame::Notes,
    reset::Scratch,
    world::{MEMOS, Memo},
};

/// XDP, tc ingress, tc egress.
pub(crate) const NOTEBOOKS: u32 = 3;

/// Not preallocated: lists are short on most nodes.
const NO_PREALLOC: u32 = aya_ebpf::bindings::BPF_F_NO_PREALLOC;

/// Generation in force.
#[map]
pub(crate) static L_GENERATION: Array<u32> = Array::with_max_entries(1, 0);

/// Settings of either slot.
#[map]
pub(crate) static L_CONFIG: Array<Config> = Array::with_max_entries(2, 0);

/// What the living agent writes.
#[map]
pub(crate) static L_CONTROL: Array<Control> = Array::with_max_entries(1, 0);

/// Policies of either slot.
#[map]
pub(crate) static L_POLICIES: Array<Policy> = Array::with_max_entries(2 * POLICIES, 0);

/// Grants of either slot.
#[map]
pub(crate) static L_GRANTS: Array<Grant> = Array::with_max_entries(2 * GRANTS, 0);

/// Services of both slots.
#[map]
pub(crate) static L_SERVICES: HashMap<ServiceKey, Service> = HashMap::with_max_entries(SERVICES, NO_PREALLOC);

/// Services of late, by port.
#[map]
pub(crate) static L_MEMOS: PerCpuArray<Memo> = PerCpuArray::with_max_entries(MEMOS, 0);

/// Rules of single addresses.
#[map]
pub(crate) static L_ADDRESSES: HashMap<RuleKey, Rule> = HashMap::with_max_entries(ADDRESSES, NO_PREALLOC);

/// Rules of prefixes.
#[map]
pub(crate) static L_PREFIXES: LpmTrie<RuleKey, Rule> = LpmTrie::with_max_entries(PREFIXES, 0);

/// Known keys; the loader sets the configured number.
#[map]
pub(crate) static L_ENTRIES: LruHashMap<EntryKey, Entry> = LruHashMap::with_max_entries(ENTRIES, 0);

/// Cells of the prefix gate.
#[map]
pub(crate) static L_CELLS: Array<u64> = Array::with_max_entries(CELLS, 0);

/// UDP flows that were admitted.
#[map]
pub(crate) static L_FLOWS: LruHashMap<u64, u64> = LruHashMap::with_max_entries(FLOWS, 0);

/// State of this CPU.
#[map]
pub(crate) static L_LOCAL: PerCpuArray<Local> = PerCpuArray::with_max_entries(1, 0);

/// Notes of each kind of program.
#[map]
pub(crate) static L_NOTES: PerCpuArray<Notes> = PerCpuArray::with_max_entries(NOTEBOOKS, 0);

/// What answers are made in, for each kind of program.
#[map]
pub(crate) static L_SCRATCH: PerCpuArray<Scratch> = PerCpuArray::with_max_entries(NOTEBOOKS, 0);

/// Packets and bytes by policy, reason, direction, and whether only observed.
#[map]
pub(crate) static L_TALLIES: PerCpuArray<Tally> = PerCpuArray::with_max_entries(TALLIES, 0);

/// Malformed packets by defect and direction.
#[map]
pub(crate) static L_DEFECTS: PerCpuArray<u64> = PerCpuArray::with_max_entries(DEFECT_COUNTERS, 0);

/// Packets answered by a reset, and those that could not be, by direction.
#[map]
pub(crate) static L_RESETS: PerCpuArray<u64> = PerCpuArray::with_max_entries(RESET_COUNTERS, 0);

/// Samples of verdicts: some 2900 fit.
#[map]
pub(crate) static L_SAMPLES: RingBuf = RingBuf::with_byte_size(1 << 18, 0);
