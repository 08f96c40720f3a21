//! Regular expressions that cost more than they look.
//!
//! The engine takes time linear in the text, whatever the pattern; what a pattern can cost is memory and work per
//! byte, and that follows from how large it is when compiled.

use regex::RegexBuilder;
use regex_syntax::hir::{Class, Hir, HirKind, Repetition};

use crate::{
    condition::ast::Op,
    diagnostic::{Diagnostic, Severity, code},
    rule::Rule,
    typed::{Const, Right, Test},
};

/// Compiled size from which a pattern is told of, bytes. Patterns of people stay below a quarter of it.
const LARGE: usize = 64 << 10;

/// Looks at all patterns of a rule.
pub(super) fn check(rule: &Rule, found: &mut Vec<Diagnostic>) {
    rule.condition.for_each_test(&mut |test| {
        if test.op == Op::Regex
            && let Right::Values(_, values) = &test.right
        {
            found.extend(values.iter().filter_map(|value| pattern(test, value)));
        }
    });
}

fn pattern(test: &Test, value: &Const) -> Option<Diagnostic> {
    let Const::Bytes(written) = value else { return None };
    let written = std::str::from_utf8(written).ok()?;
    let tree = regex_syntax::parse(written).ok()?;
    let shown: String = written.chars().take(60).collect();
    let told = |what: &str| {
        let message = format!("regular expression `{}` {what}", shown.escape_debug());
        Diagnostic::new(code::COSTLY_REGEX, message).at(test.span)
    };
    if ambiguous(&tree) {
        return Some(
            told("repeats what already repeats")
                .help("take one of the two repetitions away, `(a+)+` matches what `a+` does"),
        );
    }
    let small = RegexBuilder::new(written).size_limit(LARGE).dot_matches_new_line(true).build();
    if matches!(small, Err(regex::Error::CompiledTooBig(_))) {
        return Some(told(&format!("takes more than {} KiB when compiled", LARGE >> 10)).help(
            "shorten counted repetitions, and write `[0-9A-Za-z_]` for `\\w` when no other letters are meant",
        ));
    }
    leads_anywhere(&tree).then(|| {
        told("begins with `.*`")
            .severity(Severity::Note)
            .help("a pattern matches the whole text; one that begins with what is fixed is refused at its first byte")
    })
}

/// Whether a repetition repeats something that can be matched by a repetition in it alone.
fn ambiguous(tree: &Hir) -> bool {
    match tree.kind() {
        HirKind::Repetition(repetition) => {
            (unbounded(repetition) && only_repeats(&repetition.sub)) || ambiguous(&repetition.sub)
        }
        HirKind::Capture(capture) => ambiguous(&capture.sub),
        HirKind::Concat(parts) | HirKind::Alternation(parts) => parts.iter().any(ambiguous),
        HirKind::Empty | HirKind::Literal(_) | HirKind::Class(_) | HirKind::Look(_) => false,
    }
}

fn unbounded(repetition: &Repetition) -> bool {
    repetition.max.is_none()
}

/// Whether a part is an unbounded repetition, apart from what may be left out.
fn only_repeats(tree: &Hir) -> bool {
    match tree.kind() {
        HirKind::Repetition(repetition) => unbounded(repetition),
        HirKind::Capture(capture) => only_repeats(&capture.sub),
        HirKind::Alternation(parts) => parts.iter().any(only_repeats),
        HirKind::Concat(parts) => {
            let optional = |part: &Hir| part.properties().minimum_len() == Some(0);
            let needed: Vec<&Hir> = parts.iter().filter(|part| !optional(part)).collect();
            match needed.as_slice() {
                [] => parts.iter().any(only_repeats),
                [needed] => only_repeats(needed),
                _ => false,
            }
        }
        HirKind::Empty | HirKind::Literal(_) | HirKind::Class(_) | HirKind::Look(_) => false,
    }
}

/// Whether it begins with any text of any length.
fn leads_anywhere(tree: &Hir) -> bool {
    match tree.kind() {
        HirKind::Repetition(repetition) => {
            unbounded(repetition)
                && matches!(repetition.sub.kind(), HirKind::Class(class) if nearly_all(class))
        }
        HirKind::Capture(capture) => leads_anywhere(&capture.sub),
        HirKind::Concat(parts) => parts.first().is_some_and(leads_anywhere) && parts.len() > 1,
        _ => false,
    }
}

/// Whether a class holds all letters but a few, as `.` does.
fn nearly_all(class: &Class) -> bool {
    let Class::Unicode(class) = class else { return false };
    let letters: usize = class.ranges().iter().map(regex_syntax::hir::ClassUnicodeRange::len).sum();
    letters + 16 > char::MAX as usize - 0x800
}
