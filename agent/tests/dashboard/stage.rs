//! An agent's HTTP server without an agent: its status is set by the test, its services are answered by a thread.

use std::{
    collections::{BTreeMap, VecDeque},
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, Mutex},
    thread::{self, JoinHandle},
    time::{Instant, SystemTime},
};

use rampart_agent::{
    admin::{
        Admin,
        access::Guard,
        audit::{self, Audit},
    },
    alert::Alert,
    config::{AdminState, Algorithm, Sources},
    engine::clock::boot_now_ns,
    kernel::limiter::{Attached, Counted, Rung},
    limits::desk as limits_desk,
    services::desk::{Command, Desk, desk},
    telemetry::{
        limits::Limiting,
        ready::Latch,
        services::{
            BackendStanding, BreakerStanding, DrainStanding, HealthStanding, ServiceStanding, Serving,
        },
        status::{Detection, Facts, Status, shared},
    },
};
use rampart_common::{
    limit::{
        abi::Tally as Packets,
        verdict::{Direction, Reason},
    },
    service::{
        abi::{Counts, Event, Tally},
        breaker::{Mode, Order, State, Word, stamp},
    },
};
use rampart_rules::rule::Priority;
use serde_json::json;
use tokio::sync::watch;
use uuid::Uuid;

pub(super) const TOKEN: &str = "0123456789abcdef-token";
/// What somebody calls a file who wishes the reader of its alert ill.
pub(super) const HOSTILE: &str =
    "<img src=x onerror=\"window.pwned=1\"><script>window.pwned=1</script>\u{202e}gpj.exe\n</td></table>";

/// A server and what is behind it.
pub(super) struct Stage {
    pub(super) status: Arc<Status>,
    dir: tempfile::TempDir,
    address: SocketAddr,
    desk: Desk,
    limits: limits_desk::Desk,
    asked: Arc<Mutex<Vec<String>>>,
    server: Option<(watch::Sender<bool>, JoinHandle<()>)>,
}

impl Stage {
    pub(super) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("token"), TOKEN).unwrap();
        let status = shared();
        for latch in [Latch::Policy, Latch::Outputs, Latch::Processes, Latch::Kernel, Latch::Detection] {
            status.latches.release(latch);
        }
        status.set_facts(Facts {
            hostname: "node-7".to_owned(),
            kernel_release: "6.18".to_owned(),
            started: SystemTime::now(),
            started_at: Instant::now(),
        });
        status.set_detection(Detection { beat: Some(Instant::now()), records: 7, ..Detection::default() });
        let (desk, received) = desk();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let list = Arc::clone(&asked);
        thread::spawn(move || {
            for command in received {
                if let Command::Ask(ask, answer) = command {
                    list.lock().unwrap().push(format!("{ask:?}"));
                    let _ = answer.send(Ok(json!({ "fine": true })));
                }
            }
        });
        let (limits, received) = limits_desk::desk();
        thread::spawn(move || {
            for command in received {
                if let limits_desk::Command::Ask(_, answer) = command {
                    let _ = answer.send(Ok(top()));
                }
            }
        });
        let address = "127.0.0.1:0".parse().unwrap();
        let mut stage = Self { status, dir, address, desk, limits, asked, server: None };
        stage.set(State::Closed, "");
        stage.status.recent.keep(alert("harmless", Priority::Notice));
        stage.start();
        stage
    }

    pub(super) fn start(&mut self) {
        let guard = Guard {
            token_file: Some(self.dir.path().join("token")),
            audit: Some(Audit::new(&self.state_dir())),
        };
        let admin = Admin::bind(self.address)
            .unwrap()
            .with_guard(guard)
            .with_services(self.desk.clone())
            .with_limits(self.limits.clone());
        self.address = admin.address();
        let (stop, stopped) = watch::channel(false);
        let status = Arc::clone(&self.status);
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(admin.serve(status, stopped)).unwrap();
        });
        self.server = Some((stop, thread));
    }

    pub(super) fn stop(&mut self) {
        if let Some((stop, thread)) = self.server.take() {
            stop.send(true).unwrap();
            thread.join().unwrap();
        }
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}/dashboard", self.address)
    }

    fn state_dir(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    pub(super) fn audit(&self) -> String {
        std::fs::read_to_string(self.state_dir().join(audit::FILE)).unwrap_or_default()
    }

    /// What services were asked for.
    pub(super) fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }

    /// Rate limits are in force, and so many packets were over them.
    pub(super) fn limit(&self, packets: u64) {
        let file = self.dir.path().join("rampart.yaml");
        let text = "limits: {enabled: true, mode: enforce, policies: {login: {rate: 5/s, burst: 9, match: {protocol: tcp, ports: [22]}}}}";
        std::fs::write(&file, text).unwrap();
        let config = Sources { file: Some(file), ..Sources::default() }.load().unwrap();
        let counted = |reason, packets| Counted {
            policy: 1,
            reason,
            direction: Direction::Ingress,
            is_observed: false,
            tally: Packets { packets, bytes: 0 },
        };
        let attached = Attached {
            interface: "eth0".to_owned(),
            direction: Direction::Ingress,
            rung: Rung::Tcx,
            refused: Vec::new(),
            is_taken_over: false,
        };
        self.status.set_limits(Limiting {
            generation: 1,
            names: BTreeMap::from([(1, "login".to_owned())]),
            attached: vec![attached],
            counted: vec![counted(Reason::Within, 40), counted(Reason::Over, packets)],
            settings: Some(Arc::new(config.limits)),
            ..Limiting::default()
        });
    }

    /// The first of two backends has this state, and its health check says this.
    pub(super) fn set(&self, state: State, fault: &str) {
        let now_ns = boot_now_ns();
        let order = match state {
            State::Open => Order { trip: stamp(now_ns), ..Order::default() },
            State::Closed | State::HalfOpen => Order::default(),
        };
        let (first, second) = (backend(1, &order, fault), backend(2, &Order::default(), ""));
        let service = ServiceStanding {
            vip: "198.18.0.1:80".parse().unwrap(),
            protocol: 6,
            algorithm: Algorithm::RoundRobin,
            tier: 0,
            is_panic: false,
            counts: Counts { chosen: 1234, ..Counts::default() },
            backends: BTreeMap::from([("a".to_owned(), first), ("b".to_owned(), second)]),
        };
        self.status.set_services(Serving {
            generation: 1,
            now_ns,
            services: BTreeMap::from([("shop".to_owned(), service)]),
            is_tested: true,
            fault: None,
        });
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.stop();
    }
}

