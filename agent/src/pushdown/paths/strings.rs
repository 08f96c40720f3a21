//! Strings in the order in which the automaton reads: from the end of the path to its start.

use rampart_common::pushdown::END;
use rampart_rules::needle::{Needle, Needles};

/// Which part of a path a field shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Part {
    /// All of it.
    Whole,
    /// Its last component.
    Name,
    /// All but the last component; for directories all of it.
    Directory,
}

/// The strings to search a whole path for, sorted, and whether their occurrence decides.
pub(super) fn of(part: Part, needles: &Needles) -> (Vec<Vec<u8>>, bool) {
    let mut strings = Vec::new();
    let mut exact = needles.exact;
    // A path holds no zero byte, so what does never occurs.
    for needle in needles.any.iter().filter(|needle| !needle.text.contains(&END)) {
        exact &= match part {
            Part::Whole => {
                strings.push(reversed(needle, &[]));
                true
            }
            Part::Name => name(needle, &mut strings),
            Part::Directory => {
                directory(needle, &mut strings);
                false
            }
        };
    }
    strings.sort_unstable();
    strings.dedup();
    (strings, exact)
}

/// A string with the ends it must stand at, and what must stand before it in the path.
fn reversed(needle: &Needle, before: &[u8]) -> Vec<u8> {
    let mut string = Vec::with_capacity(needle.text.len() + 2);
    if needle.ends {
        string.push(END);
    }
    string.extend(needle.text.iter().rev());
    string.extend(before);
    if needle.starts && before.is_empty() {
        string.push(END);
    }
    if string.is_empty() {
        // The empty text is everywhere.
        string.push(END);
    }
    string
}

/// Strings of a comparison on the last component.
fn name(needle: &Needle, strings: &mut Vec<Vec<u8>>) -> bool {
    if needle.text.contains(&b'/') {
        // No component has a slash.
        return true;
    }
    strings.push(reversed(needle, if needle.starts { b"/" } else { b"" }));
    // The end of the path is the end of the name; elsewhere the string may stand in another component.
    needle.ends || needle.text.is_empty()
}

/// Strings of a comparison on the directory: never more than necessary.
fn directory(needle: &Needle, strings: &mut Vec<Vec<u8>>) {
    let at = |text: &[u8], starts, ends| reversed(&Needle { text: text.to_vec(), starts, ends }, &[]);
    let text = needle.text.as_slice();
    if !needle.ends {
        strings.push(at(text, needle.starts, false));
        return;
    }
    match text {
        b"" if needle.starts => {}
        // The root, or anything: which directory a file at the top lies in is no string of its path.
        b"" | b"/" => strings.push(at(b"", false, false)),
        // No other directory ends with a slash.
        [.., b'/'] => {}
        _ => {
            let mut below = text.to_vec();
            below.push(b'/');
            strings.push(at(&below, needle.starts, false));
            strings.push(at(text, needle.starts, true));
        }
    }
}
