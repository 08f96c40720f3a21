//! `cargo xtask demo`: a scripted intrusion against a running agent, what the agent said about each step, a flood that it
//! cuts, and a backend that dies and comes back. A collector beside it shows all of it in one timeline.
//!
//! Everything happens in scratch folders, and what touches the network or `/var/log` in namespaces of its own; all
//! of it is gone afterwards, also after a failure.

mod alert;
mod collector;
mod flood;
mod outage;
mod report;
mod scene;
mod step;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Args;
use nix::unistd::geteuid;

use self::alert::Alert;
use self::collector::Collector;
pub(crate) use self::flood::Flood;
pub(crate) use self::outage::Outage;
use self::report::Seen;
use self::scene::Scene;
use self::step::{Pack, Step};
use crate::agent::{Agent, Setup};
use crate::compare::{self, Comparison, Heard};
use crate::{build, console, interrupt, process, workspace};

/// Distinct rules that must have fired with the right facts.
const NEEDED: usize = 8;
/// How long an expected alert may take; it is there within milliseconds unless the machine is very busy.
const ALERT_LIMIT: Duration = Duration::from_secs(5);
/// No step's program may hang.
const STEP_LIMIT: Duration = Duration::from_secs(30);
/// After the expected alerts of a step, further ones are waited for this long.
const SETTLE: Duration = Duration::from_millis(100);

/// How the demo ends.
#[derive(Args, Debug)]
pub(crate) struct Options {
    /// End after the summary; without it the agent keeps running until Ctrl-C
    #[arg(long)]
    once: bool,
    /// Use this agent instead of building one
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
    /// Run the intrusion twice, with pushdown and without, and compare the alerts; ends with 1 on a difference
    #[arg(long)]
    compare_pushdown: bool,
}

/// Builds, runs the intrusion and judges what was seen.
pub(crate) fn run(options: &Options) -> Result<bool> {
    if !geteuid().is_root() {
        bail!("the demo loads kernel programs: run it as root");
    }
    console::say("[1/7] set-up and release build");
    let binary = match &options.binary {
        Some(binary) => binary.clone(),
        None => build::agent()?,
    };
    if options.compare_pushdown {
        return Ok(differential(&binary)?.report("steps"));
    }
    console::say("[2/7] scratch folders, a decoy, and programs named as an intruder would name them");
    let upstream = workspace::upstream_rules();
    let scene = Scene::prepare(upstream.is_some())?;
    let mut rules = vec![workspace::root().join("rules/packs/base.yaml")];
    match &upstream {
        Some(path) => rules.push(path.clone()),
        None => console::say("    Falco's own rule file is not at `../shared`; only the base pack is shown"),
    }
    rules.push(scene.rules.clone());
    console::say("[3/7] starting a collector and the agent");
    let collector = Collector::start(&binary, scene.folder())?;
    console::say(format!("    everything that happens is in one timeline at {}", collector.url()));
    let flood = Flood::prepare(scene.folder())?;
    let mut outage = Outage::prepare(flood.pins())?;
    let mut agent = Agent::start_as(&Setup {
        binary: &binary,
        folder: scene.folder(),
        rules: &rules,
        matching: "all",
        configuration: &(flood.configuration() + &outage.configuration() + &collector.configuration()),
        passwd: None,
    })?;
    console::say(format!("    ready, pid {}, rules from:", agent.pid()));
    for file in &rules {
        console::say(format!("      {}", file.display()));
    }
    console::say(format!("    the node alone is at http://{}/dashboard", agent.address()));
    console::say("[4/7] the intrusion");
    let seen = intrude(&mut agent, &scene)?;
    console::say("\n[5/7] a flood from a namespace, and somebody else who sends what he may");
    let cut = flood.run(&agent)?;
    console::say(if cut { "    the flood is cut, the other source is not" } else { "    FAILED: see above" });
    console::say("\n[6/7] a service with two backends, of which one dies and comes back");
    let survived = outage.run(&agent)?;
    let verdict = if survived { "    who used the service noticed little" } else { "    FAILED: see above" };
    console::say(verdict);
    console::say("\n[7/7] all of it in the collector's timeline");
    let stored = collector.has_everything()?;
    collector.picture()?;
    let passed = report::summary(&seen, NEEDED) && cut && survived && stored;
    if !options.once {
        follow(&mut agent, &collector);
    }
    let status = agent.stop()?;
    if !status.success() {
        bail!("the agent ended with {status}");
    }
    Ok(passed)
}

