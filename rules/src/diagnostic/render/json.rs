//! Findings as a JSON array, one object each.

use serde::Serialize;

use crate::{
    diagnostic::Diagnostic,
    source::{SourceMap, Span},
};

/// A finding as it is written.
#[derive(Serialize)]
struct Finding<'a> {
    code: &'a str,
    severity: String,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    location: Option<Place<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    labels: Vec<Labelled<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    help: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    falco_code: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    item: Option<Item<'a>>,
}

#[derive(Serialize)]
struct Place<'a> {
    file: &'a str,
    line: u32,
    column: u32,
    offset: u32,
    length: u32,
}

#[derive(Serialize)]
struct Labelled<'a> {
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    location: Option<Place<'a>>,
}

#[derive(Serialize)]
struct Item<'a> {
    kind: &'a str,
    name: &'a str,
}

/// Renders all findings as one JSON array on one line.
pub fn json(diagnostics: &[Diagnostic], sources: &SourceMap) -> String {
    let findings: Vec<Finding<'_>> = diagnostics
        .iter()
        .map(|diagnostic| Finding {
            code: diagnostic.code.0,
            severity: diagnostic.severity.to_string(),
            message: &diagnostic.message,
            location: diagnostic.span.and_then(|span| place(span, sources)),
            labels: diagnostic
                .labels
                .iter()
                .map(|label| Labelled { message: &label.message, location: place(label.span, sources) })
                .collect(),
            help: diagnostic.help.as_deref(),
            falco_code: diagnostic.falco_code,
            item: diagnostic.item.as_ref().map(|item| Item { kind: item.kind, name: &item.name }),
        })
        .collect();
    // Strings and numbers only: nothing here can fail to serialise.
    serde_json::to_string(&findings).unwrap_or_default()
}

fn place(span: Span, sources: &SourceMap) -> Option<Place<'_>> {
    let at = sources.locate(span)?;
    Some(Place {
        file: at.file,
        line: at.line,
        column: at.column,
        offset: span.start,
        length: span.end.saturating_sub(span.start),
    })
}
