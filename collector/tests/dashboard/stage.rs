//! A collector, and agents that tell it what a test wants to be seen.

use std::{collections::BTreeSet, net::SocketAddr, time::Duration};

use rampart_collector::{
    app::Collector,
    audit::Note,
    bundle::{self, SigningKey},
    config,
    identity::{
        access::Role,
        items::{Refusal, User, write},
        password,
        revoked::What,
    },
    ingest::now_ns,
    jobs::{
        Priority, Task, Wish,
        queue::{self, Connected, View},
    },
    rollout::desk::{self, Actor, Settings},
    store::{
        identity::{Book, Change, Expect, Kind},
        sqlite,
    },
};
use rampart_proto::v1::{
    self, AgentMessage, AlertBatch, AlertId, Heartbeat, Hello, JobReport, agent_message,
    agent_service_client::AgentServiceClient, collector_message, job_report,
};
use serde_json::{Value, json};
use tokio::{runtime::Runtime, sync::mpsc, time::timeout};
use tonic::transport::Endpoint;

/// Longest wait for anything.
const PATIENCE: Duration = Duration::from_mins(2);
pub(crate) const PASSWORD: &str = "correct horse battery";

/// What is told of one event.
pub(crate) struct Event {
    pub(crate) rule: String,
    pub(crate) source: &'static str,
    pub(crate) priority: v1::Priority,
    /// The text without time and priority.
    pub(crate) text: String,
    pub(crate) fields: Value,
}

/// A collector that may be stopped and started again.
pub(crate) struct Stage {
    dir: tempfile::TempDir,
    runtime: Runtime,
    collector: Option<Collector>,
    more: String,
    grpc: SocketAddr,
    pub(crate) http: SocketAddr,
    sequence: u64,
}

impl Stage {
    /// A new one; `http` goes into its configuration.
    pub(crate) fn new(http: &str, more: &str) -> Self {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let more = format!("http: {{listen: 'HTTP'{http}}}\n{more}");
        let dir = tempfile::tempdir().unwrap();
        let mut stage = Self { dir, runtime, collector: None, more, grpc: any, http: any, sequence: 0 };
        stage.start();
        stage
    }

    pub(crate) fn start(&mut self) {
        let text = format!(
            "store: {{path: '{}'}}\ngrpc: {{listen: '{}'}}\n{}",
            self.dir.path().join("db").display(),
            self.grpc,
            self.more.replace("HTTP", &self.http.to_string())
        );
        let config = config::parse(&text, "file", &[]).unwrap();
        let collector = self.runtime.block_on(Collector::start(config)).unwrap();
        (self.grpc, self.http) = (collector.grpc, collector.http);
        self.collector = Some(collector);
    }

