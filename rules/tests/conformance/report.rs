//! Running sections of a facts file, counting and printing. The agent's own runner uses this file too.

use std::{env, fs, path::PathBuf, process::ExitCode};

use serde_json::Value;

/// Runs the facts of one section.
pub(crate) type Section = fn(&Value, &mut Report);

/// Which sections of a facts file a program runs.
pub(crate) struct Runner {
    /// Sections and what runs them.
    pub(crate) sections: &'static [(&'static str, Section)],
    /// Sections that nothing runs here, with the reason; their facts count as skipped.
    pub(crate) left_out: &'static [(&'static str, &'static str)],
    /// Sections another program runs. `None` when it also looks after sections nobody knows; here those fail.
    pub(crate) elsewhere: Option<&'static [&'static str]>,
    /// Facts of our own, run where no file is named.
    pub(crate) own: &'static str,
}

/// Results so far.
#[derive(Default)]
pub(crate) struct Report {
    section: String,
    lines: Vec<String>,
    passed: usize,
    failed: usize,
    total: [usize; 2],
    skipped: usize,
}

impl Runner {
    /// Runs the file named behind `--facts`, or the one beside the workspace; other arguments choose sections.
    pub(crate) fn main(&self) -> ExitCode {
        let mut arguments = env::args().skip(1);
        let (mut named, mut wanted) = (None, Vec::new());
        while let Some(argument) = arguments.next() {
            if argument == "--facts" {
                named = arguments.next().map(PathBuf::from);
            } else if !argument.starts_with('-') {
                wanted.push(argument);
            }
        }
        let shared = env::var_os("RAMPART_SHARED")
            .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared"), PathBuf::from);
        let path = named.clone().unwrap_or_else(|| shared.join("falco/conformance.yaml"));
        let mut report = Report::default();
        if named.is_none() && !self.own.is_empty() {
            match serde_yaml::from_str(self.own) {
                Ok(Value::Object(facts)) => self.run(&facts, &wanted, &mut report),
                other => {
                    println!("our own facts: {other:?}");
                    return ExitCode::from(2);
                }
            }
        }
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if named.is_none() => {
                println!("skipped: {}: {error}", path.display());
                report.skipped += 1;
                return report.finish();
            }
            Err(error) => {
                println!("{}: {error}", path.display());
                return ExitCode::from(2);
            }
        };
        match serde_yaml::from_str(&text) {
            Ok(Value::Object(facts)) => {
                self.run(&facts, &wanted, &mut report);
                report.finish()
            }
            Ok(_) => {
                println!("{}: the file has no sections", path.display());
                ExitCode::from(2)
            }
            Err(error) => {
                println!("{}: {error}", path.display());
                ExitCode::from(2)
            }
        }
    }

    fn run(&self, facts: &serde_json::Map<String, Value>, wanted: &[String], report: &mut Report) {
        for (name, section) in facts {
            if !wanted.is_empty() && !wanted.iter().any(|wanted| name.contains(wanted.as_str())) {
                continue;
            }
            report.section(name);
            if let Some((_, run)) = self.sections.iter().find(|(known, _)| known == name) {
                run(section, report);
            } else if let Some((_, reason)) = self.left_out.iter().find(|(known, _)| known == name) {
                report.leave_out(count(section), reason);
            } else if self.elsewhere.is_some_and(|others| !others.contains(&name.as_str())) {
                for _ in 0..count(section).max(1) {
                    report.check("section", Err("no runner knows it".to_owned()));
                }
            }
        }
        report.close();
    }
}

/// Number of facts in a section.
fn count(section: &Value) -> usize {
    let lists = section.as_object().into_iter().flatten().filter_map(|(_, value)| value.as_array());
    lists.flatten().filter(|fact| fact.is_object()).count()
}

impl Report {
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

    /// Begins a section and closes the one before it.
    fn section(&mut self, name: &str) {
        self.close();
        name.clone_into(&mut self.section);
    }

    /// Counts facts of a section that nothing here can run.
    fn leave_out(&mut self, facts: usize, reason: &str) {
        self.skipped += facts;
        println!("{}: left out, {facts} facts: {reason}", self.section);
    }

    /// Prints the closing line.
    fn finish(mut self) -> ExitCode {
        self.close();
        let [passed, failed] = self.total;
        println!("{passed} passed, {failed} failed, {} skipped", self.skipped);
        if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }

    fn close(&mut self) {
        let count = self.passed + self.failed;
        if count > 0 {
            println!("{}: {}/{count}", self.section, self.passed);
        }
        for line in self.lines.drain(..) {
            println!("{line}");
        }
        let [passed, failed] = &mut self.total;
        *passed += self.passed;
        *failed += self.failed;
        (self.passed, self.failed) = (0, 0);
    }
}

/// The cases of a section.
pub(crate) fn cases(section: &Value) -> &[Value] {
    list(section, "cases")
}

/// A list of a section, empty when it is not there.
pub(crate) fn list<'a>(section: &'a Value, key: &str) -> &'a [Value] {
    section.get(key).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// A text of a case, empty when it is not there.
pub(crate) fn text<'a>(case: &'a Value, key: &str) -> &'a str {
    case.get(key).and_then(Value::as_str).unwrap_or("")
}

/// `Ok` when both are equal.
pub(crate) fn same<T: PartialEq + std::fmt::Debug>(got: &T, wanted: &T) -> Result<(), String> {
    if got == wanted { Ok(()) } else { Err(format!("expected {wanted:?}, got {got:?}")) }
}
