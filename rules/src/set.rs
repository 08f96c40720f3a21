//! Named sets: lists whose members the host brings along instead of a rule file, such as feeds of addresses.
//!
//! A set stays one constant, however many members it has: conditions hold it by reference, so that a load costs the same
//! with ten members as with a million, and a look-up is a few hashes. Two sets are equal when name, kind and version
//! are; the host gives another version to other members. Called by `load` and `typed`; knows nothing of where members
//! come from.

mod networks;

use std::{
    collections::{BTreeMap, HashSet},
    fmt,
    hash::{Hash, Hasher},
    net::IpAddr,
    sync::Arc,
};

use rustc_hash::FxBuildHasher;

use self::networks::Networks;
use crate::catalog::FieldType;

/// What a set holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SetKind {
    /// Addresses and networks; holds every address of its networks.
    Ip,
    /// Host names; holds every name below its own too.
    Domain,
    /// SHA-256 digests.
    Sha256,
    /// Texts, byte by byte.
    Text,
}

/// A named set.
#[derive(Clone)]
pub struct Set {
    name: Box<str>,
    kind: SetKind,
    version: u64,
    members: Members,
}

#[derive(Clone)]
enum Members {
    Networks(Box<Networks>),
    Names(HashSet<Box<[u8]>, FxBuildHasher>),
    Digests(HashSet<[u8; 32], FxBuildHasher>),
    Texts(HashSet<Box<[u8]>, FxBuildHasher>),
}

/// Sets by name, shared by all who load rules.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sets(Arc<BTreeMap<Box<str>, Arc<Set>>>);

impl SetKind {
    /// All kinds.
    pub const ALL: [Self; 4] = [Self::Ip, Self::Domain, Self::Sha256, Self::Text];

    /// The word in settings.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ip => "ip",
            Self::Domain => "domain",
            Self::Sha256 => "sha256",
            Self::Text => "text",
        }
    }

    /// What it holds, for messages.
    pub const fn describe(self) -> &'static str {
        match self {
            Self::Ip => "addresses",
            Self::Domain => "host names",
            Self::Sha256 => "digests",
            Self::Text => "texts",
        }
    }

    /// Whether fields of a type can be looked up in it.
    pub const fn fits(self, ty: FieldType) -> bool {
        match self {
            Self::Ip => matches!(ty, FieldType::Ip | FieldType::Net),
            Self::Domain | Self::Sha256 | Self::Text => matches!(ty, FieldType::Text | FieldType::Path),
        }
    }
}

impl Set {
    /// A set of networks; an address is one of full length.
    pub fn networks(name: &str, version: u64, members: impl IntoIterator<Item = (IpAddr, u8)>) -> Self {
        let mut networks = Networks::default();
        for (address, length) in members {
            networks.insert(address, length);
        }
        Self::of(name, SetKind::Ip, version, Members::Networks(Box::new(networks)))
    }

    /// A set of host names in lower case, without a dot at the end.
    pub fn domains(name: &str, version: u64, members: impl IntoIterator<Item = Box<[u8]>>) -> Self {
        Self::of(name, SetKind::Domain, version, Members::Names(members.into_iter().collect()))
    }

    /// A set of SHA-256 digests.
    pub fn digests(name: &str, version: u64, members: impl IntoIterator<Item = [u8; 32]>) -> Self {
        Self::of(name, SetKind::Sha256, version, Members::Digests(members.into_iter().collect()))
    }

    /// A set of texts.
    pub fn texts(name: &str, version: u64, members: impl IntoIterator<Item = Box<[u8]>>) -> Self {
        Self::of(name, SetKind::Text, version, Members::Texts(members.into_iter().collect()))
    }

    /// A set that holds nothing.
    pub fn empty(name: &str, kind: SetKind) -> Self {
        match kind {
            SetKind::Ip => Self::networks(name, 0, []),
            SetKind::Domain => Self::domains(name, 0, []),
            SetKind::Sha256 => Self::digests(name, 0, []),
            SetKind::Text => Self::texts(name, 0, []),
        }
    }

