//! How long to wait before the next try: exponential, with full jitter, so that many do not come at once.

use std::time::Duration;

/// The waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// Upper bound of the first wait.
    pub first: Duration,
    /// Upper bound of all.
    pub longest: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { first: Duration::from_millis(500), longest: Duration::from_mins(5) }
    }
}

impl Backoff {
    /// The wait after so many failures: anything from nothing to the bound, which doubles.
    pub fn wait_ns(&self, failures: u32) -> u64 {
        let mut random = [0; 8];
        // Without chance, the bound itself.
        let chance = getrandom::fill(&mut random).map_or(u64::MAX, |()| u64::from_le_bytes(random));
        let bound = self.bound_ns(failures);
        ((u128::from(chance) * u128::from(bound)) >> 64) as u64
    }

    fn bound_ns(&self, failures: u32) -> u64 {
        let doubled = self.first.as_nanos() << failures.saturating_sub(1).min(32);
        doubled.min(self.longest.as_nanos()) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_their_bound_and_are_spread() {
        let backoff = Backoff { first: Duration::from_millis(100), longest: Duration::from_secs(1) };
        let bounds: Vec<u64> = (1..7).map(|failures| backoff.bound_ns(failures) / 1_000_000).collect();
        assert_eq!(bounds, [100, 200, 400, 800, 1000, 1000]);
        assert_eq!(backoff.bound_ns(u32::MAX), 1_000_000_000);
        let waits: Vec<u64> = (0..100).map(|_| backoff.wait_ns(5)).collect();
        assert!(waits.iter().all(|wait| *wait < 1_000_000_000));
        assert!(waits.iter().any(|wait| *wait < 400_000_000) && waits.iter().any(|wait| *wait > 600_000_000));
    }
}
