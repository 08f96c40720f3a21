//! The watch against a small API server.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Json, Router,
    body::{Body, Bytes},
    extract::{RawQuery, State},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::get,
};
use kube::{Client, Config, runtime::utils::Backoff as _};
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::mpsc, time::timeout};

use super::{Outlet, Tallies, Waits, run};
use crate::{
    retry::{Backoff, Budget, Retry},
    state::container::{News, Pod},
};

const ID: &str = "605439acbd4fb18c145069289094b17f17e0cfa938f78012d4960bc797305f22";

/// A pod as the API server shows it, cut to what is read and a little more.
fn pod(name: &str, version: u32) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "namespace": "shop",
            "uid": format!("uid-{name}"),
            "resourceVersion": version.to_string(),
            "labels": {"app": "web", "pod-template-hash": "5d4f"},
            "ownerReferences": [
                {"apiVersion": "v1", "kind": "Other", "name": "no", "uid": "0"},
                {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web-5d4f", "uid": "rs-1", "controller": true},
            ],
        },
        "spec": {
            "nodeName": "node-1",
            "containers": [{
                "name": "web",
                "image": "reg/shop/web:1",
                "securityContext": {"privileged": true},
                "livenessProbe": {"exec": {"command": ["cat", "/ok"]}},
                "readinessProbe": {"httpGet": {"path": "/", "port": 80}},
            }],
        },
        "status": {
            "podIP": "10.1.2.3",
            "containerStatuses": [{
                "name": "web",
                "containerID": format!("containerd://{ID}"),
                "image": "reg/shop/web:1",
                "imageID": format!("reg/shop/web@sha256:{}", "d".repeat(64)),
                "ready": true,
                "restartCount": 0,
            }],
        },
    })
}

/// What the server answers: lists in order, and for each watch the lines it sends before it ends.
#[derive(Default)]
struct Script {
    lists: Vec<Value>,
    watches: Vec<Vec<Value>>,
    queries: Vec<String>,
}

type Shared = Arc<Mutex<Script>>;

async fn pods(State(script): State<Shared>, RawQuery(query): RawQuery) -> Response {
    let query = query.unwrap_or_default();
    let mut script = script.lock().unwrap();
    script.queries.push(query.clone());
    if !query.contains("watch=true") {
        return if script.lists.is_empty() {
            StatusCode::FORBIDDEN.into_response()
        } else {
            Json(script.lists.remove(0)).into_response()
        };
    }
    if script.watches.is_empty() {
        // A watch on which nothing happens.
        let silence = futures_util::stream::pending::<Result<Bytes, std::io::Error>>();
        return Body::from_stream(silence).into_response();
    }
    let lines: Vec<String> = script.watches.remove(0).iter().map(Value::to_string).collect();
    format!("{}\n", lines.join("\n")).into_response()
}

fn list(pods: &[Value], version: u32) -> Value {
    json!({"apiVersion": "v1", "kind": "PodList", "metadata": {"resourceVersion": version.to_string()}, "items": pods})
}

async fn server(script: Script) -> (SocketAddr, Shared) {
    let script = Arc::new(Mutex::new(script));
    let router = Router::new().route("/api/v1/pods", get(pods)).with_state(Arc::clone(&script));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    (address, script)
}

fn watch(address: SocketAddr) -> (mpsc::Receiver<News>, Arc<Tallies>) {
    let client = Client::try_from(Config::new(format!("http://{address}").parse().unwrap())).unwrap();
    let (sender, news) = mpsc::channel(16);
    let tallies = Arc::new(Tallies::default());
    let counted = Arc::clone(&tallies);
    let outlet = Outlet { news: sender, wake: Arc::new(|| {}) };
    tokio::spawn(async move { run(client, "node-1", outlet, counted).await });
    (news, tallies)
}

async fn next(news: &mut mpsc::Receiver<News>) -> News {
    timeout(Duration::from_secs(30), news.recv()).await.expect("in time").expect("news")
}

fn names(pods: &[Arc<Pod>]) -> Vec<&str> {
    pods.iter().map(|pod| pod.name.as_str()).collect()
}