fn intrude(agent: &mut Agent, scene: &Scene) -> Result<Vec<Seen>> {
    let mut seen = Vec::new();
    let steps = step::all(scene);
    let count = steps.len();
    for (index, step) in steps.into_iter().enumerate() {
        console::say(format!("\n  step {}/{count}: {}", index + 1, step.title));
        console::say(format!("    $ {}", scene.shorten(&step.script)));
        let output = act(&step)?;
        let alerts = collect(agent, &step);
        for alert in &alerts {
            console::say(format!("    {}", alert.line(scene)));
        }
        for expected in &step.expected {
            let verdict = Seen::judge(&step, expected, &alerts);
            if verdict.is_missing() && expected.pack != Pack::Upstream {
                console::say(format!("    MISSED: {}", expected.rule));
                if !output.is_empty() {
                    console::say(format!("    the step's program said: {output}"));
                }
            }
            seen.push(verdict);
        }
        if !agent.runs() {
            bail!("the agent ended during the intrusion; its log:\n{}", agent.log_tail());
        }
    }
    Ok(seen)
}

/// Runs the intrusion against an agent with pushdown and against one without, without a word.
pub(crate) fn differential(binary: &Path) -> Result<Comparison> {
    Ok(Comparison::new(&heard(binary, true)?, &heard(binary, false)?))
}

/// What the agent says about each step: the alerts of rules that the intrusion is about, each once.
fn heard(binary: &Path, pushdown: bool) -> Result<Heard> {
    let upstream = workspace::upstream_rules();
    let scene = Scene::prepare(upstream.is_some())?;
    let mut rules = vec![workspace::root().join("rules/packs/base.yaml")];
    rules.extend(upstream);
    rules.push(scene.rules.clone());
    let agent = Agent::start_as(&Setup {
        binary,
        folder: scene.folder(),
        rules: &rules,
        matching: "all",
        configuration: compare::setting(pushdown),
        passwd: None,
    })?;
    let steps = step::all(&scene);
    // What else goes on on this machine is not the same twice.
    let of_intrusion = |alert: &Alert| {
        steps.iter().flat_map(|step| &step.expected).any(|expected| expected.rule == alert.rule)
    };
    let mut heard = Heard::new();
    for step in &steps {
        act(step)?;
        let alerts = collect(&agent, step);
        if let Some(wrong) = alerts.iter().find(|alert| alert.rule == compare::DISAGREEMENT) {
            bail!("pushdown is wrong: {}", wrong.line(&scene));
        }
        let mut alerts: Vec<String> =
            alerts.iter().filter(|alert| of_intrusion(alert)).map(|alert| alert.words(&scene)).collect();
        alerts.sort_unstable();
        alerts.dedup();
        heard.insert(step.title.to_owned(), alerts);
    }
    let status = agent.stop()?;
    if !status.success() {
        bail!("the agent ended with {status}");
    }
    Ok(heard)
}

/// Runs the step's script with a shell as its parent; returns what it complained about.
fn act(step: &Step) -> Result<String> {
    let mut command = Command::new("/bin/sh");
    command.arg("-c").arg(&step.script).current_dir("/");
    let finished =
        process::bounded(&mut command, STEP_LIMIT).context("cannot run a step of the intrusion")?;
    Ok(if finished.success() { String::new() } else { finished.tail() })
}

/// Alerts that the step caused: until all expected ones are there, and a moment more.
fn collect(agent: &Agent, step: &Step) -> Vec<Alert> {
    let mut alerts: Vec<Alert> = Vec::new();
    let mut deadline = Instant::now() + ALERT_LIMIT;
    let mut complete = false;
    while !interrupt::pending() {
        let left = deadline.saturating_duration_since(Instant::now());
        let Some(line) = agent.line(left) else { break };
        // Whatever is not an alert is not ours to judge.
        alerts.extend(Alert::read(&line));
        if !complete && step.expected.iter().all(|expected| alerts.iter().any(|alert| expected.is(alert))) {
            complete = true;
            deadline = Instant::now() + SETTLE;
        }
    }
    alerts
}

/// Prints alerts as they come until the user has seen enough.
fn follow(agent: &mut Agent, collector: &Collector) {
    console::say(format!(
        "\nthe agent keeps running; try it from another terminal, look at {} or http://{}/dashboard, and end it with Ctrl-C",
        collector.url(),
        agent.address()
    ));
    while !interrupt::pending() && agent.runs() {
        if let Some(line) = agent.line(Duration::from_millis(200)) {
            console::say(line.text);
        }
    }
}

/// The name a process gets from its program.
fn program_name(path: &Path) -> String {
    // The kernel keeps 15 bytes of a process's name.
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.chars().take(15).collect()
}
