//! Digests of executables, which come after the events that need them.

use rampart_common::event::{EventKind, Family, FileFacts};
use rampart_rules::rule::Matching;

use super::{SECOND, by, open, options, rules};
use crate::{
    alert::{Alert, WaitOutcome},
    engine::{Detector, Digesting, Options},
    event::build::RecordBuilder,
    state::{
        container::News,
        digest::{DigestWanted, FileVersion},
    },
};

const MS: u64 = 1_000_000;
/// Time of the events that [`by`] makes.
const THEN: u64 = 101 * SECOND;
const FILE: FileFacts = FileFacts {
    ino: 17,
    ctime_ns: 5,
    mtime_ns: 6,
    dev: 3,
    mode: 0o755,
    uid: 0,
    gid: 0,
    nlink: 1,
    flags: 0,
    open_flags: 0,
    fs_magic: 0,
};
const BAD: [u8; 32] = [0xab; 32];

fn text() -> String {
    format!(
        "- rule: bad program\n  desc: d\n  condition: evt.type = execve and proc.exe.sha256 = {}\n  \
         output: bad %proc.name %proc.exe.sha256\n  priority: CRITICAL\n\
         - rule: any tool\n  desc: d\n  condition: evt.type = execve and proc.name = tool\n  output: tool\n  \
         priority: NOTICE\n",
        "ab".repeat(32)
    )
}

struct Bench {
    detector: Detector,
    alerts: Vec<Alert>,
}

impl Bench {
    fn new(matching: Matching) -> Self {
        let options = Options { digests: Digesting::Asked, metadata_wait_ns: Some(100 * MS), ..options() };
        Self { detector: Detector::new(rules(&text(), matching), options), alerts: Vec::new() }
    }

    fn exec(&mut self, comm: &str) {
        let record = RecordBuilder::new(EventKind::Exec, Family::Exec).file(&FILE);
        let record = by(record, 60, 1, comm);
        self.feed(&record);
    }

    fn feed(&mut self, record: &RecordBuilder) {
        self.detector.on_record(&record.build(), &mut |alert| self.alerts.push(alert));
    }

    fn time(&mut self, now_ns: u64) {
        self.detector.on_time(now_ns, &mut |alert| self.alerts.push(alert));
    }

    fn tell(&mut self, digest: Option<[u8; 32]>, now_ns: u64) {
        let news = News::Digest(FileVersion::from(&FILE), digest);
        self.detector.on_news(news, now_ns, &mut |alert| self.alerts.push(alert));
    }

    fn rules(&self) -> Vec<&str> {
        self.alerts.iter().map(|alert| alert.rule.as_str()).collect()
    }

    fn asked(&mut self) -> Option<DigestWanted> {
        self.detector.next_digest()
    }
}

#[test]
fn an_exec_waits_for_the_digest_of_its_file_and_the_next_one_does_not() {
    let mut bench = Bench::new(Matching::First);
    bench.exec("tool");
    assert!(bench.alerts.is_empty());
    let asked = bench.asked().expect("a file to read");
    assert_eq!((asked.version, asked.is_patient), (FileVersion::from(&FILE), false));
    bench.tell(Some(BAD), THEN + 3 * MS);
    assert_eq!(bench.rules(), ["bad program"]);
    assert_eq!(bench.alerts[0].message, format!("bad tool {}", "ab".repeat(32)));
    assert_eq!(bench.alerts[0].wait.map(|wait| wait.outcome), Some(WaitOutcome::Arrived));
    bench.exec("tool");
    assert_eq!(bench.rules(), ["bad program"; 2]);
    assert_eq!(bench.asked(), None, "once per version");
    assert_eq!(bench.alerts[1].wait, None);
}

#[test]
fn others_match_without_a_digest_that_nobody_can_make() {
    let mut bench = Bench::new(Matching::First);
    bench.exec("tool");
    bench.tell(None, THEN + MS);
    assert_eq!(bench.rules(), ["any tool"]);
    assert_eq!(bench.alerts[0].wait.map(|wait| wait.outcome), Some(WaitOutcome::Unknown));
}

#[test]
fn a_large_file_is_no_way_past_the_rules() {
    // Read too slowly for the others, which are told meanwhile.
    let mut bench = Bench::new(Matching::All);
    bench.exec("tool");
    bench.time(THEN + 100 * MS);
    assert_eq!(bench.rules(), ["any tool"]);
    assert_eq!(bench.alerts[0].wait.map(|wait| wait.outcome), Some(WaitOutcome::Timeout));
    assert!(bench.detector.deadline_ns().is_some(), "something is still to come");
    bench.tell(Some(BAD), THEN + 5 * SECOND);
    assert_eq!(bench.rules(), ["any tool", "bad program"]);
    assert_eq!(bench.detector.deadline_ns(), None);
    // Where the first match counts there was one.
    let mut bench = Bench::new(Matching::First);
    bench.exec("tool");
    bench.time(THEN + 100 * MS);
    bench.tell(Some(BAD), THEN + 5 * SECOND);
    assert_eq!(bench.rules(), ["any tool"]);
    // And where there was none, it is the one that comes late.
    let mut bench = Bench::new(Matching::First);
    bench.exec("other");
    bench.time(THEN + 100 * MS);
    assert!(bench.alerts.is_empty());
    bench.tell(Some(BAD), THEN + 5 * SECOND);
    assert_eq!(bench.rules(), ["bad program"]);
    // Not for ever.
    let mut bench = Bench::new(Matching::First);
    bench.exec("other");
    bench.time(THEN + 100 * MS);
    bench.time(THEN + 40 * SECOND);
    bench.tell(Some(BAD), THEN + 41 * SECOND);
    assert!(bench.alerts.is_empty() && bench.detector.stats().waits.waiting == 0);
}

#[test]
fn nothing_is_read_unless_a_rule_asks() {
    let other = "- rule: r\n  desc: d\n  condition: evt.type = execve\n  output: x\n  priority: NOTICE\n";
    let options = Options { digests: Digesting::Asked, metadata_wait_ns: Some(100 * MS), ..options() };
    let mut bench =
        Bench { detector: Detector::new(rules(other, Matching::First), options), alerts: Vec::new() };
    bench.exec("tool");
    assert_eq!(bench.rules(), ["r"]);
    assert_eq!(bench.asked(), None);
    // From now on one does: what runs already is read too, and nobody hurries.
    bench.detector.swap(rules(&text(), Matching::First), None);
    assert_eq!(bench.asked().map(|asked| asked.is_patient), Some(true));
    bench.tell(Some(BAD), THEN + MS);
    bench.feed(&by(open("/x", 0), 60, 1, "tool"));
    bench.exec("tool");
    assert_eq!(bench.rules(), ["r", "bad program"]);
}
