//! Backends that come and go: each trip is a penalty that fades, and above a limit a backend is left out until it has
//! faded (as routes are in BGP).

use std::time::Duration;

/// Penalty of a trip.
const TRIP: f64 = 1000.0;
/// Penalty from which a backend is left out, and down to which it stays so.
const SUPPRESS: f64 = 3000.0;
const REUSE: f64 = 750.0;
/// Penalty beyond which no trip counts: what is above takes no longer to fade.
const MOST: f64 = 12_000.0;
/// Time in which half of it fades.
const HALF_LIFE: Duration = Duration::from_mins(1);
/// Nobody is left out for longer.
const LONGEST: Duration = Duration::from_mins(10);

/// What a backend has done.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Damping {
    penalty: f64,
    at_ns: u64,
    since_ns: Option<u64>,
}

impl Damping {
    /// It tripped.
    pub fn trip(&mut self, now_ns: u64) {
        self.fade(now_ns);
        self.penalty = (self.penalty + TRIP).min(MOST);
    }

    /// Looks whether it is to be left out; `may` says that it may be, because others are there. True when that changed.
    pub fn look(&mut self, may: bool, now_ns: u64) -> bool {
        self.fade(now_ns);
        let was = self.since_ns;
        self.since_ns = match was {
            _ if !may => None,
            None => (self.penalty >= SUPPRESS).then_some(now_ns),
            Some(since) => {
                let is_over =
                    self.penalty <= REUSE || now_ns.saturating_sub(since) >= LONGEST.as_nanos() as u64;
                (!is_over).then_some(since)
            }
        };
        if was.is_some() && self.since_ns.is_none() {
            // It begins anew, or the next look would leave it out again.
            self.penalty = self.penalty.min(REUSE);
        }
        was.is_some() != self.since_ns.is_some()
    }

    /// Whether it is left out.
    pub const fn is_suppressed(&self) -> bool {
        self.since_ns.is_some()
    }

    /// The penalty at the last look.
    pub const fn penalty(&self) -> u32 {
        self.penalty as u32
    }

    #[expect(clippy::cast_precision_loss, reason = "a time in nanoseconds, of which seconds count")]
    fn fade(&mut self, now_ns: u64) {
        let past = now_ns.saturating_sub(self.at_ns) as f64 / HALF_LIFE.as_nanos() as f64;
        self.penalty *= (-past).exp2();
        self.at_ns = now_ns;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn three_quick_trips_are_too_many_and_time_heals() {
        let mut flaps = Damping::default();
        for second in [1000, 1001, 1002] {
            flaps.trip(second * SECOND);
            assert!(!flaps.look(true, second * SECOND), "{second}");
        }
        flaps.trip(1003 * SECOND);
        assert!(flaps.look(true, 1003 * SECOND));
        assert!(flaps.is_suppressed());
        assert!(!flaps.look(true, 1100 * SECOND), "faded to a half, and then some");
        assert!(flaps.look(true, 1003 * SECOND + 150 * SECOND));
        assert!(!flaps.is_suppressed() && flaps.penalty() <= 750);
    }

    #[test]
    fn slow_ones_never_are_and_nobody_is_forever() {
        let mut flaps = Damping::default();
        for minute in 1..100 {
            flaps.trip(minute * 60 * SECOND);
            assert!(!flaps.look(true, minute * 60 * SECOND));
        }
        let begin = 10_000 * SECOND;
        let mut ended = None;
        for second in 0..1000 {
            let now = begin + second * SECOND;
            flaps.trip(now);
            flaps.look(true, now);
            if second > 10 && !flaps.is_suppressed() && ended.is_none() {
                ended = Some(second);
            }
        }
        assert!(ended.is_some_and(|second| second <= 610), "{ended:?}");
    }

    #[test]
    fn the_last_one_is_never_left_out() {
        let mut flaps = Damping::default();
        for _ in 0..9 {
            flaps.trip(SECOND);
        }
        assert!(!flaps.look(false, SECOND));
        assert!(flaps.look(true, SECOND));
        assert!(flaps.look(false, SECOND), "the others are gone");
        assert!(!flaps.is_suppressed());
    }
}
