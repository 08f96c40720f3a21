//! What is remembered of events by key, and whether one of them is a match.

use rustc_hash::FxHashMap;

use super::{Sequence, Threshold, Throttle, Window, key::Key, table::Table};
use crate::{
    rule::{Rule, RuleId},
    value::{FieldSource, Truth, Value},
};

/// Counters since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Keys that are remembered now.
    pub keys: u64,
    /// Memory they take, bytes, about.
    pub bytes: u64,
    /// Keys that were forgotten for lack of room before their time was over.
    pub evicted: u64,
    /// Events that were no match yet or not any more, by [`Withheld`].
    pub withheld: [u64; Withheld::ALL.len()],
}

/// Why an event that a condition holds for is no match.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Withheld {
    /// The rule does not count at this time.
    Inactive = 0,
    /// What must come before has not come.
    Sequence = 1,
    /// There have not been enough of them.
    Threshold = 2,
    /// There have been too many alerts.
    Throttle = 3,
}

impl Withheld {
    /// All.
    pub const ALL: [Self; 4] = [Self::Inactive, Self::Sequence, Self::Threshold, Self::Throttle];

    /// The word in metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Inactive => "inactive",
            Self::Sequence => "sequence",
            Self::Threshold => "threshold",
            Self::Throttle => "throttle",
        }
    }
}

/// When an event happened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moment {
    /// On a clock that is never set, nanoseconds.
    pub steady_ns: u64,
    /// Seconds since the epoch as the node's own zone shows them.
    pub local_secs: i64,
    /// Events like this one that were counted before it.
    pub earlier: Earlier,
}

/// Events that the condition held for too, counted by somebody else.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Earlier {
    /// How many.
    pub events: u64,
    /// The sum of their results.
    pub sum: u64,
    /// When the first of them happened, on the clock of [`Moment::steady_ns`].
    pub since_ns: u64,
}

/// What is remembered for all rules of a set.
#[derive(Debug, Default)]
pub struct Windows {
    rules: FxHashMap<RuleId, State>,
    bytes: usize,
    evicted: u64,
    withheld: [u64; Withheld::ALL.len()],
}

/// What is remembered for a rule.
#[derive(Debug, Default)]
struct State {
    sequence: Table<Vec<Option<u64>>>,
    threshold: Table<Vec<(u64, u64)>>,
    throttle: Table<u64>,
}

/// Memory for all keys together, bytes.
pub(super) const BYTES_MAX: usize = 16 << 20;
/// Parts of its time in which a threshold counts larger numbers. Such a count may fall short by the events of one part,
/// and is never too high.
pub const PARTS: u64 = 64;

impl Windows {
    /// Forgets everything but the counters; rule ids are about to mean other rules.
    pub fn clear(&mut self) {
        self.rules.clear();
        self.bytes = 0;
    }

    /// Counters since the start.
    pub fn counts(&self) -> Counts {
        let keys: usize = self.rules.values().map(State::len).sum();
        Counts { keys: keys as u64, bytes: self.bytes as u64, evicted: self.evicted, withheld: self.withheld }
    }

    /// Takes in an event that the rule's condition holds for; says whether it is a match that is to be told.
    pub fn passes<S: FieldSource>(
        &mut self,
        rule: &Rule,
        source: &S,
        moment: Moment,
    ) -> Result<(), Withheld> {
        let Some(window) = &rule.window else { return Ok(()) };
        let passed = self.look(rule.id, window, source, moment);
        if let Err(reason) = passed
            && let Some(count) = self.withheld.get_mut(reason as usize)
        {
            *count += 1;
        }
        if let Some(count) = self.withheld.get_mut(Withheld::Threshold as usize) {
            *count += moment.earlier.events;
        }
        self.make_room();
        passed
    }

    fn look<S: FieldSource>(
        &mut self,
        rule: RuleId,
        window: &Window,
        source: &S,
        moment: Moment,
    ) -> Result<(), Withheld> {
        if window.active.as_ref().is_some_and(|cron| !cron.contains(moment.local_secs)) {
            return Err(Withheld::Inactive);
        }
        let state = self.rules.entry(rule).or_default();
        let before = state.bytes();
        let passed = state.passes(window, source, moment, &mut self.evicted);
        self.bytes = (self.bytes + state.bytes()).saturating_sub(before);
        passed
    }

    /// Keeps the memory of all rules bounded: the largest table gives up what is oldest.
    fn make_room(&mut self) {
        while self.bytes > BYTES_MAX {
            let Some(state) = self.rules.values_mut().max_by_key(|state| state.bytes()) else { return };
            let before = state.bytes();
            self.evicted += state.shrink();
            let after = state.bytes();
            self.bytes = self.bytes.saturating_sub(before - after);
            if before == after {
                return;
            }
        }
    }
}

impl State {
    fn len(&self) -> usize {
        self.sequence.len() + self.threshold.len() + self.throttle.len()
    }

    fn bytes(&self) -> usize {
        self.sequence.bytes() + self.threshold.bytes() + self.throttle.bytes()
    }

    fn shrink(&mut self) -> u64 {
        let (sequence, threshold, throttle) =
            (self.sequence.bytes(), self.threshold.bytes(), self.throttle.bytes());
        if sequence >= threshold.max(throttle) {
            self.sequence.shrink()
        } else if threshold >= throttle {
            self.threshold.shrink()
        } else {
            self.throttle.shrink()
        }
    }

