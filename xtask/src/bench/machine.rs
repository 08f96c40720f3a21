//! Facts about the machine and the sources, without which a number says nothing.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::stage::cores;
use crate::{process, workspace};

/// What a number was measured on.
pub(super) struct Machine {
    facts: Vec<String>,
}

impl Machine {
    /// Asks the machine; what it does not say is left out.
    pub(super) fn ask(agent: Option<&Path>) -> Self {
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
            load(&read("/proc/loadavg")).map(|load| format!("load {load} at the end")),
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

/// The mean load of the last five minutes.
fn load(text: &str) -> Option<&str> {
    text.split(' ').nth(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_are_read_from_the_kernel_s_texts() {
        let text = "processor\t: 0\nmodel name\t: Some CPU @ 2.50GHz\nflags\t: a b\nmodel name\t: other\n";
        assert_eq!(cpu(text).as_deref(), Some("Some CPU @ 2.50GHz"));
        assert_eq!(memory("MemTotal:       24117248 kB\nMemFree: 1 kB\n").as_deref(), Some("23.0 GiB"));
        assert_eq!(load("0.11 0.22 0.33 1/100 4242\n"), Some("0.22"));
        assert_eq!((cpu(""), memory("")), (None, None));
    }
}
