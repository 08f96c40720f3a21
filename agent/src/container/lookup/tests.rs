//! The look-up against servers that speak Docker's API over a unix socket.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use axum::{Json, Router, extract::Path as Segment, http::StatusCode, response::IntoResponse, routing::get};
use serde_json::{Value, json};
use tokio::{net::UnixListener, sync::mpsc, time::timeout};

use super::{Outlet, Tallies, run};
use crate::{
    container::sockets::{Interface, Sockets},
    event::ProcessId,
    state::{
        cgroup::{CtrTasks, Runtime, container},
        container::{Metadata, News, Wanted},
    },
};

const ID: &str = "605439acbd4fb18c145069289094b17f17e0cfa938f78012d4960bc797305f22";
const IMAGE: &str = "7951fb549ab99e0722a949b6c121634e1f3a36b5bacbe5392991e3b12251e6b8";

/// A container as Docker's inspection shows it, cut to what is read and a little more.
fn inspected() -> Value {
    json!({
        "Id": ID,
        "Name": "/web",
        "Image": format!("sha256:{IMAGE}"),
        "State": {"Status": "running", "Pid": 4242, "Health": {"Status": "healthy"}},
        "Config": {
            "Image": "reg:5000/shop/web:1.2",
            "Labels": {
                "io.kubernetes.pod.name": "web-1",
                "io.kubernetes.pod.namespace": "shop",
                "io.kubernetes.pod.uid": "u-1",
                "plain": "label",
            },
            "Healthcheck": {"Test": ["CMD-SHELL", "curl -f localhost"], "Interval": 5},
        },
        "HostConfig": {"Privileged": true, "NetworkMode": "default", "PidMode": "host", "IpcMode": "private"},
        "Mounts": [{"Type": "bind", "Source": "/etc", "Destination": "/host/etc", "Mode": "ro", "RW": false, "Propagation": "rslave"}],
        "NetworkSettings": {"IPAddress": "", "Networks": {"shop": {"IPAddress": "172.20.0.2"}}},
    })
}

fn image() -> Value {
    json!({
        "Id": format!("sha256:{IMAGE}"),
        "RepoTags": ["reg:5000/shop/web:1.2"],
        "RepoDigests": [format!("reg:5000/shop/web@sha256:{}", "d".repeat(64))],
    })
}

/// Docker, which knows the container from its nth question on.
fn docker(knows_from: u32) -> (Router, Arc<AtomicU32>) {
    let asked = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&asked);
    let router = Router::new()
        .route(
            "/{version}/containers/{id}/json",
            get(move |Segment((_, id)): Segment<(String, String)>| async move {
                let time = count.fetch_add(1, Relaxed) + 1;
                if id == ID && time >= knows_from {
                    Json(inspected()).into_response()
                } else {
                    (StatusCode::NOT_FOUND, Json(json!({"message": "No such container"}))).into_response()
                }
            }),
        )
        .route("/{version}/images/{id}/json", get(|| async { Json(image()) }));
    (router, asked)
}

fn serve(socket: &Path, router: Router) {
    std::fs::create_dir_all(socket.parent().expect("a directory")).expect("a directory");
    let listener = UnixListener::bind(socket).expect("a socket");
    tokio::spawn(async move { axum::serve(listener, router).await });
}

/// A process that does not exist, so that no names come.
const NOBODY: ProcessId = ProcessId { pid: u32::MAX, start_ticks: 0 };

struct Bench {
    root: tempfile::TempDir,
    requests: mpsc::Sender<Wanted>,
    news: mpsc::Receiver<News>,
    tallies: Arc<Tallies>,
}

