//! `bench events`: the cost of being watched, the agent's own needs, its throughput, and its accounting.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::counters::{Counters, Family};
use super::{Goal, Measured, median, print, progress, spread, usage};
use crate::agent::Agent;
use crate::workload::Loop;
use crate::{console, interrupt, process, workspace};

/// Length of one measurement of one kind.
const WINDOW: Duration = Duration::from_millis(400);
/// Length of the storm that shows the throughput.
const STORM: Duration = Duration::from_secs(4);
/// How long the agent is left alone to see what it uses then.
const IDLE: Duration = Duration::from_secs(3);
/// Before a measurement, so that starting or stopping the agent is not part of it.
const PAUSE: Duration = Duration::from_millis(300);
/// Kinds of operations, with the id of what the agent adds, its unit, how many of it make one nanosecond, and goal.
const KINDS: [(Loop, &str, &str, f64, Option<Goal>); 3] = [
    (Loop::Getppid, "syscall.uninteresting.added_ns", "ns", 1.0, Some(Goal::AtMost(25.0))),
    (Loop::Open, "open.unwanted.added_ns", "ns", 1.0, Some(Goal::AtMost(250.0))),
    (Loop::Exec, "exec.added_us", "us", 1e-3, None),
];

/// Nanoseconds per operation of each kind, one entry per round.
type Rounds = [Vec<f64>; KINDS.len()];

/// Where the bench keeps its files.
pub(super) struct Stage {
    pub(super) folder: tempfile::TempDir,
    pub(super) rules: Vec<PathBuf>,
}

/// Runs the whole bench; false when the accounting has a hole.
pub(super) fn run(binary: &Path, rounds: usize, json: bool) -> Result<bool> {
    let stage = Stage::new()?;
    progress(json, &format!("{rounds} rounds, agent off and on in turn; rules from:"));
    for file in &stage.rules {
        progress(json, &format!("  {}", file.display()));
    }
    let (mut off, mut on): (Rounds, Rounds) = Default::default();
    let mut idle_mib = Vec::new();
    for round in 0..rounds {
        measure(&stage, &mut off)?;
        let agent = stage.start(binary)?;
        idle_mib.push(usage::resident_mib(agent.pid())?);
        measure(&stage, &mut on)?;
        agent.stop()?;
        progress(json, &format!("  round {} of {rounds} done", round + 1));
    }
    let mut results = added(&off, &on);

    progress(json, "the agent alone, then under a storm of opens on every core");
    let agent = stage.start(binary)?;
    results.push(idle(&agent)?);
    results.push(Measured {
        id: "agent.rss_idle_mb",
        value: median(&idle_mib),
        unit: "MiB",
        baseline: None,
        spread: spread(&idle_mib),
        goal: Some(Goal::AtMost(40.0)),
    });
    let counters = storm(&stage, &agent, &mut results)?;
    agent.stop()?;

    print(&results, json);
    accounting(&counters, json);
    let holds = counters.unexplained() == 0 && counters.undecodable == 0;
    if !holds {
        console::complain(format!(
            "the accounting has a hole: {} events unexplained, {} records undecodable",
            counters.unexplained(),
            counters.undecodable
        ));
    }
    Ok(holds)
}

impl Stage {
    pub(super) fn new() -> Result<Self> {
        let folder = tempfile::Builder::new()
            .prefix("rampart-bench-")
            .tempdir()
            .context("cannot make a scratch folder")?;
        fs::create_dir_all(folder.path().join("a/b/c/d"))?;
        let mut rules = vec![workspace::root().join("rules/packs/base.yaml")];
        rules.extend(workspace::upstream_rules());
        let stage = Self { folder, rules };
        fs::write(stage.file(), "nothing a rule asks about\n")?;
        Ok(stage)
    }

    /// A file that no rule is interested in, five levels below its file system's scratch folder.
    fn file(&self) -> PathBuf {
        self.folder.path().join("a/b/c/d/file")
    }

    fn start(&self, binary: &Path) -> Result<Agent> {
        Agent::start(binary, self.folder.path(), &self.rules)
    }

    /// Starts one loop on a core of its own.
    pub(super) fn workload(&self, kind: Loop, cpu: usize, length: Duration) -> Result<Child> {
        let program = std::env::current_exe().context("cannot find this program's own file")?;
        let mut command = Command::new(program);
        command.args(["workload", "loop", kind.name(), "--cpu", &cpu.to_string()]);
        command.args(["--millis", &length.as_millis().to_string(), "--file"]).arg(self.file());
        command.stdout(Stdio::piped());
        command.spawn().with_context(|| format!("cannot run `{}`", process::describe(&command)))
    }
}

