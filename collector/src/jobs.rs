//! Work for nodes: a queue in the store's book, from which each node gets one job at a time.
//!
//! ```text
//! REST, `job submit` ─▶ waiting ─▶ running (until its lease ends) ─▶ done
//!                          ▲            │ failed, lost                │ given up: a dead letter
//!                          └─ backoff ──┘                             ▼
//!                          ▲────────────────────────── redrive ──── dead
//! ```
//!
//! Owns what a job is ([`Job`]), the steps between its states (`queue`, which touch nothing but the book) and who is given
//! what (`dispatch`). A job is given out at least once and its outcome kept once: each step is one change of an item with
//! the revision that it was read with, so collectors that share a store share the queue. Called by `agents`, `http`, `cli`.

pub mod dispatch;
pub mod queue;
pub mod task;

use serde::{Deserialize, Serialize};

pub use self::task::{Task, TaskError};

/// What of a job's text is kept with it; all of it is kept for a while as its result.
pub const TEXT_MAX: usize = 64 << 10;
/// Largest result.
pub const CONTENT_MAX: usize = 3 << 20;

/// Which of the jobs that wait comes first.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, clap::ValueEnum,
)]
#[serde(rename_all = "lowercase")]
pub enum Priority {
    /// Before all others.
    High,
    /// In its turn.
    #[default]
    Normal,
    /// When nothing else waits.
    Low,
}

/// What somebody asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wish {
    /// What to do.
    pub task: Task,
    /// The node; any that takes such jobs when not set.
    #[serde(default)]
    pub node: Option<String>,
    /// How urgent it is.
    #[serde(default)]
    pub priority: Priority,
}

/// A job; the item's name is its id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    /// What was asked for.
    pub wish: Wish,
    /// When, nanoseconds since the epoch.
    pub created_ns: u64,
    /// By whom.
    pub by: String,
    /// How it stands.
    #[serde(flatten)]
    pub state: State,
    /// Times that it was given out.
    pub attempts: u32,
    /// What went wrong last; empty when nothing did.
    #[serde(default)]
    pub fault: String,
    /// How it ended.
    #[serde(default)]
    pub outcome: Option<Outcome>,
}

/// How a job stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "lowercase")]
pub enum State {
    /// For a node that is free.
    Waiting {
        /// Not before, nanoseconds since the epoch.
        not_before_ns: u64,
    },
    /// A node has it.
    Running(Running),
    /// It was done.
    Done,
    /// It was given up.
    Dead,
    /// Somebody took it back.
    Cancelled,
}

/// Who has a job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Running {
    /// The node.
    pub on: String,
    /// The start of its agent; after another one it is lost.
    pub boot: String,
    /// The collector that gave it out.
    pub via: String,
    /// Since when, nanoseconds since the epoch.
    pub since_ns: u64,
    /// When it counts as lost.
    pub lease_ns: u64,
}

/// How a job ended on its node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// The node.
    pub node: String,
    /// When, nanoseconds since the epoch.
    pub ended_ns: u64,
    /// What it said, the beginning.
    pub text: String,
    /// Where its result lies on the node; empty when it is not kept there.
    pub file: String,
    /// Name of the result here; empty when there is none.
    pub name: String,
    /// Its size.
    pub bytes: u64,
}

/// A result as it is kept for a while; the item's name is the job's id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// Everything it said.
    pub text: String,
    /// The result, base64.
    pub content: String,
}

/// Why a job is not taken, found or changed.
#[derive(Debug, thiserror::Error)]
pub enum JobError {
    /// What is asked for makes no sense.
    #[error(transparent)]
    Task(#[from] TaskError),
    /// No certificate could hold this name.
    #[error("`{0}` is no name of a node")]
    Node(String),
    /// Nobody does them.
    #[error("{0} jobs wait, no more are taken: cancel some")]
    Full(usize),
    /// There is none.
    #[error("there is no job `{0}`")]
    Absent(String),
    /// It is past that.
    #[error("the job `{id}` is {state}")]
    State {
        /// Which.
        id: String,
        /// What it is.
        state: &'static str,
    },
    /// Somebody else changed it.
    #[error("somebody else has changed the job `{0}` meanwhile: look again")]
    Raced(String),
    /// The book does not work.
    #[error(transparent)]
    Book(#[from] crate::identity::IdentityError),
}

impl State {
    /// Its name.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Waiting { .. } => "waiting",
            Self::Running(_) => "running",
            Self::Done => "done",
            Self::Dead => "dead",
            Self::Cancelled => "cancelled",
        }
    }

    /// Whether nothing more will become of it by itself.
    pub const fn is_over(&self) -> bool {
        matches!(self, Self::Done | Self::Dead | Self::Cancelled)
    }
}

impl From<crate::store::StoreError> for JobError {
    fn from(error: crate::store::StoreError) -> Self {
        Self::Book(error.into())
    }
}
