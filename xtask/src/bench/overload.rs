//! `bench overload`: more events than anybody can take: what is lost, that all of it is counted, and where.
//!
//! Three loads: files that no rule wants and files that userspace must judge, both as fast as every core can, and the
//! latter at the rate a busy node has.

use std::process::Child;
use std::time::{Duration, Instant};

use anyhow::Result;

use super::measured::{Goal, Measured, Report, Summary};
use super::ruleset;
use super::stage::{Load, Stage, Variant, cores, pause, ran};
use super::usage;
use super::watch::{Watched, watched};
use crate::agent::Agent;
use crate::workload::Loop;

/// Less than this is no overload.
const OFFERED: f64 = 200_000.0;
const LENGTH: Duration = Duration::from_secs(4);
/// Events per second of the even load, on all cores together.
const EVEN_RATE: usize = 200_000;
/// Longer runs of this bench say little more: each has millions of events.
const MAX_ROUNDS: usize = 3;

/// What is opened, and how fast.
#[derive(Clone, Copy)]
struct Storm {
    id: &'static str,
    /// Whether userspace must judge the events.
    wanted: bool,
    rate: usize,
}

const STORMS: [Storm; 3] = [
    Storm { id: "unwanted", wanted: false, rate: 0 },
    Storm { id: "wanted", wanted: true, rate: 0 },
    Storm { id: "wanted_200k", wanted: true, rate: EVEN_RATE },
];

/// Runs of one storm beside one variant.
#[derive(Default)]
struct Runs {
    watched: Vec<Watched>,
    peak_mib: Vec<f64>,
}

/// Runs every storm beside every variant; the report does not hold when an event is unexplained.
pub(super) fn run(stage: &Stage) -> Result<Report> {
    let (mut rules, which) = ruleset::stable();
    rules.push(ruleset::marks(stage.folder.path())?);
    let rounds = stage.rounds.min(MAX_ROUNDS);
    let mut all: Vec<(Storm, Variant, Runs)> = Vec::new();
    for variant in stage.watching() {
        all.extend(STORMS.map(|storm| (storm, *variant, Runs::default())));
    }
    for round in 0..rounds {
        for variant in stage.watching() {
            let agent = stage.start(&rules, *variant)?;
            for (storm, _, runs) in all.iter_mut().filter(|(_, of, _)| of == variant) {
                pause()?;
                runs.add(stage, &agent, *storm)?;
            }
            agent.stop()?;
        }
        stage.say(&format!("  round {} of {rounds} done", round + 1));
    }
    let results = STORMS.into_iter().flat_map(|storm| rows(storm, &all)).collect();
    let mut report = Report::new("overload", results);
    report.holds = all.iter().all(|(_, _, runs)| runs.watched.iter().all(|one| one.unexplained == 0.0));
    if !report.holds {
        report = report.note("the accounting has a hole: see `unexplained`");
    }
    report.notes.extend(stage.about_variants().map(ToOwned::to_owned));
    Ok(report.note(format!("rules: {which}, and one whose events userspace must judge")).note(format!(
        "opens on {} cores for {} s: `unwanted` and `wanted` as fast as they can, `wanted_200k` at {EVEN_RATE} a second; \
         `unattributed` are missing sequence numbers that no loss counter has",
        cores(),
        LENGTH.as_secs()
    )))
}

impl Runs {
    fn add(&mut self, stage: &Stage, agent: &Agent, storm: Storm) -> Result<()> {
        let file = if storm.wanted { stage.busy() } else { stage.file() };
        let rate = u32::try_from(storm.rate / cores())?;
        let started = Instant::now();
        let (peak, watched) = watched(Some(agent), || {
            let spawn = |cpu| {
                Load {
                    kind: Loop::Open,
                    cpu,
                    length: LENGTH,
                    warm: Duration::ZERO,
                    rate,
                    file: &file,
                    yardstick: false,
                }
                .spawn()
            };
            let children = (0..cores()).map(spawn).collect::<Result<Vec<Child>>>()?;
            let mut peak = 0.0_f64;
            while started.elapsed() < LENGTH {
                peak = peak.max(usage::resident_mib(agent.pid())?);
                std::thread::sleep(Duration::from_millis(100));
            }
            for child in children {
                ran(child)?;
            }
            Ok(peak)
        })?;
        self.watched.push(watched);
        self.peak_mib.push(peak);
        Ok(())
    }

    fn summary(&self, pick: impl Fn(&Watched) -> f64) -> Summary {
        Summary::of(&self.watched.iter().map(pick).collect::<Vec<f64>>())
    }
}

/// The rows of one storm.
fn rows(storm: Storm, all: &[(Storm, Variant, Runs)]) -> Vec<Measured> {
    let of = |variant| {
        all.iter().find(|(one, its, _)| one.id == storm.id && *its == variant).map(|(_, _, runs)| runs)
    };
    let Some(pushed) = of(Variant::Pushed) else { return Vec::new() };
    let unpushed = of(Variant::Unpushed);
    let seconds = LENGTH.as_secs_f64();
    let row = |name: &str, unit, pick: &dyn Fn(&Watched) -> f64| {
        Measured::new(format!("overload.{}.{name}", storm.id), unit, pushed.summary(pick))
            .unpushed(unpushed.map(|runs| runs.summary(pick)))
    };
    let none = Goal::AtMost(0.0);
    vec![
        row("offered_per_s", "events/s", &|one| one.seen / seconds).goal(Goal::AtLeast(OFFERED)),
        row("rejected_percent", "% of events", &Watched::rejected_percent),
        row("lost_percent", "% of events", &Watched::lost_percent),
        row("unattributed", "events", &|one| one.unattributed).goal(none),
        row("unexplained", "events", &|one| one.unexplained).goal(none),
        row("agent_cpu_s", "s", &|one| one.cpu_s),
        Measured::new(format!("overload.{}.rss_peak_mb", storm.id), "MiB", Summary::of(&pushed.peak_mib))
            .unpushed(unpushed.map(|runs| Summary::of(&runs.peak_mib)))
            .goal(Goal::AtMost(80.0)),
    ]
}
