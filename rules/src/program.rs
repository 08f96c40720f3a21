//! Conditions compiled for evaluation: constants hashed, patterns prepared, cheap comparisons first.
//!
//! Evaluation allocates nothing, except for transformers (which make new texts) and for regular expressions on
//! texts that are not UTF-8.

mod computed;
mod matcher;
mod memo;
mod merge;

pub(crate) use memo::{Memo, Shared, key};
pub(crate) use merge::parts as merged;

use crate::{
    catalog::{self, EVENTS, EventId, FieldType, ids},
    condition::ast::Op,
    event_set::EventSet,
    program::{computed::Computed, matcher::Matcher},
    typed::{FieldUse, Node, Right, Source, Test},
    value::{FieldSource, Truth, Value},
};

/// A compiled condition.
#[derive(Debug)]
pub(crate) struct Program {
    root: Code,
}

#[derive(Debug)]
enum Code {
    Const(bool),
    All(Box<[Code]>),
    Any(Box<[Code]>),
    Test(Box<Check>),
}

#[derive(Debug)]
struct Check {
    negated: bool,
    /// Where the result is remembered, if other conditions make the same comparison.
    slot: Option<u16>,
    kind: Kind,
}

/// A comparison on its own; its negation is the caller's.
#[derive(Debug)]
pub(crate) struct Prepared(Kind);

#[derive(Debug)]
enum Kind {
    /// The event type is one of a set.
    Event(EventSet),
    /// The value exists.
    Exists(Source),
    /// A field against constants: the common case.
    Field { field: FieldUse, matcher: Matcher, quantifier: Quantifier },
    /// A computed value against constants.
    Constants { left: Source, matcher: Matcher, quantifier: Quantifier },
    /// Two values of the event.
    Values { left: Source, op: Op, right: Source, quantifier: Quantifier },
}

/// How a comparison spreads over several values.
#[derive(Clone, Copy, Debug)]
struct Quantifier {
    /// Every element of a list must satisfy it (`in`), else one (`intersects`).
    every: bool,
    /// Both sides of an [`Value::Either`] must satisfy it (`!=`), else one.
    both: bool,
}

impl Program {
    /// Compiles a condition. `strict` reproduces upstream's faults.
    pub(crate) fn new(condition: &Node, strict: bool, shared: &Shared) -> Self {
        Self { root: compile(condition, strict, shared) }
    }

    /// Evaluates it on an event; without `event` the type is asked from the source.
    /// `memo` remembers comparisons that other programs of the same set make on the same event.
    pub(crate) fn evaluate<S: FieldSource>(
        &self,
        event: Option<EventId>,
        source: &S,
        memo: &mut Memo,
    ) -> Truth {
        run(&self.root, event, source, memo)
    }
}

impl Prepared {
    /// Prepares a comparison.
    pub(crate) fn new(test: &Test, strict: bool) -> Self {
        Self(kind(test, strict))
    }

    /// Makes it on an event; without `event` the type is asked from the source.
    pub(crate) fn holds<S: FieldSource>(&self, event: Option<EventId>, source: &S) -> Truth {
        holds(&self.0, event, source)
    }
}

fn compile(node: &Node, strict: bool, shared: &Shared) -> Code {
    let (parts, all) = match node {
        Node::Const(value) => return Code::Const(*value),
        Node::Test(test) => return compile_test(test, strict, shared),
        Node::All(parts) => (parts, true),
        Node::Any(parts) => (parts, false),
    };
    let merged = merge::parts(parts, all, strict);
    let mut codes: Vec<Code> = merged.iter().map(|part| compile(part, strict, shared)).collect();
    codes.sort_by_key(cost);
    if all { Code::All(codes.into_boxed_slice()) } else { Code::Any(codes.into_boxed_slice()) }
}

