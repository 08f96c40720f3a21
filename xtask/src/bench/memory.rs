//! `bench memory`: what the agent holds at rest, in itself and in the kernel's maps, with upstream's rules and many.

use std::thread;
use std::time::Duration;

use anyhow::{Result, bail};

use super::measured::{Goal, Measured, Report, Summary};
use super::ruleset;
use super::stage::{Stage, Variant};
use super::usage::{self, Bpf};

/// Until the start's own work is over and the agent has given back what only that needed.
const REST: Duration = Duration::from_secs(12);
const MANY: usize = 250;
/// Memory varies little from run to run.
const MAX_ROUNDS: usize = 3;

/// What one agent holds, MiB.
struct Held {
    resident: f64,
    maps: f64,
    programs: f64,
}

/// Measures each rule set in each variant.
pub(super) fn run(stage: &Stage) -> Result<Report> {
    let (stable, which) = ruleset::stable();
    let many = ruleset::of_size(stage.folder.path(), MANY)?;
    let sets = [("stable", stable), ("250_rules", many.files)];
    let rounds = stage.rounds.min(MAX_ROUNDS);
    let mut all: Vec<(&str, Variant, Vec<Held>)> = Vec::new();
    for (name, _) in &sets {
        all.extend(stage.watching().iter().map(|variant| (*name, *variant, Vec::new())));
    }
    let mut objects = Bpf::default();
    for round in 0..rounds {
        for (name, variant, held) in &mut all {
            let files = sets.iter().find(|(one, _)| one == name).map(|(_, files)| files.as_slice());
            let agent = stage.start(files.unwrap_or_default(), *variant)?;
            thread::sleep(REST);
            objects = usage::bpf_bytes(agent.pid())?;
            if objects.maps == 0 {
                bail!("the agent's descriptors show no map");
            }
            held.push(Held {
                resident: usage::resident_mib(agent.pid())?,
                maps: mib(objects.map_bytes),
                programs: mib(objects.program_bytes),
            });
            agent.stop()?;
        }
        stage.say(&format!("  round {} of {rounds} done", round + 1));
    }
    let mut results = Vec::new();
    for (name, _) in &sets {
        let row = |id: &str, pick: fn(&Held) -> f64| {
            let of = |wanted| {
                let held = all.iter().find(|(one, variant, _)| one == name && *variant == wanted)?;
                Some(Summary::of(&held.2.iter().map(pick).collect::<Vec<f64>>()))
            };
            let pushed = of(Variant::Pushed)?;
            Some(Measured::new(format!("memory.{id}.{name}"), "MiB", pushed).unpushed(of(Variant::Unpushed)))
        };
        results.extend(row("rss_idle_mb", |held| held.resident).map(|row| row.goal(Goal::AtMost(40.0))));
        results.extend(row("maps_mb", |held| held.maps).map(|row| row.goal(Goal::AtMost(16.0))));
        results.extend(row("programs_mb", |held| held.programs));
    }
    let mut report = Report::new("memory", results).note(format!("rules: `stable` is {which}")).note(format!(
        "{} maps and {} programs, as the kernel accounts for them (`memlock`), the ring of events among them",
        objects.maps, objects.programs
    ));
    report.notes.push(format!("resident {} s after the agent was ready", REST.as_secs()));
    report.notes.extend(stage.about_variants().map(ToOwned::to_owned));
    Ok(report)
}

#[expect(clippy::cast_precision_loss, reason = "sizes of memory are far below 2^52")]
fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}
