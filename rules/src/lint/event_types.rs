//! Event types a typed condition leaves, for a condition and each of its parts at once.

use crate::{
    catalog::{self, ids},
    condition::ast::Op,
    event_set::EventSet,
    typed::{Const, FieldUse, Node, Right, Source, Test},
};

/// A part of a condition, in the order in which they are written, the whole first.
#[derive(Clone, Copy)]
pub(super) struct Part {
    /// Event types on which it can hold.
    pub(super) events: EventSet,
    /// How many parts it consists of, itself included.
    pub(super) size: usize,
}

/// The event types of a condition and of all its parts.
pub(super) fn of(node: &Node) -> Vec<Part> {
    let mut parts = Vec::new();
    collect(node, &mut parts);
    parts
}

fn collect(node: &Node, out: &mut Vec<Part>) -> EventSet {
    let at = out.len();
    out.push(Part { events: EventSet::EMPTY, size: 1 });
    let events = match node {
        Node::Const(_) => EventSet::all(),
        Node::Test(test) => of_test(test),
        Node::All(parts) => {
            parts.iter().fold(EventSet::all(), |set, part| set.intersection(&collect(part, out)))
        }
        Node::Any(parts) => parts.iter().fold(EventSet::EMPTY, |set, part| set.union(&collect(part, out))),
    };
    let size = out.len() - at;
    if let Some(part) = out.get_mut(at) {
        *part = Part { events, size };
    }
    events
}

/// Event types on which a comparison can hold.
pub(super) fn of_test(test: &Test) -> EventSet {
    let Some(set) = decided(test) else { return EventSet::all() };
    if test.negated == (test.op == Op::Ne) { set } else { set.complement() }
}

/// The event types named by a comparison of the event type.
pub(super) fn decided(test: &Test) -> Option<EventSet> {
    let Source::Field(FieldUse { id: ids::EVT_TYPE, .. }) = &test.left else { return None };
    match (test.op, &test.right) {
        (Op::Eq | Op::Ne | Op::In, Right::Values(None, values)) => Some(
            values
                .iter()
                .filter_map(|value| match value {
                    Const::Bytes(name) => catalog::event(std::str::from_utf8(name).ok()?),
                    _ => None,
                })
                .collect(),
        ),
        _ => None,
    }
}
