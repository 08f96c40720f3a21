//! An agent that may respond, those it responds to, and what they can do.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs,
    io::{BufRead as _, BufReader, Write as _},
    net::UdpSocket,
    os::unix::{fs::PermissionsExt as _, process::ExitStatusExt as _},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use rampart_tests::{
    agent::{Agent, binary},
    cgroup::Cgroup,
    netns::Bpffs,
};
use serde_json::Value;
use tempfile::TempDir;

/// Longest wait for anything.
const PATIENCE: Duration = Duration::from_mins(1);
/// Time after which what has not happened is taken not to happen.
pub(super) const QUIET: Duration = Duration::from_secs(1);

/// What one test's agents have in common.
pub(super) struct Stage {
    scratch: TempDir,
    bpffs: Bpffs,
    cgroup: Cgroup,
}

impl Drop for Stage {
    fn drop(&mut self) {
        let entries = fs::read_dir(self.group()).into_iter().flatten().filter_map(Result::ok);
        for group in entries.map(|entry| entry.path()).filter(|path| path.is_dir()) {
            let _ = fs::write(group.join("cgroup.kill"), "1");
            let end = Instant::now() + Duration::from_secs(3);
            // Processes leave it as they end.
            while fs::remove_dir(&group).is_err() && Instant::now() < end {
                thread::sleep(Duration::from_millis(10));
            }
        }
    }
}

impl Stage {
    pub(super) fn new() -> Self {
        let scratch = tempfile::tempdir().expect("a scratch directory");
        fs::set_permissions(scratch.path(), fs::Permissions::from_mode(0o755)).expect("ours");
        Self {
            scratch,
            bpffs: Bpffs::mount().expect("a BPF file system is mounted"),
            cgroup: Cgroup::enter("rampart-responses").expect("a control group"),
        }
    }

    /// A path of this test.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.scratch.path().join(name)
    }

    /// Where pins lie.
    pub(super) fn pins(&self) -> PathBuf {
        self.bpffs.pins()
    }

    /// The test's control group.
    pub(super) fn group(&self) -> &Path {
        self.cgroup.path()
    }

    /// A control group that looks like that of a container.
    pub(super) fn container(&self, letter: char) -> PathBuf {
        let group = self.group().join(format!("docker-{}.scope", letter.to_string().repeat(64)));
        fs::create_dir(&group).expect("a control group");
        group
    }

    /// Starts an agent on rules, each a name, a condition and more keys, with settings below `responses` and beside it.
    pub(super) fn start(&self, rules: &[(&str, &str, &str)], responses: &str, settings: &str) -> Agent {
        let mut text = String::new();
        for (name, condition, keys) in rules {
            let _ = writeln!(
                text,
                "- rule: {name}\n  desc: d\n  priority: WARNING\n  condition: {condition}\n  \
                 output: '%proc.name %proc.pid %fd.name'\n{keys}"
            );
        }
        let file = self.path("rules.yaml");
        fs::write(&file, text).expect("the rules are written");
        let settings = format!(
            "rules: {{matching: all}}\ncontainers: {{enabled: false}}\nresponses:\n  pin_dir: {}\n{responses}\n{settings}\n",
            self.pins().display()
        );
        let env = self.env();
        let env: Vec<(&str, &str)> = env.iter().map(|(name, value)| (*name, value.as_str())).collect();
        Agent::start_in(&file, &settings, &env)
    }

    fn env(&self) -> BTreeMap<&'static str, String> {
        let path = |name: &str| self.path(name).to_string_lossy().into_owned();
        [("RAMPART_NODE__RUNTIME_DIR", path("run")), ("RAMPART_NODE__STATE_DIR", path("state"))].into()
    }

    /// What `rampart` answers, which must succeed.
    pub(super) fn done(&self, agent: &Agent, arguments: &[&str]) -> String {
        let mut command = Command::new(binary());
        command.args(arguments).envs(self.env());
        command.env("RAMPART_ADMIN__LISTEN", agent.address().to_string());
        let output = command.output().expect("the command runs");
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "`rampart {}`: {complaint}", arguments.join(" "));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// What was noted, a line each.
    pub(super) fn audit(&self) -> Vec<Value> {
        let text = fs::read_to_string(self.path("state/audit.jsonl")).expect("an audit");
        text.lines().map(|line| serde_json::from_str(line).expect("a JSON object a line")).collect()
    }

    /// A shell under a name of its own, in a control group.
    pub(super) fn intruder(&self, name: &str, group: &Path) -> Intruder {
        let program = self.path(name);
        if !program.exists() {
            fs::copy("/bin/bash", &program).expect("the shell is copied");
        }
        let mut child = Command::new(&program)
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the shell starts");
        fs::write(group.join("cgroup.procs"), child.id().to_string()).expect("it moves");
        let orders = child.stdin.take().expect("a pipe");
        let answers = BufReader::new(child.stdout.take().expect("a pipe"));
        Intruder { child, orders, answers }
    }
}

/// Somebody to respond to.
pub(super) struct Intruder {
    child: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Intruder {
    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Tells it to do something.
    pub(super) fn order(&mut self, line: &str) {
        writeln!(self.orders, "{line}").expect("it listens");
    }

    /// Has it do something and waits for its end.
    pub(super) fn run(&mut self, line: &str) -> String {
        self.order(&format!("{line}\necho \"done\""));
        let mut said = String::new();
        loop {
            let mut answer = String::new();
            assert!(self.answers.read_line(&mut answer).expect("it answers") > 0, "it is gone: {line}");
            if answer == "done\n" {
                return said;
            }
            said.push_str(&answer);
        }
    }

    /// Waits until it was ended by SIGKILL.
    pub(super) fn is_killed(&mut self) {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().expect("a child") {
                assert_eq!(status.signal(), Some(libc::SIGKILL), "{status}");
                return;
            }
            assert!(Instant::now() < end, "{} lives", self.pid());
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Whether it lives.
    pub(super) fn lives(&mut self) -> bool {
        self.child.try_wait().expect("a child").is_none()
    }

    /// Sends a datagram; whether it arrives.
    pub(super) fn reaches(&mut self, server: &UdpSocket) -> bool {
        let place = server.local_addr().expect("an address");
        server.set_read_timeout(Some(Duration::from_millis(300))).expect("a time");
        // The kernel says so when it drops what is sent.
        let _ = self.run(&format!("echo x > /dev/udp/{}/{} 2> /dev/null || true", place.ip(), place.port()));
        server.recv_from(&mut [0; 8]).is_ok()
    }
}

impl Drop for Intruder {
    fn drop(&mut self) {
        let _gone_already = self.child.kill();
        let _status = self.child.wait();
    }
}

/// Waits for the agent's own alert about a response.
pub(super) fn told(agent: &Agent, action: &str, outcome: &str) -> Value {
    agent.wait_for(&format!("{action} {outcome}"), |alert| {
        let field = |name: &str| {
            alert["output_fields"][name].as_str().unwrap_or_default() == name_of(name, action, outcome)
        };
        alert["rule"] == "Rampart internal: response" && field("response.action") && field("response.outcome")
    })
}

fn name_of<'a>(field: &str, action: &'a str, outcome: &'a str) -> &'a str {
    if field == "response.action" { action } else { outcome }
}

/// A page of the agent.
pub(super) fn page(agent: &Agent, name: &str) -> Value {
    let (_, body) = agent.get(name).expect("the agent answers");
    serde_json::from_str(&body).expect("a JSON page")
}
