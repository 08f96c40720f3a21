//! Quiet hours of a channel: when what is not urgent waits, and what "now" means there.
//!
//! What waits is stored for the channel under a name of its own ([`held`]), in the same transaction as the alert, and told as
//! a summary when the quiet hours are over. So neither a restart nor another collector loses it.

use std::{str::FromStr, sync::Arc};

use jiff::{
    Timestamp,
    civil::{Date, DateTime, Time, Weekday},
    tz::TimeZone,
};

use crate::alert::Priority;

/// Behind a channel's name, for what waits for it.
const HELD: &str = " (held)";
const DAYS: [(&str, Weekday); 7] = [
    ("mon", Weekday::Monday),
    ("tue", Weekday::Tuesday),
    ("wed", Weekday::Wednesday),
    ("thu", Weekday::Thursday),
    ("fri", Weekday::Friday),
    ("sat", Weekday::Saturday),
    ("sun", Weekday::Sunday),
];

/// When a channel is quiet.
#[derive(Clone, Debug)]
pub struct Quiet {
    /// Where the hours are meant.
    pub zone: TimeZone,
    /// Times of the week: those that are quiet, or those that are not.
    pub times: Vec<Times>,
    /// Whether it is quiet outside of the times.
    pub is_outside: bool,
    /// Days that are quiet from midnight to midnight, whatever the times say.
    pub dates: Vec<Date>,
    /// This severe or more is told at once.
    pub except: Option<Priority>,
}

/// Times of the week: `mon-fri 18:00-08:00`, `sat,sun`, `22:00-06:00`. What ends before it begins ends on the next day.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Times {
    days: Vec<Weekday>,
    from: Time,
    /// `None` for midnight at the end of the day.
    until: Option<Time>,
}

/// These are no times of the week.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` are no times of the week: write such as `mon-fri 18:00-08:00`, `sat,sun` or `22:00-06:00`")]
pub struct NoTimes(String);

/// The name under which things wait for a channel.
pub fn held(channel: &str) -> Arc<str> {
    format!("{channel}{HELD}").into()
}

impl Quiet {
    /// Whether it is quiet at a time, nanoseconds since the epoch.
    pub fn is_at(&self, time_ns: u64) -> bool {
        let time = Timestamp::from_nanosecond(i128::from(time_ns)).unwrap_or_default();
        let local = time.to_zoned(self.zone.clone()).datetime();
        self.dates.contains(&local.date())
            || self.times.iter().any(|times| times.has(local)) != self.is_outside
    }

    /// Whether something so severe waits at a time.
    pub fn holds(&self, priority: Priority, time_ns: u64) -> bool {
        self.except.is_none_or(|least| priority > least) && self.is_at(time_ns)
    }
}

impl Times {
    fn has(&self, local: DateTime) -> bool {
        let (time, day) = (local.time(), local.date().weekday());
        let begins = |day: Weekday| self.days.contains(&day);
        match self.until {
            Some(until) if until <= self.from => {
                (begins(day) && time >= self.from) || (begins(day.previous()) && time < until)
            }
            until => begins(day) && time >= self.from && until.is_none_or(|until| time < until),
        }
    }
}

impl FromStr for Times {
    type Err = NoTimes;

    fn from_str(text: &str) -> Result<Self, NoTimes> {
        parse(text).ok_or_else(|| NoTimes(text.to_owned()))
    }
}

fn parse(text: &str) -> Option<Times> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let (days, hours) = match words.as_slice() {
        [one] if one.contains(':') => (None, Some(*one)),
        [one] => (Some(*one), None),
        [days, hours] => (Some(*days), Some(*hours)),
        _ => return None,
    };
    let (from, until) = match hours {
        None => (Time::midnight(), None),
        Some(hours) => {
            let (from, until) = hours.split_once('-')?;
            (clock(from)?, if until == "24:00" { None } else { Some(clock(until)?) })
        }
    };
    let mut all = Vec::new();
    match days {
        None => all.extend(DAYS.map(|(_, day)| day)),
        Some(days) => {
            for part in days.split(',') {
                let (first, last) = part.split_once('-').unwrap_or((part, part));
                let (mut day, last) = (weekday(first)?, weekday(last)?);
                all.push(day);
                while day != last {
                    day = day.next();
                    all.push(day);
                }
            }
        }
    }
    Some(Times { days: all, from, until })
}

fn weekday(word: &str) -> Option<Weekday> {
    DAYS.iter().find(|(name, _)| word.eq_ignore_ascii_case(name)).map(|(_, day)| *day)
}

fn clock(text: &str) -> Option<Time> {
    let (hour, minute) = text.split_once(':')?;
    let is_number = |word: &str| word.len() == 2 && word.bytes().all(|byte| byte.is_ascii_digit());
    (is_number(hour) && is_number(minute)).then_some(())?;
    Time::new(hour.parse().ok()?, minute.parse().ok()?, 0, 0).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quiet(times: &[&str], is_outside: bool) -> Quiet {
        Quiet {
            zone: TimeZone::get("Europe/London").unwrap(),
            times: times.iter().map(|text| text.parse().unwrap()).collect(),
            is_outside,
            dates: vec!["2026-12-25".parse().unwrap()],
            except: Some(Priority::Critical),
        }
    }

    fn at(text: &str) -> u64 {
        text.parse::<Timestamp>().unwrap().as_nanosecond() as u64
    }

    #[test]
    fn times_go_over_midnight_and_follow_the_clocks_of_the_place() {
        let night = quiet(&["mon-fri 18:00-08:00", "sat,sun"], false);
        // 2026-07-03 is a Friday, and summer in London.
        assert!(!night.is_at(at("2026-07-03T16:59:59Z")) && night.is_at(at("2026-07-03T17:00:00Z")));
        assert!(night.is_at(at("2026-07-05T22:59:59Z")), "Sunday");
        assert!(!night.is_at(at("2026-07-05T23:00:00Z")), "Monday there, and Sunday has no night of its own");
        assert!(night.is_at(at("2026-07-07T06:59:59Z")) && !night.is_at(at("2026-07-07T07:00:00Z")));
        assert!(
            night.is_at(at("2026-01-06T07:59:59Z")) && !night.is_at(at("2026-01-06T08:00:00Z")),
            "winter"
        );
        assert!(night.is_at(at("2026-12-25T12:00:00Z")), "Christmas is a Friday");
    }

    #[test]
    fn a_session_is_loud_and_everything_else_is_quiet() {
        let session = quiet(&["mon-fri 08:00-16:30"], true);
        assert!(!session.is_at(at("2026-07-03T07:00:00Z")) && session.is_at(at("2026-07-03T15:30:00Z")));
        assert!(session.is_at(at("2026-12-25T12:00:00Z")), "a holiday");
        assert!(session.holds(Priority::Error, at("2026-07-04T12:00:00Z")));
        assert!(!session.holds(Priority::Critical, at("2026-07-04T12:00:00Z")), "too severe to wait");
        assert!(!session.holds(Priority::Debug, at("2026-07-03T12:00:00Z")));
    }

    #[test]
    fn other_words_are_refused() {
        for text in ["", "mon", "fri-mon 09:00-17:00", "Sat,sun", "22:00-06:00", "mon 00:00-24:00"] {
            assert_eq!(text.parse::<Times>().is_ok(), !text.is_empty(), "{text}");
        }
        for text in [
            "mon 9:00-17:00",
            "mon 09:00",
            "day 09:00-17:00",
            "mon 25:00-26:00",
            "a b c",
            "mon-",
            "09:00-09:60",
        ] {
            assert!(text.parse::<Times>().is_err(), "{text}");
        }
    }
}
