//! Classes of addresses and ports: those of one class satisfy the same comparisons of the rules, so that any of them
//! can stand for all.

mod ends;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    net::{IpAddr, Ipv6Addr},
};

use self::ends::Endpoint;
pub(super) use self::ends::Ends;
use rampart_common::pushdown::{ADDRESS_ENTRIES, ADDRESS_KEY_BITS, AddressKey, UNKNOWN_CLASS};
use rampart_rules::{
    catalog::{FieldId, ids},
    comparisons::{ComparisonId, Comparisons},
    set::Set,
    typed::{Const, Right, Source as Value, Test},
    value::{FieldArg, FieldSource, Truth, Value as FieldValue},
};

/// First port that counts as a client's where nobody saw who connected.
const EPHEMERAL_PORT: u16 = 32_768;
/// Networks that are always told apart.
const OWN_NETWORKS: usize = 4;
/// Prefix bits of IPv4 in the common form.
const MAPPED_BITS: u8 = 96;

/// The classes of a rule set.
#[derive(Debug)]
pub(super) struct Classes {
    ports: Vec<u16>,
    /// A port of each class.
    port_of: Vec<u16>,
    networks: Vec<(u128, u8, u16)>,
    /// An address of each class.
    address_of: Vec<Ipv6Addr>,
    /// Comparisons with sets for which the table has no room.
    left_out: HashSet<ComparisonId>,
}

impl Classes {
    /// Finds what the rules tell apart.
    pub(super) fn new(comparisons: &Comparisons) -> Self {
        let plain = |of: fn(FieldId) -> bool| -> Vec<ComparisonId> {
            comparisons
                .ids()
                .filter(|id| comparisons.test(*id).is_some_and(|test| is_plain(test, of)))
                .collect()
        };
        let mut classes = Self {
            ports: vec![0; 1 << 16],
            port_of: Vec::new(),
            networks: Vec::new(),
            address_of: Vec::new(),
            left_out: HashSet::new(),
        };
        classes.find_ports(comparisons, &plain(is_port));
        let addresses = plain(is_address);
        classes.left_out = left_out(comparisons, &addresses);
        let addresses: Vec<ComparisonId> =
            addresses.into_iter().filter(|id| !classes.left_out.contains(id)).collect();
        classes.find_networks(comparisons, &addresses);
        classes
    }

    /// Whether classes say nothing about a comparison, because the set it looks into is too large.
    pub(super) fn leaves_out(&self, comparison: ComparisonId) -> bool {
        self.left_out.contains(&comparison)
    }

    fn find_ports(&mut self, comparisons: &Comparisons, tests: &[ComparisonId]) {
        // Where one of the comparisons may change: at its constants and behind them.
        let mut edges = vec![0u16, 1, EPHEMERAL_PORT];
        for number in constants(comparisons, tests).filter_map(|value| match value {
            Const::Int(number) => u16::try_from(*number).ok(),
            _ => None,
        }) {
            edges.extend([Some(number), number.checked_add(1)].into_iter().flatten());
        }
        edges.sort_unstable();
        edges.dedup();
        let mut known: HashMap<Vec<Truth>, u16> = HashMap::new();
        let ends = edges.iter().skip(1).map(|edge| u32::from(*edge)).chain([1 << 16]);
        for (start, end) in edges.iter().zip(ends) {
            let value = FieldValue::Uint(u64::from(*start));
            let mut truths = evaluate(comparisons, tests, value);
            truths.extend([Truth::from(*start == 0), Truth::from(*start >= EPHEMERAL_PORT)]);
            let class = *known.entry(truths).or_insert_with(|| {
                let next = u16::try_from(self.port_of.len()).unwrap_or(UNKNOWN_CLASS);
                if next != UNKNOWN_CLASS {
                    self.port_of.push(*start);
                }
                next
            });
            if let Some(all) = self.ports.get_mut(usize::from(*start)..end as usize) {
                all.fill(class);
            }
        }
    }

