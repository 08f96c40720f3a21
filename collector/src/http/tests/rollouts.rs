//! A bundle from the request that pushes it to the agent that has it, and back.

use std::time::Instant;

use rampart_proto::v1::{BundleOffer, BundleState};
use tokio::time::sleep;

use super::*;
use crate::{
    bundle::{self, SigningKey},
    identity::unhex,
};

/// Longest wait for anything.
const PATIENCE: Duration = Duration::from_mins(1);

/// An agent that takes bundles.
struct Node {
    sender: mpsc::Sender<AgentMessage>,
    answers: tonic::Streaming<v1::CollectorMessage>,
}

impl Node {
    async fn start(collector: &Collector, name: &str, labels: &[(&str, &str)], state: BundleState) -> Self {
        let mut client = AgentServiceClient::new(channel(collector).await);
        let (sender, receiver) = mpsc::channel(8);
        let labels = labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let hello = Hello {
            node: name.to_owned(),
            boot: vec![7; 16],
            labels,
            bundle: Some(state),
            ..Hello::default()
        };
        sender.send(message(agent_message::Kind::Hello(hello))).await.unwrap();
        let requests =
            futures_util::stream::unfold(receiver, |mut receiver: mpsc::Receiver<AgentMessage>| async {
                receiver.recv().await.map(|message| (message, receiver))
            });
        let answers = client.session(requests).await.unwrap().into_inner();
        Self { sender, answers }
    }

    /// The next offer.
    async fn offer(&mut self) -> BundleOffer {
        let next = async {
            loop {
                let answer = self.answers.message().await.unwrap().expect("the stream goes on");
                if let Some(collector_message::Kind::Bundle(offer)) = answer.kind {
                    return offer;
                }
            }
        };
        tokio::time::timeout(PATIENCE, next).await.expect("an offer comes")
    }

    async fn say(&self, state: BundleState) {
        let beat = v1::Heartbeat { bundle: Some(state), ..v1::Heartbeat::default() };
        self.sender.send(message(agent_message::Kind::Heartbeat(beat))).await.unwrap();
    }
}

fn accepting(digest: &[u8]) -> BundleState {
    BundleState { is_accepting: true, digest: digest.to_vec(), ..BundleState::default() }
}

async fn post(collector: &Collector, path: &str, kind: &str, body: &[u8]) -> (u16, Value) {
    let client: Client<_, Full<bytes::Bytes>> = Client::builder(TokioExecutor::new()).build_http();
    let request = axum::http::Request::post(format!("http://{}{path}", collector.http))
        .header("content-type", kind)
        .body(Full::new(bytes::Bytes::copy_from_slice(body)))
        .unwrap();
    let answer = client.request(request).await.unwrap();
    let status = answer.status().as_u16();
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    (status, serde_json::from_slice(&body).unwrap_or_default())
}

pub(super) async fn post_json(collector: &Collector, path: &str, body: &Value) -> (u16, Value) {
    post(collector, path, "application/json", body.to_string().as_bytes()).await
}

/// Waits until the newest rollout is like this.
async fn until(collector: &Collector, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
    let started = Instant::now();
    loop {
        let all = get(collector, "/rollouts").await;
        if holds(&all["rollouts"][0]) {
            return all["rollouts"][0].clone();
        }
        assert!(started.elapsed() < PATIENCE, "waited in vain: {what}: {all}");
        sleep(Duration::from_millis(100)).await;
    }
}

