//! Events that the kernel counts instead of sending them, on the running kernel.

#![expect(clippy::expect_used, reason = "a panic is how a test fails")]

use std::{
    fmt::Write as _,
    fs,
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    path::PathBuf,
    process, thread,
    time::Duration,
};

use rampart_tests::{agent::Agent, require_root};
use tempfile::TempDir;

/// Messages of a run.
const MESSAGES: u32 = 20_000;
/// Bytes of one.
const BYTES: u64 = 10;

/// A connection over loopback, whose other end is read.
struct Line {
    stream: TcpStream,
    port: u16,
}

impl Line {
    fn open() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
        let port = listener.local_addr().expect("bound").port();
        let stream = TcpStream::connect(("127.0.0.1", port)).expect("connected");
        stream.set_nodelay(true).expect("set");
        let (mut other, _) = listener.accept().expect("accepted");
        thread::spawn(move || {
            let mut buffer = vec![0; 64 * 1024];
            while other.read(&mut buffer).is_ok_and(|read| read > 0) {}
        });
        Self { stream, port }
    }

    fn send(&mut self, times: u32) {
        for _ in 0..times {
            self.stream.write_all(&[b'.'; BYTES as usize]).expect("sent");
        }
    }
}

/// Rules on what this process sends to a port, each with what it asks for besides.
fn rules(dir: &TempDir, port: u16, rules: &[(&str, &str)]) -> PathBuf {
    let pid = process::id();
    let condition =
        format!("evt.type = sendto and evt.rawres > 0 and fd.rport = {port} and proc.pid = {pid}");
    let mut text = String::new();
    for (name, rest) in rules {
        let _ = writeln!(
            text,
            "- rule: {name}\n  desc: d\n  output: o\n  priority: NOTICE\n  condition: {condition}{rest}"
        );
    }
    let path = dir.path().join("rules.yaml");
    fs::write(&path, text).expect("written");
    path
}

/// Alerts of a rule so far.
fn alerts(agent: &Agent, rule: &str) -> usize {
    agent.alerts().iter().filter(|alert| alert.get("rule").is_some_and(|name| name == rule)).count()
}

/// Waits until the kernel counts, while little is sent.
fn counting(agent: &mut Agent, line: &mut Line) -> u32 {
    let mut sent = 0;
    agent.until("a stream that the kernel counts", |agent| {
        line.send(1);
        sent += 1;
        thread::sleep(Duration::from_millis(20));
        agent.metric("rampart_events_counted_total{family=\"net\"}") > 0.0
    });
    sent
}

#[test]
fn events_of_thresholds_are_counted_in_the_kernel() {
    require_root!("events_of_thresholds_are_counted_in_the_kernel");
    let dir = TempDir::new().expect("made");
    let mut line = Line::open();
    let paths = rules(
        &dir,
        line.port,
        &[
            ("number", "\n  threshold: {count: 2000, within: 10m, by: [proc.pid, fd.rport]}"),
            ("volume", "\n  threshold: {count: 50000, within: 10m, sum: evt.rawres, by: [proc.pid]}"),
        ],
    );
    let mut agent = Agent::start_with(&paths, "pushdown: {shadow_every: 256}\nrules: {matching: all}");
    let sent = counting(&mut agent, &mut line) + MESSAGES;
    line.send(MESSAGES);
    // Each full number begins anew, and a part of one may not have been told yet.
    let (numbers, volumes) = (sent as usize / 2000, (u64::from(sent) * BYTES) as usize / 50_000);
    agent.until("all but the last of the alerts", |agent| {
        alerts(agent, "number") + 1 >= numbers && alerts(agent, "volume") + 1 >= volumes
    });
    agent.until("most of them counted", |agent| {
        agent.metric("rampart_events_counted_total{family=\"net\"}") > f64::from(MESSAGES) / 2.0
    });
    assert!(alerts(&agent, "number") <= numbers, "{} of {numbers}", alerts(&agent, "number"));
    assert!(alerts(&agent, "volume") <= volumes, "{} of {volumes}", alerts(&agent, "volume"));
    agent.until("an equation that holds", |agent| {
        agent.metric("rampart_events_unexplained{family=\"net\"}").abs() < f64::EPSILON
    });
    assert!(agent.stop().success());
}

#[test]
fn what_a_rule_must_look_at_is_sent() {
    require_root!("what_a_rule_must_look_at_is_sent");
    let dir = TempDir::new().expect("made");
    let mut line = Line::open();
    let paths = rules(
        &dir,
        line.port,
        &[
            ("number", "\n  threshold: {count: 2000, within: 10m, by: [proc.pid]}"),
            ("needle", " and evt.arg.data contains needle"),
        ],
    );
    let mut agent = Agent::start_with(&paths, "rules: {matching: all}");
    for _ in 0..10 {
        line.send(1000);
        line.stream.write_all(b"a needle").expect("sent");
    }
    agent.until("every needle", |agent| alerts(agent, "needle") == 10);
    agent.until("every number", |agent| alerts(agent, "number") == 5);
    assert!(agent.metric("rampart_events_counted_total{family=\"net\"}").abs() < f64::EPSILON);
    assert!(agent.stop().success());
}

#[test]
fn connections_are_counted_apart() {
    require_root!("connections_are_counted_apart");
    let dir = TempDir::new().expect("made");
    let (mut watched, mut other) = (Line::open(), Line::open());
    let by = "\n  threshold: {count: 4000, within: 10m, by: [fd.rport]}";
    let paths = rules(&dir, watched.port, &[("number", by)]);
    let mut agent = Agent::start(&paths);
    let sent = counting(&mut agent, &mut watched);
    for _ in 0..10 {
        other.send(1000);
        watched.send(300);
    }
    thread::sleep(Duration::from_millis(500));
    assert_eq!(alerts(&agent, "number"), 0, "{sent} and 3000 are fewer");
    watched.send(2000);
    agent.until("the alert", |agent| alerts(agent, "number") == 1);
    assert!(agent.stop().success());
}
