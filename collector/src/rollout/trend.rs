//! How a node did before it had its bundle, and how it does since.

use std::{collections::VecDeque, time::Duration};

use serde::{Deserialize, Serialize};

/// How far back it is looked.
const WINDOW_NS: u64 = 10 * 60 * 1_000_000_000;
/// A shorter time says nothing of a rate.
const SPAN_MIN_NS: u64 = 20 * 1_000_000_000;

/// Counters of an agent at a moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sample {
    /// When, by the node's clock, nanoseconds since the epoch.
    pub time_ns: u64,
    /// Alerts made.
    pub alerts: u64,
    /// Things lost.
    pub losses: u64,
    /// Processor time, milliseconds.
    pub cpu_ms: u64,
}

/// What happened per time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Rates {
    /// Alerts per minute.
    pub alerts_per_min: f64,
    /// Things lost per minute.
    pub losses_per_min: f64,
    /// Of one core.
    pub cpu_percent: f64,
}

/// See the module.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Trend {
    /// The start of the agent, and its bundle.
    of: Option<([u8; 16], Vec<u8>)>,
    before: Option<Rates>,
    window: VecDeque<Sample>,
}

impl Rates {
    /// Between two moments; `None` when they are too near or the counters began anew.
    fn between(first: &Sample, last: &Sample) -> Option<Self> {
        let span = last.time_ns.checked_sub(first.time_ns).filter(|span| *span >= SPAN_MIN_NS)?;
        let minutes = Duration::from_nanos(span).as_secs_f64() / 60.0;
        let per_min = |first: u64, last: u64| {
            let count = last.checked_sub(first)?;
            Some(u32::try_from(count).map_or(f64::from(u32::MAX), f64::from) / minutes)
        };
        Some(Self {
            alerts_per_min: per_min(first.alerts, last.alerts)?,
            losses_per_min: per_min(first.losses, last.losses)?,
            cpu_percent: per_min(first.cpu_ms, last.cpu_ms)? / 60_000.0 * 100.0,
        })
    }
}

impl Trend {
    /// Takes a heartbeat of this start of the agent, with this bundle in force.
    pub fn take(&mut self, boot: [u8; 16], bundle: &[u8], sample: Sample) {
        match &self.of {
            Some((of, has)) if *of == boot && has == bundle => {}
            Some((of, _)) if *of == boot => {
                // The heartbeat that tells of the change counts to the time before it.
                self.before = self.window.front().and_then(|first| Rates::between(first, &sample));
                self.window.clear();
            }
            // Counters begin anew with the agent: nothing can be compared.
            _ => *self = Self::default(),
        }
        self.of = Some((boot, bundle.to_vec()));
        // The first one since the bundle is in force stays; before that, old ones go.
        while self.before.is_none()
            && self.window.front().is_some_and(|first| first.time_ns + WINDOW_NS < sample.time_ns)
        {
            self.window.pop_front();
        }
        if self.window.len() > 2 && self.before.is_some() {
            self.window.pop_back();
        }
        self.window.push_back(sample);
    }

    /// Before it had its bundle.
    pub fn before(&self) -> Option<Rates> {
        self.before
    }

    /// Since then.
    pub fn since(&self) -> Option<Rates> {
        Rates::between(self.window.front()?, self.window.back()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(secs: u64, alerts: u64, losses: u64, cpu_ms: u64) -> Sample {
        Sample { time_ns: secs * 1_000_000_000, alerts, losses, cpu_ms }
    }

    #[test]
    fn a_change_of_the_bundle_parts_before_and_after() {
        let mut trend = Trend::default();
        for minute in 0..20 {
            trend.take([1; 16], b"", sample(minute * 60, minute * 2, 0, minute * 600));
        }
        assert_eq!((trend.before(), trend.since().unwrap().alerts_per_min), (None, 2.0));
        trend.take([1; 16], b"new", sample(1200, 40, 0, 12_000));
        assert_eq!(
            trend.before(),
            Some(Rates { alerts_per_min: 2.0, losses_per_min: 0.0, cpu_percent: 1.0 })
        );
        assert_eq!(trend.since(), None);
        trend.take([1; 16], b"new", sample(1210, 41, 0, 12_000));
        assert_eq!(trend.since(), None, "ten seconds say nothing");
        for half in 1..=60 {
            trend.take([1; 16], b"new", sample(1200 + half * 30, 40 + half * 50, half, 12_000 + half * 3000));
        }
        let since = trend.since().unwrap();
        assert_eq!((since.alerts_per_min, since.losses_per_min, since.cpu_percent), (100.0, 2.0, 10.0));
        assert!(trend.window.len() <= 3);
        // An agent that starts anew has no time before.
        trend.take([2; 16], b"new", sample(4000, 0, 0, 5));
        assert_eq!((trend.before(), trend.since()), (None, None));
    }

    #[test]
    fn only_the_last_minutes_count_before_a_change() {
        let mut trend = Trend::default();
        for minute in 0..60 {
            // Quiet at first, then a hundred a minute.
            let alerts = if minute < 40 { 0 } else { (minute - 40) * 100 };
            trend.take([1; 16], b"", sample(minute * 60, alerts, 0, 0));
        }
        trend.take([1; 16], b"new", sample(3600, 2000, 0, 0));
        let hundred = Rates { alerts_per_min: 100.0, losses_per_min: 0.0, cpu_percent: 0.0 };
        assert_eq!(trend.before(), Some(hundred));
    }
}
