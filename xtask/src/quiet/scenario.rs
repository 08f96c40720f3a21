//! What happens: scripts, and what is told of them for good reason.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use serde::Deserialize;

use super::IMAGE;
use crate::triggers::Podman;
use crate::{process, workspace};

/// The longest scenario takes some ten seconds.
const LIMIT: Duration = Duration::from_mins(3);

/// All of it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Day {
    pub(super) scenarios: Vec<Scenario>,
    explained: Vec<Explained>,
}

/// Something that happens.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Scenario {
    pub(super) name: String,
    needs: Vec<String>,
    before: Option<String>,
    script: String,
}

/// What is told of a scenario, and why that is right.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Explained {
    scenario: String,
    rule: String,
    why: String,
}

/// How a scenario went.
pub(super) enum Outcome {
    Done,
    Failed(String),
    Skipped(String),
}

impl Day {
    /// Reads it; only scenarios whose name contains `filter`.
    pub(super) fn read(filter: Option<&str>) -> Result<Self> {
        let mut day: Self = serde_yaml::from_str(include_str!("scenarios.yaml"))
            .context("`xtask/src/quiet/scenarios.yaml` is wrong")?;
        day.scenarios.retain(|scenario| filter.is_none_or(|filter| scenario.name.contains(filter)));
        Ok(day)
    }

    /// Why a rule may tell something in a scenario.
    pub(super) fn explanation(&self, scenario: &str, rule: &str) -> Option<&str> {
        let of = |one: &&Explained| one.scenario == scenario && one.rule == rule;
        self.explained.iter().find(of).map(|one| one.why.as_str())
    }
}

impl Scenario {
    /// What must be there before anybody watches.
    pub(super) fn prepare(&self, folder: &Path) -> Result<()> {
        let Some(before) = &self.before else { return Ok(()) };
        let mut command = Command::new("sh");
        command.args(["-e", "-c", before]).current_dir("/").env("F", self.own(folder)?);
        process::capture(&mut command).map(drop)
    }

    /// Its own folder, which is made.
    fn own(&self, folder: &Path) -> Result<PathBuf> {
        let own = folder.join("day").join(self.name.replace(' ', "-"));
        fs::create_dir_all(&own).with_context(|| format!("cannot make `{}`", own.display()))?;
        Ok(own)
    }

    /// Runs it below a folder.
    pub(super) fn run(&self, folder: &Path, podman: Result<&Podman, String>) -> Result<Outcome> {
        if let Some(missing) = self.needs.iter().find(|name| workspace::program(name).is_none()) {
            return Ok(Outcome::Skipped(format!("`{missing}` is not installed")));
        }
        let mut command = Command::new("sh");
        if self.needs.iter().any(|name| name == "podman") {
            let podman = match podman {
                Ok(podman) => podman,
                Err(why) => return Ok(Outcome::Skipped(why)),
            };
            let (name, settings) = podman.settings();
            command.env(name, settings).env("PODMAN", podman.words().join(" "));
            command.env("GROUP", podman.group()).env("IMAGE", IMAGE);
        }
        command.args(["-e", "-c", &self.script]).current_dir("/").env("F", self.own(folder)?);
        let finished = process::bounded(&mut command, LIMIT)?;
        Ok(if finished.success() { Outcome::Done } else { Outcome::Failed(finished.tail()) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_day_reads_and_explanations_are_of_its_scenarios() {
        let day = Day::read(None).unwrap();
        assert!(day.scenarios.len() > 8);
        for one in &day.explained {
            assert!(day.scenarios.iter().any(|scenario| scenario.name == one.scenario), "{}", one.scenario);
            assert!(one.why.len() > 20, "{}: a reason is a sentence", one.rule);
        }
        assert_eq!(Day::read(Some("redis")).unwrap().scenarios.len(), 1);
    }
}
