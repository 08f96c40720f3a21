//! `cargo xtask tidy`: the house style that lints cannot express.
//!
//! Looks at the working copy as it is, with or without a repository around it. Each rule has a name; each finding
//! has a place, the rule and what to do about it. Also runs as a test of this crate.

mod edge;
mod flow;
mod licence;
mod manifest;
mod source;
mod style;

use std::collections::BTreeSet;
use std::path::PathBuf;

use anyhow::{Context, Result};
use cargo_metadata::Metadata;

use self::source::Source;
use crate::{console, workspace};

/// Every rule, for counting; a finding's rule is one of these.
pub(crate) const RULES: [&str; 14] = [
    "file-size",
    "test-size",
    "module-doc",
    "module-name",
    "mod-file",
    "glob-import",
    "leftover",
    "unsafe-place",
    "safety-comment",
    "crate-edge",
    "module-edge",
    "manifest",
    "licence",
    "dependency-source",
];

/// One breach of one rule.
#[derive(Debug, Eq, Ord, PartialEq, PartialOrd)]
struct Finding {
    /// Relative to the workspace's root.
    file: String,
    /// 1-based; 0 when the whole file is meant.
    line: usize,
    rule: &'static str,
    /// What is wrong and what to do.
    message: String,
}

/// What the whole check found.
#[derive(Debug, Default)]
pub(crate) struct Report {
    findings: Vec<Finding>,
    files: usize,
    /// Files over the size aimed at, but within the limit.
    large: Vec<String>,
}

/// Prints what is found; says whether nothing was.
pub(crate) fn run() -> Result<bool> {
    let report = findings()?;
    console::begin(report.render());
    if !report.large.is_empty() {
        console::say(format!("note: over the aim of {} lines: {}", style::SIZE_AIM, report.large.join(", ")));
    }
    console::say(format!(
        "tidy: {} source files, {} rules, {} findings",
        report.files,
        RULES.len(),
        report.findings.len()
    ));
    Ok(report.findings.is_empty())
}

/// Applies every rule to the workspace.
pub(crate) fn findings() -> Result<Report> {
    let metadata = workspace::metadata()?;
    let root = PathBuf::from(&metadata.workspace_root);
    let sources = source::all(&root)?;
    let mut report = Report { files: sources.len(), ..Report::default() };
    for source in &sources {
        style::check(source, &mut report);
        edge::check_modules(source, &mut report);
        flow::check(source, &mut report);
    }
    edge::check_crates(&metadata, &mut report);
    manifests(&metadata, &mut report)?;
    report.findings.sort();
    Ok(report)
}

fn manifests(metadata: &Metadata, report: &mut Report) -> Result<()> {
    let root = &metadata.workspace_root;
    let read = |path: &str| -> Result<toml::Table> {
        let text =
            std::fs::read_to_string(root.join(path)).with_context(|| format!("cannot read `{path}`"))?;
        text.parse().with_context(|| format!("`{path}` is not TOML"))
    };
    manifest::check_root(&read("Cargo.toml")?, report);
    for package in metadata.workspace_packages() {
        let path = package.manifest_path.strip_prefix(root).unwrap_or(&package.manifest_path);
        manifest::check_member(path.as_str(), &read(path.as_str())?, report);
    }
    licence::check(metadata, &read("deny.toml")?, report);
    Ok(())
}

impl Report {
    fn add(&mut self, file: &str, line: usize, rule: &'static str, message: impl Into<String>) {
        self.findings.push(Finding { file: file.to_owned(), line, rule, message: message.into() });
    }

    /// Rules that were broken at least once.
    pub(crate) fn failed_rules(&self) -> BTreeSet<&'static str> {
        self.findings.iter().map(|finding| finding.rule).collect()
    }

    /// One line per finding.
    pub(crate) fn render(&self) -> String {
        let line = |finding: &Finding| {
            let Finding { file, line, rule, message } = finding;
            format!("{file}:{line}: {rule}: {message}\n")
        };
        self.findings.iter().map(line).collect()
    }
}

/// Whether a file belongs to tests: it is judged by other limits and may use anything.
fn is_test(source: &Source) -> bool {
    let path = source.path.as_str();
    path.ends_with("/tests.rs")
        || path.contains("/tests/")
        || path.contains("/benches/")
        || path.starts_with("tests/")
        || path.contains("/fuzz/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_workspace_is_tidy() {
        let report = findings().unwrap();
        assert!(report.files > 20, "only {} files were looked at", report.files);
        assert!(report.findings.is_empty(), "\n{}", report.render());
    }

    #[test]
    fn every_rule_is_listed_and_a_finding_has_a_place() {
        let mut report = Report::default();
        report.add("agent/src/lib.rs", 3, "leftover", "say why");
        assert_eq!(report.render(), "agent/src/lib.rs:3: leftover: say why\n");
        assert!(report.failed_rules().iter().all(|rule| RULES.contains(rule)));
    }
}
