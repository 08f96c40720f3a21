//! What the store keeps of identities and rollouts, and the audit log.
//!
//! Owns the half of a store that [`Book`] is: small items by kind and name, changed together with a note in the log, in
//! one transaction or not at all. What an item means is `identity`'s. Blocks; called by `identity` and `cli`.

use crate::{
    audit::{Note, Record},
    store::StoreError,
};

/// What an item is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A token to join with.
    Token,
    /// A certificate that was made.
    Certificate,
    /// Something that is refused.
    Revoked,
    /// A person.
    User,
    /// Work for a node that is not over.
    Job,
    /// Work that is.
    PastJob,
    /// What came of it.
    Result,
    /// What is known of a policy bundle.
    Bundle,
    /// Its bytes, base64.
    BundleContent,
    /// A rollout of one.
    Rollout,
    /// What a collector sees of its nodes while one is under way.
    Sight,
    /// What a collector tells others of its nodes.
    Census,
    /// Something that one has at a time.
    Lease,
    /// The public half of a key that has signed tokens for people.
    TokenKey,
    /// The texts behind a digest of rules.
    Rules,
}

/// An item as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// Its name, unique in its kind.
    pub name: String,
    /// Grows with each change.
    pub revision: u64,
    /// What it is, JSON.
    pub value: String,
}

/// What must hold for a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// There is none of this name.
    Absent,
    /// It is as it was read.
    Revision(u64),
    /// Nothing.
    Anything,
}

/// A change of an item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Its kind.
    pub kind: Kind,
    /// Its name.
    pub name: String,
    /// What it becomes.
    pub to: To,
}

/// What an item becomes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum To {
    /// This.
    Value {
        /// What must hold.
        expect: Expect,
        /// JSON.
        value: String,
        /// When it may be forgotten, nanoseconds since the epoch.
        ends_ns: Option<u64>,
    },
    /// Nothing; it must be there.
    Gone,
}

/// The half of a store that keeps identities and the audit log.
pub trait Book: Send {
    /// One item.
    fn get(&mut self, kind: Kind, name: &str) -> Result<Option<Item>, StoreError>;

    /// All of a kind, by name.
    fn list(&mut self, kind: Kind) -> Result<Vec<Item>, StoreError>;

    /// Makes all changes and adds the note, in one transaction that survives a power cut, and one after the other with
    /// all others, also those of other processes. `false`, and nothing is done, where one does not hold what it expects.
    fn change(&mut self, changes: &[Change], note: &Note, now_ns: u64) -> Result<bool, StoreError>;

    /// The same without a note, for what is nobody's will: what is seen, and who has a turn.
    fn keep(&mut self, changes: &[Change], now_ns: u64) -> Result<bool, StoreError>;

    /// Records above a number, oldest first.
    fn records_after(&mut self, after: u64, limit: usize) -> Result<Vec<Record>, StoreError>;

    /// Records below a number, newest first.
    fn records_before(&mut self, before: Option<u64>, limit: usize) -> Result<Vec<Record>, StoreError>;

    /// Forgets items whose time is over; says how many.
    fn prune(&mut self, now_ns: u64) -> Result<u64, StoreError>;
}

impl Kind {
    /// Its name in a store.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::Certificate => "certificate",
            Self::Revoked => "revoked",
            Self::User => "user",
            Self::Job => "job",
            Self::PastJob => "past job",
            Self::Result => "result",
            Self::Bundle => "bundle",
            Self::BundleContent => "bundle_content",
            Self::Rollout => "rollout",
            Self::Sight => "sight",
            Self::Census => "census",
            Self::Lease => "lease",
            Self::TokenKey => "token_key",
            Self::Rules => "rules",
        }
    }
}

impl Change {
    /// An item that becomes this.
    pub fn put(kind: Kind, name: impl Into<String>, expect: Expect, value: String) -> Self {
        Self { kind, name: name.into(), to: To::Value { expect, value, ends_ns: None } }
    }

    /// The same; it may be forgotten after a time.
    #[must_use]
    pub fn until(mut self, end_ns: u64) -> Self {
        if let To::Value { ends_ns, .. } = &mut self.to {
            *ends_ns = Some(end_ns);
        }
        self
    }

    /// An item that goes.
    pub fn remove(kind: Kind, name: impl Into<String>) -> Self {
        Self { kind, name: name.into(), to: To::Gone }
    }
}
