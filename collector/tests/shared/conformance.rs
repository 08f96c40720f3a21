//! What every store does, asked of each.

use std::{path::Path, sync::Arc, time::Duration};

use rampart_collector::{
    alert::{Alert, Filter, Kind, Kinds, Needle, Priority, Stored},
    store::{Batch, Place, Reader, Retention, Told, Writer},
};

use crate::{alert, nobody, server_or_skip, servers};

/// Time that things are held.
const HELD_NS: u64 = 20_000_000_000;

/// A new place for a store, again and again.
type Make<'a> = &'a dyn Fn() -> Place;

fn all(make: Make<'_>) {
    reads_by_filter_and_page(make);
    finds_texts_and_kinds(make);
    stores_once_and_counts_holes(make);
    tells_tries_again_and_gives_up(make);
    claims_what_is_still_to_be_told(make);
    removes_by_age_and_size(make);
    takes_any_text(make);
}

#[test]
fn a_file_is_a_store() {
    let dir = tempfile::tempdir().unwrap();
    let count = std::cell::Cell::new(0);
    let file = |folder: &Path| {
        count.set(count.get() + 1);
        Place::File(folder.join(format!("{}.db", count.get())))
    };
    all(&|| file(dir.path()));
}

#[test]
fn a_database_is_a_store() {
    let server = server_or_skip!(servers::postgres(), "a_database_is_a_store");
    all(&|| servers::place(&server.database(), Duration::from_nanos(HELD_NS)));
}

fn batch(node: &str, alerts: Vec<Alert>) -> Batch {
    Batch { node: node.into(), alerts }
}

fn numbers(alerts: &[Stored]) -> Vec<u64> {
    alerts.iter().map(|stored| stored.number).collect()
}

fn filled(make: Make<'_>) -> (Place, Box<dyn Writer>, Box<dyn Reader>, Vec<u64>) {
    let place = make();
    let mut writer = place.writer().unwrap();
    let first = vec![alert(1, 1, Priority::Warning, "A"), alert(1, 2, Priority::Notice, "B")];
    let second = vec![alert(9, 1, Priority::Critical, "A"), alert(9, 4, Priority::Debug, "C")];
    let added = writer.store(vec![batch("n1", first), batch("n2", second)], 1000, &nobody).unwrap();
    let given = numbers(&added.alerts);
    assert!(given.len() == 4 && given.is_sorted(), "{given:?}");
    let reader = place.reader().unwrap();
    (place, writer, reader, given)
}

fn reads_by_filter_and_page(make: Make<'_>) {
    let (_place, _writer, reader, given) = filled(make);
    let of = |indexes: &[usize]| indexes.iter().map(|index| given[*index]).collect::<Vec<_>>();
    let stored = reader.alerts(&Filter::default(), 10, None).unwrap();
    assert_eq!(numbers(&stored), of(&[3, 2, 1, 0]));
    assert_eq!((&*stored[1].node, stored[1].received_ns), ("n2", 1000));
    assert_eq!(stored[1].alert, alert(9, 1, Priority::Critical, "A"));
    let text = |text: &str| Some(text.to_owned());
    let found = |filter: Filter| numbers(&reader.alerts(&filter, 10, None).unwrap());
    let every = Filter::default();
    assert_eq!(found(Filter { node: text("n1"), ..every.clone() }), of(&[1, 0]));
    assert_eq!(found(Filter { rule: text("A"), ..every.clone() }), of(&[2, 0]));
    assert_eq!(found(Filter { rule: text("nothing"), ..every.clone() }), [0; 0]);
    assert_eq!(found(Filter { priority: Some(Priority::Warning), ..every.clone() }), of(&[2, 0]));
    assert_eq!(found(Filter { source: text("syscall"), ..every.clone() }).len(), 4);
    let since = Some(1_700_000_000_000_000_002);
    assert_eq!(found(Filter { since_ns: since, ..every.clone() }), of(&[3, 1]));
    assert_eq!(found(Filter { until_ns: since, rule: text("A"), ..every.clone() }), of(&[2, 0]));
    assert_eq!(found(Filter { above: Some(given[1]), ..every.clone() }), of(&[3, 2]));
    assert_eq!(numbers(&reader.alerts(&every, 2, None).unwrap()), of(&[3, 2]));
    assert_eq!(numbers(&reader.alerts(&every, 2, Some(given[2])).unwrap()), of(&[1, 0]));
    assert_eq!(numbers(&reader.alerts_after(&every, 2, given[0]).unwrap()), of(&[1, 2]));
    assert_eq!(reader.alert(given[1]).unwrap().map(|stored| stored.alert.rule), text("B"));
    assert_eq!(reader.alert(given[3] + 100).unwrap(), None);
}

