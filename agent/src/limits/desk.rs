//! Where the limiter's thread is asked, and told what to change. The thread is the one owner of entries and tables.

use std::{
    sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    time::Duration,
};

use ipnet::IpNet;
use serde_json::Value;
use tokio::{sync::oneshot, time::timeout};

use super::{
    entries::{Kind, Refusal},
    explain::Asked,
    rate::Rate,
};
use crate::config::Limits;

/// Commands on their way; the sender is refused when it is full.
const COMMANDS: usize = 8;
/// A publish of full tables takes most of a second; the thread may be in the middle of another one.
const PATIENCE: Duration = Duration::from_secs(10);

/// What the thread is told.
#[derive(Debug)]
pub enum Command {
    /// New settings.
    Change(Box<Limits>),
    /// A question, or a change of entries.
    Ask(Box<Ask>, oneshot::Sender<Answer>),
    /// The agent ends.
    Stop,
}

/// A question, or a change of entries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// All entries of a kind.
    List(Kind),
    /// A policy by its name.
    Policy(String),
    /// What holds for a source.
    Explain(Asked),
    /// Which prefixes the rejected packets come from.
    Top,
    /// Put an entry in force.
    Put(Wanted),
    /// Take one away.
    Remove(Kind, IpNet),
}

/// An entry that is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// What it does.
    pub kind: Kind,
    /// About whom.
    pub net: IpNet,
    /// On top of a policy's rate; of grants.
    pub rate: Option<Rate>,
    /// How long it holds; for ever when absent.
    pub secs: Option<u64>,
    /// Who asks.
    pub by: String,
    /// Why.
    pub comment: Option<String>,
}

/// What the thread says.
pub type Answer = Result<Value, Denied>;

/// Why nothing was done or said.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// The entry is refused.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// There is no such thing.
    #[error("there is no {0}")]
    Absent(String),
    /// It could not be put in force; what was in force stays.
    #[error("{0}")]
    Failed(String),
    /// Rate limits are off, or their thread did not come up.
    #[error("rate limits are not in force (`limits.enabled`)")]
    Off,
    /// The thread does not answer.
    #[error("the limiter's thread does not answer")]
    Busy,
}

/// The asker's end.
#[derive(Clone, Debug)]
pub struct Desk(SyncSender<Command>);

/// Both ends.
pub fn desk() -> (Desk, Receiver<Command>) {
    let (sender, received) = sync_channel(COMMANDS);
    (Desk(sender), received)
}

impl Desk {
    /// Tells without waiting. False when the thread does not take it.
    pub fn tell(&self, command: Command) -> bool {
        self.0.try_send(command).is_ok()
    }

    /// Asks, and waits for the answer.
    pub async fn ask(&self, ask: Ask) -> Answer {
        let (sender, answer) = oneshot::channel();
        // Full policy: refuse. The thread takes all that wait at least once a second.
        match self.0.try_send(Command::Ask(Box::new(ask), sender)) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => return Err(Denied::Busy),
            Err(TrySendError::Disconnected(_)) => return Err(Denied::Off),
        }
        match timeout(PATIENCE, answer).await {
            Ok(Ok(answer)) => answer,
            // The thread dropped the question: it does not run.
            Ok(Err(_)) => Err(Denied::Off),
            Err(_) => Err(Denied::Busy),
        }
    }
}
