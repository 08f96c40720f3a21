//! The rules in force: read from files or from the packs built into the agent, compiled, and told apart by digest.
//!
//! Owns how rules come in; `rampart check`, the start and every reload take the same way through [`load`].
//! Must never change anything: what to do with the result is the caller's.

pub mod files;
pub mod kept;
pub mod named;
pub mod reload;
pub mod watch;

use std::{collections::BTreeMap, fmt::Write as _, path::PathBuf, sync::Arc};

use rampart_rules::{
    diagnostic::{Diagnostic, Severity, render},
    lint::Lints,
    load::{LoadOptions, Source},
    pack::{BASE_PACK, TRADING_PACK},
    rule::RuleSet,
    set::Sets,
    source::SourceMap,
};
use sha2::{Digest as _, Sha256};

use self::files::ReadFault;
use crate::{
    bundles::RuleFile,
    config,
    lists::{self, Standing},
    trading::{Trading, TradingError},
};

/// Name of the built-in pack where a file name would stand.
pub const BUILT_IN: &str = "<base pack>";
/// The same of the trading pack, which comes before it where the configuration describes trading.
pub const BUILT_IN_TRADING: &str = "<trading pack>";

/// Rules that can be put in force.
#[derive(Clone, Debug)]
pub struct Bundle {
    /// The compiled rules.
    pub rules: Arc<RuleSet>,
    /// Digest over all texts in load order, hexadecimal.
    pub digest: Arc<str>,
    /// Each file with the digest of its text.
    pub files: Vec<(PathBuf, String)>,
    /// What the fields of trading are.
    pub trading: Option<Arc<Trading>>,
    /// The texts, to be compiled again when a list has other members.
    pub texts: Arc<[Source]>,
    /// The lists that do not stand in them.
    pub sets: Sets,
}

/// What a load found.
#[derive(Debug)]
pub struct Report {
    /// Files that could not be read.
    pub unreadable: Vec<ReadFault>,
    /// What is wrong with the section `trading` beyond what its settings tell.
    pub trading: Option<TradingError>,
    /// Findings in those that could, errors and warnings.
    pub findings: Vec<Diagnostic>,
    /// The texts the findings point into.
    pub texts: SourceMap,
    /// Lists whose members are kept elsewhere.
    pub lists: BTreeMap<String, Standing>,
    /// The rules, when nothing stands against them.
    pub bundle: Option<Bundle>,
}

/// Why rules cannot be put in force: all causes, each with its place and cure.
#[derive(Debug, thiserror::Error)]
#[error("{}", lines(.unreadable, .trading.as_ref(), .findings, .texts))]
pub struct PolicyError {
    /// Files that could not be read.
    pub unreadable: Vec<ReadFault>,
    /// What is wrong with the section `trading`.
    pub trading: Option<TradingError>,
    /// Errors in those that could.
    pub findings: Vec<Diagnostic>,
    /// The texts the findings point into.
    pub texts: SourceMap,
}

/// Loads the rules a configuration names.
pub fn load(config: &config::Rules, trading: &config::Trading) -> Report {
    lint(config, trading, Lints::None)
}

/// Loads the rules a configuration names and looks for what is likely not meant so.
pub fn lint(config: &config::Rules, trading: &config::Trading, lints: Lints) -> Report {
    let (mut sources, unreadable) = read(&config.files, !trading.is_empty());
    // Last, so that a bundle may change or switch off what comes before.
    let bundled = |file: &RuleFile| Source { name: file.name.clone(), text: file.text.to_vec() };
    sources.extend(config.bundled.iter().map(bundled));
    let standing = lists::standing(&config.lists);
    let texts = (sources.into(), unreadable);
    let report = compile(config, trading, lints, texts, lists::sets(&standing));
    Report { lists: standing, ..report }
}

/// The same rules with other members of their lists; no file is read.
pub fn renew(
    bundle: &Bundle,
    config: &config::Rules,
    trading: &config::Trading,
    sets: Sets,
) -> Result<Bundle, PolicyError> {
    let texts = (Arc::clone(&bundle.texts), Vec::new());
    compile(config, trading, Lints::None, texts, sets).into_bundle().map(|(bundle, ..)| bundle)
}

