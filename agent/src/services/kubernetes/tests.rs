//! The watch against a small API server, and what objects become.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Json, Router,
    body::{Body, Bytes},
    extract::{RawQuery, State},
    response::{IntoResponse as _, Response},
    routing::get,
};
use kube::Config;
use serde_json::json;
use tokio::{net::TcpListener, sync::mpsc, time::timeout};

use super::*;
use crate::{
    config::{AdminState, Algorithm, ServiceSettings, Sources, service_of},
    services::desk,
};

fn service(name: &str, annotations: &serde_json::Value, ports: &serde_json::Value) -> serde_json::Value {
    json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": { "name": name, "namespace": "shop", "annotations": annotations },
        "spec": { "clusterIP": "10.96.0.7", "ports": ports },
    })
}

fn web() -> serde_json::Value {
    let settings = "algorithm: weighted\nbreaker: {failure_threshold: 7}\nvip: 1.2.3.4:5\n";
    let annotations = json!({ "rampart.io/enabled": "true", "rampart.io/settings": settings });
    service("web", &annotations, &json!([{ "name": "http", "port": 80, "protocol": "TCP" }]))
}

fn endpoint(name: &str, address: &str, conditions: &serde_json::Value) -> serde_json::Value {
    json!({ "addresses": [address], "conditions": conditions, "targetRef": { "kind": "Pod", "name": name } })
}

fn slice(name: &str, of: &str, endpoints: &serde_json::Value) -> serde_json::Value {
    json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": { "name": name, "namespace": "shop", "labels": { "kubernetes.io/service-name": of } },
        "endpoints": endpoints,
        "ports": [{ "name": "http", "port": 8080, "protocol": "TCP" }, { "name": "admin", "port": 9000 }],
    })
}

fn read(name: &str, value: &Value) -> ServiceSettings {
    let defaults = Sources::default().load().unwrap().services.defaults;
    service_of(name, value.clone(), &defaults).unwrap()
}

fn made(services: &[serde_json::Value], slices: &[serde_json::Value]) -> BTreeMap<String, Value> {
    let services: Vec<Service> =
        services.iter().map(|one| serde_json::from_value(one.clone()).unwrap()).collect();
    let slices: Vec<EndpointSlice> =
        slices.iter().map(|one| serde_json::from_value(one.clone()).unwrap()).collect();
    sections(services.iter(), slices.iter())
}

#[test]
fn objects_become_settings() {
    let endpoints = json!([
        endpoint("web-1", "10.1.0.1", &json!({ "ready": true })),
        endpoint("web-2", "10.1.0.2", &json!({ "ready": false, "serving": true, "terminating": true })),
        endpoint("web-3", "10.1.0.3", &json!({ "ready": false, "serving": false, "terminating": false })),
        { "addresses": ["10.1.0.4"] },
        endpoint("web-6", "fd00::6", &json!({ "ready": true })),
    ]);
    let found = made(&[web()], &[slice("web-x", "web", &endpoints), slice("other", "db", &endpoints)]);
    assert_eq!(found.keys().collect::<Vec<_>>(), ["shop.web"]);
    let settings = read("shop.web", &found["shop.web"]);
    assert_eq!(settings.vip, "10.96.0.7:80".parse().unwrap(), "what the object says counts");
    assert_eq!((settings.algorithm, settings.breaker.failure_threshold), (Algorithm::Weighted, 7));
    let backends: Vec<(&str, String, AdminState)> = settings
        .backends
        .iter()
        .map(|(name, backend)| (name.as_str(), backend.address.to_string(), backend.admin))
        .collect();
    let of = |name, address: &str, admin| (name, address.to_owned(), admin);
    assert_eq!(
        backends,
        [
            of("10.1.0.4", "10.1.0.4:8080", AdminState::Ready),
            of("web-1", "10.1.0.1:8080", AdminState::Ready),
            of("web-2", "10.1.0.2:8080", AdminState::Drain),
        ]
    );
}

#[test]
fn ports_addresses_and_nonsense() {
    let enabled = |more: serde_json::Value| {
        let mut annotations = json!({ "rampart.io/enabled": "true" });
        annotations.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        annotations
    };
    let ports = json!([{ "name": "http", "port": 80 }, { "name": "admin", "port": 90 }]);
    let endpoints = json!([endpoint("web-1", "10.1.0.1", &json!({}))]);
    let two = service("two", &enabled(json!({ "rampart.io/vip": "198.18.0.9" })), &ports);
    let found = made(&[two], &[slice("two-x", "two", &endpoints)]);
    let address = |name: &str| {
        let settings = read(name, &found[name]);
        (settings.vip.to_string(), settings.backends["web-1"].address.to_string())
    };
    assert_eq!(address("shop.two.http"), ("198.18.0.9:80".to_owned(), "10.1.0.1:8080".to_owned()));
    assert_eq!(address("shop.two.admin"), ("198.18.0.9:90".to_owned(), "10.1.0.1:9000".to_owned()));
    let defaults = Sources::default().load().unwrap().services.defaults;
    for more in [
        json!({ "rampart.io/vip": "nowhere" }),
        json!({ "rampart.io/settings": "[1, 2]" }),
        json!({ "rampart.io/settings": "{" }),
        json!({ "rampart.io/settings": "algorithm: best" }),
    ] {
        let found = made(&[service("bad", &enabled(more.clone()), &json!([{ "port": 80 }]))], &[]);
        assert!(service_of("shop.bad", found["shop.bad"].clone(), &defaults).is_err(), "{more}");
    }
}

