//! Findings in the shape of Falco's validation result: `{"falco_load_results": [{name, successful, errors,
//! warnings}]}`, one entry per file. Codes are Falco's; messages are ours.

use std::borrow::Cow;

use serde::Serialize;

use crate::{
    diagnostic::Diagnostic,
    source::{SourceId, SourceMap, Span},
};

/// Longest part of a line that is shown, characters; the width is Falco's.
const SNIPPET_LIMIT: usize = 160;

#[derive(Serialize)]
struct Results<'a> {
    falco_load_results: Vec<File<'a>>,
}

#[derive(Serialize)]
struct File<'a> {
    name: &'a str,
    successful: bool,
    errors: Vec<Entry<'a>>,
    warnings: Vec<Entry<'a>>,
}

#[derive(Serialize)]
struct Entry<'a> {
    context: Context<'a>,
    code: &'a str,
    codedesc: &'a str,
    message: &'a str,
}

#[derive(Serialize)]
struct Context<'a> {
    locations: Vec<Place<'a>>,
    snippet: Cow<'a, str>,
}

#[derive(Serialize)]
struct Place<'a> {
    item_type: &'a str,
    item_name: &'a str,
    position: Position<'a>,
}

#[derive(Serialize)]
struct Position<'a> {
    name: &'a str,
    line: u32,
    column: u32,
    offset: u32,
}

/// Renders the findings that Falco's loader has too; of the errors of a file only the first with
/// `first_error_only`, as Falco stops there. `unreadable` are files that could not be read, with the reason.
pub fn falco(
    diagnostics: &[Diagnostic],
    sources: &SourceMap,
    unreadable: &[(String, String)],
    first_error_only: bool,
) -> String {
    let files = sources.files().iter().zip(0..).map(|(file, index)| {
        let of_file = |finding: &&Diagnostic| {
            finding.span.is_some_and(|span| span.source == SourceId(index)) && finding.falco_code.is_some()
        };
        let (errors, warnings): (Vec<&Diagnostic>, Vec<&Diagnostic>) =
            diagnostics.iter().filter(of_file).partition(|finding| finding.is_error());
        let shown = if first_error_only { 1 } else { errors.len() };
        File {
            name: file.name(),
            successful: errors.is_empty(),
            errors: errors.into_iter().take(shown).filter_map(|finding| entry(finding, sources)).collect(),
            warnings: warnings.into_iter().filter_map(|finding| entry(finding, sources)).collect(),
        }
    });
    let missing = unreadable.iter().map(|(name, message)| File {
        name,
        successful: false,
        errors: vec![missing(name, message)],
        warnings: Vec::new(),
    });
    let results = Results { falco_load_results: files.chain(missing).collect() };
    // Strings and numbers only: nothing here can fail to serialise.
    serde_json::to_string(&results).unwrap_or_default()
}

fn missing<'a>(name: &'a str, message: &'a str) -> Entry<'a> {
    let position = Position { name, line: 0, column: 0, offset: 0 };
    Entry {
        context: Context {
            locations: vec![Place { item_type: "file", item_name: "", position }],
            snippet: Cow::Borrowed(""),
        },
        code: "LOAD_ERR_FILE_READ",
        codedesc: "file cannot be read",
        message,
    }
}

fn entry<'a>(finding: &'a Diagnostic, sources: &'a SourceMap) -> Option<Entry<'a>> {
    let span: Span = finding.span?;
    let at = sources.locate(span)?;
    let (item_type, item_name) =
        finding.item.as_ref().map_or(("rules content", ""), |item| (item.kind, item.name.as_str()));
    let position = Position { name: at.file, line: at.line, column: at.column, offset: span.start };
    Some(Entry {
        context: Context {
            locations: vec![Place { item_type, item_name, position }],
            snippet: snippet(sources.file(span.source)?.line(at.line).unwrap_or(""), at.column),
        },
        code: finding.falco_code?,
        codedesc: finding.code.info().title,
        message: &finding.message,
    })
}

/// The line, or the part of a long one around a column.
fn snippet(line: &str, column: u32) -> Cow<'_, str> {
    if line.len() <= SNIPPET_LIMIT {
        return Cow::Borrowed(line);
    }
    let from = (column as usize).saturating_sub(SNIPPET_LIMIT / 2);
    Cow::Owned(line.chars().skip(from).take(SNIPPET_LIMIT).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::{LoadOptions, Source, load};

    #[test]
    fn files_succeed_and_fail_one_by_one() {
        let texts =
            ["- list: l\n  items: []\n", "- macro: m\n  condition: a b\n- macro: n\n  condition: (\n"];
        let sources = texts.map(|text| Source { name: "f.yaml".to_owned(), text: text.into() });
        let loaded = load(&sources, &LoadOptions::default());
        let text = falco(&loaded.diagnostics, &loaded.sources, &[], true);
        let json: serde_json::Value = serde_json::from_str(&text).unwrap();
        let files = &json["falco_load_results"];
        assert_eq!(files[0]["successful"], true);
        assert_eq!(files[1]["successful"], false);
        assert_eq!(files[1]["errors"].as_array().unwrap().len(), 1);
        let error = &files[1]["errors"][0];
        assert_eq!(error["code"], "LOAD_ERR_COMPILE_CONDITION");
        assert_eq!(error["context"]["snippet"], "  condition: a b");
        let place = &error["context"]["locations"][0];
        assert_eq!((&place["item_type"], &place["item_name"]), (&"macro".into(), &"m".into()));
        assert_eq!(place["position"]["line"], 2);
    }
}
