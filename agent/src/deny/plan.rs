//! From rules that ask for `deny` to terms and tables, and to what stands in the way of the others.

use rampart_common::deny::{Operation, TERMS, Terms};
use rampart_rules::{
    catalog::{EventId, event_ids as ev},
    comparisons::{Comparisons, Expression},
    response::Kind as ResponseKind,
    rule::{Rule, RuleSet},
    source::Span,
    typed::{Source, Test},
    value::{FieldArg, FieldSource, Truth, Value},
};

use super::{
    draw,
    literal::{Dimension, FIELDS, Meaning, meaning},
    tables::Tables,
    terms::{ALTERNATIVES_MAX, Literal, Term, alternatives},
};
use crate::event::syscall::{self, Row};

/// Calls of an operation that this machine has; a rule must be on all of them, for the hook does not tell them apart.
pub(super) fn rows(operation: Operation) -> Vec<&'static Row> {
    let calls: &[EventId] = match operation {
        Operation::Open => &[ev::OPEN, ev::OPENAT, ev::OPENAT2],
        Operation::Exec => &[ev::EXECVE, ev::EXECVEAT],
        Operation::Connect => &[ev::CONNECT],
    };
    let rows = calls.iter().filter_map(|event| syscall::by_event(*event));
    rows.filter(|row| row.number.is_some()).collect()
}

/// A term of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certain {
    /// Position of its rule.
    pub rule: usize,
    /// What it is about.
    pub operation: Operation,
    /// The comparisons that tables decide.
    pub literals: Vec<(Literal, Dimension)>,
}

/// Why the kernel cannot be certain that a rule is true.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Obstacle {
    /// The operation it is about; `None` when it is about the rule as a whole.
    pub operation: Option<Operation>,
    /// Where.
    pub span: Span,
    /// What.
    pub why: String,
    /// What to do.
    pub fix: String,
}

/// What the kernel can do for a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Position of the rule.
    pub rule: usize,
    /// Operations that are refused for it, at least in some of its alternatives.
    pub refused: Vec<Operation>,
    /// What stands in the way of others.
    pub obstacles: Vec<Obstacle>,
    /// Whether nothing that the rule is true of goes through, as far as the rule is concerned.
    pub is_whole: bool,
}

/// What the kernel is certain of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Terms, by their bits.
    pub terms: Vec<Certain>,
    /// A line for each rule that asks for it.
    pub reports: Vec<Report>,
    /// What the kernel is told.
    pub tables: Tables,
}

/// Whether a rule asks for operations to be refused.
pub fn asks(rule: &Rule) -> bool {
    let actions = rule.responses.iter().flat_map(|responses| &responses.actions);
    actions.into_iter().any(|action| action.kind() == ResponseKind::Deny)
}

impl Plan {
    /// Plans a rule set. `by_real_path` says whether rules are tried on the path of the file that is opened, which is the
    /// only one that the kernel is certain of.
    pub fn new(policy: &RuleSet, by_real_path: bool) -> Self {
        let mut plan = Self::default();
        if !policy.rules().iter().any(asks) {
            return plan;
        }
        let comparisons = Comparisons::new(policy);
        for (at, rule) in policy.rules().iter().enumerate().filter(|(_, rule)| asks(rule)) {
            let report = plan.rule(at, rule, &comparisons, by_real_path && !policy.strict());
            plan.reports.push(report);
        }
        plan.tables = draw::tables(&plan.terms, &comparisons);
        plan
    }

    /// The terms of some rules, by position.
    pub fn terms_of(&self, mut is_one: impl FnMut(usize) -> bool) -> Terms {
        let terms = self.terms.iter().enumerate().filter(|(_, term)| is_one(term.rule));
        terms.fold(0, |all, (bit, _)| all | 1 << bit)
    }

    fn rule(&mut self, at: usize, rule: &Rule, comparisons: &Comparisons, by_real_path: bool) -> Report {
        let mut report = Report { rule: at, refused: Vec::new(), obstacles: Vec::new(), is_whole: false };
        let mut whole = |why: &str, fix: &str| {
            let (why, fix) = (why.to_owned(), fix.to_owned());
            report.obstacles.push(Obstacle { operation: None, span: rule.span, why, fix });
        };
        if let Some(window) = &rule.window
            && (window.threshold.is_some() || window.sequence.is_some() || window.active.is_some())
        {
            whole(
                "it depends on other events or on the time",
                "leave out `threshold`, `sequence` and `active`, or use `kill`",
            );
            return report;
        }
        let mut on_any = false;
        for operation in Operation::ALL {
            let rows = rows(operation);
            let (on, off): (Vec<&Row>, Vec<&Row>) =
                rows.iter().copied().partition(|row| rule.events.contains(row.event));
            if on.is_empty() {
                continue;
            }
            on_any = true;
            let outcome = if operation == Operation::Open && !by_real_path {
                Err(Obstacle {
                    operation: Some(operation),
                    span: rule.span,
                    why: "rules are not tried on the path of the file that is opened".to_owned(),
                    fix: "set `rules.realpath_matching: true`, and not `rules.strict_falco`".to_owned(),
                })
            } else if off.is_empty() {
                self.operation(at, rule, operation, &rows, comparisons)
            } else {
                Err(Obstacle {
                    operation: Some(operation),
                    span: rule.span,
                    why: format!("the rule is not on {}", names(&off)),
                    fix: format!("write `evt.type in ({})`", names(&rows)),
                })
            };
            match outcome {
                Ok(obstacles) => {
                    report.obstacles.extend(obstacles);
                    report.refused.push(operation);
                }
                Err(obstacle) => report.obstacles.push(obstacle),
            }
        }
        if !on_any {
            let why = "it is on no open, exec or connect".to_owned();
            let fix = "use it in rules on `open, openat, openat2`, on `execve, execveat` or on `connect`"
                .to_owned();
            report.obstacles.push(Obstacle { operation: None, span: rule.span, why, fix });
        }
        let is_refused = |event: EventId| {
            // Other ways to open a file are the same operation.
            let is_open = matches!(event, ev::CREAT | ev::OPEN_BY_HANDLE_AT);
            is_open || Operation::ALL.into_iter().flat_map(rows).any(|row| row.event == event)
        };
        report.is_whole = report.obstacles.is_empty() && rule.events.iter().all(is_refused);
        report
    }

