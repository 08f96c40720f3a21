//! Layouts and names of the maps of services.
//!
//! What a publish writes lies twice, by the parity of its generation, as in [`crate::limit::abi`]. A backend keeps its
//! number as long as it is known: breakers and counters lie once, outlive publishes and agents, and are pinned below a
//! directory that carries [`VERSION`].

use super::breaker::{Order, Policy};

/// Version of these layouts. Pins of another version are not reused.
///
/// 1: first version.
pub const VERSION: u32 = 1;

/// Time between two publishes. No program runs for a thousandth of it.
pub const PUBLISH_GAP_NS: u64 = 50_000_000;

/// Generation in force: `Array<u32>`, one entry; 0 = off.
pub const MAP_GENERATION: &str = "S_GENERATION";
/// What the living agent writes: `Array<Control>`, one entry.
pub const MAP_CONTROL: &str = "S_CONTROL";
/// Virtual addresses: `HashMap<VipKey, u32>`, to the number of the service.
pub const MAP_VIPS: &str = "S_VIPS";
/// Services of either slot: `Array<Service>`, twice [`SERVICES`].
pub const MAP_SERVICES: &str = "S_SERVICES";
/// Their tables of slots: `Array<[u16; SLOTS]>`, twice [`SERVICES`].
pub const MAP_SLOTS: &str = "S_SLOTS";
/// Backends of either slot: `Array<Backend>`, twice [`BACKENDS`].
pub const MAP_BACKENDS: &str = "S_BACKENDS";
/// Breakers, by backend: `Array<Breaker>`, [`BACKENDS`].
pub const MAP_BREAKERS: &str = "S_BREAKERS";
/// What people and the agent order of a breaker: `Array<Order>`, [`BACKENDS`].
pub const MAP_ORDERS: &str = "S_ORDERS";
/// Counters by backend: `PerCpuArray<Tally>`, [`BACKENDS`].
pub const MAP_TALLIES: &str = "S_TALLIES";
/// Counters by service: `PerCpuArray<Counts>`, [`SERVICES`].
pub const MAP_COUNTS: &str = "S_COUNTS";
/// Round robin: `PerCpuArray<u32>`, [`SERVICES`].
pub const MAP_CURSORS: &str = "S_CURSORS";
/// Sticky clients: `LruHashMap<ClientKey, Sticky>`.
pub const MAP_STICKY: &str = "S_STICKY";
/// Which backend failed a client last: `LruHashMap<ClientKey, Sticky>`.
pub const MAP_FAILED: &str = "S_FAILED";
/// Until when any client of a service is in it: `Array<u64>`, [`SERVICES`].
pub const MAP_FAILED_UNTIL: &str = "S_FAILED_UNTIL";
/// State of a TCP socket: `SkStorage<Socket>`.
pub const MAP_SOCKETS: &str = "S_SOCKETS";
/// State of a UDP socket: `SkStorage<Datagrams>`.
pub const MAP_DATAGRAMS: &str = "S_DATAGRAMS";
/// Connected UDP sockets by their cookie: `LruHashMap<u64, Connected>`. The kernel's list of sockets shows what programs
/// keep with TCP sockets only.
pub const MAP_CONNECTED: &str = "S_CONNECTED";
/// What happened: ring of [`Event`].
pub const MAP_EVENTS: &str = "S_EVENTS";

/// Every map, for pinning.
pub const MAPS: [&str; 18] = [
    MAP_GENERATION,
    MAP_CONTROL,
    MAP_VIPS,
    MAP_SERVICES,
    MAP_SLOTS,
    MAP_BACKENDS,
    MAP_BREAKERS,
    MAP_ORDERS,
    MAP_TALLIES,
    MAP_COUNTS,
    MAP_CURSORS,
    MAP_STICKY,
    MAP_FAILED,
    MAP_FAILED_UNTIL,
    MAP_SOCKETS,
    MAP_DATAGRAMS,
    MAP_CONNECTED,
    MAP_EVENTS,
];