/// What the server answers to a watch of either kind: lines, as they come.
type Lines = Arc<Mutex<BTreeMap<&'static str, mpsc::Receiver<String>>>>;

fn objects(kind: &'static str, query: &str, list: serde_json::Value, lines: &Lines) -> Response {
    if !query.contains("watch=true") {
        return Json(list).into_response();
    }
    let taken = lines.lock().unwrap().remove(kind);
    let stream = stream::unfold(taken, |taken| async {
        let mut lines = taken?;
        let line = lines.recv().await?;
        Some((Ok::<_, std::io::Error>(Bytes::from(format!("{line}\n"))), Some(lines)))
    });
    Body::from_stream(stream.chain(stream::pending())).into_response()
}

#[tokio::test]
async fn services_are_listed_followed_and_told_together() {
    let plain = service("plain", &json!({}), &json!([{ "port": 80 }]));
    let first = slice("web-x", "web", &json!([endpoint("web-1", "10.1.0.1", &json!({ "ready": true }))]));
    let list = |kind: &str, version: &str, items: Vec<serde_json::Value>| json!({ "apiVersion": version, "kind": format!("{kind}List"), "metadata": { "resourceVersion": "5" }, "items": items });
    let (services, slices) = (
        list("Service", "v1", vec![web(), plain]),
        list("EndpointSlice", "discovery.k8s.io/v1", vec![first]),
    );
    let (of_services, service_lines) = mpsc::channel(8);
    let (of_slices, slice_lines) = mpsc::channel(8);
    let lines: Lines =
        Arc::new(Mutex::new(BTreeMap::from([("services", service_lines), ("slices", slice_lines)])));
    let queries = Arc::new(Mutex::new(Vec::new()));
    let asked = Arc::clone(&queries);
    let router = Router::new()
        .route(
            "/api/v1/services",
            get(async move |RawQuery(query): RawQuery, State(lines): State<Lines>| {
                objects("services", &query.unwrap_or_default(), services, &lines)
            }),
        )
        .route(
            "/apis/discovery.k8s.io/v1/endpointslices",
            get(async move |RawQuery(query): RawQuery, State(lines): State<Lines>| {
                let query = query.unwrap_or_default();
                asked.lock().unwrap().push(query.clone());
                objects("slices", &query, slices, &lines)
            }),
        )
        .with_state(lines);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    let client = Client::try_from(Config::new(format!("http://{address}").parse().unwrap())).unwrap();
    let (desk, received) = desk::desk();
    tokio::spawn(run(client, desk));
    let (told, mut founds) = mpsc::channel(8);
    std::thread::spawn(move || {
        while let Ok(Command::Found(found)) = received.recv() {
            if told.blocking_send(found).is_err() {
                return;
            }
        }
    });
    let mut next = async || timeout(Duration::from_secs(30), founds.recv()).await.expect("in time").unwrap();

    let found = next().await;
    assert_eq!(found.keys().collect::<Vec<_>>(), ["shop.web"], "only those that ask for it");
    assert_eq!(read("shop.web", &found["shop.web"]).backends.len(), 1);
    let both = json!([
        endpoint("web-1", "10.1.0.1", &json!({ "ready": true })),
        endpoint("web-2", "10.1.0.2", &json!({ "ready": true })),
    ]);
    let event = |kind: &str, mut object: serde_json::Value| {
        object["metadata"]["resourceVersion"] = "6".into();
        json!({ "type": kind, "object": object }).to_string()
    };
    of_slices.send(event("MODIFIED", slice("web-x", "web", &both))).await.unwrap();
    assert_eq!(read("shop.web", &next().await["shop.web"]).backends.len(), 2);
    // Asked for no more.
    let off = service("web", &json!({}), &json!([{ "name": "http", "port": 80 }]));
    of_services.send(event("MODIFIED", off)).await.unwrap();
    assert!(next().await.is_empty());
    of_services.send(event("MODIFIED", web())).await.unwrap();
    assert_eq!(next().await.len(), 1);
    of_services.send(event("DELETED", web())).await.unwrap();
    assert!(next().await.is_empty());
    let queries = queries.lock().unwrap();
    assert!(
        queries.iter().all(|query| query.contains("labelSelector=kubernetes.io%2Fservice-name")),
        "{queries:?}"
    );
}
