//! Quotas: what a source may use in a day or a month, counted in the unit of its policy.
//!
//! The kernel counts what each known key was admitted; this is the book kept over it. It survives the agent because it
//! keeps, besides what was used, the count of each key when it was last looked at. Packets that were admitted without an
//! entry of their own are not in it, and neither is what a key used between a look and its eviction.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use jiff::{Timestamp, ToSpan, civil, tz::TimeZone};
use rampart_common::limit::{
    abi::{Entry, EntryKey},
    packet::Address,
    wire,
};
use serde::{Deserialize, Serialize};

use crate::config::trading::Calendar;

/// Sources in the book; beyond it, those that used least are forgotten.
const SOURCES_MAX: usize = 1 << 16;

/// Days in which the opening of a trading day is looked for.
const DAYS: i32 = 30;

/// Which time a quota is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Period {
    /// A day.
    Day,
    /// A month.
    Month,
    /// From the opening of a trading day to that of the next.
    Session(Arc<TradingDays>),
}

/// The trading days of a calendar.
#[derive(Debug, PartialEq, Eq)]
pub struct TradingDays {
    /// Its name in the configuration.
    pub name: String,
    /// When sessions are.
    pub calendar: Calendar,
}

/// A quota of a policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quota {
    /// Units.
    pub amount: u64,
    /// The time they are for.
    pub period: Period,
    /// Time of day at which a day or a month begins.
    pub at: civil::Time,
}

/// A period, in seconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    /// Its beginning.
    pub start: i64,
    /// The next one's.
    pub end: i64,
}

/// Something that may be used up: a policy and the source it limits.
pub type Account = (String, IpNet);

/// The book.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Book {
    /// The period of each policy with a quota.
    windows: BTreeMap<String, Window>,
    /// What sources have used in it.
    used: BTreeMap<String, BTreeMap<String, u64>>,
    /// What the kernel had counted of each key at the last look.
    seen: BTreeMap<[u8; size_of::<EntryKey>()], u64>,
}

impl Quota {
    /// The period that a time lies in; `None` beyond the calendar.
    pub fn window(&self, zone: &TimeZone, now: Timestamp) -> Option<Window> {
        let local = now.to_zoned(zone.clone()).date();
        let (first, step) = match &self.period {
            Period::Day => (local, 1.day()),
            Period::Month => (local.first_of_month(), 1.month()),
            Period::Session(days) => return days.window(now),
        };
        // A time that a change of the clocks leaves out is the one after it.
        let begins = |date: civil::Date| date.to_datetime(self.at).to_zoned(zone.clone()).ok();
        let mut first = first;
        if begins(first)?.timestamp() > now {
            first = first.checked_sub(step).ok()?;
        }
        let end = begins(first.checked_add(step).ok()?)?;
        Some(Window { start: begins(first)?.timestamp().as_second(), end: end.timestamp().as_second() })
    }
}

impl TradingDays {
    /// From the last opening until the next; `None` where there is none for a while.
    fn window(&self, now: Timestamp) -> Option<Window> {
        let today = now.to_zoned(self.calendar.zone.clone()).date();
        let opening = |days: i32| self.calendar.opening(today.checked_add(days.days()).ok()?);
        let start = (-DAYS..=0).rev().filter_map(opening).find(|opening| *opening <= now)?;
        let end = (0..=DAYS).filter_map(opening).find(|opening| *opening > now)?;
        Some(Window { start: start.as_second(), end: end.as_second() })
    }
}

impl Book {
    /// Puts the periods of now in place. What was used in others is no matter any more; gives the policies that had no
    /// book before.
    pub fn turn(
        &mut self,
        quotas: &BTreeMap<String, Quota>,
        zone: &TimeZone,
        now: Timestamp,
    ) -> BTreeSet<String> {
        let mut anew = BTreeSet::new();
        for (policy, quota) in quotas {
            let Some(window) = quota.window(zone, now) else { continue };
            if self.windows.get(policy) != Some(&window) {
                if self.windows.insert(policy.clone(), window).is_none() {
                    anew.insert(policy.clone());
                }
                self.used.remove(policy);
            }
        }
        self.windows.retain(|policy, _| quotas.contains_key(policy));
        self.used.retain(|policy, _| quotas.contains_key(policy));
        anew
    }

