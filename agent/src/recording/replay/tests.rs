use std::{fs, os::unix::fs::symlink, path::Path, sync::LazyLock};

use proptest::prelude::*;
use rampart_common::{
    counter::FamilyCounters,
    event::{AttrTag, EventKind, ExecFacts, FAMILY_COUNT, Family},
};
use rampart_rules::{
    load::{LoadOptions, Source, load},
    set::Sets,
};

use super::{
    super::{
        frame::{FrameWriter, Kind},
        write::Writer,
    },
    *,
};
use crate::{
    alert::JsonOptions,
    engine::Options,
    event::{TICK_NS, build::RecordBuilder},
    state::container::{Metadata, News},
};

const SECOND: u64 = 1_000_000_000;
const SWITCHES: Switches = Switches { realpath_matching: true, strict_falco: false };
const ID: &str = "605439acbd4fb18c145069289094b17f17e0cfa938f78012d4960bc797305f22";

const RULES: &str = "\
- rule: Secret read
  desc: d
  condition: evt.type in (open, openat) and fd.name startswith /secret
  output: read %fd.name by %proc.cmdline of %proc.pname as %user.name in %container.id %container.name at %evt.datetime
  priority: WARNING
- rule: Program started
  desc: d
  condition: evt.type = execve and proc.name = tool
  output: started %proc.cmdline below %proc.aname[2] in %proc.cwd
  priority: NOTICE
- rule: Secret removed
  desc: d
  condition: evt.type = unlink and fs.path.name endswith /vault/secret
  output: removed %evt.arg.path
  priority: NOTICE
";

static BUNDLE: LazyLock<Bundle> = LazyLock::new(|| bundle(RULES));

fn bundle(rules: &str) -> Bundle {
    let source = Source { name: "rules".into(), text: rules.into() };
    let rules = load(&[source], &LoadOptions::default()).rules.expect("the rules load");
    Bundle {
        rules: Arc::new(rules),
        digest: "d1".into(),
        files: Vec::new(),
        trading: None,
        texts: Arc::new([]),
        sets: Sets::default(),
    }
}

fn facts() -> Facts {
    Facts {
        hostname: "node".into(),
        id_seed: 99,
        clock_offset_ns: 1_700_000_000_000_000_000,
        utc_offset_secs: 3600,
        process_limit: 1000,
        metadata_wait_ns: Some(100_000_000),
        ..Facts::default()
    }
}

/// A made-up `/proc` entry.
fn process(root: &Path, pid: u32, parent: u32, name: &str) {
    let dir = root.join(pid.to_string());
    fs::create_dir_all(&dir).expect("a directory");
    let ticks = u64::from(pid) * SECOND / TICK_NS;
    let stat = format!("{pid} ({name}) S {parent} {pid} {pid} 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 {ticks} 0 0");
    fs::write(dir.join("stat"), stat).expect("a file");
    fs::write(dir.join("status"), "Uid:\t33\t33\t33\t33\nGid:\t5\t5\t5\t5\n").expect("a file");
    fs::write(dir.join("cmdline"), format!("/bin/{name}\0--from-proc\0")).expect("a file");
    fs::write(dir.join("cgroup"), "0::/\n").expect("a file");
}

/// A detector on a made-up node, with everything it is told written down.
struct Live {
    detector: Detector,
    writer: Writer<Vec<u8>>,
    alerts: Vec<Alert>,
}

impl Live {
    fn new(node: &Path) -> Self {
        let facts = facts();
        let options = Options {
            state: state::Config {
                process_limit: 1000,
                proc_root: node.join("proc"),
                passwd: node.join("passwd"),
                group: node.join("group"),
                outside: Outside::Kept,
                ..state::Config::default()
            },
            hostname: facts.hostname.clone(),
            policy_digest: Some("d1".into()),
            clock_offset_ns: None,
            clock: Clock::fixed(facts.clock_offset_ns, facts.utc_offset_secs),
            id_seed: facts.id_seed,
            metadata_wait_ns: facts.metadata_wait_ns,
            ..Options::default()
        };
        let detector = Detector::new(Arc::clone(&BUNDLE.rules), options);
        let writer = Writer::new(Vec::new(), &facts).expect("written");
        Self { detector, writer, alerts: Vec::new() }
    }

    fn write(&mut self, item: &Item<'_>) {
        for told in self.detector.take_told() {
            self.writer.item(&Item::Told(told)).expect("written");
        }
        self.writer.item(item).expect("written");
    }

