//! Which tier of a service is used: failing over is immediate, failing back takes time and permission.

use std::time::Duration;

/// How many backends of a tier can be chosen, of how many.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tier {
    /// Its number; 0 is the best.
    pub number: u8,
    /// That can be chosen.
    pub available: usize,
    /// All that are wanted.
    pub total: usize,
}

/// Which tier is used, and since when a better one is whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tiers {
    /// The tier; `None` before the first look.
    pub active: Option<u8>,
    whole_since: Option<u64>,
    /// Somebody asked to fail back.
    pub is_asked_back: bool,
}

impl Tiers {
    /// Looks at the tiers, best first; `is_auto` says that a better one may be returned to now without anybody asking.
    /// Gives the tier before when it is another one now.
    pub fn look(&mut self, tiers: &[Tier], is_auto: bool, delay: Duration, now_ns: u64) -> Option<u8> {
        let best = tiers.iter().find(|tier| tier.available > 0).map(|tier| tier.number);
        let first = tiers.first().map(|tier| tier.number);
        let Some(active) = self.active else {
            self.active = best.or(first);
            return None;
        };
        let stands = tiers.iter().any(|tier| tier.number == active && tier.available > 0);
        let better = tiers.iter().find(|tier| tier.number < active && tier.available > 0);
        let next = if !stands {
            self.whole_since = None;
            best.unwrap_or(active)
        } else if let Some(better) = better {
            let is_whole = better.available == better.total;
            self.whole_since = if is_whole { self.whole_since.or(Some(now_ns)) } else { None };
            let waited =
                self.whole_since.is_some_and(|since| now_ns.saturating_sub(since) >= delay.as_nanos() as u64);
            if self.is_asked_back || (is_auto && waited) { better.number } else { active }
        } else {
            self.whole_since = None;
            active
        };
        if next == active {
            return None;
        }
        *self = Self { active: Some(next), ..Self::default() };
        Some(active)
    }
}

/// Whether so little is left that what is known of backends counts for nothing: less than half of the tier in use, and
/// all tiers together, with what they can bear beyond their share, less than whole.
pub fn is_panic(tiers: &[Tier], active: u8) -> bool {
    let percent = |tier: &Tier| (tier.available * 100).checked_div(tier.total).unwrap_or_default();
    let little = tiers.iter().any(|tier| tier.number == active && percent(tier) < 50);
    let sum: usize = tiers.iter().map(|tier| (percent(tier) * 14 / 10).min(100)).sum();
    little && sum < 100
}

#[cfg(test)]
mod tests {
    use super::*;

    const DELAY: Duration = Duration::from_secs(30);

    fn tiers(first: usize, second: usize) -> [Tier; 2] {
        [Tier { number: 0, available: first, total: 2 }, Tier { number: 1, available: second, total: 2 }]
    }

    #[test]
    fn over_at_once_and_back_when_whole_for_a_time() {
        let mut state = Tiers::default();
        let second = 1_000_000_000;
        assert_eq!(state.look(&tiers(2, 2), true, DELAY, 0), None);
        assert_eq!(state.look(&tiers(1, 2), true, DELAY, 0), None);
        assert_eq!(state.look(&tiers(0, 2), true, DELAY, second), Some(0));
        assert_eq!(state.active, Some(1));
        assert_eq!(state.look(&tiers(1, 2), true, DELAY, 2 * second), None, "not whole");
        assert_eq!(state.look(&tiers(2, 2), true, DELAY, 3 * second), None);
        assert_eq!(state.look(&tiers(1, 2), true, DELAY, 20 * second), None, "not whole again");
        assert_eq!(state.look(&tiers(2, 2), true, DELAY, 21 * second), None);
        assert_eq!(state.look(&tiers(2, 2), true, DELAY, 50 * second), None);
        assert_eq!(state.look(&tiers(2, 2), true, DELAY, 51 * second), Some(1));
        assert_eq!(state.active, Some(0));
    }

    #[test]
    fn manual_waits_for_somebody_or_for_need() {
        let mut state = Tiers { active: Some(1), ..Tiers::default() };
        assert_eq!(state.look(&tiers(2, 2), false, Duration::ZERO, 0), None);
        assert_eq!(state.look(&tiers(2, 2), false, Duration::ZERO, 1 << 60), None);
        state.is_asked_back = true;
        assert_eq!(state.look(&tiers(1, 2), false, Duration::ZERO, 2), Some(1));
        let mut state = Tiers { active: Some(1), ..Tiers::default() };
        assert_eq!(state.look(&tiers(1, 0), false, Duration::ZERO, 0), Some(1));
        assert_eq!(state.look(&tiers(0, 0), false, Duration::ZERO, 0), None, "nowhere to go");
    }

    #[test]
    fn panic_is_for_when_all_tiers_together_are_too_little() {
        assert!(!is_panic(&tiers(2, 2), 0) && !is_panic(&tiers(1, 0), 0));
        assert!(is_panic(&tiers(0, 1), 0) && is_panic(&tiers(0, 0), 0));
        assert!(!is_panic(&tiers(0, 2), 0), "the other tier bears it");
    }
}
