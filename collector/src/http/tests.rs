//! A whole collector on loopback, asked as its clients ask it.

mod jobs;
mod rollouts;
mod rules;

use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use rampart_proto::v1::{
    self, AgentMessage, AlertBatch, AlertId, Hello, agent_message, agent_service_client::AgentServiceClient,
    collector_message, query_service_client::QueryServiceClient,
};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tonic::transport::{Channel, Endpoint};

use crate::{app::Collector, config};

async fn start(dir: &tempfile::TempDir) -> Collector {
    let text = format!(
        "store: {{path: '{}'}}\ngrpc: {{listen: '127.0.0.1:0'}}\nhttp: {{listen: '127.0.0.1:0'}}",
        dir.path().join("db").display()
    );
    Collector::start(config::parse(&text, "file", &[]).unwrap()).await.unwrap()
}

async fn channel(collector: &Collector) -> Channel {
    Endpoint::from_shared(format!("http://{}", collector.grpc)).unwrap().connect().await.unwrap()
}

fn alert(sequence: u64, priority: v1::Priority, rule: &str) -> v1::Alert {
    v1::Alert {
        id: Some(AlertId { boot: vec![7; 16], cpu: 0, sequence }),
        time_ns: 1_700_000_000_000_000_000 + sequence,
        priority: priority.into(),
        rule: rule.to_owned(),
        source: "syscall".to_owned(),
        tags: Vec::new(),
        json: json!({"rule": rule, "priority": priority.as_str_name(), "output": "a \"text\""}).to_string(),
    }
}

const fn message(kind: agent_message::Kind) -> AgentMessage {
    AgentMessage { kind: Some(kind) }
}

/// An agent that sends these batches and waits for all acknowledgements; gives their numbers.
async fn send(collector: &Collector, node: &str, batches: Vec<AlertBatch>) -> Vec<u64> {
    let mut client = AgentServiceClient::new(channel(collector).await);
    let (sender, receiver) = mpsc::channel(64);
    let hello = Hello {
        node: node.to_owned(),
        boot: vec![7; 16],
        version: "1.2.3".to_owned(),
        kernel: "6.18".to_owned(),
        ..Hello::default()
    };
    sender.send(message(agent_message::Kind::Hello(hello))).await.unwrap();
    let count = batches.len();
    for batch in batches {
        sender.send(message(agent_message::Kind::Alerts(batch))).await.unwrap();
    }
    let beat = v1::Heartbeat {
        losses: vec![v1::Loss { cause: "ring_full".to_owned(), count: 3 }],
        spool_pending: 11,
        ..v1::Heartbeat::default()
    };
    sender.send(message(agent_message::Kind::Heartbeat(beat))).await.unwrap();
    let requests =
        futures_util::stream::unfold(receiver, |mut receiver: mpsc::Receiver<AgentMessage>| async {
            receiver.recv().await.map(|message| (message, receiver))
        });
    let mut answers = client.session(requests).await.unwrap().into_inner();
    let mut acks = Vec::new();
    while acks.len() < count {
        match answers.message().await.unwrap().unwrap().kind.unwrap() {
            collector_message::Kind::Welcome(welcome) => assert!(welcome.batch_bytes > 0 && acks.is_empty()),
            collector_message::Kind::Ack(ack) => acks.push(ack.batch),
            other => panic!("{other:?}"),
        }
    }
    drop(sender);
    assert!(answers.message().await.unwrap().is_none(), "the stream ends when the agent's half has ended");
    acks
}

