//! `bench compile`: a build that opens very many files, such as a kernel's: how much slower it gets, and how much of
//! what it does the kernel half rejects.

use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::measured::{Goal, Report};
use super::stage::{Stage, cores};
use super::watch::{Watched, watched};
use super::{ruleset, usage};
use crate::{process, toolchain};

/// Sources, and the headers that each of them includes: a kernel's source includes hundreds.
const SOURCES: usize = 40;
const HEADERS: usize = 400;
/// Folders of the headers: each is searched for each name, so most opens fail, as in a real build.
const FOLDERS: usize = 6;
/// One build takes a few seconds.
const LIMIT: Duration = Duration::from_mins(3);

/// One build.
struct Built {
    wall_s: f64,
    cpu_s: f64,
    watched: Watched,
}

/// Builds in every variant.
pub(super) fn run(stage: &Stage) -> Result<Report> {
    if let Err(reason) = toolchain::bench_programs() {
        return Ok(Report::skipped("compile", &format!("{reason:#}")));
    }
    let folder = stage.folder.path().join("compile");
    generate(&folder)?;
    // What is read for the first time is not what is measured.
    build(&folder)?;
    let (rules, which) = ruleset::stable();
    let legs = stage.interleave(&rules, |agent| {
        let ((wall_s, cpu_s), watched) = watched(agent, || build(&folder))?;
        Ok(Built { wall_s, cpu_s, watched })
    })?;
    let results = vec![
        legs.watched("compile.rejected_percent", "% of events", |on| on.watched.rejected_percent())
            .goal(Goal::AtLeast(95.0)),
        legs.watched("compile.events", "events", |on| on.watched.seen),
        legs.watched("compile.lost", "events", |on| on.watched.lost),
        legs.against("compile.wall_added_percent", "%", |on, off| (on.wall_s / off.wall_s - 1.0) * 100.0),
        legs.against("compile.cpu_added_percent", "%", |on, off| (on.cpu_s / off.cpu_s - 1.0) * 100.0),
        legs.watched("compile.wall_s", "s", |on| on.wall_s).baseline(legs.alone(|off| off.wall_s)),
        legs.watched("compile.agent_cpu_s", "s", |on| on.watched.cpu_s),
    ];
    let mut report = Report::new("compile", results).note(format!("rules: {which}")).note(format!(
        "{SOURCES} sources, {HEADERS} headers each, found in {FOLDERS} folders; make -j{}",
        cores()
    ));
    let last = legs.last().map(|on| format!("last build: {}", on.watched.by_family()));
    report.notes.extend(last);
    report.notes.extend(stage.about_variants().map(ToOwned::to_owned));
    Ok(report)
}

/// Wall and CPU seconds of one whole build.
fn build(folder: &Path) -> Result<(f64, f64)> {
    let make = |target: &str| -> Result<()> {
        let mut command = Command::new("make");
        command.arg("-s").arg(format!("-j{}", cores())).arg("-C").arg(folder).arg(target);
        let finished = process::bounded(&mut command, LIMIT)?;
        if !finished.success() {
            bail!("`{}` failed: {}", process::describe(&command), finished.tail());
        }
        Ok(())
    };
    make("clean")?;
    let (cpu, started) = (usage::children_s()?, Instant::now());
    make("all")?;
    Ok((started.elapsed().as_secs_f64(), usage::children_s()? - cpu))
}

fn generate(folder: &Path) -> Result<()> {
    let write = |name: String, text: &str| {
        let path = folder.join(name);
        fs::write(&path, text).with_context(|| format!("cannot write `{}`", path.display()))
    };
    for number in 0..FOLDERS {
        let path = folder.join(format!("include{number}"));
        fs::create_dir_all(&path).with_context(|| format!("cannot create `{}`", path.display()))?;
    }
    let mut includes = "#include <stdio.h>\n#include <stdlib.h>\n#include <string.h>\n".to_owned();
    for number in 0..HEADERS {
        // Writing to a string cannot fail.
        let _ = writeln!(includes, "#include <part{number}.h>");
        let text = format!(
            "#ifndef PART{number}\n#define PART{number}\nstruct part{number} {{ int a, b; struct part{number} *next; \
             }};\nstatic inline int part{number}(struct part{number} *p) {{ return p->a + {number}; }}\n#endif\n"
        );
        write(format!("include{}/part{number}.h", number % FOLDERS), &text)?;
    }
    for number in 0..SOURCES {
        let text =
            format!("{includes}int source{number}(struct part0 *p) {{ return part0(p) + {number}; }}\n");
        write(format!("source{number}.c"), &text)?;
    }
    write("Makefile".to_owned(), &makefile())
}

fn makefile() -> String {
    let folders = (0..FOLDERS).map(|number| format!("-Iinclude{number}")).collect::<Vec<_>>().join(" ");
    let objects = (0..SOURCES).map(|number| format!("source{number}.o")).collect::<Vec<_>>().join(" ");
    format!(
        "all: all.o\nall.o: {objects}\n\tld -r -o $@ $^\n%.o: %.c\n\tgcc -O0 {folders} -c -o $@ $<\nclean:\n\trm -f \
         *.o\n.PHONY: all clean\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_source_has_its_object_and_every_header_its_folder() {
        let folder = tempfile::tempdir().unwrap();
        generate(folder.path()).unwrap();
        let text = makefile();
        assert!(text.contains(&format!("source{}.o", SOURCES - 1)));
        assert!(text.contains(&format!("-Iinclude{}", FOLDERS - 1)));
        let at = |number: usize| folder.path().join(format!("include{}/part{number}.h", number % FOLDERS));
        assert!((0..HEADERS).all(|number| at(number).is_file()));
    }
}
