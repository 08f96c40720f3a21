//! Loaded rules: what alerts need to know of them, and the program that finds which of them an event matches.

use std::{fmt, str::FromStr, sync::Arc};

use crate::{
    catalog::{EVENTS, EventId, FieldId},
    event_set::EventSet,
    output::OutputFormat,
    program::{Memo, Program, Shared},
    response::Responses,
    source::Span,
    typed::Node,
    typed::{FieldUse, Right},
    value::{FieldSource, Truth},
    window::Window,
};

/// How severe a match is; a smaller number is worse.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Priority {
    /// The system is unusable.
    Emergency = 0,
    /// Action must be taken at once.
    Alert = 1,
    /// Critical condition.
    Critical = 2,
    /// Error condition.
    Error = 3,
    /// Warning condition.
    Warning = 4,
    /// Normal but significant.
    Notice = 5,
    /// Informational.
    Informational = 6,
    /// Of use for debugging only.
    Debug = 7,
}

/// A rule of a [`RuleSet`], counted from 0 over all loaded rules in definition order, disabled ones included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RuleId(pub u32);

/// How many rules may match one event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Matching {
    /// The first in definition order.
    #[default]
    First,
    /// All.
    All,
}

/// A loaded rule.
#[derive(Clone, Debug)]
pub struct Rule {
    /// Its id.
    pub id: RuleId,
    /// Name, unique.
    pub name: String,
    /// What it detects.
    pub desc: String,
    /// Severity of its matches.
    pub priority: Priority,
    /// Tags, sorted, each once.
    pub tags: Vec<String>,
    /// Source of its events.
    pub source: String,
    /// Whether it is evaluated.
    pub enabled: bool,
    /// Text of its alerts.
    pub output: OutputFormat,
    /// Event types it can match.
    pub events: EventSet,
    /// Its condition, typed.
    pub condition: Node,
    /// Its condition with macros and lists resolved, as text.
    pub condition_text: String,
    /// What it asks for beyond the condition.
    pub window: Option<Arc<Window>>,
    /// What is to be done about its matches.
    pub responses: Option<Arc<Responses>>,
    /// Where it is defined.
    pub span: Span,
}

/// Compiled rules.
#[derive(Debug)]
pub struct RuleSet {
    rules: Vec<Rule>,
    programs: Vec<Program>,
    disabled: Vec<Rule>,
    events: EventSet,
    /// Positions in `rules` for each event type, in definition order.
    by_event: Vec<Box<[u32]>>,
    matching: Matching,
    strict: bool,
}

impl Rule {
    /// Whether an event that its condition holds for may be no match all the same, because of other events or the time.
    /// Such a rule never ends the search for the first match by itself.
    pub fn is_conditional(&self) -> bool {
        self.window.as_ref().is_some_and(|window| window.is_conditional())
    }

    /// Whether its condition or its output asks for a field that `is_one` accepts.
    pub fn uses(&self, is_one: impl Fn(FieldId) -> bool) -> bool {
        let mut found = self.output.fields().any(|field| is_one(field.field));
        self.condition.for_each_test(&mut |test| {
            let mut look = |used: &FieldUse| found |= is_one(used.id);
            test.left.for_each_field(&mut look);
            if let Right::Source(right) = &test.right {
                right.for_each_field(&mut look);
            }
        });
        found
    }
}

impl RuleSet {
    /// Compiles rules given in definition order.
    pub(crate) fn new(rules: Vec<Rule>, matching: Matching, strict: bool) -> Self {
        let (rules, disabled): (Vec<Rule>, Vec<Rule>) = rules.into_iter().partition(|rule| rule.enabled);
        let shared = Shared::new(rules.iter().map(|rule| &rule.condition), strict);
        let programs = rules.iter().map(|rule| Program::new(&rule.condition, strict, &shared)).collect();
        let events = rules.iter().fold(EventSet::EMPTY, |all, rule| all.union(&rule.events));
        let by_event = (0..EVENTS.len() as u16)
            .map(|event| {
                let tried = rules.iter().zip(0..).filter(|(rule, _)| rule.events.contains(EventId(event)));
                tried.map(|(_, index)| index).collect()
            })
            .collect();
        Self { rules, programs, disabled, events, by_event, matching, strict }
    }

    /// The enabled rules in definition order.
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// The rules that are loaded but not evaluated, in definition order.
    pub fn disabled(&self) -> &[Rule] {
        &self.disabled
    }

    /// Event types that any enabled rule can match.
    pub fn events(&self) -> &EventSet {
        &self.events
    }

    /// The enabled rules tried on an event type, in definition order.
    pub fn rules_of(&self, event: EventId) -> impl Iterator<Item = &Rule> {
        self.tried(event).iter().filter_map(|&index| self.rules.get(index as usize))
    }

    /// Whether upstream's faults are reproduced.
    pub fn strict(&self) -> bool {
        self.strict
    }

