//! Words, calls, addresses and values of a description.

use rampart_rules::{catalog, unit::call::End};

/// A piece of a description.
pub(super) enum Token<'a> {
    /// `name(arguments)`.
    Call(&'a str),
    /// `name(number)` of something that is no call: a process with its id.
    Member(&'a str, i64),
    /// `key=value`.
    Pair(&'a str, Vec<u8>),
    /// A text in quotes.
    Text(Vec<u8>),
    /// `= number`: what a call returned.
    Number(i64),
    /// One end of a connection.
    End(End),
    /// Both ends.
    Tuple(End, End),
    /// Any other word.
    Word(&'a str),
}

/// A place in a description.
pub(super) struct Scanner<'a> {
    rest: &'a str,
}

/// Whether a word names an event.
pub(super) fn is_event(word: &str) -> bool {
    catalog::event(word).is_some()
}

fn is_name(character: char) -> bool {
    character.is_ascii_alphanumeric() || character == '_'
}

fn is_key(character: char) -> bool {
    is_name(character) || matches!(character, '.' | '[' | ']')
}

impl<'a> Scanner<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { rest: text }
    }

    /// A scanner over bytes that live on.
    pub(super) fn leak(bytes: &[u8]) -> Scanner<'static> {
        Scanner { rest: String::from_utf8_lossy(bytes).into_owned().leak() }
    }

    fn blank(&mut self) {
        self.rest = self.rest.trim_start_matches([' ', ',', ';', '(', ')', '\n', '\t']);
    }

    pub(super) fn next(&mut self) -> Option<Token<'a>> {
        self.blank();
        let first = self.rest.chars().next()?;
        if matches!(first, '"' | '\'') {
            return self.quoted().map(Token::Text).or_else(|| self.skip(1));
        }
        for arrow in ["->", "<-"] {
            if let Some(rest) = self.rest.strip_prefix(arrow) {
                let whole = self.rest;
                self.rest = rest;
                return whole.get(..2).map(Token::Word);
            }
        }
        if let Some(rest) = self.rest.strip_prefix('=') {
            self.rest = rest;
            return match self.value() {
                Some(value) => match String::from_utf8_lossy(&value).parse() {
                    Ok(number) => Some(Token::Number(number)),
                    Err(_) => Some(Token::Text(value)),
                },
                None => self.next(),
            };
        }
        if let Some(token) = self.addresses() {
            return Some(token);
        }
        let name =
            self.rest.find(|next| !is_name(next)).map_or(self.rest, |end| self.rest.get(..end).unwrap_or(""));
        if !name.is_empty() && self.rest.get(name.len()..).is_some_and(|rest| rest.starts_with('(')) {
            return self.parenthesised(name);
        }
        let key =
            self.rest.find(|next| !is_key(next)).map_or(self.rest, |end| self.rest.get(..end).unwrap_or(""));
        let behind = self.rest.get(key.len()..).unwrap_or("").trim_start();
        if !key.is_empty() && behind.starts_with('=') {
            self.rest = behind.get(1..).unwrap_or("");
            let value = self.value().unwrap_or_default();
            return Some(Token::Pair(key, value));
        }
        let end = self.rest.find([' ', ',', ';', '(', ')', '\n', '"']).unwrap_or(self.rest.len());
        let word = self.rest.get(..end.max(1)).unwrap_or(self.rest);
        self.rest = self.rest.get(word.len()..).unwrap_or("");
        Some(Token::Word(if word.len() > 1 { word.trim_end_matches([':', '.']) } else { word }))
    }

    fn skip(&mut self, bytes: usize) -> Option<Token<'a>> {
        self.rest = self.rest.get(bytes..)?;
        self.next()
    }

    /// `name(…)`: a call, or a process with its id, or just a word before a remark.
    fn parenthesised(&mut self, name: &'a str) -> Option<Token<'a>> {
        let whole = self.rest;
        let mut quote = None;
        let mut escaped = false;
        let close = whole.char_indices().skip(name.len()).find(|&(_, next)| {
            if escaped {
                escaped = false;
            } else if next == '\\' {
                escaped = true;
            } else if Some(next) == quote {
                quote = None;
            } else if quote.is_none() && matches!(next, '"' | '\'') {
                quote = Some(next);
            } else {
                return quote.is_none() && next == ')';
            }
            false
        });
        let (Some((close, _)), known) = (close, is_event(name)) else {
            self.rest = whole.get(name.len()..)?;
            return Some(Token::Word(name));
        };
        let inner = whole.get(name.len() + 1..close)?;
        if known {
            self.rest = whole.get(close + 1..)?;
            return whole.get(..=close).map(Token::Call);
        }
        if let Ok(id) = inner.trim().trim_start_matches("pid ").trim_start_matches("tid ").parse() {
            self.rest = whole.get(close + 1..)?;
            return Some(Token::Member(name, id));
        }
        self.rest = whole.get(name.len()..)?;
        Some(Token::Word(name))
    }

    /// One address with a port, or two with an arrow between.
    fn addresses(&mut self) -> Option<Token<'a>> {
        let before = self.rest;
        let first = self.address()?;
        let behind = self.rest.trim_start();
        if let Some(behind) = behind.strip_prefix("->") {
            let here = self.rest;
            self.rest = behind.trim_start();
            if let Some(second) = self.address() {
                return Some(Token::Tuple(first, second));
            }
            self.rest = here;
        }
        if self.rest.len() == before.len() { None } else { Some(Token::End(first)) }
    }

    fn address(&mut self) -> Option<End> {
        let end = self.rest.find([' ', ',', ';', '(', ')', '\n']).unwrap_or(self.rest.len());
        let end = self.rest.find("->").map_or(end, |arrow| arrow.min(end));
        let found = end_of(self.rest.get(..end)?)?;
        self.rest = self.rest.get(end..)?;
        Some(found)
    }

    /// An address, maybe behind words such as `ip` or `address`.
    pub(super) fn end(&mut self) -> Option<End> {
        let before = self.rest;
        self.blank();
        for word in ["address", "addr", "ip", "at", "=", ":"] {
            if let Some(rest) = self.rest.strip_prefix(word) {
                self.rest = rest.trim_start();
            }
        }
        let found = self.address();
        if found.is_none() {
            self.rest = before;
        }
        found
    }

    /// A value: in quotes, as `61 00 62 (hex)`, or up to the next blank or comma.
    pub(super) fn value(&mut self) -> Option<Vec<u8>> {
        self.rest = self.rest.trim_start();
        if self.rest.starts_with(['"', '\'']) {
            return self.quoted();
        }
        let remark = self
            .rest
            .find('(')
            .filter(|&at| self.rest.get(at..).is_some_and(|rest| rest.starts_with("(hex")));
        if let Some(bytes) = remark.and_then(|at| hex(self.rest.get(..at)?)) {
            let behind = self.rest.get(remark?..)?;
            self.rest = behind.find(')').and_then(|close| behind.get(close + 1..)).unwrap_or("");
            return Some(bytes);
        }
        let end = self.rest.find([' ', ',', ';', '(', ')', '\n']).unwrap_or(self.rest.len());
        let word = self.rest.get(..end).filter(|word| !word.is_empty())?;
        self.rest = self.rest.get(end..)?;
        Some(unescaped(word))
    }

    /// A number as value of the word before it.
    pub(super) fn number_value(&mut self) -> Option<Vec<u8>> {
        let before = self.rest;
        let value = self.value().filter(|value| String::from_utf8_lossy(value).parse::<i64>().is_ok());
        if value.is_none() {
            self.rest = before;
        }
        value
    }

    /// A name: a word that is neither a pair nor an article.
    pub(super) fn plain_name(&mut self) -> Option<String> {
        let before = self.rest;
        self.rest = self.rest.trim_start();
        for word in ["the ", "a ", "process ", "thread ", "named "] {
            self.rest = self.rest.strip_prefix(word).unwrap_or(self.rest);
        }
        if self.rest.starts_with(['"', '\'']) {
            return self.quoted().map(|name| String::from_utf8_lossy(&name).into_owned());
        }
        let end = self
            .rest
            .find(|next: char| !is_name(next) && !matches!(next, '-' | '.' | '/'))
            .unwrap_or(self.rest.len());
        let name = self.rest.get(..end).filter(|name| !name.is_empty() && *name != "tree");
        let Some(name) = name.filter(|_| !self.rest.get(end..).is_some_and(|rest| rest.starts_with('=')))
        else {
            self.rest = before;
            return None;
        };
        self.rest = self.rest.get(end..).unwrap_or("");
        Some(name.to_owned())
    }

    /// Whether the words up to the next comma say that something is local.
    pub(super) fn says_local(&self) -> bool {
        let clause = self.rest.split([',', ';', '.']).next().unwrap_or("");
        clause.contains("local") && !clause.contains("not ") && !clause.contains("non-local")
    }

    /// Goes on behind the next semicolon, or to the end.
    pub(super) fn skip_clause(&mut self) {
        self.rest = self.rest.split_once([';', '\n']).map_or("", |(_, rest)| rest);
    }

    /// Whether this word comes next; it is taken.
    pub(super) fn skip_word(&mut self, word: &str) -> bool {
        match self.rest.trim_start().strip_prefix(word) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn quoted(&mut self) -> Option<Vec<u8>> {
        let mark = self.rest.chars().next()?;
        let inner = self.rest.get(1..)?;
        let mut escaped = false;
        let length = inner.find(|next| {
            let ends = next == mark && !escaped;
            escaped = next == '\\' && !escaped;
            ends
        })?;
        self.rest = inner.get(length + 1..)?;
        Some(unescaped(inner.get(..length)?))
    }
}

