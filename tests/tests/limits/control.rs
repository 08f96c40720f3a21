//! Lists, grants, quotas and throttling of a running agent, on real traffic of a namespace.

use std::{
    io::{Read as _, Write as _},
    net::{IpAddr, SocketAddr, TcpStream, UdpSocket},
    path::PathBuf,
    process::{Command, Output},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use nix::sys::{
    signal::Signal,
    socket::{setsockopt, sockopt},
};
use rampart_tests::{
    agent::{Agent, binary},
    netns::{Bpffs, Namespace},
    require_root,
};
use serde_json::Value;
use tempfile::TempDir;

use crate::traffic::{arrived, rules, send};

const PORT: u16 = 47_780;
/// A port whose policy is of a more important class.
const ORDERS: u16 = 47_781;
const TOKEN: &str = "a token that nobody guesses";
const SPAN: Duration = Duration::from_secs(1);

/// What one test's agents have in common.
struct Stage {
    scratch: TempDir,
    bpffs: Bpffs,
    space: Namespace,
    rules: PathBuf,
    /// First three numbers of the addresses.
    net: &'static str,
}

impl Stage {
    fn new(name: &str, net: &'static str) -> Self {
        let scratch = tempfile::tempdir().expect("a scratch directory");
        std::fs::write(scratch.path().join("token"), TOKEN).expect("the token is written");
        let address = |last: u8| format!("{net}.{last}/24");
        let (outer, inner) = (address(1), [address(2), address(3)]);
        Self {
            rules: rules(&scratch),
            bpffs: Bpffs::mount().expect("a BPF file system is mounted"),
            space: Namespace::new(name, &[&outer], &[&inner[0], &inner[1]]),
            scratch,
            net,
        }
    }

    /// Variables that keep run-time directory and state over restarts.
    fn env(&self) -> [(String, String); 3] {
        let path = |name: &str| self.scratch.path().join(name).to_string_lossy().into_owned();
        [
            ("RAMPART_NODE__RUNTIME_DIR".to_owned(), path("run")),
            ("RAMPART_NODE__STATE_DIR".to_owned(), path("state")),
            ("RAMPART_ADMIN__TOKEN_FILE".to_owned(), path("token")),
        ]
    }

    fn start(&self, policies: &str) -> Agent {
        let settings = format!(
            "limits:\n  enabled: true\n  mode: enforce\n  dead_man_secs: 0\n  alert_secs: 1\n  pin_dir: {}\n  \
             interfaces: {{{}: {{}}}}\n{policies}",
            self.bpffs.pins().display(),
            self.space.interface(),
        );
        let env = self.env();
        let env: Vec<(&str, &str)> =
            env.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let mut agent = Agent::start_in(&self.rules, &settings, &env);
        agent.until("limiting", |agent| agent.metric("rampart_limits_attached") > 0.0);
        agent
    }

    /// `rampart limits …`
    fn limits(&self, agent: &Agent, arguments: &[&str]) -> Output {
        let mut command = Command::new(binary());
        command.arg("limits").args(arguments).envs(self.env());
        command.env("RAMPART_ADMIN__LISTEN", agent.address().to_string());
        command.output().expect("the command runs")
    }

    /// The same, which must succeed; what it says.
    fn done(&self, agent: &Agent, arguments: &[&str]) -> String {
        let output = self.limits(agent, arguments);
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "`rampart limits {}`: {complaint}", arguments.join(" "));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn address(&self, last: u8) -> IpAddr {
        format!("{}.{last}", self.net).parse().expect("an address")
    }

    /// How many of so many datagrams a second arrive from an address.
    fn arrive(&self, from: u8, port: u16, per_second: u64, span: Duration) -> u64 {
        let socket = UdpSocket::bind((self.address(1), port)).expect("a socket here");
        setsockopt(&socket, sockopt::RcvBufForce, &(8 << 20)).expect("a large buffer");
        socket.set_read_timeout(Some(Duration::from_millis(300))).expect("a timeout");
        let to = SocketAddr::new(self.address(1), port);
        send(&self.space, self.address(from), to, per_second, span);
        arrived(&socket, self.address(from))
    }
}

/// Status and body of a request with a method and a token.
fn ask(agent: &Agent, method: &str, page: &str, token: Option<&str>, body: &str) -> (u16, Value) {
    let mut stream = TcpStream::connect(agent.address()).expect("the agent listens");
    let token = token.map_or_else(String::new, |token| format!("Authorization: Bearer {token}\r\n"));
    write!(
        stream,
        "{method} {page} HTTP/1.1\r\nHost: agent\r\nConnection: close\r\n{token}Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .expect("the request is sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("the agent answers");
    let (head, body) = answer.split_once("\r\n\r\n").expect("an HTTP answer");
    let status = head.split_whitespace().nth(1).and_then(|word| word.parse().ok()).expect("a status");
    (status, serde_json::from_str(body).expect("a JSON body"))
}

fn page(agent: &Agent, page: &str) -> Value {
    let (status, body) = agent.get(page).expect("the agent answers");
    assert_eq!(status, 200, "{body}");
    serde_json::from_str(&body).expect("a JSON body")
}

fn is_internal(alert: &Value, what: &str) -> bool {
    alert["rule"] == format!("Rampart internal: {what}")
}

#[test]
fn lists_and_grants_are_made_kept_refused_and_explained() {
    require_root!("lists_and_grants_are_made_kept_refused_and_explained");
    let stage = Stage::new("rpctl", "198.18.80");
    let policies = format!(
        "  deny_files: ['{}']\n  policies:\n    datagrams: {{rate: 50/s, unit: packets, match: {{protocol: udp, ports: {PORT}}}}}\n",
        stage.scratch.path().join("denied").display(),
    );
    let list = |text: &str| {
        std::fs::write(stage.scratch.path().join("denied"), text).expect("the list is written");
    };
    list("# nobody yet\n");
    let agent = stage.start(&policies);
    assert!(stage.done(&agent, &["list"]).contains("datagrams  50/s, 50 at once"));

    // Over the limit: an alert says who and by how much, the report of heavy hitters proposes something.
    let limited = stage.arrive(2, PORT, 3000, SPAN);
    assert!((50..=200).contains(&limited), "{limited} arrived");
    let alert = agent.wait_for("the limit", |alert| is_internal(alert, "rate limit exceeded"));
    assert_eq!(alert["output_fields"]["policy"], "datagrams");
    assert_eq!(alert["output_fields"]["source"], "198.18.80.2");
    assert_eq!(alert["output_fields"]["allowed_per_sec"], 50);
    let observed = alert["output_fields"]["observed_per_sec"].as_u64().expect("a number");
    assert!(observed > 50, "{alert:#}");
    let top = stage.done(&agent, &["top"]);
    assert!(top.contains("rampart limits deny 198.18.80.2 --for 1h"), "{top}");
    let explained = stage.done(&agent, &["explain", "198.18.80.2", "--port", "47780", "--protocol", "udp"]);
    assert!(explained.contains("datagrams") && explained.contains("of 50"), "{explained}");

    // A grant raises it, and is taken away again.
    let granted =
        stage.done(&agent, &["grant", "198.18.80.2", "--rate", "10k/s", "--for", "5m", "--comment", "test"]);
    assert!(granted.contains("198.18.80.2 is granted, 10000/s, 10000 at once more"), "{granted}");
    let more = stage.arrive(2, PORT, 3000, SPAN);
    assert!(more > 1000, "{more} arrived with the grant");
    let other = stage.arrive(3, PORT, 3000, SPAN);
    assert!(other <= 200, "{other} arrived of another source");
    stage.done(&agent, &["ungrant", "198.18.80.2"]);
    assert!(stage.arrive(2, PORT, 3000, SPAN) <= 200, "the policy holds again");

    // Who may change things, and what nobody may.
    let body = r#"{"net": "198.18.80.3", "comment": "over HTTP"}"#;
    let (status, answer) = ask(&agent, "POST", "/limits/deny", None, body);
    assert_eq!((status, answer["error"].as_str()), (401, Some("the token is missing or wrong")));
    for _ in 0..2 {
        let (status, answer) = ask(&agent, "POST", "/limits/deny", Some(TOKEN), body);
        assert_eq!(status, 200, "{answer}");
        assert_eq!(answer["entry"]["net"], "198.18.80.3");
    }
    assert_eq!(page(&agent, "/limits/deny")["entries"].as_array().map(Vec::len), Some(1));
    assert_eq!(stage.arrive(3, PORT, 100, SPAN), 0, "a denied source gets nothing through");
    agent.wait_for("the denied source", |alert| is_internal(alert, "denied source"));
    let own = r#"{"net": "198.18.80.1"}"#;
    let (status, answer) = ask(&agent, "POST", "/limits/deny", Some(TOKEN), own);
    assert_eq!(status, 409, "{answer}");
    let refused = stage.limits(&agent, &["deny", "127.0.0.1"]);
    assert_eq!(refused.status.code(), Some(1));
    let why = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(why.contains("`127.0.0.1/32` is an address of this node"), "{why}");
    let (status, _) = ask(&agent, "POST", "/limits/deny", Some(TOKEN), r#"{"net": "nobody"}"#);
    assert_eq!(status, 400);
    let explained = stage.done(&agent, &["explain", "198.18.80.3"]);
    assert!(explained.contains("denied") && explained.contains("over HTTP"), "{explained}");

    // What was made outlives a crash.
    agent.signal(Signal::SIGKILL);
    drop(agent);
    assert_eq!(stage.arrive(3, PORT, 100, SPAN), 0, "the kernel goes on");
    let mut agent = stage.start(&policies);
    assert_eq!(stage.arrive(3, PORT, 100, SPAN), 0, "and so does the next agent");
    assert_eq!(page(&agent, "/limits/deny")["entries"][0]["comment"], "over HTTP");
    let (status, answer) = ask(&agent, "DELETE", "/limits/deny/198.18.80.3/32", Some(TOKEN), "");
    assert_eq!((status, &answer["removed"]), (200, &true.into()));
    let (status, answer) = ask(&agent, "DELETE", "/limits/deny/198.18.80.3/32", Some(TOKEN), "");
    assert_eq!((status, &answer["removed"]), (200, &false.into()));
    assert!(stage.arrive(3, PORT, 40, SPAN) > 10, "it may go on");

    // An entry ends by itself, and a list file is read when it changes.
    stage.done(&agent, &["deny", "198.18.80.3", "--for", "2s"]);
    assert_eq!(stage.arrive(3, PORT, 40, Duration::from_millis(200)), 0);
    agent.until("over", |_| stage.arrive(3, PORT, 40, Duration::from_millis(200)) > 0);
    list("198.18.80.3 # a feed's reason\n");
    agent.until("listed", |_| stage.arrive(3, PORT, 40, Duration::from_millis(200)) == 0);
    assert_eq!(page(&agent, "/limits/deny")["files"][0]["nets"], 1);
    list("\n");
    agent.until("listed no more", |_| stage.arrive(3, PORT, 40, Duration::from_millis(200)) > 0);
    let audit = std::fs::read_to_string(stage.scratch.path().join("state/audit.jsonl")).expect("the audit");
    let outcomes: Vec<Value> =
        audit.lines().map(|line| serde_json::from_str(line).expect("a JSON object a line")).collect();
    let of = |what: &str| outcomes.iter().filter(|line| line["what"] == what).count();
    assert_eq!((of("limits grant"), of("limits grant removed")), (1, 1), "{audit}");
    assert_eq!(of("limits deny"), 5, "{audit}");
    assert!(
        outcomes.iter().any(|line| line["outcome"].as_str().is_some_and(|why| why.contains("of this node")))
    );
    assert!(outcomes.iter().any(|line| line["who"].as_str().is_some_and(|who| who.starts_with("uid 0 "))));
    assert!(
        outcomes.iter().any(|line| line["who"].as_str().is_some_and(|who| who.starts_with("token from ")))
    );
    assert!(agent.stop().success());
}

#[test]
fn a_quota_holds_over_a_crash_and_a_restart() {
    require_root!("a_quota_holds_over_a_crash_and_a_restart");
    let stage = Stage::new("rpquo", "198.18.81");
    // The period does not end while the test runs.
    let secs = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock").as_secs();
    let hour = (secs / 3600 + 12) % 24;
    let policies = format!(
        "  policies:\n    datagrams: {{rate: 10k/s, unit: packets, quota: {{amount: 100, per: day, at: '{hour:02}:00'}}, \
         match: {{protocol: udp, ports: {PORT}}}}}\n"
    );
    let used = |agent: &Agent| {
        let page = page(agent, "/limits/datagrams");
        let sources = page["quota_used"]["sources"].as_array().cloned().unwrap_or_default();
        let own = sources.iter().find(|one| one["source"] == "198.18.81.2/32").cloned();
        own.map_or(0, |own| own["used"].as_u64().expect("a number"))
    };
    let agent = stage.start(&policies);
    let first = stage.arrive(2, PORT, 60, SPAN);
    assert!((40..90).contains(&first), "{first} arrived");
    // Before the agent has looked at it.
    agent.signal(Signal::SIGKILL);
    drop(agent);
    let mut agent = stage.start(&policies);
    agent.until("counting what was used before", |agent| used(agent) == first);
    let mut all = first;
    while all < 100 {
        all += stage.arrive(2, PORT, 60, SPAN);
    }
    let closed = |agent: &Agent| page(agent, "/limits")["used_up"][0]["source"] == "198.18.81.2";
    agent.until("closed", closed);
    agent.wait_for("the quota", |alert| is_internal(alert, "quota used up"));
    assert_eq!(stage.arrive(2, PORT, 60, SPAN), 0, "the quota is used up");
    assert!(stage.arrive(3, PORT, 20, SPAN) > 5, "another source has its own");
    let explained = stage.done(&agent, &["explain", "198.18.81.2"]);
    assert!(explained.contains("over_quota"), "{explained}");
    assert!(agent.stop().success());
    assert_eq!(stage.arrive(2, PORT, 60, SPAN), 0, "without an agent too");
    let agent = stage.start(&policies);
    assert_eq!(stage.arrive(2, PORT, 60, SPAN), 0, "and with the next one");
    assert_eq!(used(&agent), all);
    assert!(agent.stop().success());
}

#[test]
fn a_busy_node_scales_the_least_important_rates_and_never_orders() {
    require_root!("a_busy_node_scales_the_least_important_rates_and_never_orders");
    let stage = Stage::new("rpthr", "198.18.82");
    let settings = |mode: &str| {
        format!(
            "  throttle: {{mode: {mode}, cpu_pressure_percent: 1, softirq_percent: 0, run_queue: 0, \
             backlog_drops_per_sec: 0, floor_percent: 10}}
  policies:
    rest: {{rate: 500/s, burst: 50, unit: packets, class: best_effort, match: {{protocol: udp, ports: {PORT}}}}}
    orders: {{rate: 500/s, burst: 50, unit: packets, class: order_entry, match: {{protocol: udp, ports: {ORDERS}}}}}
"
        )
    };
    let scale = |agent: &Agent, class: &str| {
        agent.metric(&format!("rampart_limits_scale_permille{{class=\"{class}\"}}")) as u64
    };
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        // More work than CPUs: somebody always waits.
        let cpus = thread::available_parallelism().map_or(2, usize::from);
        for _ in 0..cpus + 2 {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            });
        }
        let calm = Calm(&stop);
        let mut agent = stage.start(&settings("observe"));
        agent.until("at the floor", |agent| scale(agent, "best_effort") == 100);
        assert_eq!(scale(&agent, "order_entry"), 1000);
        let rest = stage.arrive(2, PORT, 5000, Duration::from_secs(2));
        assert!(rest >= 800, "{rest} arrived while only observing");
        agent.wait_for("throttling", |alert| {
            is_internal(alert, "rates throttled") && alert["output_fields"]["class"] == "best_effort"
        });
        assert!(agent.stop().success());

        let mut agent = stage.start(&settings("enforce"));
        agent.until("at the floor", |agent| scale(agent, "best_effort") == 100);
        let rest = stage.arrive(3, PORT, 5000, Duration::from_secs(2));
        assert!((20..=500).contains(&rest), "{rest} arrived of a tenth of the rate");
        let orders = stage.arrive(3, ORDERS, 5000, Duration::from_secs(2));
        assert!(orders >= 800, "{orders} orders arrived");
        assert_eq!(scale(&agent, "order_entry"), 1000);
        drop(calm);
        assert!(agent.stop().success());
    });
}

/// Ends the load, also when an assertion fails.
struct Calm<'a>(&'a AtomicBool);

impl Drop for Calm<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
