//! A second try, alone, for a test that failed while others ran.
//!
//! Tests that drive the real kernel, a browser or a database can lose a race on a busy machine that says nothing about
//! the product. Such a test counts as passed but is named as unsteady with what it said, so that it gets mended. What
//! tries random values gets no second try: other values would hide what was found.

use std::process::Command;

use super::Outcome;

/// More failures than this are no accident.
const TRIES: usize = 3;
/// What `proptest` says of a failure.
const RANDOM: &str = "minimal failing input";

/// Tries each failed test again by `run`, which is given the arguments that choose it.
pub(super) fn try_again(outcome: &mut Outcome, mut run: impl FnMut(&dyn Fn(&mut Command)) -> Outcome) {
    let names = std::mem::take(&mut outcome.names);
    let is_named = !names.is_empty() && names.len() == outcome.failed;
    if !is_named || names.len() > TRIES || outcome.complaints.contains(RANDOM) {
        return;
    }
    for name in names {
        let again = run(&|command| {
            command.args(["--exact", &name, "--test-threads=1"]);
        });
        if again.passed == 1 && again.failed == 0 {
            outcome.failed -= 1;
            outcome.passed += 1;
            outcome.unsteady.push(name);
        } else {
            outcome.complaints.extend(["\nagain, alone:\n", again.complaints.trim(), "\n"]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(names: &[&str], complaints: &str) -> Outcome {
        Outcome {
            passed: 5,
            failed: names.len(),
            names: names.iter().map(|name| (*name).to_owned()).collect(),
            complaints: complaints.to_owned(),
            ..Outcome::default()
        }
    }

    fn good() -> Outcome {
        Outcome { passed: 1, ..Outcome::default() }
    }

    #[test]
    fn what_passes_alone_is_named_and_not_failed() {
        let mut outcome = failed(&["a", "b"], "what they said");
        let mut asked = Vec::new();
        try_again(&mut outcome, |choose| {
            let mut command = Command::new("x");
            choose(&mut command);
            let arguments: Vec<_> =
                command.get_args().map(|text| text.to_string_lossy().into_owned()).collect();
            let is_good = arguments[1] == "a";
            asked.push(arguments.join(" "));
            if is_good { good() } else { failed(&["b"], "again") }
        });
        assert_eq!(asked, ["--exact a --test-threads=1", "--exact b --test-threads=1"]);
        assert_eq!((outcome.passed, outcome.failed), (6, 1));
        assert_eq!(outcome.unsteady, ["a"]);
        assert!(outcome.complaints.contains("what they said") && outcome.complaints.contains("again"));
    }

    #[test]
    fn random_values_many_failures_and_ended_processes_get_no_second_try() {
        let unnamed = Outcome { failed: 1, ..Outcome::default() };
        let random = failed(&["a"], "minimal failing input: 7");
        for mut outcome in [failed(&["a", "b", "c", "d"], ""), random, unnamed] {
            let before = outcome.failed;
            let mut tries = 0;
            try_again(&mut outcome, |_| {
                tries += 1;
                good()
            });
            assert_eq!((outcome.failed, outcome.unsteady.len(), tries), (before, 0, 0));
        }
    }
}
