//! The real agent as a child process, with a configuration of its own.

use std::{
    env, fs,
    io::{BufRead, BufReader, Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Condvar, Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;
use tempfile::TempDir;

/// Longest wait for anything the agent is expected to do.
const PATIENCE: Duration = Duration::from_mins(1);

/// Alerts so far.
#[derive(Default)]
struct Alerts {
    lines: Mutex<Vec<Value>>,
    more: Condvar,
}

/// A running agent. Dropping it kills it.
pub struct Agent {
    child: Child,
    admin: SocketAddr,
    alerts: Arc<Alerts>,
    scratch: TempDir,
}

/// A rule of this name about files whose path ends so.
pub fn rule_on_files(name: &str, ending: &str) -> String {
    format!(
        "- rule: {name}\n  desc: d\n  condition: evt.type in (open, openat) and fd.name endswith {ending}\n  output: opened %fd.name\n  priority: CRITICAL\n"
    )
}

/// The `rampart` binary beside the test programs.
pub fn binary() -> PathBuf {
    let test = env::current_exe().expect("the test program knows its path");
    let folder = test.parent().and_then(Path::parent).expect("test programs lie in `deps`");
    let binary = folder.join("rampart");
    assert!(binary.exists(), "`{}` is missing: build the agent first", binary.display());
    binary
}

/// Alerts that a failed wait shows.
const LAST_SHOWN: usize = 20;

impl Agent {
    /// Starts the agent on a rule file and waits until it is ready.
    pub fn start(rules: &Path) -> Self {
        Self::start_with(rules, "")
    }

    /// Starts the agent with more settings, as text of its configuration file.
    pub fn start_with(rules: &Path, settings: &str) -> Self {
        Self::start_in(rules, settings, &[])
    }

    /// Starts the agent with more settings and variables of its environment.
    pub fn start_in(rules: &Path, settings: &str, env: &[(&str, &str)]) -> Self {
        let scratch = tempfile::tempdir().expect("a scratch directory");
        let admin = free_port();
        let mut command = command(scratch.path(), admin, rules, settings);
        let mut child = command.envs(env.iter().copied()).spawn().expect("the agent starts");
        let alerts = Arc::new(Alerts::default());
        let stdout = child.stdout.take().expect("its output is a pipe");
        let to = Arc::clone(&alerts);
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let alert = serde_json::from_str(&line).expect("one JSON object a line");
                to.lines.lock().unwrap_or_else(PoisonError::into_inner).push(alert);
                to.more.notify_all();
            }
        });
        let mut agent = Self { child, admin, alerts, scratch };
        agent.until("ready", |agent| agent.get("/ready").is_some_and(|(status, _)| status == 200));
        agent
    }

    /// Replaces the settings it was started with, as text of its configuration file, and asks for a reload.
    pub fn reconfigure(&self, settings: &str) {
        configure(self.scratch.path(), self.admin, settings);
        self.signal(Signal::SIGHUP);
    }

    /// A second agent with the same run-time directory; it must refuse.
    pub fn rival(&self, rules: &Path) -> std::process::Output {
        command(self.scratch.path(), free_port(), rules, "").output().expect("the second agent starts")
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Where it answers.
    pub fn address(&self) -> SocketAddr {
        self.admin
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.pid()).expect("process ids are small");
        kill(Pid::from_raw(pid), signal).expect("the agent is alive");
    }

    /// Status and body of one of its pages; `None` while nothing listens.
    pub fn get(&self, page: &str) -> Option<(u16, String)> {
        let mut stream = TcpStream::connect(self.admin).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).ok()?;
        write!(stream, "GET {page} HTTP/1.1\r\nHost: agent\r\nConnection: close\r\n\r\n").ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        let status = head.split_whitespace().nth(1)?.parse().ok()?;
        Some((status, body.to_owned()))
    }

    /// The value of a metric, summed over its labels; or of one series, given with its labels.
    pub fn metric(&self, name: &str) -> f64 {
        let (_, text) = self.get("/metrics").expect("the agent answers");
        let own = |line: &&str| {
            line.strip_prefix(name).is_some_and(|rest| rest.starts_with('{') || rest.starts_with(' '))
        };
        text.lines().filter(own).filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    }

    /// Waits for a condition.
    pub fn until(&mut self, what: &str, mut holds: impl FnMut(&Self) -> bool) {
        let end = Instant::now() + PATIENCE;
        while !holds(self) {
            if let Ok(Some(status)) = self.child.try_wait() {
                panic!("the agent ended ({status}) before it was {what}: {}", self.log());
            }
            assert!(Instant::now() < end, "not {what} in {PATIENCE:?}: {}", self.log());
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits for an alert that `pick` accepts.
    pub fn wait_for(&self, what: &str, pick: impl Fn(&Value) -> bool) -> Value {
        let end = Instant::now() + PATIENCE;
        let mut lines = self.alerts.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let mut looked_at = 0;
        loop {
            if let Some(found) = lines.iter().skip(looked_at).find(|alert| pick(alert)) {
                return found.clone();
            }
            looked_at = lines.len();
            let left = end.saturating_duration_since(Instant::now());
            let last: Vec<&Value> = lines.iter().rev().take(LAST_SHOWN).collect();
            assert!(
                !left.is_zero(),
                "no alert for {what} in {PATIENCE:?}; got {looked_at}, the last ones first: {last:#?}"
            );
            lines = self.alerts.more.wait_timeout(lines, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// The alerts so far.
    pub fn alerts(&self) -> Vec<Value> {
        self.alerts.lines.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Asks it to stop and waits for the end.
    pub fn stop(mut self) -> ExitStatus {
        self.signal(Signal::SIGTERM);
        self.child.wait().expect("the agent ends")
    }

    /// What it logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.scratch.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _gone_already = self.child.kill();
        let _status = self.child.wait();
    }
}

fn free_port() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    listener.local_addr().expect("a bound port")
}

/// Writes the configuration file.
fn configure(scratch: &Path, admin: SocketAddr, settings: &str) -> PathBuf {
    let config = scratch.join(format!("rampart-{}.yaml", admin.port()));
    let dir = scratch.display();
    let text = format!(
        "node: {{runtime_dir: {dir}/run, state_dir: {dir}/state}}\nadmin: {{listen: '{admin}'}}\n{settings}"
    );
    fs::write(&config, text).expect("the configuration is written");
    config
}

fn command(scratch: &Path, admin: SocketAddr, rules: &Path, settings: &str) -> Command {
    let config = configure(scratch, admin, settings);
    let log = fs::OpenOptions::new().create(true).append(true).open(scratch.join("log")).expect("a log");
    let mut command = Command::new(binary());
    command.args(["run", "-o", "json", "-c"]).arg(config).arg("-r").arg(rules);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log);
    command
}
