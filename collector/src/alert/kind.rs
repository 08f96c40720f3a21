//! What an alert is about: a rule of somebody's, a rate limit, a service, or the agent itself.
//!
//! An agent puts everything that happens on its node into one stream; what is not the match of a rule has the source
//! `internal` and a rule's name that says what it is. Nothing else tells kinds apart, here and in the stores' questions.

use std::{fmt::Write as _, str::FromStr};

/// Source of what agents say of their own.
const INTERNAL: &str = "internal";
/// Before what happened, in the rule's name.
const HEAD: &str = "Rampart internal: ";
/// How what happened begins when it is about rate limits.
const LIMITS: [&str; 5] = ["rate limit", "rates ", "quota ", "denied source", "malformed packets"];
/// How what happened begins when it is about services.
const SERVICES: [&str; 6] =
    ["circuit breaker", "backend ", "service ", "connections drained", "failover", "failback"];

/// See the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Kind {
    /// A rule matched.
    Detection,
    /// A rate limit or a quota: what was over it, and how limits change.
    Limits,
    /// A service: its breakers, backends, tiers.
    Services,
    /// The agent itself.
    Agent,
}

/// Some kinds; none of them says nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Kinds(u8);

/// No such kind.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is no kind: use detection, limits, services or agent, several with commas between them")]
pub struct NoKind(String);

/// What happened, for what an agent says of its own.
pub fn what(rule: &str) -> Option<&str> {
    rule.strip_prefix(HEAD)
}

impl Kind {
    /// All kinds.
    pub const ALL: [Self; 4] = [Self::Detection, Self::Limits, Self::Services, Self::Agent];

    /// Its word.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Detection => "detection",
            Self::Limits => "limits",
            Self::Services => "services",
            Self::Agent => "agent",
        }
    }

    /// The kind of an alert.
    pub fn of(source: &str, rule: &str) -> Self {
        if source != INTERNAL {
            return Self::Detection;
        }
        let begins =
            |heads: &[&str]| what(rule).is_some_and(|what| heads.iter().any(|head| what.starts_with(head)));
        match () {
            () if begins(&LIMITS) => Self::Limits,
            () if begins(&SERVICES) => Self::Services,
            () => Self::Agent,
        }
    }

    /// The same as a condition in SQL, on the columns of the sources' and the rules' names.
    fn condition(self, source: &str, rule: &str) -> String {
        let begins = |heads: &[&str]| {
            let head = |head: &&str| {
                let head = format!("{HEAD}{head}");
                format!("substr({rule}, 1, {}) = '{head}'", head.len())
            };
            format!("({})", heads.iter().map(head).collect::<Vec<_>>().join(" OR "))
        };
        let own = format!("{source} = '{INTERNAL}'");
        match self {
            Self::Detection => format!("{source} <> '{INTERNAL}'"),
            Self::Limits => format!("({own} AND {})", begins(&LIMITS)),
            Self::Services => format!("({own} AND {})", begins(&SERVICES)),
            Self::Agent => format!("({own} AND NOT {} AND NOT {})", begins(&LIMITS), begins(&SERVICES)),
        }
    }
}

impl Kinds {
    /// These kinds.
    pub fn of(kinds: &[Kind]) -> Self {
        Self(kinds.iter().fold(0, |bits, kind| bits | 1 << *kind as u8))
    }

    /// Whether it says nothing.
    pub const fn is_all(self) -> bool {
        self.0 == 0 || self.0 == (1 << Kind::ALL.len()) - 1
    }

    /// Whether a kind is one of them.
    pub const fn has(self, kind: Kind) -> bool {
        self.is_all() || self.0 & 1 << kind as u8 != 0
    }

    /// As a condition in SQL, on the columns of the sources' and the rules' names; `None` when it says nothing.
    pub(crate) fn condition(self, source: &str, rule: &str) -> Option<String> {
        if self.is_all() {
            return None;
        }
        let mut text = String::from("(");
        for kind in Kind::ALL.into_iter().filter(|kind| self.has(*kind)) {
            let or = if text.len() > 1 { " OR " } else { "" };
            // Writing to text cannot fail.
            let _ = write!(text, "{or}{}", kind.condition(source, rule));
        }
        text.push(')');
        Some(text)
    }
}

impl FromStr for Kinds {
    type Err = NoKind;

    fn from_str(text: &str) -> Result<Self, NoKind> {
        let kind = |word: &str| {
            let found = Kind::ALL.into_iter().find(|kind| kind.name() == word.trim());
            found.ok_or_else(|| NoKind(word.to_owned()))
        };
        Ok(Self::of(&text.split(',').map(kind).collect::<Result<Vec<_>, _>>()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rules_name_tells_the_kind_of_what_the_agent_says() {
        let own = |what: &str| Kind::of("internal", &format!("Rampart internal: {what}"));
        for what in ["rate limit exceeded", "quota used up", "rates throttled", "denied source"] {
            assert_eq!(own(what), Kind::Limits, "{what}");
        }
        for what in ["circuit breaker half-open", "backend ejected", "failover", "service in panic"] {
            assert_eq!(own(what), Kind::Services, "{what}");
        }
        assert_eq!(own("event loss"), Kind::Agent);
        assert_eq!(Kind::of("internal", "circuit breaker open"), Kind::Agent);
        assert_eq!(
            Kind::of("syscall", "Rampart internal: failover"),
            Kind::Detection,
            "a name anybody can give"
        );
    }

    #[test]
    fn kinds_are_words_with_commas() {
        let kinds: Kinds = "limits, services".parse().unwrap();
        assert!(kinds.has(Kind::Limits) && kinds.has(Kind::Services) && !kinds.has(Kind::Agent));
        assert!(Kinds::default().has(Kind::Agent) && Kinds::of(&Kind::ALL).is_all());
        assert!(
            "".parse::<Kinds>().is_err()
                && "limits,x".parse::<Kinds>().unwrap_err().to_string().contains("`x`")
        );
    }
}
