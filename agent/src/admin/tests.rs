mod dashboard;
mod openapi;

use std::{future::Future, sync::Arc, time::Instant};

use hyper::Method;
use serde_json::Value;
use tokio::sync::watch;

use super::*;
use crate::{
    limits::{
        desk::{Ask, Command, desk},
        entries::{Kind, Refusal},
    },
    telemetry::{
        ready::Latch,
        status::{Detection, Fault, shared},
    },
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

/// Sends a request and gives status and body.
async fn ask(place: &client::Place, method: Method, page: &str, body: &str) -> (u16, Value) {
    let question = client::Question { method, page, body: body.into(), token: None };
    let answer = client::ask(place, question).await.unwrap();
    (answer.status, serde_json::from_slice(&answer.body).unwrap())
}

#[test]
fn changes_come_from_who_may_and_are_noted_or_not_made() {
    let dir = tempfile::tempdir().unwrap();
    let (desk, asked) = desk();
    let thread = std::thread::spawn(move || {
        let mut all = Vec::new();
        for command in asked {
            if let Command::Ask(ask, answer) = command {
                let net = |text: &str| text.parse().unwrap();
                let said = match &*ask {
                    Ask::Put(wanted) if wanted.net == net("192.0.2.1/32") => {
                        Err(Refusal::Safe { net: wanted.net, safe: wanted.net, why: "me".to_owned() }.into())
                    }
                    _ => Ok(serde_json::json!({ "fine": true })),
                };
                all.push(*ask);
                answer.send(said).unwrap();
            }
        }
        all
    });
    let state = dir.path().join("state");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let guard = Guard { token_file: None, audit: Some(audit::Audit::new(&state)) };
        let admin = Admin::bind("127.0.0.1:0".parse().unwrap()).unwrap().with_guard(guard).with_limits(desk);
        let path = dir.path().join("sock");
        // What a killed agent left is no obstacle.
        fs::write(&path, "").unwrap();
        let (admin, fault) = admin.with_socket(&path);
        assert!(fault.is_none());
        let (tcp, socket) = (client::Place::Tcp(admin.address()), client::Place::Socket(path.clone()));
        let (stop, stopped) = watch::channel(false);
        let server = tokio::spawn(admin.serve(shared(), stopped));
        let deny = "/limits/deny";
        let body = r#"{"net": "198.51.100.0/24", "for_secs": 60}"#;
        let (status, answer) = ask(&tcp, Method::POST, deny, body).await;
        assert!(status == 403 && answer["error"].as_str().unwrap().contains("admin.token_file"), "{answer}");
        assert_eq!(ask(&socket, Method::POST, deny, body).await, (200, serde_json::json!({ "fine": true })));
        let (status, answer) = ask(&socket, Method::POST, deny, r#"{"net": "192.0.2.1"}"#).await;
        assert!(status == 409 && answer["error"].as_str().unwrap().ends_with("is me"), "{answer}");
        assert_eq!(ask(&socket, Method::POST, deny, "{").await.0, 400);
        assert_eq!(ask(&socket, Method::DELETE, "/limits/allow/2001:db8::/48", "").await.0, 200);
        assert_eq!(ask(&tcp, Method::DELETE, "/limits/allow/2001:db8::/48", "").await.0, 403);
        assert_eq!(ask(&tcp, Method::GET, "/limits/explain?ip=192.0.2.7&port=80", "").await.0, 200);
        assert_eq!(ask(&tcp, Method::GET, "/limits/explain?port=80", "").await.0, 400);
        assert_eq!(ask(&tcp, Method::GET, "/limits/web", "").await.0, 200);
        // What cannot be noted is not done.
        let audit = fs::read_to_string(state.join(audit::FILE)).unwrap();
        fs::remove_dir_all(&state).unwrap();
        fs::write(&state, "no directory").unwrap();
        assert_eq!(ask(&socket, Method::POST, deny, body).await.0, 503);
        let outcomes: Vec<Value> = audit
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap()["outcome"].clone())
            .collect();
        assert_eq!(outcomes, ["done", "`192.0.2.1/32` cannot be denied: `192.0.2.1/32` is me", "done"]);
        stop.send(true).unwrap();
        server.await.unwrap().unwrap();
        assert!(!path.exists());
    });
    let asked = thread.join().unwrap();
    assert_eq!(asked.len(), 5, "{asked:?}");
    assert!(
        matches!(&asked[0], Ask::Put(wanted) if wanted.secs == Some(60) && wanted.by.starts_with("uid "))
    );
    assert_eq!(asked[2], Ask::Remove(Kind::Allow, "2001:db8::/48".parse().unwrap()));
    assert_eq!(asked[4], Ask::Policy("web".to_owned()));
}
