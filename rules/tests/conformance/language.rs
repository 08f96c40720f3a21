//! Conditions as text: quoting, grammar, types, event sets.

use rampart_rules::{
    catalog,
    condition::{self, quote},
    diagnostic::{Diagnostic, code},
    event_set::{self, EventSet},
    source::Mapped,
    typed::{Checker, Environment},
};
use serde_json::Value;

use crate::mock;
use crate::report::{Report, cases, list, same, text};

pub(crate) const ENVIRONMENT: Environment = Environment { container_fields: true, strict: true };

pub(crate) fn unescape(section: &Value, report: &mut Report) {
    for case in cases(section) {
        let token = text(case, "token");
        let mark = token.chars().next().unwrap_or('"');
        let got = token
            .strip_prefix(mark)
            .and_then(|rest| rest.strip_suffix(mark))
            .and_then(|inner| quote::unescape(inner, mark).ok())
            .map(|bytes| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().concat());
        let wanted = case.get("bytes_hex").and_then(Value::as_str).map(str::to_owned);
        report.check(token, same(&got, &wanted));
    }
}

pub(crate) fn escape(section: &Value, report: &mut Report) {
    for case in cases(section) {
        let raw = text(case, "raw");
        report.check(raw, same(&quote::quoted(raw.as_bytes()), &text(case, "out").to_owned()));
    }
}

pub(crate) fn parse(section: &Value, report: &mut Report) {
    let parses = |text: &str| condition::parse(&Mapped::plain(text), condition::DEFAULT_DEPTH);
    for case in list(section, "accept") {
        let condition = text(case, "condition");
        let mut result = parses(condition).map(drop).map_err(|error| format!("refused: {}", error.message));
        // Blanks around it and other blanks inside it change nothing, but for the escape of a blank.
        if !condition.contains("\\ ") {
            let forms =
                [format!(" {condition}\n"), condition.replace(' ', "\n"), condition.replace(' ', "\t")];
            for form in forms {
                result = result.and_then(|()| {
                    parses(&form).map(drop).map_err(|error| format!("refused as {form:?}: {}", error.message))
                });
            }
        }
        // What is printed parses to what was printed.
        result = result.and_then(|()| {
            let printed = parses(condition).map_or_else(|error| error.message, |tree| tree.to_string());
            let again = parses(&printed).map_or_else(|error| error.message, |tree| tree.to_string());
            same(&again, &printed)
        });
        report.check(condition, result);
    }
    for case in list(section, "reject") {
        let condition = text(case, "condition");
        let result = match parses(condition) {
            Ok(tree) => Err(format!("accepted as {tree}")),
            Err(_) => Ok(()),
        };
        report.check(condition, result);
    }
}

pub(crate) fn compile(section: &Value, report: &mut Report) {
    for case in cases(section) {
        let condition = text(case, "condition");
        let real = mock::typed(condition);
        let (compiles, findings) = checked(&real);
        let got = if compiles { "ok" } else { "error" };
        let first = findings.iter().find(|finding| finding.is_error()).map(|finding| finding.message.clone());
        let mut result = same(&got, &text(case, "expect"))
            .map_err(|difference| format!("{difference} {}", first.unwrap_or_default()));
        if let Some(wanted) = case.get("warnings").and_then(Value::as_u64) {
            // Lints of our own have no code there.
            let theirs = |finding: &&Diagnostic| {
                !finding.is_error() && finding.falco_code == Some("LOAD_COMPILE_CONDITION")
            };
            let warnings = findings.iter().filter(theirs).count() as u64;
            result = result.and_then(|()| same(&warnings, &wanted));
        }
        report.check(condition, result);
    }
}

/// Parses and checks a condition alone: which events it can match is asked elsewhere.
fn checked(condition: &str) -> (bool, Vec<Diagnostic>) {
    match condition::parse(&Mapped::plain(condition), condition::DEFAULT_DEPTH) {
        Ok(tree) => {
            let mut checker = Checker::new(ENVIRONMENT);
            let compiles = checker.condition(&tree).is_some();
            (compiles, checker.take())
        }
        Err(error) => (false, vec![Diagnostic::new(code::SYNTAX, error.message)]),
    }
}

/// Warnings are made by the loader, about rules; some of these fields exist in no source known here.
pub(crate) fn warnings(section: &Value, report: &mut Report) {
    for case in cases(section) {
        let condition = text(case, "condition");
        let wanted = case.get("warns").and_then(Value::as_bool).unwrap_or(false).then(|| text(case, "code"));
        let rule = format!(
            "- rule: r\n  desc: d\n  output: o\n  priority: INFO\n  condition: >\n    {condition}\n  warn_evttypes: false\n"
        );
        let source = rampart_rules::load::Source { name: "r".to_owned(), text: rule.into_bytes() };
        let loaded = rampart_rules::load::load(&[source], &rampart_rules::load::LoadOptions::default());
        let mut got = loaded.diagnostics.iter().filter(|finding| !finding.is_error());
        report.check(condition, same(&got.find_map(|finding| finding.falco_code), &wanted));
    }
}

pub(crate) fn event_sets(section: &Value, report: &mut Report) {
    let set = |text: &str| {
        let tree = condition::parse(&Mapped::plain(text), condition::DEFAULT_DEPTH)
            .map_err(|error| format!("does not parse: {}", error.message))?;
        event_set::of_condition(&tree).map_err(|finding| finding.message)
    };
    for case in cases(section) {
        let condition = text(case, "condition");
        let got = set(condition);
        let result = if let Some(events) = case.get("events").and_then(Value::as_str) {
            got.and_then(|got| same(&describe(&got), &describe(&described(events))))
        } else if let Some(other) = case.get("same_events_as").and_then(Value::as_str) {
            got.and_then(|got| set(other).and_then(|other| same(&describe(&got), &describe(&other))))
        } else {
            same(&if got.is_ok() { "ok" } else { "error" }, &text(case, "event_code_search"))
        };
        report.check(condition, result);
    }
}

fn described(text: &str) -> EventSet {
    let names = |names: &str| names.split(", ").filter_map(catalog::event).collect::<EventSet>();
    match text.split_once(": ") {
        Some(("only", list)) => names(list),
        Some((_, list)) => names(list).complement(),
        None if text == "all" => EventSet::all(),
        None => EventSet::EMPTY,
    }
}

fn describe(set: &EventSet) -> String {
    let names = |set: &EventSet| set.iter().map(|event| event.to_string()).collect::<Vec<_>>().join(" ");
    let rest = set.complement();
    if rest.len() < set.len() { format!("all but [{}]", names(&rest)) } else { format!("[{}]", names(set)) }
}
