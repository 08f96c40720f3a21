//! Layouts and names of the limiter's maps.
//!
//! What a publish writes lies twice, by the parity of its generation: the slot that is not in force is written, then
//! the generation is set. A program reads the generation once, at its beginning. It has ended long before the same
//! slot is written again, because the agent leaves [`PUBLISH_GAP_NS`] between two publishes.
//!
//! State (entries, cells, flows, counters) lies once and outlives publishes and agents: maps and links are pinned
//! below a directory that carries [`VERSION`].

use super::{gcra::Limit, packet::Address};

/// Version of these layouts. Pins of another version are not reused.
///
/// 1: first version.
/// 2: rules of lists may end; the seed of hashes may change.
pub const VERSION: u32 = 2;

/// Time between two publishes. No program runs for a thousandth of it.
pub const PUBLISH_GAP_NS: u64 = 50_000_000;

/// Generation in force: `Array<u32>`, one entry; 0 = off.
pub const MAP_GENERATION: &str = "L_GENERATION";
/// Settings of either slot: `Array<Config>`, two entries.
pub const MAP_CONFIG: &str = "L_CONFIG";
/// What the living agent writes: `Array<Control>`, one entry.
pub const MAP_CONTROL: &str = "L_CONTROL";
/// Policies of either slot: `Array<Policy>`, twice [`POLICIES`].
pub const MAP_POLICIES: &str = "L_POLICIES";
/// Burst grants of either slot: `Array<Grant>`, twice [`GRANTS`].
pub const MAP_GRANTS: &str = "L_GRANTS";
/// Services: `HashMap<ServiceKey, Service>`.
pub const MAP_SERVICES: &str = "L_SERVICES";
/// Rules of single addresses: `HashMap<RuleKey, Rule>`.
pub const MAP_ADDRESSES: &str = "L_ADDRESSES";
/// Rules of prefixes: `LpmTrie<RuleKey, Rule>`.
pub const MAP_PREFIXES: &str = "L_PREFIXES";
/// Known keys: `LruHashMap<EntryKey, Entry>`.
pub const MAP_ENTRIES: &str = "L_ENTRIES";
/// Cells of the prefix gate: `Array<u64>`, [`super::gate::CELLS`].
pub const MAP_CELLS: &str = "L_CELLS";
/// UDP flows that were admitted: `LruHashMap<u64, u64>`, hash of the flow to when it was last seen.
pub const MAP_FLOWS: &str = "L_FLOWS";
/// State of a CPU: `PerCpuArray<Local>`, one entry.
pub const MAP_LOCAL: &str = "L_LOCAL";
/// Packets and bytes by [`tally_index`]: `PerCpuArray<Tally>`.
pub const MAP_TALLIES: &str = "L_TALLIES";
/// Malformed packets by [`defect_index`]: `PerCpuArray<u64>`.
pub const MAP_DEFECTS: &str = "L_DEFECTS";
/// Samples of verdicts: ring of [`Sample`].
pub const MAP_SAMPLES: &str = "L_SAMPLES";
/// Packets to be answered by a reset, by [`reset_index`]: `PerCpuArray<u64>`.
pub const MAP_RESETS: &str = "L_RESETS";

/// Every map, for pinning.
pub const MAPS: [&str; 16] = [
    MAP_GENERATION,
    MAP_CONFIG,
    MAP_CONTROL,
    MAP_POLICIES,
    MAP_GRANTS,
    MAP_SERVICES,
    MAP_ADDRESSES,
    MAP_PREFIXES,
    MAP_ENTRIES,
    MAP_CELLS,
    MAP_FLOWS,
    MAP_LOCAL,
    MAP_TALLIES,
    MAP_DEFECTS,
    MAP_SAMPLES,
    MAP_RESETS,
];

/// XDP, ingress; also sees packets in several buffers (5.18).
pub const PROG_XDP_FRAGS: &str = "limit_xdp_frags";
/// XDP, ingress.
pub const PROG_XDP: &str = "limit_xdp";
/// tc, ingress.
pub const PROG_INGRESS: &str = "limit_ingress";
/// tc, egress.
pub const PROG_EGRESS: &str = "limit_egress";

