//! Every map. Sizes and their reasons are in `rampart_common::service::abi`.

use aya_ebpf::{
    btf_maps::SkStorage,
    macros::{btf_map, map},
    maps::{Array, HashMap, LruHashMap, PerCpuArray, RingBuf},
};
use rampart_common::service::{
    abi::{
        BACKENDS, Backend, Breaker, CLIENTS, ClientKey, Connected, Control, Counts, Datagrams, SERVICES,
        SLOTS, Service, Socket, Sticky, Tally, VIPS, VipKey,
    },
    breaker::Order,
};

/// Not preallocated: few nodes have many.
const NO_PREALLOC: u32 = aya_ebpf::bindings::BPF_F_NO_PREALLOC;

/// Generation in force.
#[map]
pub(crate) static S_GENERATION: Array<u32> = Array::with_max_entries(1, 0);

/// What the living agent writes.
#[map]
pub(crate) static S_CONTROL: Array<Control> = Array::with_max_entries(1, 0);

/// Virtual addresses of both slots.
#[map]
pub(crate) static S_VIPS: HashMap<VipKey, u32> = HashMap::with_max_entries(VIPS, NO_PREALLOC);

/// Services of either slot.
#[map]
pub(crate) static S_SERVICES: Array<Service> = Array::with_max_entries(2 * SERVICES, 0);

/// Tables of slots of either slot.
#[map]
pub(crate) static S_SLOTS: Array<[u16; SLOTS]> = Array::with_max_entries(2 * SERVICES, 0);

/// Backends of either slot.
#[map]
pub(crate) static S_BACKENDS: Array<Backend> = Array::with_max_entries(2 * BACKENDS, 0);

/// Breakers.
#[map]
pub(crate) static S_BREAKERS: Array<Breaker> = Array::with_max_entries(BACKENDS, 0);

/// What is ordered of them.
#[map]
pub(crate) static S_ORDERS: Array<Order> = Array::with_max_entries(BACKENDS, 0);

/// Counters of backends.
#[map]
pub(crate) static S_TALLIES: PerCpuArray<Tally> = PerCpuArray::with_max_entries(BACKENDS, 0);

/// Counters of services.
#[map]
pub(crate) static S_COUNTS: PerCpuArray<Counts> = PerCpuArray::with_max_entries(SERVICES, 0);

/// Round robin of this CPU.
#[map]
pub(crate) static S_CURSORS: PerCpuArray<u32> = PerCpuArray::with_max_entries(SERVICES, 0);

/// Sticky clients.
#[map]
pub(crate) static S_STICKY: LruHashMap<ClientKey, Sticky> = LruHashMap::with_max_entries(CLIENTS, 0);

/// Which backend failed a client last.
#[map]
pub(crate) static S_FAILED: LruHashMap<ClientKey, Sticky> = LruHashMap::with_max_entries(CLIENTS, 0);

/// Until when any client of a service is remembered in [`S_FAILED`]: most of the time nobody is, and none is looked for.
#[map]
pub(crate) static S_FAILED_UNTIL: Array<u64> = Array::with_max_entries(SERVICES, 0);

/// State of TCP sockets; ends with them.
#[btf_map]
pub(crate) static S_SOCKETS: SkStorage<Socket> = SkStorage::new();

/// State of UDP sockets; ends with them.
#[btf_map]
pub(crate) static S_DATAGRAMS: SkStorage<Datagrams> = SkStorage::new();

/// Backends of connected UDP sockets, by cookie.
#[map]
pub(crate) static S_CONNECTED: LruHashMap<u64, Connected> = LruHashMap::with_max_entries(CLIENTS, 0);

/// What happened: some 3600 events fit.
#[map]
pub(crate) static S_EVENTS: RingBuf = RingBuf::with_byte_size(1 << 18, 0);
