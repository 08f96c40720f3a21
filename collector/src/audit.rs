//! The audit log: who changed what, when; each record holds the hash of the one before.
//!
//! Owns what a record is and what its hash covers. A record that is changed, left out, put in or moved does not fit its
//! neighbours any more, which [`Chain`] finds. What was cut off at the end only shows against a hash that was noted
//! elsewhere (`audit verify --head`). Must never touch a store; called by `store::identity` and `cli`.

use ring::digest::{Context, SHA256};

/// What every hash begins with; a record of another form gets another one.
const LABEL: &[u8] = b"rampart-audit-1";

/// A hash.
pub type Hash = [u8; 32];

/// What was done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Note {
    /// Who: `cli:root`, `user:ann`, `node:n1`.
    pub actor: String,
    /// What, such as `token.create`.
    pub action: String,
    /// To what.
    pub object: String,
    /// What else is worth knowing, for people.
    pub detail: String,
}

/// A note in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its number, from 1, without holes.
    pub number: u64,
    /// When, nanoseconds since the epoch.
    pub time_ns: u64,
    /// What.
    pub note: Note,
    /// Hash of the record before; zeros for the first.
    pub previous: Hash,
    /// Hash of all of this.
    pub hash: Hash,
}

/// Why a log cannot be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// A number is not there.
    #[error("record {0} is missing")]
    Missing(u64),
    /// It does not follow the one before.
    #[error("record {0} does not follow the record before it")]
    Detached(u64),
    /// It is not what was written.
    #[error("record {0} was changed")]
    Changed(u64),
    /// The log does not reach the hash that was noted, or has another one there.
    #[error("record {0} is not the one that was noted")]
    Other(u64),
}

/// Looks at records in order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Chain {
    /// Records so far.
    pub count: u64,
    /// Hash of the last.
    pub head: Hash,
}

impl Note {
    /// A note.
    pub fn new(
        actor: impl Into<String>,
        action: impl Into<String>,
        object: impl Into<String>,
        detail: impl Into<String>,
    ) -> Self {
        let (actor, action) = (actor.into(), action.into());
        Self { actor, action, object: object.into(), detail: detail.into() }
    }
}

impl Record {
    /// The record after these.
    pub fn after(chain: &Chain, time_ns: u64, note: Note) -> Self {
        let (number, previous) = (chain.count + 1, chain.head);
        let hash = digest(&previous, number, time_ns, &note);
        Self { number, time_ns, note, previous, hash }
    }
}

/// What the hash covers: everything, each text with its length before it.
fn digest(previous: &Hash, number: u64, time_ns: u64, note: &Note) -> Hash {
    let mut context = Context::new(&SHA256);
    context.update(LABEL);
    context.update(previous);
    context.update(&number.to_be_bytes());
    context.update(&time_ns.to_be_bytes());
    for text in [&note.actor, &note.action, &note.object, &note.detail] {
        context.update(&(text.len() as u64).to_be_bytes());
        context.update(text.as_bytes());
    }
    let mut hash = [0; 32];
    hash.copy_from_slice(context.finish().as_ref());
    hash
}

impl Chain {
    /// Takes the next record, or says what is wrong with it.
    pub fn take(&mut self, record: &Record) -> Result<(), Broken> {
        let number = self.count + 1;
        if record.number != number {
            return Err(Broken::Missing(number));
        }
        if record.previous != self.head {
            return Err(Broken::Detached(number));
        }
        if record.hash != digest(&record.previous, number, record.time_ns, &record.note) {
            return Err(Broken::Changed(number));
        }
        *self = Self { count: number, head: record.hash };
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(count: u64) -> Vec<Record> {
        let mut chain = Chain::default();
        let mut records = Vec::new();
        for number in 0..count {
            let record = Record::after(&chain, 1000 + number, Note::new("a", "b", "c", number.to_string()));
            chain.take(&record).unwrap();
            records.push(record);
        }
        records
    }

    fn verify(records: &[Record]) -> Result<Chain, Broken> {
        let mut chain = Chain::default();
        records.iter().try_for_each(|record| chain.take(record))?;
        Ok(chain)
    }

    #[test]
    fn whatever_is_changed_is_found() {
        let good = log(5);
        assert_eq!(verify(&good).unwrap().head, good[4].hash);
        let changes: [fn(&mut Record); 5] = [
            |record| record.note.actor.push('x'),
            |record| record.note.detail = "9".to_owned(),
            |record| record.time_ns += 1,
            |record| record.hash[3] ^= 1,
            // Letters moved from one text to the next.
            |record| (record.note.actor, record.note.action) = ("ab".to_owned(), String::new()),
        ];
        for change in changes {
            let mut bad = good.clone();
            change(&mut bad[2]);
            assert_eq!(verify(&bad), Err(Broken::Changed(3)));
        }
        let mut rewritten = good.clone();
        rewritten[2] = Record::after(
            &Chain { count: 2, head: good[1].hash },
            5,
            Note::new("someone", "else", "did", "it"),
        );
        assert_eq!(verify(&rewritten), Err(Broken::Detached(4)));
        let mut short = good.clone();
        short.remove(1);
        assert_eq!(verify(&short), Err(Broken::Missing(2)));
        let mut swapped = good;
        swapped.swap(0, 1);
        assert_eq!(verify(&swapped), Err(Broken::Missing(1)));
    }
}
