//! Metadata of containers that comes after the events that need it.

use std::sync::Arc;

use rampart_common::event::{AttrTag, EventKind, Family};
use rampart_rules::rule::Matching;

use super::{SECOND, by, names, open, options, rules};
use crate::{
    alert::{Alert, WaitOutcome},
    engine::{Detector, Options},
    event::build::RecordBuilder,
    pushdown::Plan,
    state::{
        container::{Metadata, News, Pod, image::ImageName},
        users::NameTable,
    },
};

const MS: u64 = 1_000_000;
const ID: &str = "605439acbd4fb18c145069289094b17f17e0cfa938f78012d4960bc797305f22";
/// Time of the events that [`by`] makes.
const THEN: u64 = 101 * SECOND;

const RULES: &str = "
- rule: privileged read
  desc: d
  condition: evt.type=openat and fd.name=/etc/shadow and container.privileged=true
  output: privileged %proc.name %container.name
  priority: WARNING
- rule: any read
  desc: d
  condition: evt.type=openat and fd.name=/etc/shadow and not container.image.repository in (trusted)
  output: read by %proc.name
  priority: NOTICE
- rule: socket
  desc: d
  condition: evt.type=socket
  output: socket by %proc.name
  priority: NOTICE
";

struct Bench {
    detector: Detector,
    alerts: Vec<Alert>,
}

impl Bench {
    fn new(options: Options) -> Self {
        Self::of(RULES, options)
    }

    fn of(text: &str, options: Options) -> Self {
        let detector = Detector::new(rules(text, Matching::First), options);
        let mut bench = Self { detector, alerts: Vec::new() };
        bench.feed(&started("bash", &format!("/docker/{ID}")));
        bench
    }

    fn feed(&mut self, record: &RecordBuilder) {
        self.detector.on_record(&record.build(), &mut |alert| self.alerts.push(alert));
    }

    fn read(&mut self, comm: &str) {
        self.feed(&inside(by(open("/etc/shadow", 0), 60, 1, comm)));
    }

    fn news(&mut self, metadata: Option<Metadata>, now_ns: u64) -> Vec<Alert> {
        let news = News::Container(ID[..12].into(), metadata.map(Box::new));
        self.detector.on_news(news, now_ns, &mut |alert| self.alerts.push(alert));
        std::mem::take(&mut self.alerts)
    }

    fn time(&mut self, now_ns: u64) -> Vec<Alert> {
        self.detector.on_time(now_ns, &mut |alert| self.alerts.push(alert));
        std::mem::take(&mut self.alerts)
    }
}

/// A program started in the container.
fn started(comm: &str, group: &str) -> RecordBuilder {
    inside(
        RecordBuilder::new(EventKind::Exec, Family::Exec)
            .process(60, 60 * SECOND, comm)
            .parent(1, SECOND)
            .strings(AttrTag::Argv, &[comm])
            .path(AttrTag::Cgroup, group)
            .at(100 * SECOND),
    )
}

fn inside(mut record: RecordBuilder) -> RecordBuilder {
    record.header.task.cgroup_id = 77;
    record
}

fn waiting() -> Bench {
    Bench::new(Options { metadata_wait_ns: Some(100 * MS), ..options() })
}

fn privileged(truth: bool) -> Metadata {
    let image = ImageName::parse("trusted:1");
    Metadata { privileged: Some(truth), name: Some("web".into()), image, ..Metadata::default() }
}

fn outcomes(alerts: &[Alert]) -> Vec<Option<(WaitOutcome, u64)>> {
    alerts.iter().map(|alert| alert.wait.map(|wait| (wait.outcome, wait.millis))).collect()
}

#[test]
fn a_rule_that_needs_metadata_waits_and_is_judged_as_the_event_was() {
    let mut bench = waiting();
    let wanted = bench.detector.next_request().expect("a container to look up");
    assert_eq!((&*wanted.container.full_id, wanted.process.pid), (ID, 60));
    assert!(bench.detector.next_request().is_none());
    bench.read("bash");
    assert!(bench.alerts.is_empty() && bench.detector.deadline_ns() == Some(THEN + 100 * MS));
    // Meanwhile the process becomes another program.
    bench.feed(&started("nginx", &format!("/docker/{ID}")));
    let alerts = bench.news(Some(privileged(true)), THEN + 12 * MS);
    assert_eq!(names(&alerts), ["privileged read"]);
    assert_eq!(alerts[0].message, "privileged bash web");
    assert_eq!(alerts[0].time_ns, 1_700_000_000 * SECOND + THEN);
    assert_eq!(outcomes(&alerts), [Some((WaitOutcome::Arrived, 12))]);
    // From now on nothing waits.
    bench.read("nginx");
    assert_eq!(outcomes(&bench.alerts), [None]);
    assert_eq!(bench.alerts[0].message, "privileged nginx web");
    let waits = bench.detector.stats().waits;
    assert_eq!((waits.waiting, waits.ended), (0, [1, 0, 0, 0, 0]));
}

