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
    // What it is about: kinds and names of items are the same there and here.
    for (key, error) in [("errors_expected", true), ("warnings_expected", false)] {
        for wanted in list(case, key) {
            let found = loaded.diagnostics.iter().any(|finding| {
                let (kind, name) =
                    finding.item.as_ref().map_or(("", ""), |item| (item.kind, item.name.as_str()));
                let same_name =
                    wanted.get("itemname").and_then(Value::as_str).is_none_or(|wanted| wanted == name);
                let same_kind = kind.is_empty() || text(wanted, "itemtype") == kind;
                finding.is_error() == error
                    && finding.falco_code == Some(text(wanted, "code"))
                    && same_name
                    && same_kind
            });
            same(&found, &true).map_err(|_| explain(format!("no such finding: {wanted}")))?;
        }
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
        let result = selections(op).ok_or_else(|| "not of a known form".to_owned());
        report.check(op, result.and_then(|(enable, chosen)| check_selection(case, enable, &chosen)));
    }
}

/// What is selected by: `KIND "TEXT"`, several texts with commas between, and whether it enables or disables.
fn selections(op: &str) -> Option<(bool, Vec<Selection>)> {
    let (words, rest) = op.split_once('"')?;
    let mut words = words.split_whitespace().peekable();
    let enable = words.next_if(|word| *word == "disable").is_none();
    words.next_if(|word| *word == "enable");
    let kind = words.next()?;
    let texts = rest.trim_end().strip_suffix('"')?;
    let chosen = texts.split("\", \"").map(|text| {
        let select = if enable { Selection::EnableRule } else { Selection::DisableRule };
        Some(match kind {
            "substring" => select(format!("*{text}*")),
            "tag" | "tags" if enable => Selection::EnableTag(text.to_owned()),
            "tag" | "tags" => Selection::DisableTag(text.to_owned()),
            // Upstream's call with an empty text means all rules; the configuration has no such form but `*`.
            "exact" | "name" if text.is_empty() => select("*".to_owned()),
            "exact" | "name" | "wildcard" | "glob" => select(text.to_owned()),
            _ => return None,
        })
    });
    Some((enable, chosen.collect::<Option<Vec<_>>>()?))
}

/// All rules are disabled first, or enabled; those that are not so behind the selection are what it matches.
fn check_selection(case: &Value, enable: bool, chosen: &[Selection]) -> Result<(), String> {
    let mut rules = String::new();
    let mut names = Vec::new();
    for rule in list(case, "rules").iter().filter_map(Value::as_str) {
        let remark =
            [" (enabled", " (disabled", " [tags:"].into_iter().filter_map(|mark| rule.find(mark)).min();
        let (name, rest) = rule.split_at(remark.unwrap_or(rule.len()));
        let tags = rest.split_once("[tags:").map_or("", |(_, tags)| tags.trim().trim_end_matches(']'));
        names.push(name.to_owned());
        rules += "- rule: ";
        rules += &Value::from(name).to_string();
        rules += "\n  desc: d\n  condition: evt.type=open\n  output: o\n  priority: INFO\n  tags: [";
        rules += tags;
        rules += "]\n";
    }
    let all = "*".to_owned();
    let mut selection = vec![if enable { Selection::DisableRule(all) } else { Selection::EnableRule(all) }];
    selection.extend_from_slice(chosen);
    let options = LoadOptions { selection, ..LoadOptions::default() };
    let loaded = load::load(&[Source { name: "r".to_owned(), text: rules.into() }], &options);
    let rules = loaded.rules.ok_or("does not load")?;
    let enabled: Vec<&str> = rules.rules().iter().map(|rule| rule.name.as_str()).collect();
    let got: Vec<&str> =
        names.iter().map(String::as_str).filter(|name| enabled.contains(name) == enable).collect();
    let wanted: Vec<&str> = list(case, "matches").iter().filter_map(Value::as_str).collect();
    same(&got, &wanted)
}
