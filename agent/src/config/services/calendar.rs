//! Times of the week: `mon-fri 17:30-22:00`, `sat,sun 00:00-24:00`, `22:00-06:00` (every day).

use jiff::{Timestamp, tz::TimeZone};

/// Days, Monday first, as settings name them.
const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
/// Minutes of a day.
const DAY: u16 = 24 * 60;

/// Times of the week in a time zone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Calendar {
    /// The time zone.
    pub zone: TimeZone,
    /// The times; they may overlap.
    pub spans: Vec<Span>,
}

/// A time of day on some days.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Days on which it begins, as bits, Monday the lowest.
    pub(crate) days: u8,
    /// Minutes of the day; an end that is not after the beginning is on the next day.
    pub(crate) begin: u16,
    pub(crate) end: u16,
}

impl Calendar {
    /// Whether a moment is in one of the times.
    pub fn contains(&self, now: Timestamp) -> bool {
        let local = now.to_zoned(self.zone.clone());
        let day = local.weekday().to_monday_zero_offset() as u8;
        let minute = local.hour() as u16 * 60 + local.minute() as u16;
        self.spans.iter().any(|span| span.contains(day, minute))
    }
}

impl Span {
    /// Reads one.
    pub fn read(text: &str) -> Option<Self> {
        let text = text.trim().to_ascii_lowercase();
        let (days, time) = match text.rsplit_once(' ') {
            Some((names, time)) => (days(names)?, time),
            None => (0x7f, text.as_str()),
        };
        let (begin, end) = time.split_once('-')?;
        let (begin, end) = (minute(begin)?, minute(end)?);
        (begin < DAY && begin != end).then_some(Self { days, begin, end })
    }

    fn contains(self, day: u8, minute: u16) -> bool {
        let is_on = |day: u8| self.days & 1 << day != 0;
        if self.begin < self.end {
            return is_on(day) && (self.begin..self.end).contains(&minute);
        }
        (is_on(day) && minute >= self.begin) || (is_on((day + 6) % 7) && minute < self.end)
    }
}

/// `mon`, `mon-fri`, `sat-mon`, `mon,wed`.
fn days(text: &str) -> Option<u8> {
    let number = |name: &str| DAYS.iter().position(|day| *day == name.trim());
    let mut bits = 0;
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (mut day, last) = (number(first)?, number(last)?);
        bits |= 1 << day;
        while day != last {
            day = (day + 1) % DAYS.len();
            bits |= 1 << day;
        }
    }
    Some(bits)
}

/// `07:30`; 24:00 is the end of a day.
fn minute(text: &str) -> Option<u16> {
    let (hours, minutes) = text.trim().split_once(':')?;
    let (hours, minutes): (u16, u16) = (hours.parse().ok()?, minutes.parse().ok()?);
    let minute = hours.checked_mul(60)?.checked_add(minutes)?;
    (minutes < 60 && minute <= DAY).then_some(minute)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(span: &str, zone: &str, moment: &str) -> bool {
        let calendar =
            Calendar { zone: TimeZone::get(zone).unwrap(), spans: vec![Span::read(span).unwrap()] };
        calendar.contains(moment.parse().unwrap())
    }

    #[test]
    fn moments_are_in_their_time_of_the_week() {
        // 20 November 2026 is a Friday.
        assert!(at("mon-fri 17:30-22:00", "UTC", "2026-11-20T17:30:00Z"));
        assert!(!at("mon-fri 17:30-22:00", "UTC", "2026-11-20T22:00:00Z"));
        assert!(!at("mon-fri 17:30-22:00", "UTC", "2026-11-21T18:00:00Z"));
        assert!(at("mon-fri 17:30-22:00", "America/New_York", "2026-11-21T02:59:00Z"), "still Friday there");
        assert!(at("fri 22:00-06:00", "UTC", "2026-11-21T05:59:00Z"), "the night after");
        assert!(!at("fri 22:00-06:00", "UTC", "2026-11-20T05:59:00Z"), "the night before");
        assert!(at("sat-mon,wed 00:00-24:00", "UTC", "2026-11-22T12:00:00Z"));
        assert!(at("22:00-06:00", "UTC", "2026-11-18T23:00:00Z"));
        // In summer an hour of the clock is another one.
        assert!(at("18:00-19:00", "Europe/London", "2026-07-01T17:30:00Z"));
    }

    #[test]
    fn what_is_none_is_refused() {
        for text in
            ["", "mon", "mon-fri", "10:00", "10:00-10:00", "25:00-26:00", "10:60-11:00", "moon 10:00-11:00"]
        {
            assert_eq!(Span::read(text), None, "{text}");
        }
        assert_eq!(Span::read("24:00-01:00"), None);
    }
}