    fn find_networks(&mut self, comparisons: &Comparisons, tests: &[ComparisonId]) {
        let mapped = |address: IpAddr, length: u8| match address {
            IpAddr::V4(v4) => (v4.to_ipv6_mapped().to_bits(), MAPPED_BITS.saturating_add(length).min(128)),
            IpAddr::V6(v6) => (v6.to_bits(), length.min(128)),
        };
        let mut networks: BTreeMap<(u8, u128), u16> = BTreeMap::new();
        // What the getters themselves tell apart: version, and the address that is none.
        let none = [IpAddr::V6(Ipv6Addr::UNSPECIFIED), IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED)];
        let own = none.into_iter().flat_map(|address| [(address, 0), (address, 128)]);
        let used = constants(comparisons, tests).filter_map(network);
        let members = sets(comparisons, tests).into_values();
        for (address, length) in own.chain(used).chain(members.flat_map(Set::iter_networks)) {
            let (bits, length) = mapped(address, length);
            networks.insert((length, bits & mask(length)), UNKNOWN_CLASS);
        }
        if networks.len() > ADDRESS_ENTRIES as usize / 2 {
            // More than the table holds: no address is told apart from others.
            self.networks = vec![(0, 0, UNKNOWN_CLASS)];
            return;
        }
        let all: Vec<(u8, u128)> = networks.keys().copied().collect();
        let mut by_base: Vec<(u128, u8)> = all.iter().map(|(length, base)| (*base, *length)).collect();
        by_base.sort_unstable();
        let mut known: HashMap<Vec<Truth>, u16> = HashMap::new();
        for (length, base) in &all {
            // Networks that others fill give no class of their own.
            let Some(address) = inside(*base, *length, &by_base) else { continue };
            let value = FieldValue::Ip(IpAddr::V6(address).to_canonical());
            let mut truths = evaluate(comparisons, tests, value);
            let canonical = IpAddr::V6(address).to_canonical();
            truths.extend([Truth::from(canonical.is_unspecified()), Truth::from(canonical.is_ipv4())]);
            // The shortest prefix is first, so class 0 is that of addresses in no network.
            let class = *known.entry(truths).or_insert_with(|| {
                self.address_of.push(address);
                self.address_of.len() as u16 - 1
            });
            networks.insert((*length, *base), class);
        }
        self.networks = networks.into_iter().map(|((length, base), class)| (base, length, class)).collect();
    }

    /// The networks that some comparisons of addresses tell apart, each with an address that lies in no longer one; `None`
    /// where longer ones fill it.
    fn told_apart(comparisons: &Comparisons, tests: &[ComparisonId]) -> Vec<(u128, u8, Option<Ipv6Addr>)> {
        let mut classes = Self {
            ports: Vec::new(),
            port_of: Vec::new(),
            networks: Vec::new(),
            address_of: Vec::new(),
            left_out: HashSet::new(),
        };
        classes.find_networks(comparisons, tests);
        let address = |class: u16| classes.address_of.get(usize::from(class)).copied();
        classes.networks.iter().map(|(base, bits, class)| (*base, *bits, address(*class))).collect()
    }

    /// The class of each port.
    pub(super) fn ports(&self) -> impl Iterator<Item = (u16, u16)> {
        (0..=u16::MAX).zip(self.ports.iter().copied())
    }

    /// Entries of the address table in the slot of a generation: prefix bits, key, class.
    pub(super) fn addresses(&self, generation: u32) -> Vec<(u32, AddressKey, u32)> {
        let slot = (generation & 1).to_be_bytes();
        self.networks
            .iter()
            .map(|(base, length, class)| {
                let key = AddressKey { slot, address: base.to_be_bytes() };
                (ADDRESS_KEY_BITS + u32::from(*length), key, u32::from(*class))
            })
            .collect()
    }

    /// Some address and port of a class each.
    fn endpoint(&self, (address, port): (u16, u16)) -> Option<Endpoint> {
        let address = self.address_of.get(usize::from(address)).copied()?;
        self.port_of.get(usize::from(port)).map(|port| (address, *port))
    }

    #[cfg(test)]
    pub(super) fn address_class(&self, address: IpAddr) -> u16 {
        let bits = match address {
            IpAddr::V4(v4) => v4.to_ipv6_mapped().to_bits(),
            IpAddr::V6(v6) => v6.to_bits(),
        };
        let holding = self.networks.iter().filter(|(base, length, _)| bits & mask(*length) == *base);
        holding.max_by_key(|(_, length, _)| *length).map_or(0, |(_, _, class)| *class)
    }
}

/// See [`Classes::told_apart`].
pub(crate) fn networks(
    comparisons: &Comparisons,
    tests: &[ComparisonId],
) -> Vec<(u128, u8, Option<Ipv6Addr>)> {
    Classes::told_apart(comparisons, tests)
}

