//! Pages that are made from the code: settings from the help of `rampart run`, metrics from their one table.

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

/// Compares the kept pages with those made now, or keeps the latter.
pub(super) fn check(binaries: &Path) -> Result<Vec<(String, Result<()>)>> {
    let is_update = std::env::var_os("RAMPART_UPDATE").is_some_and(|value| value == "1");
    let pages = [("configuration.md", settings(binaries)?), ("metrics.md", metrics()?)];
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
