//! What a rule asks for beyond one event: a number of events, a pause between alerts, a time, an order of events.
//!
//! A [`Window`] is what the rule file says; [`Windows`] counts, on event time, in bounded memory. It is told of each
//! event that a rule's condition holds for and says whether that is a match. Falco does not know these keys and ignores
//! them, so a file may serve both: there the condition alone decides.

mod cron;
mod key;
mod state;
mod table;

use std::{fmt, sync::Arc};

pub use self::{
    cron::Cron,
    state::{Counts, Earlier, Moment, PARTS, Windows, Withheld},
};
use crate::{
    catalog::FieldId,
    filter::Filter,
    typed::{Arg, FieldUse},
};

/// Most events, or the largest sum, that a threshold may wait for.
pub const COUNT_MAX: u64 = 1 << 40;
/// Most alerts of a throttle.
pub const BURST_MAX: u64 = 1_000_000;
/// Longest time of a window, milliseconds: a week.
pub const WITHIN_MAX_MS: u64 = 7 * 24 * 3_600_000;
/// Most fields of a key.
pub const BY_MAX: usize = 8;
/// Most steps of a sequence before the condition itself.
pub const STEPS_MAX: usize = 8;

/// What a rule asks for beyond its condition.
#[derive(Debug)]
pub struct Window {
    /// How many events it takes.
    pub threshold: Option<Threshold>,
    /// How often it may be told.
    pub throttle: Option<Throttle>,
    /// When it counts at all. Sessions are part of the rule's condition.
    pub active: Option<Cron>,
    /// What must have come before.
    pub sequence: Option<Sequence>,
}

/// `count` events `within` a time, by key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Threshold {
    /// Events, or the sum of a field over them.
    pub count: u64,
    /// The field that is summed up; `None` counts events.
    pub sum: Option<FieldUse>,
    /// Time, nanoseconds.
    pub within_ns: u64,
    /// Fields whose values tell what is counted together.
    pub by: Vec<FieldUse>,
}

/// `burst` alerts at once, and as many `per` a time, by key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Throttle {
    /// Alerts.
    pub burst: u32,
    /// Time, nanoseconds.
    pub per_ns: u64,
    /// Fields whose values tell what is counted together.
    pub by: Vec<FieldUse>,
}

/// Steps in order, then the condition, by key.
#[derive(Debug)]
pub struct Sequence {
    /// What comes before, in order.
    pub steps: Vec<Step>,
    /// The condition that the rule is named for.
    pub last: Arc<Filter>,
    /// Time from the first step to the last, nanoseconds.
    pub within_ns: u64,
    /// Fields of the last event.
    pub by: Vec<FieldUse>,
}

/// A step.
#[derive(Debug)]
pub struct Step {
    /// Its condition.
    pub holds: Arc<Filter>,
    /// Its fields, compared with those of the other steps by position.
    pub by: Vec<FieldUse>,
}

impl Window {
    /// Whether an event that the condition holds for may be no match at all.
    pub fn is_conditional(&self) -> bool {
        self.threshold.is_some() || self.sequence.is_some() || self.active.is_some()
    }

    /// Its threshold, when every event that the condition holds for counts the same at any time.
    pub fn only_counts(&self) -> Option<&Threshold> {
        let plain = self.active.is_none() && self.sequence.is_none();
        self.threshold.as_ref().filter(|_| plain)
    }

    /// Calls `f` with each field that it asks for beside the condition.
    pub fn for_each_field(&self, f: &mut impl FnMut(&FieldUse)) {
        let threshold = self.threshold.iter().flat_map(|threshold| threshold.by.iter().chain(&threshold.sum));
        let throttle = self.throttle.iter().flat_map(|throttle| &throttle.by);
        let sequence = self
            .sequence
            .iter()
            .flat_map(|sequence| sequence.by.iter().chain(sequence.steps.iter().flat_map(|step| &step.by)));
        threshold.chain(throttle).chain(sequence).for_each(f);
    }
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut between = "";
        let mut part = |f: &mut fmt::Formatter<'_>, text: fmt::Arguments<'_>| {
            f.write_str(std::mem::replace(&mut between, "; "))?;
            f.write_fmt(text)
        };
        if let Some(cron) = &self.active {
            part(f, format_args!("only at `{cron}`"))?;
        }
        if let Some(sequence) = &self.sequence {
            let steps: Vec<&str> = sequence.steps.iter().map(|step| step.holds.text()).collect();
            let (steps, span) = (steps.join(", then "), Span(sequence.within_ns));
            part(f, format_args!("only within {span} after {steps}{}", By(&sequence.by)))?;
        }
        if let Some(threshold) = &self.threshold {
            let (count, span) = (threshold.count, Span(threshold.within_ns));
            match &threshold.sum {
                None => part(f, format_args!("at {count} of them within {span}{}", By(&threshold.by)))?,
                Some(field) => {
                    part(
                        f,
                        format_args!(
                            "at a sum of {count} of {} within {span}{}",
                            field.id,
                            By(&threshold.by)
                        ),
                    )?;
                }
            }
        }
        if let Some(throttle) = &self.throttle {
            let (burst, span) = (throttle.burst, Span(throttle.per_ns));
            part(f, format_args!("at most {burst} alerts in {span}{}", By(&throttle.by)))?;
        }
        Ok(())
    }
}

/// Fields behind `by`.
struct By<'w>(&'w [FieldUse]);

impl fmt::Display for By<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, field) in self.0.iter().enumerate() {
            f.write_str(if at == 0 { " by " } else { ", " })?;
            name(field.id, &field.arg, f)?;
        }
        Ok(())
    }
}

fn name(id: FieldId, arg: &Arg, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match arg {
        Arg::None => write!(f, "{id}"),
        Arg::Index(index) => write!(f, "{id}[{index}]"),
        Arg::Key(key) => write!(f, "{id}[{key}]"),
    }
}

/// Nanoseconds as people write them.
struct Span(u64);

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = self.0 / 1_000_000;
        match ms {
            ms if ms % 3_600_000 == 0 => write!(f, "{}h", ms / 3_600_000),
            ms if ms % 60_000 == 0 => write!(f, "{}m", ms / 60_000),
            ms if ms % 1000 == 0 => write!(f, "{}s", ms / 1000),
            ms => write!(f, "{ms}ms"),
        }
    }
}

#[cfg(test)]
mod tests;