/// Frozen by the loader: which loading of the programs this is. Only the one that [`Control::instance`] names works, so
/// that a new agent's programs take over from an older one's at one moment.
pub const GLOBAL_INSTANCE: &str = "INSTANCE";
/// Frozen by the loader: [`Fact`]s of this kernel.
pub const GLOBAL_FACTS: &str = "FACTS_OF_KERNEL";

/// Programs at the control group's socket addresses.
pub const SOCK_ADDR_PROGRAMS: [&str; 8] = [
    "service_connect4",
    "service_connect6",
    "service_sendmsg4",
    "service_sendmsg6",
    "service_recvmsg4",
    "service_recvmsg6",
    "service_getpeername4",
    "service_getpeername6",
];
/// The program that sees a socket closed.
pub const PROG_RELEASE: &str = "service_release";
/// The program that sets timers and sees first bytes.
pub const PROG_SOCK_OPS: &str = "service_sock_ops";
/// Programs on tracepoints, with the tracepoint of each.
pub const TRACEPOINT_PROGRAMS: [(&str, &str); 4] = [
    ("service_state", "inet_sock_set_state"),
    ("service_error", "inet_sk_error_report"),
    ("service_reset", "tcp_receive_reset"),
    ("service_retransmit", "tcp_retransmit_skb"),
];

/// Services of a slot. Number 0 means none.
pub const SERVICES: u32 = 256;
/// Backends. Number 0 means none.
pub const BACKENDS: u32 = 1024;
/// Slots of a service's table. A power of two.
pub const SLOTS: usize = 256;
/// Backends of one service.
pub const MEMBERS: usize = 32;
/// Probes a breaker lets through at a time, at most.
pub const TOKENS: usize = 8;
/// Virtual addresses of both slots.
pub const VIPS: u32 = 2048;
/// Clients remembered, for stickiness and for what failed them.
pub const CLIENTS: u32 = 1 << 15;
/// Virtual addresses that one UDP socket talks to at a time.
pub const PEERS: usize = 4;
/// Steps of the connect latency's histogram: up to 2^n times 16 µs.
pub const LATENCIES: usize = 16;

/// A kernel fact that the programs need: the offset of a member.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fact {
    /// `sock.sk_err`.
    Error,
    /// `sock.sk_err_soft`.
    SoftError,
    /// `sock.__sk_common.skc_state`.
    State,
    /// `tcp_sock.bytes_received`.
    Received,
    /// `tcp_sock.bytes_acked`.
    Acked,
    /// `tcp_sock.total_retrans`.
    Retransmits,
    /// `task_struct.flags`.
    TaskFlags,
}

/// Number of [`Fact`]s.
pub const FACTS: usize = 7;

/// Kernel names of the facts, in their order; see [`crate::member`] for the form.
pub const FACT_NAMES: [&str; FACTS] = [
    "sock.sk_err",
    "sock.sk_err_soft",
    "sock.__sk_common.skc_state",
    "tcp_sock.bytes_received",
    "tcp_sock.bytes_acked",
    "tcp_sock.total_retrans",
    "task_struct.flags",
];

/// What the living agent writes.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Control {
    /// When it last did, by the boot clock.
    pub heartbeat_ns: u64,
    /// Which loading of the programs is in charge; 0 = none.
    pub instance: u64,
    /// Sockets with this mark are health checks, and are left alone.
    pub probe_mark: u32,
    /// Always zero.
    pub pad: u32,
}

/// A virtual address.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct VipKey {
    /// In memory order; IPv4 in the mapped form.
    pub address: [u32; 4],
    /// Port, in network order.
    pub port: u16,
    /// Protocol number.
    pub protocol: u8,
    /// Parity of the generation.
    pub slot: u8,
}

/// [`Service::algorithm`]: slot by slot.
pub const ROUND_ROBIN: u8 = 0;
/// [`Service::algorithm`]: a random slot; weights are shares of the slots.
pub const WEIGHTED: u8 = 1;
/// [`Service::algorithm`]: of two random slots the one with fewer connections.
pub const LEAST_CONNECTIONS: u8 = 2;
/// [`Service::algorithm`]: a client's slot by its key, and remembered.
pub const STICKY: u8 = 3;

