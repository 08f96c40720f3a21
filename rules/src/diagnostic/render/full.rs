//! Findings with the source lines they are about, carets below the place, and help.

use std::fmt::Write as _;

use crate::{
    diagnostic::Diagnostic,
    source::{SourceMap, Span},
};

/// Longest part of a source line that is shown, in characters; longer lines are cut around the place.
const LINE_LIMIT: usize = 120;

/// Renders each finding over several lines, with an empty line behind each.
pub fn full(diagnostics: &[Diagnostic], sources: &SourceMap) -> String {
    let mut out = String::new();
    for diagnostic in diagnostics {
        let _infallible =
            writeln!(out, "{}[{}]: {}", diagnostic.severity, diagnostic.code, diagnostic.message);
        let width = gutter(diagnostic, sources);
        if let Some(span) = diagnostic.span {
            snippet(&mut out, sources, span, width, "");
        }
        for label in &diagnostic.labels {
            snippet(&mut out, sources, label.span, width, &label.message);
        }
        if let Some(help) = &diagnostic.help {
            let _infallible = writeln!(out, "{:width$} = help: {help}", "");
        }
        out.push('\n');
    }
    out
}

/// Digits of the largest line number shown.
fn gutter(diagnostic: &Diagnostic, sources: &SourceMap) -> usize {
    let spans = diagnostic.span.into_iter().chain(diagnostic.labels.iter().map(|label| label.span));
    let lines = spans.filter_map(|span| sources.locate(span)).map(|place| place.line);
    lines.max().map_or(1, |line| line.to_string().len())
}

fn snippet(out: &mut String, sources: &SourceMap, span: Span, width: usize, message: &str) {
    let (Some(place), Some(file)) = (sources.locate(span), sources.file(span.source)) else { return };
    let _infallible = writeln!(out, "{:width$}--> {}:{}:{}", "", place.file, place.line, place.column);
    let Some(line) = file.line(place.line) else { return };
    let (last_line, last_column) = file.position(span.end);
    let column = place.column as usize - 1;
    let characters = line.chars().count();
    let stop = if last_line == place.line { last_column as usize - 1 } else { characters };
    let from = if characters > LINE_LIMIT { column.saturating_sub(LINE_LIMIT / 3) } else { 0 };
    let shown: String = line.chars().skip(from).take(LINE_LIMIT).map(printable).collect();
    let carets = stop.saturating_sub(column).clamp(1, LINE_LIMIT.saturating_sub(column - from).max(1));
    let _infallible = writeln!(out, "{:width$} |", "");
    let _infallible = writeln!(out, "{:>width$} | {shown}", place.line);
    let marks = format!("{:pad$}{:^<carets$} {message}", "", "", pad = column - from);
    let _infallible = writeln!(out, "{:width$} | {}", "", marks.trim_end());
}

/// Control characters would break the carets, or the terminal.
fn printable(character: char) -> char {
    match character {
        '\t' => ' ',
        control if control.is_control() => char::REPLACEMENT_CHARACTER,
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{diagnostic::code, source::SourceId};

    #[test]
    fn carets_stand_below_the_place() {
        let mut sources = SourceMap::default();
        let id = sources.add("a.yaml", "one\n  two three\n");
        let finding = Diagnostic::new(code::UNKNOWN_FIELD, "unknown field `three`")
            .at(Span::new(id, 10..15))
            .help("did you mean `two`?");
        let expected = "error[RMP0110]: unknown field `three`\n --> a.yaml:2:7\n  |\n2 |   two three\n  |       \
                        ^^^^^\n  = help: did you mean `two`?\n\n";
        assert_eq!(full(&[finding], &sources), expected);
    }

    #[test]
    fn odd_spans_do_not_break_it() {
        let mut sources = SourceMap::default();
        let id = sources.add("a.yaml", format!("{}\u{7}ç", "x".repeat(500)));
        for (start, end) in [(0, 0), (499, 600), (600, 700), (503, 504), (5, 1)] {
            let span = Span { source: id, start, end };
            assert!(full(&[Diagnostic::new(code::SYNTAX, "m").at(span)], &sources).contains("a.yaml"));
        }
        let gone = Span::new(SourceId(9), 0..1);
        assert!(full(&[Diagnostic::new(code::SYNTAX, "m").at(gone)], &sources).starts_with("error"));
    }
}
