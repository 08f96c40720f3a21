//! The agent's direction of data: which of its modules may name which.
//!
//! Data flows `kernel → event → state → engine → alert → output`; what is not listed here (wiring, command line,
//! policy, configuration) may name anything public.

use super::source::Source;
use super::{Report, is_test};

/// A stage and the modules of the crate it may name besides itself.
const STAGES: [(&str, &[&str]); 8] = [
    ("kernel", &["event"]),
    ("event", &[]),
    ("state", &["event"]),
    // The alert is made where the match is, while the event's borrowed bytes are still there.
    ("engine", &["alert", "event", "state", "trading"]),
    // Made of its section of the configuration when rules are loaded; the engine only asks it.
    ("trading", &["config"]),
    ("alert", &["engine", "event", "state"]),
    ("output", &["alert", "config", "telemetry"]),
    ("spool", &[]),
];
/// Sources of the crate that the table is about.
const CRATE: &str = "agent/src/";

/// Compares what a stage's file names with the table.
pub(super) fn check(source: &Source, report: &mut Report) {
    let Some(module) = source.path.strip_prefix(CRATE).filter(|_| !is_test(source)) else { return };
    let stage = module.split(['/', '.']).next().unwrap_or_default();
    let Some((_, allowed)) = STAGES.iter().find(|(name, _)| *name == stage) else { return };
    for (line, named) in named(source) {
        if named != stage && !allowed.contains(&named.as_str()) {
            let message = format!("`{stage}` must not name `crate::{named}`; data flows one way");
            report.add(&source.path, line, "module-edge", message);
        }
    }
}

/// Modules that the production part names through `crate::`, with their lines.
fn named(source: &Source) -> Vec<(usize, String)> {
    let code: Vec<&str> = source.production_code().map(|(_, line)| line).collect();
    let code = code.join("\n");
    let mut names = Vec::new();
    for (start, path) in code.match_indices("crate::") {
        let word = |character: char| character.is_alphanumeric() || character == '_';
        // `pub(in crate::…)` and `$crate::…` mean the same; a longer word does not.
        if code.get(..start).and_then(|before| before.chars().next_back()).is_some_and(word) {
            continue;
        }
        let line = 1 + code.get(..start).map_or(0, |before| before.matches('\n').count());
        let rest = code.get(start + path.len()..).unwrap_or_default();
        names.extend(first_segments(rest).into_iter().map(|name| (line, name)));
    }
    // Items of the crate's root (macros, types) begin with a capital or are no modules; modules are lower case.
    names.retain(|(_, name)| name.chars().next().is_some_and(char::is_lowercase));
    names
}

/// `a` of `a::b`, or of each entry of a group `{a::b, c::{d, e}}`.
fn first_segments(rest: &str) -> Vec<String> {
    let word = |text: &str| -> String {
        text.trim_start()
            .chars()
            .take_while(|character| character.is_alphanumeric() || *character == '_')
            .collect()
    };
    let Some(group) = rest.strip_prefix('{') else { return vec![word(rest)] };
    let mut names = vec![word(group)];
    let mut depth = 0_usize;
    for (index, character) in group.char_indices() {
        match character {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => names.push(word(group.get(index + 1..).unwrap_or_default())),
            _ => {}
        }
    }
    names.retain(|name| !name.is_empty());
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(path: &str, text: &str) -> Vec<usize> {
        let mut report = Report::default();
        check(&Source::new(path.to_owned(), text), &mut report);
        report.findings.into_iter().map(|finding| finding.line).collect()
    }

    #[test]
    fn a_stage_names_only_what_its_row_allows() {
        assert!(findings("agent/src/state.rs", "use crate::event::Event;\n").is_empty());
        assert_eq!(findings("agent/src/state/process.rs", "\nuse crate::engine::Detector;\n"), [2]);
        assert!(findings("agent/src/app.rs", "use crate::engine::Detector;\n").is_empty());
    }

    #[test]
    fn groups_are_looked_into() {
        let text = "use crate::{\n    event::{Event, names},\n    output::Fanout,\n};\n";
        assert_eq!(findings("agent/src/state.rs", text), [1]);
        assert_eq!(first_segments("{a::{b, c}, d::e, f}"), ["a", "d", "f"]);
        assert_eq!(first_segments("a::{b, c}"), ["a"]);
    }

    #[test]
    fn tests_may_name_anything() {
        assert!(findings("agent/src/event/tests.rs", "use crate::app;\n").is_empty());
        assert!(
            findings("agent/src/event.rs", "#[cfg(test)]\nmod tests {\n    use crate::app;\n}\n").is_empty()
        );
    }
}
