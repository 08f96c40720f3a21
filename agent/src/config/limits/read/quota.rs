//! Quotas as written.

use std::{collections::BTreeMap, sync::Arc};

use jiff::civil;

use super::Section;
use crate::{
    config::trading::Calendar,
    limits::{
        quota::{Period, Quota, TradingDays},
        rate,
    },
};

/// Settings below a policy's `quota`.
const QUOTA_KEYS: [&str; 4] = ["amount", "per", "at", "calendar"];
/// Times a quota may be for.
const PERIODS: [&str; 3] = ["day", "month", "session"];

impl Section<'_> {
    /// `{amount: 10G, per: day, at: "09:30"}`, or `{amount: 10G, per: session, calendar: xetra}`.
    pub(super) fn quota(&mut self, calendars: &BTreeMap<String, Calendar>) -> Option<Quota> {
        let value = self.take("quota")?;
        let (full, place) = (format!("{}.quota", self.path), self.place_of("quota"));
        let mut section = Section::open(self.raw, &full, value, &place, &QUOTA_KEYS)?;
        let period = match section.choice("per", &PERIODS, "day") {
            "month" => Some(Period::Month),
            "session" => section.trading(calendars).map(Period::Session),
            _ => Some(Period::Day),
        };
        if !matches!(period, Some(Period::Session(_)) | None) && section.entries.contains_key("calendar") {
            let help = Some("set `per: session`, or leave `calendar` out".to_owned());
            let place = section.place_of("calendar");
            section.raw.fault(place, format!("`{full}.calendar` is for a quota per session"), help);
        }
        if matches!(period, Some(Period::Session(_))) && section.entries.contains_key("at") {
            let help = Some("leave `at` out: the calendar says when sessions begin".to_owned());
            let place = section.place_of("at");
            section.raw.fault(place, format!("`{full}.at` is for a quota per day or month"), help);
        }
        let at = match section.take("at") {
            None => Some(civil::Time::midnight()),
            Some(value) => {
                let at = value.as_str().and_then(|text| civil::Time::strptime("%H:%M", text.trim()).ok());
                if at.is_none() {
                    section.wrong("at", &value, "a time of day such as `\"09:30\"`");
                }
                at
            }
        };
        let amount = match section.take("amount") {
            None => {
                let help = Some("set it, such as `amount: 10G`".to_owned());
                section.raw.fault(place, format!("`{full}` has no amount"), help);
                None
            }
            Some(value) => {
                let amount = value.as_u64().or_else(|| value.as_str().and_then(rate::amount));
                let amount = amount.filter(|amount| *amount > 0);
                if amount.is_none() {
                    section.wrong("amount", &value, "a number of units, or such as `500k`, `10G`");
                }
                amount
            }
        };
        Some(Quota { amount: amount?, period: period?, at: at? })
    }

    /// The calendar by which a quota begins anew.
    fn trading(&mut self, calendars: &BTreeMap<String, Calendar>) -> Option<Arc<TradingDays>> {
        let place = self.place_of("calendar");
        let Some(value) = self.take("calendar") else {
            let help = Some("set it to a name below `trading.calendars`".to_owned());
            self.raw.fault(place, format!("`{}` has no calendar", self.path), help);
            return None;
        };
        let name = value.as_str().unwrap_or_default().trim();
        let Some(calendar) = calendars.get(name) else {
            let known: Vec<String> = calendars.keys().map(|name| format!("`{name}`")).collect();
            let help = if known.is_empty() {
                "`trading.calendars` is empty".to_owned()
            } else {
                format!("`trading.calendars` has {}", known.join(", "))
            };
            self.raw.fault(place, format!("`{}.calendar` names no calendar", self.path), Some(help));
            return None;
        };
        Some(Arc::new(TradingDays { name: name.to_owned(), calendar: calendar.clone() }))
    }
}
