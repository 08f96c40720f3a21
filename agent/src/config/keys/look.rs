//! Settings by their names, and what was meant by a name that is none.

use super::{KEYS, Key};

/// What Rampart's environment names start with.
pub const ENV_PREFIX: &str = "RAMPART_";

/// The setting of that name.
pub fn find(path: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.path == path)
}

/// Whether `path` names a section, that is, the front part of some setting.
pub fn is_section(path: &str) -> bool {
    KEYS.iter().any(|key| key.path.strip_prefix(path).is_some_and(|rest| rest.starts_with('.')))
}

/// The name a person may have meant: a setting or section at the same place that looks alike, or else the
/// full name of a setting that is spelled the same somewhere else.
pub fn suggest(section: &str, name: &str) -> Option<String> {
    let siblings = KEYS.iter().filter_map(|key| {
        let rest = match section {
            "" => key.path,
            _ => key.path.strip_prefix(section)?.strip_prefix('.')?,
        };
        rest.split('.').next()
    });
    let near = closest(siblings, name).map(str::to_owned);
    near.or_else(|| {
        let elsewhere = KEYS.iter().find(|key| key.path.rsplit('.').next() == Some(name))?;
        Some(elsewhere.path.to_owned())
    })
}

/// The candidate nearest to `word`, when it is near enough to be a slip of the hand.
pub fn closest<'a>(candidates: impl Iterator<Item = &'a str>, word: &str) -> Option<&'a str> {
    let word = word.to_lowercase();
    let allowed = (word.chars().count() / 3).max(1);
    candidates
        .map(|candidate| (strsim::damerau_levenshtein(&candidate.to_lowercase(), &word), candidate))
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::keys::Kind;

    #[test]
    fn names_are_unique_and_choices_hold_their_default() {
        for (index, key) in KEYS.iter().enumerate() {
            assert!(KEYS[index + 1..].iter().all(|other| other.path != key.path), "{} twice", key.path);
            assert!(!is_section(key.path), "{} is a section too", key.path);
            if let Kind::Choice(words) = key.kind {
                assert!(words.contains(&key.default), "{}: default {} is no choice", key.path, key.default);
            }
        }
    }

    #[test]
    fn environment_names_follow_the_path() {
        assert_eq!(find("output.stdout.format").unwrap().env_name(), "RAMPART_OUTPUT__STDOUT__FORMAT");
    }

    #[test]
    fn suggestions_look_at_the_same_place_first() {
        assert_eq!(suggest("log", "levle").as_deref(), Some("level"));
        assert_eq!(suggest("", "rule").as_deref(), Some("rules"));
        assert_eq!(suggest("", "ring_bytes").as_deref(), Some("kernel.ring_bytes"));
        assert_eq!(suggest("output.stdout", "fromat").as_deref(), Some("format"));
        assert_eq!(suggest("log", "completely_else"), None);
    }
}
