//! What comparisons give when only some facts of a call are known.
//!
//! The facts are written into records like those of the kernel, and the field getters asked about them; fields that the
//! facts do not decide are unknown. Facts that are not known but have few possible values (whether an open made the
//! file, whether it is a file of memory) are tried one by one: what gives the same in all is known.

use bumpalo::Bump;
use rampart_common::event::{
    EXTRA_OPEN_HOW, EventKind, FILE_CREATED, FILE_MEMFD, Family, FileFacts, RECORD_MAX,
};
use rampart_rules::{
    catalog::FieldId,
    comparisons::{ComparisonId, Comparisons},
    value::{FieldArg, FieldSource, Truth, Value},
};

use super::{
    interval,
    known::{Known, is_of_tuple},
    paths::{self, Paths, Presence},
    sockets::{self, Classes},
};
use crate::{
    engine::{
        clock::Clock,
        fields::{Context, EventFields, Facts, Position, Scratch, View},
    },
    event::{build::RecordBuilder, decode},
    state::State,
};

/// What comparisons are judged by, besides the facts of the call.
#[derive(Clone, Copy)]
pub(super) struct Rules<'p> {
    pub(super) comparisons: &'p Comparisons,
    pub(super) paths: &'p Paths,
    pub(super) classes: &'p Classes,
    /// A state without processes.
    pub(super) blank: &'p State,
    pub(super) clock: &'p Clock,
}

/// Truths of comparisons on a call, each worked out when it is asked for.
pub(super) struct Judge<'p> {
    rules: Rules<'p>,
    known: Known<'p>,
    records: Vec<Vec<u8>>,
    truths: Vec<Option<Truth>>,
}

impl<'p> Judge<'p> {
    pub(super) fn new(rules: Rules<'p>, known: Known<'p>) -> Self {
        Self { rules, known, records: records(&known), truths: vec![None; rules.comparisons.len()] }
    }

    /// What a comparison gives.
    pub(super) fn truth(&mut self, comparison: ComparisonId) -> Truth {
        let at = comparison.0 as usize;
        if let Some(Some(truth)) = self.truths.get(at) {
            return *truth;
        }
        let truth = self.work_out(comparison);
        if let Some(slot) = self.truths.get_mut(at) {
            *slot = Some(truth);
        }
        truth
    }

    fn work_out(&self, comparison: ComparisonId) -> Truth {
        let Rules { comparisons, paths, classes, .. } = self.rules;
        let Some(test) = comparisons.test(comparison) else { return Truth::Unknown };
        let Known { row, failed, path, .. } = self.known;
        if let Some(found) = paths.test(comparison) {
            match (paths::presence(test, row, failed), path) {
                (Some(Presence::Missing), _) => return Truth::False,
                (Some(Presence::Shown), Some(path)) => return found.truth(path),
                (Some(Presence::Shown | Presence::Unknown), _) => return Truth::Unknown,
                // Not about the path on this event.
                (None, _) => {}
            }
        }
        if let Some(range) = interval::of(test, row, failed) {
            return interval::truth(test, range);
        }
        // Classes of addresses and ports say nothing about comparisons with other values, or with sets that are too large.
        let plain = sockets::is_plain(test, |_| true) && !classes.leaves_out(comparison);
        let mut worlds = self.records.iter().map(|record| self.in_world(comparison, record, plain));
        let first = worlds.next().unwrap_or(Truth::Unknown);
        if worlds.all(|truth| truth == first) { first } else { Truth::Unknown }
    }

    fn in_world(&self, comparison: ComparisonId, record: &[u8], plain: bool) -> Truth {
        let Ok(event) = decode::decode(record) else { return Truth::Unknown };
        let (arena, scratch) = (Bump::new(), Scratch::default());
        let context = Context::nowhere(self.rules.blank, self.rules.clock, &arena, &scratch);
        let row = self.known.row;
        let facts = Facts::new(&event, row, context, Position::default());
        let fields = EventFields::new(&facts, View::Lexical);
        let source = Partly { known: &self.known, fields, plain };
        self.rules.comparisons.evaluate(comparison, Some(row.event), &source)
    }
}

/// The fields of a record as far as they are known.
struct Partly<'k, 'e, 'f> {
    known: &'k Known<'k>,
    fields: EventFields<'e, 'f>,
    plain: bool,
}

impl FieldSource for Partly<'_, '_, '_> {
    fn field<'a>(&'a self, field: FieldId, arg: FieldArg<'_>) -> Value<'a> {
        if !self.known.has(field, arg) || (!self.plain && is_of_tuple(field)) {
            return Value::Unknown;
        }
        self.fields.field(field, arg)
    }
}

/// Records of which each event with these facts is like one, in the fields that are known.
fn records(known: &Known<'_>) -> Vec<Vec<u8>> {
    let row = known.row;
    let succeeded_exec = row.family == Family::Exec && !known.failed;
    let kind = if succeeded_exec { EventKind::Exec } else { EventKind::Syscall };
    let mut record = RecordBuilder::new(kind, row.family);
    record.header.syscall = row.number.unwrap_or(u32::MAX);
    record.header.ret = if known.failed { -1 } else { 0 };
    let structure = row.plan.extra_kind == EXTRA_OPEN_HOW;
    for (argument, value) in known.numbers.iter().flatten().filter(|_| !structure) {
        if let Some(slot) = record.header.args.get_mut(usize::from(*argument)) {
            *slot = *value;
        }
    }
    if let (true, [Some((_, flags)), Some((_, mode)), Some((_, resolve))]) = (structure, known.numbers) {
        record = record.open_how(flags, mode, resolve);
    }
    let worlds: Vec<RecordBuilder> = match (row.family, known.socket) {
        (Family::Open, _) if !known.failed => [0, FILE_CREATED, FILE_MEMFD]
            .map(|flags| record.clone().file(&FileFacts { flags, ..FileFacts::default() }))
            .into(),
        (Family::Net, Some(ends)) => vec![record.socket(&ends.facts())],
        _ => vec![record],
    };
    let built: Vec<Vec<u8>> = worlds.iter().map(RecordBuilder::build).collect();
    debug_assert!(built.iter().all(|bytes| bytes.len() <= RECORD_MAX), "a record is a record");
    built
}
