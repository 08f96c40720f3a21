//! Where a bench plays: a scratch folder, the agent in its variants, and loads on cores of their own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::hook::Hook;
use super::progress;
use crate::agent::{Agent, Setup};
use crate::workload::Loop;
use crate::{interrupt, process};

/// Before a measurement, so that starting or stopping the agent is not part of it.
const PAUSE: Duration = Duration::from_millis(300);
/// The line of the configuration that lets every wanted event through to userspace.
const UNPUSHED: &str = "pushdown: {enabled: false}\n";
/// How long the agent may take to judge a configuration.
const CHECK_LIMIT: Duration = Duration::from_secs(30);

/// How the agent runs beside a load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Variant {
    /// The agent as it is.
    Pushed,
    /// The agent with nothing filtered in the kernel.
    Unpushed,
}

/// Where the bench keeps its files, and how it starts what it measures.
pub(super) struct Stage {
    pub(super) folder: tempfile::TempDir,
    pub(super) binary: PathBuf,
    pub(super) rounds: usize,
    pub(super) json: bool,
    /// Whether the agent is a release build of this workspace.
    release: bool,
    /// Whether this agent has a switch for filtering in the kernel.
    switch: bool,
}

/// A loop to run beside or under measurement.
#[derive(Clone, Copy)]
pub(super) struct Load<'a> {
    pub(super) kind: Loop,
    pub(super) cpu: usize,
    pub(super) length: Duration,
    /// Done before, untimed.
    pub(super) warm: Duration,
    /// Operations per second; 0 is as many as possible.
    pub(super) rate: u32,
    pub(super) file: &'a Path,
    /// Whether the machine's speed is measured in between.
    pub(super) yardstick: bool,
}

/// What a finished loop says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Ran {
    /// CPU nanoseconds of one operation.
    pub(super) each_ns: f64,
    pub(super) count: f64,
    /// Nanoseconds of work in the kernel that nobody watches, in the same moments; 0 when it was not asked for.
    yard_ns: f64,
}

impl Stage {
    pub(super) fn new(binary: &Path, rounds: usize, json: bool, release: bool) -> Result<Self> {
        let folder = tempfile::Builder::new()
            .prefix("rampart-bench-")
            .tempdir()
            .context("cannot make a scratch folder")?;
        fs::create_dir_all(folder.path().join("a/b/c/d"))?;
        let mut stage = Self { folder, binary: binary.to_owned(), rounds, json, release, switch: false };
        fs::write(stage.file(), "nothing a rule asks about\n")?;
        fs::write(stage.busy(), "")?;
        stage.switch = stage.knows_switch()?;
        Ok(stage)
    }

    /// A file that no rule is interested in, five levels below its file system's scratch folder.
    pub(super) fn file(&self) -> PathBuf {
        self.folder.path().join("a/b/c/d/file")
    }

    /// A file that a rule of [`super::ruleset::marks`] is interested in, as far as the kernel can tell.
    pub(super) fn busy(&self) -> PathBuf {
        self.folder.path().join("busy")
    }

    /// The same for a bench of which one round takes minutes.
    pub(super) fn at_most(self, rounds: usize) -> Self {
        Self { rounds: self.rounds.min(rounds), ..self }
    }

    /// One line of progress.
    pub(super) fn say(&self, line: &str) {
        progress(self.json, line);
    }

    /// The agent's variants that this agent knows.
    pub(super) fn watching(&self) -> &'static [Variant] {
        if self.switch { &[Variant::Pushed, Variant::Unpushed] } else { &[Variant::Pushed] }
    }

    /// What a report must say about variants that could not be measured.
    pub(super) fn about_variants(&self) -> Option<&'static str> {
        (!self.switch).then_some("this agent has no setting `pushdown.enabled`: it is measured as it is")
    }

    /// The program that does nothing, to compare with.
    pub(super) fn hook(&self) -> Result<Hook> {
        Hook::build(self.release)
    }

    /// Starts the agent on these rules.
    pub(super) fn start(&self, rules: &[PathBuf], variant: Variant) -> Result<Agent> {
        if interrupt::pending() {
            bail!("interrupted");
        }
        let configuration = if variant == Variant::Unpushed { UNPUSHED } else { "" };
        Agent::start_as(&Setup {
            binary: &self.binary,
            folder: self.folder.path(),
            rules,
            matching: "first",
            configuration,
            passwd: None,
        })
    }

    /// Whether the agent's configuration has the switch: an agent that has none calls it an unknown setting.
    fn knows_switch(&self) -> Result<bool> {
        let path = self.folder.path().join("switch.yaml");
        fs::write(&path, UNPUSHED).with_context(|| format!("cannot write `{}`", path.display()))?;
        let mut command = Command::new(&self.binary);
        command.arg("check").arg("-c").arg(&path);
        let finished = process::bounded(&mut command, CHECK_LIMIT)?;
        if finished.success() {
            return Ok(true);
        }
        if finished.stdout.contains("unknown setting") || finished.stderr.contains("unknown setting") {
            return Ok(false);
        }
        bail!("`{}` failed: {}", process::describe(&command), finished.tail())
    }
}

