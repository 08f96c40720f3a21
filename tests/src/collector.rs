//! The real collector as a child process.

use std::{
    env,
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;

/// Longest wait for it.
const PATIENCE: Duration = Duration::from_mins(1);

/// A running collector. Dropping it kills it.
pub struct Collector {
    child: Child,
    /// Where agents connect.
    pub grpc: SocketAddr,
    /// Where people look.
    pub http: SocketAddr,
}

/// A binary of the product beside the test programs.
pub fn binary(name: &str) -> PathBuf {
    let test = env::current_exe().expect("the test program knows its path");
    let folder = test.parent().and_then(Path::parent).expect("test programs lie in `deps`");
    let binary = folder.join(name);
    assert!(binary.exists(), "`{}` is missing: build it first", binary.display());
    binary
}

/// An address that is free now.
pub fn free_address() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    listener.local_addr().expect("its address")
}

impl Collector {
    /// Starts a collector on these addresses and this store, and waits until it is ready.
    pub fn start(store: &Path, grpc: SocketAddr, http: SocketAddr) -> Self {
        Self::start_with(store, grpc, http, &[])
    }

    /// The same with variables of its environment.
    pub fn start_with(store: &Path, grpc: SocketAddr, http: SocketAddr, env: &[(&str, &str)]) -> Self {
        let child = Command::new(binary("rampart-collector"))
            .arg("serve")
            .env("RAMPART_COLLECTOR_STORE__PATH", store)
            .env("RAMPART_COLLECTOR_GRPC__LISTEN", grpc.to_string())
            .env("RAMPART_COLLECTOR_HTTP__LISTEN", http.to_string())
            .env("RAMPART_COLLECTOR_LOG__LEVEL", "error")
            .envs(env.iter().copied())
            .stdin(Stdio::null())
            .spawn()
            .expect("the collector starts");
        let mut collector = Self { child, grpc, http };
        let started = Instant::now();
        while collector.get("/ready").is_none_or(|(status, _)| status != 200) {
            let ended = collector.child.try_wait().expect("its state");
            assert!(ended.is_none() && started.elapsed() < PATIENCE, "it does not get ready: {ended:?}");
            thread::sleep(Duration::from_millis(20));
        }
        collector
    }

    /// Kills it without a word of warning.
    pub fn kill(mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it ends");
    }

    /// Status and body of a page; `None` while nothing listens.
    pub fn get(&self, page: &str) -> Option<(u16, String)> {
        let mut stream = TcpStream::connect(self.http).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).ok()?;
        write!(stream, "GET {page} HTTP/1.0\r\nHost: collector\r\nConnection: close\r\n\r\n").ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        let status = head.split_whitespace().nth(1)?.parse().ok()?;
        Some((status, body.to_owned()))
    }

    /// A page that is there, as JSON.
    pub fn json(&self, page: &str) -> Value {
        let (status, body) = self.get(page).expect("the collector answers");
        assert_eq!(status, 200, "{page}: {body}");
        serde_json::from_str(&body).expect("JSON")
    }

    /// All alerts of the store, newest first.
    pub fn alerts(&self) -> Vec<Value> {
        let (mut alerts, mut before) = (Vec::new(), None);
        loop {
            let from = before.map(|before: u64| format!("&before={before}")).unwrap_or_default();
            let page = self.json(&format!("/alerts?limit=1000{from}"));
            alerts.extend(page.get("alerts").and_then(Value::as_array).expect("a list").iter().cloned());
            before = page.get("next").and_then(Value::as_u64);
            if before.is_none() {
                return alerts;
            }
        }
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
