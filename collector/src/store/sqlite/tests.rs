use super::*;
use crate::{
    alert::{Filter, tests::alert},
    store::Reader,
};

fn batch(node: &str, alerts: Vec<Alert>) -> Batch {
    Batch { node: node.into(), alerts }
}

fn nobody(_: &str, _: &Alert) -> Vec<Arc<str>> {
    Vec::new()
}

fn numbers(alerts: &[Stored]) -> Vec<u64> {
    alerts.iter().map(|stored| stored.number).collect()
}

fn filled() -> (tempfile::TempDir, SqliteWriter, SqliteReader) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store.db");
    let mut writer = writer(&path).unwrap();
    let first = vec![alert(1, 1, Priority::Warning, "A"), alert(1, 2, Priority::Notice, "B")];
    let second = vec![alert(9, 1, Priority::Critical, "A"), alert(9, 4, Priority::Debug, "C")];
    let new = writer.store(vec![batch("n1", first), batch("n2", second)], 1000, &nobody).unwrap();
    assert_eq!(numbers(&new), [1, 2, 3, 4]);
    let reader = reader(&path).unwrap();
    (dir, writer, reader)
}

#[test]
fn what_is_stored_is_read_back_by_filter_and_page() {
    let (_dir, _writer, reader) = filled();
    let all = reader.alerts(&Filter::default(), 10, None).unwrap();
    assert_eq!(numbers(&all), [4, 3, 2, 1]);
    assert_eq!((&*all[1].node, all[1].received_ns), ("n2", 1000));
    assert_eq!(all[1].alert, alert(9, 1, Priority::Critical, "A"));
    let text = |text: &str| Some(text.to_owned());
    let found = |filter: Filter| numbers(&reader.alerts(&filter, 10, None).unwrap());
    let every = Filter::default();
    assert_eq!(found(Filter { node: text("n1"), ..every.clone() }), [2, 1]);
    assert_eq!(found(Filter { rule: text("A"), ..every.clone() }), [3, 1]);
    assert_eq!(found(Filter { rule: text("nothing"), ..every.clone() }), [0; 0]);
    assert_eq!(found(Filter { priority: Some(Priority::Warning), ..every.clone() }), [3, 1]);
    assert_eq!(found(Filter { source: text("syscall"), ..every.clone() }).len(), 4);
    let since = Some(1_700_000_000_000_000_002);
    assert_eq!(found(Filter { since_ns: since, ..every.clone() }), [4, 2]);
    assert_eq!(found(Filter { until_ns: since, ..every.clone() }), [3, 1]);
    assert_eq!(numbers(&reader.alerts(&every, 2, None).unwrap()), [4, 3]);
    assert_eq!(numbers(&reader.alerts(&every, 2, Some(3)).unwrap()), [2, 1]);
    assert_eq!(numbers(&reader.alerts_after(&every, 2, 1).unwrap()), [2, 3]);
    assert_eq!(reader.alert(2).unwrap().map(|stored| stored.alert.rule), text("B"));
    assert_eq!(reader.alert(5).unwrap(), None);
}

#[test]
fn a_repeated_alert_is_stored_once_and_holes_are_counted() {
    let (dir, mut writer, reader) = filled();
    let again = vec![alert(1, 2, Priority::Notice, "B"), alert(1, 3, Priority::Notice, "B")];
    assert_eq!(writer.store(vec![batch("n1", again.clone())], 2000, &nobody).unwrap().len(), 1);
    // The same start and number on another node is another alert.
    assert_eq!(writer.store(vec![batch("n2", again)], 2000, &nobody).unwrap().len(), 2);
    drop(writer);
    let mut writer = super::writer(&dir.path().join("store.db")).unwrap();
    let same = vec![alert(1, 1, Priority::Warning, "A"); 3];
    assert!(writer.store(vec![batch("n1", same)], 3000, &nobody).unwrap().is_empty());
    let nodes = reader.nodes().unwrap();
    let totals: Vec<_> = nodes.iter().map(|node| (&*node.node, node.stored, node.missing)).collect();
    assert_eq!(totals, [("n1", 3, 0), ("n2", 4, 3)]);
    assert_eq!(reader.size().unwrap().alerts, 7);
}

