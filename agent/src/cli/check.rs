//! `rampart check`: the whole load of configuration and rules, with no side effect.

use std::{
    fmt::Write as _,
    fs, io,
    path::{Path, PathBuf},
    slice,
    sync::Arc,
};

use clap::{Args, ValueEnum};
use rampart_rules::{diagnostic::render, lint::Lints};
use serde_json::{Value, json};

use super::{Outcome, PolicyArgs, complain, print};
use crate::{
    bundles::{Bundle, PublicKey},
    config::{
        Config,
        fault::{Fault, Faults, Place},
    },
    policy::{
        self, Report,
        named::{self, Warning},
    },
};

pub(super) const EXAMPLES: &str = "\
Examples:
  rampart check                               the configuration and rules the agent would run with
  rampart check -r rules/                     a directory of rule files
  rampart check -r a.yaml -r b.yaml --format concise
  rampart check -r a.yaml --format json | jq '.[].message'
  rampart check -r a.yaml --format falco-json | jq '.falco_load_results[].successful'
  rampart check -c node.yaml --bundle v42.bundle
  rampart check -r a.yaml --lints all         also notes, such as what only userspace can decide

Findings go to standard output; `rampart explain CODE` says what one means and shows an example.
Exit codes: 0 clean or notes only, 1 findings, 2 a file could not be read.";