    /// Takes a look at what the kernel has counted. Keys of policies in `unknown` were counted before anybody kept a
    /// book: only their counts are noted.
    pub fn look<'a>(
        &mut self,
        entries: impl IntoIterator<Item = (EntryKey, Entry, &'a str)>,
        unknown: &BTreeSet<String>,
    ) {
        let mut seen = BTreeMap::new();
        for (key, entry, policy) in entries {
            if !self.windows.contains_key(policy) {
                continue;
            }
            let bytes: [u8; size_of::<EntryKey>()] = wire::bytes(&key);
            // A walk through a table that changes may come by twice.
            if seen.contains_key(&bytes) {
                continue;
            }
            let before = match self.seen.get(&bytes) {
                // A count that went back belongs to a new entry of the same key.
                Some(before) if *before <= entry.used => *before,
                None if unknown.contains(policy) => entry.used,
                _ => 0,
            };
            let more = entry.used - before;
            if more > 0 {
                let used = self.used.entry(policy.to_owned()).or_default();
                *used.entry(net_of(&key).to_string()).or_default() += more;
            }
            seen.insert(bytes, entry.used);
        }
        self.seen = seen;
        for used in self.used.values_mut() {
            shorten(used);
        }
    }

    /// The book after a boot: the kernel counts anew, what was used is used.
    #[must_use]
    pub fn of_another_boot(self) -> Self {
        Self { seen: BTreeMap::new(), ..self }
    }

    /// Accounts that are used up, with the end of their period in seconds since 1970.
    pub fn closed(&self, quotas: &BTreeMap<String, Quota>) -> Vec<(Account, i64)> {
        let mut closed = Vec::new();
        for (policy, used) in &self.used {
            let (Some(quota), Some(window)) = (quotas.get(policy), self.windows.get(policy)) else {
                continue;
            };
            for (net, _) in used.iter().filter(|(_, used)| **used >= quota.amount) {
                if let Ok(net) = net.parse() {
                    closed.push(((policy.clone(), net), window.end));
                }
            }
        }
        closed
    }

    /// The period of a policy.
    pub fn window(&self, policy: &str) -> Option<Window> {
        self.windows.get(policy).copied()
    }

    /// Sources of a policy that used most, at most `most`.
    pub fn largest(&self, policy: &str, most: usize) -> Vec<(String, u64)> {
        let Some(used) = self.used.get(policy) else { return Vec::new() };
        let mut all: Vec<(String, u64)> = used.iter().map(|(net, used)| (net.clone(), *used)).collect();
        all.sort_by(|one, other| other.1.cmp(&one.1).then_with(|| one.0.cmp(&other.0)));
        all.truncate(most);
        all
    }

    /// What a source has used of a policy's quota.
    pub fn used(&self, policy: &str, net: IpNet) -> u64 {
        self.used.get(policy).and_then(|used| used.get(&net.to_string())).copied().unwrap_or_default()
    }
}

/// Keeps the half that used more when there are too many.
fn shorten(used: &mut BTreeMap<String, u64>) {
    if used.len() <= SOURCES_MAX {
        return;
    }
    let mut amounts: Vec<u64> = used.values().copied().collect();
    let middle = amounts.len() / 2;
    let (_, median, _) = amounts.select_nth_unstable(middle);
    let median = *median;
    used.retain(|_, used| *used > median);
}

/// The source or prefix of a key.
pub fn net_of(key: &EntryKey) -> IpNet {
    let address = Address::of_words(key.address);
    let bytes = address.bytes();
    let bits = key.bits.min(128);
    if address.is_v4() && bits >= 96 {
        let [.., a, b, c, d] = bytes;
        let net = Ipv4Net::new([a, b, c, d].into(), bits - 96).map(IpNet::V4);
        net.unwrap_or_else(|_| IpNet::from(std::net::IpAddr::from([a, b, c, d])))
    } else {
        let net = Ipv6Net::new(bytes.into(), bits).map(IpNet::V6);
        net.unwrap_or_else(|_| IpNet::from(std::net::IpAddr::from(bytes)))
    }
}

#[cfg(test)]
mod tests;
