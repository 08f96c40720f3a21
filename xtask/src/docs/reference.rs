//! Pages that are made from the code: settings from the help of `rampart run`, metrics from their one table, and
//! performance from the results of the benches.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::{process, workspace};

const SETTINGS: &str = "# Settings

Every key of the agent's configuration file, with its default, what it does, and the name of the environment variable
that overrides it. `rampart run --help` prints the same; `agent/schema/config.schema.json` is the schema for editors.
";
const METRICS: &str = "# Metrics of the agent

Every metric on `/metrics`. Names that Falco has are Falco's.
";

const PERFORMANCE: &str = "# Performance

What was measured against its goal. Each number comes from a command of its own, named with machine, commit and what it is
compared with in [bench/RESULTS.md](../bench/RESULTS.md), which the commands write. Compare numbers of one section: variants are
interleaved in one run, and two machines or days differ. `bare hook` is what a program that does nothing at the end of every
system call comes to in the agent's place: the kernel's own price of watching system calls, which grows with the processor's
mitigations, and which no agent that watches them can go below.
";
const ADVICE: &str = "
```sh
cargo xtask bench events --results
cargo xtask bench rules --results
cargo xtask bench ratelimit --results
cargo xtask bench services --results
```

What costs and what to do about it:

- **Rules.** `rampart top --once` shows trials, matches and time of each rule. What only the agent can decide costs most;
  `rampart explain RULE` says what that is.
- **The ring.** Events lost for want of room: `kernel.ring_bytes`.
- **Memory.** `state.max_processes`, `limits.max_entries` and `output.queue_alerts` bound it.
- **Latency of other work.** `node.isolated_cpus` keeps the agent off CPUs that belong to somebody else.
";

/// Compares the kept pages with those made now, or keeps the latter.
pub(super) fn check(binaries: &Path) -> Result<Vec<(String, Result<()>)>> {
    let is_update = std::env::var_os("RAMPART_UPDATE").is_some_and(|value| value == "1");
    let pages = [
        ("configuration.md", settings(binaries)?),
        ("metrics.md", metrics()?),
        ("performance.md", performance()?),
    ];
    let mut results = Vec::new();
    for (name, text) in pages {
        let path = workspace::root().join("docs").join(name);
        let result = if is_update {
            fs::write(&path, &text).with_context(|| format!("cannot write `{}`", path.display()))
        } else if fs::read_to_string(&path).unwrap_or_default() == text {
            Ok(())
        } else {
            Err(anyhow::anyhow!(
                "it is not what the code says; `RAMPART_UPDATE=1 cargo xtask docs test` writes it"
            ))
        };
        results.push((format!("docs/{name} is made from the code"), result));
    }
    Ok(results)
}

fn settings(binaries: &Path) -> Result<String> {
    let text = process::capture(
        Command::new(binaries.join("rampart")).args(["run", "--help"]).env("COLUMNS", "110"),
    )?;
    let start = "Settings of the configuration file";
    let (_, table) = text.split_once(start).context("`rampart run --help` lists no settings")?;
    let table = table.split_once('\n').map_or(table, |(_, rest)| rest).trim_matches('\n');
    Ok(format!("{SETTINGS}\n```text\n{table}\n```\n"))
}

/// The table of names, as its macro has it: `Variant = KIND "name": "meaning",`.
fn metrics() -> Result<String> {
    let path = workspace::root().join("agent/src/telemetry/names.rs");
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read `{}`", path.display()))?;
    let mut rows = Vec::new();
    for line in text.lines() {
        let Some((left, right)) = line.split_once(" = ") else { continue };
        let mut parts = right.splitn(5, '"');
        let (Some(kind), Some(name), Some(": "), Some(meaning)) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            continue;
        };
        if left.trim().chars().all(char::is_alphanumeric)
            && kind.trim().chars().all(|one| one.is_ascii_uppercase())
        {
            rows.push(format!("| `{name}` | {} | {meaning} |\n", kind.trim().to_lowercase()));
        }
    }
    if rows.len() < 50 {
        bail!("`{}` has only {} metrics that can be read", path.display(), rows.len());
    }
    rows.sort();
    Ok(format!("{METRICS}\n| metric | kind | meaning |\n| --- | --- | --- |\n{}", rows.concat()))
}

/// Rows of the benches' results that have a goal.
fn performance() -> Result<String> {
    let path = workspace::root().join("bench/RESULTS.md");
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read `{}`", path.display()))?;
    let rows = goals(&text);
    if rows.is_empty() {
        bail!("`{}` has no number with a goal", path.display());
    }
    let rows: Vec<String> = rows.iter().map(|row| format!("| {} |\n", row.join(" | "))).collect();
    let rows = rows.concat();
    Ok(format!(
        "{PERFORMANCE}\n| what | median | unit | bare hook | goal |  |\n| --- | --- | --- | --- | --- | --- |\n{rows}{ADVICE}"
    ))
}

/// Name, median, unit, what a bare hook comes to, goal and verdict, by the names of the columns.
fn goals(text: &str) -> Vec<[String; 6]> {
    let (mut header, mut rows): (Vec<&str>, _) = (Vec::new(), Vec::new());
    for line in text.lines() {
        let Some(cells) = line.strip_prefix("| ").and_then(|line| line.strip_suffix(" |")) else { continue };
        let cells: Vec<&str> = cells.split(" | ").map(str::trim).collect();
        if cells.first() == Some(&"id") {
            header = cells;
            continue;
        }
        let of = |name: &str| {
            let place = header.iter().position(|column| *column == name)?;
            cells.get(place).map(|cell| (*cell).to_owned())
        };
        if let (Some(id), Some(median), Some(unit), Some(goal)) =
            (of("id"), of("median"), of("unit"), of("goal"))
            && !matches!(goal.as_str(), "-" | "")
            && !goal.starts_with('-')
        {
            let verdict = cells.last().map(|cell| (*cell).to_owned()).unwrap_or_default();
            let bare = of("bare hook").unwrap_or_else(|| "-".to_owned());
            rows.push([format!("`{id}`"), median, unit, bare, goal, verdict]);
        }
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_with_a_goal_are_found_by_their_columns() {
        let text = "## a\n\n| id | median | unit | min … max | goal |  |\n| --- | --- | --- | --- | --- | --- |\n\
                    | a.b | 3 | ns | 1 … 4 | ≤ 5 | ok |\n| a.c | 3 | ns | - | - | - |\n\
                    | id | median | unit | pushdown off |\n| --- | --- | --- | --- |\n| d | 1 | s | - |\n\
                    | id | median | unit | bare hook | goal |  |\n| --- | --- | --- | --- | --- | --- |\n\
                    | e | 9 | % | 8 | ≤ 4 | missed |\n";
        let rows = [["`a.b`", "3", "ns", "-", "≤ 5", "ok"], ["`e`", "9", "%", "8", "≤ 4", "missed"]];
        assert_eq!(goals(text), rows.map(|row| row.map(str::to_owned)));
    }
}