    fn start(&mut self) {
        self.detector.bootstrap_at(SECOND);
        self.write(&Item::Start(SECOND));
    }

    fn record(&mut self, record: &RecordBuilder) {
        let bytes = record.build();
        self.detector.on_record(&bytes, &mut |alert| self.alerts.push(alert));
        while self.detector.next_request().is_some() {}
        self.write(&Item::Record(&bytes));
    }
}

fn read_secret(pid: u32, number: u64) -> RecordBuilder {
    let mut record =
        RecordBuilder::syscall(libc::SYS_openat, Family::Open, 3, &[0, 0, libc::O_RDONLY as u64])
            .text(AttrTag::UserPath, "/secret")
            .path(AttrTag::RealPath, "/secret")
            .process(pid, u64::from(pid) * SECOND, "reader")
            .parent(1, SECOND)
            .at(200 * SECOND + number)
            .seq(0, number);
    (record.header.task.uid, record.header.task.euid) = (33, 33);
    record
}

/// A scripted life of a node: its recording, and its alerts as they were raised.
fn lived() -> (Vec<u8>, Vec<Alert>) {
    let node = tempfile::tempdir().expect("a directory");
    let proc = node.path().join("proc");
    process(&proc, 1, 0, "init");
    process(&proc, 100, 1, "before");
    fs::write(node.path().join("passwd"), "web:x:33:33::/srv:/bin/false\n").expect("a file");
    let mut live = Live::new(node.path());
    live.start();
    live.record(&read_secret(100, 0));
    // A file behind a link to its folder.
    let dir = node.path().canonicalize().expect("it exists");
    fs::create_dir(dir.join("vault")).expect("a directory");
    symlink("vault", dir.join("folder")).expect("a link");
    symlink("/", proc.join("100/root")).expect("a link");
    fs::create_dir(proc.join("100/ns")).expect("a directory");
    symlink("mnt:[9]", proc.join("100/ns/mnt")).expect("a link");
    symlink("/proc/self", proc.join("self")).expect("a link");
    let mut unlink = RecordBuilder::syscall(libc::SYS_unlink, Family::Path, 0, &[])
        .text(AttrTag::UserPath, dir.join("folder/secret").to_str().expect("text"))
        .process(100, 100 * SECOND, "before")
        .parent(1, SECOND)
        .at(200 * SECOND)
        .seq(1, 0);
    unlink.header.task.mnt_ns = 9;
    live.record(&unlink);
    // A process that no record announced, found in `/proc` at its first event.
    process(&proc, 101, 100, "late");
    live.record(&read_secret(101, 1));
    // One that was gone by then.
    live.record(&read_secret(102, 2));
    // The name changes.
    fs::write(node.path().join("passwd"), "www:x:33:33::/srv:/bin/false\n").expect("a file");
    live.record(&read_secret(100, 3).at(202 * SECOND));
    // The clock is set.
    live.detector.set_clock(1_700_000_100_000_000_000, 7200);
    live.write(&Item::Clock { offset_ns: 1_700_000_100_000_000_000, utc_offset_secs: 7200 });
    // An exec, in a container that is not known yet; the answer comes later.
    let exec = RecordBuilder::new(EventKind::Exec, Family::Exec)
        .process(103, 103 * SECOND, "tool")
        .parent(101, 101 * SECOND)
        .at(203 * SECOND)
        .seq(0, 4)
        .exec(&ExecFacts::default())
        .strings(AttrTag::Argv, &["tool", "--all"])
        .path(AttrTag::Cwd, "/srv/data")
        .path(AttrTag::Cgroup, &format!("/docker/{ID}"));
    live.record(&exec);
    live.record(&read_secret(103, 5).at(203 * SECOND + 1));
    let metadata = Metadata { name: Some("web".into()), ..Metadata::default() };
    let news = News::Container("605439acbd4f".into(), Some(Box::new(metadata)));
    live.write(&Item::News(203 * SECOND + 2, news.clone()));
    live.detector.on_news(news, 203 * SECOND + 2, &mut |alert| live.alerts.push(alert));
    // Events are lost.
    let mut counters = [FamilyCounters::default(); FAMILY_COUNT];
    counters[Family::Open as usize] =
        FamilyCounters { seen: 12, emitted: 5, ring_full: 7, ..FamilyCounters::default() };
    live.write(&Item::Counters(204 * SECOND, Box::new(counters)));
    live.detector.on_counters(&counters, false, 204 * SECOND, &mut |alert| live.alerts.push(alert));
    live.detector.on_time(204 * SECOND, &mut |alert| live.alerts.push(alert));
    live.write(&Item::End(205 * SECOND));
    live.detector.on_end(205 * SECOND, &mut |alert| live.alerts.push(alert));
    (live.writer.finish().expect("written"), live.alerts)
}

