//! `bench responses`: from an order-entry connection of a process that may not to that process's death.
//!
//! The victim says the time just before it connects; this process says it when the kernel tells of its death. Beside it
//! stands a victim that ends itself by the same signal: what dying and hearing of it takes without anybody's decision.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::sys::signal::Signal;

use super::measured::{Goal, Measured, Report, Summary, percentile};
use super::ruleset;
use super::stage::{Load, Stage, cores, pause};
use crate::agent::{Agent, Setup};
use crate::workload::{Loop, monotonic_ns};
use crate::{interrupt, workspace};

/// The rule that is answered, and the venue whose order entry it is about.
const RULE: &str = "Order entry by unapproved process";
const VENUE: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::new(127, 0, 0, 77)), 47_795);
/// Victims of one kind in a round.
const VICTIMS: usize = 400;
/// Other events while the node is busy, a second on all cores together.
const BACKGROUND: usize = 50_000;
/// A round takes seconds.
const MAX_ROUNDS: usize = 5;
const P99: Goal = Goal::AtMost(5.0);

/// Milliseconds of each victim of a round.
struct Round {
    quiet: Vec<f64>,
    busy: Vec<f64>,
    /// Of those who ended themselves, in the same moments.
    alone: Vec<f64>,
    /// Those who were not ended.
    spared: u32,
}

/// Which victims of a round.
type Pick = fn(&Round) -> &Vec<f64>;

/// Measures beside a quiet and a busy agent, in turn with victims that end themselves.
pub(super) fn run(stage: &Stage) -> Result<Report> {
    let folder = stage.folder.path().canonicalize().context("there is no scratch folder")?;
    // A name of its own: by it the rule knows that nobody approved it.
    let program = folder.join("bench_intruder");
    fs::copy(std::env::current_exe()?, &program).context("cannot copy this program")?;
    let venue = TcpListener::bind(VENUE).with_context(|| format!("cannot listen on {VENUE}"))?;
    // Who is dead by then is hung up on, so that there is room for the next; it ends with this program.
    thread::spawn(move || venue.incoming().for_each(drop));
    let rounds = stage.rounds.min(MAX_ROUNDS);
    let agent = start(stage, &folder)?;
    pause()?;
    let mut all = Vec::new();
    for round in 0..rounds {
        all.push(measure(&program, &folder)?);
        stage.say(&format!("  round {} of {rounds} done", round + 1));
    }
    agent.stop()?;
    Ok(report(&all))
}

/// The agent with the packs, whose rule is answered with a kill.
fn start(stage: &Stage, folder: &Path) -> Result<Agent> {
    let (mut rules, _) = ruleset::stable();
    rules.push(workspace::root().join("rules/packs/trading.yaml"));
    let own = folder.join("response.yaml");
    fs::write(&own, format!("- rule: {RULE}\n  response: kill\n  override: {{response: replace}}\n"))?;
    rules.extend([own, ruleset::marks(folder)?]);
    let configuration = format!(
        "responses: {{mode: enforce, per_minute: 10000}}\ntrading:\n  venues:\n    exchange: {{kind: order_entry, cidrs: {}/32, \
         ports: {}}}\n",
        VENUE.ip(),
        VENUE.port()
    );
    Agent::start_as(&Setup {
        binary: &stage.binary,
        folder,
        rules: &rules,
        matching: "all",
        configuration: &configuration,
        passwd: None,
    })
}

fn measure(program: &Path, folder: &Path) -> Result<Round> {
    let mut round = Round { quiet: Vec::new(), busy: Vec::new(), alone: Vec::new(), spared: 0 };
    let mut victims = |of: fn(&mut Round) -> &mut Vec<f64>, address| -> Result<()> {
        for _ in 0..VICTIMS {
            if interrupt::pending() {
                bail!("interrupted");
            }
            match victim(program, address)? {
                Some(milliseconds) => of(&mut round).push(milliseconds),
                None => round.spared += 1,
            }
        }
        Ok(())
    };
    victims(|round| &mut round.alone, None)?;
    victims(|round| &mut round.quiet, Some(VENUE))?;
    let background = background(folder)?;
    let measured = victims(|round| &mut round.busy, Some(VENUE));
    for mut child in background {
        child.kill().context("cannot end the background")?;
        child.wait()?;
    }
    measured?;
    Ok(round)
}

/// Opens that userspace must judge, on every core, until they are ended.
fn background(folder: &Path) -> Result<Vec<Child>> {
    let file: PathBuf = folder.join("busy");
    let rate = u32::try_from(BACKGROUND / cores())?;
    let spawn = |cpu| {
        let length = Duration::from_mins(10);
        Load { kind: Loop::Open, cpu, length, warm: Duration::ZERO, rate, file: &file, yardstick: false }
            .spawn()
    };
    let children = (0..cores()).map(spawn).collect::<Result<Vec<Child>>>()?;
    thread::sleep(Duration::from_millis(300));
    Ok(children)
}

/// Milliseconds until one was dead; `None` when it was left alone.
fn victim(program: &Path, address: Option<SocketAddr>) -> Result<Option<f64>> {
    let mut command = Command::new(program);
    command.args(["workload", "victim"]).args(address.map(|address| address.to_string()));
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().context("cannot run a victim")?;
    let mut orders = child.stdin.take().context("a victim has no standard input")?;
    let mut said = BufReader::new(child.stdout.take().context("a victim has no standard output")?);
    writeln!(orders, "now")?;
    let mut line = String::new();
    said.read_line(&mut line)?;
    let status = child.wait()?;
    let dead_ns = monotonic_ns()?;
    let begun_ns: u64 = line.trim().parse().context("a victim said no time")?;
    let is_killed = status.signal() == Some(Signal::SIGKILL as i32);
    Ok(is_killed.then(|| Duration::from_nanos(dead_ns.saturating_sub(begun_ns)).as_secs_f64() * 1e3))
}

fn report(all: &[Round]) -> Report {
    let of = |pick: Pick, permille| {
        Summary::of(&all.iter().map(|round| percentile(pick(round), permille)).collect::<Vec<f64>>())
    };
    let mut results = Vec::new();
    for (name, permille) in [("p50_ms", 500), ("p99_ms", 990), ("max_ms", 1000)] {
        let kinds: [(&str, Pick); 2] = [("kill", |round| &round.quiet), ("kill_busy", |round| &round.busy)];
        for (kind, pick) in kinds {
            let row = Measured::new(format!("responses.{kind}.{name}"), "ms", of(pick, permille))
                .baseline(of(|round| &round.alone, permille));
            results.push(if name == "p99_ms" { row.goal(P99) } else { row });
        }
    }
    let spared: Vec<f64> = all.iter().map(|round| f64::from(round.spared)).collect();
    results.push(Measured::new("responses.spared", "victims", Summary::of(&spared)).goal(Goal::AtMost(0.0)));
    Report::new("responses", results)
        .note(format!(
            "rule `{RULE}` of the trading pack with `response: kill`, among upstream's stable rules"
        ))
        .note(format!(
            "{VICTIMS} victims of each kind a round; without the agent: one that ends itself by SIGKILL"
        ))
        .note(format!("busy: {BACKGROUND} opens a second that userspace must judge"))
}
