//! `bench reload`: from SIGHUP until the agent says that the changed rules are in force.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::counters::Counters;
use super::measured::{Measured, Report, Summary};
use super::ruleset;
use super::stage::{Stage, Variant, pause};
use crate::agent::Agent;
use crate::interrupt;

const SIZES: [usize; 3] = [50, 250, 1000];
/// Reloads of each set in one round.
const RELOADS: usize = 10;
/// Time between two questions; the answer is at most so late.
const LOOK: Duration = Duration::from_millis(1);
const LIMIT: Duration = Duration::from_secs(30);
/// Each run has several reloads.
const MAX_ROUNDS: usize = 3;

/// Measures each set beside each variant.
pub(super) fn run(stage: &Stage) -> Result<Report> {
    let rounds = stage.rounds.min(MAX_ROUNDS);
    let mut all: Vec<(usize, Variant, Vec<f64>)> = Vec::new();
    for size in SIZES {
        all.extend(stage.watching().iter().map(|variant| (size, *variant, Vec::new())));
    }
    for round in 0..rounds {
        for (size, variant, milliseconds) in &mut all {
            let file = ruleset::write(stage.folder.path(), "reload.yaml", &ruleset::made(*size, ""))?;
            let agent = stage.start(std::slice::from_ref(&file), *variant)?;
            pause()?;
            for turn in 0..RELOADS {
                // Other names in half of the turns: rules that did not change need not be put in force.
                let mark = if turn % 2 == 0 { "b" } else { "" };
                fs::write(&file, ruleset::made(*size, mark)).context("cannot change the rules")?;
                milliseconds.push(reload(&agent)?);
            }
            agent.stop()?;
        }
        stage.say(&format!("  round {} of {rounds} done", round + 1));
    }
    let of = |size, variant| {
        all.iter().find(|(one, its, _)| *one == size && *its == variant).map(|(_, _, all)| Summary::of(all))
    };
    let row = |size| {
        let pushed = of(size, Variant::Pushed)?;
        Some(
            Measured::new(format!("reload.ms.{size}_rules"), "ms", pushed)
                .unpushed(of(size, Variant::Unpushed)),
        )
    };
    let mut report = Report::new("reload", SIZES.into_iter().filter_map(row).collect());
    report.notes.extend(stage.about_variants().map(ToOwned::to_owned));
    Ok(report.note(
        "from the signal until the metrics page counts the reload; reading, compiling and planning included",
    ))
}

/// Milliseconds of one reload.
fn reload(agent: &Agent) -> Result<f64> {
    let before = Counters::read(agent)?;
    let started = Instant::now();
    kill(Pid::from_raw(agent.pid().cast_signed()), Signal::SIGHUP).context("cannot signal the agent")?;
    loop {
        let now = Counters::read(agent)?;
        if now.reloads > before.reloads {
            return Ok(started.elapsed().as_secs_f64() * 1e3);
        }
        if now.failed_reloads > before.failed_reloads {
            bail!("the agent refused the rules:\n{}", agent.log_tail());
        }
        if started.elapsed() >= LIMIT || interrupt::pending() {
            bail!("the agent did not reload within {} s:\n{}", LIMIT.as_secs(), agent.log_tail());
        }
        thread::sleep(LOOK);
    }
}
