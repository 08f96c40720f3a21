//! Lists, grants, quotas and throttling of a running agent, on real traffic of a namespace.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use nix::sys::signal::Signal;
use rampart_tests::{agent::Agent, require_root};
use serde_json::Value;

use crate::stage::{Stage, TOKEN, ask, page};

const PORT: u16 = 47_780;
/// A port whose policy is of a more important class.
const ORDERS: u16 = 47_781;
const SPAN: Duration = Duration::from_millis(400);

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
    assert!(more > 400, "{more} arrived with the grant");
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

    // What was made outlives a crash, and what was made for a time only ends without an agent.
    stage.done(&agent, &["deny", "198.18.80.2", "--for", "3s"]);
    agent.signal(Signal::SIGKILL);
    drop(agent);
    let made = Instant::now();
    let early = stage.arrive(2, PORT, 100, SPAN);
    assert!(
        early == 0 || made.elapsed() > Duration::from_secs(2),
        "{early} arrived of a source that is denied"
    );
    assert_eq!(stage.arrive(3, PORT, 100, SPAN), 0, "the kernel goes on");
    while stage.arrive(2, PORT, 100, SPAN) == 0 {
        assert!(made.elapsed() < Duration::from_secs(30), "the entry does not end");
    }
    assert_eq!(stage.arrive(3, PORT, 100, SPAN), 0, "the other one is for ever");
    let mut agent = stage.start(&policies);
    assert_eq!(stage.arrive(3, PORT, 100, SPAN), 0, "and so does the next agent");
    let entries = page(&agent, "/limits/deny")["entries"].clone();
    assert_eq!((entries.as_array().map(Vec::len), &entries[0]["comment"]), (Some(1), &"over HTTP".into()));
    let (status, answer) = ask(&agent, "DELETE", "/limits/deny/198.18.80.3/32", Some(TOKEN), "");
    assert_eq!((status, &answer["removed"]), (200, &true.into()));
    let (status, answer) = ask(&agent, "DELETE", "/limits/deny/198.18.80.3/32", Some(TOKEN), "");
    assert_eq!((status, &answer["removed"]), (200, &false.into()));
    assert!(stage.arrive(3, PORT, 200, SPAN) > 10, "it may go on");

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
    assert_eq!(of("limits deny"), 6, "{audit}");
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
    let first = stage.arrive(2, PORT, 150, SPAN);
    assert!((20..90).contains(&first), "{first} arrived");
    // Before the agent has looked at it.
    agent.signal(Signal::SIGKILL);
    drop(agent);
    let mut agent = stage.start(&policies);
    agent.until("counting what was used before", |agent| used(agent) == first);
    let mut all = first;
    while all < 100 {
        all += stage.arrive(2, PORT, 150, SPAN);
    }
    let closed = |agent: &Agent| page(agent, "/limits")["used_up"][0]["source"] == "198.18.81.2";
    agent.until("closed", closed);
    agent.wait_for("the quota", |alert| is_internal(alert, "quota used up"));
    assert_eq!(stage.arrive(2, PORT, 150, SPAN), 0, "the quota is used up");
    assert!(stage.arrive(3, PORT, 100, SPAN) > 5, "another source has its own");
    let explained = stage.done(&agent, &["explain", "198.18.81.2"]);
    assert!(explained.contains("over_quota"), "{explained}");
    assert!(agent.stop().success());
    assert_eq!(stage.arrive(2, PORT, 150, SPAN), 0, "without an agent too");
    let agent = stage.start(&policies);
    assert_eq!(stage.arrive(2, PORT, 150, SPAN), 0, "and with the next one");
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
        let rest = stage.arrive(2, PORT, 5000, Duration::from_secs(1));
        assert!(rest >= 250, "{rest} arrived while only observing");
        agent.wait_for("throttling", |alert| {
            is_internal(alert, "rates throttled") && alert["output_fields"]["class"] == "best_effort"
        });
        assert!(agent.stop().success());

        let mut agent = stage.start(&settings("enforce"));
        agent.until("at the floor", |agent| scale(agent, "best_effort") == 100);
        let rest = stage.arrive(3, PORT, 5000, Duration::from_secs(1));
        assert!((10..=150).contains(&rest), "{rest} arrived of a tenth of the rate");
        let orders = stage.arrive(3, ORDERS, 5000, Duration::from_secs(1));
        assert!(orders >= 250, "{orders} orders arrived");
        assert_eq!(scale(&agent, "order_entry"), 1000);
        drop(calm);
        assert!(agent.stop().success());
    });
}

fn is_internal(alert: &Value, what: &str) -> bool {
    alert["rule"] == format!("Rampart internal: {what}")
}

/// Ends the load, also when an assertion fails.
struct Calm<'a>(&'a AtomicBool);

impl Drop for Calm<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