    pub(crate) fn stop(&mut self) {
        if let Some(collector) = self.collector.take() {
            self.runtime.block_on(collector.stop());
        }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.http)
    }

    /// Somebody who may log in.
    pub(crate) fn user(&self, name: &str, role: Role) {
        let user = User { role, password: password::make(PASSWORD).unwrap(), created_ns: now_ns() };
        let change = Change::put(Kind::User, name, Expect::Anything, write(&user).unwrap());
        let mut book = sqlite::identity::book(&self.dir.path().join("db")).unwrap();
        assert!(book.change(&[change], &Note::new("cli:test", "user.set", name, ""), now_ns()).unwrap());
    }

    /// Takes back what was signed for somebody.
    pub(crate) fn refuse(&self, user: &str) {
        let value = write(&Refusal { since_ns: now_ns() }).unwrap();
        let change = Change::put(Kind::Revoked, What::User(user.to_owned()).name(), Expect::Anything, value);
        let mut book = sqlite::identity::book(&self.dir.path().join("db")).unwrap();
        assert!(book.change(&[change], &Note::new("cli:test", "revoke", user, ""), now_ns()).unwrap());
    }

    /// Pushes a bundle and begins its rollout.
    pub(crate) fn roll_out(&self, name: &str) {
        let at = self.dir.path().join(name);
        std::fs::create_dir_all(at.join("policy/rules")).unwrap();
        std::fs::write(at.join("policy/rules/a.yaml"), "").unwrap();
        let key = SigningKey::create(&at.join("key")).unwrap();
        let bytes = bundle::build(&at.join("policy"), name, 5, &key).unwrap();
        let opened = bundle::open(&bytes).unwrap();
        let mut book = sqlite::identity::book(&self.dir.path().join("db")).unwrap();
        let actor = Actor { name: "cli:test", now_ns: now_ns() };
        desk::push(&mut book, actor, &opened, &bytes).unwrap();
        desk::begin(&mut book, actor, &opened.digest, Settings::default()).unwrap();
    }

    /// The texts of the rules that alerts name.
    pub(crate) fn rules(&self, digest: &str, text: &str) {
        let value = json!({ "since_ns": now_ns(), "texts": [{ "name": "rules.yaml", "text": text }] });
        let change = Change::put(Kind::Rules, digest, Expect::Anything, value.to_string());
        let mut book = sqlite::identity::book(&self.dir.path().join("db")).unwrap();
        assert!(book.keep(&[change], now_ns()).unwrap());
    }

    /// A job that a node got and ended like this; its name.
    pub(crate) fn job(&self, node: &str, outcome: job_report::Outcome) -> String {
        let mut book = sqlite::identity::book(&self.dir.path().join("db")).unwrap();
        let task = Task::Diagnostics {};
        let wish = Wish { task, node: Some(node.to_owned()), priority: Priority::default() };
        let id = queue::submit(&mut book, wish, "cli:test", now_ns()).unwrap();
        let there = Connected { boot: "boot".to_owned(), kinds: ["diagnostics".to_owned()].into() };
        let view = View {
            me: "test".to_owned(),
            connected: [(node.to_owned(), there)].into(),
            silent: BTreeSet::new(),
        };
        queue::step(&mut book, &view, now_ns()).unwrap();
        let report = JobReport { id: id.clone(), outcome: Some(outcome) };
        assert!(queue::report(&mut book, node, report, now_ns()).unwrap().is_some());
        id
    }

    /// Lets a node tell of events, all of them a second after the one before, and waits until they are stored.
    pub(crate) fn tell(&mut self, node: &str, events: &[Event]) {
        let first = self.sequence + 1;
        self.sequence += events.len() as u64;
        // Two nodes never make the same number of the same start.
        let alerts = events.iter().zip(first..).map(|(event, number)| alert(event, number, node)).collect();
        let batch = AlertBatch { number: 1, alerts };
        self.runtime.block_on(async { timeout(PATIENCE, send(self.grpc, node, batch)).await.unwrap() });
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.stop();
    }
}

fn alert(event: &Event, sequence: u64, node: &str) -> v1::Alert {
    let Event { rule, source, priority, text, fields } = event;
    let name = priority.as_str_name().trim_start_matches("PRIORITY_").to_lowercase();
    let name = name[..1].to_uppercase() + &name[1..];
    let time_ns = 1_700_000_000_000_000_000 + sequence * 1_000_000_000;
    let time = jiff::Timestamp::from_nanosecond(i128::from(time_ns)).unwrap();
    let json = json!({
        "hostname": node, "output": format!("{}: {name} {text}", time.strftime("%H:%M:%S.000000000")),
        "output_fields": fields, "priority": name, "rule": rule, "source": source, "tags": ["test", "T1003"],
        "time": time.to_string(), "uuid": "018bcfe5-6800-7000-8000-000000000001", "sequence": sequence,
        "policy_digest": "0123456789abcdef",
    });
    v1::Alert {
        id: Some(AlertId { boot: vec![7; 16], cpu: 0, sequence }),
        time_ns,
        priority: (*priority).into(),
        rule: rule.clone(),
        source: (*source).to_owned(),
        tags: Vec::new(),
        json: json.to_string(),
    }
}

