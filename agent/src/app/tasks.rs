//! Long-lived threads and tasks: each has a name, and its end, also by a panic, is told to the supervisor.

use std::{collections::BTreeSet, error::Error, io, thread, time::Duration};

use tokio::{sync::mpsc, time::timeout};

/// More than there are tasks, so that telling an end never has to wait.
const TASKS_MAX: usize = 32;

type Cause = Box<dyn Error + Send + Sync>;

/// How a task ended.
#[derive(Debug)]
pub(super) struct End {
    /// Its name.
    pub(super) task: &'static str,
    /// Its fault; `None` when it ended as if told to.
    pub(super) cause: Option<Cause>,
}

/// A task panicked.
#[derive(Debug, thiserror::Error)]
#[error("it panicked, see the log above")]
struct Panicked;

/// All tasks that run.
#[derive(Debug)]
pub(super) struct Tasks {
    sender: mpsc::Sender<End>,
    ends: mpsc::Receiver<End>,
    running: BTreeSet<&'static str>,
}

/// Tells the end of its task when it is dropped, whatever the reason.
struct Teller {
    sender: mpsc::Sender<End>,
    end: Option<End>,
}

impl Teller {
    fn new(sender: mpsc::Sender<End>, task: &'static str) -> Self {
        Self { sender, end: Some(End { task, cause: Some(Box::new(Panicked)) }) }
    }

    fn ended(&mut self, outcome: Result<(), Cause>) {
        if let Some(end) = &mut self.end {
            end.cause = outcome.err();
        }
    }
}

impl Drop for Teller {
    fn drop(&mut self) {
        if let Some(end) = self.end.take() {
            // A supervisor that is gone has nothing to learn.
            let _ = self.sender.try_send(end);
        }
    }
}

impl Tasks {
    pub(super) fn new() -> Self {
        let (sender, ends) = mpsc::channel(TASKS_MAX);
        Self { sender, ends, running: BTreeSet::new() }
    }

    /// Starts a thread.
    pub(super) fn thread(
        &mut self,
        name: &'static str,
        work: impl FnOnce() -> Result<(), Cause> + Send + 'static,
    ) -> io::Result<()> {
        let mut teller = Teller::new(self.sender.clone(), name);
        thread::Builder::new().name(name.to_owned()).spawn(move || teller.ended(work()))?;
        self.running.insert(name);
        Ok(())
    }

    /// Starts a task of the runtime.
    pub(super) fn task(
        &mut self,
        name: &'static str,
        work: impl Future<Output = Result<(), Cause>> + Send + 'static,
    ) -> tokio::task::AbortHandle {
        let mut teller = Teller::new(self.sender.clone(), name);
        self.running.insert(name);
        tokio::spawn(async move { teller.ended(work.await) }).abort_handle()
    }

    /// The next end. Cancel safe. Waits for ever when nothing runs.
    pub(super) async fn next_end(&mut self) -> End {
        // `self` holds a sender, so the channel never closes.
        match self.ends.recv().await {
            Some(end) => {
                self.running.remove(end.task);
                end
            }
            None => std::future::pending().await,
        }
    }

    /// Waits until none of `names` runs; false when the time is over first. Faults of tasks that end meanwhile
    /// are logged.
    pub(super) async fn ended(&mut self, names: &[&'static str], limit: Duration) -> bool {
        let all = async {
            while names.iter().any(|name| self.running.contains(name)) {
                let end = self.next_end().await;
                if let Some(cause) = end.cause {
                    tracing::error!(task = end.task, "A task failed while the agent stops: {cause}");
                }
            }
        };
        timeout(limit, all).await.is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_faults_and_panics_are_told() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut tasks = Tasks::new();
            tasks.thread("one", || Ok(())).unwrap();
            let end = tasks.next_end().await;
            assert!(end.task == "one" && end.cause.is_none());
            tasks.thread("two", || Err("broken".into())).unwrap();
            assert_eq!(tasks.next_end().await.cause.unwrap().to_string(), "broken");
            tasks.thread("three", || panic!("on purpose")).unwrap();
            assert!(tasks.next_end().await.cause.unwrap().to_string().contains("panicked"));
            let handle = tasks.task("four", std::future::pending());
            assert!(!tasks.ended(&["four"], Duration::from_millis(1)).await);
            handle.abort();
            assert!(tasks.ended(&["four"], Duration::from_secs(5)).await);
        });
    }
}
