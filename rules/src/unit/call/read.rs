//! Text of a call to its parts.

use std::ops::Range;

use super::{Call, CallError, End, Given, errno, order};
use crate::{
    catalog::{self, EventDef, ParamType},
    condition::quote,
    diagnostic::{Diagnostic, code},
};

/// Reads a whole call.
pub fn parse(text: &str) -> Result<Call, CallError> {
    let mut reader = Reader { text, at: 0 };
    reader.blank();
    let start = reader.at;
    let name = reader.word(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    let name_range = start..reader.at;
    reader.blank();
    let open = reader.at;
    if name.is_empty() || !reader.eat("(") {
        let whole = start..text.trim_end().len().max(start);
        return Err(fault(whole, "a call is written `name(argument, …)`"));
    }
    let (event, def) =
        catalog::event(name).and_then(|event| Some((event, event.def()?))).ok_or_else(|| {
            unknown("event type", name, name_range, catalog::EVENTS.iter().map(|event| event.name))
        })?;
    let mut call = Call::new(event);
    reader.arguments(def, open, &mut call)?;
    reader.blank();
    if reader.at < text.len() {
        if !reader.eat("=") {
            return Err(fault(reader.at..text.trim_end().len(), "expected `=` and what the call returned"));
        }
        reader.result(&mut call)?;
    }
    Ok(call)
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Reader<'a> {
    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or("")
    }

    fn blank(&mut self) {
        self.word(|byte| byte.is_ascii_whitespace());
    }

    fn eat(&mut self, text: &str) -> bool {
        let found = self.rest().starts_with(text);
        if found {
            self.at += text.len();
        }
        found
    }

    fn word(&mut self, fits: impl Fn(u8) -> bool) -> &'a str {
        let rest = self.rest();
        let length = rest.bytes().take_while(|&byte| fits(byte)).count();
        self.at += length;
        rest.get(..length).unwrap_or("")
    }

    /// Everything up to and with the closing parenthesis.
    fn arguments(&mut self, def: &EventDef, open: usize, call: &mut Call) -> Result<(), CallError> {
        let order = order::of(def);
        let mut places = order.iter();
        self.blank();
        if self.eat(")") {
            return Ok(());
        }
        loop {
            self.blank();
            let start = self.at;
            let key = self.key();
            let value = self.at;
            let given = self.value(open)?;
            let name = match key {
                Some(key) => order::named(def, key.0).ok_or_else(|| {
                    let message = format!("`{}` has no argument `{}`", def.name, key.0);
                    let mut error = fault(key.1.clone(), &message);
                    error.help = Some(format!("it has {}", listed(&order)));
                    error
                })?,
                None => places.next().copied().ok_or_else(|| {
                    let message = format!("`{}` takes {} arguments, this is one more", def.name, order.len());
                    let mut error = fault(start..self.at, &message);
                    error.help = Some(format!("in their order: {}", listed(&order)));
                    error
                })?,
            };
            if call.arg(name).is_some() {
                return Err(fault(start..value.max(start + 1), &format!("argument `{name}` is given twice"))
                    .trimmed(self.text));
            }
            check(def, name, &given, value..self.at)?;
            call.args.push((name, given));
            self.blank();
            if self.eat(")") {
                return Ok(());
            }
            if !self.eat(",") {
                return Err(self.unclosed(open));
            }
        }
    }

    /// `name=` in front of a value.
    fn key(&mut self) -> Option<(&'a str, Range<usize>)> {
        let before = self.at;
        let name = self.word(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        let range = before..self.at;
        self.blank();
        if !name.is_empty() && self.eat("=") {
            self.blank();
            return Some((name, range));
        }
        self.at = before;
        None
    }

    fn value(&mut self, open: usize) -> Result<Given, CallError> {
        match self.rest().as_bytes().first() {
            Some(b'"' | b'\'') => self.quoted().map(Given::Text),
            Some(b'[') if self.is_list() => self.list(open),
            _ => {
                let start = self.at;
                let word = self.word(|byte| !matches!(byte, b',' | b')') && !byte.is_ascii_whitespace());
                if word.is_empty() {
                    return Err(self.unclosed(open));
                }
                plain(word, start..self.at)
            }
        }
    }

    /// Whether a bracket opens a list of texts rather than an IPv6 address.
    fn is_list(&self) -> bool {
        let inside = self.rest().get(1..).unwrap_or("").trim_start();
        inside.starts_with(['"', '\'', ']'])
    }

    fn list(&mut self, open: usize) -> Result<Given, CallError> {
        self.eat("[");
        let mut texts = Vec::new();
        loop {
            self.blank();
            if self.eat("]") {
                return Ok(Given::Texts(texts));
            }
            texts.push(self.quoted()?);
            self.blank();
            if !self.eat(",") && !self.rest().starts_with(']') {
                return Err(self.unclosed(open));
            }
        }
    }

    fn quoted(&mut self) -> Result<Vec<u8>, CallError> {
        let start = self.at;
        let rest = self.rest();
        let Some(mark) = rest.chars().next().filter(|mark| matches!(mark, '"' | '\'')) else {
            return Err(fault(
                start..start + rest.chars().next().map_or(0, char::len_utf8),
                "expected a text in quotes",
            ));
        };
        let mut escaped = false;
        let inner = rest.get(1..).unwrap_or("");
        let length = inner.find(|next| {
            let ends = next == mark && !escaped;
            escaped = next == '\\' && !escaped;
            ends
        });
        let Some(length) = length else {
            return Err(fault(start..self.text.len(), "this text is not closed"));
        };
        self.at = start + length + 2;
        quote::unescape(inner.get(..length).unwrap_or(""), mark)
            .map_err(|_| fault(start..self.at, "this text has an escape that means nothing"))
    }

    fn unclosed(&self, open: usize) -> CallError {
        if self.at >= self.text.trim_end().len() {
            return fault(open..open + 1, "this parenthesis is not closed");
        }
        fault(
            self.at..self.at + self.rest().chars().next().map_or(0, char::len_utf8),
            "expected a `,` or a `)`",
        )
    }

    fn result(&mut self, call: &mut Call) -> Result<(), CallError> {
        self.blank();
        let start = self.at;
        let first = self.word(|byte| !byte.is_ascii_whitespace());
        self.blank();
        let (name, range) = match first.parse() {
            Ok(number) => {
                call.result = Some(number);
                let start = self.at;
                (self.word(|byte| byte.is_ascii_alphanumeric() || byte == b'_'), start..self.at)
            }
            Err(_) => (first, start..start + first.len()),
        };
        if name.is_empty() {
            if call.result.is_none() {
                return Err(fault(start..self.text.len(), "expected what the call returned"));
            }
            return Ok(());
        }
        let (name, number) =
            Call::failed_with(name).ok_or_else(|| unknown("error", name, range, errno::names()))?;
        // `-1 ENOENT` is how the C library shows the number of the error.
        if call.result.is_none_or(|result| result == -1) {
            call.result = Some(number);
        }
        call.error = Some(name);
        Ok(())
    }
}

