//! Where each byte of a scalar's text lies in the file.
//!
//! Folding turns line ends into blanks, quotes hide escapes. Walking text and file side by side finds the place
//! of every character again; where they cannot be matched, the rest stands for the whole scalar.

use super::{Node, NodeKind, Style};
use crate::source::{Mapped, Span};

impl Node {
    /// The text of a scalar with the places of its bytes; empty for other nodes.
    pub(crate) fn mapped(&self, file: &str) -> Mapped {
        let mut out = Mapped::default();
        let NodeKind::Scalar(text, style) = &self.kind else { return out };
        let raw = file.get(self.span.start as usize..).unwrap_or("");
        let mut walk = Walk { raw, at: raw_start(raw, *style), style: *style };
        // A run of characters that lie side by side in the text and in the file.
        let mut run: Option<(usize, usize)> = None;
        let mut flushed = 0;
        for (index, character) in text.char_indices() {
            let found = walk.find(character);
            let joined = match (run, found) {
                (Some((begin, origin)), Some((at, width))) => {
                    width == character.len_utf8() && at - origin == index - begin
                }
                _ => false,
            };
            if joined {
                continue;
            }
            if let Some((begin, origin)) = run.take() {
                let piece = text.get(begin..index).unwrap_or("");
                out.push_linear(piece, self.sub(origin, piece.len()));
                flushed = index;
            }
            match found {
                Some((at, width)) if width == character.len_utf8() => run = Some((index, at)),
                Some((at, width)) => {
                    let end = index + character.len_utf8();
                    out.push_fixed(text.get(index..end).unwrap_or(""), self.sub(at, width));
                    flushed = end;
                }
                None => break,
            }
        }
        match run {
            Some((begin, origin)) => {
                let piece = text.get(begin..).unwrap_or("");
                out.push_linear(piece, self.sub(origin, piece.len()));
            }
            None => out.push_fixed(text.get(flushed..).unwrap_or(""), self.span),
        }
        out
    }

    /// A range of the file, counted from the scalar's start.
    fn sub(&self, at: usize, width: usize) -> Span {
        let start = self.span.start as usize + at;
        Span::new(self.span.source, start..start + width)
    }
}

/// First byte that can hold text: behind the quote, or behind the header of a block.
fn raw_start(raw: &str, style: Style) -> usize {
    match style {
        Style::Single | Style::Double => usize::from(raw.starts_with(['"', '\''])),
        Style::Block if raw.starts_with(['|', '>']) => raw.find('\n').map_or(raw.len(), |end| end + 1),
        Style::Block | Style::Plain => 0,
    }
}

struct Walk<'a> {
    raw: &'a str,
    at: usize,
    style: Style,
}

impl Walk<'_> {
    /// Place and width in the file of the next character of the text.
    fn find(&mut self, wanted: char) -> Option<(usize, usize)> {
        if wanted.is_whitespace() {
            return Some(self.find_blank(wanted));
        }
        loop {
            let next = self.raw.get(self.at..)?.chars().next()?;
            if next.is_whitespace() {
                self.at += next.len_utf8();
                continue;
            }
            let start = self.at;
            let width = match (self.style, next) {
                (Style::Double, '\\') => {
                    let width = escape_width(self.raw.get(start..)?);
                    let follower = self.raw.get(start + 1..)?.chars().next()?;
                    if follower.is_whitespace() && follower != ' ' && follower != '\t' {
                        // An escaped line end is no character.
                        self.at += 1;
                        continue;
                    }
                    width
                }
                (Style::Single, '\'') => 2,
                (_, same) if same == wanted => same.len_utf8(),
                _ => return None,
            };
            self.at = start + width;
            return Some((start, width));
        }
    }

    /// A blank of the text: the same character in the file if it stands there, else the fold before the next word.
    fn find_blank(&mut self, wanted: char) -> (usize, usize) {
        let start = self.at;
        let rest = self.raw.get(start..).unwrap_or("");
        let width = match rest.chars().next() {
            Some(next) if next == wanted => next.len_utf8(),
            Some('\\') if self.style == Style::Double => escape_width(rest),
            Some(next) if next.is_whitespace() => rest.len() - rest.trim_start().len(),
            _ => 0,
        };
        // The same blank may still begin a fold (trailing blanks of a line); what follows is skipped by `find`.
        self.at = start + width;
        (start, width)
    }
}

/// Bytes of an escape, the backslash included.
fn escape_width(raw: &str) -> usize {
    let mut characters = raw.chars().skip(1);
    let first = characters.next();
    let digits = match first {
        Some('x') => 2,
        Some('u') => 4,
        Some('U') => 8,
        _ => 0,
    };
    1 + first.map_or(0, char::len_utf8) + characters.take(digits).map(char::len_utf8).sum::<usize>()
}

#[cfg(test)]
mod tests {
    use crate::{source::SourceId, yaml};

    /// Checks that every word of the text is found at its own place in the file.
    fn check(file: &str) {
        let (documents, faults) = yaml::parse(file, SourceId(0));
        assert!(faults.is_empty(), "{faults:?}");
        let node = documents[0].get("k").unwrap();
        let mapped = node.mapped(file);
        assert_eq!(mapped.text(), node.as_text().unwrap());
        let mut words = 0;
        for word in mapped.text().split_whitespace() {
            let at = word.as_ptr() as usize - mapped.text().as_ptr() as usize;
            let span = mapped.span(at..at + word.len());
            assert_eq!(&file[span.start as usize..span.end as usize], word, "in {file:?}");
            words += 1;
        }
        assert!(words > 0);
    }

    #[test]
    fn words_are_found_in_every_style() {
        check("k: one two\n   three\n\n   four\n");
        check("k: >\n  one two\n  three\n\n  four\n");
        check("k: >-  # why\n    one two\n      more indented\n    three\n");
        check("k: |\n  one two\n  three \n  four\n");
        check("k: 'one two\n  three'\n");
        check("k: \"one two \\\n   three\n   four\"\n");
        check("k: éa ßb\n   ç d\n");
        check("k: >\r\n  one two\r\n  three\r\n");
    }

    #[test]
    fn escapes_stand_for_their_character() {
        let file = r#"k: "a\x41\tb\"c""#;
        let (documents, _) = yaml::parse(file, SourceId(0));
        let mapped = documents[0].get("k").unwrap().mapped(file);
        assert_eq!(mapped.text(), "aA\tb\"c");
        let at = |byte: usize| {
            let span = mapped.span(byte..byte + 1);
            &file[span.start as usize..span.end as usize]
        };
        assert_eq!((at(0), at(1), at(2), at(3), at(4), at(5)), ("a", r"\x41", r"\t", "b", "\\\"", "c"));
    }
}
