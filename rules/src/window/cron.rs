//! Times as cron writes them: minute, hour, day of the month, month, day of the week.

use std::fmt;

/// Names of months, from 1.
const MONTHS: [&str; 12] =
    ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
/// Names of days, from 0.
const DAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];
/// Seconds of a day.
const DAY_SECS: i64 = 86_400;

/// Minutes that an expression names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cron {
    text: String,
    minutes: u64,
    hours: u64,
    days: u64,
    months: u64,
    weekdays: u64,
    /// Whether day and weekday both are given: then either will do.
    either_day: bool,
}

impl Cron {
    /// Reads five fields; the fault otherwise.
    pub fn read(text: &str) -> Result<Self, String> {
        let fields: Vec<&str> = text.split_whitespace().collect();
        let [minutes, hours, dates, months, weekdays] = fields.as_slice() else {
            return Err(format!("a cron expression has five fields, not {}", fields.len()));
        };
        let numbered = bits(weekdays, 0, 7, &DAYS, 0)?;
        Ok(Self {
            text: fields.join(" "),
            minutes: bits(minutes, 0, 59, &[], 0)?,
            hours: bits(hours, 0, 23, &[], 0)?,
            days: bits(dates, 1, 31, &[], 0)?,
            months: bits(months, 1, 12, &MONTHS, 1)?,
            // Both 0 and 7 are Sunday.
            weekdays: (numbered | numbered >> 7) & 0x7f,
            either_day: !dates.starts_with('*') && !weekdays.starts_with('*'),
        })
    }

    /// Whether a moment lies in one of the minutes; seconds since the epoch as the clock on the wall shows them.
    pub fn contains(&self, local_secs: i64) -> bool {
        let (days, second) = (local_secs.div_euclid(DAY_SECS), local_secs.rem_euclid(DAY_SECS));
        let (month, day) = civil(days);
        // The epoch was a Thursday.
        let weekday = (days + 4).rem_euclid(7);
        let has = |bits: u64, number: i64| bits & (1 << (number & 63)) != 0;
        let (on_day, on_weekday) = (has(self.days, day), has(self.weekdays, weekday));
        has(self.minutes, second / 60 % 60)
            && has(self.hours, second / 3600)
            && has(self.months, month)
            && if self.either_day { on_day || on_weekday } else { on_day && on_weekday }
    }
}

impl fmt::Display for Cron {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// `*`, `5`, `mon-fri`, `*/15`, `8-18/2`, or several of these.
fn bits(field: &str, least: u8, most: u8, names: &[&str], first: u8) -> Result<u64, String> {
    let number = |text: &str| -> Result<u8, String> {
        let lower = text.to_ascii_lowercase();
        let word = names.iter().position(|name| *name == lower).map(|at| at as u8 + first);
        let read = word.or_else(|| text.parse().ok()).filter(|number| (least..=most).contains(number));
        read.ok_or_else(|| format!("`{text}` is none of {least} to {most}"))
    };
    let mut out = 0;
    for part in field.split(',') {
        let (range, step) = match part.split_once('/') {
            Some((range, step)) => {
                let step = step.parse::<u8>().ok().filter(|step| *step > 0);
                (range, step.ok_or_else(|| format!("`{part}` has a step that is no number"))?)
            }
            None => (part, 1),
        };
        let (from, to) = match range.split_once('-') {
            _ if range == "*" => (least, most),
            Some((from, to)) => (number(from)?, number(to)?),
            None if part.contains('/') => (number(range)?, most),
            None => (number(range)?, number(range)?),
        };
        if from > to {
            return Err(format!("`{part}` ends before it begins"));
        }
        for value in (from..=to).step_by(usize::from(step)) {
            out |= 1 << value;
        }
    }
    Ok(out)
}

/// Month and day of a day since the epoch, in the calendar in use everywhere (years of 400 have the same days).
fn civil(days: i64) -> (i64, i64) {
    // Counted from 1 March, leap days come last.
    let of_era = (days + 719_468).rem_euclid(146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * march + 2) / 5 + 1;
    (if march < 10 { march + 3 } else { march - 9 }, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 20 November 2026, a Friday, 00:00.
    const FRIDAY: i64 = 1_795_132_800;

    fn at(text: &str, secs: i64) -> bool {
        Cron::read(text).unwrap().contains(secs)
    }

    #[test]
    fn minutes_are_those_that_are_named() {
        let nine = FRIDAY + 9 * 3600 + 30 * 60;
        for (text, expected) in [
            ("* * * * *", true),
            ("30 9 * * *", true),
            ("31 9 * * *", false),
            ("*/15 8-18 * * mon-fri", true),
            ("*/15 8-18 * * sat,sun", false),
            ("* * 20 nov *", true),
            ("* * 21 11 *", false),
            ("* * 21 * fri", true),
            ("* * 20 * 0-4", true),
            ("* * * * 7", false),
            ("30/7 9 * * 5", true),
        ] {
            assert_eq!(at(text, nine), expected, "{text}");
        }
        assert!(at("* * 29 2 *", 1_709_208_000), "29 February 2024");
        assert!(at("59 23 31 12 3", -60), "the last minute of 1969, a Wednesday");
        assert!(at("* * * * 7", FRIDAY + 2 * DAY_SECS), "Sunday has two numbers");
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in ["", "* * * *", "60 * * * *", "* 24 * * *", "* * 0 * *", "* * * 13 *", "* * * * 8"] {
            assert!(Cron::read(text).is_err(), "{text}");
        }
        for text in ["a * * * *", "5-1 * * * *", "*/0 * * * *", "*/x * * * *", "* * * feb-jan *"] {
            assert!(Cron::read(text).is_err(), "{text}");
        }
    }
}
