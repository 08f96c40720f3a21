//! Unit tests of rules: events given by their fields, and whether a rule must match them.
//!
//! A test file is a sequence of entries, one per rule: `rule` names it, `matches` lists events it must match,
//! `ignores` events it must not. An event is a map of fields; a field that is not given is missing. Under
//! `matches` an entry may also be `{event: {…}, output: TEXT}`, which checks the alert's text too.
//!
//! Instead of `evt.type` an event may have a `call`, such as `open("/etc/shadow", O_RDONLY) = 3`: then the fields
//! that follow from the call are set too, those that are given beside it stay.
//!
//! Of a rule that counts or waits, a single event is tried as the first one ever. For more, an entry may be
//! `{series: [{at: 1s, times: 5, every: 10ms, event: {…}}, …]}`: under `matches` the last event must be the one that is
//! told (or `alerts: N` of them all), under `ignores` none may be.

pub mod call;
pub mod event;
pub(crate) mod series;

mod derive;
mod why;

use crate::{
    diagnostic::{Diagnostic, Severity, code},
    load::Source,
    rule::{Rule, RuleSet},
    source::{SourceFile, SourceMap, Span},
    value::Truth,
    window::Windows,
    yaml::{self, Node},
};
use event::Event;
use series::SERIES;

/// What a run of tests gave.
#[derive(Debug, Default)]
pub struct Tested {
    /// What is wrong with the test file itself.
    pub diagnostics: Vec<Diagnostic>,
    /// The text that findings and failures point into.
    pub sources: SourceMap,
    /// Every enabled rule, in definition order.
    pub rules: Vec<Coverage>,
    /// Events that did not end as wanted, in file order.
    pub failures: Vec<Failure>,
}

/// How far a rule is tested.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Coverage {
    /// Its name.
    pub rule: String,
    /// Events it had to match.
    pub matches: usize,
    /// Events it had to ignore.
    pub ignores: usize,
    /// How many of both did not end as wanted.
    pub failed: usize,
}

/// An event that did not end as wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The rule.
    pub rule: String,
    /// The event's place.
    pub span: Span,
    /// What should have come.
    pub expected: String,
    /// What came.
    pub got: String,
    /// What decided it: parts of the condition with the values of their fields.
    pub because: Vec<String>,
}

/// Runs a test file against rules.
pub fn run(rules: &RuleSet, tests: &Source) -> Tested {
    let mut tested = Tested::default();
    let text = String::from_utf8_lossy(tests.text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&tests.text));
    let id = tested.sources.add(tests.name.clone(), text.clone());
    tested.rules = rules.rules().iter().map(|rule| Coverage::of(&rule.name)).collect();
    let (documents, faults) = yaml::parse(&text, id);
    tested.diagnostics = faults;
    for document in documents.iter().filter(|document| !document.is_null()) {
        let Some(entries) = document.as_seq() else {
            let message = format!("a test file is a sequence of entries, not {}", document.describe());
            tested.diagnostics.push(Diagnostic::new(code::NOT_A_SEQUENCE, message).at(document.span));
            continue;
        };
        for entry in entries {
            if let Err(finding) = tested.entry(rules, entry) {
                tested.diagnostics.push(finding);
            }
        }
    }
    tested
}

impl Coverage {
    fn of(rule: &str) -> Self {
        Self { rule: rule.to_owned(), matches: 0, ignores: 0, failed: 0 }
    }

    /// Whether any event was tried.
    pub fn is_tested(&self) -> bool {
        self.matches + self.ignores > 0
    }
}

impl Tested {
    /// Whether all events ended as wanted and the file is well formed.
    pub fn passed(&self) -> bool {
        self.failures.is_empty() && !self.diagnostics.iter().any(Diagnostic::is_error)
    }

    fn entry(&mut self, rules: &RuleSet, entry: &Node) -> Result<(), Diagnostic> {
        let Some(pairs) = entry.as_map() else {
            let message = format!("an entry is a map, not {}", entry.describe());
            return Err(Diagnostic::new(code::NOT_A_MAP, message).at(entry.span));
        };
        let Some(named) = entry.get("rule") else {
            return Err(Diagnostic::new(code::MISSING_KEY, "entry names no `rule`").at(entry.span));
        };
        let name = named.as_text().unwrap_or("");
        let Some((rule, index)) = rules.rules().iter().zip(0..).find(|(rule, _)| rule.name == name) else {
            let message = format!("there is no rule `{}`", name.escape_debug());
            let known = rules.rules().iter().map(|rule| rule.name.as_str());
            return Err(Diagnostic::new(code::UNKNOWN_TARGET, message)
                .at(named.span)
                .did_you_mean(name, known));
        };
        for (key, value) in pairs {
            let wanted = match key.as_text() {
                Some("rule") => continue,
                Some("matches") => true,
                Some("ignores") => false,
                _ => {
                    let name = key.as_text().unwrap_or("");
                    let message = format!("unknown key `{}` of a test", name.escape_debug());
                    let finding = Diagnostic::new(code::UNKNOWN_KEY, message).at(key.span);
                    // What is not tried must not look tested.
                    let mut finding = finding.did_you_mean(name, ["rule", "matches", "ignores"]);
                    finding.severity = Severity::Error;
                    self.diagnostics.push(finding);
                    continue;
                }
            };
            let Some(events) = value.as_seq() else {
                let message = format!("events are a sequence, not {}", value.describe());
                self.diagnostics.push(Diagnostic::new(code::WRONG_TYPE, message).at(value.span));
                continue;
            };
            for node in events {
                self.event(rules, (rule, index), node, wanted);
            }
        }
        Ok(())
    }

    fn event(&mut self, rules: &RuleSet, (rule, index): (&Rule, usize), node: &Node, wanted: bool) {
        if node.get(SERIES).is_some() {
            return self.series(rules, (rule, index), node, wanted);
        }
        let fields = node.get("event").unwrap_or(node);
        let output = node.get("event").and_then(|_| node.get("output")).and_then(Node::as_text);
        let file = self.sources.file(node.span.source).map_or("", SourceFile::text);
        let event = match Event::read(fields, file) {
            Ok(event) => event,
            Err(findings) => {
                self.diagnostics.extend(findings);
                return;
            }
        };
        let holds = rule.events.contains(event.id()) && rules.evaluate_rule(rule.id, &event) == Truth::True;
        let verdict = holds && Windows::default().passes(rule, &event, series::moment(&event, 0)).is_ok();
        let mut text = String::new();
        rule.output.render(&event, &mut text);
        let expected_text = output.map_or_else(String::new, |output| format!(": {}", output.trim()));
        let good = match output {
            Some(output) if wanted => verdict && text.trim() == output.trim(),
            _ => verdict == wanted,
        };
        if let Some(coverage) = self.rules.get_mut(index) {
            *(if wanted { &mut coverage.matches } else { &mut coverage.ignores }) += 1;
            coverage.failed += usize::from(!good);
        }
        if !good {
            let show = |alert: bool, text: &str| {
                if alert { format!("an alert{text}") } else { "silence".to_owned() }
            };
            self.failures.push(Failure {
                rule: rule.name.clone(),
                span: node.span,
                expected: show(wanted, &expected_text),
                got: show(verdict, &format!(": {text}")),
                because: if holds { Vec::new() } else { why::not(rule, &event) },
            });
        }
    }
}

#[cfg(test)]
mod tests;
