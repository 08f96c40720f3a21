//! The whole path: record bytes in, alerts out.

#[path = "tests/cost.rs"]
mod cost;
#[path = "tests/digests.rs"]
mod digests;
#[path = "tests/hostile.rs"]
mod hostile;
#[path = "tests/late.rs"]
mod late;
#[path = "tests/refusals.rs"]
mod refusals;
#[path = "tests/trading.rs"]
mod trading;
#[path = "tests/triggers.rs"]
mod triggers;

use std::{collections::BTreeMap, sync::Arc};

use jiff::tz::TimeZone;
use rampart_common::{
    counter::FamilyCounters,
    event::{ATTR_DISCONNECTED, AttrTag, EventKind, ExecFacts, FILE_MEMFD, Family, FileFacts, SocketFacts},
};
use rampart_rules::{
    catalog::event_ids as ev,
    load::{LoadOptions, Source, load},
    rule::{Matching, Priority, RuleSet},
};

use super::{Detector, Options, accounting::Counters, clock::Clock};
use crate::{
    alert::{Alert, JsonOptions},
    event::build::RecordBuilder,
    state,
};

const SECOND: u64 = 1_000_000_000;

fn rules(text: &str, matching: Matching) -> Arc<RuleSet> {
    let source = Source { name: "test.yaml".into(), text: text.as_bytes().to_vec() };
    let loaded = load(&[source], &LoadOptions { matching, ..LoadOptions::default() });
    assert!(loaded.diagnostics.is_empty(), "{:?}", loaded.diagnostics);
    Arc::new(loaded.rules.expect("rules"))
}

/// Upstream's stable rules, when this machine has them.
fn upstream() -> Option<Arc<RuleSet>> {
    let Some(root) = crate::shared_facts::root() else {
        println!("skipped: no upstream rules beside the workspace");
        return None;
    };
    let text = std::fs::read_to_string(root.join("falco/rules/falco_rules.yaml")).expect("the rule file");
    Some(rules(&text, Matching::First))
}

fn options() -> Options {
    Options {
        hostname: "node-1".into(),
        suggested_output: false,
        clock_offset_ns: Some(|| 1_700_000_000_000_000_000),
        clock: Clock::new(0, TimeZone::UTC),
        id_seed: 1,
        state: state::Config { proc_root: "/nonexistent".into(), ..state::Config::default() },
        ..Options::default()
    }
}

fn feed(detector: &mut Detector, record: &RecordBuilder) -> Vec<Alert> {
    let mut alerts = Vec::new();
    detector.on_record(&record.build(), &mut |alert| alerts.push(alert));
    alerts
}

fn names(alerts: &[Alert]) -> Vec<&str> {
    alerts.iter().map(|alert| alert.rule.as_str()).collect()
}

fn exec(pid: u32, parent: u32, comm: &str, argv: &[&str]) -> RecordBuilder {
    RecordBuilder::new(EventKind::Exec, Family::Exec)
        .process(pid, u64::from(pid) * SECOND, comm)
        .parent(parent, u64::from(parent) * SECOND)
        .text(AttrTag::ExecName, argv[0])
        .strings(AttrTag::Argv, argv)
        .strings(AttrTag::Envp, &["LANG=C"])
        .path(AttrTag::ExePath, &format!("/usr/bin/{comm}"))
        .path(AttrTag::Cwd, "/root")
        .path(AttrTag::Cgroup, "/")
        .file(&FileFacts { ino: 7, mode: libc::S_IFREG | 0o755, ..FileFacts::default() })
        .exec(&ExecFacts::default())
        .at(100 * SECOND)
}

fn by(record: RecordBuilder, pid: u32, parent: u32, comm: &str) -> RecordBuilder {
    record
        .process(pid, u64::from(pid) * SECOND, comm)
        .parent(parent, u64::from(parent) * SECOND)
        .at(101 * SECOND)
}

fn open(path: &str, flags: i32) -> RecordBuilder {
    RecordBuilder::syscall(libc::SYS_openat, Family::Open, 3, &[libc::AT_FDCWD as u64, 0, flags as u64, 0])
        .text(AttrTag::UserPath, path)
        .file(&FileFacts { ino: 9, mode: libc::S_IFREG | 0o640, ..FileFacts::default() })
}

/// A shell (20, child of 1) that started `cat` (30).
fn with_cat(policy: Arc<RuleSet>, options: Options) -> Detector {
    let mut detector = Detector::new(policy, options);
    for record in [
        exec(1, 0, "systemd", &["/sbin/init"]),
        exec(20, 1, "bash", &["-bash"]),
        exec(30, 20, "cat", &["cat", "/etc/shadow"]),
    ] {
        feed(&mut detector, &record);
    }
    detector
}