/// [`Service::flags`]: breakers are ignored.
pub const PANIC: u8 = 1;
/// [`Service::flags`]: when no breaker lets anything through, a backend is taken all the same.
pub const SPREAD: u8 = 1 << 1;
/// [`Service::flags`]: a connection that stands is a success; else its first byte is.
pub const ESTABLISHED_IS_SUCCESS: u8 = 1 << 2;
/// [`Service::flags`]: a client is its control group; else its network namespace.
pub const CLIENT_IS_CGROUP: u8 = 1 << 3;

/// A service.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Service {
    /// Of its backends' breakers.
    pub policy: Policy,
    /// How long a client stays with its backend.
    pub sticky_ns: u64,
    /// How long a backend that failed a client is not chosen for it again, when there is another.
    pub exclude_ns: u64,
    /// A connect that takes longer than this counts as slow; 0 = none does.
    pub slow_ns: u64,
    /// First retransmission of a SYN, in jiffies; 0 = as the kernel has it.
    pub syn_timeout: u32,
    /// Retransmissions of a SYN; 0 = as the kernel has it.
    pub syn_retries: u32,
    /// [`ROUND_ROBIN`] to [`STICKY`].
    pub algorithm: u8,
    /// Bits [`PANIC`] to [`CLIENT_IS_CGROUP`].
    pub flags: u8,
    /// How many of `members` there are.
    pub count: u8,
    /// Always zero.
    pub pad: u8,
    /// Hash of its name: an agent that takes over keeps the number.
    pub name_low: u32,
    /// Its backends, best tier first.
    pub members: [u16; MEMBERS],
    /// Of each member: the first one of its tier.
    pub tier_start: [u8; MEMBERS],
    /// Of each member: how many its tier has.
    pub tier_size: [u8; MEMBERS],
}

/// A backend.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backend {
    /// Hash of its service's and its own name: an agent that takes over keeps the number.
    pub name_hash: u64,
    /// In memory order; IPv4 in the mapped form.
    pub address: [u32; 4],
    /// Port, in network order.
    pub port: u16,
    /// Number of its service.
    pub service: u16,
    /// Share of the service's traffic; only for ties.
    pub weight: u32,
}

/// A breaker's state. Each member is a word on its own.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Breaker {
    /// See [`super::breaker::Word`].
    pub word: u64,
    /// See [`super::breaker::Token`].
    pub tokens: [u64; TOKENS],
    /// Connections begun.
    pub opened: u64,
    /// Connections ended; never more than `opened`.
    pub closed: u64,
}

/// Counters of a backend.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Ends by [`super::signal::Outcome`].
    pub outcomes: [u64; super::signal::OUTCOMES],
    /// Connects that took long.
    pub slow: u64,
    /// Sum of connect latencies.
    pub latency_ns: u64,
    /// Connects by latency; see [`latency_step`].
    pub latencies: [u64; LATENCIES],
}

/// Counters of a service.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Connections and datagrams that got a backend.
    pub chosen: u64,
    /// Of them, those let through to try a backend again.
    pub probes: u64,
    /// Of them, those that got one although no breaker let them through.
    pub panics: u64,
    /// Turned away because all breakers are open.
    pub refused: u64,
    /// Turned away because there is no backend.
    pub empty: u64,
    /// Left alone: threads of the kernel and health checks.
    pub passed: u64,
}

/// A client of a service.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct ClientKey {
    /// Network namespace or control group.
    pub client: u64,
    /// Service.
    pub service: u32,
    /// Always zero.
    pub pad: u32,
}

/// A client's backend for a time.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sticky {
    /// Until then.
    pub until_ns: u64,
    /// The backend.
    pub backend: u32,
    /// Always zero.
    pub pad: u32,
}

/// [`Socket::probe`]: no probe.
pub const NO_PROBE: u8 = 0xff;

/// State of a TCP socket whose connection was given a backend.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Socket {
    /// The breaker's epoch when it was; 0 when the end says nothing about the backend.
    pub epoch: u64,
    /// The probe's token.
    pub token: u64,
    /// When the connection began.
    pub begun_ns: u64,
    /// The client.
    pub client: u64,
    /// The virtual address it asked for.
    pub vip: [u32; 4],
    /// Its port, in network order.
    pub vip_port: u16,
    /// Service.
    pub service: u16,
    /// Backend.
    pub backend: u16,
    /// Bits of [`super::signal`].
    pub seen: u16,
    /// Index of the probe's token, or [`NO_PROBE`].
    pub probe: u8,
    /// 1 while the connection is counted among the open ones.
    pub is_open: u8,
    /// 1 while the socket has not been put aside: what was asked for is shown as its peer.
    pub is_named: u8,
    /// Always zero.
    pub pad: [u8; 5],
}

