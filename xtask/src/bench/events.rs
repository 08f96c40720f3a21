//! `bench events`: the cost of being watched, the agent's own needs, its throughput, and its accounting.

use std::path::Path;
use std::process::Child;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;

use super::counters::{Counters, Family};
use super::measured::{Goal, Measured, Report, Summary};
use super::stage::{Load, Stage, Variant, cores, pause, quiet_core, ran};
use super::watch::real;
use super::{ruleset, usage};
use crate::agent::Agent;
use crate::workload::Loop;

/// Length of one measurement of one kind.
const WINDOW: Duration = Duration::from_millis(400);
/// Length of the storm that shows the throughput.
const STORM: Duration = Duration::from_secs(4);
/// How long the agent is left alone to see what it uses then.
const IDLE: Duration = Duration::from_secs(3);
/// Kinds of operations, with the id of what the agent adds, its unit, how many of it make one nanosecond, and goal.
const KINDS: [(Loop, &str, &str, f64, Option<Goal>); 3] = [
    (Loop::Getppid, "syscall.uninteresting.added_ns", "ns", 1.0, Some(Goal::AtMost(25.0))),
    (Loop::Open, "open.unwanted.added_ns", "ns", 1.0, Some(Goal::AtMost(250.0))),
    (Loop::Exec, "exec.added_us", "us", 1e-3, None),
];

/// Nanoseconds per operation of each kind, one entry per round.
type Rounds = [Vec<f64>; KINDS.len()];

/// Runs the whole bench; its report does not hold when the accounting has a hole.
pub(super) fn run(stage: &Stage) -> Result<Report> {
    let mut rules = ruleset::shipped();
    stage.say(&format!("{} rounds, agent off and on in turn; rules from:", stage.rounds));
    for file in &rules {
        stage.say(&format!("  {}", file.display()));
    }
    let (mut off, mut on): (Rounds, Rounds) = Default::default();
    let mut idle_mib = Vec::new();
    for round in 0..stage.rounds {
        measure(stage, &mut off)?;
        let agent = stage.start(&rules, Variant::Pushed)?;
        idle_mib.push(usage::resident_mib(agent.pid())?);
        measure(stage, &mut on)?;
        agent.stop()?;
        stage.say(&format!("  round {} of {} done", round + 1, stage.rounds));
    }
    let mut results = added(&off, &on);

    stage.say("the agent alone, then under a storm of opens on every core");
    // Events that the kernel half rejects would say nothing about userspace.
    rules.push(ruleset::marks(stage.folder.path())?);
    let agent = stage.start(&rules, Variant::Pushed)?;
    results.push(idle(&agent)?);
    results.push(Measured::new("agent.rss_idle_mb", "MiB", Summary::of(&idle_mib)).goal(Goal::AtMost(40.0)));
    let counters = storm(stage, &agent, &mut results)?;
    agent.stop()?;

    let mut report = Report::new("events", results);
    report.notes = accounting(&counters);
    report.holds = counters.unexplained() == 0 && counters.undecodable == 0;
    if !report.holds {
        report.notes.push(format!(
            "the accounting has a hole: {} events unexplained, {} records undecodable",
            counters.unexplained(),
            counters.undecodable
        ));
    }
    Ok(report)
}

/// One measurement of each kind, on the last core: the first one serves most interrupts.
fn measure(stage: &Stage, rounds: &mut Rounds) -> Result<()> {
    pause()?;
    for ((kind, ..), values) in KINDS.iter().zip(rounds) {
        values.push(load(*kind, quiet_core(), WINDOW, &stage.file()).run()?.each_ns);
    }
    Ok(())
}

fn load(kind: Loop, cpu: usize, length: Duration, file: &Path) -> Load<'_> {
    Load { kind, cpu, length, warm: Duration::ZERO, rate: 0, file, yardstick: false }
}

