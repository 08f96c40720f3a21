//! Work that the collector asks this node for: diagnostics, recordings, trials of rules, taking back what blocks.
//!
//! ```text
//! control ─ Order ─▶ worker thread ─▶ the agent's own binary as a child ─▶ Report ─▶ control ─▶ collector
//! ```
//!
//! Owns the children it starts and their files below `jobs` in `node.state_dir`. Does one job at a time, only of the kinds
//! that `output.collector.jobs` names, and within the lease that came with it; whatever a job does, the agent goes on. An
//! order comes from elsewhere: names that become paths are checked, and nothing of it reaches a shell.

mod child;
pub mod work;
pub mod worker;

use std::{
    collections::VecDeque,
    sync::{
        Mutex, MutexGuard, PoisonError,
        mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    },
    time::Duration,
};

use tokio::sync::Notify;

/// Orders on their way to the worker.
const ORDERS: usize = 8;
/// Reports that wait for a stream. Full policy: drop the oldest; its lease ends, and it is asked for again.
const REPORTS: usize = 16;
/// Bytes of a text for people.
pub const TEXT_MAX: usize = 64 << 10;
/// Largest result that goes to the collector.
pub const CONTENT_MAX: u64 = 3 << 20;

/// Kinds of jobs, as they are written.
pub const KINDS: [&str; 4] = ["diagnostics", "capture", "backtest", "unblock"];

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Task {
    /// Pack an archive for whoever helps, without secrets.
    Diagnostics,
    /// Record what the kernel sends.
    Capture {
        /// How long.
        time: Duration,
        /// Size at which it ends.
        max_bytes: u64,
    },
    /// Compare other rules with those in force.
    Backtest {
        /// The other rules.
        rules: String,
        /// On what.
        events: Events,
    },
    /// Take back what a response has done.
    Undo(u64),
    /// Take a source from the list of those that are denied.
    Undeny(String),
}

/// What rules are tried on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Events {
    /// The recording of this job.
    Of(String),
    /// A new recording of this length.
    New(Duration),
}

/// A job for this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// Its name.
    pub id: String,
    /// Time until the collector takes it for lost.
    pub lease: Duration,
    /// What to do; `None` for what this version does not know.
    pub task: Option<Task>,
}

/// What the worker is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Do this.
    Do(Order),
    /// This is not wanted any more.
    Cancel(String),
}

/// The result of a job.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Done {
    /// For people.
    pub text: String,
    /// Where the result lies here; empty when it is not kept.
    pub file: String,
    /// Name of the result as a file.
    pub name: String,
    /// The result, where it is small enough.
    pub content: Vec<u8>,
}

/// Why a job is not done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Failed {
    /// For people.
    pub reason: String,
    /// Whether another try would fail the same way.
    pub is_final: bool,
}

/// What became of a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Its name.
    pub id: String,
    /// What became of it.
    pub outcome: Result<Done, Failed>,
}

/// Reports that the collector has not noted yet, in order, each with its number.
#[derive(Debug, Default)]
struct Reports {
    last: u64,
    waiting: VecDeque<(u64, Report)>,
}

/// Between the stream and the worker: orders one way, reports the other.
#[derive(Debug)]
pub struct Line {
    orders: Mutex<Option<SyncSender<Command>>>,
    reports: Mutex<Reports>,
    /// There is a report.
    pub news: Notify,
}

impl Task {
    /// Its kind, one of [`KINDS`].
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Diagnostics => "diagnostics",
            Self::Capture { .. } => "capture",
            Self::Backtest { .. } => "backtest",
            Self::Undo(_) | Self::Undeny(_) => "unblock",
        }
    }
}

impl Failed {
    /// Another try may work.
    pub fn now(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), is_final: false }
    }

    /// No other try will.
    pub fn forever(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), is_final: true }
    }
}

impl Line {
    /// The line, and the worker's end of it.
    pub fn new() -> (Self, Receiver<Command>) {
        let (sender, receiver) = sync_channel(ORDERS);
        let (orders, reports) = (Mutex::new(Some(sender)), Mutex::default());
        (Self { orders, reports, news: Notify::new() }, receiver)
    }

    /// Hands a command over; what no worker takes is refused.
    pub fn order(&self, command: Command) {
        let orders = self.orders.lock().unwrap_or_else(PoisonError::into_inner);
        let reason = match orders.as_ref().map(|orders| orders.try_send(command.clone())) {
            Some(Ok(())) => return,
            Some(Err(TrySendError::Full(_))) => "too many jobs wait on this node",
            Some(Err(TrySendError::Disconnected(_))) | None => "this node does no jobs now",
        };
        drop(orders);
        if let Command::Do(Order { id, .. }) = command {
            self.say(Report { id, outcome: Err(Failed::now(reason)) });
        }
    }

    /// No more orders: the worker ends.
    pub fn close(&self) {
        *self.orders.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Something for the collector.
    pub fn say(&self, report: Report) {
        let mut reports = self.reports();
        if reports.waiting.len() >= REPORTS {
            reports.waiting.pop_front();
        }
        reports.last += 1;
        let number = reports.last;
        reports.waiting.push_back((number, report));
        drop(reports);
        self.news.notify_one();
    }

    /// The first report after this number that the collector has not noted.
    pub fn after(&self, number: u64) -> Option<(u64, Report)> {
        self.reports().waiting.iter().find(|(own, _)| *own > number).cloned()
    }

    /// The collector has noted what was said of a job.
    pub fn noted(&self, id: &str) {
        let mut reports = self.reports();
        // A newer one of the same job is told apart by its place.
        if let Some(place) = reports.waiting.iter().position(|(_, report)| report.id == id) {
            reports.waiting.remove(place);
        }
    }

    fn reports(&self) -> MutexGuard<'_, Reports> {
        // Whatever fails in between leaves a number unused at worst.
        self.reports.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a name from elsewhere may be part of a path.
pub fn is_id(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_keeps_reports_in_order_and_within_bounds() {
        let (line, orders) = Line::new();
        assert_eq!(line.after(0), None);
        for number in 0..=REPORTS {
            line.say(Report { id: number.to_string(), outcome: Ok(Done::default()) });
        }
        let (first, report) = line.after(0).unwrap();
        assert_eq!((first, report.id.as_str()), (2, "1"));
        assert_eq!(line.after(first).unwrap().1.id, "2");
        // On another stream it is said again, until it is noted.
        line.noted("2");
        line.say(Report { id: "1".to_owned(), outcome: Err(Failed::now("again")) });
        assert_eq!(line.after(first).unwrap().1.id, "3");
        line.noted("x");
        line.noted("1");
        assert_eq!(line.after(REPORTS as u64 + 1).unwrap().1.outcome, Err(Failed::now("again")));
        drop(orders);
    }

    #[test]
    fn what_no_worker_takes_is_refused() {
        let order = |id: &str| Command::Do(Order { id: id.to_owned(), lease: Duration::ZERO, task: None });
        let (line, orders) = Line::new();
        for number in 0..=ORDERS {
            line.order(order(&number.to_string()));
        }
        let (number, report) = line.after(0).unwrap();
        assert_eq!(report.id, ORDERS.to_string());
        line.close();
        assert_eq!(orders.iter().count(), ORDERS);
        line.order(order("a"));
        assert!(line.after(number).unwrap().1.outcome.unwrap_err().reason.contains("no jobs now"));
    }

    #[test]
    fn names_that_become_paths_are_digits() {
        assert!(is_id("01a2") && !is_id("") && !is_id("../x") && !is_id("a b") && !is_id(&"a".repeat(65)));
    }
}