/// An address of a network that lies in none of the longer prefixes, which are in order of their bases; `None` when
/// they fill it.
fn inside(base: u128, length: u8, all: &[(u128, u8)]) -> Option<Ipv6Addr> {
    let from = all.partition_point(|(inner, _)| *inner < base);
    let to = all.partition_point(|(inner, _)| *inner <= base | !mask(length));
    let within = all.get(from..to).unwrap_or_default();
    if !within.iter().any(|(_, other)| *other > length) {
        return Some(Ipv6Addr::from_bits(base));
    }
    let half = 1u128.checked_shl(127 - u32::from(length))?;
    // The upper half first: the lower one holds the address that is none.
    [base | half, base].into_iter().find_map(|start| {
        let is_whole = within.binary_search(&(start, length + 1)).is_ok();
        if is_whole { None } else { inside(start, length + 1, within) }
    })
}

/// The constant that is one network.
fn network(value: &Const) -> Option<(IpAddr, u8)> {
    match value {
        Const::Ip(address) => Some((*address, 128)),
        Const::Net(address, length) => Some((*address, *length)),
        _ => None,
    }
}

/// The sets that comparisons look into, each once.
fn sets<'c>(comparisons: &'c Comparisons, tests: &'c [ComparisonId]) -> BTreeMap<(usize, &'c str), &'c Set> {
    let sets = constants(comparisons, tests).filter_map(|value| match value {
        Const::Set(set) => Some(((set.len(), set.name()), &**set)),
        _ => None,
    });
    sets.collect()
}

/// Comparisons with a set that does not fit into the table beside all that is written in rules and the smaller sets.
fn left_out(comparisons: &Comparisons, tests: &[ComparisonId]) -> HashSet<ComparisonId> {
    let written: BTreeSet<(IpAddr, u8)> = constants(comparisons, tests).filter_map(network).collect();
    let mut room = (ADDRESS_ENTRIES as usize / 2).saturating_sub(written.len() + OWN_NETWORKS);
    let mut too_large = HashSet::new();
    for ((size, name), _) in sets(comparisons, tests) {
        match room.checked_sub(size) {
            Some(rest) => room = rest,
            None => drop(too_large.insert(name)),
        }
    }
    let is_out = |id: &&ComparisonId| {
        let values = constants(comparisons, std::slice::from_ref(*id));
        values.into_iter().any(|value| matches!(value, Const::Set(set) if too_large.contains(set.name())))
    };
    tests.iter().filter(is_out).copied().collect()
}

fn mask(length: u8) -> u128 {
    u128::MAX.checked_shl(128 - u32::from(length.min(128))).unwrap_or(0)
}

/// Whether a comparison is one of such a field with constants, so that classes decide it.
pub(super) fn is_plain(test: &Test, of: fn(FieldId) -> bool) -> bool {
    matches!(&test.left, Value::Field(field) if of(field.id)) && !matches!(test.right, Right::Source(_))
}

fn constants<'c>(comparisons: &'c Comparisons, tests: &'c [ComparisonId]) -> impl Iterator<Item = &'c Const> {
    let values = |id: &ComparisonId| match comparisons.test(*id).map(|test| &test.right) {
        Some(Right::Values(_, values)) => values.as_slice(),
        _ => &[],
    };
    tests.iter().flat_map(values)
}

fn evaluate(comparisons: &Comparisons, tests: &[ComparisonId], value: FieldValue<'static>) -> Vec<Truth> {
    tests.iter().map(|id| comparisons.evaluate(*id, None, &OneValue(value))).collect()
}

/// Whether a field shows a port.
pub(super) fn is_port(field: FieldId) -> bool {
    matches!(field, ids::FD_PORT | ids::FD_CPORT | ids::FD_SPORT | ids::FD_LPORT | ids::FD_RPORT)
}

/// Whether a field shows an address.
pub(super) fn is_address(field: FieldId) -> bool {
    matches!(
        field,
        ids::FD_IP
            | ids::FD_NET
            | ids::FD_CIP
            | ids::FD_SIP
            | ids::FD_LIP
            | ids::FD_RIP
            | ids::FD_CNET
            | ids::FD_SNET
            | ids::FD_LNET
            | ids::FD_RNET
    )
}

/// One value in every field.
struct OneValue(FieldValue<'static>);

impl FieldSource for OneValue {
    fn field<'a>(&'a self, _: FieldId, _: FieldArg<'_>) -> FieldValue<'a> {
        self.0
    }
}