/// Differences of each pair of neighbouring measurements: what drifts over the run cancels out.
fn added(off: &Rounds, on: &Rounds) -> Vec<Measured> {
    let mut results = Vec::new();
    for (((_, id, unit, scale, goal), off), on) in KINDS.iter().zip(off).zip(on) {
        let differences: Vec<f64> = on.iter().zip(off).map(|(on, off)| (on - off) * scale).collect();
        let baseline: Vec<f64> = off.iter().map(|off| off * scale).collect();
        let measured = Measured::new(*id, unit, Summary::of(&differences)).baseline(Summary::of(&baseline));
        results.push(match goal {
            Some(goal) => measured.goal(*goal),
            None => measured,
        });
    }
    results
}

/// CPU the agent takes while nothing in particular happens.
fn idle(agent: &Agent) -> Result<Measured> {
    let (before, started) = (usage::cpu_time(agent.pid())?, Instant::now());
    thread::sleep(IDLE);
    let used = usage::cpu_time(agent.pid())?.saturating_sub(before);
    let percent = used.as_secs_f64() / started.elapsed().as_secs_f64() * 100.0;
    Ok(Measured::once("agent.cpu_idle_percent", "% of a core", percent))
}

/// As many opens that userspace must judge as all cores can make, and what the agent's counters say about them.
fn storm(stage: &Stage, agent: &Agent, results: &mut Vec<Measured>) -> Result<Counters> {
    let before = Counters::read(agent)?;
    let (cpu_before, started) = (usage::cpu_time(agent.pid())?, Instant::now());
    let file = stage.busy();
    let children: Vec<Child> =
        (0..cores()).map(|cpu| load(Loop::Open, cpu, STORM, &file).spawn()).collect::<Result<_>>()?;
    let mut peak_mib = 0.0_f64;
    while started.elapsed() < STORM {
        peak_mib = peak_mib.max(usage::resident_mib(agent.pid())?);
        thread::sleep(Duration::from_millis(100));
    }
    for child in children {
        ran(child)?;
    }
    let wall = started.elapsed().as_secs_f64();
    let after = Counters::settled(agent)?;
    let cpu = usage::cpu_time(agent.pid())?.saturating_sub(cpu_before).as_secs_f64();
    let grown = |pick: fn(&Counters) -> i64| real(pick(&after) - pick(&before));
    let offered = grown(|all| all.total(|family| family.seen)) / wall;
    let evaluated = grown(|all| all.evaluated);
    results.extend([
        Measured::once("agent.rss_storm_mb", "MiB", peak_mib).goal(Goal::AtMost(80.0)),
        Measured::once("agent.cpu_storm_percent", "% of a core", cpu / wall * 100.0),
        Measured::once("overload.offered_per_s", "events/s", offered),
        Measured::once("userspace.decoded_per_s", "events/s", grown(|all| all.records) / wall),
        Measured::once("userspace.evaluated_per_s", "events/s", evaluated / wall),
        Measured::once("userspace.evaluations_per_s", "events/s per core", evaluated / cpu.max(0.01))
            .goal(Goal::AtLeast(500_000.0)),
        Measured::once("overload.lost_counted", "events", grown(|all| all.total(|family| family.ring_full))),
        Measured::once("overload.unexplained_loss", "events", real(after.unexplained()))
            .goal(Goal::AtMost(0.0)),
    ]);
    Ok(after)
}

/// The equation, family by family.
fn accounting(counters: &Counters) -> Vec<String> {
    let mut lines = vec![
        "seen = filtered + emitted + ring_full + error, since the agent of the storm started:".to_owned(),
    ];
    lines.extend(counters.families.iter().map(|(name, family)| {
        let Family { seen, filtered, emitted, ring_full, error, .. } = family;
        let missing = family.missing();
        format!("{name}: {seen} = {filtered} + {emitted} + {ring_full} + {error}, {missing} unexplained")
    }));
    lines
}
