//! The collection to rules: conditions and outputs compiled, warnings made, rules selected.

use std::sync::Arc;

use super::{
    LoadOptions,
    collect::{Collection, RuleDraft},
    resolve::{Lists, Macros},
    window::Place,
};
use crate::{
    condition::{
        Expr,
        ast::{Check, Literal, Op, Operand, Right},
    },
    diagnostic::{Code, Diagnostic, code},
    event_set,
    meaning::Meanings,
    output::OutputFormat,
    response::{Action, CAPTURE_MAX_MS, CAPTURE_MS, Mode, Responses},
    rule::{Rule, RuleId},
    source::{Mapped, Span},
    typed::{Checker, Environment, Node},
    window::Window,
};

/// Rules tried on more event types than this slow everything down; the number is Falco's.
const MANY_EVENTS: usize = 100;

/// Compiles all rules. Rules with an error are left out.
pub(super) fn rules(collection: &Collection, options: &LoadOptions) -> (Vec<Rule>, Vec<Diagnostic>) {
    let environment = Environment {
        container_fields: options.plugins.iter().any(|plugin| plugin.name == "container"),
        strict: options.strict_falco,
    };
    let lists = Lists::new(collection, &options.sets);
    let (macros, mut findings) = Macros::new(collection, &lists);
    let meanings = Meanings::new(&options.meanings, &mut findings);
    let definitions = collection.definitions();
    let mut rules = Vec::new();
    for (draft, id) in collection.rules.iter().zip(0..) {
        if draft.unknown_source {
            continue;
        }
        let mut found = Vec::new();
        let built = build(
            draft,
            RuleId(id),
            Place { lists: &lists, macros: &macros, environment },
            &meanings,
            &mut found,
        );
        findings.extend(found.into_iter().map(|finding| {
            let finding = finding.item("rule", &draft.name);
            match finding.span.and_then(|span| definitions.around(span)) {
                Some((kind, name)) => {
                    let name = name.escape_debug();
                    finding.label(draft.span, format!("this rule uses it through the {kind} `{name}`"))
                }
                None => finding,
            }
        }));
        rules.extend(built);
    }
    // A rule that does not compile would leave what it uses unused.
    if !findings.iter().any(Diagnostic::is_error) {
        findings.extend(unused(&lists, &macros));
    }
    select(&mut rules, options);
    (rules, findings)
}

fn unused<'a>(lists: &Lists<'a>, macros: &Macros<'a>) -> Vec<Diagnostic> {
    let macros = macros.unused().map(|entry| {
        let message = format!("macro `{}` is not used by any rule or macro", entry.name);
        Diagnostic::new(code::UNUSED_MACRO, message).at(entry.span).item("macro", &entry.name)
    });
    let lists = lists.unused().map(|list| {
        let message = format!("list `{}` is not used by any rule, macro or list", list.name);
        Diagnostic::new(code::UNUSED_LIST, message).at(list.span).item("list", &list.name)
    });
    macros.chain(lists).collect()
}

fn build(
    draft: &RuleDraft,
    id: RuleId,
    place: Place<'_, '_>,
    meanings: &Meanings,
    found: &mut Vec<Diagnostic>,
) -> Option<Rule> {
    let mut errors = Vec::new();
    let condition = match compile(draft, place, found) {
        Ok(condition) => Some(condition),
        Err(findings) => {
            errors.extend(findings);
            None
        }
    };
    let output =
        OutputFormat::parse_in(&draft.output, place.environment).map_err(|error| errors.push(error)).ok();
    let (Some((tree, node, window)), Some(output)) = (condition, output) else {
        let unknown = !errors.is_empty() && errors.iter().all(|error| UNKNOWN_THINGS.contains(&error.code));
        if draft.skip_if_unknown && (unknown || unknown_output(&errors)) {
            let reason = errors.first().map_or(String::new(), |error| format!(": {}", error.message));
            let message = format!("rule `{}` is skipped{reason}", draft.name.escape_debug());
            found.push(Diagnostic::new(code::UNKNOWN_FILTER, message).at(draft.span));
        } else {
            found.append(&mut errors);
        }
        return None;
    };
    let events = match event_set::of_condition(&tree) {
        Ok(events) => events,
        Err(finding) => {
            found.push(finding);
            return None;
        }
    };
    if draft.warn_evttypes && events.len() > MANY_EVENTS {
        let finding = Diagnostic::new(code::TOO_MANY_EVENTS, "rule is tried on too many event types")
            .at(draft.span)
            .help("compare `evt.type`, as in `evt.type in (open, openat)`");
        found.push(match open_alternative(&tree) {
            Some(span) => finding.label(span, "this alternative names no event type"),
            None => finding,
        });
    }
    Some(Rule {
        id,
        name: draft.name.clone(),
        desc: draft.desc.clone(),
        priority: draft.priority,
        tags: draft.tags.iter().cloned().collect(),
        source: draft.source.clone(),
        enabled: draft.enabled,
        output: output.lenient(),
        events,
        condition: meanings.narrow(node),
        condition_text: tree.to_string(),
        window,
        responses: responses(draft).map(Arc::new),
        span: draft.span,
    })
}

