//! Comparisons of one field that stand side by side, made one.
//!
//! `fd.name startswith /a or fd.name startswith /b or …` is how rules are written; one search in a sorted set is
//! how it is evaluated. A missing or unknown field gives the merged comparison what it gave each of them.

use crate::{
    catalog::{FieldType, ids},
    condition::ast::{Modifier, Op},
    typed::{FieldUse, Node, Right, Source, Test},
};

/// Merges what can be merged among the parts of an `or`, or, with `all`, of an `and`, where it is the negated
/// comparisons that merge.
pub(crate) fn parts(nodes: &[Node], all: bool, strict: bool) -> Vec<Node> {
    let mut merged: Vec<Node> = Vec::with_capacity(nodes.len());
    // Places in `merged` of comparisons that may take more constants.
    let mut open: Vec<usize> = Vec::new();
    for node in nodes {
        let Some(test) = mergeable(node, all, strict) else {
            merged.push(node.clone());
            continue;
        };
        let found = open.iter().copied().find(|&at| {
            matches!(merged.get(at), Some(Node::Test(known)) if known.op == test.op && known.left == test.left)
        });
        if let Some(Node::Test(known)) = found.and_then(|at| merged.get_mut(at)) {
            append(known, test);
        } else {
            open.push(merged.len());
            merged.push(Node::Test(Box::new(test)));
        }
    }
    merged
}

/// The comparison in the form that takes several constants: `in`, `startswith anyof`, `endswith anyof`.
fn mergeable(node: &Node, all: bool, strict: bool) -> Option<Test> {
    let Node::Test(test) = node else { return None };
    let Source::Field(field) = &test.left else { return None };
    if test.negated != all
        || field.ty.list
        || field.ty.base == FieldType::Bool
        || (strict && differs_in_sets(field))
    {
        return None;
    }
    let (op, right) = match (test.op, &test.right) {
        (Op::Eq, Right::Values(None | Some(Modifier::AnyOf), values))
        | (Op::In, Right::Values(None, values)) => (Op::In, Right::Values(None, values.clone())),
        (Op::StartsWith | Op::EndsWith, Right::Values(None | Some(Modifier::AnyOf), values)) => {
            (test.op, Right::Values(Some(Modifier::AnyOf), values.clone()))
        }
        _ => return None,
    };
    Some(Test { negated: test.negated, left: test.left.clone(), op, right, span: test.span })
}

/// Fields for which upstream's `in` is not the same as several `=`.
fn differs_in_sets(field: &FieldUse) -> bool {
    matches!(field.id, ids::FD_IP | ids::FD_NET | ids::PROC_APID)
}

fn append(known: &mut Test, more: Test) {
    if let (Right::Values(_, values), Right::Values(_, more)) = (&mut known.right, more.right) {
        values.extend(more);
    }
}
