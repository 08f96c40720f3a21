//! `audit`.

use std::io::Write;

use clap::{Args, Subcommand};

use super::{Fault, Outcome, book};
use crate::{
    audit::{Broken, Chain},
    config::Config,
    identity::{hex, unhex},
    notify::channel::rfc3339,
    store::identity::Book,
};

/// Records read at a time.
const PAGE: usize = 1000;

/// `audit …`
#[derive(Debug, Subcommand)]
pub(super) enum Audit {
    /// List records, the oldest first
    List(List),
    /// Check that no record was changed, left out or put in
    Verify(Verify),
}

/// `audit list`
#[derive(Args, Debug)]
pub(super) struct List {
    /// Only those after this number
    #[arg(long, default_value_t = 0)]
    after: u64,
}

/// `audit verify`
#[derive(Args, Debug)]
pub(super) struct Verify {
    /// A record that `verify` showed before, `NUMBER:HASH`: the log must still hold it
    #[arg(long, value_parser = head)]
    head: Option<Chain>,
}

fn head(text: &str) -> Result<Chain, String> {
    let parse = || {
        let (number, hash) = text.split_once(':')?;
        Some(Chain { count: number.parse().ok()?, head: unhex(hash)?.try_into().ok()? })
    };
    parse().ok_or_else(|| format!("`{text}` is not written NUMBER:HASH"))
}

impl Audit {
    pub(super) fn run(self, config: &Config, out: &mut impl Write) -> Result<Outcome, Fault> {
        let mut book = book(config)?;
        match self {
            Self::List(List { mut after }) => loop {
                let records = book.records_after(after, PAGE)?;
                for record in &records {
                    let (note, time) = (&record.note, rfc3339(record.time_ns));
                    let (actor, action, object) = (&note.actor, &note.action, &note.object);
                    writeln!(out, "{}\t{time}\t{actor}\t{action}\t{object}\t{}", record.number, note.detail)?;
                }
                match records.last() {
                    Some(last) => after = last.number,
                    None => return Ok(Outcome::Clean),
                }
            },
            Self::Verify(Verify { head }) => match verify(&mut *book, head)? {
                Ok(chain) => {
                    writeln!(
                        out,
                        "{} records, the last is {}:{}",
                        chain.count,
                        chain.count,
                        hex(&chain.head)
                    )?;
                    Ok(Outcome::Clean)
                }
                Err(broken) => {
                    writeln!(out, "{broken}")?;
                    Ok(Outcome::Findings)
                }
            },
        }
    }
}

/// Goes through the whole log.
fn verify(book: &mut dyn Book, noted: Option<Chain>) -> Result<Result<Chain, Broken>, Fault> {
    let mut chain = Chain::default();
    loop {
        let records = book.records_after(chain.count, PAGE)?;
        for record in &records {
            if let Err(broken) = chain.take(record) {
                return Ok(Err(broken));
            }
            if let Some(noted) = noted.filter(|noted| noted.count == chain.count && noted.head != chain.head)
            {
                return Ok(Err(Broken::Other(noted.count)));
            }
        }
        if records.is_empty() {
            break;
        }
    }
    Ok(match noted {
        Some(noted) if noted.count > chain.count => Err(Broken::Other(noted.count)),
        _ => Ok(chain),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{audit::Note, store::sqlite};

    #[test]
    fn a_log_that_was_cut_off_shows_against_a_noted_head() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("db");
        let mut book = sqlite::identity::book(&path).unwrap();
        for number in 0..5 {
            book.change(&[], &Note::new("a", "b", "c", number.to_string()), number).unwrap();
        }
        let whole = verify(&mut book, None).unwrap().unwrap();
        assert_eq!(verify(&mut book, Some(whole)).unwrap(), Ok(whole));
        let text = format!("{}:{}", whole.count, hex(&whole.head));
        assert_eq!(head(&text), Ok(whole));
        assert!(head("5").is_err() && head("5:zz").is_err());
        let later = Chain { count: 6, head: [0; 32] };
        assert_eq!(verify(&mut book, Some(later)).unwrap(), Err(Broken::Other(6)));
        let other = Chain { count: 3, head: [0; 32] };
        assert_eq!(verify(&mut book, Some(other)).unwrap(), Err(Broken::Other(3)));
    }
}
