//! Which session it is, and when that changes.

use jiff::{Timestamp, ToSpan as _, civil::Date};

use crate::config::trading::{Calendar, Session};

/// Days in which a change is looked for; what is further away is looked for again.
const DAYS: i32 = 10;

/// A calendar that is asked for sessions.
#[derive(Debug)]
pub(super) struct Timetable {
    calendar: Calendar,
}

impl Timetable {
    pub(super) fn new(calendar: &Calendar) -> Self {
        Self { calendar: calendar.clone() }
    }

    /// The session at a time of day, nanoseconds since the epoch; the busiest where several overlap.
    pub(super) fn session(&self, wall_ns: u64) -> Session {
        let local = timestamp(wall_ns).to_zoned(self.calendar.zone.clone());
        let today = local.date();
        let minute = local.hour() as u16 * 60 + local.minute() as u16;
        let mut session = Session::Closed;
        for (begun, is_today) in [(Some(today), true), (today.yesterday().ok(), false)] {
            let Some(day) = begun else { continue };
            for (named, span) in self.calendar.on(day) {
                let overnight = span.end <= span.begin;
                let contains = match (is_today, overnight) {
                    (true, true) => minute >= span.begin,
                    (true, false) => (span.begin..span.end).contains(&minute),
                    (false, _) => overnight && minute < span.end,
                };
                if contains {
                    session = session.max(*named);
                }
            }
        }
        session
    }

    /// When a session begins or ends next after a time of day; at the latest after some days, when there may be none.
    pub(super) fn next(&self, wall_ns: u64) -> Option<u64> {
        let zone = &self.calendar.zone;
        let today = timestamp(wall_ns).to_zoned(zone.clone()).date();
        let mut next: Option<u64> = None;
        for days in -1..=DAYS {
            let Ok(day) = today.checked_add(days.days()) else { continue };
            for (_, span) in self.calendar.on(day) {
                let end_day = if span.end <= span.begin { day.tomorrow().ok() } else { Some(day) };
                for (day, minute) in [(Some(day), span.begin), (end_day, span.end)] {
                    let at = day.and_then(|day| self.at(day, minute)).filter(|at| *at > wall_ns);
                    next = match (next, at) {
                        (Some(known), Some(at)) => Some(known.min(at)),
                        (known, at) => known.or(at),
                    };
                }
            }
        }
        let far = today.checked_add(DAYS.days()).ok().and_then(|day| self.at(day, 0));
        next.or(far)
    }

    /// A minute of a day as nanoseconds since the epoch.
    fn at(&self, day: Date, minute: u16) -> Option<u64> {
        u64::try_from(self.calendar.at(day, minute)?.as_nanosecond()).ok()
    }
}

fn timestamp(wall_ns: u64) -> Timestamp {
    Timestamp::from_nanosecond(i128::from(wall_ns)).unwrap_or_default()
}