/// A value without quotes.
fn plain(word: &str, range: Range<usize>) -> Result<Given, CallError> {
    if let Some((client, server)) = word.split_once("->") {
        return match (end(client), end(server)) {
            (Some(client), Some(server)) => Ok(Given::Tuple(client, server)),
            _ => Err(no_address(word, range)),
        };
    }
    if let Some(number) = number(word) {
        return Ok(Given::Number(number));
    }
    if let Some(end) = end(word) {
        return Ok(Given::End(end));
    }
    if word.contains(':') {
        return Err(no_address(word, range));
    }
    Ok(Given::Word(word.to_owned()))
}

fn no_address(word: &str, range: Range<usize>) -> CallError {
    let mut error = fault(range, &format!("`{word}` is not an address"));
    error.help = Some("write `192.0.2.7:443`, `[2001:db8::7]:443` or `CLIENT->SERVER`".to_owned());
    error
}

/// Decimal, `0x` hexadecimal or, with a leading zero, octal.
fn number(word: &str) -> Option<i64> {
    let (sign, digits) = word.strip_prefix('-').map_or((1, word), |digits| (-1, digits));
    let value = if let Some(hex) = digits.strip_prefix("0x") {
        i64::from_str_radix(hex, 16)
    } else if digits.len() > 1 && digits.starts_with('0') {
        i64::from_str_radix(digits, 8)
    } else {
        digits.parse()
    };
    value.ok().filter(|_| digits.starts_with(|digit: char| digit.is_ascii_digit())).map(|value| sign * value)
}

/// `ADDRESS:PORT`, an IPv6 address in brackets or not.
pub(super) fn end(text: &str) -> Option<End> {
    let (address, port) = text.rsplit_once(':')?;
    let bare = address.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(address);
    Some(End { address: bare.parse().ok()?, port: port.parse().ok()? })
}

/// Whether a value can be what a parameter holds.
fn check(def: &EventDef, name: &str, given: &Given, range: Range<usize>) -> Result<(), CallError> {
    let ty = def.params.iter().find(|param| param.name == name).map(|param| param.ty);
    let wrong = |message: &str, help: &str| {
        let mut error = fault(range, message);
        error.help = Some(help.to_owned());
        Err(error)
    };
    match (ty, given) {
        (Some(ParamType::Flags(_) | ParamType::EnumFlags(_)), Given::Number(number)) if *number != 0 => {
            wrong("flags are given by name", "such as `O_RDWR|O_CREAT`; names are what rules compare")
        }
        (Some(ParamType::Path | ParamType::RelPath), Given::Number(_) | Given::Word(_) | Given::End(_)) => {
            wrong("a path is given in quotes", "such as `\"/etc/hosts\"`")
        }
        (Some(ParamType::Fd), Given::Text(_)) => wrong(
            "a descriptor is given by its number",
            "what it is can be given by `fd.name` beside the call",
        ),
        _ => Ok(()),
    }
}

fn listed(names: &[&str]) -> String {
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

fn unknown(
    what: &str,
    name: &str,
    range: Range<usize>,
    known: impl Iterator<Item = &'static str>,
) -> CallError {
    let mut error = fault(range, &format!("unknown {what} `{name}`"));
    error.help = Diagnostic::new(code::SYNTAX, "").did_you_mean(name, known).help;
    error
}

fn fault(range: Range<usize>, message: &str) -> CallError {
    CallError { message: message.to_owned(), range, help: None }
}

impl CallError {
    /// Without the `=` and the blanks behind a name.
    fn trimmed(mut self, text: &str) -> Self {
        let shown = text.get(self.range.clone()).unwrap_or("");
        self.range.end = self.range.start + shown.trim_end_matches(['=', ' ']).len();
        self
    }
}
