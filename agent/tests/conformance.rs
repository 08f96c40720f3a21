//! What upstream's tests assert about the values the agent puts into fields, run against this crate.
//!
//! The facts are data outside the project; the sections about the rule language are run by the `rules` crate.

#![expect(clippy::print_stdout, reason = "the report is the purpose of this program")]

#[path = "../../rules/tests/conformance/report.rs"]
mod report;

use std::process::ExitCode;

use rampart_agent::{
    event::lexical::{FALCO_LIMIT, join},
    state::cgroup::{CtrTasks, container_id},
};
use report::{Report, Runner, cases, list, same, text};
use serde_json::Value;

fn main() -> ExitCode {
    RUNNER.main()
}

const RUNNER: Runner = Runner {
    sections: &[("path_join", path_join), ("cgroup_container_id", cgroups)],
    left_out: &[],
    elsewhere: None,
    own: "",
};

fn path_join(section: &Value, report: &mut Report) {
    for case in cases(section) {
        let (base, path) = (bytes(case, "base"), bytes(case, "path"));
        let mut joined = Vec::new();
        join(&base, &path, Some(FALCO_LIMIT), &mut joined);
        let what = format!("{} + {}", shown(&base), shown(&path));
        report.check(&what, same(&shown(&joined), &shown(&bytes(case, "result"))));
    }
}

fn cgroups(section: &Value, report: &mut Report) {
    for case in cases(section) {
        let got = container_id(&bytes(case, "cgroup"), &CtrTasks::Any);
        let wanted = case.get("container_id").and_then(Value::as_str).map(str::to_owned);
        report.check(text(case, "name"), same(&got, &wanted));
    }
}

/// The bytes of `key`, in any of its forms: a text and how often it repeats, which a description may stand
/// beside, a text, or hex digits.
fn bytes(case: &Value, key: &str) -> Vec<u8> {
    if let [unit, times] = list(case, &format!("{key}_repeat")) {
        let times = times.as_u64().and_then(|times| times.try_into().ok()).unwrap_or(0);
        return unit.as_str().unwrap_or("").repeat(times).into_bytes();
    }
    if let Some(text) = case.get(key).and_then(Value::as_str) {
        return text.as_bytes().to_vec();
    }
    let hex = text(case, &format!("{key}_hex"));
    let byte = |at: usize| hex.get(at..at + 2).and_then(|pair| u8::from_str_radix(pair, 16).ok());
    (0..hex.len()).step_by(2).filter_map(byte).collect()
}

fn shown(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}
