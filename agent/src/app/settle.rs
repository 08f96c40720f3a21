//! Tells a leak in the accounting from a reading taken while programs run: a program that is between its first
//! and its second counter makes the equation look open by one for a moment, a leak stays.

use std::collections::VecDeque;

use rampart_common::{
    counter::FamilyCounters,
    event::{FAMILY_COUNT, Family},
};

/// Readings looked at; a busy machine can show a program at work in several readings in a row.
const READINGS: usize = 5;

/// The last readings of each family.
#[derive(Debug, Default)]
pub(super) struct Settle {
    readings: [VecDeque<i64>; FAMILY_COUNT],
}

impl Settle {
    /// Adds a reading and gives each family with what is left unexplained in every one of the last readings.
    pub(super) fn families(
        &mut self,
        counted: &[(Family, FamilyCounters)],
    ) -> Vec<(Family, FamilyCounters, i64)> {
        counted
            .iter()
            .map(|(family, counters)| (*family, *counters, self.settled(*family, counters.unexplained())))
            .collect()
    }

    /// The smallest amount that all readings share, 0 when they do not even agree on the sign.
    fn settled(&mut self, family: Family, reading: i64) -> i64 {
        let Some(readings) = self.readings.get_mut(family as usize) else { return reading };
        readings.push_back(reading);
        if readings.len() > READINGS {
            readings.pop_front();
        }
        if readings.len() < READINGS {
            return 0;
        }
        let (low, high) =
            readings.iter().fold((i64::MAX, i64::MIN), |(low, high), one| (low.min(*one), high.max(*one)));
        if low > 0 {
            low
        } else if high < 0 {
            high
        } else {
            0
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn readings(values: &[i64]) -> i64 {
        let mut settle = Settle::default();
        let mut last = 0;
        for value in values {
            let counters =
                FamilyCounters { seen: (100 + value) as u64, emitted: 100, ..FamilyCounters::default() };
            last = settle.families(&[(Family::Open, counters)])[0].2;
        }
        last
    }

    #[test]
    fn only_what_stays_is_unexplained() {
        assert_eq!(readings(&[1, 0, 1, 1, 1]), 0);
        assert_eq!(readings(&[1, 1, 1]), 0, "too early to tell");
        assert_eq!(readings(&[0, 3, 2, 4, 2, 3]), 2);
        assert_eq!(readings(&[-1, -2, -1, -1, -1]), -1);
        assert_eq!(readings(&[-1, 1, 1, 1, 1]), 0);
    }
}
