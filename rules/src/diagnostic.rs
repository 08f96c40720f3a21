//! What is wrong with a rule file, where, and what to do about it.
//!
//! A [`Diagnostic`] has a stable [`Code`], a one-line message that stands alone, the place it is about, further
//! labelled places, and help. Rendering is left to [`render`]; a diagnostic knows nothing of colours or JSON.

pub mod code;
pub mod render;

use std::fmt;

use crate::source::Span;
pub use code::{Code, CodeInfo};

/// How bad it is, worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Severity {
    /// The load fails.
    Error,
    /// The load succeeds, but something is likely not meant so.
    Warning,
    /// Worth knowing, but often meant so; only told when asked for.
    Note,
}

/// Another place that matters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Label {
    /// The place.
    pub span: Span,
    /// What is there.
    pub message: String,
}

/// The item of a rule file a diagnostic is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ItemRef {
    /// `rule`, `macro`, `list`, `required_engine_version` and so on.
    pub kind: &'static str,
    /// Its name, may be empty.
    pub name: String,
}

/// One finding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// Stable code.
    pub code: Code,
    /// How bad it is.
    pub severity: Severity,
    /// One line; lowercase, no final period, identifiers in backticks.
    pub message: String,
    /// The place it is about.
    pub span: Option<Span>,
    /// Further places.
    pub labels: Vec<Label>,
    /// What to do about it.
    pub help: Option<String>,
    /// The code Falco's loader reports for the same finding.
    pub falco_code: Option<&'static str>,
    /// The item it is about.
    pub item: Option<ItemRef>,
}

impl Diagnostic {
    /// A finding with the severity and Falco code of its code.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        let info = code.info();
        Self {
            code,
            severity: info.severity,
            message: message.into(),
            span: None,
            labels: Vec::new(),
            help: None,
            falco_code: info.falco,
            item: None,
        }
    }

    /// Sets the place.
    #[must_use]
    pub fn at(mut self, span: Span) -> Self {
        self.span = Some(span);
        self
    }

    /// Adds a labelled place.
    #[must_use]
    pub fn label(mut self, span: Span, message: impl Into<String>) -> Self {
        self.labels.push(Label { span, message: message.into() });
        self
    }

    /// Sets the help.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Offers the nearest of `known` as what `name` was meant to be, if one is near.
    #[must_use]
    pub fn did_you_mean<'a>(mut self, name: &str, known: impl IntoIterator<Item = &'a str>) -> Self {
        if let Some(best) = nearest(name, known) {
            self.help = Some(format!("did you mean `{best}`?"));
        }
        self
    }

    /// Sets how bad it is, where that differs from the other findings of its code.
    #[must_use]
    pub fn severity(mut self, severity: Severity) -> Self {
        self.severity = severity;
        self
    }

    /// Sets the item.
    #[must_use]
    pub fn item(mut self, kind: &'static str, name: &str) -> Self {
        self.item = Some(ItemRef { kind, name: name.to_owned() });
        self
    }

    /// Whether the load fails because of it.
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Note => "note",
        })
    }
}

/// The known name nearest to `name`, when few enough letters differ for it to be a slip.
fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // Names longer than this are not slips of a catalogue name, and comparing them costs quadratic time.
    if name.len() > 64 {
        return None;
    }
    let limit = (name.len() / 3).clamp(1, 3);
    let letters = letters(name);
    // Each slip changes at most two counts of letters by one; measuring the distance costs far more than counting.
    let near = |candidate: &str| {
        let others = self::letters(candidate);
        let apart: u32 = letters.iter().zip(&others).map(|(a, b)| u32::from(a.abs_diff(*b))).sum();
        apart as usize <= 2 * limit
    };
    known
        .into_iter()
        .filter(|candidate| candidate.len().abs_diff(name.len()) <= limit && near(candidate))
        .map(|candidate| (strsim::osa_distance(name, candidate), candidate))
        .filter(|&(distance, candidate)| distance <= limit && distance < candidate.len())
        .min()
        .map(|(_, candidate)| candidate)
}

/// How often each letter occurs, by its low bits.
fn letters(text: &str) -> [u8; 32] {
    let mut counts = [0u8; 32];
    for byte in text.bytes() {
        if let Some(count) = counts.get_mut(usize::from(byte & 31)) {
            *count = count.saturating_add(1);
        }
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_recognised_and_strangers_are_not() {
        let known = ["proc.name", "proc.pname", "fd.name"];
        assert_eq!(nearest("proc.nme", known), Some("proc.name"));
        assert_eq!(nearest("fd.nmae", known), Some("fd.name"));
        assert_eq!(nearest("container.id", known), None);
    }
}