#[test]
fn metadata_decides_which_rule_matches_and_whether_any_does() {
    let mut bench = waiting();
    bench.read("bash");
    assert!(bench.news(Some(privileged(false)), THEN + MS).is_empty(), "a trusted image");
    let mut bench = waiting();
    bench.read("bash");
    let other = Metadata { image: ImageName::parse("other"), ..privileged(false) };
    assert_eq!(names(&bench.news(Some(other), THEN + MS)), ["any read"]);
}

#[test]
fn what_comes_too_late_is_missing_and_the_alert_says_so() {
    let mut bench = waiting();
    bench.read("bash");
    assert!(bench.time(THEN + 99 * MS).is_empty());
    let alerts = bench.time(THEN + 100 * MS);
    assert_eq!(names(&alerts), ["any read"]);
    assert_eq!(outcomes(&alerts), [Some((WaitOutcome::Timeout, 100))]);
    assert!(bench.time(THEN + SECOND).is_empty());
    let mut bench = waiting();
    bench.read("bash");
    assert_eq!(outcomes(&bench.news(None, THEN + 3 * MS)), [Some((WaitOutcome::Unknown, 3))]);
    let mut bench = waiting();
    bench.read("bash");
    bench.detector.on_end(THEN + MS, &mut |alert| bench.alerts.push(alert));
    assert_eq!(outcomes(&bench.alerts), [Some((WaitOutcome::Shutdown, 1))]);
}

#[test]
fn what_needs_no_metadata_does_not_wait() {
    let socket = || by(RecordBuilder::syscall(libc::SYS_socket, Family::Net, 3, &[2, 1, 0]), 60, 1, "bash");
    let mut bench = waiting();
    bench.feed(&inside(socket()));
    assert_eq!(outcomes(&bench.alerts), [None]);
    // An alert that shows the container's name does.
    let suggested = Options { suggested_output: true, metadata_wait_ns: Some(100 * MS), ..options() };
    let mut bench = Bench::new(suggested);
    bench.feed(&inside(socket()));
    assert!(bench.alerts.is_empty());
    let alerts = bench.news(Some(privileged(false)), THEN + MS);
    assert_eq!(alerts[0].field("container.name").as_deref(), Some("web"));
    // Without anybody to ask, nothing waits at all.
    let mut bench = Bench::new(Options { suggested_output: true, ..options() });
    bench.read("bash");
    assert_eq!(outcomes(&bench.alerts), [None]);
}

#[test]
fn alerts_of_a_container_keep_their_order() {
    let mut bench =
        Bench::new(Options { suggested_output: true, metadata_wait_ns: Some(100 * MS), ..options() });
    let socket = by(RecordBuilder::syscall(libc::SYS_socket, Family::Net, 3, &[2, 1, 0]), 60, 1, "bash");
    bench.read("bash");
    bench.feed(&inside(socket));
    bench.read("bash");
    let alerts = bench.news(Some(privileged(true)), THEN + MS);
    assert_eq!(names(&alerts), ["privileged read", "socket", "privileged read"]);
    assert!(alerts.is_sorted_by_key(|alert| alert.sequence));
}

#[test]
fn a_full_queue_delays_nothing() {
    let mut bench = waiting();
    for _ in 0..1100 {
        bench.read("bash");
    }
    let early = std::mem::take(&mut bench.alerts);
    assert_eq!(early.len(), 1100 - 1024);
    assert!(outcomes(&early).iter().all(|it| *it == Some((WaitOutcome::QueueFull, 0))));
    assert_eq!(bench.news(Some(privileged(true)), THEN + MS).len(), 1024);
}

#[test]
fn a_reload_does_not_change_the_rules_of_waiting_events() {
    let mut bench = waiting();
    bench.read("bash");
    let other = "
- rule: nothing
  desc: d
  condition: evt.type=openat and fd.name=/nowhere
  output: o
  priority: NOTICE
";
    bench.detector.swap(rules(other, Matching::First), Some(Arc::from("new")));
    let alerts = bench.news(Some(privileged(true)), THEN + MS);
    assert_eq!(names(&alerts), ["privileged read"]);
    assert_eq!(alerts[0].policy_digest, None, "the digest of the rules that judged");
}