const READS: &str = "
- rule: reads shadow
  desc: d
  condition: evt.type in (open, openat) and evt.is_open_read=true and fd.name=/etc/shadow and fd.num>=0
  output: read | file=%fd.name by=%proc.name parent=%proc.pname cmd=%proc.cmdline gone=%proc.aname[7]
  priority: WARNING
  tags: [b, a]
- rule: anything below tmp
  desc: d
  condition: evt.type=openat and fd.name startswith /tmp/
  output: tmp %fd.name num=%fd.num
  priority: info
";

#[test]
fn a_match_becomes_an_alert_with_its_fields() {
    let mut detector = with_cat(rules(READS, Matching::First), options());
    let record =
        by(open("/etc/shadow", libc::O_RDONLY), 30, 20, "cat").path(AttrTag::RealPath, "/etc/shadow");
    let alerts = feed(&mut detector, &record);
    assert_eq!(names(&alerts), ["reads shadow"]);
    let alert = &alerts[0];
    assert_eq!(alert.message, "read | file=/etc/shadow by=cat parent=bash cmd=cat /etc/shadow gone=<NA>");
    assert_eq!(alert.text(), format!("22:15:01.000000000: Warning {}", alert.message));
    let json = alert.json(JsonOptions { identity: false, ..JsonOptions::default() });
    assert_eq!(
        json,
        r#"{"hostname":"node-1","output":"22:15:01.000000000: Warning read | file=/etc/shadow by=cat parent=bash cmd=cat /etc/shadow gone=<NA>","output_fields":{"evt.time":1700000101000000000,"fd.name":"/etc/shadow","proc.aname[7]":null,"proc.cmdline":"cat /etc/shadow","proc.name":"cat","proc.pname":"bash"},"priority":"Warning","rule":"reads shadow","source":"syscall","tags":["a","b"],"time":"2023-11-14T22:15:01.000000000Z"}"#
    );
    assert_eq!((alert.sequence, alert.priority), (1, Priority::Warning));
    let stats = detector.stats();
    assert_eq!((stats.received, stats.evaluated, stats.matches, stats.second_views), (4, 1, 1, 0));
    assert_eq!(stats.events, [(ev::EXECVE, 3), (ev::OPENAT, 1)]);
    assert_eq!(stats.rule_matches, BTreeMap::from([("reads shadow".to_owned(), 1)]));
}

#[test]
fn a_symbolic_link_raises_the_alert_of_its_target() {
    let link =
        || by(open("/tmp/innocent", libc::O_RDONLY), 30, 20, "cat").path(AttrTag::RealPath, "/etc/shadow");
    let mut detector = with_cat(rules(READS, Matching::First), options());
    let alerts = feed(&mut detector, &link());
    assert_eq!(names(&alerts), ["anything below tmp", "reads shadow"]);
    // Each alert shows the path its rule matched on.
    assert_eq!(alerts[0].field("fd.name").as_deref(), Some("/tmp/innocent"));
    assert_eq!(alerts[1].field("fd.name").as_deref(), Some("/etc/shadow"));
    assert_eq!(detector.stats().second_views, 1);

    let mut off = with_cat(rules(READS, Matching::First), Options { realpath_matching: false, ..options() });
    assert_eq!(names(&feed(&mut off, &link())), ["anything below tmp"]);
}

#[test]
fn one_event_raises_at_most_one_alert_of_a_rule() {
    let both = "
- rule: reads
  desc: d
  condition: evt.type=openat and evt.is_open_read=true
  output: read %fd.name
  priority: INFO
";
    let mut detector = with_cat(rules(both, Matching::All), options());
    let record = by(open("/tmp/l", 0), 30, 20, "cat").path(AttrTag::RealPath, "/etc/shadow");
    let alerts = feed(&mut detector, &record);
    assert_eq!(names(&alerts), ["reads"]);
    assert_eq!(alerts[0].field("fd.name").as_deref(), Some("/tmp/l"), "the path as written comes first");
}

#[test]
fn a_relative_path_with_dots_is_the_file_it_names() {
    let mut detector = with_cat(rules(READS, Matching::First), options());
    let record = by(open("../etc/./shadow", 0), 30, 20, "cat")
        .path(AttrTag::BaseDir, "/root")
        .path(AttrTag::RealPath, "/etc/shadow");
    assert_eq!(names(&feed(&mut detector, &record)), ["reads shadow"]);
    assert_eq!(detector.stats().second_views, 0, "both views are the same");
    let mut failed = by(open("/etc/shadow", 0), 30, 20, "cat");
    failed.header.ret = -13;
    assert!(feed(&mut detector, &failed).is_empty(), "the rule asks for success");
}