fn replayed(recording: &[u8], bundle: &Bundle) -> (Vec<String>, Summary) {
    let mut reader = Reader::new(recording).expect("a recording");
    let mut detectors = [detector(reader.facts(), bundle, SWITCHES)];
    let mut alerts = Vec::new();
    let summary = run(&mut reader, &mut detectors, &mut |_, alert| alerts.push(alert));
    (lines(&alerts), summary)
}

fn lines(alerts: &[Alert]) -> Vec<String> {
    alerts.iter().map(|alert| alert.json(JsonOptions::default())).collect()
}

#[test]
fn a_replay_raises_the_alerts_of_the_live_run_byte_for_byte() {
    let (recording, live) = lived();
    let (alerts, summary) = replayed(&recording, &BUNDLE);
    assert_eq!(alerts, lines(&live));
    assert_eq!(replayed(&recording, &BUNDLE).0, alerts, "and again");
    assert!(summary.fault.is_none());
    assert_eq!((summary.records, summary.lost), (7, 7));
    // What the state learned beside records shows, so it was not empty on both sides.
    let texts: Vec<&str> = live.iter().map(|alert| alert.message.as_str()).collect();
    let has = |text: &str| assert!(texts.iter().any(|it| it.contains(text)), "no `{text}` in {texts:#?}");
    has("read /secret by before --from-proc of init as web in host");
    has("read /secret by late --from-proc of init as web in host");
    has("read /secret by reader of init as web in host");
    has("as www in host");
    has("started tool --all below");
    has("in /srv/data");
    has("in 605439acbd4f web at");
    has("folder/secret");
    has("7 events of family open lost");
}

#[test]
fn what_is_readable_of_a_cut_recording_is_replayed() {
    let (recording, live) = lived();
    let cut = &recording[..recording.len() - 1];
    let (alerts, summary) = replayed(cut, &BUNDLE);
    assert!(matches!(summary.fault, Some(ReadError::Truncated { .. })), "{:?}", summary.fault);
    assert_eq!(alerts, lines(&live), "only the end mark is missing");
}

#[test]
fn other_rules_are_judged_in_the_same_pass() {
    let (recording, _) = lived();
    let other = bundle(&RULES.replace("startswith /secret", "startswith /nothing"));
    let mut reader = Reader::new(recording.as_slice()).expect("a recording");
    let mut detectors =
        [detector(reader.facts(), &BUNDLE, SWITCHES), detector(reader.facts(), &other, SWITCHES)];
    let mut alerts = [Vec::new(), Vec::new()];
    run(&mut reader, &mut detectors, &mut |side, alert| alerts[side].push(alert));
    assert_eq!(lines(&alerts[0]), replayed(&recording, &BUNDLE).0);
    assert_eq!(lines(&alerts[1]), replayed(&recording, &other).0);
    let rules = |alerts: &[Alert]| alerts.iter().filter(|alert| alert.rule == "Secret read").count();
    assert_eq!((rules(&alerts[0]), rules(&alerts[1])), (5, 0));
}

/// The recording's items as one payload.
fn payload() -> Vec<u8> {
    let (recording, _) = lived();
    let mut reader = Reader::new(recording.as_slice()).expect("a recording");
    let mut payload = Vec::new();
    while reader.next(|item| item.append(&mut payload).expect("written")).expect("readable") {}
    payload
}

proptest! {
    /// Whoever writes a recording on purpose can make every checksum right: then the contents must do no harm.
    #[test]
    fn forged_contents_are_survived(changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..20)) {
        static PAYLOAD: LazyLock<Vec<u8>> = LazyLock::new(payload);
        let mut forged = PAYLOAD.clone();
        for (at, byte) in changes {
            let at = at.index(forged.len());
            forged[at] = byte;
        }
        let mut writer = FrameWriter::new(Vec::new()).expect("written");
        writer.frame(Kind::Facts, &rmp_serde::to_vec_named(&facts()).expect("written")).expect("written");
        writer.frame(Kind::Items, &forged).expect("written");
        let (_, summary) = replayed(&writer.into_inner(), &BUNDLE);
        prop_assert!(summary.fault.is_some(), "there is no end mark");
    }
}
