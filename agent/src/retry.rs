//! Time before the agent asks again where it got no answer: exponential, with full jitter, within a budget.
//!
//! One policy for all the agent's own calls: the collector's stream, feeds, the watch of the API server. Owns the waits and
//! nothing of what is asked. Called by `control`, `container` and `app`.
//!
//! - *Exponential*: the bound of the wait doubles with each failure in a row, up to a longest.
//! - *Full jitter*: the wait is any part of its bound, so that a server which comes back is not met by all nodes at once.
//! - *Budget*: the calls of a kind share a reserve of retries that refills slowly, and each success adds a fifth of one. So
//!   a server that answers now and then, and starts the waits anew each time, is not asked more for being ill.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

/// The waits of one caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// Upper bound of the first wait.
    pub first: Duration,
    /// Upper bound of all.
    pub longest: Duration,
}

/// Retries that all calls of a kind share.
#[derive(Debug)]
pub struct Budget {
    /// Most retries that are saved up.
    reserve: u32,
    /// Time in which one comes back.
    refill: Duration,
    bucket: Mutex<Bucket>,
}

/// Saved retries at a moment; less than none are promised already.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    millis: i64,
    at: Instant,
}

/// One caller.
#[derive(Clone, Debug)]
pub struct Retry {
    backoff: Backoff,
    budget: Arc<Budget>,
    failures: u32,
}

/// A retry, in the unit of [`Bucket`].
const ONE: i64 = 1000;
/// What a success adds.
const SHARE: i64 = 200;
/// Retries saved up, and the time in which one comes back: ten a minute.
const RESERVE: u32 = 10;
const REFILL: Duration = Duration::from_secs(6);

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

impl Default for Budget {
    fn default() -> Self {
        Self::new(RESERVE, REFILL)
    }
}

impl Budget {
    /// So many retries at once, and one more each `refill`.
    pub fn new(reserve: u32, refill: Duration) -> Self {
        let bucket = Bucket { millis: i64::from(reserve) * ONE, at: Instant::now() };
        Self { reserve, refill, bucket: Mutex::new(bucket) }
    }

    /// Promises a retry; the time until it may be made.
    fn take(&self, now: Instant) -> Duration {
        let millis = self.change(-ONE, now);
        let debt = millis.min(0).unsigned_abs();
        Duration::from_nanos((self.refill.as_nanos() * u128::from(debt) / ONE as u128) as u64)
    }

    /// A call succeeded.
    fn give(&self, now: Instant) {
        self.change(SHARE, now);
    }

    /// Brings the bucket to this moment and changes it; never above the reserve.
    fn change(&self, by: i64, now: Instant) -> i64 {
        // It is replaced whole.
        let mut bucket = self.bucket.lock().unwrap_or_else(PoisonError::into_inner);
        let passed = now.saturating_duration_since(bucket.at).as_nanos();
        let refill = self.refill.as_nanos().max(1);
        let came = passed * ONE as u128 / refill;
        // What is less than a unit is left for later.
        let used = Duration::from_nanos((came * refill / ONE as u128) as u64);
        let most = i64::from(self.reserve) * ONE;
        let millis = bucket.millis.saturating_add(i64::try_from(came).unwrap_or(i64::MAX)).min(most);
        let millis = millis.saturating_add(by).min(most);
        *bucket = Bucket { millis, at: bucket.at + used };
        millis
    }
}

impl Retry {
    /// A caller that has not failed yet.
    pub fn new(backoff: Backoff, budget: Arc<Budget>) -> Self {
        Self { backoff, budget, failures: 0 }
    }

    /// A call succeeded: the next failure is the first again.
    pub fn succeeded(&mut self) {
        self.good(Instant::now());
    }

    /// A call failed; the time before the next one.
    pub fn failed(&mut self) -> Duration {
        let mut random = [0; 8];
        // Without chance, the bound itself.
        let chance = getrandom::fill(&mut random).map_or(u64::MAX, |()| u64::from_le_bytes(random));
        self.bad(Instant::now(), chance)
    }

    fn good(&mut self, now: Instant) {
        self.failures = 0;
        self.budget.give(now);
    }

    fn bad(&mut self, now: Instant, chance: u64) -> Duration {
        self.failures = self.failures.saturating_add(1);
        self.backoff.wait(self.failures, chance).max(self.budget.take(now))
    }
}

