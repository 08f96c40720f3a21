//! Rule files: findings, resolved conditions, selection.

use std::collections::BTreeSet;

use rampart_rules::load::{self, LoadOptions, Selection, Source};
use serde_json::Value;

use crate::report::{Report, cases, list, same, text};

pub(crate) fn rule_load(section: &Value, report: &mut Report) {
    for case in cases(section) {
        let mut options = LoadOptions { strict_falco: true, ..LoadOptions::default() };
        // Upstream's unit tests run without any plugin.
        if text(case, "source").starts_with("falcosecurity/falco:unit_tests") {
            options.plugins.clear();
        }
        let mut sources: Vec<Source> = list(case, "files")
            .iter()
            .map(|file| Source { name: text(file, "name").to_owned(), text: text(file, "rules").into() })
            .collect();
        if let Some(rules) = case.get("rules").and_then(Value::as_str) {
            sources.push(Source { name: "rules.yaml".to_owned(), text: rules.into() });
        }
        report.check(text(case, "name"), check(case, &sources, &options));
    }
}

fn check(case: &Value, sources: &[Source], options: &LoadOptions) -> Result<(), String> {
    let loaded = load::load(sources, options);
    let errors: Vec<&str> = loaded
        .diagnostics
        .iter()
        .filter(|finding| finding.is_error())
        .filter_map(|finding| finding.falco_code)
        .collect();
    let seen = rampart_rules::diagnostic::render::concise(&loaded.diagnostics, &loaded.sources);
    let explain = |difference: String| format!("{difference}\n{seen}");
    let got = if loaded.rules.is_some() { "ok" } else { "error" };
    same(&got, &text(case, "expect")).map_err(explain)?;
    if let Some(code) = case.get("code").and_then(Value::as_str) {
        same(&errors.first().copied(), &Some(code)).map_err(explain)?;
    }
    let warnings: BTreeSet<&str> = loaded
        .diagnostics
        .iter()
        .filter(|finding| !finding.is_error())
        .filter_map(|finding| finding.falco_code)
        .collect();
    let wanted: BTreeSet<&str> = list(case, "warning_codes").iter().filter_map(Value::as_str).collect();
    // Behind an error Falco says nothing more, while here all findings are reported.
    if got == "ok" || !wanted.is_empty() {
        same(&warnings, &wanted).map_err(explain)?;
    }
    let Some(rules) = &loaded.rules else { return Ok(()) };
    let all = || rules.rules().iter().chain(rules.disabled());
    for (name, condition) in case.get("compiled_condition").and_then(Value::as_object).into_iter().flatten() {
        let got = all().find(|rule| rule.name == *name).map(|rule| rule.condition_text.as_str());
        same(&got, &condition.as_str())?;
    }
    if let Some(enabled) = case.get("rules_enabled").and_then(Value::as_u64) {
        same(&(rules.rules().len() as u64), &enabled)?;
    }
    Ok(())
}

pub(crate) fn selection(section: &Value, report: &mut Report) {
    for case in list(section, "wildcard") {
        let (pattern, subject) = (text(case, "pattern"), text(case, "text"));
        let wanted = case.get("match").and_then(Value::as_bool).unwrap_or(false);
        report.check(&format!("{pattern} {subject}"), same(&load::wildcard(pattern, subject), &wanted));
    }
    for case in cases(section) {
        let op = text(case, "op");
        let Some((kind, argument)) =
            op.split_once(" \"").map(|(kind, rest)| (kind, rest.trim_end_matches('"')))
        else {
            report.check(op, Err("not of a known form".to_owned()));
            continue;
        };
        let selection = match kind {
            "substring" => Selection::EnableRule(format!("*{argument}*")),
            "tag" => Selection::EnableTag(argument.to_owned()),
            // Upstream's call with an empty text means all rules; the configuration has no such form but `*`.
            "exact" if argument.is_empty() => Selection::EnableRule("*".to_owned()),
            "exact" => Selection::EnableRule(argument.to_owned()),
            _ => {
                report.check(op, Err("not of a known form".to_owned()));
                continue;
            }
        };
        report.check(op, check_selection(case, selection));
    }
}

/// All rules are disabled first; what the selection enables is what it matches.
fn check_selection(case: &Value, selection: Selection) -> Result<(), String> {
    let mut rules = String::new();
    for rule in list(case, "rules").iter().filter_map(Value::as_str) {
        let (name, rest) = rule.split_once(" (").or_else(|| rule.split_once(" [")).unwrap_or((rule, ""));
        let tags = rest.strip_prefix("tags: ").map_or("", |tags| tags.trim_end_matches(']'));
        rules += "- rule: ";
        rules += name;
        rules += "\n  desc: d\n  condition: evt.type=open\n  output: o\n  priority: INFO\n  tags: [";
        rules += tags;
        rules += "]\n";
    }
    let options = LoadOptions {
        selection: vec![Selection::DisableRule("*".to_owned()), selection],
        ..LoadOptions::default()
    };
    let loaded = load::load(&[Source { name: "r".to_owned(), text: rules.into() }], &options);
    let rules = loaded.rules.ok_or("does not load")?;
    let got: Vec<&str> = rules.rules().iter().map(|rule| rule.name.as_str()).collect();
    let wanted: Vec<&str> = list(case, "matches").iter().filter_map(Value::as_str).collect();
    same(&got, &wanted)
}