#[test]
fn pods_of_the_api_server_fill_fields_before_the_runtime_answers() {
    let text = "
- rule: in namespace
  desc: d
  condition: evt.type=openat and k8s.ns.name=shop
  output: pod=%k8s.pod.name of=%k8s.deployment.name label=%k8s.pod.label[app]
  priority: NOTICE
";
    let uid = "63b3ebfc-2890-11e9-8154-16bf8ef8d9dc";
    let options = Options { metadata_wait_ns: Some(100 * MS), ..options() };
    let mut detector = Detector::new(rules(text, Matching::First), options);
    let mut alerts = Vec::new();
    let group = format!("/kubepods/besteffort/pod{uid}/{ID}");
    detector.on_record(&started("bash", &group).build(), &mut |_| {});
    let pod = Pod {
        uid: uid.into(),
        name: "web-5d4f-x".into(),
        namespace: "shop".into(),
        labels: [("app".into(), "web".into()), ("pod-template-hash".into(), "5d4f".into())].into(),
        owner: Some(crate::state::container::Owner {
            kind: "ReplicaSet".into(),
            name: "web-5d4f".into(),
            uid: "u".into(),
        }),
        ..Pod::default()
    };
    detector.on_news(News::Pod(Arc::new(pod)), THEN, &mut |_| {});
    detector.on_record(&inside(by(open("/x", 0), 60, 1, "bash")).build(), &mut |alert| alerts.push(alert));
    assert_eq!(alerts[0].message, "pod=web-5d4f-x of=web label=web");
    assert_eq!(alerts[0].wait, None);
}

#[test]
fn names_of_users_are_the_containers_own() {
    let text = "
- rule: by inside
  desc: d
  condition: evt.type=openat and user.name=inside
  output: user=%user.name group=%group.name
  priority: NOTICE
";
    let options = Options { metadata_wait_ns: Some(100 * MS), ..options() };
    let mut detector = Detector::new(rules(text, Matching::First), options);
    let feed = |detector: &mut Detector, record: &RecordBuilder| {
        detector.on_record(&record.build(), &mut |alert| panic!("too early: {alert:?}"));
    };
    feed(&mut detector, &started("bash", &format!("/docker/{ID}")));
    let mut read = inside(by(open("/x", 0), 60, 1, "bash"));
    (read.header.task.euid, read.header.task.egid) = (4711, 50);
    feed(&mut detector, &read);
    let mut alerts = Vec::new();
    let names = NameTable::parse(b"inside:x:4711:4711::/:\n", b"staff:x:50:\n");
    let news = [News::Names(ID[..12].into(), Box::new(names)), News::Container(ID[..12].into(), None)];
    for news in news {
        detector.on_news(news, THEN + MS, &mut |alert| alerts.push(alert));
    }
    assert_eq!(alerts.len(), 1);
    assert_eq!(alerts[0].message, "user=inside group=staff");
    detector.on_record(&read.build(), &mut |alert| alerts.push(alert));
    assert_eq!(alerts[1].message, "user=inside group=staff");
    assert_eq!(alerts[1].wait, None);
}

#[test]
fn events_counted_before_one_that_waits_are_counted_with_it() {
    let text = "
- rule: often
  desc: d
  condition: evt.type=openat and container.privileged=true
  output: o
  priority: NOTICE
  threshold: {count: 10, within: 1m}
";
    for (before, expected) in [(8, &[][..]), (9, &["often"])] {
        let mut bench = Bench::of(text, Options { metadata_wait_ns: Some(100 * MS), ..options() });
        let policy = Arc::clone(bench.detector.policy());
        bench.detector.set_plan(Some(Arc::new(Plan::new(policy, 1))));
        let count: Vec<u8> = [u64::MAX, u64::MAX, u64::MAX, u64::MAX, before, 0, THEN - MS]
            .iter()
            .flat_map(|word: &u64| word.to_ne_bytes())
            .collect();
        let mut last = inside(by(open("/x", 0), 60, 1, "bash")).attr_flags(AttrTag::Counted, 0, &count);
        last.header.generation = 1;
        bench.feed(&last);
        assert!(bench.alerts.is_empty() && bench.detector.deadline_ns().is_some());
        assert_eq!(names(&bench.news(Some(privileged(true)), THEN + MS)), expected, "{before}");
    }
}
