//! Host names of addresses, from the DNS answers that reach the node's sockets.
//!
//! An address is shown by the name a program asked for, not by its reverse entry. A name stays known for some time
//! after its answer has expired, because programs keep connecting to what they resolved. What a datagram says is as
//! trustworthy as the network it came over: these names describe, they do not authenticate.

use std::{net::IpAddr, sync::Arc};

use rustc_hash::FxHashMap;
use simple_dns::{Packet, PacketFlag, QTYPE, RCODE, TYPE, rdata::RData};

/// Addresses kept at most.
const ADDRESSES_MAX: usize = 8192;
/// Names kept of one address, the newest first.
const NAMES_MAX: usize = 8;
/// Links followed from the name asked for to an address.
const CHAIN_MAX: usize = 16;
/// Shortest and longest time a name stays known, seconds.
const KEEP_SECS: (u64, u64) = (600, 86_400);
const SECOND_NS: u64 = 1_000_000_000;

/// Counters of answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AnswerCounts {
    /// Answers that named at least one address.
    pub used: u64,
    /// Datagrams without one: other record types, errors, questions.
    pub other: u64,
    /// Datagrams that are no DNS messages, or were cut.
    pub malformed: u64,
    /// Addresses forgotten for want of room.
    pub evicted: u64,
}

/// Names of an address.
#[derive(Debug)]
struct Known {
    names: Vec<Arc<str>>,
    expires_ns: u64,
}

/// Addresses with their names. Bounded.
#[derive(Debug, Default)]
pub struct Hosts {
    // Without a random order, so that a replay forgets the same addresses.
    known: FxHashMap<IpAddr, Known>,
    counts: AnswerCounts,
}

impl Hosts {
    /// Learns from a DNS message; `now_ns` is the boot clock.
    pub fn learn(&mut self, message: &[u8], now_ns: u64) {
        let Ok(packet) = Packet::parse(message) else {
            self.counts.malformed += 1;
            return;
        };
        let mut used = false;
        for (address, names, ttl_secs) in answers(&packet) {
            used = true;
            self.insert(address, names, ttl_secs, now_ns);
        }
        if used {
            self.counts.used += 1;
        } else {
            self.counts.other += 1;
        }
    }

    /// Names of an address, the newest first; empty when none is known.
    pub fn names(&self, address: IpAddr) -> &[Arc<str>] {
        self.known.get(&address).map_or(&[], |known| &known.names)
    }

    /// Counters since the start.
    pub fn counts(&self) -> AnswerCounts {
        self.counts
    }

    /// How many addresses have a name.
    pub fn len(&self) -> usize {
        self.known.len()
    }

    /// Whether no address has a name.
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    fn insert(&mut self, address: IpAddr, names: Vec<Arc<str>>, ttl_secs: u32, now_ns: u64) {
        if !self.known.contains_key(&address) && self.known.len() >= ADDRESSES_MAX {
            self.make_room(now_ns);
        }
        let (least, most) = KEEP_SECS;
        let keep_ns = u64::from(ttl_secs).clamp(least, most) * SECOND_NS;
        let fresh = || Known { names: Vec::new(), expires_ns: 0 };
        let known = self.known.entry(address).or_insert_with(fresh);
        if known.expires_ns < now_ns {
            known.names.clear();
        }
        known.expires_ns = known.expires_ns.max(now_ns.saturating_add(keep_ns));
        known.names.retain(|name| !names.contains(name));
        known.names.splice(0..0, names);
        known.names.truncate(NAMES_MAX);
    }

    /// Forgets what has expired; when that is not enough, the eighth that expires first.
    fn make_room(&mut self, now_ns: u64) {
        let before = self.known.len();
        self.known.retain(|_, known| known.expires_ns >= now_ns);
        if self.known.len() >= ADDRESSES_MAX {
            let mut ends: Vec<u64> = self.known.values().map(|known| known.expires_ns).collect();
            let (_, cut, _) = ends.select_nth_unstable(ADDRESSES_MAX / 8);
            let cut = *cut;
            let mut left = ADDRESSES_MAX / 8;
            self.known.retain(|_, known| {
                let go = left > 0 && known.expires_ns <= cut;
                left -= usize::from(go);
                !go
            });
        }
        self.counts.evicted += (before - self.known.len()) as u64;
    }
}

/// The addresses an answer gives to the name asked for, with every name on the way and the time it holds, seconds.
/// Records of other names are not taken: nobody asked for them.
fn answers(packet: &Packet<'_>) -> Vec<(IpAddr, Vec<Arc<str>>, u32)> {
    let asked = match packet.questions.as_slice() {
        [one] if packet.has_flags(PacketFlag::RESPONSE) && packet.rcode() == RCODE::NoError => one,
        _ => return Vec::new(),
    };
    if !matches!(asked.qtype, QTYPE::TYPE(TYPE::A | TYPE::AAAA | TYPE::HTTPS | TYPE::SVCB) | QTYPE::ANY) {
        return Vec::new();
    }
    let mut chain = vec![asked.qname.clone()];
    while chain.len() < CHAIN_MAX {
        let next = packet.answers.iter().find_map(|record| match &record.rdata {
            RData::CNAME(target) if chain.last() == Some(&record.name) => Some(target.0.clone()),
            _ => None,
        });
        match next {
            Some(name) if !chain.contains(&name) => chain.push(name),
            _ => break,
        }
    }
    let address = |data: &RData<'_>| match data {
        RData::A(a) => Some(IpAddr::V4(a.address.into())),
        RData::AAAA(a) => Some(IpAddr::V6(a.address.into()).to_canonical()),
        _ => None,
    };
    let mut found = Vec::new();
    for record in &packet.answers {
        let Some(address) = address(&record.rdata) else { continue };
        let Some(end) = chain.iter().position(|name| *name == record.name) else { continue };
        let names = chain.iter().take(end + 1).map(|name| name.to_string().to_ascii_lowercase().into());
        found.push((address, names.collect(), record.ttl));
    }
    found
}

#[cfg(test)]
mod tests;
