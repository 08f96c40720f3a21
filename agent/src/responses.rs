//! Responses: what is done about a match beside the alert.
//!
//! The detector says what a rule asks for and about whom (`alert::order`); a thread of `app` carries it out. What may be done is
//! decided here: [`guard`] knows what nothing may hit, [`budget`] how much there may be in a minute. What holds for a time
//! is written down in [`book`], so that it ends, can be undone, and is known to the next agent. Never called on the
//! detection thread.

pub mod book;
pub mod budget;
pub mod desk;
pub mod guard;
pub mod kill;

use serde::Serialize;

/// What became of a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It was done.
    Done,
    /// It would have been done.
    Observed,
    /// It would have hit what is protected, or somebody else.
    Refused,
    /// There were too many in this minute.
    OverBudget,
    /// It could not be done.
    Failed,
    /// Somebody took it back.
    Undone,
    /// Its time was over.
    Expired,
}

impl Outcome {
    /// All.
    pub const ALL: [Self; 7] = [
        Self::Done,
        Self::Observed,
        Self::Refused,
        Self::OverBudget,
        Self::Failed,
        Self::Undone,
        Self::Expired,
    ];

    /// Word in pages and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Observed => "observed",
            Self::Refused => "refused",
            Self::OverBudget => "over_budget",
            Self::Failed => "failed",
            Self::Undone => "undone",
            Self::Expired => "expired",
        }
    }
}
