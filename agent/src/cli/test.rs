//! `rampart test`: unit tests of rules.

use std::{
    fmt::Write as _,
    io,
    path::{Path, PathBuf},
};

use clap::Args;
use rampart_rules::{
    diagnostic::render,
    load::{LoadOptions, Selection, Source, load},
    rule::RuleSet,
    set::Sets,
    unit::{self, Tested},
};

use super::{ConfigArgs, Outcome, complain, complain_config, print};
use crate::{
    config::Config,
    lists,
    policy::files::{self, ReadFault},
};

pub(super) const EXAMPLES: &str = "\
Examples:
  rampart test rules/tests/web.yaml           tests of rules/web.yaml, which lies beside the folder `tests`
  rampart test -r base.yaml -r web.yaml my-tests.yaml
  rampart test -c rampart.yaml tests/feeds.yaml      rules look into the lists of this configuration

A test file has one entry per rule; an event is given by its fields, others are missing, or as a system call:
  - rule: Shell started by server
    matches:
      - {evt.type: execve, evt.res: SUCCESS, proc.name: sh, proc.pname: nginx}
      - {call: 'execve(\"/bin/sh\", [\"sh\", \"-c\", \"id\"]) = 0', proc.pname: nginx}
    ignores:
      - {evt.type: execve, proc.name: sh, proc.pname: sshd}

Exit codes: 0 all passed, 1 a test failed or a file has a fault, 2 a file could not be read.";

#[derive(Args, Clone, Debug)]
pub(super) struct Arguments {
    /// Rule file, or directory of them; may be given several times
    /// [default: for DIR/tests/NAME.yaml the file DIR/NAME.yaml]
    #[arg(short, long = "rules", value_name = "FILE|DIR")]
    rules: Vec<PathBuf>,
    /// Configuration file whose `rules.lists` the rules look into [default: lists are what rule files say]
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Test files, or directories of them
    #[arg(value_name = "FILE|DIR", required = true)]
    files: Vec<PathBuf>,
}

pub(super) fn run(arguments: &Arguments) -> io::Result<Outcome> {
    let paths = match files::expand(&arguments.files) {
        Ok(paths) => paths,
        Err(faults) => return Ok(unreadable(&faults)),
    };
    let sets = match &arguments.config {
        None => Sets::default(),
        Some(file) => match (ConfigArgs { config: Some(file.clone()) }).sources().load() {
            Ok(config) => known(&config),
            Err(faults) => return Ok(complain_config(&faults)),
        },
    };
    let (mut findings, mut unusable) = (false, false);
    for path in paths {
        let rules = if arguments.rules.is_empty() { vec![beside(&path)] } else { arguments.rules.clone() };
        let sources =
            sources(&rules).and_then(|rules| Ok((rules, source(&path).map_err(|fault| vec![fault])?)));
        let (rules, tests) = match sources {
            Ok(sources) => sources,
            Err(faults) => {
                unreadable(&faults);
                unusable = true;
                continue;
            }
        };
        let Some(rules) = compiled(&rules, &sets) else {
            findings = true;
            continue;
        };
        let tested = unit::run(&rules, &tests);
        if !tested.diagnostics.is_empty() {
            print::message(render::full(&tested.diagnostics, &tested.sources).trim_end());
        }
        print::data(&report(&tested))?;
        findings |= !tested.passed();
    }
    Ok(match (unusable, findings) {
        (true, _) => Outcome::Unusable,
        (false, true) => Outcome::Findings,
        (false, false) => Outcome::Clean,
    })
}

/// The lists of a configuration, as their files or last good copies are; says of which there is nothing.
fn known(config: &Config) -> Sets {
    let standing = lists::standing(&config.rules.lists);
    for (name, list) in &standing {
        if list.opened.kept.is_none() {
            let why = list.opened.fault.as_deref().unwrap_or("the agent has not got it yet");
            print::message(&format!("note: the list `{name}` is empty: {why}"));
        }
    }
    lists::sets(&standing)
}

/// The rule file that a test file belongs to.
fn beside(tests: &Path) -> PathBuf {
    let folder = tests.parent().unwrap_or(Path::new(""));
    folder.join("..").join(tests.file_name().unwrap_or_default())
}

fn sources(rules: &[PathBuf]) -> Result<Vec<Source>, Vec<ReadFault>> {
    files::expand(rules)?.iter().map(|path| source(path).map_err(|fault| vec![fault])).collect()
}