    fn passes<S: FieldSource>(
        &mut self,
        window: &Window,
        source: &S,
        moment: Moment,
        evicted: &mut u64,
    ) -> Result<(), Withheld> {
        let now = moment.steady_ns;
        if let Some(sequence) = &window.sequence
            && !self.follows(sequence, source, now, evicted)
        {
            return Err(Withheld::Sequence);
        }
        if let Some(threshold) = &window.threshold
            && !self.is_enough(threshold, source, moment, evicted)
        {
            return Err(Withheld::Threshold);
        }
        if let Some(throttle) = &window.throttle
            && !self.may_tell(throttle, source, now, evicted)
        {
            return Err(Withheld::Throttle);
        }
        Ok(())
    }

    /// Whether the event ends a sequence; steps that it is are noted. For each step the latest beginning of a sequence
    /// that has come so far is kept.
    fn follows<S: FieldSource>(
        &mut self,
        sequence: &Sequence,
        source: &S,
        now: u64,
        evicted: &mut u64,
    ) -> bool {
        let within = |start: &u64| now.saturating_sub(*start) <= sequence.within_ns;
        let mut ended = false;
        if sequence.last.evaluate(None, source) == Truth::True {
            let key = Key::of(&sequence.by, source);
            let begun = self.sequence.get(&key).and_then(|starts| starts.last().copied().flatten());
            ended = begun.as_ref().is_some_and(within);
            if ended {
                self.sequence.remove(&key);
            }
        }
        // From the last step to the first, so that one event is no two steps of the same sequence.
        for (at, step) in sequence.steps.iter().enumerate().rev() {
            if step.holds.evaluate(None, source) != Truth::True {
                continue;
            }
            let key = Key::of(&step.by, source);
            let start = match at.checked_sub(1) {
                None => Some(now),
                Some(before) => {
                    let starts = self.sequence.get(&key);
                    starts.and_then(|starts| starts.get(before).copied().flatten()).filter(within)
                }
            };
            let Some(start) = start else { continue };
            let width = sequence.steps.len();
            *evicted += self.sequence.entry(key, now, sequence.within_ns, |starts| {
                starts.resize(width, None);
                if let Some(slot) = starts.get_mut(at) {
                    *slot = (*slot).max(Some(start));
                }
            });
        }
        ended
    }

    /// Whether the event is the one that makes the number full, which then begins anew.
    fn is_enough<S: FieldSource>(
        &mut self,
        threshold: &Threshold,
        source: &S,
        moment: Moment,
        evicted: &mut u64,
    ) -> bool {
        let Moment { steady_ns: now, earlier, .. } = moment;
        let key = Key::of(&threshold.by, source);
        let mut full = false;
        let span = threshold.within_ns;
        // So few that each has a mark of its own.
        let is_exact = threshold.sum.is_none() && threshold.count <= PARTS;
        let amount =
            threshold.sum.as_ref().map_or(1, |field| amount(&source.field(field.id, field.arg.as_ref())));
        let before = if threshold.sum.is_some() { earlier.sum } else { earlier.events };
        *evicted += self.threshold.entry(key.clone(), now, span, |marks| {
            marks.retain(|(at, _)| now.saturating_sub(*at) < span);
            let part = if is_exact { 0 } else { span / PARTS };
            if before > 0 && now.saturating_sub(earlier.since_ns) < span {
                mark(marks, earlier.since_ns, part, before);
            }
            mark(marks, now, part, amount);
            let sum = marks.iter().fold(0u64, |sum, (_, count)| sum.saturating_add(*count));
            full = sum >= threshold.count;
        });
        if full {
            self.threshold.remove(&key);
        }
        full
    }

    /// Whether another alert may be told: one word, the time at which nothing of the burst is used.
    fn may_tell<S: FieldSource>(
        &mut self,
        throttle: &Throttle,
        source: &S,
        now: u64,
        evicted: &mut u64,
    ) -> bool {
        let cost = (throttle.per_ns / u64::from(throttle.burst.max(1))).max(1);
        let key = Key::of(&throttle.by, source);
        let mut may = false;
        *evicted += self.throttle.entry(key, now, throttle.per_ns, |unused_at| {
            let next = (*unused_at).max(now) + cost;
            // What is lost by rounding must not cost an alert.
            may = next - now <= throttle.per_ns.max(cost);
            if may {
                *unused_at = next;
            }
        });
        may
    }
}

/// Adds an amount at a time to the marks, which are in order: to one that began less than a part of the whole time before,
/// or as one of its own. So nothing counts for longer than it should.
fn mark(marks: &mut Vec<(u64, u64)>, at: u64, part: u64, amount: u64) {
    let place = marks.partition_point(|(begun, _)| *begun <= at);
    match place.checked_sub(1).and_then(|last| marks.get_mut(last)) {
        Some((begun, count)) if at - *begun < part => *count = count.saturating_add(amount),
        _ => marks.insert(place, (at, amount)),
    }
}

/// What a value adds to a sum; nothing when it is no number or below zero.
fn amount(value: &Value<'_>) -> u64 {
    match value {
        Value::Uint(number) => *number,
        Value::Int(number) => u64::try_from(*number).unwrap_or(0),
        _ => 0,
    }
}
