//! Rule files to a [`RuleSet`], with every fault of every file.
//!
//! The stages: YAML to items, items collected by name (redefinitions, appends, overrides applied in order), lists
//! pasted and macros expanded, conditions and outputs compiled, rules selected. A fault never hides a later one
//! of another item; Falco itself stops at the first error of a file, which a caller gets by taking the first.

mod build;
mod collect;
mod exception;
mod read;
mod resolve;
mod response;
mod version;
mod window;

use std::collections::HashSet;

pub use version::Version;

use crate::{
    diagnostic::Diagnostic,
    lint::{self, Lints},
    meaning::Meaning,
    rule::{Matching, Priority, RuleSet},
    set::Sets,
    source::{SourceMap, Span},
};

/// Largest file accepted, bytes; offsets are kept in 32 bits and nobody writes such a file by hand.
const FILE_LIMIT: usize = 32 << 20;
/// Most findings reported; a broken file can have one per line.
const FINDING_LIMIT: usize = 1000;

/// A rule file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// Name for messages.
    pub name: String,
    /// Its bytes.
    pub text: Vec<u8>,
}

/// Which rules to enable or disable after loading; `*` in a name stands for any text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selection {
    /// Enables rules by name pattern.
    EnableRule(String),
    /// Disables rules by name pattern.
    DisableRule(String),
    /// Enables rules by exact tag.
    EnableTag(String),
    /// Disables rules by exact tag.
    DisableTag(String),
}

/// A plugin whose fields and requirements are met.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plugin {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: Version,
}

/// How to load.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadOptions {
    /// Leaves rules less severe than this out of evaluation.
    pub min_priority: Option<Priority>,
    /// Applied in order after loading.
    pub selection: Vec<Selection>,
    /// How many rules may match one event.
    pub matching: Matching,
    /// Reproduces upstream's faults instead of fixing them, and compiles after each file as it does.
    pub strict_falco: bool,
    /// Event sources whose rules are loaded.
    pub sources: Vec<String>,
    /// Engine version that `required_engine_version` is compared with.
    pub engine_version: Version,
    /// Which lints to look for.
    pub lints: Lints,
    /// Fields that are defined by others; one that is not named here can have any value on any event.
    pub meanings: Vec<Meaning>,
    /// Lists whose members do not stand in rule files; a list of the same name in one adds its items to them.
    pub sets: Sets,
    /// Plugins that are there. Without `container` the container and pod fields do not exist.
    pub plugins: Vec<Plugin>,
}

/// What a load gives.
#[derive(Debug)]
pub struct Loaded {
    /// The rules; `None` when there is any error.
    pub rules: Option<RuleSet>,
    /// All findings, in file order.
    pub diagnostics: Vec<Diagnostic>,
    /// The texts the findings point into.
    pub sources: SourceMap,
}

/// Loads rule files in order, as one collection.
pub fn load(sources: &[Source], options: &LoadOptions) -> Loaded {
    let mut map = SourceMap::default();
    let mut collection = collect::Collection::default();
    let mut diagnostics = Vec::new();
    for (source, left) in sources.iter().zip((0..sources.len()).rev()) {
        diagnostics.extend(read::file(source, options, &mut map, &mut collection));
        // Falco compiles what it has after each file: a file cannot use what a later one defines.
        if options.strict_falco && left > 0 {
            diagnostics.extend(build::rules(&collection, options).1);
        }
    }
    diagnostics.extend(read::plugins(&collection, options));
    let (rules, found) = build::rules(&collection, options);
    diagnostics.extend(found);
    // What is likely not meant so is easier to judge when nothing is broken.
    let failed = diagnostics.iter().any(Diagnostic::is_error);
    if !failed && options.lints != Lints::None {
        let redefined = collection.redefined.iter().map(collect::Redefinition::finding);
        diagnostics.extend(redefined.filter(|finding| options.lints.shows(finding.severity)));
        diagnostics.extend(lint::check(&rules, options.lints, options.matching, options.strict_falco));
    }
    let diagnostics = tidy(diagnostics);
    let rules = (!failed).then(|| RuleSet::new(rules, options.matching, options.strict_falco));
    Loaded { rules, diagnostics, sources: map }
}

/// Sorts by place and drops repetitions: a fault in a macro is found again in every rule that uses it.
fn tidy(mut diagnostics: Vec<Diagnostic>) -> Vec<Diagnostic> {
    let mut seen = HashSet::new();
    diagnostics.retain(|finding| seen.insert((finding.code, finding.span, finding.message.clone())));
    let place = |span: Option<Span>| span.map_or((u32::MAX, 0), |span| (span.source.0, span.start));
    diagnostics.sort_by_key(|finding| place(finding.span));
    if diagnostics.len() > FINDING_LIMIT {
        // Errors must survive, or a broken load would look like a good one.
        diagnostics.sort_by_key(|finding| finding.severity);
        diagnostics.truncate(FINDING_LIMIT);
        diagnostics.sort_by_key(|finding| place(finding.span));
    }
    diagnostics
}

impl Default for LoadOptions {
    fn default() -> Self {
        Self {
            min_priority: None,
            selection: Vec::new(),
            matching: Matching::First,
            strict_falco: false,
            sources: vec!["syscall".to_owned()],
            engine_version: Version { major: 0, minor: 63, patch: 0 },
            lints: Lints::None,
            meanings: Vec::new(),
            sets: Sets::default(),
            plugins: vec![Plugin {
                name: "container".to_owned(),
                version: Version { major: 0, minor: 7, patch: 1 },
            }],
        }
    }
}

impl Selection {
    /// Whether it concerns a rule, and what it makes of it.
    fn decides(&self, name: &str, tags: &[String]) -> Option<bool> {
        let (hit, enable) = match self {
            Self::EnableRule(pattern) => (wildcard(pattern, name), true),
            Self::DisableRule(pattern) => (wildcard(pattern, name), false),
            Self::EnableTag(tag) => (tags.contains(tag), true),
            Self::DisableTag(tag) => (tags.contains(tag), false),
        };
        hit.then_some(enable)
    }
}

/// Whether a text matches a pattern in which `*` stands for any text, also none.
pub fn wildcard(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| text.strip_prefix(first)) else { return false };
    let Some(mut last) = parts.next() else { return rest.is_empty() };
    for part in parts {
        let Some(at) = rest.find(last) else { return false };
        rest = rest.get(at + last.len()..).unwrap_or("");
        last = part;
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests;