    /// How many rules may match one event.
    pub fn matching(&self) -> Matching {
        self.matching
    }

    /// Evaluates the rules of an event type and calls `on_match` with those that are true: the first or all. Rules that
    /// are conditional (see [`Rule::is_conditional`]) are no end of the search: the caller knows when one counts.
    pub fn evaluate<S: FieldSource>(&self, event: EventId, source: &S, mut on_match: impl FnMut(&Rule)) {
        self.evaluate_partial(event, source, |rule, truth| {
            if truth == Truth::True {
                on_match(rule);
            }
        });
    }

    /// Like [`RuleSet::evaluate`] for a source that does not know every field yet: also calls `on_rule` with rules
    /// that depend on an unknown field, as far as they come before the first that is true.
    pub fn evaluate_partial<S: FieldSource>(
        &self,
        event: EventId,
        source: &S,
        on_rule: impl FnMut(&Rule, Truth),
    ) {
        self.evaluate_among(event, source, |_| true, on_rule);
    }

    /// Like [`RuleSet::evaluate_partial`] for those rules only whose position in [`RuleSet::rules`] `among` accepts;
    /// the others must be known to be false.
    pub fn evaluate_among<S: FieldSource>(
        &self,
        event: EventId,
        source: &S,
        mut among: impl FnMut(usize) -> bool,
        mut on_rule: impl FnMut(&Rule, Truth),
    ) {
        let mut memo = Memo::default();
        for &index in self.tried(event) {
            if !among(index as usize) {
                continue;
            }
            let (Some(rule), Some(program)) =
                (self.rules.get(index as usize), self.programs.get(index as usize))
            else {
                continue;
            };
            let truth = program.evaluate(Some(event), source, &mut memo);
            if truth != Truth::False {
                on_rule(rule, truth);
            }
            if truth == Truth::True && self.matching == Matching::First && !rule.is_conditional() {
                return;
            }
        }
    }

    /// An enabled rule by its id.
    pub fn rule(&self, id: RuleId) -> Option<&Rule> {
        self.rules.get(self.position(id)?)
    }

    /// Where in [`RuleSet::rules`] an enabled rule is.
    pub fn position(&self, id: RuleId) -> Option<usize> {
        self.rules.binary_search_by_key(&id, |candidate| candidate.id).ok()
    }

    /// Evaluates one enabled rule; its event type is asked from the source too. `False` for any other rule.
    pub fn evaluate_rule<S: FieldSource>(&self, rule: RuleId, source: &S) -> Truth {
        let program = self.position(rule).and_then(|index| self.programs.get(index));
        program.map_or(Truth::False, |program| program.evaluate(None, source, &mut Memo::default()))
    }

    fn tried(&self, event: EventId) -> &[u32] {
        self.by_event.get(usize::from(event.0)).map_or(&[], |tried| tried)
    }
}

/// Name of a rule in metrics: letters, digits and `:` stay, every run of others becomes one `_`, none at the end.
pub fn metric_name(rule: &str) -> String {
    let mut out = String::with_capacity(rule.len());
    for character in rule.chars() {
        if character.is_ascii_alphanumeric() || character == ':' {
            out.push(character);
        } else if !out.ends_with('_') {
            out.push('_');
        }
    }
    out.truncate(out.trim_end_matches('_').len());
    out
}

impl Priority {
    /// All, worst first.
    pub const ALL: [Self; 8] = [
        Self::Emergency,
        Self::Alert,
        Self::Critical,
        Self::Error,
        Self::Warning,
        Self::Notice,
        Self::Informational,
        Self::Debug,
    ];

    /// Spelling in alerts.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Emergency => "Emergency",
            Self::Alert => "Alert",
            Self::Critical => "Critical",
            Self::Error => "Error",
            Self::Warning => "Warning",
            Self::Notice => "Notice",
            Self::Informational => "Informational",
            Self::Debug => "Debug",
        }
    }
}

impl fmt::Display for Priority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A text that names no priority.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown priority")]
pub struct UnknownPriority;

impl FromStr for Priority {
    type Err = UnknownPriority;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.eq_ignore_ascii_case("info") {
            return Ok(Self::Informational);
        }
        let named = |priority: &Self| priority.as_str().eq_ignore_ascii_case(text);
        Self::ALL.into_iter().find(named).ok_or(UnknownPriority)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn priorities_are_read_in_any_case_and_written_in_one() {
        assert_eq!("INFO".parse(), Ok(Priority::Informational));
        assert_eq!("warning".parse(), Ok(Priority::Warning));
        assert_eq!("".parse::<Priority>(), Err(UnknownPriority));
        assert_eq!(Priority::Informational.to_string(), "Informational");
        assert!(Priority::ALL.is_sorted() && Priority::Emergency < Priority::Debug);
    }
}
