//! One line per finding: `file:line:column: severity[CODE] message`.

use std::fmt::Write as _;

use crate::{diagnostic::Diagnostic, source::SourceMap};

/// Renders each finding on a line of its own.
pub fn concise(diagnostics: &[Diagnostic], sources: &SourceMap) -> String {
    let mut out = String::new();
    for diagnostic in diagnostics {
        if let Some(place) = diagnostic.span.and_then(|span| sources.locate(span)) {
            let _infallible = write!(out, "{}:{}:{}: ", place.file, place.line, place.column);
        }
        let _infallible =
            writeln!(out, "{}[{}] {}", diagnostic.severity, diagnostic.code, diagnostic.message);
    }
    out
}
