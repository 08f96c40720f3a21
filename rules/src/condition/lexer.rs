//! Words of a condition, read on demand.
//!
//! The language cannot be cut into words before it is parsed: what ends a word depends on what is expected
//! there (`a.b=not` compares with the text `not`, `evt.arg[a b]` is an error, `b64(` starts a transformer only
//! without a blank). So the lexer is a cursor with one method per kind of word; each either takes the word and
//! moves, or leaves the cursor where it was.

use super::quote::{self, EscapeError};

/// A cursor over the text of a condition.
#[derive(Clone, Copy, Debug)]
pub struct Lexer<'a> {
    text: &'a str,
    at: usize,
}

/// A value as read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Word {
    /// Without quotes.
    Bare(String),
    /// In quotes, escapes resolved.
    Quoted(Vec<u8>),
    /// In quotes that are not closed.
    Open,
    /// In quotes, with a bad escape.
    Bad(EscapeError),
}

impl<'a> Lexer<'a> {
    /// Starts at the beginning of `text`.
    pub fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    /// Offset of the next byte.
    pub fn offset(&self) -> usize {
        self.at
    }

    /// What is left.
    pub fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or("")
    }

    /// Whether nothing is left.
    pub fn is_at_end(&self) -> bool {
        self.at >= self.text.len()
    }

    /// Skips blanks; whether there were any.
    pub fn blank(&mut self) -> bool {
        let count = self.rest().bytes().take_while(|&byte| quote::is_blank(byte)).count();
        self.at += count;
        count > 0
    }

    /// Takes a fixed text.
    pub fn fixed(&mut self, text: &str) -> bool {
        let found = self.rest().starts_with(text);
        if found {
            self.at += text.len();
        }
        found
    }

    /// Takes a fixed word and the blank that must follow it.
    pub fn word(&mut self, text: &str) -> bool {
        let before = *self;
        let found = self.fixed(text) && self.blank();
        if !found {
            *self = before;
        }
        found
    }

    /// Takes an identifier: a letter, then letters, digits and `_`.
    pub fn identifier(&mut self) -> Option<&'a str> {
        let rest = self.rest();
        let length = identifier_length(rest.as_bytes());
        let found = rest.get(..length).filter(|found| !found.is_empty())?;
        self.at += length;
        Some(found)
    }

    /// Takes a field name: identifiers joined by dots, at least two.
    pub fn field_name(&mut self) -> Option<&'a str> {
        let rest = self.rest();
        let bytes = rest.as_bytes();
        let mut length = identifier_length(bytes);
        let mut dots = 0;
        while length > 0 && bytes.get(length) == Some(&b'.') {
            let more = identifier_length(bytes.get(length + 1..).unwrap_or_default());
            if more == 0 {
                break;
            }
            length += 1 + more;
            dots += 1;
        }
        if dots == 0 {
            return None;
        }
        self.at += length;
        rest.get(..length)
    }

    /// Takes a number: decimal with optional fraction and exponent, or hexadecimal.
    pub fn number(&mut self) -> Option<&'a str> {
        let rest = self.rest();
        let length = number_length(rest.as_bytes());
        let found = rest.get(..length).filter(|found| !found.is_empty())?;
        self.at += length;
        Some(found)
    }

    /// Takes a value, quoted or bare. On a fault inside quotes the cursor moves behind what was read of it.
    pub fn value(&mut self) -> Option<Word> {
        self.quoted().or_else(|| self.bare(quote::ends_bare).map(Word::Bare))
    }

    /// Takes the argument of a field, quoted or bare.
    pub fn argument(&mut self) -> Option<Word> {
        let ends = |byte: u8| quote::is_blank(byte) || matches!(byte, b'[' | b']' | b'"' | b'\'');
        self.quoted().or_else(|| self.bare(ends).map(Word::Bare))
    }

    /// Takes a quoted text.
    pub fn quoted(&mut self) -> Option<Word> {
        let rest = self.rest();
        let mark = rest.chars().next().filter(|&mark| mark == '"' || mark == '\'')?;
        let mut escaped = false;
        for (index, byte) in rest.bytes().enumerate().skip(1) {
            if escaped {
                escaped = false;
            } else if byte == b'\\' {
                escaped = true;
            } else if byte == mark as u8 {
                self.at += index + 1;
                let inner = rest.get(1..index).unwrap_or("");
                return Some(quote::unescape(inner, mark).map_or_else(Word::Bad, Word::Quoted));
            }
        }
        self.at = self.text.len();
        Some(Word::Open)
    }

    fn bare(&mut self, ends: impl Fn(u8) -> bool) -> Option<String> {
        let rest = self.rest();
        let length = rest.bytes().position(&ends).unwrap_or(rest.len());
        let found = rest.get(..length).filter(|found| !found.is_empty())?;
        self.at += length;
        Some(found.to_owned())
    }
}

fn identifier_length(bytes: &[u8]) -> usize {
    match bytes.first() {
        Some(first) if first.is_ascii_alphabetic() => {
            bytes.iter().take_while(|byte| byte.is_ascii_alphanumeric() || **byte == b'_').count()
        }
        _ => 0,
    }
}

fn number_length(bytes: &[u8]) -> usize {
    let digits = |from: usize| {
        bytes.get(from..).unwrap_or_default().iter().take_while(|byte| byte.is_ascii_digit()).count()
    };
    if bytes.first() == Some(&b'0') && matches!(bytes.get(1), Some(b'x' | b'X')) {
        let hex = bytes.iter().skip(2).take_while(|byte| byte.is_ascii_hexdigit()).count();
        return if hex > 0 { 2 + hex } else { 1 };
    }
    let sign = usize::from(matches!(bytes.first(), Some(b'+' | b'-')));
    let mut length = sign + digits(sign);
    if length == sign {
        return 0;
    }
    if bytes.get(length) == Some(&b'.') {
        length += 1 + digits(length + 1);
    }
    if matches!(bytes.get(length), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(bytes.get(length + 1), Some(b'+' | b'-')));
        let exponent = digits(length + 1 + sign);
        if exponent > 0 {
            length += 1 + sign + exponent;
        }
    }
    length
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_end_where_they_should() {
        for (text, length) in [
            ("1000", 4),
            ("-1", 2),
            ("0x12G", 4),
            ("1.2 ", 3),
            ("-0.12e+10)", 9),
            ("!1", 0),
            ("+", 0),
            ("0x", 1),
        ] {
            assert_eq!(number_length(text.as_bytes()), length, "{text}");
        }
    }

    #[test]
    fn a_missed_word_leaves_the_cursor() {
        let mut lexer = Lexer::new("orb");
        assert!(!lexer.word("or"));
        assert_eq!(lexer.offset(), 0);
        assert_eq!(lexer.identifier(), Some("orb"));
        assert_eq!(Lexer::new("a.1").field_name(), None);
        assert_eq!(Lexer::new("a.b.c[").field_name(), Some("a.b.c"));
    }

    #[test]
    fn escaped_backslashes_do_not_hide_the_closing_quote() {
        assert_eq!(Lexer::new(r#""\\" x"#).value(), Some(Word::Quoted(b"\\".to_vec())));
        assert_eq!(Lexer::new("'abc").value(), Some(Word::Open));
    }
}
