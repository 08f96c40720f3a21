//! Shell patterns over whole texts; `*` and `?` also match slashes.

use crate::needle::Needle;

/// A compiled pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Glob {
    parts: Box<[Part]>,
    ignore_case: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Byte(u8),
    /// `?`: one character, which may be several bytes.
    One,
    /// `*`
    Many,
    /// `[...]`: one character of a set.
    Set(Set),
}

/// Ranges of characters, both ends included.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Set {
    negated: bool,
    ranges: Box<[(u32, u32)]>,
}

impl Glob {
    /// Compiles a pattern. Nothing is an error: a `[` that is not closed stands for itself.
    pub(crate) fn new(pattern: &[u8], ignore_case: bool) -> Self {
        let mut parts = Vec::new();
        let mut at = 0;
        while let Some(&byte) = pattern.get(at) {
            at += 1;
            match byte {
                b'*' => {
                    // Many stars in a row match what one does.
                    if parts.last() != Some(&Part::Many) {
                        parts.push(Part::Many);
                    }
                }
                b'?' => parts.push(Part::One),
                b'\\' if at < pattern.len() => {
                    parts.push(Part::Byte(fold(pattern.get(at).copied().unwrap_or(b'\\'), ignore_case)));
                    at += 1;
                }
                b'[' => match set(pattern.get(at..).unwrap_or_default(), ignore_case) {
                    Some((set, length)) => {
                        parts.push(Part::Set(set));
                        at += length;
                    }
                    None => parts.push(Part::Byte(b'[')),
                },
                other => parts.push(Part::Byte(fold(other, ignore_case))),
            }
        }
        Self { parts: parts.into_boxed_slice(), ignore_case }
    }

    /// Whether the pattern matches all of `text`. Time is at most the product of both lengths.
    pub(crate) fn matches(&self, text: &[u8]) -> bool {
        let (mut part, mut at) = (0, 0);
        // Where to go on when what follows the last star does not match.
        let mut retry: Option<(usize, usize)> = None;
        loop {
            let step = match self.parts.get(part) {
                Some(Part::Many) => {
                    retry = Some((part + 1, at));
                    part += 1;
                    continue;
                }
                None if at == text.len() => return true,
                None => None,
                Some(part) => self.one(part, text.get(at..).unwrap_or_default()),
            };
            if let Some(width) = step {
                part += 1;
                at += width;
                continue;
            }
            match &mut retry {
                Some((from, next)) if *next < text.len() => {
                    *next += 1;
                    (part, at) = (*from, *next);
                }
                _ => return false,
            }
        }
    }

    /// Whether the pattern has no wildcard: the bytes it stands for.
    pub(crate) fn literal(&self) -> Option<Vec<u8>> {
        self.parts
            .iter()
            .map(|part| match part {
                Part::Byte(byte) if !self.ignore_case => Some(*byte),
                _ => None,
            })
            .collect()
    }

    /// The runs of plain bytes between wildcards, and whether the only wildcards are stars.
    pub(crate) fn literals(&self) -> (Vec<Needle>, bool) {
        let mut runs: Vec<Needle> = Vec::new();
        let (mut only_stars, mut open) = (true, false);
        for (at, part) in self.parts.iter().enumerate() {
            match (part, runs.last_mut()) {
                (Part::Byte(byte), Some(run)) if open => run.text.push(*byte),
                (Part::Byte(byte), _) => {
                    runs.push(Needle { text: vec![*byte], starts: at == 0, ends: false });
                    open = true;
                }
                (other, _) => {
                    only_stars &= *other == Part::Many;
                    open = false;
                }
            }
        }
        match runs.last_mut() {
            Some(run) if open => run.ends = true,
            None if self.parts.is_empty() => runs.push(Needle { text: Vec::new(), starts: true, ends: true }),
            _ => {}
        }
        (runs, only_stars)
    }

    /// Bytes of `text` that one part other than a star matches.
    fn one(&self, part: &Part, text: &[u8]) -> Option<usize> {
        let &byte = text.first()?;
        match part {
            Part::Byte(wanted) => (fold(byte, self.ignore_case) == *wanted).then_some(1),
            Part::One => Some(character(text).1),
            Part::Set(set) => {
                let (value, width) = character(text);
                let folded = if self.ignore_case { lower(value) } else { value };
                (set.ranges.iter().any(|&(low, high)| (low..=high).contains(&folded)) != set.negated)
                    .then_some(width)
            }
            Part::Many => None,
        }
    }
}

