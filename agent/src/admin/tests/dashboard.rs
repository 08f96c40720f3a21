//! Recent alerts, the document and its feed, over HTTP.

use std::collections::{BTreeMap, BTreeSet};

use rampart_rules::rule::Priority;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use uuid::Uuid;

use super::*;
use crate::alert::Alert;

pub(super) fn alert(rule: &str, priority: Priority) -> Arc<Alert> {
    Arc::new(Alert {
        rule: rule.to_owned(),
        priority,
        source: "syscall".to_owned(),
        tags: None,
        hostname: "n".into(),
        time_ns: 1_700_000_000_000_000_000,
        time_text: "22:13:20".to_owned(),
        message: "opened \"a\"\r\nb".to_owned(),
        fields: BTreeMap::new(),
        uuid: Uuid::nil(),
        sequence: 0,
        policy_digest: None,
        wait: None,
        order: None,
    })
}

/// Who listens to the feed.
struct Listener {
    stream: TcpStream,
    text: String,
}

impl Listener {
    async fn new(address: SocketAddr, headers: &str) -> Self {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!("GET /dashboard/events HTTP/1.1\r\nHost: agent\r\n{headers}\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        Self { stream, text: String::new() }
    }

    /// Reads until all words have come.
    async fn until(&mut self, words: &[&str]) -> String {
        let read = async {
            while !words.iter().all(|word| self.text.contains(word)) {
                let mut bytes = [0; 4096];
                let length = self.stream.read(&mut bytes).await.unwrap();
                assert!(length > 0, "the feed has ended: {}", self.text);
                self.text.push_str(&String::from_utf8_lossy(&bytes[..length]));
            }
        };
        tokio::time::timeout(std::time::Duration::from_secs(30), read).await.expect("it does not come");
        std::mem::take(&mut self.text)
    }
}

#[test]
fn recent_alerts_are_a_page() {
    let status = shared();
    status.recent.keep(alert("one", Priority::Debug));
    status.recent.keep(alert("two", Priority::Critical));
    status.recent.keep(alert("two", Priority::Debug));
    with_server(&status, async |address| {
        let numbers = async |query: &str| -> Vec<u64> {
            let (code, body) = page(address, &format!("/alerts{query}")).await;
            assert_eq!((code, &body["newest"], &body["oldest"]), (200, &3.into(), &1.into()));
            body["alerts"].as_array().unwrap().iter().map(|one| one["number"].as_u64().unwrap()).collect()
        };
        assert_eq!(numbers("").await, [3, 2, 1]);
        assert_eq!(numbers("?rule=two&limit=1").await, [3]);
        assert_eq!(numbers("?before=3").await, [2, 1]);
        assert_eq!(numbers("?priority=warning").await, [2]);
        assert_eq!(numbers("?source=internal").await, [0; 0]);
        let (_, body) = page(address, "/alerts?rule=one").await;
        assert_eq!(body["alerts"][0]["alert"]["output"], "22:13:20: Debug opened \"a\"\r\nb");
        assert_eq!(page(address, "/alerts?limit=x").await.0, 400);
    });
}

#[test]
fn each_answer_is_guarded_and_the_document_has_a_number_of_its_own() {
    let status = shared();
    with_server(&status, async |address| {
        let mut numbers = BTreeSet::new();
        for path in ["/dashboard", "/dashboard", "/healthz", "/nowhere", "/metrics"] {
            let mut stream = TcpStream::connect(address).await.unwrap();
            let request = format!("GET {path} HTTP/1.1\r\nHost: agent\r\nConnection: close\r\n\r\n");
            stream.write_all(request.as_bytes()).await.unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            let (head, body) = answer.split_once("\r\n\r\n").unwrap();
            for needed in [
                "default-src 'none'",
                "nosniff",
                "x-frame-options: DENY",
                "no-store",
                "frame-ancestors 'none'",
            ] {
                assert!(head.contains(needed), "`{path}` has no `{needed}`:\n{head}");
            }
            assert!(!head.contains("unsafe-inline") && !head.contains('*'), "{head}");
            if path == "/dashboard" {
                let number = head.split("script-src 'nonce-").nth(1).unwrap().split('\'').next().unwrap();
                assert!(number.len() == 32 && body.contains(&format!("<script nonce=\"{number}\">")));
                assert!(head.contains("require-trusted-types-for 'script'; trusted-types 'none'"));
                assert!(numbers.insert(number.to_owned()), "the same number twice");
            }
        }
    });
}

#[test]
fn the_feed_tells_state_and_alerts_and_goes_on_where_a_client_was() {
    let status = shared();
    status.recent.keep(alert("first", Priority::Notice));
    with_server(&status, async |address| {
        let mut listener = Listener::new(address, "").await;
        let text = listener.until(&["event: hello", "first", "\"services\":", "\n\n"]).await;
        assert!(text.contains("event: state") && text.contains("content-type: text/event-stream"), "{text}");
        let id = text.split("\nid: ").nth(1).unwrap().lines().next().unwrap().to_owned();
        assert!(id.ends_with("-1"), "{id}");
        status.recent.keep(alert("second", Priority::Notice));
        let text = listener.until(&["second"]).await;
        assert!(!text.contains("first"), "nothing is told twice");

        // Whoever comes back gets what it missed, and whoever saw another run gets everything.
        let mut back = Listener::new(address, &format!("Last-Event-ID: {id}\r\n")).await;
        let text = back.until(&["second", "event: state"]).await;
        assert!(!text.contains("first"));
        let mut other = Listener::new(address, "Last-Event-ID: 1-2\r\n").await;
        other.until(&["first", "second"]).await;
        for _ in 0..crate::telemetry::recent::ALERTS + 4 {
            status.recent.keep(alert("many", Priority::Notice));
        }
        listener.until(&["event: missed\ndata: 4\n", "many"]).await;
    });
}

#[test]
fn there_are_only_so_many_listeners_and_who_goes_makes_room() {
    let status = shared();
    with_server(&status, async |address| {
        let mut listeners = Vec::new();
        for _ in 0..live::CLIENTS {
            let mut listener = Listener::new(address, "").await;
            listener.until(&["event: hello"]).await;
            listeners.push(listener);
        }
        assert_eq!(page(address, "/dashboard/events").await.0, 503);
        listeners.pop();
        let end = Instant::now() + std::time::Duration::from_secs(30);
        loop {
            let mut listener = Listener::new(address, "").await;
            if listener.until(&["HTTP/1.1 "]).await.contains("HTTP/1.1 200") {
                break;
            }
            assert!(Instant::now() < end, "no place becomes free");
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    });
}