/// What is asked to be done: Falco's key `capture` is one more of them.
fn responses(draft: &RuleDraft) -> Option<Responses> {
    let mut responses =
        draft.responses.clone().unwrap_or(Responses { mode: Mode::Enforce, actions: Vec::new() });
    let has_capture = responses.actions.iter().any(|action| matches!(action, Action::Capture { .. }));
    if draft.capture && !has_capture {
        let ms = Some(draft.capture_duration_ms).filter(|ms| *ms > 0).unwrap_or(CAPTURE_MS);
        responses.actions.push(Action::Capture { ms: ms.min(CAPTURE_MAX_MS) });
    }
    (!responses.actions.is_empty()).then_some(responses)
}

/// The alternative that spoils a condition whose other alternatives name their event types.
fn open_alternative(tree: &Expr) -> Option<Span> {
    let parts = match tree {
        Expr::And(parts) => {
            return parts.iter().filter(|part| matches!(part, Expr::Or(_))).find_map(open_alternative);
        }
        Expr::Or(parts) => parts,
        _ => return None,
    };
    let is_open = |part: &Expr| event_set::of_condition(part).is_ok_and(|events| events.len() > MANY_EVENTS);
    let (open, named): (Vec<&Expr>, Vec<&Expr>) = parts.iter().partition(|part| is_open(part));
    open.first().filter(|_| !named.is_empty()).map(|part| part.span())
}

/// Errors that `skip-if-unknown-filter` turns into a warning.
const UNKNOWN_THINGS: [Code; 2] = [code::UNKNOWN_FIELD, code::UNKNOWN_EVENT];

fn unknown_output(errors: &[Diagnostic]) -> bool {
    let skippable =
        |error: &Diagnostic| error.code == code::BAD_OUTPUT || UNKNOWN_THINGS.contains(&error.code);
    !errors.is_empty() && errors.iter().all(skippable)
}

/// A condition as a tree and typed, and what the rule asks for beyond it.
type Compiled = (Expr, Node, Option<Arc<Window>>);

/// Condition and exceptions to a tree and its typed form.
fn compile(
    draft: &RuleDraft,
    place: Place<'_, '_>,
    found: &mut Vec<Diagnostic>,
) -> Result<Compiled, Vec<Diagnostic>> {
    let text = with_exceptions(draft).map_err(|finding| vec![finding])?;
    let tree = place.macros.condition(&text, place.lists, draft.span)?;
    let (tree, window) =
        if draft.window.is_empty() { (tree, None) } else { draft.window.compile(tree, place, draft.span)? };
    warn(&tree, found);
    let mut checker = Checker::new(place.environment).with_sets(place.lists.sets());
    let node = checker.condition(&tree);
    let (errors, warnings): (Vec<_>, Vec<_>) = checker.take().into_iter().partition(Diagnostic::is_error);
    found.extend(warnings);
    node.map(|node| (tree, node, window)).ok_or(errors)
}

fn with_exceptions(draft: &RuleDraft) -> Result<Mapped, Diagnostic> {
    if draft.exceptions.iter().all(|exception| exception.values.is_empty()) {
        return Ok(draft.condition.clone());
    }
    let mut text = Mapped::default();
    text.push_fixed("(", draft.span);
    text.push_mapped(&draft.condition);
    text.push_fixed(")", draft.span);
    for exception in &draft.exceptions {
        exception.write(&mut text)?;
    }
    Ok(text)
}

/// Comparisons that parse and compile but should not be written.
fn warn(expr: &Expr, found: &mut Vec<Diagnostic>) {
    match expr {
        Expr::And(parts) | Expr::Or(parts) => parts.iter().for_each(|part| warn(part, found)),
        Expr::Not(inner) => warn(inner, found),
        Expr::Macro(_) => {}
        Expr::Check(check) => found.extend(warn_check(check)),
    }
}

fn warn_check(check: &Check) -> Option<Diagnostic> {
    let values: &[Literal] = match &check.right {
        Right::Value(value) => std::slice::from_ref(value),
        Right::List(_, values) => values,
        _ => &[],
    };
    let whole = matches!(check.op, Op::Eq | Op::Ne) || check.op.takes_list();
    if whole
        && values.iter().any(|value| value.bytes == b"<NA>")
        && names_field(&check.left, &|name| name.starts_with("ka.") || name.starts_with("jevt."))
    {
        return Some(
            Diagnostic::new(code::UNSAFE_NA, "a missing value does not compare as `<NA>`")
                .at(check.span)
                .help("use `exists`"),
        );
    }
    if names_field(&check.left, &|name| name == "evt.dir") {
        return Some(
            Diagnostic::new(code::DEPRECATED, "field `evt.dir` is deprecated")
                .at(check.span)
                .help("only exits are recorded: `evt.dir=<` is always true, leave it out"),
        );
    }
    None
}

fn names_field(operand: &Operand, wanted: &dyn Fn(&str) -> bool) -> bool {
    match operand {
        Operand::Field(field) => wanted(&field.name),
        Operand::Transform(transform) => transform.args.iter().any(|arg| names_field(arg, wanted)),
        Operand::List(items, _) => items.iter().any(|item| names_field(item, wanted)),
        Operand::Text(_) => false,
    }
}

/// Applies the selection and the lowest severity.
fn select(rules: &mut [Rule], options: &LoadOptions) {
    for rule in rules {
        for selection in &options.selection {
            if let Some(enable) = selection.decides(&rule.name, &rule.tags) {
                rule.enabled = enable;
            }
        }
        if options.min_priority.is_some_and(|lowest| rule.priority > lowest) {
            rule.enabled = false;
        }
    }
}