/// Two bundles, signed.
fn made(dir: &tempfile::TempDir) -> [Vec<u8>; 2] {
    let key = SigningKey::create(&dir.path().join("key")).unwrap();
    let policy = dir.path().join("policy/rules");
    std::fs::create_dir_all(&policy).unwrap();
    ["v1", "v2"].map(|name| {
        std::fs::write(policy.join("a.yaml"), name).unwrap();
        bundle::build(policy.parent().unwrap(), name, 5, &key).unwrap()
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollout_goes_from_the_canary_to_all_and_back_when_one_refuses() {
    let dir = tempfile::tempdir().unwrap();
    let [one, two] = made(&dir);
    let collector = start(&dir).await;
    let mut canary = Node::start(&collector, "canary", &[("stage", "canary")], accepting(b"")).await;
    let mut other = Node::start(&collector, "other", &[], accepting(b"")).await;
    // One without keys is offered nothing, whatever happens.
    let mut deaf = Node::start(&collector, "deaf", &[("stage", "canary")], BundleState::default()).await;

    let mut bad = one.clone();
    bad[10] ^= 1;
    assert_eq!(post(&collector, "/bundles", "application/octet-stream", &bad).await.0, 400);
    assert_eq!(post(&collector, "/bundles", "text/plain", &one).await.0, 415);
    let (status, pushed) = post(&collector, "/bundles", "application/octet-stream", &one).await;
    assert_eq!((status, &pushed["name"]), (201, &"v1".into()), "{pushed}");
    let first = pushed["digest"].as_str().unwrap().to_owned();
    assert_eq!(get(&collector, "/bundles").await["bundles"][0]["files"], serde_json::json!(["rules/a.yaml"]));

    let steps = serde_json::json!(["stage=canary", "100%"]);
    let begin = |digest: &str| serde_json::json!({ "bundle": digest, "steps": steps, "bake_secs": 1 });
    for (body, status) in [
        (begin(&"0".repeat(64)), 404),
        (serde_json::json!({ "bundle": first, "steps": ["all"] }), 422),
        (serde_json::json!({ "bundle": first, "steps": [] }), 400),
    ] {
        assert_eq!(post_json(&collector, "/rollouts", &body).await.0, status, "{body}");
    }
    assert_eq!(post_json(&collector, "/rollouts", &begin(&first)).await.0, 201);
    assert_eq!(post_json(&collector, "/rollouts", &begin(&first)).await.0, 409);
    let offer = canary.offer().await;
    assert_eq!(offer.content, one);
    let digest = offer.digest.clone();
    assert_eq!(unhex(&first).unwrap(), digest);
    // Nobody else has it before the canary says that it works.
    let seen = until(&collector, "the canary is missing", |rollout| rollout["nodes"]["missing"] == 1).await;
    assert_eq!((&seen["step"], &seen["nodes"]["chosen"]), (&1.into(), &1.into()), "{seen}");
    canary.say(accepting(&digest)).await;
    assert_eq!(other.offer().await.digest, digest);
    other.say(accepting(&digest)).await;
    until(&collector, "the end", |rollout| rollout["state"] == "done").await;

    // The next one is refused by the canary: it goes back, the other never sees it.
    let (_, pushed) = post(&collector, "/bundles", "application/octet-stream", &two).await;
    let second = pushed["digest"].as_str().unwrap();
    assert_eq!(post_json(&collector, "/rollouts", &begin(second)).await.0, 201);
    let refused = canary.offer().await.digest;
    let fault = "rules/a.yaml:1:1: bad".to_owned();
    canary.say(BundleState { fault, fault_digest: refused, ..accepting(&digest) }).await;
    let ended = until(&collector, "the way back", |rollout| rollout["state"] == "rolled_back").await;
    assert_eq!(ended["reason"], "1 node refused it; `canary`: rules/a.yaml:1:1: bad");
    assert_eq!(canary.offer().await.digest, digest, "it is offered what it had");
    let started = Instant::now();
    let found = loop {
        let alerts = get(&collector, "/alerts?kind=agent").await;
        if let Some(alert) = alerts["alerts"].as_array().and_then(|alerts| alerts.first()) {
            break alert.clone();
        }
        assert!(started.elapsed() < PATIENCE, "no alert");
        sleep(Duration::from_millis(100)).await;
    };
    assert_eq!(found["alert"]["rule"], "Rampart internal: rollout rolled back");
    let nodes = get(&collector, "/nodes").await;
    let names: Vec<&str> =
        nodes["nodes"].as_array().unwrap().iter().filter_map(|node| node["name"].as_str()).collect();
    assert_eq!(names, ["canary", "deaf", "other"], "the collector is no node");
    let (_, page) = ask(&collector, "/metrics").await;
    for line in [
        "rampart_collector_rollouts_total{outcome=\"done\"} 1",
        "rampart_collector_rollouts_total{outcome=\"rolled_back\"} 1",
        "rampart_collector_rollout_under_way 0",
    ] {
        assert!(page.contains(line), "{line}: {page}");
    }
    // Somebody takes the first one back too: nothing was there before it.
    let path = format!(
        "/rollouts/{}/rollback?reason=loud",
        get(&collector, "/rollouts").await["rollouts"][1]["id"].as_str().unwrap()
    );
    assert_eq!(post(&collector, &path, "text/plain", b"").await.0, 415);
    let (status, back) = post_json(&collector, &path, &Value::Null).await;
    assert_eq!((status, &back["reason"]), (200, &"loud".into()));
    assert_eq!(post_json(&collector, &path, &Value::Null).await.0, 409);
    assert_eq!(other.offer().await, BundleOffer::default());
    drop(deaf.sender);
    while let Some(answer) = deaf.answers.message().await.unwrap() {
        assert!(!matches!(answer.kind, Some(collector_message::Kind::Bundle(_))), "{answer:?}");
    }
    collector.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bundle_that_makes_nodes_loud_is_taken_back() {
    let dir = tempfile::tempdir().unwrap();
    let [one, _] = made(&dir);
    let collector = start(&dir).await;
    let mut node = Node::start(&collector, "n", &[], accepting(b"")).await;
    let beat = async |node: &Node, secs: u64, alerts: u64, state: BundleState| {
        let beat = v1::Heartbeat {
            time_ns: (1_700_000_000 + secs) * 1_000_000_000,
            alerts,
            bundle: Some(state),
            ..v1::Heartbeat::default()
        };
        node.sender.send(message(agent_message::Kind::Heartbeat(beat))).await.unwrap();
    };
    // Ten a minute, as always.
    beat(&node, 0, 100, accepting(b"")).await;
    beat(&node, 60, 110, accepting(b"")).await;
    let (_, pushed) = post(&collector, "/bundles", "application/octet-stream", &one).await;
    let body = json!({ "bundle": pushed["digest"], "steps": ["100%"], "bake_secs": 3600 });
    assert_eq!(post_json(&collector, "/rollouts", &body).await.0, 201);
    let digest = node.offer().await.digest;
    beat(&node, 120, 120, accepting(&digest)).await;
    until(&collector, "the node has it", |rollout| rollout["nodes"]["loaded"] == 1).await;
    // A hundred a minute since.
    beat(&node, 180, 220, accepting(&digest)).await;
    let ended = until(&collector, "the way back", |rollout| rollout["state"] == "rolled_back").await;
    assert_eq!(ended["reason"], "alerts went from 10.0 to 100.0 a minute on 1 node");
    assert_eq!(node.offer().await, BundleOffer::default());
    // It comes back complaining of a bundle that nobody wants: it is told again.
    let fault_digest = digest.clone();
    let state = BundleState { fault: "bad".to_owned(), fault_digest, ..accepting(b"") };
    let mut again = Node::start(&collector, "n", &[], state).await;
    assert_eq!(again.offer().await, BundleOffer::default());
    collector.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn somebody_stops_a_rollout_lets_it_go_on_and_ends_it() {
    let dir = tempfile::tempdir().unwrap();
    let [one, _] = made(&dir);
    let collector = start(&dir).await;
    let (_, pushed) = post(&collector, "/bundles", "application/octet-stream", &one).await;
    let digest = pushed["digest"].clone();
    let (_, begun) = post_json(&collector, "/rollouts", &serde_json::json!({ "bundle": digest })).await;
    assert_eq!(
        (&begun["steps"], &begun["bake_secs"]),
        (&serde_json::json!(["10%", "50%", "100%"]), &600.into())
    );
    let act = |action: &str| format!("/rollouts/{}/{action}", begun["id"].as_str().unwrap());
    let state = |(status, body): (u16, Value)| (status, body["state"].clone(), body["step"].clone());
    assert_eq!(
        state(post_json(&collector, &act("pause"), &Value::Null).await),
        (200, "paused".into(), 1.into())
    );
    assert_eq!(post_json(&collector, &act("pause"), &Value::Null).await.0, 409);
    assert_eq!(
        state(post_json(&collector, &act("resume"), &Value::Null).await),
        (200, "running".into(), 1.into())
    );
    assert_eq!(
        state(post_json(&collector, &act("promote"), &Value::Null).await),
        (200, "running".into(), 2.into())
    );
    let all = format!("{}?all=true", act("promote"));
    assert_eq!(state(post_json(&collector, &all, &Value::Null).await), (200, "done".into(), 3.into()));
    assert_eq!(post_json(&collector, &act("explode"), &Value::Null).await.0, 404);
    // One that comes later gets it at once.
    let mut late = Node::start(&collector, "late", &[], accepting(b"")).await;
    assert_eq!(late.offer().await.content, one);
    collector.stop().await;
}