fn source(path: &Path) -> Result<Source, ReadFault> {
    Ok(Source { name: path.to_string_lossy().into_owned(), text: files::read(path)? })
}

fn unreadable(faults: &[ReadFault]) -> Outcome {
    let faults: Vec<String> = faults.iter().map(ToString::to_string).collect();
    complain(&faults.join("\n"))
}

/// The rules, also those that are disabled: a test says what they would do.
fn compiled(sources: &[Source], sets: &Sets) -> Option<RuleSet> {
    let selection = vec![Selection::EnableRule("*".to_owned())];
    let options = LoadOptions { selection, sets: sets.clone(), ..LoadOptions::default() };
    let loaded = load(sources, &options);
    if loaded.rules.is_none() {
        print::message(render::full(&loaded.diagnostics, &loaded.sources).trim_end());
    }
    loaded.rules
}

/// The failures, a line for each rule, and the sum.
fn report(tested: &Tested) -> String {
    let mut text = String::new();
    for failure in &tested.failures {
        let place = tested.sources.locate(failure.span);
        let place = place.map_or_else(String::new, |at| format!("{}:{}:{}", at.file, at.line, at.column));
        // Writing to a `String` cannot fail.
        let _ = writeln!(text, "FAILED {}\n  --> {place}", failure.rule);
        let _ = writeln!(text, "  - expected: {}\n  + got:      {}", failure.expected, failure.got);
        for part in &failure.because {
            let _ = writeln!(text, "    does not hold: {part}");
        }
        text.push('\n');
    }
    let mut rows = Vec::new();
    for rule in &tested.rules {
        let verdict = match (rule.is_tested(), rule.failed) {
            (false, _) => "untested".to_owned(),
            (true, 0) => "ok".to_owned(),
            (true, failed) => format!("{failed} failed"),
        };
        let counts = format!("{} must match, {} must not", rule.matches, rule.ignores);
        rows.push(vec![verdict, rule.rule.clone(), counts]);
    }
    text.push_str(&print::table(&rows));
    let events: usize = tested.rules.iter().map(|rule| rule.matches + rule.ignores).sum();
    let covered = tested.rules.iter().filter(|rule| rule.is_tested()).count();
    let failed = tested.failures.len();
    let rules = tested.rules.len();
    let _ = writeln!(text, "{events} events, {failed} failed; {covered} of {rules} rules tested");
    text
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const RULES: &str = "- rule: shell\n  desc: d\n  condition: evt.type=execve and proc.name=sh\n  output: \
                         shell %proc.name\n  priority: INFO\n- rule: other\n  desc: d\n  condition: \
                         evt.type=open\n  output: o\n  priority: INFO\n  enabled: false\n";

    fn result(tests: &str) -> Tested {
        let source = |name: &str, text: &str| Source { name: name.to_owned(), text: text.into() };
        let rules = compiled(&[source("r.yaml", RULES)], &Sets::default()).expect("rules");
        unit::run(&rules, &source("t.yaml", tests))
    }

    #[test]
    fn failures_are_told_with_place_and_cause() {
        let tested = result("- rule: shell\n  matches:\n  - {evt.type: execve, proc.name: zsh}\n");
        let expected = "\
FAILED shell
  --> t.yaml:3:5
  - expected: an alert
  + got:      silence
    does not hold: proc.name = sh   [proc.name = zsh]

1 failed  shell  1 must match, 0 must not
untested  other  0 must match, 0 must not
1 events, 1 failed; 1 of 2 rules tested
";
        assert_eq!(report(&tested), expected);
    }

    #[test]
    fn rules_lie_beside_the_folder_of_tests() {
        let folder = tempfile::tempdir().expect("a directory");
        let tests = folder.path().join("tests");
        fs::create_dir(&tests).expect("a directory");
        fs::write(folder.path().join("a.yaml"), RULES).expect("a file");
        let file = tests.join("a.yaml");
        let go = |text: &str| {
            fs::write(&file, text).expect("a file");
            run(&Arguments { rules: Vec::new(), config: None, files: vec![file.clone()] })
                .expect("standard output works")
        };
        assert_eq!(go("- rule: other\n  matches: [{evt.type: open}]\n"), Outcome::Clean);
        assert_eq!(go("- rule: other\n  ignores: [{evt.type: open}]\n"), Outcome::Findings);
        assert_eq!(go("- rule: none\n"), Outcome::Findings);
        fs::remove_file(folder.path().join("a.yaml")).expect("it was there");
        assert_eq!(go("- rule: other\n"), Outcome::Unusable);
    }
}