fn compile(
    config: &config::Rules,
    trading: &config::Trading,
    lints: Lints,
    (sources, unreadable): (Arc<[Source]>, Vec<ReadFault>),
    sets: Sets,
) -> Report {
    let (compiled, fault) = match Trading::new(trading) {
        Ok(compiled) => (compiled.map(Arc::new), None),
        Err(fault) => (None, Some(fault)),
    };
    let options = LoadOptions {
        min_priority: Some(config.min_priority),
        matching: config.matching,
        strict_falco: config.strict_falco,
        lints,
        sets: sets.clone(),
        // Lints are about rules on any node, not on this one.
        meanings: if lints == Lints::None { Trading::meanings(trading) } else { Vec::new() },
        ..LoadOptions::default()
    };
    let loaded = rampart_rules::load::load(&sources, &options);
    let bundle = match loaded.rules {
        Some(rules) if unreadable.is_empty() && fault.is_none() => Some(Bundle {
            rules: Arc::new(rules),
            digest: digest(&sources).into(),
            files: sources.iter().map(|source| (PathBuf::from(&source.name), hex(&source.text))).collect(),
            trading: compiled,
            texts: sources,
            sets,
        }),
        _ => None,
    };
    Report {
        unreadable,
        trading: fault,
        findings: loaded.diagnostics,
        texts: loaded.sources,
        lists: BTreeMap::new(),
        bundle,
    }
}

fn read(names: &[PathBuf], trades: bool) -> (Vec<Source>, Vec<ReadFault>) {
    if names.is_empty() {
        let source = |name: &str, text: &str| Source { name: name.to_owned(), text: text.into() };
        // The trading pack first: what it says of an event is more than what is said on any node.
        let trading = trades.then(|| source(BUILT_IN_TRADING, TRADING_PACK));
        return (trading.into_iter().chain([source(BUILT_IN, BASE_PACK)]).collect(), Vec::new());
    }
    let (mut sources, mut faults) = (Vec::new(), Vec::new());
    for name in names {
        match files::expand(std::slice::from_ref(name)) {
            Ok(found) => {
                for path in found {
                    match files::read(&path) {
                        Ok(text) => sources.push(Source { name: path.to_string_lossy().into_owned(), text }),
                        Err(fault) => faults.push(fault),
                    }
                }
            }
            Err(found) => faults.extend(found),
        }
    }
    (sources, faults)
}

impl Report {
    /// The rules, or everything that stands against them.
    pub fn into_bundle(self) -> Result<(Bundle, Vec<Diagnostic>, SourceMap), PolicyError> {
        match self.bundle {
            Some(bundle) => Ok((bundle, self.findings, self.texts)),
            None => Err(PolicyError {
                unreadable: self.unreadable,
                trading: self.trading,
                findings: self.findings.into_iter().filter(Diagnostic::is_error).collect(),
                texts: self.texts,
            }),
        }
    }

    /// Whether there is nothing to say, notes aside.
    pub fn is_clean(&self) -> bool {
        self.unreadable.is_empty()
            && self.trading.is_none()
            && self.findings.iter().all(|finding| finding.severity == Severity::Note)
    }
}

/// Each cause on a line of its own, with its cure.
fn lines(
    unreadable: &[ReadFault],
    trading: Option<&TradingError>,
    findings: &[Diagnostic],
    texts: &SourceMap,
) -> String {
    let mut lines: Vec<String> = unreadable.iter().map(ToString::to_string).collect();
    lines.extend(trading.iter().map(ToString::to_string));
    for finding in findings {
        let mut line = render::concise(std::slice::from_ref(finding), texts).trim_end().to_owned();
        if let Some(help) = &finding.help {
            line.push_str("; ");
            line.push_str(help);
        }
        lines.push(line);
    }
    lines.join("\n")
}

/// Digest over all texts; each is preceded by its length, so that no two lists of texts run together alike.
fn digest(sources: &[Source]) -> String {
    let mut hasher = Sha256::new();
    for source in sources {
        hasher.update((source.text.len() as u64).to_be_bytes());
        hasher.update(&source.text);
    }
    text(&hasher.finalize())
}

fn hex(bytes: &[u8]) -> String {
    text(&Sha256::digest(bytes))
}

fn text(digest: &[u8]) -> String {
    digest.iter().fold(String::with_capacity(64), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

#[cfg(test)]
mod tests;
