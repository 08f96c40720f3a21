//! Jobs as they are written.

use std::time::Duration;

use rampart_proto::v1::{self, JobDone, JobFailed, JobReport, job, job_report};

use crate::jobs::{Events, Order, Report, Task};

/// Bounds of a lease.
const LEASE_MAX: u32 = 24 * 3600;

/// The order in a message.
pub(super) fn order(message: v1::Job) -> Order {
    let v1::Job { id, lease_secs, task } = message;
    let secs = |secs: u32| Duration::from_secs(secs.into());
    let task = task.map(|task| match task {
        job::Task::Diagnostics(_) => Task::Diagnostics,
        job::Task::Capture(capture) => {
            Task::Capture { time: secs(capture.secs), max_bytes: capture.max_bytes }
        }
        job::Task::Backtest(v1::BacktestTask { rules, capture, secs: time }) => {
            let events = if capture.is_empty() { Events::New(secs(time)) } else { Events::Of(capture) };
            Task::Backtest { rules, events }
        }
        job::Task::Unblock(unblock) if unblock.source.is_empty() => Task::Undo(unblock.response),
        job::Task::Unblock(unblock) => Task::Undeny(unblock.source),
    });
    Order { id, lease: secs(lease_secs.min(LEASE_MAX)), task }
}

/// A report as a message.
pub(super) fn report(report: Report) -> JobReport {
    let outcome = match report.outcome {
        Ok(done) => job_report::Outcome::Done(JobDone {
            text: done.text,
            file: done.file,
            name: done.name,
            content: done.content,
        }),
        Err(failed) => {
            job_report::Outcome::Failed(JobFailed { reason: failed.reason, is_final: failed.is_final })
        }
    };
    JobReport { id: report.id, outcome: Some(outcome) }
}