fn finds_texts_and_kinds(make: Make<'_>) {
    let place = make();
    let (mut writer, reader) = (place.writer().unwrap(), place.reader().unwrap());
    let own = |sequence, what: &str| {
        let mut own = alert(1, sequence, Priority::Notice, &format!("Rampart internal: {what}"));
        "internal".clone_into(&mut own.source);
        own
    };
    let mut hit = alert(1, 5, Priority::Error, "Rampart internal: failover");
    hit.json = serde_json::json!({ "output": "\"Ärger\" 100%_\\ \u{0}" }).to_string();
    let alerts = vec![
        own(1, "circuit breaker open"),
        own(2, "rate limit exceeded"),
        own(3, "event loss"),
        own(4, "failover"),
        hit,
        alert(1, 6, Priority::Error, "Shell"),
    ];
    writer.store(vec![batch("n", alerts.clone())], 1000, &nobody).unwrap();
    let mut questions = Vec::new();
    for kinds in 0_u8..16 {
        let some: Vec<Kind> = Kind::ALL.into_iter().filter(|kind| kinds & 1 << *kind as u8 != 0).collect();
        questions.push(Filter { kinds: Kinds::of(&some), ..Filter::default() });
    }
    for text in
        ["\"Ä", "ÄRGER", "Ärger", "100%_", "%", "\\", "\0", "internal: E", "1-5", "'", "nothing at all"]
    {
        let text = Some(Needle::new(text));
        questions.push(Filter { text: text.clone(), ..Filter::default() });
        questions.push(Filter {
            text,
            kinds: Kinds::of(&[Kind::Services, Kind::Detection]),
            ..Filter::default()
        });
    }
    let mut found = 0;
    for question in questions {
        let answered: Vec<u64> = reader
            .alerts(&question, 10, None)
            .unwrap()
            .iter()
            .rev()
            .map(|stored| stored.alert.id.sequence)
            .collect();
        let wanted = alerts.iter().filter(|alert| question.accepts("n", alert));
        assert_eq!(answered, wanted.map(|alert| alert.id.sequence).collect::<Vec<_>>(), "{question:?}");
        found += answered.len();
    }
    assert!(found > 60, "{found}");
}

fn stores_once_and_counts_holes(make: Make<'_>) {
    let (place, mut writer, reader, _) = filled(make);
    let again = vec![alert(1, 2, Priority::Notice, "B"), alert(1, 3, Priority::Notice, "B")];
    let mut store =
        |alerts, node| writer.store(vec![batch(node, alerts)], 2000, &nobody).unwrap().alerts.len();
    assert_eq!(store(again.clone(), "n1"), 1);
    // The same start and number on another node is another alert.
    assert_eq!(store(again, "n2"), 2);
    assert_eq!(store(Vec::new(), "n2"), 0);
    drop(writer);
    let mut writer = place.writer().unwrap();
    let same = vec![
        alert(1, 1, Priority::Warning, "A"),
        alert(1, 9, Priority::Warning, "A"),
        alert(1, 9, Priority::Warning, "A"),
    ];
    assert_eq!(writer.store(vec![batch("n1", same)], 3000, &nobody).unwrap().alerts.len(), 1);
    let nodes = reader.nodes().unwrap();
    let totals: Vec<_> =
        nodes.iter().map(|node| (&*node.node, node.stored, node.missing, node.received_ns)).collect();
    assert_eq!(totals, [("n1", 4, 5, 3000), ("n2", 4, 3, 2000)]);
    assert_eq!(reader.size().unwrap().alerts, 8);
}

fn tells_tries_again_and_gives_up(make: Make<'_>) {
    let place = make();
    let (mut writer, reader) = (place.writer().unwrap(), place.reader().unwrap());
    let route = |_: &str, alert: &Alert| -> Vec<Arc<str>> {
        let channels = if alert.priority <= Priority::Error { vec!["slack", "pager"] } else { vec!["slack"] };
        channels.into_iter().map(Arc::from).collect()
    };
    let alerts = vec![alert(1, 1, Priority::Critical, "A"), alert(1, 2, Priority::Notice, "B")];
    let added = writer.store(vec![batch("n", alerts.clone())], 10, &route).unwrap();
    let given = numbers(&added.alerts);
    writer.store(vec![batch("n", alerts)], 11, &route).unwrap();
    let (slack, pager): (Arc<str>, Arc<str>) = ("slack".into(), "pager".into());
    let both = [Arc::clone(&slack), Arc::clone(&pager)];
    let due = writer.due(10, &both, 12).unwrap();
    let told: Vec<_> = due.iter().map(|notice| (&*notice.channel, notice.stored.number)).collect();
    assert_eq!(
        told,
        [("slack", given[0]), ("slack", given[1]), ("pager", given[0])],
        "a repeated alert is not told again"
    );
    assert_eq!(due[0].stored.alert.rule, "A");
    assert_eq!(writer.due(1, &both, 13).unwrap().len(), 2, "one for each");
    assert_eq!(writer.due(10, &[pager], 13).unwrap().len(), 1);
    let results = [
        (due[0].number, Told::Done),
        (due[1].number, Told::Never("404\0".into())),
        (due[2].number, Told::Again),
    ];
    writer.told(&results, 20).unwrap();
    assert_eq!(writer.due(10, &both, 21).unwrap()[0].attempts, 1);
    let dead = reader.dead(10).unwrap();
    assert_eq!((dead.len(), &*dead[0].channel, dead[0].alert, dead[0].dead_ns), (1, "slack", given[1], 20));
    assert!(dead[0].reason.starts_with("404"));
    assert_eq!(writer.redrive(Some("pager"), None).unwrap(), 0);
    assert_eq!(writer.redrive(Some("slack"), Some(dead[0].number)).unwrap(), 1);
    assert!(reader.dead(10).unwrap().is_empty());
    assert_eq!(writer.due(10, &both, 22).unwrap().len(), 2);
    assert_eq!(reader.size().unwrap().notices, 2);
    // What somebody holds is given up when it is free.
    let later = 22 + HELD_NS + 1;
    assert_eq!(writer.give_up(&[slack], "gone", later).unwrap(), 1);
    assert_eq!((reader.size().unwrap().notices, &*reader.dead(10).unwrap()[0].reason), (1, "gone"));
}