impl Default for Retry {
    fn default() -> Self {
        Self::new(Backoff::default(), Arc::default())
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    /// What a caller of the simulation did: its retries and successes.
    #[derive(Clone, Copy, Debug, Default)]
    struct Done {
        retries: u64,
        successes: u64,
        longest: Duration,
    }

    /// Callers whose calls come out like this, over and over, on a clock that stands still between them.
    fn simulate(budget: &Arc<Budget>, callers: &[Vec<bool>], begun: Instant, span: Duration) -> Done {
        let backoff = Backoff { first: Duration::from_millis(1), longest: Duration::from_millis(20) };
        let mut done = Done::default();
        let mut all: Vec<(Instant, usize, Retry)> =
            callers.iter().map(|_| (begun, 0, Retry::new(backoff, Arc::clone(budget)))).collect();
        while let Some(caller) = (0..all.len()).min_by_key(|caller| all[*caller].0)
            && all[caller].0 < begun + span
        {
            let (at, step, retry) = &mut all[caller];
            if callers[caller][*step % callers[caller].len()] {
                retry.good(*at);
                done.successes += 1;
                *at += Duration::from_secs(1);
            } else {
                let wait = retry.bad(*at, u64::MAX / (*step as u64 % 3 + 1));
                done.longest = done.longest.max(wait);
                *at += wait;
                // A retry after the end is not made any more.
                done.retries += u64::from(*at < begun + span);
            }
            *step += 1;
        }
        done
    }

    proptest! {
        #[test]
        fn a_wait_is_anything_up_to_a_bound_that_doubles(failures in 1_u32.., chance: u64) {
            let backoff = Backoff { first: Duration::from_millis(100), longest: Duration::from_secs(5) };
            let bound = backoff.wait(failures, u64::MAX);
            prop_assert!(backoff.wait(failures, chance) <= bound && bound <= Duration::from_secs(5));
            prop_assert!(bound <= Duration::from_millis(100) * 2_u32.saturating_pow((failures - 1).min(20)));
            prop_assert_eq!(backoff.wait(failures, 0), Duration::ZERO);
        }

        #[test]
        fn callers_together_never_exceed_their_budget_and_none_waits_for_ever(
            callers in vec(vec(proptest::bool::weighted(0.2), 1..6), 1..6),
            reserve in 1_u32..20,
            refill_ms in 100_u64..10_000,
            secs in 1_u64..600,
        ) {
            let begun = Instant::now();
            let refill = Duration::from_millis(refill_ms);
            let budget = Arc::new(Budget::new(reserve, refill));
            let done = simulate(&budget, &callers, begun, Duration::from_secs(secs));
            let refilled = secs * 1000 / refill_ms;
            let most = u64::from(reserve) + refilled + done.successes / 5 + 1;
            prop_assert!(done.retries <= most, "{:?}, {} allowed", done, most);
            // Each of the others has one promised at most.
            let longest = refill * callers.len() as u32 + Duration::from_millis(20);
            prop_assert!(done.longest <= longest, "{:?}, {:?} allowed", done, longest);
        }
    }

    #[test]
    fn a_success_starts_anew_and_a_budget_that_is_used_up_makes_callers_wait_one_after_the_other() {
        let budget = Arc::new(Budget::new(2, Duration::from_secs(6)));
        let backoff = Backoff { first: Duration::from_millis(100), longest: Duration::from_secs(1) };
        let (mut now, half) = (Instant::now(), u64::MAX / 2);
        let mut retry = Retry::new(backoff, Arc::clone(&budget));
        let waits: Vec<u128> = (0..3).map(|_| retry.bad(now, half).as_millis()).collect();
        assert_eq!(waits[..2], [49, 99]);
        assert!(waits[2].abs_diff(6000) < 10, "{waits:?}");
        let mut other = Retry::new(backoff, Arc::clone(&budget));
        assert!(other.bad(now, half).as_millis().abs_diff(12_000) < 10, "the budget is shared");
        for _ in 0..15 {
            retry.good(now);
        }
        assert!(retry.bad(now, half) < Duration::from_millis(50), "fifteen successes are three retries");
        now += Duration::from_mins(1);
        let free = (0..4).filter(|_| other.bad(now, 0) < Duration::from_secs(1)).count();
        assert_eq!(free, 2, "no more than the reserve is saved up");
    }

    #[test]
    fn waits_are_spread() {
        let mut retry = Retry::new(Backoff::default(), Arc::new(Budget::new(1000, Duration::from_secs(1))));
        for _ in 0..20 {
            retry.failed();
        }
        let waits: Vec<Duration> = (0..200).map(|_| retry.failed()).collect();
        let bound = Backoff::default().longest;
        assert!(waits.iter().all(|wait| *wait <= bound));
        assert!(waits.iter().any(|wait| *wait < bound / 3) && waits.iter().any(|wait| *wait > bound * 2 / 3));
    }
}