#[test]
fn all_or_the_first_rule_matches() {
    let text = READS.replace("fd.name startswith /tmp/", "fd.name startswith /");
    let record = || by(open("/etc/shadow", 0), 30, 20, "cat").path(AttrTag::RealPath, "/etc/shadow");
    let mut first = with_cat(rules(&text, Matching::First), options());
    assert_eq!(names(&feed(&mut first, &record())), ["reads shadow"]);
    let mut all = with_cat(rules(&text, Matching::All), options());
    assert_eq!(names(&feed(&mut all, &record())), ["reads shadow", "anything below tmp"]);
}

#[test]
fn suggested_fields_are_appended() {
    let mut detector =
        with_cat(rules(READS, Matching::First), Options { suggested_output: true, ..options() });
    let record = by(open("/tmp/x", 0), 30, 20, "cat").path(AttrTag::RealPath, "/tmp/x");
    let alerts = feed(&mut detector, &record);
    assert_eq!(
        alerts[0].message,
        "tmp /tmp/x num=3 container_id=host container_name=host container_image_repository=<NA> \
         container_image_tag=<NA> k8s_pod_name=<NA> k8s_ns_name=<NA>"
    );
    assert_eq!(alerts[0].field("container.id").as_deref(), Some("host"));
    assert_eq!(alerts[0].fields.get("k8s.ns.name"), Some(&serde_json::Value::Null));
    assert_eq!(alerts[0].fields.get("fd.num"), Some(&serde_json::Value::from(3)));
}

#[test]
fn iso_times_are_utc() {
    let mut detector = with_cat(rules(READS, Matching::First), Options { iso_time: true, ..options() });
    let alerts = feed(&mut detector, &by(open("/tmp/x", 0), 30, 20, "cat"));
    assert!(alerts[0].text().starts_with("2023-11-14T22:15:01.000000000+0000: Informational tmp"));
    assert!(alerts[0].fields.contains_key("evt.time.iso8601") && !alerts[0].fields.contains_key("evt.time"));
}

#[test]
fn a_swap_takes_effect_at_once_and_keeps_counts() {
    let mut detector = with_cat(rules(READS, Matching::First), options());
    let record = || by(open("/tmp/x", 0), 30, 20, "cat").path(AttrTag::RealPath, "/tmp/x");
    assert_eq!(feed(&mut detector, &record()).len(), 1);
    let other = READS.replace("anything below tmp", "below tmp, renamed");
    detector.swap(rules(&other, Matching::First), Some("digest-2".into()));
    let alerts = feed(&mut detector, &record());
    assert_eq!(names(&alerts), ["below tmp, renamed"]);
    assert_eq!(alerts[0].policy_digest.as_deref(), Some("digest-2"));
    assert_eq!(alerts[0].field("fd.name").as_deref(), Some("/tmp/x"));
    let expected =
        BTreeMap::from([("anything below tmp".to_owned(), 1), ("below tmp, renamed".to_owned(), 1)]);
    assert_eq!(detector.stats().rule_matches, expected);
}

#[test]
fn what_cannot_be_understood_is_counted() {
    let mut detector = Detector::new(rules(READS, Matching::First), options());
    let mut none = |_: Alert| panic!("no alert");
    detector.on_record(&[1, 2, 3], &mut none);
    let mut unknown = RecordBuilder::syscall(499, Family::Scalar, 0, &[]);
    unknown.header.seq = 5;
    detector.on_record(&unknown.build(), &mut none);
    let stats = detector.stats();
    assert_eq!((stats.decode_errors, stats.unknown, stats.received, stats.gaps), (1, 1, 1, 5));
    assert!(stats.last_decode_error.is_some());
}