fn compile_test(test: &Test, strict: bool, shared: &Shared) -> Code {
    let kind = kind(test, strict);
    // The event type is one bit test; remembering it would cost more.
    let slot = if matches!(kind, Kind::Event(_)) { None } else { shared.slot(test) };
    Code::Test(Box::new(Check { negated: test.negated, slot, kind }))
}

fn kind(test: &Test, strict: bool) -> Kind {
    let quantifier = Quantifier { every: test.op == Op::In, both: test.op == Op::Ne };
    match (&test.left, &test.right) {
        (left, Right::None) => Kind::Exists(left.clone()),
        (left, Right::Source(right)) => {
            Kind::Values { left: left.clone(), op: test.op, right: right.clone(), quantifier }
        }
        (left, Right::Values(modifier, values)) => {
            let matcher = matcher::build(left, test.op, *modifier, values, strict);
            match left {
                Source::Field(FieldUse { id: ids::EVT_TYPE, .. }) => Kind::Event(event_names(&matcher)),
                Source::Field(field) => Kind::Field { field: field.clone(), matcher, quantifier },
                left => Kind::Constants { left: left.clone(), matcher, quantifier },
            }
        }
    }
}

/// The event types whose name satisfies a comparison.
fn event_names(matcher: &Matcher) -> EventSet {
    EVENTS
        .iter()
        .zip(0..)
        .filter(|(event, _)| matcher.matches(&Value::Bytes(event.name.as_bytes())))
        .map(|(_, index)| EventId(index))
        .collect()
}

/// How much an evaluation costs, in no unit; only the order matters.
fn cost(code: &Code) -> u32 {
    match code {
        Code::Const(_) => 0,
        Code::All(parts) | Code::Any(parts) => parts.iter().map(cost).fold(1, u32::saturating_add),
        Code::Test(check) => match &check.kind {
            Kind::Event(_) => 0,
            Kind::Exists(left) => source_cost(left),
            Kind::Field { field, matcher, .. } => field_cost(field) + matcher.cost(),
            Kind::Constants { left, matcher, .. } => source_cost(left) + matcher.cost(),
            Kind::Values { left, right, .. } => source_cost(left) + source_cost(right) + 3,
        },
    }
}

fn source_cost(source: &Source) -> u32 {
    match source {
        Source::Field(field) => field_cost(field),
        Source::Text(_) => 0,
        Source::Transform(transform) => 30 + transform.args.iter().map(source_cost).sum::<u32>(),
        Source::List(items) => 5 + items.iter().map(source_cost).sum::<u32>(),
    }
}

/// Fields that walk ancestors or join arguments cost more than those that are just there.
fn field_cost(field: &FieldUse) -> u32 {
    let name = field.id.def().name;
    match field.ty.base {
        FieldType::Text | FieldType::Path if name.starts_with("proc.a") => 12,
        FieldType::Text | FieldType::Path if name.contains("cmdline") || name.contains("env") => 6,
        FieldType::Text | FieldType::Path | FieldType::Buffer | FieldType::Dyn => 3,
        _ => 1,
    }
}

fn run<S: FieldSource>(code: &Code, event: Option<EventId>, source: &S, memo: &mut Memo) -> Truth {
    match code {
        Code::Const(value) => (*value).into(),
        Code::All(parts) => {
            let mut result = Truth::True;
            for part in parts {
                result = result.and(run(part, event, source, memo));
                if result == Truth::False {
                    break;
                }
            }
            result
        }
        Code::Any(parts) => {
            let mut result = Truth::False;
            for part in parts {
                result = result.or(run(part, event, source, memo));
                if result == Truth::True {
                    break;
                }
            }
            result
        }
        Code::Test(check) => {
            let truth = if let Some(truth) = check.slot.and_then(|slot| memo.get(slot)) {
                truth
            } else {
                let truth = holds(&check.kind, event, source);
                if let Some(slot) = check.slot {
                    memo.set(slot, truth);
                }
                truth
            };
            if check.negated { !truth } else { truth }
        }
    }
}

