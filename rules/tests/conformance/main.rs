//! What upstream's tests assert about the rule language, run against this crate.
//!
//! The facts are data outside the project: the file behind `--facts`, or `falco/conformance.yaml` below
//! `$RAMPART_SHARED` or `../shared`. Without any the run counts as skipped.

#![expect(clippy::print_stdout, reason = "the report is the purpose of this program")]

mod described;
mod engine;
mod language;
mod loading;
mod mock;
mod report;

use std::process::ExitCode;

use report::Runner;

fn main() -> ExitCode {
    RUNNER.main()
}

const RUNNER: Runner = Runner {
    sections: &[
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
        ("container_mount_lookup", engine::container_mounts),
    ],
    left_out: &[("rule_triggers", "they are live events, which the agent's own tests replay")],
    // What the agent puts into fields, before the language sees them.
    elsewhere: Some(&["path_join", "cgroup_container_id"]),
    own: include_str!("own.yaml"),
};
