//! What a process uses, from `/proc`.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};

/// Clock ticks per second in `/proc`, the same on every architecture Linux shows them on.
const TICKS_PER_SECOND: u64 = 100;

/// CPU time of a process with all its threads, user and kernel together; 10 ms steps.
pub(super) fn cpu_time(pid: u32) -> Result<Duration> {
    let path = format!("/proc/{pid}/stat");
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read `{path}`"))?;
    ticks(&text)
        .map(|ticks| Duration::from_millis(ticks * 1000 / TICKS_PER_SECOND))
        .with_context(|| format!("cannot understand `{path}`"))
}

/// Resident memory in MiB.
pub(super) fn resident_mib(pid: u32) -> Result<f64> {
    let path = format!("/proc/{pid}/status");
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read `{path}`"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib: Option<f64> = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    kib.map(|kib| kib / 1024.0).with_context(|| format!("`{path}` has no resident size"))
}

/// The sum of user and system time; a process's name may hold blanks and brackets.
fn ticks(stat: &str) -> Option<u64> {
    let (_, after_name) = stat.rsplit_once(')')?;
    let mut fields = after_name.split_whitespace().skip(11).map(str::parse::<u64>);
    Some(fields.next()?.ok()? + fields.next()?.ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hostile_name_does_not_shift_the_fields() {
        let stat = "7 (a) b) 1) S 1 7 7 0 -1 4194560 100 0 0 0 21 4 0 0 20 0 1 0 5 1000 200";
        assert_eq!(ticks(stat), Some(25));
    }

    #[test]
    fn this_process_uses_memory() {
        assert!(resident_mib(std::process::id()).unwrap() > 0.1);
        cpu_time(std::process::id()).unwrap();
    }
}
