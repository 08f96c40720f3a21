//! What an agent says of itself.

use std::time::SystemTime;

use nix::sys::resource::{UsageWho, getrusage};
use rampart_proto::v1::{Heartbeat, Loss};
use rampart_rules::rule::Priority;

use super::bundle;
use crate::{
    spool::{Counts, LANES},
    telemetry::{metrics::resident_bytes, status::Status},
};

/// Causes of losses in the spool by lane, in the order of priorities.
const SHED: [&str; LANES] = [
    "spool_shed_emergency",
    "spool_shed_alert",
    "spool_shed_critical",
    "spool_shed_error",
    "spool_shed_warning",
    "spool_shed_notice",
    "spool_shed_informational",
    "spool_shed_debug",
];

/// The lane of a priority.
pub(super) const fn lane(priority: Priority) -> usize {
    priority as usize
}

/// How the agent is now.
pub(super) fn heartbeat(status: &Status, counts: &Counts, pending: u64, bytes: u64) -> Heartbeat {
    let (policy, detection) = (status.policy(), status.detection());
    let mut events = 0;
    let (mut ring_full, mut kernel_errors) = (0, 0);
    for (_, counters, _) in &detection.families {
        events += counters.seen;
        ring_full += counters.ring_full;
        kernel_errors += counters.error;
    }
    let outputs = status.outputs();
    let mut losses = vec![
        ("ring_full", ring_full),
        ("kernel_error", kernel_errors),
        ("decode_error", detection.decode_errors),
        ("queue_full", outputs.iter().map(|tally| tally.dropped_full).sum()),
        ("write_failed", outputs.iter().map(|tally| tally.dropped_failed).sum()),
        ("spool_failed", counts.failed),
        ("spool_damaged", counts.damaged),
    ];
    losses.extend(SHED.into_iter().zip(counts.shed));
    losses.retain(|(_, count)| *count > 0);
    let usage = getrusage(UsageWho::RUSAGE_SELF);
    let cpu_ms = usage.map_or(0, |usage| {
        [usage.user_time(), usage.system_time()]
            .map(|time| time.tv_sec() * 1000 + time.tv_usec() / 1000)
            .iter()
            .sum::<i64>()
    });
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    Heartbeat {
        time_ns: now.map_or(0, |now| now.as_nanos() as u64),
        policy_digest: policy.digest,
        rules: policy.rules as u32,
        is_ready: status.latches.waiting_for().is_empty(),
        losses: losses.into_iter().map(|(cause, count)| Loss { cause: cause.to_owned(), count }).collect(),
        cpu_ms: cpu_ms.max(0) as u64,
        rss_bytes: resident_bytes().unwrap_or(0),
        events,
        alerts: detection.alerts,
        spool_pending: pending,
        spool_bytes: bytes,
        policy_fault: policy.fault.map(|fault| fault.text).unwrap_or_default(),
        bundle: Some(bundle::state(&status.bundles.borrow())),
    }
}