#[test]
fn lost_events_raise_an_alert() {
    let mut detector = Detector::new(rules(READS, Matching::First), options());
    let mut alerts = Vec::new();
    let mut counters = Counters::default();
    detector.on_counters(&counters, true, SECOND, &mut |alert| alerts.push(alert));
    assert!(alerts.is_empty());
    feed(&mut detector, &open("/x", 0).seq(0, 0));
    feed(&mut detector, &open("/x", 0).seq(0, 3));
    counters[Family::Open as usize] =
        FamilyCounters { seen: 5, emitted: 2, ring_full: 2, error: 1, ..FamilyCounters::default() };
    let check = detector.on_counters(&counters, true, SECOND, &mut |alert| alerts.push(alert));
    assert_eq!(check.unexplained(true), 0);
    let told: Vec<(String, String, Priority)> = alerts
        .iter()
        .map(|alert| {
            let field = |key| alert.field(key).expect("a field").into_owned();
            (field("cause"), field("count"), alert.priority)
        })
        .collect();
    assert_eq!(
        told,
        [
            ("ring_full".into(), "2".into(), Priority::Warning),
            ("error".into(), "1".into(), Priority::Warning)
        ]
    );
    assert_eq!(
        (alerts[0].rule.as_str(), alerts[0].source.as_str()),
        ("Rampart internal: event loss", "internal")
    );
    assert!(alerts[0].message.contains("2 events of family open lost"));
    assert!(!alerts[0].json(JsonOptions::default()).contains("\"tags\""));

    alerts.clear();
    detector.on_counters(&counters, true, SECOND, &mut |alert| alerts.push(alert));
    assert!(alerts.is_empty(), "told once");
    feed(&mut detector, &open("/x", 0).seq(0, 9));
    counters[Family::Open as usize] =
        FamilyCounters { seen: 11, emitted: 8, ring_full: 2, error: 1, ..FamilyCounters::default() };
    detector.on_counters(&counters, true, SECOND, &mut |alert| alerts.push(alert));
    assert_eq!(alerts.len(), 1);
    assert_eq!(alerts[0].field("cause").as_deref(), Some("unexplained"));
    assert_eq!((alerts[0].field("count").as_deref(), alerts[0].priority), (Some("5"), Priority::Critical));
}

#[test]
fn upstream_rules_find_a_shadow_read_in_every_spelling() {
    let Some(policy) = upstream() else { return };
    let shadow = |path: &str| {
        by(open(path, libc::O_RDONLY), 30, 20, "cat")
            .path(AttrTag::BaseDir, "/root")
            .path(AttrTag::RealPath, "/etc/shadow")
    };
    for path in ["/etc/shadow", "../etc/shadow", "/tmp/link", "/proc/self/root/etc/shadow"] {
        let mut detector = with_cat(Arc::clone(&policy), options());
        let alerts = feed(&mut detector, &shadow(path));
        assert_eq!(names(&alerts), ["Read sensitive file untrusted"], "{path}");
        assert_eq!(alerts[0].field("fd.name").as_deref(), Some("/etc/shadow"), "{path}");
        assert_eq!(alerts[0].field("proc.pname").as_deref(), Some("bash"));
    }
    // Upstream tells a climb through directories apart, unless a shell started the program.
    let mut detector = with_cat(Arc::clone(&policy), options());
    feed(&mut detector, &exec(31, 1, "cat", &["cat"]));
    let climb = by(open("/etc/../etc/../etc/shadow", 0), 31, 1, "cat").path(AttrTag::RealPath, "/etc/shadow");
    assert_eq!(names(&feed(&mut detector, &climb)), ["Directory traversal monitored file read"]);
    let mut detector = with_cat(policy, options());
    let other = by(open("/etc/hosts", 0), 30, 20, "cat").path(AttrTag::RealPath, "/etc/hosts");
    assert!(feed(&mut detector, &other).is_empty());
}

