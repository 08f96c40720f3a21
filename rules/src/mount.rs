//! The argument of `container.mount` and its kin: which of a container's mounts is meant.
//!
//! Falco documents a glob and searches for a regular expression, so `/` means every mount there. Here the glob is
//! what counts, unless Falco's reading is asked for.

use regex::bytes::{Regex, RegexBuilder};

use crate::pattern::{Glob, REGEX_LIMIT};

/// A key, compiled.
#[derive(Clone, Debug)]
pub struct MountKey(Kind);

#[derive(Clone, Debug)]
enum Kind {
    Index(usize),
    Glob(Glob),
    Search(Regex),
}

impl MountKey {
    /// Compiles a key: a number is an index, anything else a pattern of the path looked up. `None` when it is no
    /// pattern, which finds nothing.
    pub fn parse(key: &str, strict_falco: bool) -> Option<Self> {
        if let Ok(index) = key.parse() {
            return Some(Self(Kind::Index(index)));
        }
        if !strict_falco {
            return Some(Self(Kind::Glob(Glob::new(key.as_bytes(), false))));
        }
        let mut builder = RegexBuilder::new(key);
        builder.multi_line(true).size_limit(REGEX_LIMIT).dfa_size_limit(REGEX_LIMIT);
        builder.build().ok().map(|regex| Self(Kind::Search(regex)))
    }

    /// Position of the first mount that is meant, given the path of each that the key is compared with.
    pub fn find<'m>(&self, paths: impl IntoIterator<Item = &'m [u8]>) -> Option<usize> {
        let mut paths = paths.into_iter();
        match &self.0 {
            Kind::Index(index) => paths.nth(*index).map(|_| *index),
            Kind::Glob(glob) => paths.position(|path| glob.matches(path)),
            Kind::Search(regex) => paths.position(|path| regex.is_match(path)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: [&[u8]; 3] = [b"/var/lib/x", b"/etc", b"/"];

    fn find(key: &str, strict: bool) -> Option<usize> {
        MountKey::parse(key, strict).and_then(|key| key.find(MOUNTS))
    }

    #[test]
    fn keys_are_indexes_or_globs_of_the_whole_path() {
        assert_eq!(find("1", false), Some(1));
        assert_eq!(find("3", false), None);
        assert_eq!(find("/", false), Some(2));
        assert_eq!(find("/etc*", false), Some(1));
        assert_eq!(find("etc", false), None);
    }

    #[test]
    fn falco_searches_anywhere() {
        assert_eq!(find("/", true), Some(0));
        assert_eq!(find("etc$", true), Some(1));
        assert_eq!(find("[", true), None);
    }
}
