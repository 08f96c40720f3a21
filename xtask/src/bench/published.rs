//! `bench workloads`: the published workloads beside the workspace, on which other agents were measured.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::measured::Report;
use super::stage::Stage;
use super::watch::{Watched, watched};
use super::{ruleset, usage};
use crate::{process, workspace};

/// One run of a workload is a second or two.
const LIMIT: Duration = Duration::from_mins(2);
/// Part of the published number of operations: their proportions stay, a round ends within a minute.
const PART: u64 = 4;

/// A workload of the list, ready to run.
struct Workload {
    name: String,
    program: String,
    args: Vec<String>,
}

/// One run.
struct Run {
    wall_s: f64,
    cpu_s: f64,
    watched: Watched,
}

/// Runs every workload of the list in every variant.
pub(super) fn run(stage: &Stage) -> Result<Report> {
    let Some(list) = workspace::published_workloads() else {
        return Ok(Report::skipped("workloads", "the published workloads are not at `../shared`"));
    };
    let folder = list.parent().context("the list of workloads lies nowhere")?;
    let text = fs::read_to_string(&list).with_context(|| format!("cannot read `{}`", list.display()))?;
    let program = build(&folder.join("sysload.c"), stage.folder.path())?;
    let all = read(&text, &program, folder).with_context(|| format!("cannot read `{}`", list.display()))?;
    let (workloads, left): (Vec<Workload>, Vec<Workload>) =
        all.into_iter().partition(|one| workspace::program(&one.program).is_some());
    let (rules, which) = ruleset::stable();
    let legs = stage.interleave(&rules, |agent| {
        let one = |workload: &Workload| {
            let ((wall_s, cpu_s), watched) = watched(agent, || workload.run())?;
            Ok(Run { wall_s, cpu_s, watched })
        };
        workloads.iter().map(one).collect::<Result<Vec<Run>>>()
    })?;
    let mut results = Vec::new();
    for (index, Workload { name, .. }) in workloads.iter().enumerate() {
        let of = move |runs: &Vec<Run>, pick: fn(&Run) -> f64| runs.get(index).map_or(0.0, pick);
        let wall = move |runs: &Vec<Run>| of(runs, |run| run.wall_s);
        let cpu = move |runs: &Vec<Run>| of(runs, |run| run.cpu_s);
        let percent = |on: f64, off: f64| (on / off.max(f64::MIN_POSITIVE) - 1.0) * 100.0;
        results.extend([
            legs.against(format!("workloads.{name}.wall_added_percent"), "%", |on, off| {
                percent(wall(on), wall(off))
            }),
            legs.against(format!("workloads.{name}.cpu_added_percent"), "%", |on, off| {
                percent(cpu(on), cpu(off))
            }),
            legs.watched(format!("workloads.{name}.agent_cpu_s"), "s", |on| of(on, |run| run.watched.cpu_s)),
            legs.watched(format!("workloads.{name}.rejected_percent"), "% of events", |on| {
                of(on, |run| run.watched.rejected_percent())
            }),
            legs.watched(format!("workloads.{name}.lost_percent"), "% of events", |on| {
                of(on, |run| run.watched.lost_percent())
            }),
        ]);
    }
    let mut report = Report::new("workloads", results)
        .note(format!("rules: {which}"))
        .note(format!("the published workloads with one {PART}th of their operations"));
    for one in &left {
        report = report.note(format!("SKIP: {}: there is no `{}`", one.name, one.program));
    }
    report.notes.extend(stage.about_variants().map(ToOwned::to_owned));
    Ok(report)
}

fn build(source: &Path, folder: &Path) -> Result<PathBuf> {
    let program = folder.join("sysload");
    process::run(Command::new("cc").args(["-O2", "-pthread", "-o"]).arg(&program).arg(source))?;
    Ok(program)
}

/// Reads the list: names and command lines. Idling is not a workload here, and the web server has a bench of its own.
fn read(text: &str, program: &Path, folder: &Path) -> Result<Vec<Workload>> {
    let items: Vec<Value> = serde_json::from_str(text)?;
    let mut workloads = Vec::new();
    for item in &items {
        let word = |name: &str| item.get(name).and_then(Value::as_str);
        let (Some(name), Some(line)) = (word("name"), word("cmd")) else {
            bail!("a workload has no name or command")
        };
        if name.starts_with("idle") || name.starts_with("nginx") {
            continue;
        }
        let mut words = line.split(' ').map(|word| {
            let word = word.replace("$BIN/sysload", &program.to_string_lossy());
            part(&word.replace("$W", &folder.to_string_lossy()))
        });
        let program = words.next().context("a command is empty")?;
        workloads.push(Workload { name: name.to_owned(), program, args: words.collect() });
    }
    Ok(workloads)
}

/// Large numbers are how often something is done.
fn part(word: &str) -> String {
    match word.parse::<u64>() {
        Ok(number) if number >= 4 => (number / PART).to_string(),
        _ => word.to_owned(),
    }
}

impl Workload {
    /// Wall seconds, of the operations alone where the workload says so, and CPU seconds.
    fn run(&self) -> Result<(f64, f64)> {
        let mut command = Command::new(&self.program);
        command.args(&self.args);
        let (cpu, started) = (usage::children_s()?, Instant::now());
        let finished = process::bounded(&mut command, LIMIT)?;
        let wall = started.elapsed().as_secs_f64();
        if !finished.success() {
            bail!("`{}` failed: {}", process::describe(&command), finished.tail());
        }
        let said = finished.stdout.lines().rev().find_map(|line| serde_json::from_str::<Value>(line).ok());
        let said = said.and_then(|said| said.get("wall_s")?.as_f64());
        Ok((said.unwrap_or(wall), usage::children_s()? - cpu))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_made_smaller_and_find_their_program() {
        let text = r#"[{"name": "idle60", "cmd": "sleep 60"}, {"name": "opens", "cmd": "$BIN/sysload -t 2 open 2000000"},
                       {"name": "walk", "cmd": "$W/walk.sh 4"}]"#;
        let all = read(text, Path::new("/x/sysload"), Path::new("/w")).unwrap();
        let lines: Vec<String> =
            all.iter().map(|one| format!("{} {} {}", one.name, one.program, one.args.join(" "))).collect();
        assert_eq!(lines, ["opens /x/sysload -t 2 open 500000", "walk /w/walk.sh 1"]);
        assert!(read(r#"[{"name": "x"}]"#, Path::new("/x"), Path::new("/w")).is_err());
    }
}