    fn of(name: &str, kind: SetKind, version: u64, members: Members) -> Self {
        Self { name: name.into(), kind, version, members }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it holds.
    pub const fn kind(&self) -> SetKind {
        self.kind
    }

    /// Which members these are.
    pub const fn version(&self) -> u64 {
        self.version
    }

    /// How many.
    pub fn len(&self) -> usize {
        match &self.members {
            Members::Networks(networks) => networks.len(),
            Members::Names(set) | Members::Texts(set) => set.len(),
            Members::Digests(set) => set.len(),
        }
    }

    /// Whether it holds nothing.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Its networks with their lengths, in no order; none when it holds something else.
    pub fn iter_networks(&self) -> impl Iterator<Item = (IpAddr, u8)> {
        let networks = match &self.members {
            Members::Networks(networks) => Some(networks),
            _ => None,
        };
        networks.into_iter().flat_map(|networks| networks.iter())
    }

    /// Whether an address lies in one of its networks.
    pub fn has_address(&self, address: IpAddr) -> bool {
        match &self.members {
            Members::Networks(networks) => networks.contain(address),
            _ => false,
        }
    }

    /// Whether it holds a text; of a host name, whether it holds the name or one above it.
    pub fn has_text(&self, text: &[u8]) -> bool {
        match &self.members {
            Members::Networks(_) => false,
            Members::Texts(set) => set.contains(text),
            Members::Digests(set) => digest(text).is_some_and(|digest| set.contains(&digest)),
            Members::Names(set) => holds_name(set, text),
        }
    }
}

/// A digest in hexadecimal digits of either case.
pub fn digest(text: &[u8]) -> Option<[u8; 32]> {
    let mut digest = [0; 32];
    if text.len() != 64 {
        return None;
    }
    for (byte, pair) in digest.iter_mut().zip(text.chunks_exact(2)) {
        let digit = |at: usize| char::from(pair.get(at).copied()?).to_digit(16);
        *byte = u8::try_from(digit(0)? * 16 + digit(1)?).ok()?;
    }
    Some(digest)
}

/// Whether a name or one above it is in a set of names in lower case.
fn holds_name(set: &HashSet<Box<[u8]>, FxBuildHasher>, name: &[u8]) -> bool {
    let name = name.strip_suffix(b".").unwrap_or(name);
    let lower;
    let name = if name.iter().any(u8::is_ascii_uppercase) {
        lower = name.to_ascii_lowercase();
        &*lower
    } else {
        name
    };
    let mut rest = Some(name).filter(|name| !name.is_empty());
    while let Some(name) = rest {
        if set.contains(name) {
            return true;
        }
        let dot = memchr::memchr(b'.', name);
        rest = dot.and_then(|dot| name.get(dot + 1..));
    }
    false
}

impl Sets {
    /// These sets; of two with the same name the later one.
    pub fn new(sets: impl IntoIterator<Item = Arc<Set>>) -> Self {
        Self(Arc::new(sets.into_iter().map(|set| (set.name.clone(), set)).collect()))
    }

    /// The one of a name.
    pub fn get(&self, name: &str) -> Option<&Arc<Set>> {
        self.0.get(name)
    }

    /// All, by name.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Set>> {
        self.0.values()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl PartialEq for Set {
    fn eq(&self, other: &Self) -> bool {
        (self.version, self.kind, &self.name) == (other.version, other.kind, &other.name)
    }
}

impl Eq for Set {}

impl Hash for Set {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.version, self.kind, &self.name).hash(state);
    }
}

/// Name, kind and version, never the members: comparisons are told apart by this text.
impl fmt::Debug for Set {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Set({:?}, {:?}, {:016x})", self.name, self.kind, self.version)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn networks_hold_their_addresses_and_families_stay_apart() {
        let nets = [("192.0.2.7", 32), ("198.51.100.0", 24), ("10.0.0.0", 8), ("2001:db8::", 48)];
        let set = Set::networks("bad", 1, nets.map(|(net, length)| (ip(net), length)));
        assert_eq!(set.len(), 4);
        for inside in ["192.0.2.7", "198.51.100.255", "10.255.0.1", "2001:db8:0:ffff::1"] {
            assert!(set.has_address(ip(inside)), "{inside}");
        }
        for outside in ["192.0.2.8", "198.51.101.0", "11.0.0.0", "2001:db8:1::", "::ffff:192.0.2.7", "::"] {
            assert!(!set.has_address(ip(outside)), "{outside}");
        }
        assert!(!set.has_text(b"192.0.2.7"));
        let all = Set::networks("all", 1, [(ip("0.0.0.0"), 0)]);
        assert!(all.has_address(ip("203.0.113.1")) && !all.has_address(ip("::1")));
        let mut listed: Vec<_> = set.iter_networks().collect();
        listed.sort_unstable();
        assert_eq!(listed.len(), 4);
        assert_eq!(listed[0], (ip("10.0.0.0"), 8));
    }

    #[test]
    fn names_hold_what_is_below_them_in_any_case() {
        let set = Set::domains("bad", 1, [&b"evil.example"[..], b"a.b.test"].map(Box::from));
        for inside in [&b"evil.example"[..], b"x.evil.example", b"X.y.Evil.EXAMPLE.", b"a.b.test"] {
            assert!(set.has_text(inside), "{}", String::from_utf8_lossy(inside));
        }
        for outside in [&b"notevil.example"[..], b"example", b"b.test", b"", b".", b"evil.example.org"] {
            assert!(!set.has_text(outside), "{}", String::from_utf8_lossy(outside));
        }
    }

    #[test]
    fn digests_are_found_in_either_case() {
        let text = "Ab".repeat(32);
        let set = Set::digests("bad", 1, [digest(text.as_bytes()).unwrap()]);
        assert!(set.has_text(text.to_lowercase().as_bytes()) && set.has_text(text.as_bytes()));
        assert!(!set.has_text("ac".repeat(32).as_bytes()) && !set.has_text(b"ab"));
        assert_eq!(digest("zz".repeat(32).as_bytes()), None);
    }

    #[test]
    fn sets_are_told_apart_by_name_kind_and_version() {
        let one = Set::texts("a", 1, [Box::from(&b"x"[..])]);
        assert_eq!(one, Set::texts("a", 1, []), "members are the host's matter");
        assert_ne!(one, Set::texts("a", 2, []));
        assert_ne!(one, Set::digests("a", 1, []));
        assert_ne!(format!("{one:?}"), format!("{:?}", Set::texts("a", 2, [])));
    }
}
