//! The bus: what its streams do, and what whole collectors do with it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use rampart_collector::{
    app::Collector,
    bus::{Bus, Settings},
    config,
    store::Work,
    telemetry::Metrics,
};
use rampart_proto::v1::{
    WatchAlertsRequest, query_service_client::QueryServiceClient, watch_alerts_response,
};
use tokio::time::sleep;

use crate::{
    agent::{Agent, label, within},
    server_or_skip, servers,
    servers::Server,
    sink::Sink,
    until,
};

static PREFIXES: AtomicU32 = AtomicU32::new(0);

fn prefix() -> String {
    format!("test{}", PREFIXES.fetch_add(1, Ordering::Relaxed))
}

fn bus(server: &Server, prefix: &str, max_entries: u64) -> (Bus, Arc<Metrics>) {
    let metrics = Arc::new(Metrics::new().unwrap());
    let takeover = Duration::from_millis(400);
    let settings = Settings { url: server.redis_url(), prefix: prefix.to_owned(), max_entries, takeover };
    (Bus::new(settings, Arc::clone(&metrics)).unwrap(), metrics)
}

fn work(numbers: impl IntoIterator<Item = u64>) -> Vec<Work> {
    numbers.into_iter().map(|number| Work { channel: "slack".into(), number }).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_goes_to_one_and_after_its_death_to_another() {
    let server = server_or_skip!(servers::redis(), "an_entry_goes_to_one_and_after_its_death_to_another");
    let prefix = prefix();
    let ((one, _), (other, _)) = (bus(&server, &prefix, 1000), bus(&server, &prefix, 1000));
    let channel: [Arc<str>; 1] = ["slack".into()];
    one.prepare(&channel).await.unwrap();
    other.prepare(&channel).await.unwrap();
    one.publish(&work(1..=130)).await.unwrap();
    assert_eq!(one.length("slack").await.unwrap(), 3);
    let first = one.take("slack").await.unwrap();
    assert_eq!(first[0].numbers, (1..=64).collect::<Vec<_>>());
    let second = other.take("slack").await.unwrap();
    assert_eq!(second[0].numbers, (65..=128).collect::<Vec<_>>(), "each entry goes to one");
    let third = one.take("slack").await.unwrap();
    assert_eq!((third[0].numbers.as_slice(), other.take("slack").await.unwrap().len()), (&[129, 130][..], 0));
    other.done("slack", &second).await.unwrap();
    one.done("slack", &third).await.unwrap();
    // One keeps what it has as long as it says so.
    for _ in 0..10 {
        one.keep("slack", &first).await.unwrap();
        assert!(other.abandoned("slack").await.unwrap().is_empty());
        sleep(Duration::from_millis(20)).await;
    }
    within("what was left", async {
        loop {
            let taken = other.abandoned("slack").await.unwrap();
            if !taken.is_empty() {
                assert_eq!(taken, first);
                break;
            }
            sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    other.done("slack", &first).await.unwrap();
    assert_eq!(other.length("slack").await.unwrap(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_is_bounded_and_what_is_cut_is_counted() {
    let server = server_or_skip!(servers::redis(), "a_stream_is_bounded_and_what_is_cut_is_counted");
    let (bus, metrics) = bus(&server, &prefix(), 100);
    bus.prepare(&["slack".into()]).await.unwrap();
    for number in 0..130 {
        bus.publish(&work([number])).await.unwrap();
    }
    assert_eq!(bus.length("slack").await.unwrap(), 100);
    assert_eq!(metrics.bus_dropped.with_label_values(&["stream_full"]).get(), 30);
    assert_eq!(bus.take("slack").await.unwrap()[0].numbers, [30]);
}

async fn collector(database: &str, bus: &str, rest: &str) -> Collector {
    let text = format!(
        "store: {{url: '{database}', takeover_secs: 2}}\ngrpc: {{listen: '127.0.0.1:0'}}\n\
         http: {{listen: '127.0.0.1:0'}}\n{bus}\n{rest}"
    );
    Collector::start(config::parse(&text, "file", &[]).unwrap()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn who_watches_one_collector_sees_once_what_any_of_them_stored() {
    let name = "who_watches_one_collector_sees_once_what_any_of_them_stored";
    let server =
        server_or_skip!(servers::postgres(), "who_watches_one_collector_sees_once_what_any_of_them_stored");
    // Also without a bus: then it takes up to a second longer.
    let buses = match servers::redis() {
        Ok(redis) => vec![Some(redis), None],
        Err(reason) => {
            println!("SKIP: {name}: with a bus: {reason}");
            vec![None]
        }
    };
    for redis in buses {
        let bus = redis.as_ref().map_or_else(String::new, |redis| {
            format!("bus: {{url: '{}', prefix: {}}}", redis.redis_url(), prefix())
        });
        let database = server.database();
        let (one, other) = (collector(&database, &bus, "").await, collector(&database, &bus, "").await);
        let endpoint = tonic::transport::Endpoint::from_shared(format!("http://{}", other.grpc)).unwrap();
        let mut query = QueryServiceClient::new(endpoint.connect().await.unwrap());
        let mut watch = query.watch_alerts(WatchAlertsRequest { filter: None }).await.unwrap().into_inner();
        // One agent on each of them.
        let agents = [(1, one.grpc), (2, other.grpc)].map(|(boot, place)| {
            let agent = Agent { boot, collectors: Arc::new(vec![place]), spool: (1..=500).collect() };
            tokio::spawn(agent.run())
        });
        let mut seen = std::collections::BTreeSet::new();
        let mut last = 0;
        while seen.len() < 1000 {
            let heard = within("an alert", watch.message()).await.unwrap().unwrap();
            let Some(watch_alerts_response::Kind::Alert(stored)) = heard.kind else { panic!("{heard:?}") };
            assert!(stored.number > last, "in order");
            last = stored.number;
            let id = stored.alert.unwrap().id.unwrap();
            assert!(seen.insert(label(id.boot[0], id.sequence)), "twice: {id:?}");
        }
        for agent in agents {
            agent.await.unwrap();
        }
        // A collector that ends waits a while for connections.
        drop((watch, query));
        one.stop().await;
        other.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn collectors_share_what_is_to_be_told() {
    let name = "collectors_share_what_is_to_be_told";
    let server = server_or_skip!(servers::postgres(), "collectors_share_what_is_to_be_told");
    let redis = match servers::redis() {
        Ok(redis) => vec![Some(redis), None],
        Err(reason) => {
            println!("SKIP: {name}: with a bus: {reason}");
            vec![None]
        }
    };
    for redis in redis {
        let bus = redis.as_ref().map_or_else(String::new, |redis| {
            format!("bus: {{url: '{}', prefix: {}}}", redis.redis_url(), prefix())
        });
        let (sink, url) = Sink::start().await;
        let (database, channel) = (server.database(), format!("webhook: {{address: '{url}'}}"));
        let one = collector(&database, &bus, &channel).await;
        let other = collector(&database, &bus, &channel).await;
        sink.fail(true);
        let agent = Agent { boot: 1, collectors: Arc::new(vec![one.grpc]), spool: (1..=300).collect() };
        agent.run().await;
        // A channel that does not work for a while, and a collector that ends meanwhile.
        sleep(Duration::from_millis(300)).await;
        one.stop().await;
        sink.fail(false);
        until("all alerts are told", || sink.counts().0 == 300).await;
        let agent = Agent { boot: 2, collectors: Arc::new(vec![other.grpc]), spool: (1..=300).collect() };
        agent.run().await;
        until("all alerts are told", || sink.counts().0 == 600).await;
        let place = config::parse(&format!("store: {{url: '{database}'}}"), "file", &[]).unwrap().place();
        let reader = tokio::task::spawn_blocking(move || place.reader().unwrap()).await.unwrap();
        let reader = tokio::task::spawn_blocking(move || {
            let started = std::time::Instant::now();
            while reader.size().unwrap().notices > 0 {
                assert!(started.elapsed() < crate::PATIENCE, "there is still something to tell");
                std::thread::sleep(Duration::from_millis(20));
            }
            reader
        })
        .await
        .unwrap();
        assert_eq!(sink.counts(), (600, 0), "each is told once when nobody is killed");
        tokio::task::spawn_blocking(move || drop(reader)).await.unwrap();
        other.stop().await;
    }
}
