//! Rollouts of policy bundles, in a file and in a database, and by two collectors that share one.

use std::{
    collections::BTreeMap,
    fs,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    thread,
    time::{Duration, Instant},
};

use rampart_collector::{
    app::Collector,
    audit::Note,
    bundle::{self, Bundle, SigningKey},
    config,
    rollout::{
        Kept, RolloutError, State, Step,
        desk::{self, Actor, Settings},
        plan::Plan,
    },
    store::{
        Place,
        identity::{Book, Change, Expect, Kind},
    },
};
use rampart_proto::v1::{
    AgentMessage, BundleState, Heartbeat, Hello, agent_message, agent_service_client::AgentServiceClient,
    collector_message,
};
use tokio::{sync::mpsc, time::sleep};
use tonic::transport::Endpoint;

use crate::{PATIENCE, agent::within, server_or_skip, servers};

fn signed(name: &str) -> (Bundle, Vec<u8>) {
    let dir = tempfile::tempdir().unwrap();
    let key = SigningKey::create(&dir.path().join("key")).unwrap();
    fs::create_dir_all(dir.path().join("policy/rules")).unwrap();
    fs::write(dir.path().join("policy/rules/a.yaml"), name).unwrap();
    let bytes = bundle::build(&dir.path().join("policy"), name, 5, &key).unwrap();
    (bundle::open(&bytes).unwrap(), bytes)
}

const fn at(now_ns: u64) -> Actor<'static> {
    Actor { name: "cli:root", now_ns }
}

fn to_all() -> Settings {
    Settings { steps: vec![Step::ALL], bake_secs: 0, ..Settings::default() }
}

/// What every store does.
fn all(place: &Place) {
    let mut book = place.book().unwrap();
    let book = &mut *book;
    // What is kept without a note is no less whole.
    let lease = |expect, value: &str| [Change::put(Kind::Lease, "a", expect, value.to_owned()).until(100)];
    assert!(book.keep(&lease(Expect::Absent, "1"), 5).unwrap());
    assert!(!book.keep(&lease(Expect::Absent, "2"), 6).unwrap());
    assert!(book.keep(&lease(Expect::Revision(1), "3"), 7).unwrap());
    let mut both = lease(Expect::Anything, "4").to_vec();
    both.push(Change::remove(Kind::Sight, "none"));
    assert!(!book.keep(&both, 8).unwrap());
    assert_eq!(book.get(Kind::Lease, "a").unwrap().unwrap().value, "3");
    assert_eq!(book.prune(101).unwrap(), 1);
    assert!(book.records_after(0, 10).unwrap().is_empty());
    // The largest bundle that there may be goes in and comes out.
    let value = "x".repeat(bundle::BYTES_MAX * 4 / 3);
    let change = Change::put(Kind::BundleContent, "large", Expect::Absent, value.clone());
    assert!(book.change(&[change], &Note::new("a", "b", "c", ""), 9).unwrap());
    assert_eq!(book.get(Kind::BundleContent, "large").unwrap().unwrap().value, value);
    let ((one, bytes), (two, more)) = (signed("v1"), signed("v2"));
    desk::push(book, at(10), &one, &bytes).unwrap();
    desk::push(book, at(11), &two, &more).unwrap();
    // Of many that begin one at the same moment, one does.
    let begun: usize = thread::scope(|scope| {
        let starters: Vec<_> = (0..4)
            .map(|number| {
                let digest = &one.digest;
                scope.spawn(move || {
                    let mut book = place.book().unwrap();
                    match desk::begin(&mut *book, at(20 + number), digest, to_all()) {
                        Ok(_) => 1,
                        Err(RolloutError::UnderWay(_)) => 0,
                        Err(error) => panic!("{error}"),
                    }
                })
            })
            .collect();
        starters.into_iter().map(|starter| starter.join().unwrap()).sum()
    });
    assert_eq!(begun, 1);
    assert_eq!(desk::promote(book, at(30), None, false).unwrap().rollout.state, State::Done);
    desk::begin(book, at(40), &two.digest, to_all()).unwrap();
    let target = |book: &mut dyn Book| {
        let plan = Plan::new(Kept::list(book).unwrap());
        plan.target("n", &BTreeMap::new()).unwrap().map(str::to_owned)
    };
    assert_eq!(target(book), Some(two.digest));
    desk::rollback(book, at(50), None, "worse").unwrap();
    assert_eq!(target(book), Some(one.digest));
    assert!(matches!(desk::pause(book, at(60), None), Err(RolloutError::NoneUnderWay)));
}

#[test]
fn a_file_keeps_rollouts() {
    let dir = tempfile::tempdir().unwrap();
    all(&Place::File(dir.path().join("db")));
}

