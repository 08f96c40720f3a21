//! Identities and the audit log, in a file and in a database that several collectors share.

use std::{thread, time::Duration};

use rampart_collector::{
    audit::{Broken, Chain, Note},
    store::{
        Place,
        identity::{Change, Expect, Kind},
    },
};

use crate::{server_or_skip, servers};

fn note(detail: &str) -> Note {
    Note::new("cli:root", "test", "object", detail)
}

fn put(expect: Expect, value: &str) -> [Change; 1] {
    [Change::put(Kind::User, "ann", expect, value.to_owned())]
}

fn verified(place: &Place) -> Result<u64, Broken> {
    let mut chain = Chain::default();
    let records = place.book().unwrap().records_after(0, 1000).unwrap();
    records.iter().try_for_each(|record| chain.take(record)).map(|()| chain.count)
}

/// What every book does.
fn all(place: &Place) {
    let mut book = place.book().unwrap();
    assert!(book.change(&put(Expect::Absent, "1"), &note("a"), 5).unwrap());
    assert!(!book.change(&put(Expect::Absent, "2"), &note("b"), 6).unwrap());
    assert!(book.change(&put(Expect::Revision(1), "3"), &note("c"), 7).unwrap());
    assert!(!book.change(&put(Expect::Revision(1), "4"), &note("d"), 8).unwrap());
    // One that does not hold takes the others with it.
    let mut both = put(Expect::Anything, "5").to_vec();
    both.push(Change::remove(Kind::Token, "none"));
    assert!(!book.change(&both, &note("e"), 9).unwrap());
    let item = book.get(Kind::User, "ann").unwrap().unwrap();
    assert_eq!((item.revision, item.value.as_str()), (2, "3"));
    assert!(book.get(Kind::Token, "ann").unwrap().is_none());
    let passing = Change::put(Kind::Certificate, "s", Expect::Absent, "1".to_owned()).until(100);
    assert!(book.change(&[passing], &note("f\0"), 10).unwrap());
    assert_eq!((book.prune(100).unwrap(), book.prune(101).unwrap()), (0, 1));
    assert!(book.change(&[Change::remove(Kind::User, "ann")], &note("g"), 11).unwrap());
    assert!(book.list(Kind::User).unwrap().is_empty());
    let records = book.records_after(0, 10).unwrap();
    let details: Vec<&str> =
        records.iter().map(|record| record.note.detail.trim_end_matches(['\0', '\u{fffd}'])).collect();
    assert_eq!(details, ["a", "c", "f", "g"]);
    let newest = book.records_before(Some(4), 2).unwrap();
    assert_eq!(newest.iter().map(|record| record.number).collect::<Vec<_>>(), [3, 2]);
    // The log of several writers is one chain, and one token is used once.
    let token = |value: &str| [Change::put(Kind::Token, "t", Expect::Absent, value.to_owned())];
    let used: usize = thread::scope(|scope| {
        let writers: Vec<_> = (0..3)
            .map(|writer| {
                scope.spawn(move || {
                    let mut book = place.book().unwrap();
                    let won = book.change(&token(&writer.to_string()), &note("use"), 12).unwrap();
                    for number in 0..20 {
                        book.change(&[], &note(&format!("{writer}-{number}")), number).unwrap();
                    }
                    usize::from(won)
                })
            })
            .collect();
        writers.into_iter().map(|writer| writer.join().unwrap()).sum()
    });
    assert_eq!(used, 1);
    assert_eq!(verified(place), Ok(65));
}

#[test]
fn a_file_keeps_identities() {
    let dir = tempfile::tempdir().unwrap();
    all(&Place::File(dir.path().join("db")));
}

#[test]
fn a_database_keeps_identities() {
    let server = server_or_skip!(servers::postgres(), "a_database_keeps_identities");
    all(&servers::place(&server.database(), Duration::from_secs(20)));
}