    /// Adds the terms of a rule about one operation; gives what stands in the way of some alternatives, or of all.
    fn operation(
        &mut self,
        at: usize,
        rule: &Rule,
        operation: Operation,
        rows: &[&'static Row],
        comparisons: &Comparisons,
    ) -> Result<Vec<Obstacle>, Obstacle> {
        let about_rule = |why: String, fix: &str| Obstacle {
            operation: Some(operation),
            span: rule.span,
            why,
            fix: fix.to_owned(),
        };
        let mut parts: Vec<Expression> = Vec::new();
        for row in rows {
            let Some(condition) = comparisons.rule(at) else { continue };
            let rest = condition.reduced(&mut |id| comparisons.evaluate(id, Some(row.event), &NoFields));
            if !parts.contains(&rest) {
                parts.push(rest);
            }
        }
        let all = alternatives(&Expression::All(parts.into())).ok_or_else(|| {
            let why = format!("its condition has more than {ALTERNATIVES_MAX} alternatives");
            about_rule(why, "split the rule, or put values into one `in (...)`")
        })?;
        let mut obstacles: Vec<Obstacle> = Vec::new();
        let mut added = 0;
        for term in all {
            match certain(&term, operation, rows, comparisons) {
                Ok(Some(literals)) if self.terms.len() < TERMS => {
                    self.terms.push(Certain { rule: at, operation, literals });
                    added += 1;
                }
                Ok(Some(_)) => {
                    let why = format!("all rules with `deny` together have more than {TERMS} alternatives");
                    obstacles.push(about_rule(why, "split fewer rules into alternatives, or use `kill`"));
                }
                Ok(None) => {}
                Err(obstacle) if obstacles.contains(&obstacle) => {}
                Err(obstacle) => obstacles.push(obstacle),
            }
        }
        if added > 0 {
            return Ok(obstacles);
        }
        Err(obstacles
            .into_iter()
            .next()
            .unwrap_or_else(|| about_rule("it is never true of it".to_owned(), "correct the condition")))
    }
}

/// The comparisons of a term that tables decide; `None` when it is never true.
fn certain(
    term: &Term,
    operation: Operation,
    rows: &[&'static Row],
    comparisons: &Comparisons,
) -> Result<Option<Vec<(Literal, Dimension)>>, Obstacle> {
    let mut literals = Vec::new();
    for literal in term {
        let Some(test) = comparisons.test(literal.comparison) else { return Ok(None) };
        for row in rows {
            match meaning(test, operation, row) {
                Meaning::Always(truth) if truth != literal.negated => {}
                Meaning::Always(_) => return Ok(None),
                Meaning::Decided(dimension) => {
                    if !literals.contains(&(*literal, dimension)) {
                        literals.push((*literal, dimension));
                    }
                }
                Meaning::Open(why) => {
                    return Err(Obstacle {
                        operation: Some(operation),
                        span: test.span,
                        why: format!("`{}` {why}", left(test)),
                        fix: format!("compare {FIELDS} with constants, or use `kill`"),
                    });
                }
            }
        }
    }
    Ok(Some(literals))
}

fn left(test: &Test) -> String {
    match &test.left {
        Source::Field(field) => field.id.def().name.to_owned(),
        _ => "a comparison".to_owned(),
    }
}

fn names(rows: &[&Row]) -> String {
    let names: Vec<&str> = rows.iter().filter_map(|row| Some(row.event.def()?.name)).collect();
    names.join(", ")
}

/// Whether a comparison, negated or not, is certain to hold.
pub(super) fn holds(literal: Literal, truth: Truth) -> bool {
    let truth = if literal.negated { !truth } else { truth };
    truth == Truth::True
}

/// No field is known.
struct NoFields;

impl FieldSource for NoFields {
    fn field<'a>(&'a self, _: rampart_rules::catalog::FieldId, _: FieldArg<'_>) -> Value<'a> {
        Value::Unknown
    }
}
