//! Values that are likely not meant as written: fields and transformers as text, plain texts as patterns.

use crate::{
    condition::{ast::Literal, parser::TRANSFORMERS},
    diagnostic::{Diagnostic, code},
    typed::field,
};

/// A text that is the name of a field or looks like a transformer.
pub(super) fn text(literal: &Literal) -> Option<Diagnostic> {
    let text = std::str::from_utf8(&literal.bytes).ok()?;
    let shown = text.escape_debug();
    let finding = if field::is_field(text.trim()) {
        Diagnostic::new(code::SUSPICIOUS_VALUE, format!("`{shown}` is compared as text but names a field"))
            .help(format!("write `val({})` to compare with the field", text.trim()))
    } else if TRANSFORMERS
        .iter()
        .any(|name| text.trim().strip_prefix(name).is_some_and(|rest| rest.trim_start().starts_with('(')))
    {
        Diagnostic::new(
            code::SUSPICIOUS_VALUE,
            format!("`{shown}` is compared as text but looks like a transformer"),
        )
        .help("remove the quotes and blanks to apply the transformer")
    } else {
        return None;
    };
    Some(finding.at(literal.span))
}

/// A regular expression without anything that needs one.
pub(super) fn regex(literal: &Literal) -> Option<Diagnostic> {
    let text = std::str::from_utf8(&literal.bytes).ok()?;
    let wild = |text: &str| [".*", ".+", ".?"].contains(&text);
    let mut core = text.strip_prefix('^').unwrap_or(text);
    core = core.strip_suffix('$').filter(|rest| !rest.ends_with('\\')).unwrap_or(core);
    if core.get(..2).is_some_and(wild) {
        core = core.get(2..).unwrap_or("");
    }
    if let Some(cut) = core.len().checked_sub(2)
        && core.get(cut..).is_some_and(wild)
    {
        core = core.get(..cut).unwrap_or("");
    }
    let special = |character: char| r".^$*+?()[]{}|\".contains(character);
    if core.is_empty() || core.contains(special) {
        return None;
    }
    Some(
        Diagnostic::new(
            code::PLAIN_REGEX,
            format!("regular expression `{}` needs no regular expression", text.escape_debug()),
        )
        .at(literal.span)
        .help("`=`, `startswith`, `endswith` or `contains` says the same and is faster"),
    )
}
