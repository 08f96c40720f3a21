//! Patterns compiled once: globs, regular expressions, path prefixes, substrings without case.

mod glob;
mod path;
mod prefix;

use regex::{Regex, RegexBuilder};

pub(crate) use glob::Glob;
pub(crate) use path::PathPrefixes;
pub(crate) use prefix::Prefixes;

/// Largest compiled regular expression, bytes. Rules of people stay below a tenth of it.
pub(crate) const REGEX_LIMIT: usize = 1 << 20;

/// Compiles a regular expression that must match a whole text.
pub(crate) fn regex(pattern: &str) -> Result<Regex, String> {
    let build = |text: &str| {
        RegexBuilder::new(text)
            .size_limit(REGEX_LIMIT)
            .dfa_size_limit(REGEX_LIMIT)
            .dot_matches_new_line(true)
            .build()
    };
    // First alone: a stray `)` must not close the group of the anchored form.
    build(pattern).and_then(|_| build(&format!(r"\A(?:{pattern})\z"))).map_err(|error| match error {
        regex::Error::Syntax(text) => {
            text.lines().next_back().unwrap_or("syntax error").trim_start_matches("error: ").to_owned()
        }
        regex::Error::CompiledTooBig(_) => "it grows too large when compiled".to_owned(),
        other => other.to_string(),
    })
}

/// Whether `text` holds `lower`, which is in ASCII lower case, when the case of ASCII letters is ignored.
pub(crate) fn contains_ignore_case(text: &[u8], lower: &[u8]) -> bool {
    let Some((&first, rest)) = lower.split_first() else { return true };
    let mut from = 0;
    while let Some(tail) = text.get(from..)
        && let Some(at) = memchr::memchr2(first, first.to_ascii_uppercase(), tail)
    {
        let Some(candidate) = tail.get(at + 1..at + 1 + rest.len()) else { return false };
        if candidate.eq_ignore_ascii_case(rest) {
            return true;
        }
        from += at + 1;
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn substrings_are_found_without_case() {
        assert!(contains_ignore_case(b"xxO_CreaT", b"o_creat"));
        assert!(contains_ignore_case(b"aab", b"ab"));
        assert!(contains_ignore_case(b"", b""));
        assert!(!contains_ignore_case(b"abc", b"abcd"));
        assert!(!contains_ignore_case(b"", b"a"));
    }

    #[test]
    fn regexes_match_whole_texts_and_are_bounded() {
        assert!(regex("a|bc").unwrap().is_match("bc"));
        assert!(!regex("a|bc").unwrap().is_match("abc"));
        assert!(regex("a)|(b").is_err());
        assert!(regex("(").is_err());
        assert!(regex("(a{1000}){1000}").is_err());
    }
}
