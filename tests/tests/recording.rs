//! `rampart record` and `rampart replay` on the running kernel: what was raised while recording is raised again.

#![expect(clippy::expect_used, reason = "a panic is how a test fails")]
#![expect(clippy::panic, reason = "a panic is how a test fails")]

use std::{
    collections::BTreeSet,
    fs::{self, File},
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    process::{Child, Command, ExitStatus, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use rampart_tests::{
    agent::{Agent, binary},
    require_root,
};
use serde_json::Value;

/// Longest wait for anything the recorder is expected to do.
const PATIENCE: Duration = Duration::from_mins(1);

/// A scratch directory with rules about what happens in it.
struct Stage {
    dir: tempfile::TempDir,
}

impl Stage {
    fn new() -> Self {
        let stage = Self { dir: tempfile::tempdir().expect("a scratch directory") };
        let dir = stage.dir.path().display();
        fs::write(stage.path("rules.yaml"), stage.rules("")).expect("written");
        fs::write(stage.path("secret"), "s\n").expect("written");
        let config =
            format!("node: {{runtime_dir: {dir}/run, state_dir: {dir}/state}}\nadmin: {{enabled: false}}\n");
        fs::write(stage.path("rampart.yaml"), config).expect("written");
        stage
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Rules on reads and programs of this directory, and `more`.
    fn rules(&self, more: &str) -> String {
        let dir = self.dir.path().display();
        format!(
            "- rule: Secret read\n  desc: d\n  condition: >\n    evt.type in (open, openat, openat2) and fd.name = {dir}/secret\n  \
             output: read %fd.name by %proc.cmdline below %proc.pname as %user.name in %proc.cwd\n  priority: WARNING\n\
             - rule: Program started\n  desc: d\n  condition: evt.type = execve and proc.args contains {dir}/secret\n  \
             output: started %proc.exepath (%proc.cmdline) below %proc.aname[1] pid=%proc.pid\n  priority: NOTICE\n{more}"
        )
    }

    /// Programs that read the file, and one that changes its directory first.
    fn load(&self) {
        let secret = self.path("secret").display().to_string();
        let script = format!(
            "cat {secret} >/dev/null; cd /usr && head -c1 {secret} >/dev/null; wc -l < {secret} >/dev/null"
        );
        for _ in 0..5 {
            let status = Command::new("/bin/sh").args(["-c", &script]).status();
            assert!(status.expect("sh runs").success());
        }
    }

    fn rampart(&self, verb: &str) -> Command {
        let mut command = Command::new(binary());
        command.arg(verb).arg("-c").arg(self.path("rampart.yaml")).stdin(Stdio::null());
        command
    }

    /// A recorder that is ready, with its alerts in the file `live`.
    fn record(&self, file: &str) -> Recorder {
        let log = self.path("record.log");
        let mut command = self.rampart("record");
        command.args(["--alerts", "json", "-r"]).arg(self.path("rules.yaml")).arg("-o").arg(self.path(file));
        command.stdout(File::create(self.path("live")).expect("a file"));
        command.stderr(File::create(&log).expect("a file"));
        let mut recorder = Recorder { child: command.spawn().expect("the recorder starts"), log };
        recorder.until("ready", |log| log.contains("Recording"));
        recorder
    }

    fn replay(&self, file: &str, arguments: &[&str]) -> Output {
        let mut command = self.rampart("replay");
        command.arg(self.path(file)).arg("-r").arg(self.path("rules.yaml")).args(arguments);
        command.output().expect("the replay runs")
    }
}

/// A running recorder; killed when dropped.
struct Recorder {
    child: Child,
    log: PathBuf,
}

impl Recorder {
    fn until(&mut self, what: &str, holds: impl Fn(&str) -> bool) {
        let end = Instant::now() + PATIENCE;
        loop {
            let log = fs::read_to_string(&self.log).unwrap_or_default();
            if holds(&log) {
                return;
            }
            if let Ok(Some(status)) = self.child.try_wait() {
                panic!("the recorder ended ({status}) before it was {what}: {log}");
            }
            assert!(Instant::now() < end, "not {what} in {PATIENCE:?}: {log}");
            thread::sleep(Duration::from_millis(20));
        }
    }

    fn end(mut self, signal: Signal) -> ExitStatus {
        let pid = i32::try_from(self.child.id()).expect("process ids are small");
        kill(Pid::from_raw(pid), signal).expect("the recorder is alive");
        self.child.wait().expect("the recorder ends")
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        let _gone_already = self.child.kill();
        let _status = self.child.wait();
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Rule and fields of each alert, without the time, which two sets of programs read one after the other.
fn facts<'a>(alerts: impl IntoIterator<Item = &'a Value>) -> BTreeSet<String> {
    let fact = |alert: &Value| {
        let mut fields = alert.get("output_fields").cloned().unwrap_or_default();
        if let Some(fields) = fields.as_object_mut() {
            fields.retain(|name, _| !name.starts_with("evt.time"));
        }
        format!("{} {fields}", alert.get("rule").and_then(Value::as_str).unwrap_or_default())
    };
    alerts.into_iter().map(fact).collect()
}

fn parsed(lines: &str) -> Vec<Value> {
    lines.lines().map(|line| serde_json::from_str(line).expect("one JSON object a line")).collect()
}

#[test]
fn a_replay_raises_what_was_raised_live_byte_for_byte() {
    require_root!("a_replay_raises_what_was_raised_live_byte_for_byte");
    let stage = Stage::new();
    // A recorder works beside an agent, and both see the same.
    let agent = Agent::start(&stage.path("rules.yaml"));
    let recorder = stage.record("load.rec");
    stage.load();
    // Fifteen programs read the file; all but the shells that redirect name it in their arguments.
    let reads = |alerts: &[Value]| alerts.iter().filter(|alert| alert["rule"] == "Secret read").count();
    let end = Instant::now() + PATIENCE;
    while reads(&agent.alerts()) < 15 {
        assert!(Instant::now() < end, "{:#?}", agent.alerts());
        thread::sleep(Duration::from_millis(20));
    }
    let status = recorder.end(Signal::SIGINT);
    assert!(
        status.success(),
        "{status}: {}",
        fs::read_to_string(stage.path("record.log")).unwrap_or_default()
    );
    let file = fs::metadata(stage.path("load.rec")).expect("a recording");
    assert_eq!(file.permissions().mode() & 0o7777, 0o600);

    let live = fs::read_to_string(stage.path("live")).expect("alerts");
    assert_eq!(reads(&parsed(&live)), 15, "{live}");
    let [first, second] = [(); 2].map(|()| stage.replay("load.rec", &["-o", "json"]));
    assert!(first.status.success(), "{}", text(&first.stderr));
    assert_eq!(text(&first.stdout), live);
    assert_eq!(first.stdout, second.stdout);
    assert!(text(&first.stderr).contains("events/s): "), "{}", text(&first.stderr));
    assert_eq!(facts(&parsed(&live)), facts(&agent.alerts()), "recorder and agent");
    assert!(agent.stop().success());

    // Another recorder does not destroy it.
    let before = fs::read(stage.path("load.rec")).expect("a recording");
    let mut again = stage.rampart("record");
    let refused = again
        .args(["--duration", "1s", "-o"])
        .arg(stage.path("load.rec"))
        .output()
        .expect("the recorder starts");
    assert_eq!(refused.status.code(), Some(2), "{}", text(&refused.stderr));
    assert_eq!(fs::read(stage.path("load.rec")).expect("a recording"), before);

    // One more rule is a gained alert for each match.
    let more = "- rule: More\n  desc: d\n  condition: evt.type = execve and proc.name = head\n  output: head\n  priority: INFO\n";
    fs::write(stage.path("more.yaml"), stage.rules("").replace("in %proc.cwd", "at %proc.cwd") + more)
        .expect("written");
    let more = stage.path("more.yaml").display().to_string();
    let same = stage.path("rules.yaml").display().to_string();
    let alike = stage.replay("load.rec", &["--diff", "-r", &same]);
    assert_eq!((alike.status.code(), alike.stdout.len()), (Some(0), 0), "{}", text(&alike.stdout));
    let differs = stage.replay("load.rec", &["--diff", "-r", &more, "--format", "json"]);
    assert_eq!(differs.status.code(), Some(1), "{}", text(&differs.stderr));
    let found: Value = serde_json::from_slice(&differs.stdout).expect("JSON");
    assert_eq!((&found["lost"], &found["changed"]), (&Value::from(0), &Value::from(15)), "{found:#}");
    let shown = text(&stage.replay("load.rec", &["--diff", "-r", &more]).stdout);
    let gained: Vec<&str> = shown.lines().filter(|line| line.starts_with("+ More: ")).collect();
    assert_eq!(Value::from(gained.len()), found["gained"], "{shown}");
    assert!(shown.contains("~ Secret read at "), "{shown}");
}

#[test]
fn a_killed_recorder_leaves_a_recording_that_is_readable_to_its_last_second() {
    require_root!("a_killed_recorder_leaves_a_recording_that_is_readable_to_its_last_second");
    let stage = Stage::new();
    let recorder = stage.record("killed.rec");
    stage.load();
    let end = Instant::now() + PATIENCE;
    loop {
        let replayed = text(&stage.replay("killed.rec", &["-o", "json"]).stdout);
        if parsed(&replayed).iter().filter(|alert| alert["rule"] == "Secret read").count() == 15 {
            break;
        }
        assert!(Instant::now() < end, "not written in {PATIENCE:?}: {replayed}");
        thread::sleep(Duration::from_millis(200));
    }
    assert!(!recorder.end(Signal::SIGKILL).success());
    let cut = stage.replay("killed.rec", &["-o", "json"]);
    assert_eq!(cut.status.code(), Some(2));
    let said = text(&cut.stderr);
    assert!(
        said.contains("without its end mark") && said.contains("events before it were replayed"),
        "{said}"
    );
    assert!(parsed(&text(&cut.stdout)).len() >= 15);

    // Damage in the middle is named by its offset.
    let path = stage.path("killed.rec");
    let mut bytes = fs::read(&path).expect("a recording");
    let middle = bytes.len() / 2;
    if let Some(byte) = bytes.get_mut(middle) {
        *byte ^= 1;
    }
    fs::write(&path, bytes).expect("written");
    let damaged = stage.replay("killed.rec", &[]);
    assert_eq!(damaged.status.code(), Some(2));
    assert!(text(&damaged.stderr).contains("is damaged at offset "), "{}", text(&damaged.stderr));
}

#[test]
fn what_was_learned_is_not_told_of_and_what_is_new_is() {
    require_root!("what_was_learned_is_not_told_of_and_what_is_new_is");
    let stage = Stage::new();
    let (program, proposal) = (stage.path("student"), stage.path("proposal.yaml"));
    fs::copy("/bin/sh", &program).expect("the shell is copied");
    fs::create_dir(stage.path("work")).expect("a directory");
    let study = |script: &str| {
        let script = format!("cd {}; {script}; exit 0", stage.dir.path().display());
        let status = Command::new(&program).args(["-c", &script]).status().expect("it runs");
        assert!(status.success(), "{script}");
    };
    let usual = "read x < secret; echo y > work/file; /usr/bin/env true";
    let condition = "proc.name=student or proc.pname=student";
    let log = stage.path("learn.log");
    let mut command = stage.rampart("learn");
    command.args(["--duration", "5m", "--where", condition, "-r"]).arg(stage.path("rules.yaml"));
    command.arg("-o").arg(&proposal).stderr(File::create(&log).expect("a file")).stdout(Stdio::null());
    let mut learner = Recorder { child: command.spawn().expect("it starts"), log: log.clone() };
    learner.until("ready", |log| log.contains("Recording"));
    for _ in 0..3 {
        study(usual);
    }
    // What the programs have sent is taken before it ends.
    let status = learner.end(Signal::SIGINT);
    let said = fs::read_to_string(&log).expect("a log");
    assert!(status.success(), "{status}: {said}");
    assert!(said.contains("the rule `Secret read` told 3"), "{said}");
    let text = fs::read_to_string(&proposal).expect("a proposal");
    let own = program.display().to_string();
    assert!(text.contains(&format!("\"{own}\"")) && text.contains("/work\""), "{text}");
    assert_eq!(fs::read_dir(stage.path("state")).map_or(0, Iterator::count), 0, "the recording is gone");
    let checked = stage.rampart("check").arg("-r").arg(&proposal).output().expect("it runs");
    assert!(checked.status.success(), "{}", self::text(&checked.stderr));

    let agent = Agent::start(&proposal);
    study(usual);
    study("echo z > other");
    let told = |rule: &str| agent.alerts().iter().any(|alert| alert["rule"] == rule);
    let end = Instant::now() + PATIENCE;
    while !told("File written outside of directories seen while learning") {
        assert!(Instant::now() < end, "{:#?}", agent.alerts());
        thread::sleep(Duration::from_millis(20));
    }
    let others: BTreeSet<String> =
        agent.alerts().iter().map(|alert| alert["rule"].as_str().unwrap_or_default().to_owned()).collect();
    assert_eq!(
        others,
        ["File written outside of directories seen while learning".to_owned()].into(),
        "{text}"
    );
}