#[tokio::test]
async fn pods_of_the_node_are_listed_and_followed() {
    let script = Script {
        lists: vec![list(&[pod("a", 1), pod("b", 2)], 2)],
        watches: vec![vec![
            json!({"type": "MODIFIED", "object": pod("a", 3)}),
            json!({"type": "BOOKMARK", "object": {"kind": "Pod", "apiVersion": "v1", "metadata": {"resourceVersion": "9"}}}),
            json!({"type": "DELETED", "object": pod("b", 10)}),
        ]],
        ..Script::default()
    };
    let (address, script) = server(script).await;
    let (mut news, _) = watch(address);
    let News::Pods(all) = next(&mut news).await else { panic!("no list") };
    assert_eq!(names(&all), ["a", "b"]);
    let first = &all[0];
    assert_eq!((first.namespace.as_str(), first.ip.as_deref()), ("shop", Some("10.1.2.3")));
    assert_eq!(first.owner.as_ref().map(|owner| owner.name.as_str()), Some("web-5d4f"));
    let container = first.containers.get(ID).expect("by its id");
    assert_eq!((container.name.as_str(), container.privileged), ("web", Some(true)));
    assert_eq!(container.image.digest, Some(format!("sha256:{}", "d".repeat(64))));
    assert_eq!(container.probes.liveness, Some(vec!["cat".to_owned(), "/ok".to_owned()]));
    assert_eq!(container.probes.readiness, None);
    assert!(matches!(next(&mut news).await, News::Pod(pod) if pod.name == "a"));
    assert_eq!(next(&mut news).await, News::PodGone("uid-b".into()));
    let queries = script.lock().unwrap().queries.clone();
    assert!(
        queries.iter().all(|query| query.contains("fieldSelector=spec.nodeName%3Dnode-1")),
        "{queries:?}"
    );
    assert!(queries[1].contains("allowWatchBookmarks=true") && queries[1].contains("resourceVersion=2"));
}

#[tokio::test]
async fn a_watch_that_fell_behind_lists_anew() {
    let gone = json!({"type": "ERROR", "object": {
        "kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "Expired", "code": 410, "message": "too old",
    }});
    let script = Script {
        lists: vec![list(&[pod("a", 1)], 1), list(&[pod("c", 20)], 20)],
        watches: vec![vec![gone]],
        ..Script::default()
    };
    let (address, _) = server(script).await;
    let (mut news, tallies) = watch(address);
    assert!(matches!(next(&mut news).await, News::Pods(all) if names(&all) == ["a"]));
    assert!(matches!(next(&mut news).await, News::Pods(all) if names(&all) == ["c"]));
    assert_eq!(tallies.pods.load(std::sync::atomic::Ordering::Relaxed), 2);
}

#[tokio::test]
async fn a_server_that_is_away_is_asked_again() {
    let (address, script) = server(Script::default()).await;
    let (mut news, tallies) = watch(address);
    let failed = || tallies.pod_errors.load(std::sync::atomic::Ordering::Relaxed) > 0;
    while !failed() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    script.lock().unwrap().lists.push(list(&[pod("a", 1)], 1));
    assert!(matches!(next(&mut news).await, News::Pods(all) if names(&all) == ["a"]));
}

#[test]
fn pods_without_an_identity_or_containers_are_no_trouble() {
    use k8s_openapi::api::core::v1;
    assert!(super::pod::convert(v1::Pod::default()).is_none());
    let mut bare = v1::Pod::default();
    (bare.metadata.uid, bare.metadata.name) = (Some("u".into()), Some("n".into()));
    assert!(super::pod::convert(bare).is_some_and(|pod| pod.containers.is_empty()));
}

#[test]
fn waits_grow_although_each_try_begins_well() {
    let budget = Budget::new(1000, Duration::from_secs(1));
    let mut waits = Waits { retry: Retry::new(Backoff::default(), Arc::new(budget)), ..Waits::default() };
    let mut next = || {
        waits.reset();
        waits.next().unwrap()
    };
    assert!(next() <= Backoff::default().first);
    for _ in 0..10 {
        next();
    }
    assert!((0..20).any(|_| next() > Duration::from_secs(2)));
}