#[test]
fn notices_are_told_tried_again_and_die() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store.db");
    let mut writer = writer(&path).unwrap();
    let reader = reader(&path).unwrap();
    let route = |_: &str, alert: &Alert| -> Vec<Arc<str>> {
        let channels = if alert.priority <= Priority::Error { vec!["slack", "pager"] } else { vec!["slack"] };
        channels.into_iter().map(Arc::from).collect()
    };
    let alerts = vec![alert(1, 1, Priority::Critical, "A"), alert(1, 2, Priority::Notice, "B")];
    writer.store(vec![batch("n", alerts.clone())], 10, &route).unwrap();
    writer.store(vec![batch("n", alerts)], 11, &route).unwrap();
    let (slack, pager): (Arc<str>, Arc<str>) = ("slack".into(), "pager".into());
    let both = [Arc::clone(&slack), Arc::clone(&pager)];
    let due = writer.due(10, &both).unwrap();
    let told: Vec<_> = due.iter().map(|notice| (&*notice.channel, notice.stored.number)).collect();
    assert_eq!(told, [("slack", 1), ("slack", 2), ("pager", 1)], "a repeated alert is not told again");
    assert_eq!(due[0].stored.alert.rule, "A");
    assert_eq!(writer.due(1, &both).unwrap().len(), 2, "one for each");
    assert_eq!(writer.due(10, &[pager]).unwrap().len(), 1);
    let results = [
        (due[0].number, Told::Done),
        (due[1].number, Told::Never("404".into())),
        (due[2].number, Told::Again),
    ];
    writer.told(&results, 20).unwrap();
    assert_eq!(writer.due(10, &both).unwrap()[0].attempts, 1);
    let dead = reader.dead(10).unwrap();
    assert_eq!((dead.len(), &*dead[0].channel, &*dead[0].reason, dead[0].alert), (1, "slack", "404", 2));
    assert_eq!(writer.redrive(Some("pager"), None).unwrap(), 0);
    assert_eq!(writer.redrive(Some("slack"), Some(dead[0].number)).unwrap(), 1);
    assert!(reader.dead(10).unwrap().is_empty());
    assert_eq!(writer.due(10, &both).unwrap().len(), 2);
    assert_eq!(reader.size().unwrap().notices, 2);
    assert_eq!(writer.give_up(&[slack], "gone", 30).unwrap(), 1);
    assert_eq!((reader.size().unwrap().notices, &*reader.dead(10).unwrap()[0].reason), (1, "gone"));
}

#[test]
fn old_alerts_go_by_age_and_the_least_severe_by_size() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store.db");
    let mut writer = writer(&path).unwrap();
    let reader = reader(&path).unwrap();
    let many = |boot, priority| {
        let large = |sequence| {
            let mut alert = alert(boot, sequence, priority, "A");
            alert.json = format!(r#"{{"pad":"{}"}}"#, "x".repeat(1000));
            alert
        };
        (1..=3000).map(large).collect::<Vec<_>>()
    };
    writer.store(vec![batch("n", many(1, Priority::Critical))], 100, &nobody).unwrap();
    writer.store(vec![batch("n", many(2, Priority::Notice))], 200, &nobody).unwrap();
    let mut retention = Retention::uniform(150, u64::MAX);
    retention.age_ns[Priority::Critical as usize] = 1000;
    let trim = |writer: &mut SqliteWriter, retention: &Retention, now| {
        let mut removed = 0;
        loop {
            match writer.trim(retention, now).unwrap() {
                0 => return removed,
                some => removed += some,
            }
        }
    };
    assert_eq!(trim(&mut writer, &retention, 300), 0);
    assert_eq!(trim(&mut writer, &retention, 351), 3000, "the notices are too old");
    let count = |priority| {
        let filter = Filter { priority: Some(priority), ..Filter::default() };
        reader.alerts(&filter, 100_000, None).unwrap().len()
    };
    assert_eq!((count(Priority::Critical), count(Priority::Debug)), (3000, 3000));
    writer.store(vec![batch("n", many(3, Priority::Notice))], 351, &nobody).unwrap();
    let full = reader.size().unwrap().bytes;
    let half = Retention { max_bytes: full / 2 + 200_000, ..Retention::uniform(u64::MAX, 0) };
    assert!(trim(&mut writer, &half, 352) >= 2000);
    assert_eq!(count(Priority::Critical), 3000, "the more severe stay");
    assert!(reader.size().unwrap().bytes <= half.max_bytes);
}

#[test]
fn a_store_of_a_later_version_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store.db");
    drop(writer(&path).unwrap());
    Connection::open(&path).unwrap().pragma_update(None, "user_version", 99).unwrap();
    assert!(matches!(writer(&path), Err(StoreError::TooNew { found: 99, .. })));
}
