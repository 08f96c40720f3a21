//! Conditions, and parts of them, that are the same on every event: they contradict themselves, or exclude nothing.
//!
//! A missing value makes every comparison false and its negation true, so `not x < 0 and not x >= 0` is no
//! contradiction. `a or b` is always true when `not a and not b` never is, which leaves one question to answer.

use std::collections::HashMap;

use super::{
    domain::{self, Literal},
    probe,
};
use crate::{
    catalog::ids,
    condition::ast::Op,
    diagnostic::{Diagnostic, code},
    rule::Rule,
    source::Span,
    typed::{FieldUse, Node, Right, Source},
};

/// A part whose value is known.
struct Fixed {
    value: bool,
    /// What makes it so.
    at: Span,
    /// What else does.
    against: Option<Span>,
    /// The field that must have a value for it.
    if_present: Option<&'static str>,
}

/// Reports what is always the same. Whether the whole condition is.
pub(super) fn check(rule: &Rule, strict: bool, found: &mut Vec<Diagnostic>) -> bool {
    let Some(fixed) = fate(&rule.condition, strict, found) else { return false };
    let name = rule.name.escape_debug();
    let (code, message) = if fixed.value {
        (code::ALWAYS_TRUE, format!("the condition of rule `{name}` is always true"))
    } else {
        (code::NEVER_TRUE, format!("the condition of rule `{name}` is never true"))
    };
    found.push(fixed.finding(code, message));
    true
}

impl Fixed {
    fn finding(&self, code: crate::diagnostic::Code, message: String) -> Diagnostic {
        let message = match self.if_present {
            Some(field) => format!("{message}, unless `{field}` is missing"),
            None => message,
        };
        let finding = Diagnostic::new(code, message).at(self.at);
        let finding = match (self.against, self.value) {
            (Some(against), true) if against != self.at => finding.label(against, "or else this holds"),
            (Some(against), false) if against != self.at => finding.label(against, "this excludes it"),
            _ => finding,
        };
        match (self.against, self.value) {
            (Some(_), true) => finding.help("`and` was likely meant instead of `or`"),
            (Some(_), false) => {
                finding.help("`or` was likely meant instead of `and`, or one of the two can go")
            }
            (None, _) => finding.help("no value of the field makes a difference here"),
        }
    }
}

/// What a node is on every event, if it is the same on all.
fn fate(node: &Node, strict: bool, found: &mut Vec<Diagnostic>) -> Option<Fixed> {
    let (parts, all) = match node {
        Node::Const(_) => return None,
        Node::Test(_) => (std::slice::from_ref(node), true),
        Node::All(parts) => (parts.as_slice(), true),
        Node::Any(parts) => (parts.as_slice(), false),
    };
    // One part of the value that decides is enough; others are noise unless all are.
    let (mut literals, mut idle, mut deciding) = (Vec::new(), Vec::new(), None);
    for part in parts {
        let fixed = if let Node::Test(test) = part {
            let literal = Literal { test, negated: test.negated };
            literals.push(literal);
            conflict(&[literal], !all, strict)
        } else {
            fate(part, strict, found)
        };
        match fixed {
            Some(fixed) if fixed.value != all => deciding = deciding.or(Some(fixed)),
            Some(fixed) => idle.push(fixed),
            None => {}
        }
    }
    if let Some(fixed) = deciding.or_else(|| conflict(&literals, all, strict)) {
        return Some(fixed);
    }
    if idle.len() == parts.len() {
        return idle.into_iter().next();
    }
    for fixed in idle {
        let holds = if fixed.value { "always" } else { "never" };
        found.push(fixed.finding(code::FIXED_PART, format!("this part of the condition is {holds} true")));
    }
    None
}

/// Comparisons that, joined by `and`, are never true, or, joined by `or`, always are.
fn conflict(literals: &[Literal<'_>], all: bool, strict: bool) -> Option<Fixed> {
    let mut same: HashMap<(&Source, Op, &Right), [Option<Span>; 2]> = HashMap::new();
    let mut by_field: HashMap<&FieldUse, Vec<Literal<'_>>> = HashMap::new();
    let mut order = Vec::new();
    for literal in literals {
        let test = literal.test;
        if placeholder(&test.left, &test.right) {
            continue;
        }
        let negated = literal.negated == all;
        let seen = same.entry((&test.left, test.op, &test.right)).or_default();
        let [plain, inverse] = seen;
        *(if negated { &mut *inverse } else { &mut *plain }) = Some(test.span);
        if let [Some(one), Some(other)] = *seen {
            let against = if one == test.span { other } else { one };
            return Some(Fixed { value: !all, at: test.span, against: Some(against), if_present: None });
        }
        if let Some(field) = probe::scalar(&test.left) {
            let group = by_field.entry(field).or_default();
            if group.is_empty() {
                order.push(field);
            }
            group.push(Literal { test, negated });
        }
    }
    order.into_iter().find_map(|field| {
        let conflict = domain::conflict(field, by_field.get(field)?, strict)?;
        // `not a and not b` with a missing value is how "neither, if at all" is written: that is no contradiction.
        // `x != a or x != b`, though, is the slip everybody makes once.
        if conflict.if_present && (all || conflict.against.is_none()) {
            return None;
        }
        Some(Fixed {
            value: !all,
            at: conflict.at,
            against: conflict.against,
            if_present: conflict.if_present.then_some(field.id.def().name),
        })
    })
}

/// Comparisons that are written to be constant: of the event number, or with a list that is left empty to be filled
/// elsewhere; and counters, which differ from one comparison to the next.
fn placeholder(left: &Source, right: &Right) -> bool {
    let mut constant = matches!(right, Right::Values(_, values) if values.is_empty());
    left.for_each_field(&mut |field| {
        constant |= matches!(field.id, ids::EVT_NUM | ids::EVT_DIR | ids::UTIL_CNT);
    });
    constant
}