async fn send(grpc: SocketAddr, node: &str, batch: AlertBatch) {
    let channel = Endpoint::from_shared(format!("http://{grpc}")).unwrap().connect().await.unwrap();
    let (sender, receiver) = mpsc::channel(8);
    let hello = Hello {
        node: node.to_owned(),
        boot: vec![7; 16],
        version: "1.2.3".to_owned(),
        kernel: "6.18.0".to_owned(),
        ..Hello::default()
    };
    let losses = vec![v1::Loss { cause: "ring_full".to_owned(), count: 3 }];
    let beat = Heartbeat {
        rules: 118,
        is_ready: true,
        losses,
        rss_bytes: 33 << 20,
        spool_pending: 11,
        ..Heartbeat::default()
    };
    for kind in [
        agent_message::Kind::Hello(hello),
        agent_message::Kind::Heartbeat(beat),
        agent_message::Kind::Alerts(batch),
    ] {
        sender.send(AgentMessage { kind: Some(kind) }).await.unwrap();
    }
    let requests =
        futures_util::stream::unfold(receiver, |mut receiver: mpsc::Receiver<AgentMessage>| async {
            receiver.recv().await.map(|message| (message, receiver))
        });
    let mut answers = AgentServiceClient::new(channel).session(requests).await.unwrap().into_inner();
    while !matches!(answers.message().await.unwrap().unwrap().kind, Some(collector_message::Kind::Ack(_))) {}
}

/// The match of a rule, with all that the page makes something of.
pub(crate) fn detection(rule: &str, priority: v1::Priority, text: &str) -> Event {
    let fields = json!({
        "evt.type": "openat", "fd.name": "/etc/shadow", "proc.name": "cat", "proc.pid": 4711, "proc.cmdline": "cat /etc/shadow",
        "proc.exepath": "/usr/bin/cat", "proc.pname": "bash", "proc.ppid": 4700, "proc.aname[2]": "sshd", "proc.aname[3]": "systemd",
        "user.name": "root", "user.uid": 0, "container.id": "host", "k8s.pod.name": null, "trading.role": "signer", "odd": text,
    });
    Event { rule: rule.to_owned(), source: "syscall", priority, text: text.to_owned(), fields }
}

/// What an agent says of its own.
pub(crate) fn own(what: &str, priority: v1::Priority, text: &str, fields: Value) -> Event {
    let rule = format!("Rampart internal: {what}");
    Event { text: format!("{rule}: {text}"), rule, source: "internal", priority, fields }
}

/// An intrusion, a flood and a backend that dies and comes back.
pub(crate) fn day() -> Vec<Event> {
    use v1::Priority::{Critical, Notice, Warning};

    let a = json!({ "service": "shop", "backend": "a" });
    let flood =
        json!({ "source": "198.51.100.7", "policy": "web", "packets": 58_000, "direction": "ingress" });
    vec![
        detection("Credential file read by unexpected program", Critical, "cat read /etc/shadow"),
        own(
            "rate limit exceeded",
            Warning,
            "`web` (ingress): 198.51.100.7 comes with about 20000 packets a second",
            flood,
        ),
        own("circuit breaker open", Warning, "circuit breaker of `shop/a` opened", a.clone()),
        own(
            "failover",
            Warning,
            "`shop` fails over from tier 0 to tier 1",
            json!({ "service": "shop", "tier": 1 }),
        ),
        own(
            "circuit breaker half-open",
            Notice,
            "circuit breaker of `shop/a` is half-open, the backend is tried",
            a.clone(),
        ),
        own("circuit breaker closed", Notice, "circuit breaker of `shop/a` closed", a),
        own("event loss", Critical, "3 events were lost", json!({ "family": "open" })),
        detection("Shell started by server", Notice, "nginx started a shell"),
    ]
}