#[test]
fn upstream_rules_find_each_kind_of_intrusion() {
    let Some(policy) = upstream() else { return };
    let memfd = FileFacts { ino: 5, flags: FILE_MEMFD, mode: libc::S_IFREG | 0o755, ..FileFacts::default() };
    let server =
        |detector: &mut Detector| feed(detector, &exec(40, 1, "nginx", &["nginx: worker"])).is_empty();
    let mut socket = SocketFacts {
        sock: 1,
        local_port: 40_000,
        remote_port: 8443,
        family: libc::AF_INET as u16,
        kind: libc::SOCK_STREAM as u16,
        state: 1,
        ..SocketFacts::default()
    };
    socket.local[..4].copy_from_slice(&[10, 0, 0, 5]);
    socket.remote[..4].copy_from_slice(&[93, 184, 216, 34]);
    let cases = [
        (exec(50, 40, "sh", &["sh", "-c", "id"]), "Run shell untrusted"),
        (exec(51, 20, "x", &["/dev/shm/x"]), "Execution from /dev/shm"),
        (
            RecordBuilder::new(EventKind::Exec, Family::Exec)
                .process(52, 52 * SECOND, "3")
                .parent(20, 20 * SECOND)
                .strings(AttrTag::Argv, &["payload"])
                .path_flags(AttrTag::ExePath, ATTR_DISCONNECTED, "memfd:payload")
                .file(&memfd),
            "Fileless execution via memfd_create",
        ),
        (
            by(RecordBuilder::syscall(libc::SYS_ptrace, Family::Scalar, 0, &[16, 20]), 30, 20, "cat"),
            "PTRACE attached to process",
        ),
        (
            by(RecordBuilder::syscall(libc::SYS_ptrace, Family::Scalar, 0, &[0]), 30, 20, "cat"),
            "PTRACE anti-debug attempt",
        ),
        (
            by(RecordBuilder::syscall(libc::SYS_symlinkat, Family::Path, 0, &[0, 0, 0]), 30, 20, "cat")
                .text(AttrTag::UserPath, "/etc/shadow")
                .text(AttrTag::UserPath2, "/tmp/l"),
            "Create Symlink Over Sensitive Files",
        ),
        (
            by(RecordBuilder::syscall(libc::SYS_linkat, Family::Path, 0, &[0; 5]), 30, 20, "cat")
                .text(AttrTag::UserPath, "/etc/shadow")
                .text(AttrTag::UserPath2, "/tmp/l"),
            "Create Hardlink Over Sensitive Files",
        ),
        (exec(53, 20, "find", &["find", "/", "-name", "id_rsa"]), "Search Private Keys or Passwords"),
        (
            by(open("/var/log/syslog", libc::O_WRONLY | libc::O_TRUNC), 30, 20, "cat")
                .path(AttrTag::RealPath, "/var/log/syslog"),
            "Clear Log Activities",
        ),
        (exec(54, 20, "shred", &["shred", "/dev/sda"]), "Remove Bulk Data from Disk"),
        (exec(55, 20, "grep", &["grep", "aws_secret_access_key", "/root"]), "Find AWS Credentials"),
        (
            by(RecordBuilder::syscall(libc::SYS_connect, Family::Net, 0, &[3]), 56, 20, "ssh")
                .socket(&socket),
            "Disallowed SSH Connection Non Standard Port",
        ),
    ];
    for (record, expected) in cases {
        let mut detector = with_cat(Arc::clone(&policy), options());
        assert!(server(&mut detector));
        feed(&mut detector, &exec(56, 20, "ssh", &["ssh", "host"]));
        assert_eq!(names(&feed(&mut detector, &record)), [expected]);
    }
}

#[test]
fn upstream_rules_know_containers() {
    let Some(policy) = upstream() else { return };
    let id = "605439acbd4fb18c145069289094b17f17e0cfa938f78012d4960bc797305f22";
    let inside = |mut record: RecordBuilder| {
        record.header.task.cgroup_id = 77;
        record.header.task.pid_ns = 88;
        record
    };
    let in_group = |record: RecordBuilder| inside(record).path(AttrTag::Cgroup, &format!("/docker/{id}"));
    let shell = |tty: u32| {
        let mut record = in_group(
            RecordBuilder::new(EventKind::Exec, Family::Exec)
                .process(61, 61 * SECOND, "bash")
                .parent(60, 60 * SECOND)
                .strings(AttrTag::Argv, &["bash"])
                .path(AttrTag::ExePath, "/bin/bash"),
        );
        record.header.task.tty = tty;
        record
    };
    let start = || {
        let mut detector = with_cat(Arc::clone(&policy), options());
        feed(&mut detector, &exec(60, 1, "runc", &["runc", "init"]));
        detector
    };
    let mut detector = start();
    let alerts = feed(&mut detector, &shell(34816));
    assert_eq!(names(&alerts), ["Terminal shell in container"]);
    assert!(feed(&mut start(), &shell(0)).is_empty());
    let packet = RecordBuilder::syscall(libc::SYS_socket, Family::Net, 3, &[17, 3, 768]);
    let alerts = feed(&mut detector, &inside(by(packet, 61, 60, "bash")));
    assert_eq!(names(&alerts), ["Packet socket created in container"]);
    let mut connection = SocketFacts {
        sock: 1,
        local_port: 40_000,
        remote_port: 4444,
        family: libc::AF_INET as u16,
        kind: libc::SOCK_STREAM as u16,
        state: 1,
        ..SocketFacts::default()
    };
    connection.local[..4].copy_from_slice(&[10, 0, 0, 5]);
    connection.remote[..4].copy_from_slice(&[93, 184, 216, 34]);
    let dup = RecordBuilder::syscall(libc::SYS_dup3, Family::Fd, 1, &[3, 1]).socket(&connection);
    let alerts = feed(&mut detector, &inside(by(dup, 61, 60, "bash")));
    assert_eq!(names(&alerts), ["Redirect STDOUT/STDIN to Network Connection in Container"]);
}
