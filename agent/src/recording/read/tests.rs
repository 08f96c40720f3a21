use std::{
    collections::BTreeMap,
    sync::{Arc, LazyLock},
};

use proptest::prelude::*;
use rampart_common::{
    counter::FamilyCounters,
    event::{AttrTag, FAMILY_COUNT, Family},
};

use super::{super::write::Writer, *};
use crate::{
    event::build::RecordBuilder,
    state::{
        container::{Metadata, News, Pod},
        digest::FileVersion,
        procfs::{Found, ProcFs},
        told::Told,
        users::User,
    },
};

static OWN: LazyLock<Found> =
    LazyLock::new(|| ProcFs::default().read(std::process::id()).expect("this process"));

fn facts() -> Facts {
    Facts {
        hostname: "n".into(),
        id_seed: 7,
        wanted: vec![2, 257],
        policy_digest: Some("d".into()),
        ..Facts::default()
    }
}

fn record(seq: u64) -> Vec<u8> {
    RecordBuilder::syscall(257, Family::Open, 3, &[0, 0, 2])
        .seq(0, seq)
        .path(AttrTag::RealPath, "/etc/shadow")
        .build()
}

/// One item of each kind.
fn every(record: &[u8]) -> Vec<Item<'_>> {
    let mut counters = [FamilyCounters::default(); FAMILY_COUNT];
    counters[1] = FamilyCounters { seen: 5, filtered: 1, emitted: 2, ring_full: 1, error: 1, counted: 0 };
    let user = User { name: (*b"web").into(), home: (*b"/srv").into(), shell: (*b"/bin/\xff").into() };
    let metadata = Metadata {
        name: Some("web".into()),
        labels: BTreeMap::from([("a".into(), "b".into())]),
        privileged: Some(true),
        ..Metadata::default()
    };
    vec![
        Item::Told(Told::Users(vec![(33, user)])),
        Item::Told(Told::Groups(vec![(50, (*b"staff").into())])),
        Item::Told(Told::Process(Box::new(OWN.clone()))),
        Item::Start(5),
        Item::Clock { offset_ns: -9, utc_offset_secs: 7200 },
        Item::Told(Told::Cgroup { pid: 7, file: b"0::/a\xff\n".to_vec() }),
        Item::Told(Told::Task { namespace: "default".into(), name: "web".into() }),
        Item::Record(record),
        Item::Answer(6, b"\x12\x34"),
        Item::News(6, News::Container("605439acbd4f".into(), Some(Box::new(metadata)))),
        Item::News(7, News::Digest(FileVersion { dev: 1, ino: 2, ctime_ns: 3, mtime_ns: 4 }, Some([5; 32]))),
        Item::News(7, News::Digest(FileVersion { dev: 1, ino: 2, ctime_ns: 3, mtime_ns: 5 }, None)),
        Item::News(7, News::Pods(vec![Arc::new(Pod { uid: "u".into(), ..Pod::default() })])),
        Item::Counters(8, Box::new(counters)),
        Item::Time(9),
        Item::End(10),
    ]
}