/// The set behind an opening bracket and the length of its text, closing bracket included.
fn set(text: &[u8], ignore_case: bool) -> Option<(Set, usize)> {
    let negated = matches!(text.first(), Some(b'!' | b'^'));
    let mut at = usize::from(negated);
    let mut ranges = Vec::new();
    let start = at;
    loop {
        let rest = text.get(at..).filter(|rest| !rest.is_empty())?;
        if rest.first() == Some(&b']') && at > start {
            return Some((Set { negated, ranges: ranges.into_boxed_slice() }, at + 1));
        }
        if let Some((range, length)) = class(rest) {
            ranges.extend_from_slice(range);
            at += length;
            continue;
        }
        let (low, width) = set_member(rest)?;
        at += width;
        let rest = text.get(at..).unwrap_or_default();
        let high = match rest {
            [b'-', next, ..] if *next != b']' => {
                let (high, width) = set_member(rest.get(1..).unwrap_or_default())?;
                at += 1 + width;
                high
            }
            _ => low,
        };
        if ignore_case {
            ranges.push((lower(low), lower(high)));
        } else {
            ranges.push((low, high));
        }
    }
}

/// One member of a set, a backslash escapes it.
fn set_member(text: &[u8]) -> Option<(u32, usize)> {
    match text {
        [b'\\', rest @ ..] if !rest.is_empty() => {
            let (value, width) = character(rest);
            Some((value, width + 1))
        }
        [] => None,
        other => Some(character(other)),
    }
}

/// `[:name:]`
fn class(text: &[u8]) -> Option<(&'static [(u32, u32)], usize)> {
    const CLASSES: [(&str, &[(u32, u32)]); 8] = [
        ("[:alpha:]", &[(65, 90), (97, 122)]),
        ("[:digit:]", &[(48, 57)]),
        ("[:alnum:]", &[(48, 57), (65, 90), (97, 122)]),
        ("[:upper:]", &[(65, 90)]),
        ("[:lower:]", &[(97, 122)]),
        ("[:space:]", &[(9, 13), (32, 32)]),
        ("[:xdigit:]", &[(48, 57), (65, 70), (97, 102)]),
        ("[:punct:]", &[(33, 47), (58, 64), (91, 96), (123, 126)]),
    ];
    CLASSES
        .iter()
        .find(|(name, _)| text.starts_with(name.as_bytes()))
        .map(|&(name, ranges)| (ranges, name.len()))
}

/// First character of a non-empty text and its width; a byte that is not UTF-8 is a character of its own,
/// outside the range of real ones.
fn character(text: &[u8]) -> (u32, usize) {
    let &first = text.first().unwrap_or(&0);
    if first.is_ascii() {
        return (u32::from(first), 1);
    }
    let head = text.get(..text.len().min(4)).unwrap_or_default();
    match head.utf8_chunks().next().and_then(|chunk| chunk.valid().chars().next()) {
        Some(character) => (u32::from(character), character.len_utf8()),
        None => (0x11_0000 + u32::from(first), 1),
    }
}

fn fold(byte: u8, ignore_case: bool) -> u8 {
    if ignore_case { byte.to_ascii_lowercase() } else { byte }
}

fn lower(value: u32) -> u32 {
    if (65..=90).contains(&value) { value + 32 } else { value }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn glob(pattern: &str, text: &[u8]) -> bool {
        Glob::new(pattern.as_bytes(), false).matches(text)
    }

    #[test]
    fn patterns_match_as_in_the_shell() {
        for (pattern, text) in [
            ("my*", "myexe"),
            ("*exe", "myexe"),
            ("a*b*c", "aXXbYYc"),
            ("*", ""),
            ("/opt/*/x", "/opt/a/b/x"),
            ("d[!x]r", "dir"),
            ("[a-c]?", "bz"),
            ("[]]", "]"),
            ("\\*", "*"),
            ("[", "["),
            ("ç?", "çß"),
            ("[[:digit:]]*", "7z"),
            ("**a**", "xax"),
        ] {
            assert!(glob(pattern, text.as_bytes()), "{pattern} {text}");
        }
        for (pattern, text) in
            [("my", "myexe"), ("?", ""), ("[!r]", "r"), ("a*b", "ac"), ("\\*", "x"), ("", "x"), ("?", "ab")]
        {
            assert!(!glob(pattern, text.as_bytes()), "{pattern} {text}");
        }
        assert!(glob("bad?", b"bad\xff"));
        assert!(Glob::new(b"MY*[X-Z]", true).matches(b"myexey"));
    }

    #[test]
    fn hostile_patterns_take_bounded_time() {
        let pattern = "*a".repeat(2000) + "b";
        assert!(!glob(&pattern, "a".repeat(5000).as_bytes()));
    }
}
