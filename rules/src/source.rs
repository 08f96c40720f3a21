//! Source texts, positions in them, and texts derived from them.
//!
//! A condition is not a slice of its file: YAML folds lines, lists are pasted in, exceptions are appended. A
//! [`Mapped`] text remembers for each of its bytes which bytes of which file it came from, so that everything
//! parsed from it can still point at the file.

use std::ops::Range;

/// A source of a [`SourceMap`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct SourceId(pub u32);

/// A range of bytes in a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct Span {
    /// The source.
    pub source: SourceId,
    /// First byte.
    pub start: u32,
    /// One past the last byte.
    pub end: u32,
}

/// A place for people: file, line and column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location<'a> {
    /// Name of the source.
    pub file: &'a str,
    /// Line, from 1.
    pub line: u32,
    /// Column in characters, from 1.
    pub column: u32,
}

/// One source text with an index of its lines.
#[derive(Clone, Debug)]
pub struct SourceFile {
    name: String,
    text: String,
    lines: Vec<u32>,
}

/// All source texts of one load.
#[derive(Clone, Debug, Default)]
pub struct SourceMap {
    files: Vec<SourceFile>,
}

/// A text whose bytes came from elsewhere.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mapped {
    text: String,
    pieces: Vec<Piece>,
}

/// From `at` on, bytes of the text came from `origin`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Piece {
    at: u32,
    origin: Span,
    /// Whether byte `n` of the piece is byte `n` of the origin; otherwise all of them stand for all of it.
    linear: bool,
}

impl Span {
    /// A span of a source.
    pub fn new(source: SourceId, range: Range<usize>) -> Self {
        Self { source, start: clamp(range.start), end: clamp(range.end.max(range.start)) }
    }

    /// The smallest span that holds both; `self` when they lie in different sources.
    #[must_use]
    pub fn to(self, other: Self) -> Self {
        if self.source == other.source {
            Self { source: self.source, start: self.start.min(other.start), end: self.end.max(other.end) }
        } else {
            self
        }
    }
}

impl SourceFile {
    /// Name as given.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The text; bytes that were not UTF-8 are replaced.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Line and column of a byte offset, both from 1.
    pub fn position(&self, offset: u32) -> (u32, u32) {
        let line = self.lines.partition_point(|&start| start <= offset).max(1);
        let start = self.lines.get(line - 1).copied().unwrap_or(0);
        let before = self.text.get(start as usize..(offset as usize).min(self.text.len())).unwrap_or("");
        (clamp(line), clamp(before.chars().count()).saturating_add(1))
    }

    /// Text of a line counted from 1, without its end.
    pub fn line(&self, line: u32) -> Option<&str> {
        let index = (line as usize).checked_sub(1)?;
        let start = *self.lines.get(index)? as usize;
        let end = self.lines.get(index + 1).map_or(self.text.len(), |&next| next as usize);
        self.text.get(start..end).map(|text| text.trim_end_matches(['\n', '\r']))
    }
}

impl SourceMap {
    /// Adds a text and gives its id.
    pub fn add(&mut self, name: impl Into<String>, text: impl Into<String>) -> SourceId {
        let text = text.into();
        let newlines = text.bytes().zip(1u32..).filter(|&(byte, _)| byte == b'\n').map(|(_, next)| next);
        let lines = std::iter::once(0).chain(newlines).collect();
        self.files.push(SourceFile { name: name.into(), text, lines });
        SourceId(clamp(self.files.len() - 1))
    }

    /// The file of an id.
    pub fn file(&self, id: SourceId) -> Option<&SourceFile> {
        self.files.get(id.0 as usize)
    }

    /// All files in the order they were added.
    pub fn files(&self) -> &[SourceFile] {
        &self.files
    }

    /// Where a span begins.
    pub fn locate(&self, span: Span) -> Option<Location<'_>> {
        let file = self.file(span.source)?;
        let (line, column) = file.position(span.start);
        Some(Location { file: file.name(), line, column })
    }

    /// The text of a span.
    pub fn text(&self, span: Span) -> Option<&str> {
        self.file(span.source)?.text.get(span.start as usize..span.end as usize)
    }
}

impl Mapped {
    /// A text that is its own source `0`.
    pub fn plain(text: impl Into<String>) -> Self {
        let mut mapped = Self::default();
        let text = text.into();
        let span = Span::new(SourceId(0), 0..text.len());
        mapped.push_linear(&text, span);
        mapped
    }

