//! The seed of the limiter's hashes, which changes now and then: whoever finds out which sources share a cell of the
//! prefix gate has little use of it.
//!
//! The kernel looks at the cells of the seed before for as long as they may hold a debt, so a seed stays until the
//! slowest policy has forgiven its whole burst. A new agent goes on with the seeds it finds.

use std::time::Duration;

use rampart_common::limit::{
    abi::{Config, FLOW_NS},
    verdict::Unit,
};

use crate::kernel::limiter::Tables;

/// A seed and the one before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seeds {
    /// The seed.
    pub now: u64,
    /// The seed before.
    pub before: u64,
    /// When it came, by the boot clock.
    pub since_ns: u64,
}

impl Seeds {
    /// A first seed.
    pub const fn first(random: u64, now_ns: u64) -> Self {
        Self { now: random, before: random, since_ns: now_ns }
    }

    /// Those of tables.
    pub const fn of(config: &Config) -> Self {
        Self { now: config.seed, before: config.seed_before, since_ns: config.seeded_ns }
    }

    /// A new seed.
    #[must_use]
    pub const fn next(&self, random: u64, now_ns: u64) -> Self {
        Self { now: random, before: self.now, since_ns: now_ns }
    }

    /// Whether it is time for a new one: every so often, zero for never, and when nothing of the seed before counts any
    /// more.
    pub fn are_due(&self, every: Duration, tables: &Tables, now_ns: u64) -> bool {
        if every.is_zero() {
            return false;
        }
        let counts = tables.policies.iter().map(|policy| {
            let is_flows = policy.unit == Unit::NewFlows as u8;
            policy.limit.tau_ns.max(if is_flows { FLOW_NS } else { 0 })
        });
        let granted = tables.grants.iter().map(|grant| grant.limit.tau_ns);
        let longest = counts.chain(granted).max().unwrap_or_default();
        now_ns.saturating_sub(self.since_ns) >= longest.max(every.as_nanos() as u64)
    }
}

#[cfg(test)]
mod tests {
    use rampart_common::limit::{abi::Policy, gcra::Limit};

    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn a_seed_stays_until_nothing_of_the_one_before_counts() {
        let seeds = Seeds::first(5, 100 * SECOND).next(6, 200 * SECOND);
        assert_eq!(seeds, Seeds { now: 6, before: 5, since_ns: 200 * SECOND });
        let policy = |burst, unit: Unit| Policy {
            limit: Limit::new(1, SECOND, burst).unwrap(),
            unit: unit as u8,
            ..Policy::default()
        };
        let due = |every, policies: Vec<Policy>| {
            let tables = Tables { policies, ..Tables::default() };
            let every = Duration::from_secs(every);
            (0..1000).find(|secs| seeds.are_due(every, &tables, (200 + secs) * SECOND))
        };
        let quick = || policy(1, Unit::Packets);
        assert_eq!(due(60, vec![quick()]), Some(60));
        assert_eq!(due(60, vec![quick(), policy(300, Unit::Packets)]), Some(300));
        assert_eq!(due(2, vec![quick(), policy(1, Unit::NewFlows)]), Some(30));
        assert_eq!(due(2, Vec::new()), Some(2));
        assert_eq!(due(0, vec![quick()]), None);
    }
}
