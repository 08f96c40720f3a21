//! Setting `rules.lists`: lists that rules name and whose members are kept elsewhere.

mod read;

use std::{path::PathBuf, time::Duration};

use rampart_rules::set::SetKind;

pub(super) use self::read::list;

/// Directory of the copies in `node.state_dir`.
pub const DIRECTORY: &str = "lists";

/// A list that rules name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleList {
    /// What its members are.
    pub kind: SetKind,
    /// Where they come from.
    pub source: ListSource,
    /// How they are written.
    pub format: ListFormat,
    /// Time between two looks.
    pub refresh: Duration,
    /// Largest text, bytes.
    pub max_bytes: usize,
    /// Most members.
    pub max_entries: usize,
    /// A copy older than this is stale; zero = never.
    pub max_age: Duration,
    /// Whether a stale list counts as empty.
    pub drops_stale: bool,
    /// Whether addresses of private networks and of the node itself may be members.
    pub allows_private: bool,
    /// File of more headers for requests, such as a token.
    pub headers_file: Option<PathBuf>,
    /// Where the last good copy is kept.
    pub copy: PathBuf,
}

/// Where a list comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListSource {
    /// A file of the node.
    File(PathBuf),
    /// A web address.
    Url(String),
}

/// How a list is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListFormat {
    /// By its first bytes: a JSON object is STIX, everything else plain.
    Auto,
    /// One member a line.
    Plain,
    /// A column of a table.
    Csv(Column),
    /// A bundle of STIX 2.
    Stix,
}

/// A column of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Column {
    /// By its place, from 0.
    At(usize),
    /// By its name in the first line.
    Named(String),
}

#[cfg(test)]
mod tests;