/// Policies of a slot. Number 0 means none and counts what no policy is about.
pub const POLICIES: u32 = 64;
/// Grants of a slot. Number 0 means none.
pub const GRANTS: u32 = 256;
/// Services of both slots.
pub const SERVICES: u32 = 4096;
/// Single addresses of both slots.
pub const ADDRESSES: u32 = 1 << 17;
/// Prefixes of both slots.
pub const PREFIXES: u32 = 1 << 17;
/// Known keys, unless configured: 120 bytes each.
pub const ENTRIES: u32 = 1 << 16;
/// UDP flows: 80 bytes each.
pub const FLOWS: u32 = 1 << 15;
/// Classes whose rates the agent may stretch each on its own.
pub const CLASSES: usize = 8;

/// Rules under this service are lists: they hold whatever a packet is for.
pub const SERVICE_LISTS: u16 = 0;
/// What has no ports: later fragments, cut and too deep headers.
pub const SERVICE_PORTLESS: u16 = 1;
/// First number of configured services.
pub const SERVICE_FIRST: u16 = 2;

/// A quiet UDP flow is forgotten after this time.
pub const FLOW_NS: u64 = 30_000_000_000;

/// [`Config::flags`]: rejected packets are dropped; without it all verdicts are only observed.
pub const ENFORCE: u32 = 1;
/// [`Config::flags`]: malformed packets are dropped.
pub const STRICT: u32 = 1 << 1;
/// [`Config::flags`]: there are lists of single addresses.
pub const LIST_ADDRESSES: u32 = 1 << 2;
/// [`Config::flags`]: there are lists of prefixes.
pub const LIST_PREFIXES: u32 = 1 << 3;
/// [`Config::flags`]: single addresses have policies of their own.
pub const RULE_ADDRESSES: u32 = 1 << 4;
/// [`Config::flags`]: prefixes have policies of their own.
pub const RULE_PREFIXES: u32 = 1 << 5;

/// Shapes of service keys that are looked up, most specific first, as bits of [`Config::shapes`].
///
/// Each is `(names the interface, names the protocol, names the port)`.
pub const SHAPES: [(bool, bool, bool); 6] = [
    (true, true, true),
    (false, true, true),
    (true, true, false),
    (false, true, false),
    (true, false, false),
    (false, false, false),
];

/// Settings of a generation.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// Bits [`ENFORCE`] to [`RULE_PREFIXES`].
    pub flags: u32,
    /// Which of [`SHAPES`] any service has.
    pub shapes: u32,
    /// The agent counts as dead when its heartbeat is this old: then all verdicts are only observed. 0 = never.
    pub dead_man_ns: u64,
    /// Makes hashes unpredictable from outside.
    pub seed: u64,
    /// The seed before it: what lies where it points goes on to count, see [`super::gate::carry`].
    pub seed_before: u64,
    /// When `seed` came in its place, by the boot clock.
    pub seeded_ns: u64,
    /// New entries per CPU.
    pub budget: Limit,
    /// Samples per CPU.
    pub samples: Limit,
    /// Policy of what has no ports; 0 = none.
    pub portless_policy: u32,
    /// Always zero.
    pub pad: u32,
}

/// What the living agent writes.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Control {
    /// When it last did, by the boot clock.
    pub heartbeat_ns: u64,
    /// How much the interval of each class is stretched; see [`super::gcra::STRETCH_ONE`].
    pub stretch: [u32; CLASSES],
}

/// A policy.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// Rate and burst.
    pub limit: Limit,
    /// Hash of its name: an agent that takes over keeps the number of a policy that is still there.
    pub name_hash: u64,
    /// [`super::verdict::Action::Mark`]: the mark.
    pub mark: u32,
    /// Number of a [`super::verdict::Unit`].
    pub unit: u8,
    /// Number of a [`super::gcra::Mode`].
    pub mode: u8,
    /// Number of an [`super::verdict::Action`].
    pub action: u8,
    /// 1: only observed, whatever the action.
    pub is_dry: u8,
    /// Bits of an IPv4 source that name a key, in the mapped form (128 = a single address).
    pub key_v4: u8,
    /// Bits of an IPv6 source that name a key.
    pub key_v6: u8,
    /// Index of [`Control::stretch`].
    pub class: u8,
    /// 1: several services have it, and a source has one allowance over all of them.
    pub is_shared: u8,
    /// Always zero.
    pub pad: [u8; 4],
}

