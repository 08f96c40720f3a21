//! Where the thread of services is asked, and told what to change.

use std::{collections::BTreeMap, sync::mpsc::Receiver};

use rampart_common::service::breaker::Mode;
use serde_json::Value;
use serde_yaml::Value as Written;
use tokio::sync::oneshot;

use super::{check::Told, plan::Name};
use crate::{
    config::{AdminState, Services},
    desk::{self, Unanswered},
};

/// Commands on their way; the sender is refused when it is full.
const COMMANDS: usize = 64;

/// What the thread is told.
#[derive(Debug)]
pub enum Command {
    /// New settings.
    Change(Box<Services>),
    /// A change of what is ordered.
    Ask(Box<Ask>, oneshot::Sender<Answer>),
    /// The result of a health check.
    Checked(Name, Result<(), String>),
    /// What a backend says of itself, or why it does not.
    Told(Name, Result<Told, String>),
    /// Services that the cluster asks for, by name, as they might be written in the configuration.
    Found(BTreeMap<String, Written>),
    /// The agent ends.
    Stop,
}

/// A change of what is ordered. Each may be asked for again without harm.
#[derive(Clone, Debug, PartialEq)]
pub enum Ask {
    /// Close a breaker and forget what led to its state.
    Reset(Name),
    /// Force a breaker, or let it work by itself again.
    Force(Name, Mode),
    /// The same for all breakers of a service.
    ForceAll(String, Mode),
    /// What is wanted of a backend.
    Admin(Name, AdminState),
    /// Return to the best tier.
    FailBack(String),
    /// Make a service, written as in the configuration.
    Make(String, Written),
    /// Take away a service that was made.
    Forget(String),
}

/// What the thread says: how the thing stands now.
pub type Answer = Result<Value, Denied>;

/// Why nothing was done or said.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// There is no such thing.
    #[error("there is no {0}")]
    Absent(String),
    /// What was asked for is not understood.
    #[error("{0}")]
    Wrong(String),
    /// It stands against something else.
    #[error("{0}")]
    Refused(String),
    /// It could not be put in force.
    #[error("{0}")]
    Failed(String),
    /// Services are off, or their thread did not come up.
    #[error("services are not in force (`services.enabled`)")]
    Off,
    /// The thread does not answer.
    #[error("the thread of services does not answer")]
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
