//! Backends that do much worse than the others of their tier are ejected for a time.

use std::time::Duration;

/// Connections since the last sweep below which nothing is said of a backend.
const CALLS_MIN: u64 = 20;
/// Backends with enough connections below which success rates are not compared.
const HOSTS_MIN: usize = 3;
/// Share of failures, in percent, that is too much by itself.
const FAILURE_PERCENT: u64 = 85;
/// How many standard deviations below the mean is too much.
const DEVIATIONS: f64 = 1.9;
/// Time of the first ejection; the n-th lasts n times as long.
const BASE: Duration = Duration::from_secs(30);
/// Longest one.
const MOST: Duration = Duration::from_mins(5);

/// What is known of a backend since the last sweep.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Host {
    /// Connections that ended.
    pub calls: u64,
    /// Failures.
    pub failures: u64,
    /// It is ejected already.
    pub is_ejected: bool,
    /// It can be chosen now.
    pub is_available: bool,
}

/// Which hosts of a tier are to be ejected now, by their places, worst first; never the last one that can be chosen.
#[expect(clippy::cast_precision_loss, reason = "numbers of connections between two sweeps")]
pub fn sweep(hosts: &[Host], max_percent: u8) -> Vec<usize> {
    let rate = |host: &Host| (host.calls - host.failures.min(host.calls)) as f64 / host.calls as f64;
    let judged: Vec<(usize, f64)> = hosts
        .iter()
        .enumerate()
        .filter(|(_, host)| host.calls >= CALLS_MIN && !host.is_ejected)
        .map(|(place, host)| (place, rate(host)))
        .collect();
    let mean = judged.iter().map(|(_, rate)| rate).sum::<f64>() / judged.len().max(1) as f64;
    let variance =
        judged.iter().map(|(_, rate)| (rate - mean).powi(2)).sum::<f64>() / judged.len().max(1) as f64;
    let least = if judged.len() >= HOSTS_MIN { mean - DEVIATIONS * variance.sqrt() } else { 0.0 };
    let mut bad: Vec<(usize, f64)> = judged
        .into_iter()
        .filter(|(place, rate)| {
            let failing =
                hosts.get(*place).is_some_and(|host| host.failures * 100 >= host.calls * FAILURE_PERCENT);
            failing || *rate < least
        })
        .collect();
    bad.sort_by(|(_, a), (_, b)| a.total_cmp(b));
    let ejected = hosts.iter().filter(|host| host.is_ejected).count();
    let floor = hosts.len() * usize::from(max_percent) / 100;
    // A small tier may lose one all the same.
    let room = if max_percent > 0 && hosts.len() >= HOSTS_MIN { floor.max(1) } else { floor };
    let available = hosts.iter().filter(|host| host.is_available && !host.is_ejected).count();
    let most = room.saturating_sub(ejected).min(available.saturating_sub(1));
    bad.into_iter().take(most).map(|(place, _)| place).collect()
}

/// How long the n-th ejection lasts.
pub fn span(times: u32) -> Duration {
    BASE.saturating_mul(times.max(1)).min(MOST)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(calls: u64, failures: u64) -> Host {
        Host { calls, failures, is_ejected: false, is_available: true }
    }

    #[test]
    fn the_one_that_fails_is_ejected_within_the_cap() {
        assert_eq!(sweep(&[host(100, 0), host(100, 1), host(100, 90)], 50), vec![2]);
        assert_eq!(sweep(&[host(100, 0), host(100, 90)], 50), vec![1]);
        assert_eq!(sweep(&[host(100, 90), host(100, 95)], 50), vec![1], "the worst of them");
        assert_eq!(sweep(&[host(100, 90)], 50), Vec::<usize>::new(), "never the last one");
        assert_eq!(sweep(&[host(10, 10), host(100, 0), host(100, 0)], 50), Vec::<usize>::new(), "too few");
        assert_eq!(sweep(&[host(100, 90), host(100, 0)], 0), Vec::<usize>::new(), "switched off");
        let gone = Host { is_ejected: true, ..host(0, 0) };
        assert_eq!(
            sweep(&[gone, host(100, 90), host(100, 0)], 50),
            Vec::<usize>::new(),
            "the cap is reached"
        );
    }

    #[test]
    fn a_worse_rate_than_the_others_is_enough() {
        let mut hosts = vec![host(1000, 10); 9];
        hosts.push(host(1000, 300));
        assert_eq!(sweep(&hosts, 50), vec![9]);
        assert_eq!(sweep(&vec![host(1000, 300); 10], 50), Vec::<usize>::new(), "all alike");
    }

    #[test]
    fn ejections_grow_up_to_a_cap() {
        assert_eq!([0, 1, 2, 50].map(span), [30, 30, 60, 300].map(Duration::from_secs));
    }
}
