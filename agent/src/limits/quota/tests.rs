use rampart_common::limit::abi::ENTRY_SOURCE;

use super::*;
use crate::config::{Span, trading::Session};

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn day(amount: u64, hour: i8, minute: i8) -> Quota {
    Quota { amount, period: Period::Day, at: civil::Time::new(hour, minute, 0, 0).unwrap() }
}

fn quotas(quota: Quota) -> BTreeMap<String, Quota> {
    BTreeMap::from([("web".to_owned(), quota)])
}

fn key(last: u8) -> EntryKey {
    let address = Address::v4(u32::from_be_bytes([192, 0, 2, last])).words();
    EntryKey { address, number: 2, kind: ENTRY_SOURCE, bits: 128 }
}

fn used(last: u8, used: u64) -> (EntryKey, Entry, &'static str) {
    (key(last), Entry { used, ..Entry::default() }, "web")
}

fn nobody() -> BTreeSet<String> {
    BTreeSet::new()
}

#[test]
fn periods_begin_in_their_time_zone() {
    let zone = TimeZone::get("America/New_York").unwrap();
    let window = day(1, 9, 30).window(&zone, at("2026-03-10T13:29:59Z")).unwrap();
    assert_eq!(window.start, at("2026-03-09T13:30:00Z").as_second());
    assert_eq!(window.end, at("2026-03-10T13:30:00Z").as_second());
    let next = day(1, 9, 30).window(&zone, at("2026-03-10T13:30:00Z")).unwrap();
    assert_eq!(next.start, window.end);
    // The day on which the clocks go forward has 23 hours.
    let short = day(1, 0, 0).window(&zone, at("2026-03-08T12:00:00Z")).unwrap();
    assert_eq!(short.end - short.start, 23 * 3600);
    // One whose beginning the clocks leave out begins after the gap.
    let gap = day(1, 2, 30).window(&zone, at("2026-03-08T12:00:00Z")).unwrap();
    assert_eq!(gap.start, at("2026-03-08T07:30:00Z").as_second());
    let month = Quota { period: Period::Month, ..day(1, 0, 0) };
    let window = month.window(&zone, at("2026-03-01T03:00:00Z")).unwrap();
    assert_eq!(window.start, at("2026-02-01T05:00:00Z").as_second());
    assert_eq!(window.end, at("2026-03-01T05:00:00Z").as_second());
}

#[test]
fn a_session_is_from_one_opening_to_the_next_over_nights_and_holidays() {
    let session = |hours: std::ops::Range<u16>| Span {
        // Monday to Friday.
        days: 0b001_1111,
        begin: hours.start * 60,
        end: hours.end * 60,
    };
    let calendar = Calendar {
        zone: TimeZone::get("Europe/Berlin").unwrap(),
        sessions: vec![(Session::Continuous, session(9..17)), (Session::PreOpen, session(8..9))],
        half_day_sessions: Vec::new(),
        half_days: Vec::new(),
        holidays: vec![civil::date(2026, 4, 3), civil::date(2026, 4, 6)],
    };
    let never = Calendar { sessions: Vec::new(), ..calendar.clone() };
    let days = TradingDays { name: "xetra".to_owned(), calendar };
    let quota = Quota { period: Period::Session(Arc::new(days)), ..day(1, 0, 0) };
    let window = |text| quota.window(&TimeZone::UTC, at(text)).unwrap();
    // From the opening before Easter until that after it; the clocks went forward the Sunday before.
    let easter = window("2026-04-05T12:00:00Z");
    assert_eq!(easter.start, at("2026-04-02T06:00:00Z").as_second());
    assert_eq!(easter.end, at("2026-04-07T06:00:00Z").as_second());
    assert_eq!(window("2026-04-07T05:59:59Z"), easter);
    assert_eq!(window("2026-04-07T06:00:00Z").start, easter.end);
    assert_eq!(window("2026-03-27T20:00:00Z").start, at("2026-03-27T07:00:00Z").as_second());
    let never = TradingDays { name: "never".to_owned(), calendar: never };
    let never = Quota { period: Period::Session(Arc::new(never)), ..day(1, 0, 0) };
    assert_eq!(never.window(&TimeZone::UTC, at("2026-04-05T12:00:00Z")), None);
}

#[test]
fn the_book_goes_on_over_restarts_and_evictions_and_begins_anew_with_the_period() {
    let (zone, quotas) = (TimeZone::UTC, quotas(day(100, 0, 0)));
    let net: IpNet = "192.0.2.1/32".parse().unwrap();
    let mut book = Book::default();
    let anew = book.turn(&quotas, &zone, at("2026-05-01T10:00:00Z"));
    // Who was known before there was a book starts with nothing.
    book.look([used(1, 70)], &anew);
    assert_eq!(book.used("web", net), 0);
    assert!(book.turn(&quotas, &zone, at("2026-05-01T10:00:05Z")).is_empty());
    book.look([used(1, 110), used(2, 5)], &nobody());
    assert_eq!(book.used("web", net), 40);
    // Kept, read again by the next agent; the kernel went on counting.
    let bytes = rmp_serde::to_vec(&book).unwrap();
    let mut book: Book = rmp_serde::from_slice(&bytes).unwrap();
    assert!(book.turn(&quotas, &zone, at("2026-05-01T10:00:35Z")).is_empty());
    book.look([used(1, 150)], &nobody());
    assert_eq!(book.used("web", net), 80);
    assert!(book.closed(&quotas).is_empty());
    // Evicted, and known again.
    book.look([used(1, 20), used(1, 20)], &nobody());
    assert_eq!(book.used("web", net), 100);
    let end = at("2026-05-02T00:00:00Z").as_second();
    assert_eq!(book.closed(&quotas), [(("web".to_owned(), net), end)]);
    assert_eq!(book.largest("web", 1), [("192.0.2.1/32".to_owned(), 100)]);
    // The next day.
    assert!(book.turn(&quotas, &zone, at("2026-05-02T00:00:00Z")).is_empty());
    assert!(book.closed(&quotas).is_empty());
    book.look([used(1, 25)], &nobody());
    assert_eq!(book.used("web", net), 5, "what was counted before is known");
    // A policy without a quota has no book.
    book.turn(&BTreeMap::new(), &zone, at("2026-05-02T00:00:05Z"));
    assert_eq!(book.window("web"), None);
    assert_eq!(book.used("web", net), 0);
}

#[test]
fn the_book_is_bounded_and_keeps_who_used_most() {
    let mut used: BTreeMap<String, u64> =
        (0..=SOURCES_MAX as u64).map(|one| (one.to_string(), one % 7)).collect();
    used.insert("much".to_owned(), 1_000_000);
    shorten(&mut used);
    assert!(used.len() < SOURCES_MAX && used.contains_key("much"));
}

#[test]
fn keys_are_nets_again() {
    assert_eq!(net_of(&key(9)).to_string(), "192.0.2.9/32");
    assert_eq!(net_of(&EntryKey { bits: 120, ..key(0) }).to_string(), "192.0.2.0/24");
    let six = Address { hi: 0x2001_0db8_0000_0001, lo: 0 }.words();
    assert_eq!(net_of(&EntryKey { address: six, bits: 64, ..key(0) }).to_string(), "2001:db8:0:1::/64");
}