fn bench(listed: &[(Interface, &str)]) -> Bench {
    let root = tempfile::tempdir().expect("a directory");
    let listed = listed.iter().map(|(interface, path)| (*interface, path.into())).collect();
    let sockets = Sockets { host_root: root.path().to_owned(), listed };
    let (requests, requested) = mpsc::channel(16);
    let (sender, news) = mpsc::channel(16);
    let tallies = Arc::new(Tallies::default());
    let outlet = Outlet { news: sender, wake: Arc::new(|| {}) };
    tokio::spawn(run(sockets, requested, outlet, Arc::clone(&tallies)));
    Bench { root, requests, news, tallies }
}

impl Bench {
    fn socket(&self, path: &str) -> std::path::PathBuf {
        self.root.path().join(path.trim_start_matches('/'))
    }

    async fn ask(&mut self, group: &str) -> Option<Metadata> {
        let wanted = container(group.as_bytes(), &CtrTasks::Any).expect("a container");
        let id = Arc::clone(&wanted.id);
        self.requests
            .send(Wanted { container: Arc::new(wanted), process: NOBODY, names_only: false })
            .await
            .expect("somebody looks up");
        let mut next = async || {
            timeout(Duration::from_secs(20), self.news.recv()).await.expect("in time").expect("an answer")
        };
        // Nobody's names cannot be read, which is said first.
        assert!(matches!(next().await, News::NoNames(of) if of == id));
        match next().await {
            News::Container(of, found) => {
                assert_eq!(of, id);
                found.map(|metadata| *metadata)
            }
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn docker_tells_everything_it_knows() {
    let mut bench = bench(&[(Interface::Docker, "/docker.sock")]);
    let (router, asked) = docker(1);
    serve(&bench.socket("docker.sock"), router);
    let found = bench.ask(&format!("/docker/{ID}")).await.expect("known");
    assert_eq!(found.runtime, Some(Runtime::Docker));
    assert_eq!((found.name.as_deref(), found.full_id.as_deref()), (Some("web"), Some(ID)));
    assert_eq!(found.image.name.as_deref(), Some("reg:5000/shop/web:1.2"));
    assert_eq!(found.image.repository.as_deref(), Some("reg:5000/shop/web"));
    assert_eq!(found.image.tag.as_deref(), Some("1.2"));
    assert_eq!(found.image.digest, Some(format!("sha256:{}", "d".repeat(64))));
    assert_eq!(found.image_id.as_deref(), Some(IMAGE));
    assert_eq!((found.privileged, found.host_pid, found.host_network), (Some(true), Some(true), Some(false)));
    assert_eq!(found.mounts[0].text(), "/etc:/host/etc:ro:false:rslave");
    assert_eq!(found.ip.as_deref(), Some("172.20.0.2"));
    assert_eq!(found.labels.get("plain").map(String::as_str), Some("label"));
    assert_eq!(
        found.probes.health.map(|argv| argv.join(" ")).as_deref(),
        Some("/bin/sh -c curl -f localhost")
    );
    let pod = found.pod.expect("a pod");
    assert_eq!((pod.name.as_str(), pod.namespace.as_str(), pod.uid.as_str()), ("web-1", "shop", "u-1"));
    assert_eq!((asked.load(Relaxed), bench.tallies.found.load(Relaxed)), (1, 1));
}

#[tokio::test]
async fn a_container_the_runtime_does_not_know_yet_is_asked_for_again() {
    let mut bench = bench(&[(Interface::Docker, "/docker.sock")]);
    let (router, asked) = docker(3);
    serve(&bench.socket("docker.sock"), router);
    assert!(bench.ask(&format!("/docker/{ID}")).await.is_some());
    assert_eq!(asked.load(Relaxed), 3);
    // One that nobody ever knows ends after a bounded number of questions.
    assert!(bench.ask(&format!("/docker/{}", "a".repeat(64))).await.is_none());
    assert_eq!((asked.load(Relaxed), bench.tallies.unknown.load(Relaxed)), (3 + 6, 1));
}

#[tokio::test]
async fn without_a_runtime_the_answer_comes_at_once() {
    let mut bench = bench(&[(Interface::Docker, "/docker.sock")]);
    let start = Instant::now();
    assert!(bench.ask(&format!("/docker/{ID}")).await.is_none());
    assert!(start.elapsed() < Duration::from_millis(400), "{:?}", start.elapsed());
    assert_eq!(bench.tallies.failed.load(Relaxed), 1);
    let found = bench.ask("/lxc.payload.web/init.scope").await.expect("its name is in the path");
    assert_eq!((found.name.as_deref(), found.runtime), (Some("web"), Some(Runtime::Lxc)));
}

#[tokio::test]
async fn a_runtime_that_hangs_is_given_up_and_left_alone() {
    let mut bench = bench(&[(Interface::Docker, "/docker.sock")]);
    let router = Router::new().fallback(|| async { std::future::pending::<()>().await });
    serve(&bench.socket("docker.sock"), router);
    assert!(bench.ask(&format!("/docker/{ID}")).await.is_none());
    assert_eq!(bench.tallies.timeouts.load(Relaxed), 1);
    let start = Instant::now();
    assert!(bench.ask(&format!("/docker/{}", "a".repeat(64))).await.is_none());
    assert!(start.elapsed() < Duration::from_millis(400), "{:?}", start.elapsed());
}

#[tokio::test]
async fn hostile_answers_are_survived() {
    let answers: [&'static [u8]; 5] =
        [b"", b"{", b"[]", b"{\"Name\": 7, \"Mounts\": {}, \"Config\": []}", b"null"];
    for answer in answers {
        let mut bench = bench(&[(Interface::Docker, "/docker.sock")]);
        let router = Router::new().fallback(move || async move { answer });
        serve(&bench.socket("docker.sock"), router);
        let found = bench.ask(&format!("/docker/{ID}")).await;
        assert!(found.is_none_or(|it| it.name.is_none()), "{}", String::from_utf8_lossy(answer));
    }
    let mut bench = bench(&[(Interface::Docker, "/docker.sock")]);
    let router = Router::new().fallback(|| async { vec![b'['; 8 << 20] });
    serve(&bench.socket("docker.sock"), router);
    assert!(bench.ask(&format!("/docker/{ID}")).await.is_none());
}

#[tokio::test]
async fn a_users_runtime_is_asked_about_that_users_containers_only() {
    let mut bench = bench(&[(Interface::Podman, "/run/podman/podman.sock")]);
    let (router, asked) = docker(1);
    serve(&bench.socket("run/user/1000/podman/podman.sock"), router);
    let of =
        |user: u32| format!("/user.slice/user-{user}.slice/user@{user}.service/user.slice/libpod-{ID}.scope");
    assert!(bench.ask(&format!("/machine.slice/libpod-{ID}.scope")).await.is_none());
    assert!(bench.ask(&of(1001)).await.is_none());
    assert_eq!(asked.load(Relaxed), 0);
    let found = bench.ask(&of(1000)).await.expect("known");
    assert_eq!(found.runtime, Some(Runtime::Podman));
}

#[tokio::test]
async fn what_was_not_ready_is_asked_about_again() {
    let mut bench = bench(&[(Interface::Docker, "/docker.sock")]);
    let asked = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&asked);
    let router = Router::new().route(
        "/{version}/containers/{id}/json",
        get(move || async move {
            let mut found = inspected();
            if count.fetch_add(1, Relaxed) == 0 {
                found["State"]["Status"] = json!("created");
                found["NetworkSettings"] = json!({});
            }
            Json(found)
        }),
    );
    serve(&bench.socket("docker.sock"), router);
    assert_eq!(bench.ask(&format!("/docker/{ID}")).await.expect("known").ip, None);
    let second = timeout(Duration::from_secs(20), bench.news.recv()).await.expect("in time");
    let Some(News::Container(_, Some(found))) = second else { panic!("{second:?}") };
    assert_eq!(found.ip.as_deref(), Some("172.20.0.2"));
}
