//! Failure and slow-call rates of a backend over a window of time, so that idle services forget.

use std::{collections::VecDeque, time::Duration};

use rampart_common::service::{
    abi::Tally,
    signal::{Meaning, Outcome},
};

use crate::config::BreakerSettings;

const SECOND_NS: u64 = 1_000_000_000;

/// Connections of a second, or of a window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Calls {
    /// That ended as successes or failures.
    pub calls: u64,
    /// Failures.
    pub failures: u64,
    /// Connects that took long.
    pub slow: u64,
}

/// Connections of the last seconds.
#[derive(Clone, Debug, Default)]
pub struct Window {
    seconds: VecDeque<(u64, Calls)>,
    last: Option<Calls>,
}

/// All connections of a tally.
pub fn calls(tally: &Tally) -> Calls {
    let mut sum = Calls { slow: tally.slow, ..Calls::default() };
    for (outcome, count) in Outcome::ALL.iter().zip(tally.outcomes) {
        match outcome.meaning() {
            Meaning::Success => sum.calls += count,
            Meaning::Failure => {
                sum.calls += count;
                sum.failures += count;
            }
            Meaning::Neutral => {}
        }
    }
    sum
}

impl Window {
    /// Takes the counters of now.
    pub fn take(&mut self, total: Calls, now_ns: u64, span: Duration) {
        let second = now_ns / SECOND_NS;
        while self.seconds.front().is_some_and(|(old, _)| old + span.as_secs() <= second) {
            self.seconds.pop_front();
        }
        // What was counted before the first look is not of this window.
        let last = self.last.replace(total).unwrap_or(total);
        let new = Calls {
            calls: total.calls.saturating_sub(last.calls),
            failures: total.failures.saturating_sub(last.failures),
            slow: total.slow.saturating_sub(last.slow),
        };
        if new == Calls::default() {
            return;
        }
        match self.seconds.back_mut() {
            Some((newest, sum)) if *newest == second => {
                sum.calls += new.calls;
                sum.failures += new.failures;
                sum.slow += new.slow;
            }
            _ => self.seconds.push_back((second, new)),
        }
    }

    /// The window's sum.
    pub fn sum(&self) -> Calls {
        self.seconds.iter().fold(Calls::default(), |sum, (_, one)| Calls {
            calls: sum.calls + one.calls,
            failures: sum.failures + one.failures,
            slow: sum.slow + one.slow,
        })
    }

    /// Forgets the seconds, after the breaker has opened for them.
    pub fn clear(&mut self) {
        self.seconds.clear();
    }

    /// Why the breaker is to open, if it is.
    pub fn verdict(&self, settings: &BreakerSettings) -> Option<&'static str> {
        let sum = self.sum();
        if sum.calls < settings.min_calls {
            return None;
        }
        let reaches = |part: u64, percent: u8| percent > 0 && part * 100 >= sum.calls * u64::from(percent);
        if reaches(sum.failures, settings.failure_percent) {
            return Some("failure rate");
        }
        (!settings.slow.is_zero() && reaches(sum.slow, settings.slow_percent)).then_some("slow connects")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> BreakerSettings {
        BreakerSettings {
            failure_threshold: 5,
            recovery: Duration::from_mins(1),
            recovery_max: Duration::from_mins(10),
            half_open_calls: 3,
            probe: Duration::from_secs(5),
            half_open: Duration::from_secs(30),
            is_established_enough: false,
            window: Duration::from_secs(10),
            min_calls: 20,
            failure_percent: 50,
            slow: Duration::ZERO,
            slow_percent: 100,
            max_ejection_percent: 50,
            is_metrics_only: false,
        }
    }

    #[test]
    fn half_of_enough_calls_in_the_window_opens() {
        let settings = settings();
        let mut window = Window::default();
        let span = settings.window;
        window.take(Calls { calls: 1000, failures: 1000, slow: 0 }, SECOND_NS, span);
        assert_eq!(window.sum(), Calls::default(), "what was before is not counted");
        window.take(Calls { calls: 1019, failures: 1019, slow: 0 }, 2 * SECOND_NS, span);
        assert_eq!(window.verdict(&settings), None, "too few");
        window.take(Calls { calls: 1040, failures: 1019, slow: 40 }, 3 * SECOND_NS, span);
        assert_eq!(window.verdict(&settings), None, "19 of 40");
        window.take(Calls { calls: 1042, failures: 1021, slow: 42 }, 3 * SECOND_NS + 1, span);
        assert_eq!(window.verdict(&settings), Some("failure rate"), "21 of 42");
        window.take(Calls { calls: 1042, failures: 1021, slow: 42 }, 12 * SECOND_NS, span);
        assert_eq!(
            window.sum(),
            Calls { calls: 23, failures: 2, slow: 42 },
            "the second second is forgotten"
        );
        let slow = BreakerSettings { slow: Duration::from_millis(250), ..settings };
        assert_eq!(window.verdict(&slow), Some("slow connects"));
        window.clear();
        assert_eq!(window.verdict(&slow), None);
    }
}
