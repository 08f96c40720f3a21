//! A system call as a person writes it: `open("/etc/shadow", O_RDONLY) = 3`.
//!
//! Arguments stand in the order of the C function, or are named like the event's parameters
//! (`open(name="/etc/shadow")`). Behind `=` stands what the call returned: a number, the name of an error, or
//! both as `strace` prints them (`-1 ENOENT`). A call without result succeeded.

mod errno;
mod order;
mod read;

use std::{fmt, net::IpAddr, ops::Range};

use crate::catalog::{CREATES_FD, EventDef, EventId};

pub use read::parse;

/// A system call with what it was given and what it returned.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    /// Its event.
    pub event: EventId,
    /// What it was given, by parameter name. Calls that start programs have `filename`, `args` and `env` too.
    pub args: Vec<(&'static str, Given)>,
    /// What it returned; `None` for "success" without a number.
    pub result: Option<i64>,
    /// Name of the error it returned, where it is not the one of the number.
    pub error: Option<&'static str>,
}

/// An argument.
#[derive(Clone, Debug, PartialEq)]
pub enum Given {
    /// A text in quotes.
    Text(Vec<u8>),
    /// Texts in brackets.
    Texts(Vec<Vec<u8>>),
    /// A number.
    Number(i64),
    /// A word, or several joined by `|`: names of flags.
    Word(String),
    /// One end of a connection.
    End(End),
    /// Both ends of a connection, client first.
    Tuple(End, End),
}

/// An address with a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    /// The address.
    pub address: IpAddr,
    /// The port.
    pub port: u16,
}

/// Why a text is no call.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct CallError {
    /// What is wrong; lowercase, no final period.
    pub message: String,
    /// Bytes of the text it is about.
    pub range: Range<usize>,
    /// What to do about it.
    pub help: Option<String>,
}

impl Call {
    /// A call without arguments that succeeded.
    pub fn new(event: EventId) -> Self {
        Self { event, args: Vec::new(), result: None, error: None }
    }

    /// The argument of that name.
    pub fn arg(&self, name: &str) -> Option<&Given> {
        self.args.iter().find(|(known, _)| *known == name).map(|(_, given)| given)
    }

    /// The text argument of that name.
    pub fn text(&self, name: &str) -> Option<&[u8]> {
        match self.arg(name)? {
            Given::Text(text) => Some(text),
            Given::Word(word) => Some(word.as_bytes()),
            _ => None,
        }
    }

    /// The number argument of that name.
    pub fn number(&self, name: &str) -> Option<i64> {
        match self.arg(name)? {
            Given::Number(number) => Some(*number),
            _ => None,
        }
    }

    /// Name of the error it ended with.
    pub fn failure(&self) -> Option<&'static str> {
        self.error.or_else(|| errno::name(self.result?.checked_neg()?))
    }

    /// Whether it did what it was asked to.
    pub fn succeeded(&self) -> bool {
        self.error.is_none() && self.result.is_none_or(|result| result >= 0)
    }

    /// The error of that name and what a call that ends with it returns.
    pub fn failed_with(name: &str) -> Option<(&'static str, i64)> {
        let number = errno::number(name)?;
        Some((errno::name(number)?, -number))
    }

    /// Name of the parameter that holds what the call returned, if it has one.
    pub(super) fn result_param(def: &EventDef) -> Option<&'static str> {
        let first = def.params.first()?.name;
        (first == "res" || (first == "fd" && def.flags & CREATES_FD != 0)).then_some(first)
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.address, self.port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::event_ids as ev;

    #[test]
    fn calls_are_read_as_strace_prints_them() {
        let call = parse("openat(AT_FDCWD, \"/etc/\\x41\", O_RDWR|O_CREAT, 0644) = -1 ENOENT").unwrap();
        assert_eq!((call.event, call.result, call.failure()), (ev::OPENAT, Some(-2), Some("ENOENT")));
        assert_eq!(call.text("name"), Some(b"/etc/A".as_slice()));
        assert_eq!(call.arg("flags"), Some(&Given::Word("O_RDWR|O_CREAT".to_owned())));
        assert_eq!(call.number("mode"), Some(0o644));
        let call = parse("execve(\"/bin/sh\", [\"sh\", \"-c\", \"id\"])").unwrap();
        assert!(call.succeeded());
        assert_eq!(call.arg("args"), Some(&Given::Texts(["sh", "-c", "id"].map(Vec::from).to_vec())));
        let call = parse("connect(3, 192.0.2.7:443) = EINPROGRESS").unwrap();
        assert_eq!((call.number("fd"), call.result), (Some(3), Some(-115)));
        let end = End { address: "192.0.2.7".parse().unwrap(), port: 443 };
        assert_eq!(call.arg("addr"), Some(&Given::End(end)));
        let call = parse("accept(addr=[::1]:4000->[::1]:22) = 5").unwrap();
        assert!(matches!(
            call.arg("tuple"),
            Some(Given::Tuple(End { port: 4000, .. }, End { port: 22, .. }))
        ));
    }

    #[test]
    fn faults_have_a_place_and_a_fix() {
        for (text, place, message) in [
            ("opn(\"/x\")", "opn", "unknown event type `opn`"),
            ("open", "open", "a call is written `name(argument, …)`"),
            ("open(\"/x\"", "(", "this parenthesis is not closed"),
            ("open(\"/x)", "\"/x)", "this text is not closed"),
            ("open(\"/x\", O_RDONLY, 0, 7)", "7", "`open` takes 3 arguments, this is one more"),
            ("open(nme=\"/x\")", "nme", "`open` has no argument `nme`"),
            ("open(\"/x\", name=\"/y\")", "name", "argument `name` is given twice"),
            ("open(\"/x\") = ENOSUCH", "ENOSUCH", "unknown error `ENOSUCH`"),
            ("open(\"/x\") 3", "3", "expected `=` and what the call returned"),
            ("open(\"/x\", 577)", "577", "flags are given by name"),
            ("connect(3, 1.2.3:4)", "1.2.3:4", "`1.2.3:4` is not an address"),
        ] {
            let error = parse(text).unwrap_err();
            assert_eq!(
                (text.get(error.range.clone()), error.message.as_str()),
                (Some(place), message),
                "{text}"
            );
        }
    }
}
