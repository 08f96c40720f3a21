use std::{future::Future, sync::Arc, time::Instant};

use serde_json::Value;
use tokio::sync::watch;

use super::*;
use crate::telemetry::{
    ready::Latch,
    status::{Detection, Fault, shared},
};

/// Runs `work` against a server of its own and stops it.
fn with_server<F: Future<Output = ()>>(status: &Arc<Status>, work: impl FnOnce(SocketAddr) -> F) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let admin = Admin::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = admin.address();
        let (stop, stopped) = watch::channel(false);
        let server = tokio::spawn(admin.serve(Arc::clone(status), stopped));
        work(address).await;
        stop.send(true).unwrap();
        server.await.unwrap().unwrap();
    });
}

async fn page(address: SocketAddr, page: &str) -> (u16, Value) {
    let answer = client::get(address, page).await.unwrap();
    (answer.status, serde_json::from_slice(&answer.body).unwrap())
}

#[test]
fn ready_waits_for_every_latch_and_names_them() {
    let status = shared();
    with_server(&status, async |address| {
        assert_eq!(page(address, "/healthz").await, (200, serde_json::json!({"status": "ok"})));
        let (code, body) = page(address, "/ready").await;
        assert_eq!((code, body["waiting_for"].as_array().unwrap().len()), (503, 5));
        for latch in [Latch::Policy, Latch::Outputs, Latch::Processes, Latch::Kernel] {
            status.latches.release(latch);
        }
        let (code, body) = page(address, "/ready").await;
        assert_eq!((code, &body["waiting_for"]), (503, &serde_json::json!(["detection"])));
        status.latches.release(Latch::Detection);
        assert_eq!(page(address, "/ready").await.0, 200);
    });
}

#[test]
fn a_failed_reload_shows_in_health_and_not_in_ready() {
    let status = shared();
    for latch in [Latch::Policy, Latch::Outputs, Latch::Processes, Latch::Kernel, Latch::Detection] {
        status.latches.release(latch);
    }
    status.set_detection(Detection { beat: Some(Instant::now()), records: 7, ..Detection::default() });
    status.update_policy(|policy| {
        policy.failures = 1;
        policy.fault = Some(Fault { time: std::time::SystemTime::now(), text: "rules.yaml:1:1: bad".into() });
    });
    with_server(&status, async |address| {
        assert_eq!(page(address, "/ready").await.0, 200);
        assert_eq!(page(address, "/healthz").await.0, 200);
        assert_eq!(page(address, "/health").await, (503, serde_json::json!({"status": "degraded"})));
        let (code, body) = page(address, "/health/detailed").await;
        assert_eq!(code, 200);
        assert_eq!(body["policy"]["last_fault"]["text"], "rules.yaml:1:1: bad");
        assert_eq!(body["detection"]["records"], 7);
        assert!(body["complaints"][0].as_str().unwrap().contains("the rules before it are in force"));
    });
}

#[test]
fn metrics_versions_and_unknown_pages() {
    let status = shared();
    with_server(&status, async |address| {
        let metrics = client::get(address, "/metrics").await.unwrap();
        let text = String::from_utf8(metrics.body).unwrap();
        assert!(text.contains("falcosecurity_falco_version_info{version="), "{text}");
        assert_eq!(page(address, "/versions").await.1["rampart_version"], env!("CARGO_PKG_VERSION"));
        let (code, body) = page(address, "/nothing").await;
        assert_eq!((code, body["pages"].as_array().unwrap().len()), (404, PAGES.len()));
    });
}

#[test]
fn a_port_in_use_says_so() {
    let taken = Admin::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let error = Admin::bind(taken.address()).unwrap_err().to_string();
    let address = taken.address();
    assert_eq!(
        error,
        format!(
            "cannot serve HTTP on {address}: another program uses this port; set `admin.listen` to a free one"
        )
    );
}

#[test]
fn the_client_tells_silence_from_refusal_from_nonsense() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = free.local_addr().unwrap();
        drop(free);
        let error = client::get(address, "/").await.unwrap_err();
        assert_eq!(error.to_string(), format!("no agent answers at {address}"));
        let other = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = other.local_addr().unwrap();
        let server = tokio::spawn(async move {
            let (mut stream, _) = other.accept().await.unwrap();
            tokio::io::AsyncWriteExt::write_all(&mut stream, b"SSH-2.0-x\r\n").await.unwrap();
        });
        let error = client::get(address, "/").await.unwrap_err();
        assert_eq!(error.to_string(), format!("what listens on {address} is no agent"));
        server.await.unwrap();
    });
}