/// An address with its port, brackets around IPv6 or not; without a port it is 0.
fn end_of(text: &str) -> Option<End> {
    if let Ok(address) = text.trim_matches(['[', ']']).parse() {
        return Some(End { address, port: 0 });
    }
    let (address, port) = text.rsplit_once(':')?;
    Some(End { address: address.trim_matches(['[', ']']).parse().ok()?, port: port.parse().ok()? })
}

/// Pairs of hexadecimal digits, with or without blanks between.
fn hex(text: &str) -> Option<Vec<u8>> {
    let digits: Vec<u32> = text
        .trim()
        .trim_start_matches("0x")
        .chars()
        .filter(|next| !matches!(next, ' ' | ':' | ','))
        .map(|next| next.to_digit(16))
        .collect::<Option<_>>()?;
    let pairs = digits.chunks(2).map(|pair| match *pair {
        [high, low] => u8::try_from(high * 16 + low).ok(),
        _ => None,
    });
    if digits.is_empty() { None } else { pairs.collect() }
}

/// The bytes of a text whose escapes may mean any bytes; an escape that means nothing stays as it is.
fn unescaped(text: &str) -> Vec<u8> {
    rampart_rules::condition::quote::unescape(text, '"').unwrap_or_else(|_| text.as_bytes().to_vec())
}