/// A virtual address that a UDP socket talks to.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Peer {
    /// When it was last given a backend.
    pub used_ns: u64,
    /// The breaker's epoch then.
    pub epoch: u64,
    /// The probe's token.
    pub token: u64,
    /// The virtual address.
    pub vip: [u32; 4],
    /// The backend's address.
    pub address: [u32; 4],
    /// The virtual port, in network order.
    pub vip_port: u16,
    /// The backend's port, in network order.
    pub port: u16,
    /// Service.
    pub service: u16,
    /// Backend; 0 = free.
    pub backend: u16,
    /// Index of the probe's token, or [`NO_PROBE`].
    pub probe: u8,
    /// Always zero.
    pub pad: [u8; 7],
}

/// State of a UDP socket.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Datagrams {
    /// What it talks to.
    pub peers: [Peer; PEERS],
}

/// The backend of a connected UDP socket.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Connected {
    /// The backend's address.
    pub address: [u32; 4],
    /// Its port, in network order.
    pub port: u16,
    /// Backend.
    pub backend: u16,
    /// Always zero.
    pub pad: u32,
}

/// [`Event::kind`]: a breaker changed its state.
pub const EVENT_STATE: u8 = 1;
/// [`Event::kind`]: a connection ended, not as a success.
pub const EVENT_END: u8 = 2;

/// What happened to a backend.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Event {
    /// When, by the boot clock.
    pub time_ns: u64,
    /// The breaker's word afterwards.
    pub word: u64,
    /// Epoch of the connection.
    pub epoch: u64,
    /// Client of the connection.
    pub client: u64,
    /// How long the connection had lasted.
    pub age_ns: u64,
    /// Service.
    pub service: u16,
    /// Backend.
    pub backend: u16,
    /// Error of the socket.
    pub error: u16,
    /// Retransmissions of the connection.
    pub retransmits: u16,
    /// [`EVENT_STATE`] or [`EVENT_END`].
    pub kind: u8,
    /// Number of a [`super::signal::Outcome`].
    pub outcome: u8,
    /// Number of the [`super::breaker::State`] before.
    pub from: u8,
    /// Number of the [`super::breaker::State`] now.
    pub to: u8,
    /// Always zero.
    pub pad: u32,
}

/// Step of the histogram that a latency belongs to.
#[inline]
pub const fn latency_step(latency_ns: u64) -> u32 {
    let mut bound = 16_000;
    let mut step = 0;
    while step < LATENCIES as u32 - 1 && latency_ns > bound {
        bound *= 2;
        step += 1;
    }
    step
}

const _: () = assert!(size_of::<Control>() == 24);
const _: () = assert!(size_of::<VipKey>() == 20);
const _: () = assert!(size_of::<Policy>() == 56);
const _: () = assert!(size_of::<Order>() == 24);
const _: () = assert!(size_of::<Service>() == 56 + 24 + 8 + 8 + 64 + 64);
const _: () = assert!(size_of::<Backend>() == 32);
const _: () = assert!(size_of::<Breaker>() == 88);
const _: () = assert!(size_of::<Tally>() == 8 * (super::signal::OUTCOMES + 2 + LATENCIES));
const _: () = assert!(size_of::<Counts>() == 48);
const _: () = assert!(size_of::<ClientKey>() == 16);
const _: () = assert!(size_of::<Sticky>() == 16);
const _: () = assert!(size_of::<Socket>() == 64);
const _: () = assert!(size_of::<Peer>() == 72);
const _: () = assert!(size_of::<Datagrams>() == 288);
const _: () = assert!(size_of::<Connected>() == 24);
const _: () = assert!(size_of::<Event>() == 56);
const _: () = assert!(SLOTS.is_power_of_two());
