//! Which events are as good as counted: those of one process on one connection by one call, where every rule that is
//! left is false or true on all of them, and those that are true only count. See `rampart_common::stream`.

use rampart_common::{event::Family, pushdown::Mask};
use rampart_rules::{
    catalog::{EventId, FieldId, ids},
    comparisons::{ComparisonId, Expression},
    rule::Rule,
    typed::{FieldUse, Right, Test},
    value::{FieldArg, FieldSource, Truth, Value},
    window::Threshold,
};

use super::{
    Plan, interval,
    known::is_of_tuple,
    process::{ProcessFields, Scope, scope},
};
use crate::{
    engine::{
        fields::{EventFields, Facts, View},
        push::Stream,
    },
    event::syscall::{self, Row},
};

impl Plan {
    /// Whether events of a row can be counted for some rule.
    pub(super) fn streams_on(&self, row: &Row) -> bool {
        let rest = self.by_event.get(&row.event).map_or(&[][..], Vec::as_slice);
        // What depends on the place in the stream, or on datagrams, needs every event.
        !self.needs_all && !self.needs_peers && rest.iter().any(|(at, rest)| self.counts_on(*at, rest, row))
    }

    /// Names of the events that can be counted in the kernel for an enabled rule, by its position.
    pub fn counted_events(&self, rule: usize) -> Vec<&'static str> {
        let counts = |event: &EventId| {
            let row = syscall::by_event(*event)?;
            let (at, rest) = self.by_event.get(event)?.iter().find(|(at, _)| *at == rule)?;
            self.counts_on(*at, rest, row).then(|| event.def().map(|def| def.name)).flatten()
        };
        let mut names: Vec<&str> = self.streams.iter().filter_map(counts).collect();
        names.sort_unstable();
        names
    }

    fn counts_on(&self, at: usize, rest: &Expression, row: &Row) -> bool {
        if row.family != Family::Net || self.policy().rules().get(at).and_then(threshold).is_none() {
            return false;
        }
        let mut all = true;
        rest.for_each(&mut |id| all &= self.comparisons.test(id).is_some_and(|test| is_shared(test, row)));
        all
    }

    /// What is counted of the events that are like this one, which a mask leaves rules for.
    pub(super) fn stream_of(&self, facts: &Facts<'_>, candidates: &Mask) -> Option<Stream> {
        let row = facts.row();
        let mut stream = Stream::default();
        let mut matching = Vec::new();
        for (at, rest) in self.by_event.get(&row.event)? {
            if !self.bits.contains(row.family, candidates, *at) {
                continue;
            }
            let mut truth = self.truth_of(rest, facts, Scope::Process)?;
            if truth == Truth::Unknown {
                truth = self.truth_of(rest, facts, Scope::Epoch)?;
                stream.depends_on_epoch = true;
            }
            match truth {
                Truth::False => {}
                Truth::Unknown => return None,
                Truth::True => {
                    stream.add(self.policy().rules().get(*at).and_then(threshold)?);
                    matching.push(*at);
                }
            }
        }
        stream.matching = self.bits.mask(row.family, matching.iter().copied());
        (!matching.is_empty()).then_some(stream)
    }

    /// What remains of a rule on all events of the stream.
    fn truth_of(&self, rest: &Expression, facts: &Facts<'_>, known: Scope) -> Option<Truth> {
        let plain = EventFields::new(facts, View::Lexical);
        let process = ProcessFields::new(facts, EventFields::new(facts, View::Lexical), known)?;
        let shared = Shared { plain, process };
        Some(rest.truth(&mut |id: ComparisonId| {
            let Some(test) = self.comparisons.test(id) else { return Truth::Unknown };
            result(test, facts.row())
                .unwrap_or_else(|| self.comparisons.evaluate(id, Some(facts.row().event), &shared))
        }))
    }

    /// Whether a rule, by its position, is one of those in a mask.
    pub(super) fn is_in(&self, family: Family, mask: &Mask, rule: &Rule) -> bool {
        let position = self.policy().position(rule.id);
        position.is_some_and(|position| {
            self.bits.bit(position, family).is_some() && self.bits.contains(family, mask, position)
        })
    }
}

/// The threshold of a rule that asks for nothing else before it, and of each event for no more than the connection, the
/// process and the result say.
fn threshold(rule: &Rule) -> Option<&Threshold> {
    let threshold = rule.window.as_ref()?.only_counts()?;
    let by = threshold.by.iter().all(|field| is_told(field.id, field.arg.as_ref()));
    let sum = threshold.sum.as_ref().is_none_or(|field| field.id == ids::EVT_RAWRES);
    (by && sum).then_some(threshold)
}

/// Whether a comparison may be the same on all events of a stream.
fn is_shared(test: &Test, row: &Row) -> bool {
    if let Some(truth) = result(test, row) {
        return truth != Truth::Unknown;
    }
    let mut all = true;
    let mut look = |used: &FieldUse| all &= is_told(used.id, used.arg.as_ref());
    test.left.for_each_field(&mut look);
    if let Right::Source(right) = &test.right {
        right.for_each_field(&mut look);
    }
    all
}

/// What a comparison with the result gives when that is above zero; `None` when it is about something else.
fn result(test: &Test, row: &Row) -> Option<Truth> {
    let (low, high) = interval::of(test, row, false)?;
    Some(interval::truth(test, (low.max(1), high)))
}

/// Whether a field is one of those that all events of a stream share.
fn is_told(field: FieldId, arg: FieldArg<'_>) -> bool {
    scope(field, arg) != Scope::Event || is_of_connection(field)
}

/// Whether a field is told by the socket and its two ends, or by the type of the event.
fn is_of_connection(field: FieldId) -> bool {
    is_of_tuple(field)
        || matches!(
            field,
            ids::FD_TYPE
                | ids::FD_TYPECHAR
                | ids::FD_SOCKFAMILY
                | ids::FD_L4PROTO
                | ids::FD_CIP_NAME
                | ids::FD_SIP_NAME
                | ids::FD_LIP_NAME
                | ids::FD_RIP_NAME
                | ids::TRADING_VENUE
                | ids::TRADING_VENUE_KIND
                | ids::TRADING_VENUE_LISTED
                | ids::EVT_TYPE
                | ids::EVT_FAILED
        )
}

/// The fields of an event that all events of its stream share.
struct Shared<'e, 'f> {
    plain: EventFields<'e, 'f>,
    process: ProcessFields<'e, 'f>,
}

impl FieldSource for Shared<'_, '_> {
    fn field<'a>(&'a self, field: FieldId, arg: FieldArg<'_>) -> Value<'a> {
        if is_of_connection(field) { self.plain.field(field, arg) } else { self.process.field(field, arg) }
    }
}
