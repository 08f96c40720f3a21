//! What a process uses, from `/proc`.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;

/// Clock ticks per second in `/proc`, the same on every architecture Linux shows them on.
const TICKS_PER_SECOND: u64 = 100;

/// What a process's BPF objects take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Bpf {
    pub(super) maps: u64,
    pub(super) map_bytes: u64,
    pub(super) programs: u64,
    pub(super) program_bytes: u64,
}

/// CPU time of a process with all its threads, user and kernel together; 10 ms steps.
pub(super) fn cpu_time(pid: u32) -> Result<Duration> {
    let path = format!("/proc/{pid}/stat");
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read `{path}`"))?;
    ticks(&text)
        .map(|ticks| Duration::from_millis(ticks * 1000 / TICKS_PER_SECOND))
        .with_context(|| format!("cannot understand `{path}`"))
}

/// CPU time of all threads a process has now, by the scheduler's clock: nanosecond steps.
pub(super) fn run_time(pid: u32) -> Result<Duration> {
    let folder = format!("/proc/{pid}/task");
    let tasks = fs::read_dir(&folder).with_context(|| format!("cannot list `{folder}`"))?;
    let mut sum = Duration::ZERO;
    for task in tasks {
        let path = task.with_context(|| format!("cannot list `{folder}`"))?.path().join("schedstat");
        // A thread that ended meanwhile is no fault.
        let Ok(text) = fs::read_to_string(path) else { continue };
        sum += Duration::from_nanos(text.split(' ').next().and_then(|ns| ns.parse().ok()).unwrap_or(0));
    }
    Ok(sum)
}

/// CPU seconds of all children of this process that ended and were waited for, and of theirs.
pub(super) fn children_s() -> Result<f64> {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).context("cannot read the children's CPU time")?;
    let time = usage.user_time() + usage.system_time();
    Ok(Duration::from_micros(time.num_microseconds().cast_unsigned()).as_secs_f64())
}

/// Memory in bytes that the kernel holds for BPF maps and programs of which a process has descriptors.
pub(super) fn bpf_bytes(pid: u32) -> Result<Bpf> {
    let folder = format!("/proc/{pid}/fdinfo");
    let entries = fs::read_dir(&folder).with_context(|| format!("cannot list `{folder}`"))?;
    let texts = entries.filter_map(|entry| fs::read_to_string(entry.ok()?.path()).ok());
    Ok(Bpf::sum(texts))
}

/// Resident memory in MiB.
pub(super) fn resident_mib(pid: u32) -> Result<f64> {
    let path = format!("/proc/{pid}/status");
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read `{path}`"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib: Option<f64> = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    kib.map(|kib| kib / 1024.0).with_context(|| format!("`{path}` has no resident size"))
}

impl Bpf {
    /// Adds up descriptions of descriptors; two descriptors of one object count once.
    fn sum(texts: impl Iterator<Item = String>) -> Self {
        let mut all = Self::default();
        let mut known = BTreeSet::new();
        for text in texts {
            let value = |name: &str| {
                text.lines()
                    .find_map(|line| line.strip_prefix(name)?.strip_prefix(":\t")?.trim().parse().ok())
            };
            let bytes: u64 = value("memlock").unwrap_or(0);
            if let Some(id) = value("map_id") {
                if known.insert(("map", id)) {
                    all.maps += 1;
                    all.map_bytes += bytes;
                }
            } else if let Some(id) = value("prog_id")
                && value("memlock").is_some()
                && known.insert(("program", id))
            {
                all.programs += 1;
                all.program_bytes += bytes;
            }
        }
        all
    }
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
    fn bpf_objects_are_counted_once() {
        let map = "pos:\t0\nmap_type:\t1\nmemlock:\t4096\nmap_id:\t7\nfrozen:\t0\n";
        let program = "pos:\t0\nprog_type:\t17\nprog_jited:\t1\nmemlock:\t8192\nprog_id:\t7\n";
        let link = "pos:\t0\nlink_type:\traw_tracepoint\nlink_id:\t3\nprog_id:\t9\n";
        let other = "pos:\t0\nflags:\t02\n";
        let texts = [map, map, program, link, other, program].map(ToOwned::to_owned);
        let expected = Bpf { maps: 1, map_bytes: 4096, programs: 1, program_bytes: 8192 };
        assert_eq!(Bpf::sum(texts.into_iter()), expected);
    }

    #[test]
    fn this_process_uses_memory() {
        assert!(resident_mib(std::process::id()).unwrap() > 0.1);
        cpu_time(std::process::id()).unwrap();
        assert!(run_time(std::process::id()).unwrap() > Duration::ZERO);
    }
}