/// A temporary limit in place of a policy's own.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Grant {
    /// Ends here, by the boot clock: nobody has to take it back.
    pub until_ns: u64,
    /// The limit until then. Without a rate ([`Limit::mult`] is zero) nothing is admitted: the quota is used up.
    pub limit: Limit,
}

/// What a service is known by. Fields that a shape does not name are zero.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ServiceKey {
    /// Interface.
    pub interface: u32,
    /// Destination port.
    pub port: u16,
    /// Protocol.
    pub protocol: u8,
    /// 1 when the protocol is named: zero is a protocol too.
    pub has_protocol: u8,
    /// Parity of the generation.
    pub slot: u8,
    /// Number of a [`super::verdict::Direction`].
    pub direction: u8,
    /// Always zero.
    pub pad: u16,
}

/// A service.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Service {
    /// Its number; from [`SERVICE_FIRST`] on.
    pub number: u16,
    /// Policy of sources without a rule; 0 = none.
    pub policy: u16,
}

/// Bits of a [`RuleKey`] in front of the address.
pub const RULE_KEY_BITS: u32 = 32;

/// A rule's place: the service and the source. As bytes it is what the trie of prefixes compares.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RuleKey {
    /// Service, [`SERVICE_LISTS`] for lists.
    pub service: u16,
    /// Parity of the generation.
    pub slot: u8,
    /// Always zero.
    pub pad: u8,
    /// Source, as [`Address::words`].
    pub address: [u32; 4],
}

/// [`Rule::kind`]: has a policy.
pub const RULE_POLICY: u16 = 0;
/// [`Rule::kind`]: passes always; nothing else can take that away.
pub const RULE_SAFE: u16 = 1;
/// [`Rule::kind`]: passes.
pub const RULE_ALLOW: u16 = 2;
/// [`Rule::kind`]: ends here.
pub const RULE_DENY: u16 = 3;

/// What holds for a source.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rule {
    /// [`RULE_POLICY`] to [`RULE_DENY`].
    pub kind: u16,
    /// Policy; 0 = none.
    pub policy: u16,
    /// Grant; 0 = none.
    pub grant: u16,
    /// Of lists: the kind from `until_secs` on.
    pub then: u16,
    /// Of lists: the second of the boot clock at which `kind` ends, so that nobody has to take it back; 0 = never.
    pub until_secs: u32,
}

/// [`EntryKey::kind`]: a source of a service, at the finest prefix that rules of prefixes tell apart.
pub const ENTRY_SOURCE: u8 = 0;
/// [`EntryKey::kind`]: a source or prefix of a policy that limits whole prefixes, or several services together.
pub const ENTRY_PREFIX: u8 = 1;
/// [`EntryKey::kind`]: a single address with a rule of its own.
pub const ENTRY_ADDRESS: u8 = 2;

/// Bits of a source that [`ENTRY_SOURCE`] keeps, in the mapped form: IPv4 all, IPv6 a /64.
pub const SOURCE_BITS_V4: u32 = 128;
/// See [`SOURCE_BITS_V4`].
pub const SOURCE_BITS_V6: u32 = 64;

/// A known key.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EntryKey {
    /// Source or its prefix, as [`Address::words`].
    pub address: [u32; 4],
    /// Service, or policy of [`ENTRY_PREFIX`].
    pub number: u16,
    /// [`ENTRY_SOURCE`] to [`ENTRY_ADDRESS`].
    pub kind: u8,
    /// Bits of the address that count.
    pub bits: u8,
}

/// State of a known key.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// GCRA word.
    pub tat: u64,
    /// Units admitted since the entry was made.
    pub used: u64,
    /// Generation that `policy` and `grant` are of.
    pub generation: u32,
    /// Packets over the limit since the entry was made; approximate under contention.
    pub over: u32,
    /// Policy.
    pub policy: u16,
    /// Grant; 0 = none.
    pub grant: u16,
    /// Always zero.
    pub pad: u32,
}

