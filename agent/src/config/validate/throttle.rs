//! What scales rates down, where days begin, and where lists come from.

use axum::http::Uri;
use jiff::tz::TimeZone;

use super::Check;
use crate::{
    config::keys,
    limits::throttle::{Mode, Settings},
};

/// Percentages of thresholds; zero for one that is not looked at.
const PERCENT: std::ops::RangeInclusive<u64> = 0..=100;
/// Tasks per CPU.
const TASKS: std::ops::RangeInclusive<u64> = 0..=10_000;
/// Packets per second.
const DROPS: std::ops::RangeInclusive<u64> = 0..=1_000_000_000;
/// The kernel stretches an interval sixteen times at most.
const FLOOR: std::ops::RangeInclusive<u64> = 7..=100;

impl Check {
    pub(super) fn throttle(&mut self) -> Settings {
        Settings {
            mode: match self.choice("limits.throttle.mode", keys::THROTTLING, "off") {
                "enforce" => Mode::Enforce,
                "observe" => Mode::Observe,
                _ => Mode::Off,
            },
            pressure_percent: self.number("limits.throttle.cpu_pressure_percent", &PERCENT, 60) as u32,
            softirq_percent: self.number("limits.throttle.softirq_percent", &PERCENT, 50) as u32,
            run_queue: self.number("limits.throttle.run_queue", &TASKS, 8) as u32,
            backlog_drops_per_sec: self.number("limits.throttle.backlog_drops_per_sec", &DROPS, 1000) as u32,
            floor_percent: self.number("limits.throttle.floor_percent", &FLOOR, 25) as u32,
        }
    }

    /// Web addresses; each that is none is a fault.
    pub(super) fn urls(&mut self, path: &str) -> Vec<String> {
        let place = self.place(path);
        let words: Vec<String> =
            self.paths(path).into_iter().map(|word| word.to_string_lossy().into_owned()).collect();
        for word in &words {
            let is_web =
                |uri: &Uri| matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some();
            if !word.parse().is_ok_and(|uri| is_web(&uri)) {
                let help = Some("write such as `https://example.com/list.txt`".to_owned());
                self.raw.fault(
                    place.clone(),
                    format!("`{path}` names `{word}`, which is no web address"),
                    help,
                );
            }
        }
        words
    }

    pub(super) fn time_zone(&mut self, path: &str) -> TimeZone {
        let place = self.place(path);
        let Some(name) = self.text(path) else { return TimeZone::UTC };
        TimeZone::get(&name).unwrap_or_else(|_| {
            let help = Some("use a name such as `Europe/London` or `America/New_York`".to_owned());
            self.raw.fault(place, format!("`{path}` names `{name}`, which is no time zone"), help);
            TimeZone::UTC
        })
    }
}
