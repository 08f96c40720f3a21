//! Checks that are no test programs: each has a name and either passes, or fails with a text, or cannot run here with a
//! reason. Commands print them; `cargo xtask test` counts them.

use anyhow::Result;

use crate::console;

/// What a list of checks came to.
#[derive(Debug, Default)]
pub(crate) struct Checks {
    pub(crate) passed: usize,
    /// Name and what is wrong.
    pub(crate) failures: Vec<(String, String)>,
    /// Name and reason.
    pub(crate) skipped: Vec<String>,
}

impl Checks {
    /// Counts a check by its result.
    pub(crate) fn add(&mut self, name: impl Into<String>, result: Result<()>) {
        match result {
            Ok(()) => self.passed += 1,
            Err(error) => self.failures.push((name.into(), format!("{error:#}"))),
        }
    }

    /// Counts a check that cannot run here.
    pub(crate) fn skip(&mut self, name: &str, reason: &str) {
        self.skipped.push(format!("{name}: {reason}"));
    }

    /// Prints everything but what passed, and closes with one line; says whether nothing failed.
    pub(crate) fn print(&self) -> bool {
        for skip in &self.skipped {
            console::say(format!("skipped {skip}"));
        }
        for (name, text) in &self.failures {
            console::say(format!("FAILED: {name}\n{text}"));
        }
        let (failed, skipped) = (self.failures.len(), self.skipped.len());
        console::say(format!("{} passed, {failed} failed, {skipped} skipped", self.passed));
        self.failures.is_empty()
    }
}
