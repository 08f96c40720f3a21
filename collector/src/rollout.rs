//! Rollouts of policy bundles: which node is to have which bundle, step by step, and back when something gets worse.
//!
//! ```text
//! push ─▶ store: bundle, rollout ─▶ every collector: plan ─▶ offers to the agents that it has
//!             ▲                                                        │ heartbeats
//!             └── one collector (lease): next step, done, or back ◀── sights of all collectors
//! ```
//!
//! Owns what is kept of rollouts (items of the [`Book`]), the rules by which nodes are chosen
//! and judged (pure, in [`plan`] and [`gate`]), and the task that moves a rollout on. At most one rollout is under way. Must
//! never look into a bundle: agents alone say whether it is good.

pub mod desk;
pub mod driver;
pub mod gate;
pub mod plan;
pub mod shelf;
mod sight;
mod step;
pub mod trend;

use std::fmt;

use serde::{Deserialize, Serialize};

pub use self::{
    gate::Gates,
    sight::{NodeSight, Sight, Sights},
    step::{NoStep, Step},
};
use crate::{
    audit::Note,
    identity::{IdentityError, items},
    store::identity::{Book, Change, Expect, Kind},
};

/// Name of the item that the rollout under way has, so that there is one.
pub const UNDER_WAY: &str = "rollout";
/// How long a bundle that nothing needs any more can be gone back to.
pub const KEPT_NS: u64 = 72 * 3600 * 1_000_000_000;
/// Who acts when nobody does.
pub const ITSELF: &str = "collector";

/// A bundle that was pushed; the item's name is its digest. Its bytes are an item of their own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pushed {
    /// What people call it.
    pub name: String,
    /// When it was made, seconds since the epoch.
    pub created_secs: u64,
    /// When it was pushed, nanoseconds since the epoch.
    pub pushed_ns: u64,
    /// By whom.
    pub by: String,
    /// Public key of who signed it, hexadecimal.
    pub key: String,
    /// Its size.
    pub bytes: usize,
    /// Its files.
    pub files: Vec<String>,
}

/// A rollout; the item's name is its own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rollout {
    /// Digest of the bundle.
    pub bundle: String,
    /// What people call it.
    pub name: String,
    /// Who began it.
    pub by: String,
    /// When, nanoseconds since the epoch.
    pub began_ns: u64,
    /// Who gets it, one after the other; each keeps those before.
    pub steps: Vec<Step>,
    /// How long each step is watched.
    pub bake_secs: u64,
    /// What must not get worse.
    pub gates: Gates,
    /// How it is.
    pub state: State,
    /// The step it is at.
    pub step: usize,
    /// When that began to be watched.
    pub step_ns: u64,
    /// When it ended.
    pub ended_ns: Option<u64>,
    /// Why it is not under way.
    pub reason: Option<String>,
    /// What happened, the oldest first.
    pub events: Vec<Event>,
    /// Whether the alert about its end is stored, where there is one.
    pub is_told: bool,
}

/// How a rollout is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It goes on by itself.
    Running,
    /// Somebody stopped it where it is.
    Paused,
    /// All steps are done.
    Done,
    /// Nodes have what they had before.
    RolledBack,
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// When, nanoseconds since the epoch.
    pub time_ns: u64,
    /// Who did it.
    pub by: String,
    /// What.
    pub text: String,
}

/// Something about rollouts does not work.
#[derive(Debug, thiserror::Error)]
pub enum RolloutError {
    /// The store failed, or holds what cannot be read.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// One is under way.
    #[error("the rollout `{0}` is under way; wait for its end, or `rampart-collector bundle rollback`")]
    UnderWay(String),
    /// None is.
    #[error("no rollout is under way")]
    NoneUnderWay,
    /// There is none of this name.
    #[error("there is no rollout `{0}`")]
    NoRollout(String),
    /// There is no such bundle.
    #[error("there is no bundle `{0}`; push it first")]
    NoBundle(String),
    /// It is not in a state for that.
    #[error("the rollout is {0}")]
    State(State),
    /// Its settings make no sense.
    #[error("{0}")]
    Settings(&'static str),
    /// Somebody else has changed it.
    #[error("the rollout was changed at the same moment, try again")]
    Race,
}

impl From<crate::store::StoreError> for RolloutError {
    fn from(error: crate::store::StoreError) -> Self {
        Self::Identity(error.into())
    }
}

impl State {
    /// Its word.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Done => "done",
            Self::RolledBack => "rolled back",
        }
    }

    /// Whether it has not ended.
    pub const fn is_under_way(self) -> bool {
        matches!(self, Self::Running | Self::Paused)
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A rollout as it is kept.
#[derive(Clone, Debug, PartialEq)]
pub struct Kept {
    /// Its name.
    pub id: String,
    /// Grows with each change.
    pub revision: u64,
    /// What it is.
    pub rollout: Rollout,
}

impl Kept {
    /// All that are kept, the newest first.
    pub fn list(book: &mut dyn Book) -> Result<Vec<Self>, RolloutError> {
        let mut all = Vec::new();
        for item in book.list(Kind::Rollout)? {
            all.push(Self { rollout: items::read(&item)?, id: item.name, revision: item.revision });
        }
        all.sort_by(|a, b| (b.rollout.began_ns, &b.id).cmp(&(a.rollout.began_ns, &a.id)));
        Ok(all)
    }

    /// Writes it, with a note of who did what. `Race` when it was changed since it was read.
    pub fn write(
        self,
        book: &mut dyn Book,
        by: &str,
        action: &str,
        text: &str,
        now_ns: u64,
    ) -> Result<Self, RolloutError> {
        let Self { id, revision, mut rollout } = self;
        rollout.events.push(Event { time_ns: now_ns, by: by.to_owned(), text: text.to_owned() });
        let value = items::write(&rollout)?;
        let mut changes = vec![Change::put(Kind::Rollout, &id, Expect::Revision(revision), value)];
        if !rollout.state.is_under_way()
            && book.get(Kind::Lease, UNDER_WAY)?.is_some_and(|item| item.value == id)
        {
            changes.push(Change::remove(Kind::Lease, UNDER_WAY));
        }
        let note = Note::new(by, action, &id, format!("{}: {text}", rollout.name));
        if book.change(&changes, &note, now_ns)? {
            Ok(Self { id, revision: revision + 1, rollout })
        } else {
            Err(RolloutError::Race)
        }
    }
}

#[cfg(test)]
mod tests;
