//! What upstream's tests assert about the rule language, run against this crate.
//!
//! The facts are data outside the project: `falco/conformance.yaml` below `$RAMPART_SHARED` or `../shared`.
//! Without it the run counts as skipped.

#![expect(clippy::print_stdout, reason = "the report is the purpose of this program")]

mod contexts;
mod engine;
mod event;
mod language;
mod loading;
mod report;

use std::{env, fs, path::PathBuf, process::ExitCode};

use serde_json::Value;

use report::Report;

fn main() -> ExitCode {
    let shared = env::var_os("RAMPART_SHARED")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared"), PathBuf::from);
    let path = shared.join("falco/conformance.yaml");
    let Ok(text) = fs::read_to_string(&path) else {
        println!("skipped: {} is not there\n0 passed, 0 failed, 1 skipped", path.display());
        return ExitCode::SUCCESS;
    };
    let facts: Value = match serde_yaml::from_str(&text) {
        Ok(facts) => facts,
        Err(error) => {
            println!("{}: {error}", path.display());
            return ExitCode::FAILURE;
        }
    };
    let wanted: Vec<String> = env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    let mut report = Report::default();
    for (name, run) in SECTIONS {
        if wanted.is_empty() || wanted.iter().any(|wanted| name.contains(wanted.as_str())) {
            report.section(name);
            run(facts.get(name).unwrap_or(&Value::Null), &mut report);
        }
    }
    report.finish()
}

/// Runs the facts of one section.
type Section = fn(&Value, &mut Report);

/// Sections of the facts and what runs them. `rule_triggers` needs a kernel and is the agent's.
const SECTIONS: [(&str, Section); 17] = [
    ("string_unescape", language::unescape),
    ("string_escape", language::escape),
    ("parse", language::parse),
    ("compile", language::compile),
    ("condition_warnings", language::warnings),
    ("event_sets", language::event_sets),
    ("rule_load", loading::rule_load),
    ("rule_selection", loading::selection),
    ("duration_parse", engine::durations),
    ("rule_name_sanitize", engine::rule_names),
    ("pmatch_prefix_search", engine::path_prefixes),
    ("evaluate", engine::evaluate),
    ("output_format", engine::output_format),
    ("transformers", engine::transformers),
    ("path_join", engine::of_the_agent),
    ("cgroup_container_id", engine::of_the_agent),
    ("container_mount_lookup", engine::of_the_agent),
];
