//! `bench replay`: records a storm of opens and execs with the agent's recorder, then judges the recording again and
//! again.
//!
//! Each round is a process of its own, so that nothing is warm but the page cache. The rate is the agent's own: from
//! the first byte of the recording to the last alert, without loading rules.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::measured::{Measured, Report, Summary};
use super::ruleset;
use super::stage::{Load, Stage, ran};
use crate::workload::Loop;
use crate::{interrupt, process};

/// Length of the recorded storm.
const STORM: Duration = Duration::from_secs(4);
/// The recorder loads and verifies its programs and reads `/proc` first.
const READY_LIMIT: Duration = Duration::from_mins(1);
/// What the recorder logs once everything is attached.
const READY: &str = "Recording";
/// Time between two looks at the log.
const LOOK: Duration = Duration::from_millis(20);

/// One replay's own account.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Replayed {
    events: f64,
    per_second: f64,
    alerts: u64,
}

/// Runs the bench; its report does not hold when two replays differ.
pub(super) fn run(stage: &Stage) -> Result<Report> {
    let recording = stage.folder.path().join("storm.rec");
    stage.say("recording a storm of opens and execs");
    record(stage, &recording)?;
    let bytes = fs::metadata(&recording).context("there is no recording")?.len();
    let mut all = Vec::new();
    let mut output: Option<Vec<u8>> = None;
    let mut same = true;
    for round in 0..stage.rounds {
        if interrupt::pending() {
            bail!("interrupted");
        }
        let (replayed, alerts) = replay(stage, &recording)?;
        same &= output.as_ref().is_none_or(|first| *first == alerts);
        output.get_or_insert(alerts);
        all.push(replayed);
        stage.say(&format!("  round {} of {} done", round + 1, stage.rounds));
    }
    let first = all.first().copied().context("there was no round")?;
    let rates: Vec<f64> = all.iter().map(|one| one.per_second).collect();
    #[expect(clippy::cast_precision_loss, reason = "a file's size is far below 2^53")]
    let per_event = bytes as f64 / first.events.max(1.0);
    let results = vec![
        Measured::new("replay.events_per_s", "events/s", Summary::of(&rates)),
        Measured::once("replay.events", "events", first.events),
        Measured::once("replay.bytes_per_event", "bytes", per_event),
    ];
    let mut report = Report::new("replay", results)
        .note(format!("{} alerts, the same in every round: {same}", first.alerts));
    report.holds = same;
    Ok(report)
}

/// Records while one core opens files and another starts programs.
fn record(stage: &Stage, recording: &Path) -> Result<()> {
    let log = stage.folder.path().join("record.log");
    let mut command = with_rules(stage, "record");
    command.arg("-o").arg(recording).stdin(Stdio::null()).stdout(Stdio::null());
    command.stderr(fs::File::create(&log).with_context(|| format!("cannot write `{}`", log.display()))?);
    let mut recorder =
        command.spawn().with_context(|| format!("cannot run `{}`", process::describe(&command)))?;
    let said = || fs::read_to_string(&log).unwrap_or_default();
    let outcome = (|| {
        let deadline = Instant::now() + READY_LIMIT;
        while !said().contains(READY) {
            if recorder.try_wait().context("cannot ask for the recorder")?.is_some() {
                bail!("the recorder ended early: {}", said().trim_end());
            }
            if Instant::now() >= deadline || interrupt::pending() {
                bail!("the recorder is not ready: {}", said().trim_end());
            }
            thread::sleep(LOOK);
        }
        let file = stage.file();
        let load = |kind| Load {
            kind,
            cpu: 0,
            length: STORM,
            warm: Duration::ZERO,
            rate: 0,
            file: &file,
            yardstick: false,
        };
        for child in [load(Loop::Open).spawn()?, load(Loop::Exec).spawn()?] {
            ran(child)?;
        }
        Ok(())
    })();
    let pid = i32::try_from(recorder.id()).context("a process id is too large")?;
    // One that has ended is found by the wait.
    let _ = kill(Pid::from_raw(pid), Signal::SIGINT);
    let status = recorder.wait().context("cannot wait for the recorder")?;
    outcome?;
    if !status.success() {
        bail!("the recorder ended with {status}: {}", said().trim_end());
    }
    Ok(())
}

/// Replays once: its account and its alerts.
fn replay(stage: &Stage, recording: &Path) -> Result<(Replayed, Vec<u8>)> {
    let mut command = with_rules(stage, "replay");
    command.arg(recording).args(["-o", "json"]).stdin(Stdio::null());
    let output = command.output().with_context(|| format!("cannot run `{}`", process::describe(&command)))?;
    let said = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        bail!("a replay ended with {}: {}", output.status, said.trim_end());
    }
    let replayed =
        said.lines().find_map(read).with_context(|| format!("no numbers in `{}`", said.trim_end()))?;
    Ok((replayed, output.stdout))
}

fn with_rules(stage: &Stage, verb: &str) -> Command {
    let mut command = Command::new(&stage.binary);
    command.arg(verb);
    for file in ruleset::shipped() {
        command.arg("-r").arg(file);
    }
    command
}

/// Reads `replayed N events of … (N events/s): N alerts; …`.
fn read(line: &str) -> Option<Replayed> {
    let events = line.strip_prefix("replayed ")?.split(' ').next()?.parse().ok()?;
    let (before, after) = line.split_once(" events/s): ")?;
    let per_second = before.rsplit('(').next()?.parse().ok()?;
    let alerts = after.split(' ').next()?.parse().ok()?;
    Some(Replayed { events, per_second, alerts })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_is_read() {
        let line = "replayed 200 events of 4.0 s in 0.10 s (2000 events/s): 7 alerts; 0 events were lost when it was \
                    recorded";
        assert_eq!(read(line), Some(Replayed { events: 200.0, per_second: 2000.0, alerts: 7 }));
        assert_eq!(read("warning: something else"), None);
    }
}
