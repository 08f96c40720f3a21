//! What a setting is: a row of the table.

use super::ENV_PREFIX;

/// What a setting's value looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Free text.
    Text,
    /// A file or directory.
    Path,
    /// A list of files or directories.
    Paths,
    /// `true` or `false`.
    Bool,
    /// A whole number, zero or more.
    Number,
    /// A percentage up to 100, which may have a fraction and the sign, or `off`.
    Percent,
    /// One of a few words, in any letter case.
    Choice(&'static [&'static str]),
    /// `ADDRESS:PORT`.
    Socket,
    /// A list of words.
    Words,
    /// A list of web addresses.
    Urls,
    /// A list of addresses and prefixes.
    Nets,
    /// Policies of the rate limiter, by name.
    Policies,
    /// Interfaces of the rate limiter, by name.
    Interfaces,
    /// Services, by name.
    Services,
    /// Venues of trading, by name.
    Venues,
    /// Calendars of trading, by name.
    Calendars,
    /// Roles of processes, by name.
    Roles,
    /// Kinds of assets with their paths, by name.
    Assets,
    /// Lists that rules name, by name.
    Lists,
}

/// One setting.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// Sections and name, joined by dots.
    pub path: &'static str,
    /// What its value looks like.
    pub kind: Kind,
    /// The value when nothing sets it, as a person would write it.
    pub default: &'static str,
    /// What it does, in one line.
    pub help: &'static str,
    /// Environment names that other software uses for the same thing; they rank below Rampart's own name.
    pub aliases: &'static [&'static str],
}

impl Key {
    /// Rampart's own environment name: `log.level` is `RAMPART_LOG__LEVEL`.
    pub fn env_name(&self) -> String {
        format!("{ENV_PREFIX}{}", self.path.to_ascii_uppercase().replace('.', "__"))
    }
}
