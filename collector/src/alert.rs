//! Alerts as the collector knows them.

mod filter;
mod kind;

use std::{fmt, str::FromStr, sync::Arc};

pub use self::{
    filter::{Filter, Needle, TEXT_MAX},
    kind::{Kind, Kinds, NoKind, what},
};

/// Severity, the most severe first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Priority {
    /// The most severe.
    Emergency,
    /// Must be acted upon at once.
    Alert,
    /// Critical.
    Critical,
    /// An error.
    Error,
    /// A warning.
    Warning,
    /// Normal, but worth a look.
    Notice,
    /// For information.
    Informational,
    /// The least severe.
    Debug,
}

/// No such priority.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is no priority")]
pub struct NoPriority(String);

/// What makes an alert the same alert, however often it comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Id {
    /// The start of the agent that made it.
    pub boot: [u8; 16],
    /// Who numbered it there.
    pub cpu: u32,
    /// Its number.
    pub sequence: u64,
}

/// An alert.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alert {
    /// Its identity on its node.
    pub id: Id,
    /// Time of the event, nanoseconds since the epoch.
    pub time_ns: u64,
    /// Severity.
    pub priority: Priority,
    /// Name of the rule.
    pub rule: String,
    /// Source of the event.
    pub source: String,
    /// Falco's JSON form, an object.
    pub json: String,
}

/// An alert in the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Its number in the store; grows with the time of storing.
    pub number: u64,
    /// Where it comes from.
    pub node: Arc<str>,
    /// When it was stored, nanoseconds since the epoch.
    pub received_ns: u64,
    /// The alert.
    pub alert: Alert,
}

impl Priority {
    /// All, the most severe first.
    pub const ALL: [Self; 8] = [
        Self::Emergency,
        Self::Alert,
        Self::Critical,
        Self::Error,
        Self::Warning,
        Self::Notice,
        Self::Informational,
        Self::Debug,
    ];

    /// Falco's word.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Emergency => "Emergency",
            Self::Alert => "Alert",
            Self::Critical => "Critical",
            Self::Error => "Error",
            Self::Warning => "Warning",
            Self::Notice => "Notice",
            Self::Informational => "Informational",
            Self::Debug => "Debug",
        }
    }

    /// The priority of a number: 0 the most severe.
    pub fn of(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number)).copied()
    }
}

impl fmt::Display for Priority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Priority {
    type Err = NoPriority;

    /// In any letter case, `info` for short.
    fn from_str(text: &str) -> Result<Self, NoPriority> {
        let same = |one: &&Self| one.name().eq_ignore_ascii_case(text);
        let short = || text.eq_ignore_ascii_case("info").then_some(Self::Informational);
        let found = Self::ALL.iter().find(same).copied().or_else(short);
        found.ok_or_else(|| NoPriority(text.to_owned()))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::{Alert, Id, Priority};

    /// An alert for tests.
    pub(crate) fn alert(boot: u8, sequence: u64, priority: Priority, rule: &str) -> Alert {
        let id = Id { boot: [boot; 16], cpu: 0, sequence };
        let json = format!(
            r#"{{"output":"text of {sequence}","priority":"{priority}","rule":"{rule}","sequence":{sequence}}}"#
        );
        let time_ns = 1_700_000_000_000_000_000 + sequence;
        Alert { id, time_ns, priority, rule: rule.to_owned(), source: "syscall".to_owned(), json }
    }

    #[test]
    fn priorities_are_read_in_any_case() {
        for priority in Priority::ALL {
            assert_eq!(priority.name().to_lowercase().parse::<Priority>().unwrap(), priority);
            assert_eq!(Priority::of(priority as u8), Some(priority));
        }
        assert_eq!("INFO".parse::<Priority>().unwrap(), Priority::Informational);
        assert!("".parse::<Priority>().is_err() && Priority::of(8).is_none());
    }
}
