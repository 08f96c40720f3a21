//! How often somebody may try to log in: by name and by address, five times at once, then ever more slowly.
//!
//! Owns the failures of late. Bounded: when too many are kept, the oldest are forgotten; guesses under ever new names from
//! ever new addresses are held back by the slots that checks of passwords have (`http::login`).

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// Failures that cost nothing.
const FREE: u32 = 5;
/// Wait after the first that costs.
const FIRST: Duration = Duration::from_secs(1);
/// Longest wait.
const LONGEST: Duration = Duration::from_mins(5);
/// Names and addresses kept.
const KEPT: usize = 4096;
/// After so long without a failure, all is forgotten.
const FORGOTTEN: Duration = Duration::from_mins(30);

/// Failures of late.
#[derive(Debug, Default)]
pub struct Throttle {
    failures: Mutex<HashMap<String, Failures>>,
}

#[derive(Clone, Copy, Debug)]
struct Failures {
    count: u32,
    last: Instant,
}

impl Failures {
    /// When the next try may be made.
    fn until(self) -> Instant {
        let over = self.count.saturating_sub(FREE);
        if over == 0 {
            return self.last;
        }
        self.last + (FIRST * 2_u32.saturating_pow((over - 1).min(20))).min(LONGEST)
    }
}

impl Throttle {
    /// Time to wait before any of these may try; `None` when they may now, which counts as a failure until [`Self::clear`].
    pub fn begin(&self, keys: &[String], now: Instant) -> Option<Duration> {
        // Entries are replaced whole.
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        failures.retain(|_, entry| now.saturating_duration_since(entry.last) < FORGOTTEN);
        let wait = keys
            .iter()
            .filter_map(|key| failures.get(key))
            .map(|entry| entry.until().saturating_duration_since(now))
            .max()
            .unwrap_or_default();
        if !wait.is_zero() {
            return Some(wait);
        }
        for key in keys {
            if failures.len() >= KEPT && !failures.contains_key(key) {
                let oldest = failures.iter().min_by_key(|(_, entry)| entry.last).map(|(key, _)| key.clone());
                oldest.and_then(|oldest| failures.remove(&oldest));
            }
            let entry = failures.entry(key.clone()).or_insert(Failures { count: 0, last: now });
            *entry = Failures { count: entry.count.saturating_add(1), last: now };
        }
        None
    }

    /// It was right: these start anew.
    pub fn clear(&self, keys: &[String]) {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        for key in keys {
            failures.remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tries_get_rarer_until_one_is_right() {
        let throttle = Throttle::default();
        let keys = ["user ann".to_owned(), "from 10.0.0.1".to_owned()];
        let mut now = Instant::now();
        // The one after the fifth is the first that costs.
        for _ in 0..6 {
            assert_eq!(throttle.begin(&keys, now), None);
        }
        assert_eq!(throttle.begin(&keys, now), Some(Duration::from_secs(1)));
        now += Duration::from_secs(1);
        assert_eq!(throttle.begin(&keys, now), None);
        assert_eq!(throttle.begin(&keys, now), Some(Duration::from_secs(2)));
        // Neither another name from there nor the name from elsewhere.
        assert!(throttle.begin(&["user bob".to_owned(), keys[1].clone()], now).is_some());
        assert!(throttle.begin(&[keys[0].clone(), "from 10.0.0.2".to_owned()], now).is_some());
        assert_eq!(throttle.begin(&["user bob".to_owned(), "from 10.0.0.2".to_owned()], now), None);
        for _ in 0..20 {
            now += LONGEST;
            assert_eq!(throttle.begin(&keys, now), None);
        }
        assert_eq!(throttle.begin(&keys, now), Some(LONGEST));
        throttle.clear(&keys);
        assert_eq!(throttle.begin(&keys, now), None);
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let throttle = Throttle::default();
        let now = Instant::now();
        for number in 0..KEPT as u32 + 100 {
            throttle.begin(&[number.to_string()], now + Duration::from_millis(u64::from(number)));
        }
        assert_eq!(throttle.failures.lock().unwrap().len(), KEPT);
        throttle.begin(&["last".to_owned()], now + FORGOTTEN * 2);
        assert_eq!(throttle.failures.lock().unwrap().len(), 1);
    }
}
