//! What several collectors do with one database.

use std::{
    collections::BTreeSet,
    fs,
    path::Path,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use rampart_collector::{
    alert::{Alert, Filter, Priority},
    store::{Batch, Place, Reader, StoreError, Told, postgres::Settings},
};

use crate::{PATIENCE, alert, nobody, server_or_skip, servers};

/// Time that things are held.
const HELD: Duration = Duration::from_secs(20);
const HELD_NS: u64 = HELD.as_nanos() as u64;

fn slack(_: &str, _: &Alert) -> Vec<Arc<str>> {
    vec!["slack".into()]
}

#[test]
fn collectors_that_start_together_take_turns_and_store_each_alert_once() {
    let server = server_or_skip!(
        servers::postgres(),
        "collectors_that_start_together_take_turns_and_store_each_alert_once"
    );
    let place = servers::place(&server.database(), HELD);
    let reader = thread::scope(|scope| {
        let writers: Vec<_> = (0..4)
            .map(|from| {
                let place = &place;
                scope.spawn(move || {
                    let mut writer = place.writer().unwrap();
                    let mut new = 0;
                    // Each alert comes to each of them, to each in another order.
                    for step in 0..20_u64 {
                        let start = 1 + (step + from * 7) % 20 * 50;
                        let alerts = (start..start + 50).map(|number| alert(1, number, Priority::Error, "A"));
                        let batch = Batch { node: "n".into(), alerts: alerts.collect() };
                        new += writer.store(vec![batch], 1000, &slack).unwrap().work.len();
                    }
                    new
                })
            })
            .collect();
        let reader = loop {
            // The tables may not be there yet.
            match place.reader().and_then(|reader| reader.size().map(|_| reader)) {
                Ok(reader) => break reader,
                Err(_) => thread::sleep(Duration::from_millis(10)),
            }
        };
        // Who has seen a number has missed none below it.
        let (mut last, mut seen) = (0, BTreeSet::new());
        while seen.len() < 1000 {
            for stored in reader.alerts_after(&Filter::default(), 100, last).unwrap() {
                last = stored.number;
                assert!(seen.insert(stored.alert.id.sequence), "twice: {last}");
            }
        }
        let new: usize = writers.into_iter().map(|writer| writer.join().unwrap()).sum();
        assert_eq!(new, 1000, "each alert is new to one of them");
        reader
    });
    let size = reader.size().unwrap();
    assert_eq!((size.alerts, size.notices), (1000, 1000));
    assert_eq!(reader.alerts(&Filter::default(), 5000, None).unwrap().len(), 1000);
}

#[test]
fn what_is_to_be_told_is_held_by_one_until_it_is_silent() {
    let server = server_or_skip!(servers::postgres(), "what_is_to_be_told_is_held_by_one_until_it_is_silent");
    let place = servers::place(&server.database(), HELD);
    let (mut one, mut other) = (place.writer().unwrap(), place.writer().unwrap());
    let alerts = (1..=6).map(|number| alert(1, number, Priority::Error, "A")).collect();
    let work = one.store(vec![Batch { node: "n".into(), alerts }], 10, &slack).unwrap().work;
    assert_eq!(work.len(), 6);
    let channel: [Arc<str>; 1] = ["slack".into()];
    let first = one.due(4, &channel, 20).unwrap();
    let second = other.due(10, &channel, 20).unwrap();
    assert_eq!((first.len(), second.len()), (4, 2), "each gets what nobody holds");
    let all: Vec<u64> = work.iter().map(|work| work.number).collect();
    assert_eq!(other.claim(&all, 21).unwrap().len(), 2);
    // One goes on to hold, the other is silent.
    one.hold(HELD_NS).unwrap();
    let lapsed = one.lapsed("slack", 10, HELD_NS + 30).unwrap();
    let numbers: Vec<u64> = second.iter().map(|notice| notice.number).collect();
    assert_eq!(lapsed.iter().map(|work| work.number).collect::<Vec<_>>(), numbers);
    assert!(one.lapsed("slack", 10, HELD_NS + 31).unwrap().is_empty(), "it is looked for once at a time");
    assert_eq!(one.claim(&numbers, HELD_NS + 32).unwrap().len(), 2);
    assert!(other.claim(&all, HELD_NS + 33).unwrap().is_empty());
    one.told(&[(numbers[0], Told::Done)], HELD_NS + 34).unwrap();
    one.release().unwrap();
    assert_eq!(other.claim(&all, HELD_NS + 35).unwrap().len(), 5);
}

#[test]
fn a_lost_connection_is_made_again() {
    let server = server_or_skip!(servers::postgres(), "a_lost_connection_is_made_again");
    let url = server.database();
    let place = servers::place(&url, HELD);
    let mut writer = place.writer().unwrap();
    let reader = place.reader().unwrap();
    let batch =
        |number| vec![Batch { node: "n".into(), alerts: vec![alert(1, number, Priority::Error, "A")] }];
    writer.store(batch(1), 1, &nobody).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let kill = || {
        runtime.block_on(async {
            let (client, connection) = tokio_postgres::connect(&url, tokio_postgres::NoTls).await.unwrap();
            let connection = tokio::spawn(connection);
            let sql = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
                 WHERE datname = current_database() AND pid <> pg_backend_pid()";
            let killed: i64 = client.query_one(sql, &[]).await.unwrap().get(0);
            assert!(killed >= 2, "{killed}");
            drop(client);
            connection.await.unwrap().unwrap();
        });
    };
    kill();
    assert_eq!(writer.store(batch(2), 2, &nobody).unwrap().alerts.len(), 1);
    assert_eq!(reader.size().unwrap().alerts, 2);
    kill();
    assert_eq!(writer.store(batch(2), 3, &nobody).unwrap().alerts.len(), 0);
}

#[test]
fn a_database_elsewhere_must_show_a_certificate() {
    let (_server, port, ca_file) =
        server_or_skip!(servers::postgres_with_tls(), "a_database_elsewhere_must_show_a_certificate");
    let open = |rest: &str, ca_file: Option<&Path>| {
        let url = format!("postgres://rampart@127.0.0.1:{port}/postgres{rest}").parse().unwrap();
        let ca_file = ca_file.map(Path::to_owned);
        let settings = Settings { url, read_url: None, ca_file, takeover: HELD };
        Place::Database(Box::new(settings)).writer().map(drop)
    };
    let started = Instant::now();
    // It listens before it is ready.
    while let Err(error) = open("?sslmode=require", Some(&ca_file)) {
        assert!(started.elapsed() < PATIENCE, "{}", error.in_full());
        thread::sleep(Duration::from_millis(50));
    }
    let error = open("?sslmode=require", None).unwrap_err();
    assert!(matches!(error, StoreError::Connect(_)), "nobody here knows its authority: {}", error.in_full());
    open("?sslmode=disable", None).unwrap();
    // What encrypts nothing is no answer.
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("empty.pem"), "").unwrap();
    assert!(open("?sslmode=require", Some(&dir.path().join("empty.pem"))).is_err());
}