#[test]
fn a_database_keeps_rollouts() {
    let server = server_or_skip!(servers::postgres(), "a_database_keeps_rollouts");
    all(&servers::place(&server.database(), Duration::from_secs(20)));
}

/// Something to do with the store.
type Work = Box<dyn FnOnce(&mut dyn Book) -> Kept + Send>;

async fn start(url: &str) -> Collector {
    let text = format!(
        "store: {{url: '{url}'}}\ngrpc: {{listen: '127.0.0.1:0'}}\nhttp: {{listen: '127.0.0.1:0'}}\n"
    );
    Collector::start(config::parse(&text, "file", &[]).unwrap()).await.unwrap()
}

/// An agent that takes whatever it is offered, until the collector ends.
async fn serve(collector: &Collector, node: &'static str, given: mpsc::Sender<Vec<u8>>) {
    let endpoint = Endpoint::from_shared(format!("http://{}", collector.grpc)).unwrap();
    let (sender, receiver) = mpsc::channel::<AgentMessage>(8);
    let state = |digest: Vec<u8>| Some(BundleState { is_accepting: true, digest, ..BundleState::default() });
    let hello =
        Hello { node: node.to_owned(), boot: vec![9; 16], bundle: state(Vec::new()), ..Hello::default() };
    sender.send(AgentMessage { kind: Some(agent_message::Kind::Hello(hello)) }).await.unwrap();
    let requests = futures_util::stream::unfold(receiver, |mut receiver| async {
        receiver.recv().await.map(|message| (message, receiver))
    });
    let mut client = AgentServiceClient::new(endpoint.connect().await.unwrap());
    let mut answers = client.session(requests).await.unwrap().into_inner();
    tokio::spawn(async move {
        while let Ok(Some(answer)) = answers.message().await {
            let Some(collector_message::Kind::Bundle(offer)) = answer.kind else { continue };
            let beat = Heartbeat { bundle: state(offer.digest.clone()), ..Heartbeat::default() };
            let _ = given.send(offer.digest).await;
            let _ = sender.send(AgentMessage { kind: Some(agent_message::Kind::Heartbeat(beat)) }).await;
        }
    });
}

/// What a collector says of nodes.
fn nodes(address: SocketAddr) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    // The answer ends with the connection.
    stream.write_all(b"GET /nodes HTTP/1.0\r\nHost: a\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn two_collectors_roll_out_to_the_agents_of_both() {
    let server = server_or_skip!(servers::postgres(), "two_collectors_roll_out_to_the_agents_of_both");
    let url = server.database();
    let collectors = [start(&url).await, start(&url).await];
    let (given, mut taken) = mpsc::channel(8);
    serve(&collectors[0], "a", given.clone()).await;
    serve(&collectors[1], "b", given).await;
    let place = servers::place(&url, Duration::from_secs(20));
    let (one, bytes) = signed("v1");
    let now =
        || std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos() as u64;
    let run = async |work: Work| {
        let place = place.clone();
        tokio::task::spawn_blocking(move || work(&mut *place.book().unwrap())).await.unwrap()
    };
    let began = now();
    let digest = one.digest.clone();
    run(Box::new(move |book| {
        desk::push(book, at(began), &one, &bytes).unwrap();
        desk::begin(book, at(began), &digest, to_all()).unwrap()
    }))
    .await;
    for _ in 0..2 {
        assert_eq!(within("a bundle", taken.recv()).await.unwrap().len(), 32);
    }
    // Whoever decides waits until both have said how their nodes are.
    let started = Instant::now();
    let done = loop {
        let newest = run(Box::new(|book| Kept::list(book).unwrap().remove(0))).await;
        if !newest.rollout.state.is_under_way() {
            break newest;
        }
        assert!(started.elapsed() < PATIENCE, "{newest:?}");
        sleep(Duration::from_millis(200)).await;
    };
    assert_eq!((done.rollout.state, done.rollout.events.len()), (State::Done, 1), "{done:?}");
    // Each shows the nodes of both, as these said they are.
    for collector in &collectors {
        let address = collector.http;
        let started = Instant::now();
        loop {
            let nodes = tokio::task::spawn_blocking(move || nodes(address)).await.unwrap();
            if nodes.matches("\"heartbeat\":{").count() == 2 {
                break;
            }
            assert!(started.elapsed() < PATIENCE, "{nodes}");
            sleep(Duration::from_millis(200)).await;
        }
    }
    // What is taken back by whomever is taken from the agents of both.
    run(Box::new(move |book| desk::rollback(book, at(now()), None, "a test").unwrap())).await;
    for _ in 0..2 {
        assert!(within("no bundle", taken.recv()).await.unwrap().is_empty());
    }
    for collector in collectors {
        collector.stop().await;
    }
}
