//! Time between two tries to connect: exponential with full jitter, so that a restarted collector is not met by all
//! agents at once.

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
        Self { first: Duration::from_millis(250), longest: Duration::from_secs(30) }
    }
}

impl Backoff {
    /// The wait after so many failures in a row: a part of the bound, which doubles. `chance` picks the part.
    pub fn wait(&self, failures: u32, chance: u64) -> Duration {
        let doubled = self.first.as_nanos() << failures.saturating_sub(1).min(32);
        let bound = doubled.min(self.longest.as_nanos());
        Duration::from_nanos(((u128::from(chance) * bound) >> 64) as u64)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_wait_is_anything_up_to_a_bound_that_doubles(failures in 1_u32.., chance: u64) {
            let backoff = Backoff { first: Duration::from_millis(100), longest: Duration::from_secs(5) };
            let bound = backoff.wait(failures, u64::MAX);
            prop_assert!(backoff.wait(failures, chance) <= bound && bound <= Duration::from_secs(5));
            prop_assert!(bound <= Duration::from_millis(100) * 2_u32.saturating_pow((failures - 1).min(20)));
            prop_assert_eq!(backoff.wait(failures, 0), Duration::ZERO);
        }
    }
}