#[test]
fn a_database_of_a_later_version_is_refused() {
    let server = server_or_skip!(servers::postgres(), "a_database_of_a_later_version_is_refused");
    let url = server.database();
    let place = servers::place(&url, HELD);
    drop(place.writer().unwrap());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (client, connection) = tokio_postgres::connect(&url, tokio_postgres::NoTls).await.unwrap();
        drop(tokio::spawn(connection));
        client.batch_execute("INSERT INTO rampart.format VALUES (99)").await.unwrap();
    });
    assert!(matches!(place.writer().map(drop), Err(StoreError::TooNew { found: 99, .. })));
}

#[test]
fn questions_go_to_the_copy_and_what_must_be_current_does_not() {
    let server =
        server_or_skip!(servers::postgres(), "questions_go_to_the_copy_and_what_must_be_current_does_not");
    let (url, copy) = (server.database(), server.database());
    // A copy that stands still: it has an alert of its own, by which it is known.
    let behind = servers::place(&copy, HELD);
    let store = |place: &Place, rule: &str| {
        let alerts = vec![alert(1, 1, Priority::Error, rule)];
        place.writer().unwrap().store(vec![Batch { node: "n".into(), alerts }], 1, &nobody).unwrap();
    };
    store(&behind, "copy");
    let Place::Database(mut settings) = servers::place(&url, HELD) else { panic!("it is a database") };
    settings.read_url = Some(copy.parse().unwrap());
    let place = Place::Database(settings.clone());
    store(&place, "current");
    let rules = |reader: &dyn Reader| -> Vec<String> {
        let alerts = reader.alerts(&Filter::default(), 10, None).unwrap();
        alerts.into_iter().map(|stored| stored.alert.rule).collect()
    };
    assert_eq!(rules(&*place.reader().unwrap()), ["copy"]);
    assert_eq!(rules(&*place.current_reader().unwrap()), ["current"]);
    assert_eq!(place.reader().unwrap().nodes().unwrap().len(), 1);
    // What is to be told, and who may do what, is never asked of a copy.
    assert_eq!(place.writer().unwrap().redrive(None, None).unwrap(), 0);
    assert!(place.book().unwrap().records_after(0, 10).unwrap().is_empty());

    // A copy that is gone stops questions and nothing else.
    settings.read_url = Some("host=/no/such/place".parse().unwrap());
    let place = Place::Database(settings);
    let Err(error) = place.reader().and_then(|reader| reader.size()) else { panic!("nobody answers") };
    assert!(error.in_full().contains("cannot connect to PostgreSQL"), "{}", error.in_full());
    assert_eq!(rules(&*place.current_reader().unwrap()), ["current"]);
    store(&place, "current");
}
