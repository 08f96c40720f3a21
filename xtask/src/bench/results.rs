//! `bench/RESULTS.md`: the last numbers of each bench, each with the command that prints them and the machine.

use std::fmt::Write;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};

use super::measured::Report;
use crate::workspace;

const HEAD: &str = "# Results of the benches\n
Written by the commands under each table; a rerun replaces its section. Medians with extremes, variants interleaved in
one run: compare numbers of one section, not of two machines or days. `pushdown off` is the same agent with
`pushdown.enabled: false`, `bare hook` a program that does nothing at the end of every system call in the agent's place (what
the kernel takes of any agent that watches them), `no agent` the same load alone.\n";

/// Replaces the report's section, or adds it. A bench that was skipped leaves the file as it is.
pub(super) fn write(report: &Report, machine: &str, command: &str) -> Result<Option<PathBuf>> {
    if report.results.is_empty() {
        return Ok(None);
    }
    let path = workspace::root().join("bench/RESULTS.md");
    let old = fs::read_to_string(&path).unwrap_or_default();
    let new = replaced(&old, report.bench, &section(report, machine, command));
    fs::create_dir_all(workspace::root().join("bench")).context("cannot create `bench`")?;
    fs::write(&path, new).with_context(|| format!("cannot write `{}`", path.display()))?;
    Ok(Some(path))
}

/// The text with the section of that name replaced; sections are sorted by name.
fn replaced(old: &str, name: &str, section: &str) -> String {
    let title = |section: &str| section.lines().next().unwrap_or_default().to_owned();
    let mut sections: Vec<String> = old
        .split("\n## ")
        .skip(1)
        .map(|text| text.trim_end().to_owned())
        .filter(|text| title(text) != name)
        .collect();
    sections.push(section.trim_end().to_owned());
    sections.sort_by_key(|section| title(section));
    sections.iter().fold(HEAD.to_owned(), |text, section| format!("{text}\n## {section}\n"))
}

/// A section without the marks of its heading.
fn section(report: &Report, machine: &str, command: &str) -> String {
    let (header, rows) = report.table();
    let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
    let mut text = format!("{}\n\n", report.bench);
    text.push_str(&line(&header.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()));
    text.push_str(&line(&vec!["---".to_owned(); header.len()]));
    for row in &rows {
        text.push_str(&line(row));
    }
    text.push('\n');
    for note in &report.notes {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "- {note}");
    }
    let _ = writeln!(text, "- `{command}`: {machine}");
    text
}

#[cfg(test)]
mod tests {
    use super::super::measured::Measured;
    use super::*;

    #[test]
    fn a_rerun_replaces_its_own_section_only() {
        let one = replaced("", "opens", "opens\n\nfirst\n");
        let two = replaced(&one, "calls", "calls\n\nother\n");
        let three = replaced(&two, "opens", "opens\n\nsecond\n");
        assert_eq!(three, format!("{HEAD}\n## calls\n\nother\n\n## opens\n\nsecond\n"));
        assert_eq!(replaced(&three, "opens", "opens\n\nsecond\n"), three);
    }

    #[test]
    fn a_section_has_the_table_the_notes_and_where_it_is_from() {
        let report = Report::new("opens", vec![Measured::once("opens.x", "ns", 5.0)]).note("with made rules");
        let text = section(&report, "a machine", "cargo xtask bench opens");
        let expected = "opens\n\n| id | median | unit |\n| --- | --- | --- |\n| opens.x | 5 | ns |\n\n- with made \
                        rules\n- `cargo xtask bench opens`: a machine\n";
        assert_eq!(text, expected);
    }
}
