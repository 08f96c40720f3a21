//! What every channel has: how urgent, which alerts, which words, how many at a time, and when.

use std::time::Duration;

use jiff::tz::TimeZone;
use serde::Deserialize;

use super::wrong;
use crate::{
    alert::{NoPriority, Priority},
    config::ConfigError,
    notify::{
        group::{Common as InCommon, Grouping},
        quiet::{NoTimes, Quiet},
        route::Only,
        template::Template,
    },
};

/// Alerts of one message, unless something else is said, and at most: what is taken from the store at a time.
const GROUP: usize = 100;
const GROUP_MAX: usize = 256;
/// Longest window, seconds.
const WINDOW_MAX: u64 = 86_400;

/// Alerts by more than their priority.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Filter {
    rules: Vec<String>,
    nodes: Vec<String>,
    sources: Vec<String>,
}

/// `template`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Texts {
    title: Option<String>,
    body: Option<String>,
}

/// `grouping`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Groups {
    window_secs: Option<u64>,
    by: Option<Vec<String>>,
    max: Option<usize>,
}

/// `quiet`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Hours {
    time_zone: Option<String>,
    times: Vec<String>,
    outside: Vec<String>,
    dates: Vec<String>,
    except: Option<String>,
}

/// As written.
pub(super) struct Common<'a> {
    pub(super) minimumpriority: &'a str,
    pub(super) filter: &'a Filter,
    pub(super) template: &'a Texts,
    pub(super) grouping: &'a Groups,
    pub(super) quiet: &'a Hours,
}

/// As meant.
pub(super) struct Shared {
    pub(super) priority: Priority,
    pub(super) only: Only,
    pub(super) template: Template,
    pub(super) grouping: Option<Grouping>,
    pub(super) quiet: Option<Quiet>,
}

impl Common<'_> {
    /// Checks everything.
    pub(super) fn check(&self, name: &str) -> Result<Shared, ConfigError> {
        let Filter { rules, nodes, sources } = self.filter.clone();
        let priority = match self.minimumpriority {
            "" => Priority::Debug,
            word => priority(name, "minimumpriority", word)?,
        };
        let Texts { title, body } = self.template.clone();
        for (key, text) in [("template.title", &title), ("template.body", &body)] {
            if let Some(text) = text {
                Template::check(text).map_err(|problem| wrong(name, key, &problem))?;
            }
        }
        Ok(Shared {
            priority,
            only: Only { rules, nodes, sources },
            template: Template { title, body },
            grouping: self.grouping.check(name)?,
            quiet: self.quiet.check(name)?,
        })
    }
}

impl Groups {
    fn check(&self, name: &str) -> Result<Option<Grouping>, ConfigError> {
        let Some(secs) = self.window_secs else {
            return match (&self.by, self.max) {
                (None, None) => Ok(None),
                _ => Err(wrong(name, "grouping.window_secs", "say for how long alerts are put together")),
            };
        };
        if !(1..=WINDOW_MAX).contains(&secs) {
            return Err(wrong(name, "grouping.window_secs", &format!("use 1 to {WINDOW_MAX}")));
        }
        let common = |word: &String| {
            let found = InCommon::ALL.iter().find(|(name, _)| name == word);
            let words = InCommon::ALL.map(|(name, _)| name).join("`, `");
            found
                .map(|(_, common)| *common)
                .ok_or_else(|| wrong(name, "grouping.by", &format!("use `{words}`")))
        };
        let by = match &self.by {
            None => vec![InCommon::Rule],
            Some(words) => words.iter().map(common).collect::<Result<_, _>>()?,
        };
        let max = self.max.unwrap_or(GROUP);
        if !(1..=GROUP_MAX).contains(&max) {
            return Err(wrong(name, "grouping.max", &format!("use 1 to {GROUP_MAX}")));
        }
        Ok(Some(Grouping { window: Duration::from_secs(secs), by, max }))
    }
}

impl Hours {
    fn check(&self, name: &str) -> Result<Option<Quiet>, ConfigError> {
        let Self { time_zone, times, outside, dates, except } = self;
        if times.is_empty() && outside.is_empty() && dates.is_empty() {
            return match (time_zone, except) {
                (None, None) => Ok(None),
                _ => Err(wrong(name, "quiet", "say when: `times`, `outside` or `dates`")),
            };
        }
        if !times.is_empty() && !outside.is_empty() {
            return Err(wrong(name, "quiet.outside", "use `times` or `outside`, not both"));
        }
        let place = time_zone.as_deref().unwrap_or("UTC");
        let zone = TimeZone::get(place).map_err(|_| {
            wrong(name, "quiet.time_zone", &format!("`{place}` is no time zone, use such as `Europe/London`"))
        })?;
        let (key, words) =
            if outside.is_empty() { ("quiet.times", times) } else { ("quiet.outside", outside) };
        let parsed = words.iter().map(|text| text.parse()).collect::<Result<Vec<_>, NoTimes>>();
        let date = |text: &String| {
            text.parse()
                .map_err(|_| wrong(name, "quiet.dates", &format!("`{text}` is no date such as 2026-12-25")))
        };
        Ok(Some(Quiet {
            zone,
            times: parsed.map_err(|error| wrong(name, key, &error.to_string()))?,
            is_outside: !outside.is_empty(),
            dates: dates.iter().map(date).collect::<Result<_, _>>()?,
            except: except.as_deref().map(|word| priority(name, "quiet.except", word)).transpose()?,
        }))
    }
}

fn priority(name: &str, key: &str, word: &str) -> Result<Priority, ConfigError> {
    word.parse().map_err(|error: NoPriority| wrong(name, key, &error.to_string()))
}
