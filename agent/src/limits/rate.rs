//! Rates as people write them: `1000/s`, `90/m`, `5k/h`, with what may come at once.

use std::fmt;

use rampart_common::limit::gcra::{Limit, Unfit};
use serde::{Deserialize, Serialize};

const SECOND_NS: u64 = 1_000_000_000;

/// So many units in a period, and so many at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rate {
    /// Units of a period.
    pub amount: u64,
    /// The period, in whole seconds.
    pub period_secs: u64,
    /// Units at once.
    pub burst: u64,
}

impl Rate {
    /// A rate whose burst is what a second brings, or at least `least`, unless one is given.
    pub fn new((amount, period_secs): (u64, u64), burst: Option<u64>, least: u64) -> Self {
        let usual = amount / period_secs.max(1);
        Self { amount, period_secs, burst: burst.unwrap_or(usual).max(least) }
    }

    /// As the kernel's programs use it.
    pub fn limit(&self) -> Result<Limit, Unfit> {
        Limit::new(self.amount, self.period_secs.saturating_mul(SECOND_NS), self.burst)
    }

    /// This rate with another one on top.
    #[must_use]
    pub fn plus(&self, other: &Self) -> Self {
        let (one, two) = (self.period_secs.max(1), other.period_secs.max(1));
        let period = u128::from(one) * u128::from(two);
        let amount = u128::from(self.amount) * u128::from(two) + u128::from(other.amount) * u128::from(one);
        let divisor = greatest_divisor(amount, period);
        let [mut amount, mut period] = [amount / divisor, period / divisor];
        // Beyond the range of numbers a rate is rounded, not cut.
        while amount > u128::from(u64::MAX) || period > u128::from(u32::MAX) {
            amount >>= 1;
            period >>= 1;
        }
        Self {
            amount: amount as u64,
            period_secs: (period as u64).max(1),
            burst: self.burst.saturating_add(other.burst),
        }
    }
}

fn greatest_divisor(mut a: u128, mut b: u128) -> u128 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a.max(1)
}

impl fmt::Display for Rate {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.period_secs {
            1 => write!(out, "{}/s", self.amount)?,
            60 => write!(out, "{}/m", self.amount)?,
            3600 => write!(out, "{}/h", self.amount)?,
            other => write!(out, "{} in {other} s", self.amount)?,
        }
        write!(out, ", {} at once", self.burst)
    }
}

/// `1000/s`, `90/m`, `5k/h`: units, and the period in seconds.
pub fn parse(text: &str) -> Option<(u64, u64)> {
    let (units, period) = text.split_once('/')?;
    let period = match period.trim() {
        "s" | "sec" | "second" => 1,
        "m" | "min" | "minute" => 60,
        "h" | "hour" => 3600,
        _ => return None,
    };
    Some((amount(units)?, period))
}

/// `500`, `5k`, `10M`, `2G`, `1T`: steps of a thousand.
pub fn amount(text: &str) -> Option<u64> {
    let text = text.trim();
    let (at, last) = text.char_indices().next_back()?;
    let factor = match last {
        'k' => 1_000,
        'M' => 1_000_000,
        'G' => 1_000_000_000,
        'T' => 1_000_000_000_000,
        _ => return text.parse().ok(),
    };
    text.get(..at)?.trim().parse::<u64>().ok()?.checked_mul(factor)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn rates_are_read_and_shown() {
        assert_eq!(parse("5k/h"), Some((5000, 3600)));
        assert_eq!(parse(" 90 / min "), Some((90, 60)));
        for wrong in ["", "5", "5/y", "k/s", "-1/s", "99999999999999999999/s", "99999999999T/s"] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
        assert_eq!(Rate::new((120, 60), None, 1).to_string(), "120/m, 2 at once");
        assert_eq!(Rate::new((10, 1), Some(3), 1).to_string(), "10/s, 3 at once");
    }

    proptest! {
        #[test]
        fn a_sum_is_what_both_bring_in_the_same_time(
            a in 1_u64..1_000_000, b in 1_u64..1_000_000,
            p in prop::sample::select(vec![1_u64, 60, 3600, 7, 90]),
            q in prop::sample::select(vec![1_u64, 60, 3600, 11]),
        ) {
            let sum = Rate { amount: a, period_secs: p, burst: 1 }.plus(&Rate { amount: b, period_secs: q, burst: 2 });
            prop_assert_eq!(sum.burst, 3);
            let (amount, period) = (u128::from(sum.amount), u128::from(sum.period_secs));
            prop_assert_eq!(amount * u128::from(p * q), period * u128::from(a * q + b * p));
        }
    }
}