fn claims_what_is_still_to_be_told(make: Make<'_>) {
    let place = make();
    let mut writer = place.writer().unwrap();
    let route = |_: &str, _: &Alert| -> Vec<Arc<str>> { vec!["slack".into()] };
    let alerts = (1..=3).map(|number| alert(1, number, Priority::Error, "A")).collect();
    writer.store(vec![batch("n", alerts)], 10, &route).unwrap();
    let due = writer.due(10, &["slack".into()], 11).unwrap();
    writer.told(&[(due[1].number, Told::Done)], 12).unwrap();
    let asked = [due[2].number, due[1].number, due[0].number, due[2].number + 50];
    let claimed = writer.claim(&asked, 13).unwrap();
    assert_eq!(claimed, [due[0].clone(), due[2].clone()], "the oldest first, without what is done");
    assert!(writer.claim(&[], 13).unwrap().is_empty());
    writer.hold(14).unwrap();
    writer.release().unwrap();
    assert_eq!(writer.claim(&asked, 15).unwrap().len(), 2);
}

fn removes_by_age_and_size(make: Make<'_>) {
    let place = make();
    let (mut writer, reader) = (place.writer().unwrap(), place.reader().unwrap());
    let many = |boot, priority| {
        let large = |sequence| {
            let mut alert = alert(boot, sequence, priority, "A");
            alert.json = format!(r#"{{"pad":"{}"}}"#, "x".repeat(1000));
            alert
        };
        (1..=3000).map(large).collect::<Vec<_>>()
    };
    let route = |_: &str, _: &Alert| -> Vec<Arc<str>> { vec!["slack".into()] };
    writer.store(vec![batch("n", many(1, Priority::Critical))], 100, &nobody).unwrap();
    writer.store(vec![batch("n", many(2, Priority::Notice))], 200, &route).unwrap();
    assert_eq!(reader.size().unwrap().notices, 3000);
    let mut retention = Retention::uniform(150, u64::MAX);
    retention.age_ns[Priority::Critical as usize] = 1000;
    let trim = |writer: &mut dyn Writer, retention: &Retention, now| {
        let mut removed = 0;
        loop {
            match writer.trim(retention, now).unwrap() {
                0 => return removed,
                some => removed += some,
            }
        }
    };
    assert_eq!(trim(&mut *writer, &retention, 300), 0);
    assert_eq!(trim(&mut *writer, &retention, 351), 3000, "the notices are too old");
    assert_eq!(reader.size().unwrap().notices, 0, "what is gone is not told");
    let count = |priority| {
        let filter = Filter { priority: Some(priority), ..Filter::default() };
        reader.alerts(&filter, 100_000, None).unwrap().len()
    };
    assert_eq!((count(Priority::Critical), count(Priority::Debug)), (3000, 3000));
    writer.store(vec![batch("n", many(3, Priority::Notice))], 351, &nobody).unwrap();
    let full = reader.size().unwrap().bytes;
    let half = Retention { max_bytes: full / 2 + 200_000, ..Retention::uniform(u64::MAX, 0) };
    assert!(trim(&mut *writer, &half, 352) >= 2000);
    assert_eq!(count(Priority::Critical), 3000, "the more severe stay");
    let size = reader.size().unwrap();
    assert!(size.bytes <= half.max_bytes);
    assert_eq!(size.alerts as usize, count(Priority::Debug));
}

fn takes_any_text(make: Make<'_>) {
    let place = make();
    let (mut writer, reader) = (place.writer().unwrap(), place.reader().unwrap());
    for (number, rule) in ["a\0b", "'; DROP TABLE alerts; --", "ä€𝄞", "\\"].into_iter().enumerate() {
        let stored = alert(1, number as u64 + 1, Priority::Error, "A");
        let added =
            writer.store(vec![batch("n\0", vec![Alert { rule: rule.to_owned(), ..stored }])], 1, &nobody);
        let number = added.unwrap().alerts[0].number;
        let filter = Filter { rule: Some(rule.to_owned()), ..Filter::default() };
        assert_eq!(numbers(&reader.alerts(&filter, 10, None).unwrap()), [number], "{rule:?}");
    }
}
