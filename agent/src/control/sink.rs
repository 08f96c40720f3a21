//! The output whose place is the spool.

use std::sync::Arc;

use super::{Shared, convert, heartbeat::lane};
use crate::{
    config::Format,
    output::{Message, Output, OutputError},
    spool::Entry,
};

/// Writes alerts to the spool. What cannot be kept is counted there, by priority and reason.
#[derive(Debug)]
pub struct Sink {
    shared: Arc<Shared>,
    /// What the batch holds: lane, number and where each ends.
    waiting: Vec<(usize, u64, usize)>,
    is_failing: bool,
}

impl Sink {
    pub(super) const fn new(shared: Arc<Shared>) -> Self {
        Self { shared, waiting: Vec::new(), is_failing: false }
    }
}

impl Output for Sink {
    fn name(&self) -> &'static str {
        "collector"
    }

    fn format(&self) -> Format {
        Format::Json
    }

    fn check(&mut self) -> Result<(), OutputError> {
        // The spool was opened before this was made.
        Ok(())
    }

    fn take(&mut self, message: &dyn Message, batch: &mut Vec<u8>) {
        // Everything that is sent is an alert; what is not has no identity to be acknowledged by.
        if let Some(alert) = message.alert() {
            convert::encode(alert, batch);
            self.waiting.push((lane(alert.priority), alert.sequence, batch.len()));
        }
    }

    fn write(&mut self, batch: &[u8]) -> Result<(), OutputError> {
        let mut start = 0;
        let entries: Vec<Entry<'_>> = self
            .waiting
            .drain(..)
            .filter_map(|(lane, sequence, end)| {
                let payload = batch.get(start..end)?;
                start = end;
                // One thread numbers all alerts of an agent.
                Some(Entry { lane, cpu: 0, sequence, payload })
            })
            .collect();
        let outcome = self.shared.spool().append(&entries);
        self.shared.news.notify_one();
        match outcome {
            Ok(()) if std::mem::take(&mut self.is_failing) => tracing::info!("The spool works again"),
            Err(error) if !self.is_failing => {
                self.is_failing = true;
                let cause = &error.source;
                tracing::error!("Alerts are lost, which is counted and not logged again: {error}: {cause}");
            }
            Ok(()) | Err(_) => {}
        }
        // What was lost of the batch is counted by the spool, not as the whole batch.
        Ok(())
    }

    fn reopen(&mut self) -> Result<bool, OutputError> {
        Ok(false)
    }
}