/// One measurement of each kind, on the last core: the first one serves most interrupts.
fn measure(stage: &Stage, rounds: &mut Rounds) -> Result<()> {
    thread::sleep(PAUSE);
    for ((kind, ..), values) in KINDS.iter().zip(rounds) {
        if interrupt::pending() {
            bail!("interrupted");
        }
        let child = stage.workload(*kind, cores().saturating_sub(1), WINDOW)?;
        values.push(nanoseconds(child)?);
    }
    Ok(())
}

/// What a finished loop says: nanoseconds per operation.
fn nanoseconds(child: Child) -> Result<f64> {
    let output = child.wait_with_output().context("cannot wait for a workload")?;
    let text = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        bail!("a workload ended with {}", output.status);
    }
    text.trim().parse().with_context(|| format!("a workload said `{}` instead of a number", text.trim()))
}

/// Differences of each pair of neighbouring measurements: what drifts over the run cancels out.
fn added(off: &Rounds, on: &Rounds) -> Vec<Measured> {
    let mut results = Vec::new();
    for (((_, id, unit, scale, goal), off), on) in KINDS.iter().zip(off).zip(on) {
        let differences: Vec<f64> = on.iter().zip(off).map(|(on, off)| (on - off) * scale).collect();
        results.push(Measured {
            id,
            value: median(&differences),
            unit,
            baseline: Some(median(off) * scale),
            spread: spread(&differences),
            goal: *goal,
        });
    }
    results
}

/// CPU the agent takes while nothing in particular happens.
fn idle(agent: &Agent) -> Result<Measured> {
    let (before, started) = (usage::cpu_time(agent.pid())?, Instant::now());
    thread::sleep(IDLE);
    let used = usage::cpu_time(agent.pid())?.saturating_sub(before);
    Ok(Measured {
        id: "agent.cpu_idle_percent",
        value: used.as_secs_f64() / started.elapsed().as_secs_f64() * 100.0,
        unit: "% of a core",
        baseline: None,
        spread: None,
        goal: None,
    })
}

/// As many opens as all cores can make, and what the agent's counters say about them.
fn storm(stage: &Stage, agent: &Agent, results: &mut Vec<Measured>) -> Result<Counters> {
    let before = Counters::read(agent)?;
    let (cpu_before, started) = (usage::cpu_time(agent.pid())?, Instant::now());
    let children: Vec<Child> =
        (0..cores()).map(|cpu| stage.workload(Loop::Open, cpu, STORM)).collect::<Result<_>>()?;
    let mut peak_mib = 0.0_f64;
    while started.elapsed() < STORM {
        peak_mib = peak_mib.max(usage::resident_mib(agent.pid())?);
        thread::sleep(Duration::from_millis(100));
    }
    for child in children {
        nanoseconds(child)?;
    }
    let wall = started.elapsed().as_secs_f64();
    let after = Counters::settled(agent)?;
    let cpu = usage::cpu_time(agent.pid())?.saturating_sub(cpu_before).as_secs_f64();
    let grown = |pick: fn(&Counters) -> i64| real(pick(&after) - pick(&before));
    let plain = |id, value, unit, goal| Measured { id, value, unit, baseline: None, spread: None, goal };
    results.extend([
        plain("agent.rss_storm_mb", peak_mib, "MiB", Some(Goal::AtMost(80.0))),
        plain("agent.cpu_storm_percent", cpu / wall * 100.0, "% of a core", None),
        plain(
            "overload.offered_per_s",
            grown(|all| all.total(|family| family.seen)) / wall,
            "events/s",
            None,
        ),
        plain("userspace.decoded_per_s", grown(|all| all.records) / wall, "events/s", None),
        plain("userspace.evaluated_per_s", grown(|all| all.evaluated) / wall, "events/s", None),
        plain(
            "userspace.evaluations_per_s",
            grown(|all| all.evaluated) / cpu.max(0.01),
            "events/s per core",
            Some(Goal::AtLeast(500_000.0)),
        ),
        plain("overload.lost_counted", grown(|all| all.total(|family| family.ring_full)), "events", None),
        plain("overload.unexplained_loss", real(after.unexplained()), "events", Some(Goal::AtMost(0.0))),
    ]);
    Ok(after)
}

/// The equation, family by family.
fn accounting(counters: &Counters, json: bool) {
    progress(json, "\nseen = filtered + emitted + ring_full + error, since the agent of the storm started:");
    for (name, family) in &counters.families {
        let Family { seen, filtered, emitted, ring_full, error, .. } = family;
        let missing = family.missing();
        progress(
            json,
            &format!(
                "  {name:<8} {seen} = {filtered} + {emitted} + {ring_full} + {error}, {missing} unexplained"
            ),
        );
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts of one run stay far below 2^52")]
fn real(count: i64) -> f64 {
    count as f64
}

fn cores() -> usize {
    thread::available_parallelism().map_or(1, Into::into)
}
