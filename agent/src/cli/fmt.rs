//! `rampart fmt`: rule files in their canonical form.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use clap::Args;
use rampart_rules::{diagnostic::render, format, load::Source};

use super::{Outcome, complain, print};
use crate::policy::files;

pub(super) const EXAMPLES: &str = "\
Examples:
  rampart fmt rules/                          every rule file of a directory, in place
  rampart fmt --check rules/*.yaml            change nothing, list what is not in canonical form

Changed files are listed on standard output. Exit codes: 0 done, or nothing to change with --check;
1 a file does not read, or is not in canonical form with --check; 2 a file could not be read or written.";

#[derive(Args, Clone, Debug)]
pub(super) struct Arguments {
    /// Change nothing; only list the files that are not in canonical form
    #[arg(long)]
    check: bool,
    /// Rule files, or directories of them
    #[arg(value_name = "FILE|DIR", required = true)]
    files: Vec<PathBuf>,
}

pub(super) fn run(arguments: &Arguments) -> io::Result<Outcome> {
    let paths = match files::expand(&arguments.files) {
        Ok(paths) => paths,
        Err(faults) => {
            let faults: Vec<String> = faults.iter().map(ToString::to_string).collect();
            return Ok(complain(&faults.join("\n")));
        }
    };
    let (mut findings, mut unusable) = (false, false);
    for path in paths {
        let name = path.to_string_lossy().into_owned();
        let text = match files::read(&path) {
            Ok(text) => text,
            Err(fault) => {
                complain(&fault.to_string());
                unusable = true;
                continue;
            }
        };
        let source = Source { name: name.clone(), text };
        match format::format(&source) {
            Err(refused) => {
                print::message(render::full(&refused.diagnostics, &refused.sources).trim_end());
                findings = true;
            }
            Ok(formatted) if formatted.as_bytes() == source.text => {}
            Ok(_) if arguments.check => {
                print::data(&format!("{name}\n"))?;
                findings = true;
            }
            Ok(formatted) => match replace(&path, &formatted) {
                Ok(()) => print::data(&format!("{name}\n"))?,
                Err(error) => {
                    complain(&format!("cannot write `{name}`: {error}"));
                    unusable = true;
                }
            },
        }
    }
    Ok(match (unusable, findings) {
        (true, _) => Outcome::Unusable,
        (false, true) => Outcome::Findings,
        (false, false) => Outcome::Clean,
    })
}

/// Puts a new text in place of a file, whole or not at all. A link stays one, its target is replaced.
fn replace(path: &Path, text: &str) -> io::Result<()> {
    let path = path.canonicalize()?;
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".rampart-fmt");
    let fresh = path.with_file_name(name);
    let written = fs::write(&fresh, text)
        .and_then(|()| fs::set_permissions(&fresh, fs::metadata(&path)?.permissions()))
        .and_then(|()| fs::rename(&fresh, &path));
    if written.is_err() {
        // What could not take the place is of no use; the first error is the one to tell.
        let _ = fs::remove_file(&fresh);
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    fn go(check: bool, file: &Path) -> Outcome {
        run(&Arguments { check, files: vec![file.to_owned()] }).expect("standard output works")
    }

    #[test]
    fn a_file_is_changed_once_and_only_without_check() {
        let folder = tempfile::tempdir().expect("a directory");
        let file = folder.path().join("a.yaml");
        fs::write(&file, "-  list: a\n   items: [b,c]\n").expect("a file");
        assert_eq!(go(true, &file), Outcome::Findings);
        assert_eq!(go(false, &file), Outcome::Clean);
        assert_eq!(fs::read_to_string(&file).expect("the file"), "- list: a\n  items: [b, c]\n");
        assert_eq!(go(true, &file), Outcome::Clean);
        assert_eq!(fs::read_dir(folder.path()).expect("the directory").count(), 1);
    }

    #[test]
    fn what_does_not_read_is_left_alone() {
        let folder = tempfile::tempdir().expect("a directory");
        let file = folder.path().join("a.yaml");
        fs::write(&file, "- list: [\n").expect("a file");
        assert_eq!(go(false, &file), Outcome::Findings);
        assert_eq!(fs::read_to_string(&file).expect("the file"), "- list: [\n");
        assert_eq!(go(false, &folder.path().join("none.yaml")), Outcome::Unusable);
    }
}