    /// The text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Appends text whose bytes are those of `origin`, one for one.
    pub fn push_linear(&mut self, text: &str, origin: Span) {
        self.push(text, origin, true);
    }

    /// Appends text that stands as a whole for `origin`.
    pub fn push_fixed(&mut self, text: &str, origin: Span) {
        self.push(text, origin, false);
    }

    /// Appends a range of another mapped text.
    pub fn push_range(&mut self, other: &Self, range: Range<usize>) {
        let Some(text) = other.text.get(range.clone()) else { return };
        let mut done = 0;
        let first = other.piece_index(range.start);
        for index in first..other.pieces.len() {
            let Some(piece) = other.pieces.get(index) else { break };
            let end = other.pieces.get(index + 1).map_or(other.text.len(), |next| next.at as usize);
            let stop = end.min(range.end).saturating_sub(range.start);
            if stop > done {
                let origin = if piece.linear {
                    let skip = clamp((range.start + done).saturating_sub(piece.at as usize));
                    let start = piece.origin.start.saturating_add(skip).min(piece.origin.end);
                    Span { start, ..piece.origin }
                } else {
                    piece.origin
                };
                self.push(text.get(done..stop).unwrap_or(""), origin, piece.linear);
                done = stop;
            }
            if end >= range.end {
                break;
            }
        }
    }

    /// Appends another mapped text.
    pub fn push_mapped(&mut self, other: &Self) {
        self.push_range(other, 0..other.text.len());
    }

    /// The span a range of the text came from.
    pub fn span(&self, range: Range<usize>) -> Span {
        let first = self.origin(range.start);
        let last = self.origin(range.end.saturating_sub(1).max(range.start));
        first.to(last)
    }

    /// The span one byte of the text came from; the end of the last one for a place behind the text.
    fn origin(&self, at: usize) -> Span {
        let Some(piece) = self.pieces.get(self.piece_index(at)) else { return Span::default() };
        if !piece.linear {
            return piece.origin;
        }
        let start =
            piece.origin.start.saturating_add(clamp(at).saturating_sub(piece.at)).min(piece.origin.end);
        Span { source: piece.origin.source, start, end: start.saturating_add(1).min(piece.origin.end) }
    }

    fn piece_index(&self, at: usize) -> usize {
        self.pieces.partition_point(|piece| piece.at as usize <= at).saturating_sub(1)
    }

    fn push(&mut self, text: &str, origin: Span, linear: bool) {
        if text.is_empty() {
            return;
        }
        self.pieces.push(Piece { at: clamp(self.text.len()), origin, linear });
        self.text.push_str(text);
    }
}

/// Offsets are 32 bits wide; texts are bounded far below that before anything is built from them.
fn clamp(value: usize) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_count_lines_and_characters_from_one() {
        let mut map = SourceMap::default();
        let id = map.add("a.yaml", "ab\nçd\r\n");
        let at = |offset| {
            let place = map.locate(Span { source: id, start: offset, end: offset }).unwrap();
            (place.line, place.column)
        };
        assert_eq!(at(0), (1, 1));
        assert_eq!(at(2), (1, 3));
        assert_eq!(at(3), (2, 1));
        assert_eq!(at(5), (2, 2));
        assert_eq!(at(99), (3, 1));
        assert_eq!(map.file(id).unwrap().line(2), Some("çd"));
    }

    #[test]
    fn ranges_of_mapped_texts_keep_their_origin() {
        let source = SourceId(3);
        let mut inner = Mapped::default();
        inner.push_linear("abc", Span::new(source, 10..13));
        inner.push_fixed("LIST", Span::new(source, 20..24));
        inner.push_linear("xyz", Span::new(source, 24..27));
        let mut outer = Mapped::default();
        outer.push_fixed("(", Span::new(source, 1..2));
        outer.push_range(&inner, 1..9);
        assert_eq!(outer.text(), "(bcLISTxy");
        assert_eq!(outer.span(1..2), Span::new(source, 11..12));
        assert_eq!(outer.span(4..5), Span::new(source, 20..24));
        assert_eq!(outer.span(8..9), Span::new(source, 25..26));
        assert_eq!(outer.span(2..9), Span::new(source, 12..26));
    }
}