/// Lets what was started or stopped settle.
pub(super) fn pause() -> Result<()> {
    if interrupt::pending() {
        bail!("interrupted");
    }
    thread::sleep(PAUSE);
    Ok(())
}

impl Load<'_> {
    /// Runs the loop to its end.
    pub(super) fn run(&self) -> Result<Ran> {
        self.spawn().and_then(ran)
    }

    /// Starts the loop as a process of its own.
    pub(super) fn spawn(&self) -> Result<Child> {
        let program = std::env::current_exe().context("cannot find this program's own file")?;
        let mut command = Command::new(program);
        command.args(["workload", "loop", self.kind.name(), "--cpu", &self.cpu.to_string()]);
        command.args(["--millis", &self.length.as_millis().to_string()]);
        command.args(["--warm-millis", &self.warm.as_millis().to_string()]);
        command.args(["--rate", &self.rate.to_string(), "--file"]).arg(self.file);
        if self.yardstick {
            command.arg("--yardstick");
        }
        command.stdout(Stdio::piped());
        command.spawn().with_context(|| format!("cannot run `{}`", process::describe(&command)))
    }
}

impl Ran {
    /// CPU nanoseconds of one operation, had the machine been as fast as it was in another run: on a virtual machine
    /// the kernel's own work takes half as long again from one second to the next.
    pub(super) fn each_at(&self, other: &Self) -> f64 {
        self.each_ns / self.yard_ns.max(f64::MIN_POSITIVE) * other.yard_ns
    }
}

/// The run in which the machine was fastest: what slows it down is none of ours, and differs from run to run.
pub(super) fn fastest<'a>(runs: impl Iterator<Item = &'a Ran>) -> Option<Ran> {
    runs.copied().min_by(|one, other| one.yard_ns.total_cmp(&other.yard_ns))
}

/// Waits for a loop and reads what it says.
pub(super) fn ran(child: Child) -> Result<Ran> {
    let output = child.wait_with_output().context("cannot wait for a workload")?;
    let text = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        bail!("a workload ended with {}", output.status);
    }
    read(&text).with_context(|| format!("a workload said `{}` instead of three numbers", text.trim()))
}

/// Reads a loop's three numbers.
pub(super) fn read(text: &str) -> Option<Ran> {
    let (each, rest) = text.trim().split_once(' ')?;
    let (count, yard) = rest.split_once(' ')?;
    Some(Ran { each_ns: each.parse().ok()?, count: count.parse().ok()?, yard_ns: yard.parse().ok()? })
}

/// How many cores this process may use.
pub(super) fn cores() -> usize {
    thread::available_parallelism().map_or(1, Into::into)
}

/// The core that loads are measured on: the first one serves most interrupts.
pub(super) fn quiet_core() -> usize {
    cores().saturating_sub(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loop_says_three_numbers() {
        assert_eq!(read("12.5 300 0.5\n"), Some(Ran { each_ns: 12.5, count: 300.0, yard_ns: 0.5 }));
        assert_eq!(read("12.5 300"), None);
    }

    #[test]
    fn a_machine_at_half_its_speed_measures_the_same() {
        let fast = Ran { each_ns: 1000.0, count: 1.0, yard_ns: 500.0 };
        let slow = Ran { each_ns: 2000.0, count: 1.0, yard_ns: 1000.0 };
        assert!((fast.each_at(&slow) - 2000.0).abs() < 1e-9);
        assert!((slow.each_at(&slow) - 2000.0).abs() < 1e-9);
    }
}