fn holds<S: FieldSource>(kind: &Kind, event: Option<EventId>, source: &S) -> Truth {
    match kind {
        Kind::Event(set) => match event {
            Some(event) => set.contains(event).into(),
            None => match source.field(ids::EVT_TYPE, crate::value::FieldArg::None) {
                Value::Unknown => Truth::Unknown,
                Value::Bytes(name) => {
                    let event = std::str::from_utf8(name).ok().and_then(catalog::event);
                    event.is_some_and(|event| set.contains(event)).into()
                }
                _ => Truth::False,
            },
        },
        Kind::Exists(left) => match left {
            Source::Field(field) => exists(&source.field(field.id, field.arg.as_ref())),
            left => computed::value(left, source).with(exists),
        },
        Kind::Field { field, matcher, quantifier } => {
            let value = source.field(field.id, field.arg.as_ref());
            spread(&value, *quantifier, &|value| matcher.matches(value).into())
        }
        Kind::Constants { left, matcher, quantifier } => computed::value(left, source)
            .with(|value| spread(value, *quantifier, &|value| matcher.matches(value).into())),
        Kind::Values { left, op, right, quantifier } => {
            let left = computed::value(left, source);
            let right = computed::value(right, source);
            left.with(|left| right.with(|right| compare(left, *op, right, *quantifier)))
        }
    }
}

fn exists(value: &Value<'_>) -> Truth {
    match value {
        Value::Null => Truth::False,
        Value::Unknown => Truth::Unknown,
        Value::List(items) | Value::Any(items) => {
            // A list exists when it has an element, even one that is not known yet.
            if items.is_empty() { Truth::False } else { Truth::True }
        }
        Value::Either(sides) => sides.iter().map(exists).fold(Truth::False, Truth::or),
        _ => Truth::True,
    }
}

/// Applies a comparison of single values to whatever shape a value has.
fn spread(value: &Value<'_>, quantifier: Quantifier, single: &dyn Fn(&Value<'_>) -> Truth) -> Truth {
    match value {
        Value::Null | Value::List([]) => Truth::False,
        Value::Unknown => Truth::Unknown,
        Value::Any(items) => {
            items.iter().map(|item| spread(item, quantifier, single)).fold(Truth::False, Truth::or)
        }
        Value::Either(sides) => {
            let truths = sides.iter().map(|side| spread(side, quantifier, single));
            if quantifier.both {
                truths.fold(Truth::True, Truth::and)
            } else {
                truths.fold(Truth::False, Truth::or)
            }
        }
        Value::List(items) => {
            let truths = items.iter().map(|item| spread(item, quantifier, single));
            if quantifier.every {
                truths.fold(Truth::True, Truth::and)
            } else {
                truths.fold(Truth::False, Truth::or)
            }
        }
        single_value => single(single_value),
    }
}

/// Compares two values of the event. A missing side makes it false even when the other is unknown.
fn compare(left: &Value<'_>, op: Op, right: &Value<'_>, quantifier: Quantifier) -> Truth {
    if matches!(left, Value::Null) || matches!(right, Value::Null) {
        return Truth::False;
    }
    if matches!(left, Value::Unknown) || matches!(right, Value::Unknown) {
        return Truth::Unknown;
    }
    spread(left, quantifier, &|left| {
        let one = |right: &Value<'_>| Truth::from(matcher::compare(left, op, right));
        match right {
            // The right side is a set: the left value must be in it.
            Value::List(items) => items
                .iter()
                .map(|item| match item {
                    Value::Null => Truth::False,
                    Value::Unknown => Truth::Unknown,
                    item => one(item),
                })
                .fold(Truth::False, Truth::or),
            other => one(other),
        }
    })
}

/// The text of a computed value, for outputs.
pub(crate) fn with_value<S: FieldSource, R>(left: &Source, source: &S, f: impl FnOnce(&Value<'_>) -> R) -> R {
    let computed: Computed<'_> = computed::value(left, source);
    computed.with(f)
}