/// State of a CPU.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Local {
    /// GCRA word of the budget of new entries.
    pub budget_tat: u64,
    /// GCRA word of the samples.
    pub sample_tat: u64,
    /// GCRA word of the resets.
    pub reset_tat: u64,
}

/// Packets counted.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// How many, segments counted apiece.
    pub packets: u64,
    /// Their bytes from the IP header on.
    pub bytes: u64,
}

/// Number of [`Tally`]s.
pub const TALLIES: u32 = POLICIES * super::verdict::REASONS * 4;
/// Number of defect counters.
pub const DEFECT_COUNTERS: u32 = super::verdict::DEFECTS * 2;

/// Index of the tally of a policy, reason, direction, and whether the verdict was only observed.
#[inline]
pub const fn tally_index(policy: u32, reason: u8, direction: u8, is_observed: bool) -> u32 {
    let reason = reason as u32 & (super::verdict::REASONS - 1);
    ((((policy & (POLICIES - 1)) * super::verdict::REASONS + reason) << 1 | (direction & 1) as u32) << 1)
        | is_observed as u32
}

/// Index of the counter of a defect.
#[inline]
pub const fn defect_index(defect: u8, direction: u8) -> u32 {
    ((defect as u32 & (super::verdict::DEFECTS - 1)) << 1) | (direction & 1) as u32
}

/// Number of reset counters.
pub const RESET_COUNTERS: u32 = 4;

/// Index of the counter of packets that were answered by a reset, or only dropped because they could not be.
#[inline]
pub const fn reset_index(is_answered: bool, direction: u8) -> u32 {
    ((is_answered as u32) << 1) | (direction & 1) as u32
}

/// A verdict that was sampled.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sample {
    /// When, by the boot clock.
    pub time_ns: u64,
    /// How far over the limit, in nanoseconds of the rate.
    pub excess_ns: u64,
    /// How far the limit lets a key run ahead.
    pub allowed_ns: u64,
    /// Source, as [`Address::words`].
    pub source: [u32; 4],
    /// Destination, as [`Address::words`].
    pub destination: [u32; 4],
    /// Interface.
    pub interface: u32,
    /// Bytes of the packet.
    pub bytes: u32,
    /// Policy; 0 = none.
    pub policy: u16,
    /// Source port.
    pub source_port: u16,
    /// Destination port.
    pub destination_port: u16,
    /// Protocol.
    pub protocol: u8,
    /// Number of a [`super::verdict::Reason`].
    pub reason: u8,
    /// Number of a [`super::verdict::Direction`].
    pub direction: u8,
    /// 1: only observed.
    pub is_observed: u8,
    /// Always zero.
    pub pad: [u16; 3],
}

impl Rule {
    /// What a rule of a list says at a time.
    #[inline]
    pub const fn kind_at(&self, now_ns: u64) -> u16 {
        let is_over = self.until_secs != 0 && now_ns >= self.until_secs as u64 * 1_000_000_000;
        if is_over { self.then } else { self.kind }
    }
}

impl RuleKey {
    /// The place of a source under a service.
    #[inline]
    pub const fn new(slot: u8, service: u16, address: Address) -> Self {
        Self { service, slot, pad: 0, address: address.words() }
    }
}

impl Default for Control {
    fn default() -> Self {
        Self { heartbeat_ns: 0, stretch: [super::gcra::STRETCH_ONE; CLASSES] }
    }
}

const _: () = assert!(size_of::<Limit>() == 32);
const _: () = assert!(size_of::<Config>() == 112);
const _: () = assert!(size_of::<Control>() == 40);
const _: () = assert!(size_of::<Policy>() == 56);
const _: () = assert!(size_of::<Grant>() == 40);
const _: () = assert!(size_of::<ServiceKey>() == 12);
const _: () = assert!(size_of::<Service>() == 4);
const _: () = assert!(size_of::<RuleKey>() == 20);
const _: () = assert!(size_of::<Rule>() == 12);
const _: () = assert!(size_of::<EntryKey>() == 20);
const _: () = assert!(size_of::<Entry>() == 32);
const _: () = assert!(core::mem::offset_of!(Entry, tat) == 0);
const _: () = assert!(size_of::<Local>() == 24);
const _: () = assert!(size_of::<Tally>() == 16);
const _: () = assert!(size_of::<Sample>() == 80);