/// A recording of these items in frames of so many.
fn written(items: &[Item<'_>], frame: usize) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new(), &facts()).expect("written");
    for chunk in items.chunks(frame.max(1)) {
        for item in chunk {
            writer.item(item).expect("written");
        }
        writer.flush().expect("written");
    }
    writer.finish().expect("written")
}

/// Every item in the form of its bytes, and the fault at the end.
fn read(bytes: &[u8]) -> (Vec<Vec<u8>>, Option<ReadError>) {
    let mut found = Vec::new();
    let mut reader = match Reader::new(bytes) {
        Ok(reader) => reader,
        Err(error) => return (found, Some(error)),
    };
    assert_eq!(reader.facts(), &facts());
    let mut take = |item: Item<'_>| found.push(encoded(&item));
    loop {
        match reader.next(&mut take) {
            Ok(true) => {}
            Ok(false) => return (found, None),
            Err(error) => return (found, Some(error)),
        }
    }
}

fn encoded(item: &Item<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    item.append(&mut bytes).expect("written");
    bytes
}

#[test]
fn every_item_comes_back() {
    let record = record(1);
    let items = every(&record);
    let mut payload = Vec::new();
    for item in &items {
        item.append(&mut payload).expect("written");
    }
    let found: Vec<Item<'_>> = Items::new(&payload).map(|item| item.expect("an item")).collect();
    assert_eq!(found, items);
}

#[test]
fn a_changed_byte_anywhere_is_found_and_nothing_wrong_is_handed_out() {
    let record = record(1);
    let items = every(&record);
    let expected: Vec<Vec<u8>> = items.iter().map(encoded).collect();
    let whole = written(&items, 4);
    assert!(read(&whole).1.is_none());
    for at in 0..whole.len() {
        for change in [1, 0x80, 0xff] {
            let mut bytes = whole.clone();
            bytes[at] ^= change;
            let (found, error) = read(&bytes);
            assert!(error.is_some(), "byte {at} was changed by {change} and nobody noticed");
            assert!(expected.starts_with(&found), "byte {at} changed by {change} changed an item");
        }
    }
}

#[test]
fn a_file_cut_anywhere_gives_what_was_whole_and_says_where_it_ends() {
    let record = record(1);
    let items = every(&record);
    let expected: Vec<Vec<u8>> = items.iter().map(encoded).collect();
    let whole = written(&items, 4);
    let mut longest = 0;
    for end in 0..whole.len() {
        let (found, error) = read(&whole[..end]);
        assert!(expected.starts_with(&found), "cut at {end}");
        assert!(found.len() >= longest, "more of the file gave less");
        longest = found.len();
        match error.expect("a cut file has no end mark") {
            ReadError::Alien => assert_eq!(end, 0),
            ReadError::Truncated { offset } => assert!(offset <= end as u64),
            other => panic!("cut at {end}: {other}"),
        }
    }
    assert_eq!(longest, items.len(), "only the end mark was missing");
}

#[test]
fn what_follows_the_end_is_refused() {
    let mut bytes = written(&[Item::Time(1)], 1);
    let end = bytes.len() as u64;
    bytes.push(0);
    assert!(matches!(read(&bytes).1, Some(ReadError::Truncated { offset }) if offset == end));
}

#[test]
fn unknown_items_are_skipped_only_when_they_may_be() {
    let unknown = |kind: u8| {
        let mut payload = encoded(&Item::Time(1));
        payload.extend_from_slice(&[kind, 2, 0, 0, 0, 9, 9]);
        payload.extend(encoded(&Item::Time(2)));
        Items::new(&payload).map(|item| item.map(|item| encoded(&item))).collect::<Vec<_>>()
    };
    assert_eq!(unknown(200), [Ok(encoded(&Item::Time(1))), Ok(encoded(&Item::Time(2)))]);
    assert_eq!(unknown(100), [Ok(encoded(&Item::Time(1))), Err(Damage::Kind(100))]);
}

#[test]
fn unknown_facts_are_skipped_and_missing_ones_have_defaults() {
    let json = serde_json::json!({ "hostname": "n", "of_the_future": [1, { "a": 2 }] });
    let bytes = rmp_serde::to_vec_named(&json).expect("written");
    let read: Facts = rmp_serde::from_slice(&bytes).expect("read");
    assert_eq!(read, Facts { hostname: "n".into(), ..Facts::default() });
}

#[test]
fn values_that_cannot_be_are_refused() {
    let first = |item: &Item<'_>| Items::new(&encoded(item)).next().map(|item| item.map(|_| ()));
    let far = RecordBuilder::syscall(257, Family::Open, 3, &[]).at(u64::MAX).build();
    let mut counters = [FamilyCounters::default(); FAMILY_COUNT];
    counters[2].seen = u64::MAX;
    for item in [Item::Record(&far), Item::Time(u64::MAX), Item::Counters(1, Box::new(counters))] {
        assert_eq!(first(&item), Some(Err(Damage::Contents)), "{item:?}");
    }
    assert_eq!(first(&Item::Record(b"")), Some(Ok(())), "an undecodable record is the detector's to count");
}

proptest! {
    #[test]
    fn what_is_written_is_read(
        records in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..24), 0..40),
        frame in 1usize..10,
    ) {
        let items: Vec<Item<'_>> = records.iter().map(|bytes| Item::Record(bytes)).collect();
        let (found, error) = read(&written(&items, frame));
        prop_assert!(error.is_none());
        prop_assert_eq!(found, items.iter().map(encoded).collect::<Vec<_>>());
    }

    #[test]
    fn any_payload_is_survived(payload in prop::collection::vec(any::<u8>(), 0..200)) {
        for item in Items::new(&payload) {
            let _ = item;
        }
    }
}
