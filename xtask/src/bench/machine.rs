//! Facts about the machine and the sources, without which a number says nothing.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

use super::stage::cores;
use crate::{process, workspace};

/// How long others are watched: long enough for the kernel's ticks of 10 ms.
const SAMPLE: Duration = Duration::from_secs(1);

/// What a number was measured on.
pub(super) struct Machine {
    facts: Vec<String>,
}

impl Machine {
    /// Asks the machine, before anything is measured; what it does not say is left out.
    pub(super) fn ask(agent: Option<&Path>) -> Self {
        let others = busy_percent();
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        let mut facts = vec![
            said(Command::new("date").args(["-u", "+%Y-%m-%d %H:%M UTC"])),
            said(
                Command::new("git")
                    .args(["describe", "--always", "--dirty", "--exclude=*"])
                    .current_dir(workspace::root()),
            )
            .map(|commit| format!("commit {commit}")),
            agent.and_then(|agent| said(Command::new(agent).arg("--version"))),
            Some(format!("Linux {}", read("/proc/sys/kernel/osrelease").trim())),
            Some(std::env::consts::ARCH.to_owned()),
            cpu(&read("/proc/cpuinfo")),
            Some(format!("{} cores", cores())),
            memory(&read("/proc/meminfo")),
            nice(&read("/proc/self/stat")).map(|nice| format!("nice {nice}")),
            group_nice(&read("/proc/self/autogroup")).map(|nice| format!("nice {nice} of the session")),
            others.map(|percent| format!("other programs used {percent:.0} % of the cores before")),
        ];
        Self { facts: facts.drain(..).flatten().collect() }
    }

    /// One line with all of it.
    pub(super) fn line(&self) -> String {
        self.facts.join(" · ")
    }
}

fn said(command: &mut Command) -> Option<String> {
    process::capture(command).ok().map(|text| text.trim().to_owned()).filter(|text| !text.is_empty())
}

fn cpu(text: &str) -> Option<String> {
    let (_, model) = text.lines().find(|line| line.starts_with("model name"))?.split_once(':')?;
    Some(model.trim().to_owned())
}

fn memory(text: &str) -> Option<String> {
    let kib: f64 = text
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))?
        .split_whitespace()
        .next()?
        .parse()
        .ok()?;
    Some(format!("{:.1} GiB", kib / f64::from(1 << 20)))
}

/// Our priority, if it is not the usual one.
fn nice(stat: &str) -> Option<i32> {
    let (_, after_name) = stat.rsplit_once(')')?;
    after_name.split_whitespace().nth(16)?.parse().ok().filter(|nice| *nice != 0)
}

/// The priority of our session among all sessions, if it is not the usual one.
fn group_nice(text: &str) -> Option<i32> {
    text.trim().rsplit_once(" nice ")?.1.parse().ok().filter(|nice| *nice != 0)
}

/// How much of all cores is used, while this program does nothing.
fn busy_percent() -> Option<f64> {
    let read = || times(&fs::read_to_string("/proc/stat").unwrap_or_default());
    let before = read()?;
    thread::sleep(SAMPLE);
    let after = read()?;
    let all = after.0.checked_sub(before.0).filter(|all| *all > 0)?;
    let idle = after.1.checked_sub(before.1)?;
    Some(100.0 - f64::from(u32::try_from(idle).ok()?) / f64::from(u32::try_from(all).ok()?) * 100.0)
}

/// Ticks of all cores since the start, all of them and the idle ones.
fn times(stat: &str) -> Option<(u64, u64)> {
    // The times of guests are also in those before them.
    let ticks: Vec<u64> =
        stat.lines().next()?.split_whitespace().skip(1).take(8).map_while(|text| text.parse().ok()).collect();
    let idle = ticks.get(3)? + ticks.get(4)?;
    Some((ticks.iter().sum(), idle))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_are_read_from_the_kernel_s_texts() {
        let text = "processor\t: 0\nmodel name\t: Some CPU @ 2.50GHz\nflags\t: a b\nmodel name\t: other\n";
        assert_eq!(cpu(text).as_deref(), Some("Some CPU @ 2.50GHz"));
        assert_eq!(memory("MemTotal:       24117248 kB\nMemFree: 1 kB\n").as_deref(), Some("23.0 GiB"));
        assert_eq!(times("cpu  10 0 20 70 5 1 2 3 9 9\ncpu0 1 2 3\n"), Some((111, 75)));
        let stat =
            |nice| format!("7 (a) b) S 1 7 7 0 -1 4194560 100 0 0 0 21 4 0 0 20 {nice} 1 0 5 1000 200");
        assert_eq!((nice(&stat(-15)), nice(&stat(0))), (Some(-15), None));
        let group = |nice| format!("/autogroup-344 nice {nice}\n");
        assert_eq!((group_nice(&group(-15)), group_nice(&group(0))), (Some(-15), None));
        assert_eq!((cpu(""), memory("")), (None, None));
    }
}
