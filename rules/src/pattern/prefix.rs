//! Many prefixes, or suffixes, in one search.

use std::cmp::Ordering;

/// A sorted set of texts none of which begins another.
///
/// If any of them begins a text, it is the greatest that is not greater than the text: whatever lies between a
/// prefix and a text that begins with it begins with the prefix too, and the set has no such member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Prefixes {
    sorted: Box<[Box<[u8]>]>,
}

impl Prefixes {
    /// Builds the set; `reversed` for suffixes.
    pub(crate) fn new<'a>(texts: impl Iterator<Item = &'a [u8]>, reversed: bool) -> Self {
        let mut all: Vec<Box<[u8]>> = texts
            .map(|text| if reversed { text.iter().rev().copied().collect() } else { Box::from(text) })
            .collect();
        all.sort_unstable();
        let mut sorted: Vec<Box<[u8]>> = Vec::with_capacity(all.len());
        for text in all {
            // What another begins is implied by it, and stands behind it in order.
            if !sorted.last().is_some_and(|last| text.starts_with(last)) {
                sorted.push(text);
            }
        }
        Self { sorted: sorted.into_boxed_slice() }
    }

    /// Whether one of the texts begins `text`.
    pub(crate) fn begins(&self, text: &[u8]) -> bool {
        let above = self.sorted.partition_point(|prefix| **prefix <= *text);
        above.checked_sub(1).and_then(|at| self.sorted.get(at)).is_some_and(|prefix| text.starts_with(prefix))
    }

    /// Whether one of the reversed texts ends `text`.
    pub(crate) fn ends(&self, text: &[u8]) -> bool {
        let below = |suffix: &[u8]| suffix.iter().cmp(text.iter().rev()) != Ordering::Greater;
        let above = self.sorted.partition_point(|suffix| below(suffix));
        let nearest = above.checked_sub(1).and_then(|at| self.sorted.get(at));
        nearest.is_some_and(|suffix| {
            suffix.len() <= text.len() && suffix.iter().zip(text.iter().rev()).all(|(a, b)| a == b)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_agree_with_trying_each() {
        let parts = ["", "a", "ab", "abc", "b", "ba", "/etc", "/etc/", "/usr/bin/", "c"];
        let texts =
            ["", "a", "aa", "abx", "ac", "b", "bab", "cab", "xa", "/etc", "/etcx", "/usr/bin", "zc", "aabc"];
        // Every subset of the parts.
        for mask in 0..1u32 << parts.len() {
            let some: Vec<&str> = parts
                .iter()
                .enumerate()
                .filter(|(at, _)| mask >> at & 1 == 1)
                .map(|(_, part)| *part)
                .collect();
            let prefixes = Prefixes::new(some.iter().map(|part| part.as_bytes()), false);
            let suffixes = Prefixes::new(some.iter().map(|part| part.as_bytes()), true);
            for text in texts {
                let bytes = text.as_bytes();
                assert_eq!(
                    prefixes.begins(bytes),
                    some.iter().any(|part| text.starts_with(part)),
                    "{some:?} {text}"
                );
                assert_eq!(
                    suffixes.ends(bytes),
                    some.iter().any(|part| text.ends_with(part)),
                    "{some:?} {text}"
                );
            }
        }
    }
}
