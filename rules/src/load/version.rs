//! Versions of the engine and of plugins.

use std::{fmt, str::FromStr};

/// A version `major.minor.patch`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Version {
    /// Incompatible changes.
    pub major: u64,
    /// Additions.
    pub minor: u64,
    /// Corrections.
    pub patch: u64,
}

/// A text that is no version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a version such as `1.2.3`")]
pub struct InvalidVersion;

impl Version {
    /// Whether this version serves whoever asks for `wanted`: the same major version, and not older.
    pub fn serves(self, wanted: Self) -> bool {
        self.major == wanted.major && self >= wanted
    }
}

impl FromStr for Version {
    type Err = InvalidVersion;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // Pre-release and build parts do not order versions here.
        let core = text.split(['-', '+']).next().unwrap_or("");
        let mut parts = core.split('.').map(|part| {
            let digits = !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
            digits.then(|| part.parse::<u64>().ok()).flatten()
        });
        let mut next = || parts.next().flatten().ok_or(InvalidVersion);
        let version = Self { major: next()?, minor: next()?, patch: next()? };
        if parts.next().is_some() { Err(InvalidVersion) } else { Ok(version) }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_and_compared() {
        let read = |text: &str| text.parse::<Version>();
        assert_eq!(read("0.26.0").unwrap().to_string(), "0.26.0");
        assert_eq!(read("1.2.3-rc1").unwrap(), Version { major: 1, minor: 2, patch: 3 });
        for bad in ["", "1", "1.2", "1.2.3.4", "1..3", "a.b.c", "1.2.+3"] {
            assert!(read(bad).is_err(), "{bad}");
        }
        assert!(read("0.63.0").unwrap().serves(read("0.62.9").unwrap()));
        assert!(!read("0.63.0").unwrap().serves(read("0.64.0").unwrap()));
        assert!(!read("1.0.0").unwrap().serves(read("0.1.0").unwrap()));
    }
}
