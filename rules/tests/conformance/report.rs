//! Counting and printing.

use std::process::ExitCode;

/// Results so far.
#[derive(Default)]
pub(crate) struct Report {
    section: &'static str,
    lines: Vec<String>,
    passed: usize,
    failed: usize,
    skipped: usize,
    total: [usize; 3],
}

impl Report {
    /// Begins a section and closes the one before it.
    pub(crate) fn section(&mut self, name: &'static str) {
        self.close();
        self.section = name;
    }

    /// Counts a fact; the text of a failure says what was expected and what came.
    pub(crate) fn check(&mut self, what: &str, result: Result<(), String>) {
        match result {
            Ok(()) => self.passed += 1,
            Err(difference) => {
                self.failed += 1;
                self.lines.push(format!("  FAILED {}: {difference}", what.escape_debug()));
            }
        }
    }

    /// Counts a fact that cannot be tried here, with the reason.
    pub(crate) fn skip(&mut self, what: &str, reason: &str) {
        self.skipped += 1;
        // One line per reason: a section is skipped for one and the same.
        if !self.lines.iter().any(|line| line.ends_with(reason)) {
            self.lines.push(format!("  skipped {} and more like it: {reason}", what.escape_debug()));
        }
    }

    /// Prints the closing line.
    pub(crate) fn finish(mut self) -> ExitCode {
        self.close();
        let [passed, failed, skipped] = self.total;
        println!("{passed} passed, {failed} failed, {skipped} skipped");
        if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }

    fn close(&mut self) {
        let now = [self.passed, self.failed, self.skipped];
        let count: usize = now.iter().sum();
        if count > 0 {
            println!("{}: {}/{count}", self.section, self.passed);
        }
        for line in self.lines.drain(..) {
            println!("{line}");
        }
        for (total, now) in self.total.iter_mut().zip(now) {
            *total += now;
        }
        (self.passed, self.failed, self.skipped) = (0, 0, 0);
    }
}

/// The cases of a section.
pub(crate) fn cases(section: &serde_json::Value) -> &[serde_json::Value] {
    list(section, "cases")
}

/// A list of a section, empty when it is not there.
pub(crate) fn list<'a>(section: &'a serde_json::Value, key: &str) -> &'a [serde_json::Value] {
    section.get(key).and_then(serde_json::Value::as_array).map_or(&[], Vec::as_slice)
}

/// A text of a case, empty when it is not there.
pub(crate) fn text<'a>(case: &'a serde_json::Value, key: &str) -> &'a str {
    case.get(key).and_then(serde_json::Value::as_str).unwrap_or("")
}

/// `Ok` when both are equal.
pub(crate) fn same<T: PartialEq + std::fmt::Debug>(got: &T, wanted: &T) -> Result<(), String> {
    if got == wanted { Ok(()) } else { Err(format!("expected {wanted:?}, got {got:?}")) }
}
