//! Where the limiter's thread is asked, and told what to change. The thread is the one owner of entries and tables.

use std::sync::mpsc::Receiver;

use ipnet::IpNet;
use serde_json::Value;
use tokio::sync::oneshot;

use super::{
    entries::{Kind, Refusal},
    explain::Asked,
    rate::Rate,
};
use crate::{
    config::Limits,
    desk::{self, Unanswered},
};

/// Commands on their way; the sender is refused when it is full.
const COMMANDS: usize = 8;

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
    /// Under which policy; of limits.
    pub policy: Option<String>,
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

impl From<Unanswered> for Denied {
    fn from(unanswered: Unanswered) -> Self {
        match unanswered {
            Unanswered::Off => Self::Off,
            Unanswered::Busy => Self::Busy,
        }
    }
}

/// The asker's end.
pub type Desk = desk::Desk<Command>;

/// Both ends.
pub fn desk() -> (Desk, Receiver<Command>) {
    desk::desk(COMMANDS)
}

impl Desk {
    /// Asks, and waits for the answer.
    pub async fn ask(&self, ask: Ask) -> Answer {
        self.put(|sender| Command::Ask(Box::new(ask), sender)).await
    }
}