fn backend(number: u8, order: &Order, fault: &str) -> BackendStanding {
    let now_ns = boot_now_ns();
    let word = Word(0).under(order);
    let event = Event { time_ns: now_ns, age_ns: 50_000, outcome: 1, error: 111, ..Event::default() };
    let events = if word.state() == State::Open { VecDeque::from([event]) } else { VecDeque::new() };
    BackendStanding {
        address: SocketAddr::from(([127, 0, 0, number], 8080)),
        weight: 1,
        tier: 0,
        admin: AdminState::Ready,
        told: None,
        flaps: (0, false),
        drain: DrainStanding::default(),
        health: Some(HealthStanding {
            is_up: fault.is_empty(),
            checks: 3,
            failures: 1,
            fault: (!fault.is_empty()).then(|| fault.to_owned()),
        }),
        ejected_until: None,
        breaker: BreakerStanding {
            word,
            mode: Mode::Auto,
            open_until: now_ns + 60_000_000_000,
            probes: (0, 0),
            window: rampart_agent::services::rates::Calls::default(),
            opens: u64::from(word.state() == State::Open),
            events,
        },
        connections: (10, 8),
        tally: Tally::default(),
    }
}

/// Who is over a limit most.
fn top() -> serde_json::Value {
    let proposal = json!({ "command": "rampart limits deny 203.0.113.0/24 --for 1h", "settings": "" });
    let prefix = json!({ "prefix": "203.0.113.0/24", "samples": 60, "permille": 750, "sources": 12,
        "policies": ["login"], "proposal": proposal });
    json!({ "window_secs": 60, "samples": 80, "prefixes": [prefix] })
}

/// An alert that says this everywhere.
pub(super) fn alert(text: &str, priority: Priority) -> Arc<Alert> {
    Arc::new(Alert {
        rule: text.to_owned(),
        priority,
        source: "syscall".to_owned(),
        tags: None,
        hostname: "node-7".into(),
        time_ns: 1_700_000_000_000_000_000,
        time_text: "22:13:20.000000000".to_owned(),
        message: format!("file {text} was opened"),
        fields: BTreeMap::from([
            ("fd.name".to_owned(), json!(text)),
            (text.to_owned(), json!("value")),
            ("list".to_owned(), json!([text])),
        ]),
        uuid: Uuid::nil(),
        sequence: 1,
        policy_digest: None,
        wait: None,
        order: None,
    })
}
