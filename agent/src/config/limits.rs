//! Section `limits`: what the rate limiter is to do.

pub(super) mod read;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    time::Duration,
};

use ipnet::IpNet;
use jiff::tz::TimeZone;
use rampart_common::limit::{
    gcra::{Limit, Mode},
    verdict::{Action, Direction, Unit},
};

use crate::{
    kernel::limiter::Wish,
    limits::{class::Class, quota::Quota, rate::Rate, throttle},
};

/// Section `limits`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Whether the limiter is used at all. When not, what an agent before left attached is taken away.
    pub enabled: bool,
    /// Whether rejected packets are dropped; else they are only counted.
    pub is_enforcing: bool,
    /// Whether malformed packets are dropped.
    pub is_strict: bool,
    /// The agent counts as dead after this time; zero = never.
    pub dead_man: Duration,
    /// Directory of pins.
    pub pin_dir: PathBuf,
    /// Keys known at a time.
    pub max_entries: u32,
    /// New keys per second and CPU.
    pub new_entries_per_sec: u32,
    /// Sampled verdicts per second and CPU.
    pub samples_per_sec: u32,
    /// Packets without ports per second and source; 0 = as many as come.
    pub portless_per_sec: u32,
    /// Time between two changes of the seed of hashes; zero = never.
    pub hash_seed: Duration,
    /// Where the limiter is attached.
    pub interfaces: BTreeMap<String, InterfaceLimits>,
    /// Policies by name.
    pub policies: BTreeMap<String, PolicyLimits>,
    /// Sources that pass.
    pub allow: Vec<IpNet>,
    /// Sources that do not.
    pub deny: Vec<IpNet>,
    /// Files of more sources that pass.
    pub allow_files: Vec<PathBuf>,
    /// Files of more sources that do not.
    pub deny_files: Vec<PathBuf>,
    /// Web addresses of more sources that pass.
    pub allow_feeds: Vec<String>,
    /// Web addresses of more sources that do not.
    pub deny_feeds: Vec<String>,
    /// Time between two looks at a feed.
    pub feed_refresh: Duration,
    /// A feed older than this does not count; zero = never.
    pub feed_max_age: Duration,
    /// Sources that pass whatever anything says, besides those found on the node.
    pub safety: Vec<IpNet>,
    /// Time zone in which days and months of quotas begin.
    pub time_zone: TimeZone,
    /// Time between two alerts about the same policy; zero for none.
    pub alert: Duration,
    /// When rates are scaled down.
    pub throttle: throttle::Settings,
}

/// An interface to limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InterfaceLimits {
    /// Which ways.
    pub directions: Vec<Direction>,
    /// How to attach.
    pub hook: Wish,
}

/// A policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyLimits {
    /// Rate and burst as written.
    pub rate: Rate,
    /// The same as the kernel's programs use it.
    pub limit: Limit,
    /// What a source may use in a day or month.
    pub quota: Option<Quota>,
    /// How important it is.
    pub class: Class,
    /// What is counted.
    pub unit: Unit,
    /// What becomes of the allowance of who is over.
    pub mode: Mode,
    /// What is done with packets over it.
    pub action: Action,
    /// The mark of [`Action::Mark`].
    pub mark: u32,
    /// Only observed.
    pub is_dry: bool,
    /// Nobody is under it who is not put there while the agent runs.
    pub is_on_demand: bool,
    /// Prefix length of IPv4 sources that are one key.
    pub key_v4: u8,
    /// Prefix length of IPv6 sources that are one key.
    pub key_v6: u8,
    /// Interfaces; empty for all.
    pub interfaces: Vec<String>,
    /// Which way.
    pub direction: Direction,
    /// Protocol number; `None` for all.
    pub protocol: Option<u8>,
    /// Destination ports; empty for all.
    pub ports: Vec<u16>,
    /// Sources; empty for all.
    pub sources: Vec<IpNet>,
}

impl Limits {
    /// These settings as far as they take effect while the agent runs; the others are those of before.
    #[must_use]
    pub fn after(&self, before: &Self) -> Self {
        let Self { enabled, pin_dir, max_entries, allow_feeds, deny_feeds, feed_refresh, .. } =
            before.clone();
        Self { enabled, pin_dir, max_entries, allow_feeds, deny_feeds, feed_refresh, ..self.clone() }
    }

    /// Policies that claim the same packets, as (later, earlier) in the order of their names.
    pub fn conflicts(&self) -> BTreeSet<(&str, &str)> {
        let mut claims = BTreeMap::new();
        let mut conflicts = BTreeSet::new();
        for (name, policy) in self.policies.iter().filter(|(_, policy)| !policy.is_on_demand) {
            let interfaces = or_all(&policy.interfaces);
            for (interface, port) in interfaces
                .iter()
                .flat_map(|one| or_all(&policy.ports).into_iter().map(move |port| (*one, port)))
            {
                for source in or_all(&policy.sources) {
                    let claim = (policy.direction as u8, interface, policy.protocol, port, source);
                    let first = *claims.entry(claim).or_insert(name.as_str());
                    if first != name {
                        conflicts.insert((name.as_str(), first));
                    }
                }
            }
        }
        conflicts
    }
}

/// Each item, or `None` for all when there is none.
fn or_all<T>(items: &[T]) -> Vec<Option<&T>> {
    if items.is_empty() { vec![None] } else { items.iter().map(Some).collect() }
}
