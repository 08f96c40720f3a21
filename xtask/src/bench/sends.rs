//! `bench sends`: what a message costs when a rule counts the messages of a connection: its sender, and the agent, which the
//! kernel tells of one in many.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};

use super::measured::{Measured, Report, Summary};
use super::stage::{Load, Ran, Stage, pause, quiet_core};
use super::watch::watched;
use crate::workload::Loop;

/// Messages a second: a strategy that feeds itself.
const RATE: u32 = 20_000;
/// Length of one measurement, and of the time before in which the sender becomes known.
const WINDOW: Duration = Duration::from_secs(2);
const WARM: Duration = Duration::from_millis(500);
/// As in the pack for trading, on any connection of any program.
const RULES: &str = "\
- rule: Messages sent at a runaway rate
  desc: d
  condition: evt.type in (sendto, sendmsg) and evt.rawres > 0 and fd.rip = 127.0.0.1 and proc.name exists
  threshold: {count: 2000, within: 1s, by: [proc.pid, fd.rip]}
  throttle: {burst: 1, per: 1m, by: [proc.pid]}
  output: o
  priority: CRITICAL
";

/// Measures every variant.
pub(super) fn run(stage: &Stage) -> Result<Report> {
    let rules = stage.folder.path().join("sends.yaml");
    fs::write(&rules, RULES).with_context(|| format!("cannot write `{}`", rules.display()))?;
    let files = [rules];
    let variants = stage.watching();
    let mut rows: Vec<[Vec<f64>; 3]> = variants.iter().map(|_| Default::default()).collect();
    let mut alone = Vec::new();
    for round in 0..stage.rounds {
        let mut before = send(stage)?;
        for (variant, [added, agent_ns, ended]) in variants.iter().zip(&mut rows) {
            let agent = stage.start(&files, *variant)?;
            pause()?;
            let (ran, seen) = watched(Some(&agent), || send(stage))?;
            agent.stop()?;
            pause()?;
            let after = send(stage)?;
            added.push(ran.each_ns - f64::midpoint(before.each_ns, after.each_ns));
            // The counters and the agent's time also have the warming.
            let share = WINDOW.as_secs_f64() / (WINDOW + WARM).as_secs_f64();
            agent_ns.push(seen.cpu_s * 1e9 * share / ran.count.max(1.0));
            ended.push(seen.rejected_percent());
            alone.push(before.each_ns);
            before = after;
        }
        stage.say(&format!("  round {} of {} done", round + 1, stage.rounds));
    }
    let ids = [
        ("sends.added_ns", "ns"),
        ("sends.agent_ns", "ns of the agent's CPU"),
        ("sends.ended_percent", "% of events"),
    ];
    let results = ids.into_iter().enumerate().filter_map(|(at, (id, unit))| {
        let of = |row: &[Vec<f64>; 3]| row.get(at).map(|values| Summary::of(values));
        let row = Measured::new(id, unit, rows.first().and_then(of)?).unpushed(rows.get(1).and_then(of));
        Some(if at == 0 { row.baseline(Summary::of(&alone)) } else { row })
    });
    let report = Report::new("sends", results.collect())
        .note(format!("{RATE} messages of 64 bytes a second on one connection over loopback, which a rule with a threshold of 2000 a second counts"))
        .note("`ended_percent`: of the events of all families, those that ended in the kernel, counted or rejected");
    Ok(stage.about_variants().map(ToOwned::to_owned).into_iter().fold(report, Report::note))
}

fn send(stage: &Stage) -> Result<Ran> {
    let file = stage.file();
    let load = Load {
        kind: Loop::Send,
        cpu: quiet_core(),
        length: WINDOW,
        warm: WARM,
        rate: RATE,
        file: &file,
        yardstick: false,
    };
    load.run()
}
