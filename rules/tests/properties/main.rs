//! Properties of the language over random conditions and events.

#![expect(clippy::indexing_slicing, clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

mod naive;
mod random;

use proptest::prelude::*;
use rampart_rules::{
    comparisons::Comparisons,
    condition::{
        self, Expr,
        ast::{Check, FieldRef, Literal, Operand, Right, Transform},
    },
    diagnostic::{Diagnostic, code},
    filter::Filter,
    lint::Lints,
    load::{LoadOptions, Source, load},
    rule::RuleSet,
    source::{Mapped, Span},
    typed::Environment,
    value::Truth,
};

const ENVIRONMENT: Environment = Environment { container_fields: true, strict: false };

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    /// What is printed parses back to the same tree.
    #[test]
    fn printing_and_parsing_are_inverse(tree in random::tree()) {
        let text = tree.to_string();
        let parsed = condition::parse(&Mapped::plain(&*text), condition::DEFAULT_DEPTH);
        let parsed = parsed.map_err(|error| TestCaseError::fail(format!("{text}: {}", error.message)))?;
        prop_assert_eq!(bare(&parsed), tree, "{}", text);
    }

    /// Any text either parses or is refused with a place inside it.
    #[test]
    fn any_text_is_survived(text in random::noise()) {
        if let Err(error) = condition::parse(&Mapped::plain(&*text), condition::DEFAULT_DEPTH) {
            prop_assert!(error.range.start <= error.range.end && error.range.end <= text.len());
        }
    }

    /// The compiled program agrees with an interpreter that does everything the slow way.
    #[test]
    fn programs_agree_with_the_definition(text in random::condition(), event in random::event()) {
        let (filter, findings) = Filter::compile(&text, ENVIRONMENT);
        let filter = filter.ok_or_else(|| TestCaseError::fail(format!("{text}: {findings:?}")))?;
        let wanted = naive::holds(filter.condition(), &event);
        prop_assert_eq!(filter.evaluate(None, &event), Truth::from(wanted), "{} on {:?}", text, event);
    }

    /// What is certain while fields are unknown stays so whatever they turn out to be.
    #[test]
    fn certain_results_survive_completion(
        text in random::condition(),
        partial in random::partial_event(),
        completions in prop::collection::vec(random::event(), 8),
    ) {
        let (filter, _) = Filter::compile(&text, ENVIRONMENT);
        let filter = filter.ok_or_else(|| TestCaseError::fail(text.clone()))?;
        let known = filter.evaluate(None, &partial);
        for completion in completions {
            let whole = partial.completed(&completion);
            let result = filter.evaluate(None, &whole);
            prop_assert!(result != Truth::Unknown, "{} on {:?}", text, whole);
            if known != Truth::Unknown {
                prop_assert_eq!(result, known, "{} on {:?}, completed to {:?}", text, partial, whole);
            }
        }
    }

    /// Rules taken apart into comparisons are the rules, whole and as far as known, reduced or not.
    #[test]
    fn expressions_are_the_rules(
        first in random::condition(),
        second in random::condition(),
        partial in random::partial_event(),
        known in random::event(),
    ) {
        let (rules, _) = linted(&first, &second);
        let comparisons = Comparisons::new(&rules);
        for (position, rule) in rules.rules().iter().enumerate() {
            let expression = comparisons.rule(position).unwrap();
            let mut holds = |id| comparisons.evaluate(id, None, &partial);
            let truth = rules.evaluate_rule(rule.id, &partial);
            prop_assert_eq!(expression.truth(&mut holds), truth, "{}", rule.condition_text);
            let rest = expression.reduced(&mut holds);
            let whole = partial.completed(&known);
            let of_rest = rest.truth(&mut |id| comparisons.evaluate(id, None, &whole));
            prop_assert_eq!(of_rest, rules.evaluate_rule(rule.id, &whole), "{}", rule.condition_text);
        }
    }

    /// An event type outside the set of a condition never satisfies it.
    #[test]
    fn event_sets_hold_all_that_matches(text in random::condition(), event in random::event()) {
        let (filter, _) = Filter::compile(&text, ENVIRONMENT);
        let filter = filter.ok_or_else(|| TestCaseError::fail(text.clone()))?;
        if filter.evaluate(None, &event) == Truth::True {
            prop_assert!(filter.events().contains(event.event_type()), "{} on {:?}", text, event);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    /// What lints say of conditions is so on every event.
    #[test]
    fn lints_tell_the_truth(
        first in prop_oneof![4 => random::chain(), 1 => random::condition()],
        more in random::chain(),
        extends in any::<bool>(),
        events in prop::collection::vec(random::event(), 24),
    ) {
        // A rule with one more comparison is often shadowed, two that have nothing in common hardly ever.
        let second = if extends { format!("({first}) and ({more})") } else { more };
        let (rules, findings) = linted(&first, &second);
        for finding in findings {
            let item = finding.item.as_ref().map(|item| item.name.as_str());
            let position = usize::from(item == Some("two"));
            for event in &events {
                let holds = |position: usize| rules.evaluate_rule(rules.rules()[position].id, event) == Truth::True;
                let told = || format!("{}: {first} | {second} on {event:?}", finding.message);
                match finding.code {
                    code::NEVER_TRUE => prop_assert!(!holds(position), "{}", told()),
                    code::ALWAYS_TRUE if !finding.message.contains("unless") => {
                        prop_assert!(holds(position), "{}", told());
                    }
                    code::SHADOWED_RULE => prop_assert!(holds(0) || !holds(1), "{}", told()),
                    _ => {}
                }
            }
        }
    }
}

/// Two rules of these conditions and what lints say of them.
fn linted(first: &str, second: &str) -> (RuleSet, Vec<Diagnostic>) {
    // What JSON quotes, YAML reads.
    let rule = |name, condition: &str| {
        let condition = serde_json::to_string(condition).unwrap();
        format!("- rule: {name}\n  desc: d\n  condition: {condition}\n  output: o\n  priority: INFO\n")
    };
    let text = rule("one", first) + &rule("two", second);
    let source = Source { name: "t".to_owned(), text: text.into_bytes() };
    let loaded = load(&[source], &LoadOptions { lints: Lints::All, ..LoadOptions::default() });
    (loaded.rules.unwrap(), loaded.diagnostics)
}

#[test]
fn the_lints_that_are_put_to_the_test_do_speak() {
    let count = |first, second, code| {
        let findings = linted(first, second).1;
        findings.iter().filter(|finding| finding.code == code).count()
    };
    assert_eq!(count("proc.name = a and proc.name = b", "fd.name = a", code::NEVER_TRUE), 1);
    assert_eq!(count("not proc.name = a or not proc.name = b", "fd.name = a", code::ALWAYS_TRUE), 1);
    assert_eq!(count("proc.name = a", "proc.name = a and fd.name = b", code::SHADOWED_RULE), 1);
}

/// The tree without places and without memory of which values stood in quotes.
fn bare(expr: &Expr) -> Expr {
    match expr {
        Expr::And(parts) => Expr::And(parts.iter().map(bare).collect()),
        Expr::Or(parts) => Expr::Or(parts.iter().map(bare).collect()),
        Expr::Not(inner) => Expr::Not(Box::new(bare(inner))),
        Expr::Macro(name) => {
            let mut name = name.clone();
            name.span = Span::default();
            Expr::Macro(name)
        }
        Expr::Check(check) => Expr::Check(Box::new(Check {
            left: operand(&check.left),
            op: check.op,
            op_span: Span::default(),
            right: match &check.right {
                Right::None => Right::None,
                Right::Value(value) => Right::Value(literal(value)),
                Right::List(modifier, values) => Right::List(*modifier, values.iter().map(literal).collect()),
                Right::Val(name, arg) => Right::Val(field(name), arg.as_ref().map(literal)),
                Right::Transform(name) => Right::Transform(transform(name)),
            },
            span: Span::default(),
        })),
    }
}

fn operand(operand_with_places: &Operand) -> Operand {
    match operand_with_places {
        Operand::Field(name) => Operand::Field(field(name)),
        Operand::Transform(name) => Operand::Transform(transform(name)),
        Operand::Text(text) => {
            Operand::Text(Literal { bytes: text.bytes.clone(), quoted: text.quoted, span: Span::default() })
        }
        Operand::List(items, _) => Operand::List(items.iter().map(operand).collect(), Span::default()),
    }
}

fn field(with_places: &FieldRef) -> FieldRef {
    FieldRef {
        name: with_places.name.clone(),
        arg: with_places.arg.as_ref().map(literal),
        span: Span::default(),
    }
}

fn transform(with_places: &Transform) -> Transform {
    Transform {
        name: with_places.name.clone(),
        args: with_places.args.iter().map(operand).collect(),
        arg: with_places.arg.as_ref().map(literal),
        span: Span::default(),
    }
}

fn literal(with_places: &Literal) -> Literal {
    Literal { bytes: with_places.bytes.clone(), quoted: false, span: Span::default() }
}
