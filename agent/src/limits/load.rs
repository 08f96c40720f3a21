//! How busy the node is, from the kernel's own counters: pressure, interrupts, run queue, packets it could not take.

/// Counters at a moment; what the kernel does not have is `None`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// Microseconds in which some task waited for a CPU.
    pub waiting_us: Option<u64>,
    /// Time of all CPUs, in ticks.
    pub ticks: Option<u64>,
    /// The part of it that soft interrupts took.
    pub softirq_ticks: Option<u64>,
    /// CPUs.
    pub cpus: u64,
    /// Tasks that run or want to.
    pub runnable: Option<u64>,
    /// Packets that a CPU's backlog had no room for.
    pub dropped: Option<u64>,
}

/// How busy the node was between two readings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Part of the time in which some task waited for a CPU, in thousandths.
    pub pressure_permille: Option<u64>,
    /// Part of all CPUs that soft interrupts took, in thousandths.
    pub softirq_permille: Option<u64>,
    /// Runnable tasks per CPU, in thousandths.
    pub queue_permille: Option<u64>,
    /// Packets dropped by the backlog in a second.
    pub drops_per_sec: Option<u64>,
}

impl Reading {
    /// From `/proc/pressure/cpu`, `/proc/stat` and `/proc/net/softnet_stat`.
    pub fn of(pressure: &str, stat: &str, softnet: &str) -> Self {
        let mut reading =
            Self { dropped: dropped(softnet), waiting_us: waiting(pressure), ..Self::default() };
        for line in stat.lines() {
            let mut words = line.split_whitespace();
            match words.next() {
                Some("cpu") => {
                    let ticks: Vec<u64> = words.map_while(|word| word.parse().ok()).collect();
                    // The times of guests are in those of users already.
                    reading.ticks = (ticks.len() >= 8).then(|| ticks.iter().take(8).sum());
                    reading.softirq_ticks = ticks.get(6).copied();
                }
                Some("procs_running") => reading.runnable = words.next().and_then(|word| word.parse().ok()),
                Some(name) if name.starts_with("cpu") => reading.cpus += 1,
                _ => {}
            }
        }
        reading
    }

    /// What happened since another reading, `elapsed_us` microseconds ago.
    pub fn since(&self, before: &Self, elapsed_us: u64) -> Load {
        let elapsed_us = elapsed_us.max(1);
        let share = |now: Option<u64>, then: Option<u64>, whole: u64| {
            Some(now?.saturating_sub(then?).saturating_mul(1000) / whole.max(1))
        };
        let ticks = self.ticks.unwrap_or_default().saturating_sub(before.ticks.unwrap_or_default());
        Load {
            pressure_permille: share(self.waiting_us, before.waiting_us, elapsed_us)
                .map(|part| part.min(1000)),
            softirq_permille: share(self.softirq_ticks, before.softirq_ticks, ticks)
                .map(|part| part.min(1000)),
            // The task that reads this runs.
            queue_permille: self
                .runnable
                .map(|runnable| runnable.saturating_sub(1) * 1000 / self.cpus.max(1)),
            drops_per_sec: self
                .dropped
                .zip(before.dropped)
                .map(|(now, then)| now.saturating_sub(then).saturating_mul(1_000_000) / elapsed_us),
        }
    }
}

/// `some avg10=… total=…`.
fn waiting(pressure: &str) -> Option<u64> {
    let some = pressure.lines().find(|line| line.starts_with("some "))?;
    some.split_whitespace().find_map(|word| word.strip_prefix("total="))?.parse().ok()
}

/// The second column of each CPU, in hexadecimal.
fn dropped(softnet: &str) -> Option<u64> {
    let column = |line: &str| u64::from_str_radix(line.split_whitespace().nth(1)?, 16).ok();
    let all: Option<Vec<u64>> = softnet.lines().map(column).collect();
    all.filter(|all| !all.is_empty()).map(|all| all.iter().sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAT: &str = "cpu  100 0 100 700 0 0 100 0 50 0\ncpu0 1 2 3\ncpu1 1 2 3\nprocs_running 5\n";

    #[test]
    fn counters_become_shares_of_the_time_between() {
        let one = Reading::of("some avg10=0.00 avg60=0 avg300=0 total=1000\nfull total=0\n", STAT, "");
        let two = Reading::of(
            "some avg10=9.00 avg60=0 avg300=0 total=501000\n",
            "cpu  200 0 200 1400 0 0 400 0 80 0\ncpu0 1\ncpu1 1\nprocs_running 9\n",
            "00ff 00000003 0\n00ff 0000000a 0\n",
        );
        assert_eq!((one.cpus, one.ticks, one.dropped), (2, Some(1000), None));
        let load = two.since(&one, 1_000_000);
        assert_eq!(load.pressure_permille, Some(500));
        assert_eq!(load.softirq_permille, Some(250));
        assert_eq!(load.queue_permille, Some(4000));
        assert_eq!(load.drops_per_sec, None, "nothing to compare with");
        let three = Reading { dropped: Some(113), ..two };
        assert_eq!(three.since(&two, 1_000_000).drops_per_sec, Some(100));
    }

    #[test]
    fn what_is_not_there_or_nonsense_is_unknown() {
        for text in ["", "some", "some total=x", "cpu", "cpu x y", "zz zz"] {
            let reading = Reading::of(text, text, text);
            assert_eq!(reading.since(&reading, 0), Load::default(), "{text}");
        }
    }
}
