//! Section `budgets`.

use std::time::Duration;

use rampart_common::event::{FAMILY_COUNT, Family};
use rampart_rules::rule::Priority;
use serde_yaml::Value;

use super::Check;
use crate::config::{Budgets, keys};

/// Seconds over which the cost of rules is measured: below, chance decides; above, nothing is done for too long.
const WINDOW_SECS: std::ops::RangeInclusive<u64> = 1..=3600;
/// Percent of a budget below which there is room.
const RETURN_BELOW: std::ops::RangeInclusive<u64> = 1..=99;
/// Windows with room before a rule comes back.
const RETURN_WINDOWS: std::ops::RangeInclusive<u64> = 1..=100;
/// Millionths in a percent.
const PER_PERCENT: f64 = 10_000.0;

impl Check {
    pub(super) fn budgets(&mut self) -> Budgets {
        let default = self.percent("budgets.default", None);
        let mut families = [None; FAMILY_COUNT];
        for family in Family::ALL {
            let path = format!("budgets.families.{}", family.name());
            if let Some(slot) = families.get_mut(family as usize) {
                *slot = self.percent(&path, default);
            }
        }
        Budgets {
            shed_below: self
                .choice("budgets.shed_below", keys::PRIORITIES, "notice")
                .parse()
                .unwrap_or(Priority::Notice),
            families,
            window: Duration::from_secs(self.number("budgets.window_secs", &WINDOW_SECS, 10)),
            return_below_percent: self.number("budgets.return_below", &RETURN_BELOW, 50) as u32,
            return_windows: self.number("budgets.return_windows", &RETURN_WINDOWS, 3) as u32,
        }
    }

    /// A percentage in millionths, `None` for `off`.
    fn percent(&mut self, path: &str, default: Option<u32>) -> Option<u32> {
        let Some((value, place)) = self.take(path) else { return default };
        let number = match &value {
            Value::Number(number) => number.as_f64(),
            Value::String(text) if text.eq_ignore_ascii_case("off") => return None,
            Value::String(text) => text.strip_suffix('%').unwrap_or(text).trim().parse().ok(),
            _ => None,
        };
        let millionths = number.map(|percent| (percent * PER_PERCENT).round());
        match millionths {
            Some(millionths) if (1.0..=100.0 * PER_PERCENT).contains(&millionths) => Some(millionths as u32),
            _ => {
                self.wrong(path, &value, place, "`off` or a percentage above 0 and up to 100, such as `5%`");
                default
            }
        }
    }
}
