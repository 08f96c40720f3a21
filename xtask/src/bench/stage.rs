//! Where a bench plays: a scratch folder, the agent in its variants, and loads on cores of their own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::measured::{Measured, Summary, median};
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

/// What was measured without the agent and, between two of these, with it.
#[derive(Debug)]
pub(super) struct Legs<T> {
    alone: Vec<T>,
    pushed: Vec<Leg<T>>,
    unpushed: Vec<Leg<T>>,
}

/// One measurement beside the agent.
#[derive(Debug)]
struct Leg<T> {
    value: T,
    /// Index of the measurement without the agent before it; the next one came after it.
    before: usize,
}

/// Where the bench keeps its files, and how it starts what it measures.
pub(super) struct Stage {
    pub(super) folder: tempfile::TempDir,
    pub(super) binary: PathBuf,
    pub(super) rounds: usize,
    pub(super) json: bool,
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
    pub(super) fn new(binary: &Path, rounds: usize, json: bool) -> Result<Self> {
        let folder = tempfile::Builder::new()
            .prefix("rampart-bench-")
            .tempdir()
            .context("cannot make a scratch folder")?;
        fs::create_dir_all(folder.path().join("a/b/c/d"))?;
        let mut stage = Self { folder, binary: binary.to_owned(), rounds, json, switch: false };
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

    /// Measures beside the agent in each variant, each time between two measurements without it: what drifts over the
    /// run cancels out. Each round begins with another variant.
    pub(super) fn interleave<T>(
        &self,
        rules: &[PathBuf],
        mut measure: impl FnMut(Option<&Agent>) -> Result<T>,
    ) -> Result<Legs<T>> {
        let mut legs = Legs { alone: Vec::new(), pushed: Vec::new(), unpushed: Vec::new() };
        let mut order = self.watching().to_vec();
        pause()?;
        legs.alone.push(measure(None)?);
        for round in 0..self.rounds {
            for variant in &order {
                let agent = self.start(rules, *variant)?;
                pause()?;
                let leg = Leg { value: measure(Some(&agent))?, before: legs.alone.len() - 1 };
                agent.stop()?;
                match variant {
                    Variant::Pushed => legs.pushed.push(leg),
                    Variant::Unpushed => legs.unpushed.push(leg),
                }
                pause()?;
                legs.alone.push(measure(None)?);
            }
            order.rotate_left(1);
            self.say(&format!("  round {} of {} done", round + 1, self.rounds));
        }
        Ok(legs)
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

impl<T> Legs<T> {
    /// A number of what was measured beside the agent, against its neighbours without it.
    pub(super) fn against(
        &self,
        id: impl Into<String>,
        unit: &'static str,
        compare: impl Fn(&T, &T) -> f64,
    ) -> Measured {
        self.measured(id, unit, &|leg| {
            let neighbours: Vec<f64> =
                self.alone.iter().skip(leg.before).take(2).map(|off| compare(&leg.value, off)).collect();
            median(&neighbours)
        })
    }

    /// A number of what was measured beside the agent.
    pub(super) fn watched(
        &self,
        id: impl Into<String>,
        unit: &'static str,
        pick: impl Fn(&T) -> f64,
    ) -> Measured {
        self.measured(id, unit, &|leg| pick(&leg.value))
    }

    /// What was measured without the agent.
    pub(super) fn alone(&self, pick: impl Fn(&T) -> f64) -> Summary {
        Summary::of(&self.alone.iter().map(pick).collect::<Vec<f64>>())
    }

    /// Every measurement without the agent.
    pub(super) fn every_alone(&self) -> impl Iterator<Item = &T> {
        self.alone.iter()
    }

    /// The last measurement beside the agent as it is.
    pub(super) fn last(&self) -> Option<&T> {
        self.pushed.last().map(|leg| &leg.value)
    }

    fn measured(&self, id: impl Into<String>, unit: &'static str, pick: &dyn Fn(&Leg<T>) -> f64) -> Measured {
        let of = |legs: &[Leg<T>]| Summary::of(&legs.iter().map(pick).collect::<Vec<f64>>());
        let unpushed = (!self.unpushed.is_empty()).then(|| of(&self.unpushed));
        Measured::new(id, unit, of(&self.pushed)).unpushed(unpushed)
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
    fn a_measurement_is_compared_with_its_neighbours() {
        let leg = |value, before| Leg { value, before };
        let legs =
            Legs { alone: vec![10.0, 20.0, 40.0], pushed: vec![leg(20.0, 0)], unpushed: vec![leg(80.0, 1)] };
        let row = legs.against("a", "ratio", |on, off| on / off).row();
        assert_eq!(row, ["a", "1.5", "ratio", "-", "3", "-", "-", "-"]);
        let without = Legs { unpushed: Vec::new(), ..legs };
        assert_eq!(without.watched("a", "ns", |on| *on).row()[4], "-");
        assert_eq!(without.alone(|off| *off), Summary { median: 20.0, min: 10.0, max: 40.0 });
        assert_eq!(without.last(), Some(&20.0));
    }

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