async fn ask(collector: &Collector, path: &str) -> (u16, String) {
    let client: Client<_, Full<bytes::Bytes>> = Client::builder(TokioExecutor::new()).build_http();
    let url = format!("http://{}{path}", collector.http).parse().unwrap();
    let answer = client.get(url).await.unwrap();
    assert_eq!(answer.headers()["x-content-type-options"], "nosniff");
    let status = answer.status().as_u16();
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

async fn get(collector: &Collector, path: &str) -> Value {
    let (status, body) = ask(collector, path).await;
    assert_eq!(status, 200, "{path}: {body}");
    serde_json::from_str(&body).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn alerts_are_acknowledged_in_order_and_can_be_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let collector = start(&dir).await;
    let loud = alert(1, v1::Priority::Critical, "A");
    let quiet = alert(2, v1::Priority::Debug, "B");
    let broken = v1::Alert { json: "{".to_owned(), ..alert(3, v1::Priority::Debug, "B") };
    let batches = vec![
        AlertBatch { number: 5, alerts: vec![loud.clone(), quiet] },
        AlertBatch { number: 6, alerts: vec![broken, alert(5, v1::Priority::Debug, "B")] },
        AlertBatch { number: 9, alerts: vec![loud] },
    ];
    assert_eq!(send(&collector, "n1", batches).await, [5, 6, 9]);

    let all = get(&collector, "/alerts").await;
    assert_eq!(all["alerts"].as_array().unwrap().len(), 3);
    assert_eq!((&all["next"], &all["alerts"][2]["node"]), (&Value::Null, &json!("n1")));
    assert_eq!(all["alerts"][2]["alert"]["output"], "a \"text\"");
    let count = |page: &Value| page["alerts"].as_array().unwrap().len();
    assert_eq!(count(&get(&collector, "/alerts?priority=critical").await), 1);
    assert_eq!(count(&get(&collector, "/alerts?rule=B&node=n1&source=syscall").await), 2);
    assert_eq!(count(&get(&collector, "/alerts?since=2023-11-14T22:13:20.000000002Z").await), 2);
    let page = get(&collector, "/alerts?limit=2").await;
    assert_eq!((count(&page), &page["next"]), (2, &json!(2)));
    assert_eq!(count(&get(&collector, "/alerts?limit=2&before=2").await), 1);
    assert_eq!(get(&collector, "/alerts/1").await["alert"]["rule"], "A");
    for (status, path) in [
        (404, "/alerts/99"),
        (400, "/alerts/x"),
        (400, "/alerts?priority=loud"),
        (400, "/alerts?nod=a"),
        (400, "/alerts?limit=0"),
        (400, "/alerts?since=yesterday"),
    ] {
        assert_eq!(ask(&collector, path).await.0, status, "{path}");
    }

    let nodes = get(&collector, "/nodes").await;
    let node = &nodes["nodes"][0];
    assert_eq!(
        (&node["name"], &node["active"], &node["version"]),
        (&json!("n1"), &json!(true), &json!("1.2.3"))
    );
    assert_eq!(node["alerts"], json!({"stored": 3, "missing": 2}), "3 was refused and 4 never came");
    assert_eq!(
        (&node["heartbeat"]["losses"]["ring_full"], &node["heartbeat"]["spool"]["pending"]),
        (&json!(3), &json!(11))
    );
    assert_eq!(get(&collector, "/health/detailed").await["store"]["duplicates"], 1);
    assert_eq!(get(&collector, "/ready").await["status"], "ready");
    assert_eq!(get(&collector, "/dead").await, json!({"dead": []}));
    let (_, metrics) = ask(&collector, "/metrics").await;
    for line in [
        "rampart_collector_alerts_stored_total 3",
        "rampart_collector_alerts_rejected_total{reason=\"json\"} 1",
        "rampart_collector_nodes_active 1",
    ] {
        assert!(metrics.contains(line), "{line} is missing in\n{metrics}");
    }
    assert!(ask(&collector, "/").await.1.contains("<title>Rampart</title>"));
    collector.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn watchers_get_what_comes_and_what_they_missed() {
    let dir = tempfile::tempdir().unwrap();
    let collector = start(&dir).await;
    let batch = |number, priority, rule| AlertBatch { number, alerts: vec![alert(number, priority, rule)] };
    send(&collector, "n1", vec![batch(1, v1::Priority::Error, "A"), batch(2, v1::Priority::Error, "B")])
        .await;

    let mut query = QueryServiceClient::new(channel(&collector).await);
    let filter = Some(v1::AlertFilter { rule: "B".to_owned(), ..v1::AlertFilter::default() });
    let listed =
        query.list_alerts(v1::ListAlertsRequest { filter: filter.clone(), ..Default::default() }).await;
    assert_eq!(listed.unwrap().into_inner().alerts[0].alert, Some(alert(2, v1::Priority::Error, "B")));
    // Words and kinds, as over HTTP.
    let numbers = async |filter: v1::AlertFilter| {
        let request = v1::ListAlertsRequest { filter: Some(filter), ..Default::default() };
        let listed = query.clone().list_alerts(request).await;
        listed.map(|page| page.into_inner().alerts.iter().map(|one| one.number).collect::<Vec<_>>())
    };
    let text = |text: &str| v1::AlertFilter { text: text.to_owned(), ..Default::default() };
    let kinds = |kinds: &[&str]| v1::AlertFilter {
        kinds: kinds.iter().map(|&kind| kind.to_owned()).collect(),
        ..Default::default()
    };
    assert_eq!(numbers(text("A \"TEXT\"")).await.unwrap(), [2, 1]);
    assert_eq!(
        numbers(text("\"rule\":\"A\"")).await.unwrap(),
        [0; 0],
        "a quote is searched for as JSON writes it"
    );
    assert_eq!(numbers(kinds(&["limits", "detection"])).await.unwrap(), [2, 1]);
    assert_eq!(numbers(kinds(&["limits", "agent"])).await.unwrap(), [0; 0]);
    let refused = [numbers(kinds(&["loud"])).await, numbers(text(&"x".repeat(201))).await];
    for status in refused {
        assert_eq!(status.unwrap_err().code(), tonic::Code::InvalidArgument);
    }
    let filter = filter.map(|filter| v1::AlertFilter {
        kinds: vec!["detection".to_owned()],
        text: "Text".to_owned(),
        ..filter
    });
    let mut watch = query.watch_alerts(v1::WatchAlertsRequest { filter }).await.unwrap().into_inner();

    let client: Client<_, Full<bytes::Bytes>> = Client::builder(TokioExecutor::new()).build_http();
    let request = hyper::Request::get(format!("http://{}/alerts/stream?rule=B", collector.http))
        .header("Last-Event-ID", "1")
        .body(Full::default())
        .unwrap();
    let mut events = client.request(request).await.unwrap().into_body();
    let mut text = String::new();
    let mut sent = false;
    while !text.contains("id: 4") {
        let frame = tokio::time::timeout(Duration::from_secs(30), events.frame()).await.unwrap();
        text.push_str(&String::from_utf8_lossy(frame.unwrap().unwrap().data_ref().unwrap()));
        if text.contains("id: 2") && !std::mem::replace(&mut sent, true) {
            let batches = vec![batch(3, v1::Priority::Error, "A"), batch(4, v1::Priority::Error, "B")];
            send(&collector, "n1", batches).await;
        }
    }
    assert!(!text.contains("id: 1") && !text.contains("id: 3"), "{text}");
    let heard = watch.message().await.unwrap().unwrap();
    let Some(v1::watch_alerts_response::Kind::Alert(stored)) = heard.kind else { panic!("{heard:?}") };
    assert_eq!((stored.number, stored.node.as_str()), (4, "n1"));
    let nodes = query.list_nodes(v1::ListNodesRequest {}).await.unwrap().into_inner().nodes;
    assert_eq!((nodes[0].alerts, nodes[0].is_active), (4, true));
    collector.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_that_is_described_is_there() {
    let dir = tempfile::tempdir().unwrap();
    let collector = start(&dir).await;
    let document = get(&collector, "/openapi.json").await;
    let paths = document["paths"].as_object().unwrap();
    assert!(paths.len() > 8);
    for (path, methods) in paths {
        if methods.get("get").is_some() && !path.ends_with("/stream") {
            let (status, body) = ask(&collector, &path.replace("{number}", "1").replace("{id}", "1")).await;
            assert!(
                status == 200 || (status == 404 && path.contains('{') && body.contains("error")),
                "{path}: {status}"
            );
        }
    }
    collector.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_must_begin_with_who_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let collector = start(&dir).await;
    let mut client = AgentServiceClient::new(channel(&collector).await);
    for first in
        [agent_message::Kind::Alerts(AlertBatch::default()), agent_message::Kind::Hello(Hello::default())]
    {
        let status = client.session(futures_util::stream::iter([message(first)])).await.unwrap_err();
        assert_eq!(status.code(), tonic::Code::InvalidArgument);
    }
    collector.stop().await;
}