#[derive(Args, Clone, Debug)]
pub(super) struct Arguments {
    #[command(flatten)]
    policy: PolicyArgs,
    /// How findings are shown
    #[arg(long, value_enum, default_value_t = Style::Full)]
    format: Style,
    /// Also with this policy bundle, as a node with this configuration would load it; any key counts where it has none
    #[arg(long, value_name = "FILE")]
    bundle: Option<PathBuf>,
    /// Which lints to look for, once nothing is broken
    #[arg(long, value_enum, default_value_t = Wanted::Default)]
    lints: Wanted,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Wanted {
    /// Also notes: what is often meant so, and rules the kernel cannot decide
    All,
    /// Warnings: rules that never fire, conditions and parts that are always the same, and the like
    Default,
    /// Only what loading itself finds
    None,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Style {
    /// With the source line and what to do
    Full,
    /// One line each
    Concise,
    /// One JSON array
    Json,
    /// One JSON object in the form of Falco's validation, without findings that Falco has no code for
    FalcoJson,
}

pub(super) fn run(arguments: &Arguments) -> io::Result<Outcome> {
    let mut sources = arguments.policy.sources();
    let mut loaded = sources.load();
    if let (Some(path), Ok(config)) = (&arguments.bundle, &loaded) {
        match open(path, &config.bundles.keys) {
            Ok(bundle) => sources.bundle = Some(Arc::new(bundle)),
            Err(why) => return Ok(complain(&format!("`{}`: {why}", path.display()))),
        }
        loaded = sources.load();
    }
    let (faults, report, warnings) = match loaded {
        Ok(config) => {
            let report = policy::lint(&config.rules, &config.trading, arguments.lints.into());
            // Rules alone say nothing about where they will run.
            let is_given = sources.file.is_some() || sources.file_path().exists();
            let warnings = if is_given { named(&report, &config) } else { Vec::new() };
            (Vec::new(), Some(report), warnings)
        }
        Err(Faults(faults)) => (faults, None, Vec::new()),
    };
    // A file that cannot be read is no finding in a file.
    let unreadable = report.as_ref().is_some_and(|report| !report.unreadable.is_empty());
    let clean = faults.is_empty() && warnings.is_empty() && report.as_ref().is_some_and(Report::is_clean);
    match arguments.format {
        Style::Json => print::data(&as_json(&faults, report.as_ref(), &warnings))?,
        Style::FalcoJson => {
            // The form has no place for faults of the configuration.
            print::data(&report.as_ref().map_or_else(String::new, as_falco_json))?;
            for fault in &faults {
                print::message(&format!("{}: error: {}", fault.place, fault.message));
            }
            for warning in &warnings {
                print::message(&format!("{warning}: warning: {}", warning.message));
            }
        }
        style => {
            print::data(&as_text(&faults, report.as_ref(), &warnings, style))?;
            if let Some(report) = &report
                && clean
            {
                print::message(&summary(report));
            }
        }
    }
    Ok(match (clean, unreadable) {
        (true, _) => Outcome::Clean,
        (false, true) => Outcome::Unusable,
        (false, false) => Outcome::Findings,
    })
}

/// The bundle in a file, or why it is none that a node with these keys would take.
fn open(path: &Path, keys: &[PublicKey]) -> Result<Bundle, String> {
    let bytes = fs::read(path).map_err(|error| error.to_string())?;
    let signer = Bundle::signer(&bytes).filter(|_| keys.is_empty());
    let bundle = Bundle::open(&bytes, signer.as_ref().map_or(keys, slice::from_ref));
    bundle.map_err(|error| error.to_string())
}

impl From<Wanted> for Lints {
    fn from(wanted: Wanted) -> Self {
        match wanted {
            Wanted::All => Self::All,
            Wanted::Default => Self::Default,
            Wanted::None => Self::None,
        }
    }
}

/// What rules name that the configuration does not have.
fn named(report: &Report, config: &Config) -> Vec<Warning> {
    let responses = report.bundle.as_ref();
    let responses = responses.map(|bundle| named::responses(&bundle.rules, &report.texts, config));
    responses.into_iter().flatten().chain(named::lists(&report.lists)).collect()
}

fn summary(report: &Report) -> String {
    let Some(bundle) = &report.bundle else { return String::new() };
    let files = bundle.files.len();
    let plural = if files == 1 { "" } else { "s" };
    format!(
        "ok: {} rules in force, {} disabled, from {files} file{plural}; digest {}",
        bundle.rules.rules().len(),
        bundle.rules.disabled().len(),
        bundle.digest,
    )
}

fn as_text(faults: &[Fault], report: Option<&Report>, warnings: &[Warning], style: Style) -> String {
    let mut text = String::new();
    for fault in faults {
        // Writing to a `String` cannot fail.
        let _ = match &fault.help {
            Some(help) if style == Style::Full => {
                writeln!(text, "error: {}\n  --> {}\n  = help: {help}\n", fault.message, fault.place)
            }
            None if style == Style::Full => {
                writeln!(text, "error: {}\n  --> {}\n", fault.message, fault.place)
            }
            _ => writeln!(text, "{}: error: {}", fault.place, fault.message),
        };
    }
    if let Some(report) = report {
        for fault in &report.unreadable {
            let _ = writeln!(text, "error: {fault}");
        }
        text.push_str(&match style {
            Style::Full => render::full(&report.findings, &report.texts),
            _ => render::concise(&report.findings, &report.texts),
        });
    }
    for warning in warnings {
        let Warning { message, help, .. } = warning;
        let _ = match style {
            Style::Full => writeln!(text, "warning: {message}\n  --> {warning}\n  = help: {help}\n"),
            _ => writeln!(text, "{warning}: warning: {message}"),
        };
    }
    text
}

fn as_json(faults: &[Fault], report: Option<&Report>, warnings: &[Warning]) -> String {
    let mut findings: Vec<Value> = faults.iter().map(fault_json).collect();
    if let Some(report) = report {
        let unreadable = report.unreadable.iter().map(|fault| {
            json!({
                "code": "unreadable",
                "severity": "error",
                "message": fault.to_string(),
                "location": { "file": fault.path.to_string_lossy() },
            })
        });
        findings.extend(unreadable);
        let rules = render::json(&report.findings, &report.texts);
        if let Ok(Value::Array(rules)) = serde_json::from_str(&rules) {
            findings.extend(rules);
        }
    }
    findings.extend(warnings.iter().map(|warning| {
        let (file, at) = &warning.place;
        json!({
            "code": warning.code,
            "severity": "warning",
            "message": warning.message,
            "help": warning.help,
            "location": { "file": file, "line": at.map(|(line, _)| line), "column": at.map(|(_, column)| column) },
        })
    }));
    format!("{}\n", Value::Array(findings))
}

fn as_falco_json(report: &Report) -> String {
    let unreadable: Vec<(String, String)> = report
        .unreadable
        .iter()
        .map(|fault| (fault.path.to_string_lossy().into_owned(), fault.to_string()))
        .collect();
    format!("{}\n", render::falco(&report.findings, &report.texts, &unreadable, false))
}

fn fault_json(fault: &Fault) -> Value {
    let location = match &fault.place {
        Place::File { path, line, column } => json!({
            "file": path.to_string_lossy(), "line": line, "column": column,
        }),
        other => json!({ "file": other.to_string() }),
    };
    let mut finding = json!({
        "code": "config",
        "severity": "error",
        "message": fault.message,
        "location": location,
    });
    if let (Some(help), Some(finding)) = (&fault.help, finding.as_object_mut()) {
        finding.insert("help".to_owned(), help.as_str().into());
    }
    finding
}
