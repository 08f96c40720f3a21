//! The thread that does jobs, one after the other.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::DirBuilderExt as _,
    sync::{
        Arc,
        mpsc::{Receiver, TryRecvError},
    },
    time::{Duration, Instant},
};

use super::{
    Command, Done, Failed, Line, Order, Report, is_id,
    work::{Place, Work},
};

/// What of a lease is left for the way back.
const BACK: Duration = Duration::from_secs(10);

/// See the module.
#[derive(Debug)]
pub struct Worker {
    line: Arc<Line>,
    orders: Receiver<Command>,
    place: Place,
    kinds: BTreeSet<String>,
}

impl Worker {
    /// It does jobs of these kinds only.
    pub const fn new(
        line: Arc<Line>,
        orders: Receiver<Command>,
        place: Place,
        kinds: BTreeSet<String>,
    ) -> Self {
        Self { line, orders, place, kinds }
    }

    /// Works until there can be no more orders.
    pub fn run(self) {
        // What an agent before left half done; it may not be there.
        let _ = fs::remove_dir_all(&self.place.jobs);
        while let Ok(command) = self.orders.recv() {
            let Command::Do(order) = command else { continue };
            let id = order.id.clone();
            let started = Instant::now();
            tracing::info!(job = id, "A job of the collector begins");
            let outcome = self.work(&order);
            let took_ms = started.elapsed().as_millis() as u64;
            match &outcome {
                Ok(_) => tracing::info!(job = id, took_ms, "The job is done"),
                Err(failed) => tracing::warn!(job = id, took_ms, "The job is not done: {failed}"),
            }
            self.line.say(Report { id, outcome });
        }
    }

    fn work(&self, order: &Order) -> Result<Done, Failed> {
        let Order { id, lease, task } = order;
        if !is_id(id) {
            return Err(Failed::forever("its name is not one of hexadecimal digits"));
        }
        let Some(task) = task else {
            return Err(Failed::forever("this version of the agent knows no such job"));
        };
        if !self.kinds.contains(task.kind()) {
            let reason = format!("`output.collector.jobs` of this node does not name `{}`", task.kind());
            return Err(Failed::forever(reason));
        }
        let folder = self.place.jobs.join(id);
        // For the owner only: what lies there for a moment is what a job found.
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&folder)
            .map_err(|error| Failed::now(format!("cannot make `{}`: {error}", folder.display())))?;
        let end = Instant::now() + lease.saturating_sub(BACK);
        let keep = || self.look(id);
        let outcome = Work { place: &self.place, id, folder: &folder, end, keep }.run(task);
        if let Err(error) = fs::remove_dir_all(&folder) {
            tracing::warn!(path = %folder.display(), "What a job needed is not removed: {error}");
        }
        outcome
    }

    /// Whether to go on with a job.
    fn look(&self, id: &str) -> Result<(), Failed> {
        loop {
            match self.orders.try_recv() {
                Err(TryRecvError::Empty) => return Ok(()),
                Err(TryRecvError::Disconnected) => return Err(Failed::now("the agent ends")),
                Ok(Command::Cancel(other)) if other == id => {
                    return Err(Failed::forever("it is not wanted any more"));
                }
                // It came once more on another stream.
                Ok(Command::Do(order)) if order.id == id => {}
                Ok(Command::Do(order)) => {
                    let outcome = Err(Failed::now("this node is busy with another job"));
                    self.line.say(Report { id: order.id, outcome });
                }
                Ok(Command::Cancel(_)) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::jobs::Task;

    fn worker(dir: &tempfile::TempDir) -> (Arc<Line>, Worker) {
        let (line, orders) = Line::new();
        let line = Arc::new(line);
        let place = Place {
            jobs: dir.path().join("jobs"),
            captures: dir.path().join("captures"),
            room: 1 << 20,
            config_file: PathBuf::from("none"),
            rules: Vec::new(),
        };
        let kinds = ["diagnostics".to_owned()].into();
        (Arc::clone(&line), Worker::new(line, orders, place, kinds))
    }

    #[test]
    fn orders_that_make_no_sense_here_are_refused_for_good() {
        let dir = tempfile::tempdir().unwrap();
        let (_line, worker) = worker(&dir);
        let order =
            |id: &str, task: Option<Task>| Order { id: id.to_owned(), lease: Duration::from_mins(1), task };
        for (order, said) in [
            (order("../a", Some(Task::Diagnostics)), "hexadecimal"),
            (order("a", None), "knows no such job"),
            (order("a", Some(Task::Undo(1))), "does not name `unblock`"),
        ] {
            let failed = worker.work(&order).unwrap_err();
            assert!(failed.is_final && failed.reason.contains(said), "{failed}");
        }
        assert!(!dir.path().join("jobs").exists());
    }

    #[test]
    fn while_a_job_runs_others_are_told_to_come_later() {
        let dir = tempfile::tempdir().unwrap();
        let (line, worker) = worker(&dir);
        let order = |id: &str| Command::Do(Order { id: id.to_owned(), lease: Duration::ZERO, task: None });
        line.order(order("a"));
        line.order(order("b"));
        line.order(Command::Cancel("c".to_owned()));
        worker.look("a").unwrap();
        let (_, report) = line.after(0).unwrap();
        assert!(report.id == "b" && !report.outcome.unwrap_err().is_final);
        line.order(Command::Cancel("a".to_owned()));
        assert!(worker.look("a").unwrap_err().is_final);
        line.close();
        assert!(!worker.look("a").unwrap_err().is_final);
    }
}
