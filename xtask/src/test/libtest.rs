//! Reading what the test harness prints, as far as stable Rust offers: its text format.

use super::Outcome;

/// A test says on a line of its own that it cannot run here, and why.
const SKIP: &str = "SKIP: ";

/// Counts one or more test binaries' output, which must have been made with `--show-output`.
///
/// Text outside the harness's own lines is kept as a complaint only when something failed.
pub(super) fn read(output: &str) -> Outcome {
    let mut outcome = Outcome::default();
    let mut results = 0_usize;
    let mut failures = Vec::new();
    let mut in_failures = false;
    for line in output.lines() {
        if let Some(reason) = line.trim_start().strip_prefix(SKIP) {
            let reason = reason.trim().to_owned();
            if !outcome.skipped.contains(&reason) {
                outcome.skipped.push(reason);
            }
        }
        outcome.names.extend(failed(line));
        match line {
            "failures:" => in_failures = true,
            "successes:" => in_failures = false,
            _ if line.starts_with("test result: ") => {
                in_failures = false;
                results += 1;
                outcome.passed += count(line, " passed;");
                outcome.failed += count(line, " failed;");
            }
            _ if in_failures => failures.push(line),
            _ => {}
        }
    }
    // A skipped test returns early, which the harness calls passed.
    outcome.passed = outcome.passed.saturating_sub(outcome.skipped.len());
    if results == 0 || outcome.failed > 0 {
        outcome.complaints = if failures.is_empty() { output.to_owned() } else { failures.join("\n") };
    }
    outcome
}

/// Names of the tests in the output of `--list`.
pub(super) fn listed(output: &str) -> Vec<String> {
    output.lines().filter_map(|line| line.strip_suffix(": test")).map(ToOwned::to_owned).collect()
}

/// The name in the line of a test that failed.
fn failed(line: &str) -> Option<String> {
    let name = line.strip_prefix("test ")?.strip_suffix(" ... FAILED")?;
    Some(name.strip_suffix(" - should panic").unwrap_or(name).to_owned())
}

/// The number before a word of the harness's result line.
fn count(line: &str, word: &str) -> usize {
    line.split_once(word)
        .and_then(|(before, _)| before.rsplit(' ').next())
        .and_then(|number| number.parse().ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIXED: &str = "
running 3 tests
test a::works ... ok
test a::needs_kernel ... ok
test a::breaks ... FAILED

successes:

---- a::needs_kernel stdout ----
SKIP: a::needs_kernel: this kernel has no BTF

successes:
    a::needs_kernel
    a::works

failures:

---- a::breaks stdout ----
thread 'a::breaks' panicked at src/a.rs:1:1:
left is not right

failures:
    a::breaks

test result: FAILED. 2 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s
";

    #[test]
    fn a_skipped_test_counts_once_and_not_as_passed() {
        let outcome = read(MIXED);
        assert_eq!((outcome.passed, outcome.failed), (1, 1));
        assert_eq!(outcome.names, ["a::breaks"]);
        assert_eq!(outcome.skipped, ["a::needs_kernel: this kernel has no BTF"]);
        assert!(outcome.complaints.contains("left is not right"), "{}", outcome.complaints);
        assert!(!outcome.complaints.contains("a::works"), "{}", outcome.complaints);
    }

    #[test]
    fn several_binaries_add_up() {
        let line =
            "test result: ok. 4 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s\n";
        assert_eq!(read(&line.repeat(3)), Outcome { passed: 12, ..Outcome::default() });
    }

    #[test]
    fn tests_are_listed_without_benchmarks() {
        assert_eq!(listed("a::b: test\nc: benchmark\n\n1 test, 1 benchmark\n"), ["a::b"]);
    }
}
