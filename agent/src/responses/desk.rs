//! Where the thread of responses is told what to do, and asked what is in force.

use std::sync::{Arc, mpsc::Receiver};

use rampart_rules::rule::RuleSet;

use serde_json::Value;
use tokio::sync::oneshot;
use uuid::Uuid;

use crate::{
    alert::order::Order,
    config::Responses,
    desk::{self, Unanswered},
};

/// Commands on their way; the sender is refused when it is full.
const COMMANDS: usize = 256;

/// A match and what its rule asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Match {
    /// The rule.
    pub rule: String,
    /// Id of its alert.
    pub alert: Uuid,
    /// Time of the event by the wall clock, nanoseconds.
    pub time_ns: u64,
    /// What is asked for.
    pub order: Box<Order>,
}

/// What the thread is told.
#[derive(Debug)]
pub enum Command {
    /// Do this.
    Do(Box<Match>),
    /// What somebody else was asked for is done, or not.
    Told(Box<Told>),
    /// New settings.
    Change(Box<Responses>),
    /// New rules.
    Rules(Arc<RuleSet>),
    /// The kernel would have refused something for a rule.
    Observed {
        /// The rule.
        rule: Arc<str>,
        /// What, and to whom.
        target: String,
    },
    /// The kernel does not know what a process runs.
    Unknown(u32),
    /// The namespace of the pod of a control group, if it is one's.
    Group {
        /// Its id.
        id: u64,
        /// The namespace.
        namespace: Option<String>,
    },
    /// A question.
    Ask(Ask, oneshot::Sender<Answer>),
    /// The agent ends.
    Stop,
}

/// How what somebody else was asked for went.
#[derive(Debug)]
pub struct Told {
    /// What was asked for.
    pub doing: super::book::Doing,
    /// Time of the event by the wall clock, nanoseconds.
    pub time_ns: u64,
    /// `Ok` when it is in force.
    pub result: Result<(), String>,
}

/// A question, or a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// What is in force and what was done last.
    List,
    /// Let operations through that a rule refuses.
    Allow {
        /// The rule.
        rule: String,
        /// How long, seconds.
        secs: u64,
        /// Who asks.
        who: String,
    },
    /// Take something back.
    Undo {
        /// Its number.
        id: u64,
        /// Who asks.
        who: String,
    },
}

/// What the thread says.
pub type Answer = Result<Value, Denied>;

/// Why nothing was done or said.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// There is no such thing.
    #[error("there is no response {0} in force")]
    Absent(u64),
    /// Nothing is refused for such a rule.
    #[error(
        "nothing is refused for a rule `{0}`; `rampart responses list` shows those for which something is"
    )]
    NoRule(String),
    /// It could not be done.
    #[error("{0}")]
    Failed(String),
    /// The thread does not run.
    #[error("the thread of responses does not run")]
    Off,
    /// It does not answer.
    #[error("the thread of responses does not answer")]
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
        self.put(|sender| Command::Ask(ask, sender)).await
    }
}
