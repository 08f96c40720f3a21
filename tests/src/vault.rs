//! A directory with secrets, those who open them, and what the agent makes of it.

use std::{
    fmt::Write as _,
    fs,
    io::{BufRead, BufReader, Write},
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;
use tempfile::TempDir;

use crate::agent::Agent;

/// How often something is done that the kernel shall keep to itself.
pub const MANY: u32 = 2000;
/// The part of it that may arrive all the same: the first ones of each kind, samples, and what else the node does.
pub const FEW: u32 = MANY / 4;

/// A directory with files to open, and the rules on them.
pub struct Vault {
    /// Where it is.
    pub dir: PathBuf,
    _scratch: TempDir,
}

impl Vault {
    /// Makes one with a few files.
    pub fn make() -> Self {
        let scratch = tempfile::tempdir().expect("a scratch directory");
        let dir = scratch.path().canonicalize().expect("it exists");
        // Other users shall get there too.
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o755)).expect("ours");
        for name in ["secret", "other", "shared", "inside", "child"] {
            fs::write(dir.join(name), "x").expect("written");
        }
        Self { dir, _scratch: scratch }
    }

    /// A path in it.
    pub fn path(&self, name: &str) -> String {
        self.dir.join(name).display().to_string()
    }

    /// Replaces the rule file in one step: each rule is a name and a condition on opened files, where `DIR` is the
    /// directory.
    pub fn rules(&self, rules: &[(String, String)]) -> PathBuf {
        self.rules_after("", rules)
    }

    /// The same, behind other rules.
    pub fn rules_after(&self, others: &str, rules: &[(String, String)]) -> PathBuf {
        let mut text = others.to_owned();
        for (name, condition) in rules {
            let condition = condition.replace("DIR", &self.dir.display().to_string());
            let _ = write!(
                text,
                "- rule: {name}\n  desc: d\n  priority: WARNING\n  condition: >\n    {condition}\n  \
                 output: '%evt.type %fd.name %fd.nameraw %fd.realpath %proc.name %proc.pid'\n",
            );
        }
        let (new, path) = (self.dir.join("rules.new"), self.dir.join("rules.yaml"));
        fs::write(&new, text).expect("written");
        fs::rename(&new, &path).expect("renamed");
        path
    }

    /// A shell that runs under a name of its own.
    pub fn shell(&self, name: &str) -> Shell {
        let program = self.dir.join(name);
        fs::copy("/bin/sh", &program).expect("the shell is copied");
        let mut child = Command::new(program)
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the shell starts");
        let orders = child.stdin.take().expect("a pipe");
        let answers = BufReader::new(child.stdout.take().expect("a pipe"));
        Shell { child, orders, answers }
    }
}

/// A shell that does what it is told without starting another program.
pub struct Shell {
    child: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Shell {
    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Runs a line and waits for its end.
    pub fn run(&mut self, line: &str) {
        writeln!(self.orders, "{line}\necho done").expect("it listens");
        let mut answer = String::new();
        self.answers.read_line(&mut answer).expect("it answers");
        assert_eq!(answer, "done\n", "{line}");
    }

    /// Becomes another program of the vault, which goes on listening.
    pub fn become_program(&mut self, program: &str) {
        writeln!(self.orders, "exec {program}").expect("it listens");
        // What is written now could still be read, and lost, by the old program.
        let end = Instant::now() + Duration::from_secs(10);
        while !fs::read_link(format!("/proc/{}/exe", self.pid())).is_ok_and(|exe| exe.as_os_str() == program)
        {
            assert!(Instant::now() < end, "no exec of `{program}`");
            thread::sleep(Duration::from_millis(5));
        }
        // The link tells of the program before the kernel is done with starting it, and tells of it.
        self.run(":");
    }

    /// Opens a file, again and again.
    pub fn open(&mut self, path: &str, times: u32) {
        self.run(&format!("i=0; while [ $i -lt {times} ]; do : < {path}; i=$((i+1)); done"));
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        let _gone_already = self.child.kill();
        let _status = self.child.wait();
    }
}

/// Counters of opened files.
#[derive(Clone, Copy, Debug)]
pub struct Opens {
    /// All.
    pub seen: f64,
    /// Those that ended in the kernel.
    pub filtered: f64,
    /// Those that were sent.
    pub emitted: f64,
}

impl Opens {
    /// Up to now.
    pub fn of(agent: &Agent) -> Self {
        let of = |name: &str| agent.metric(&format!("rampart_events_{name}_total{{family=\"open\"}}"));
        Self { seen: of("seen"), filtered: of("filtered"), emitted: of("emitted") }
    }

    /// What happens while something is done, as soon as `times` more opened files are counted.
    pub fn during(agent: &mut Agent, times: u32, mut act: impl FnMut()) -> Self {
        let before = Self::of(agent);
        act();
        agent.until("done with counting", |agent| Self::of(agent).seen >= before.seen + f64::from(times));
        let after = Self::of(agent);
        Self {
            seen: after.seen - before.seen,
            filtered: after.filtered - before.filtered,
            emitted: after.emitted - before.emitted,
        }
    }

    /// Whether nearly all of [`MANY`] ended in the kernel.
    #[track_caller]
    pub fn assert_rejected(&self) {
        assert!(self.filtered >= f64::from(MANY - FEW) && self.emitted <= f64::from(FEW), "{self:?}");
    }
}

/// A field of an alert, empty when it has none.
pub fn text<'a>(alert: &'a Value, name: &str) -> &'a str {
    alert.get("output_fields").and_then(|fields| fields.get(name)).and_then(Value::as_str).unwrap_or_default()
}

/// The process that an alert is about.
pub fn pid_of(alert: &Value) -> Option<u32> {
    alert.get("output_fields")?.get("proc.pid")?.as_u64()?.try_into().ok()
}

/// The number of alerts of a rule about a process.
pub fn count(agent: &Agent, rule: &str, pid: u32) -> u32 {
    let of =
        |alert: &&Value| alert.get("rule").is_some_and(|name| name == rule) && pid_of(alert) == Some(pid);
    agent.alerts().iter().filter(of).count() as u32
}

/// Waits for the alerts of a rule about a process; more than that fail when the agent has ended.
pub fn alerted(agent: &mut Agent, rule: &str, pid: u32, times: u32) {
    agent.until(&format!("done with {times} alerts of `{rule}`"), |agent| count(agent, rule, pid) >= times);
    assert_eq!(count(agent, rule, pid), times, "{rule}");
}

/// Ends the agent, which has found nothing wrong with itself.
pub fn end(agent: Agent) {
    assert!(agent.metric("rampart_pushdown_disagreements_total") < 1.0);
    let own =
        agent.alerts().into_iter().filter(|alert| alert.get("source").is_some_and(|from| from != "syscall"));
    assert_eq!(own.collect::<Vec<_>>(), Vec::<Value>::new());
    assert!(agent.stop().success());
}
