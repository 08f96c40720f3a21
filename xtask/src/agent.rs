//! A running agent, for the demo and the benches: started on a configuration of its own, asked over HTTP, and
//! always stopped again.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::{http, interrupt, process};

/// Loading and verifying the kernel programs and reading `/proc` takes seconds on a slow machine.
const READY_LIMIT: Duration = Duration::from_mins(1);
/// The agent's own limit for handing over its last alerts is 10 s.
const STOP_LIMIT: Duration = Duration::from_secs(15);
/// Lines that may wait to be read; the agent's own queue is behind it.
const LINES: usize = 4096;
/// Last lines of the agent's log that go into an error.
const LOG_TAIL: usize = 25;

/// One line of the agent's standard output and when it came.
pub(crate) struct Line {
    pub(crate) text: String,
    pub(crate) arrived: SystemTime,
}

/// How an agent is started when the ordinary way does not do.
pub(crate) struct Setup<'a> {
    pub(crate) binary: &'a Path,
    /// Nothing outside of it is written.
    pub(crate) folder: &'a Path,
    pub(crate) rules: &'a [PathBuf],
    /// `first` or `all`: which matching rules report an event.
    pub(crate) matching: &'a str,
    /// Further lines of its configuration.
    pub(crate) configuration: &'a str,
    /// A file it sees as `/etc/passwd`.
    pub(crate) passwd: Option<&'a Path>,
}

/// A running agent; stopped when dropped.
pub(crate) struct Agent {
    child: Child,
    lines: Receiver<Line>,
    admin: SocketAddr,
    log: PathBuf,
}

impl Agent {
    /// Starts it as described and waits until it is ready.
    pub(crate) fn start_as(setup: &Setup<'_>) -> Result<Self> {
        let folder = setup.folder;
        let admin = free_port()?;
        let config = folder.join("rampart.yaml");
        let text = format!(
            "rules: {{matching: {1}, watch: false}}\nadmin: {{listen: \"{admin}\"}}\n\
             node: {{runtime_dir: \"{0}/run\", state_dir: \"{0}/state\"}}\n{2}",
            folder.display(),
            setup.matching,
            setup.configuration
        );
        fs::write(&config, text).with_context(|| format!("cannot write `{}`", config.display()))?;
        let log = folder.join("agent.log");
        let mut command = match setup.passwd {
            None => Command::new(setup.binary),
            Some(passwd) => seeing(passwd, setup.binary),
        };
        command.arg("run").arg("-c").arg(&config).args(["-o", "json"]);
        for file in setup.rules {
            command.arg("-r").arg(file);
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        command.stderr(File::create(&log).with_context(|| format!("cannot write `{}`", log.display()))?);
        // A group of its own: Ctrl-C reaches this command first, which then stops the agent in order.
        command.process_group(0);
        let mut child =
            command.spawn().with_context(|| format!("cannot run `{}`", process::describe(&command)))?;
        let lines = child.stdout.take().map(read_lines).context("the agent has no standard output")?;
        let mut agent = Self { child, lines, admin, log };
        agent.wait_ready()?;
        Ok(agent)
    }

    /// The next line of standard output, if one comes within `limit`.
    pub(crate) fn line(&self, limit: Duration) -> Option<Line> {
        self.lines.recv_timeout(limit).ok()
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Where its HTTP server is.
    pub(crate) fn address(&self) -> SocketAddr {
        self.admin
    }

    /// Whether it still runs.
    pub(crate) fn runs(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Status and body of a page of its HTTP server.
    pub(crate) fn page(&self, path: &str) -> Result<(u16, String)> {
        http::get(self.admin, path)
    }

    /// Stops it in order; a status other than success is the caller's to judge.
    pub(crate) fn stop(mut self) -> Result<ExitStatus> {
        self.end()?.with_context(|| {
            format!("the agent did not stop within {} s and was killed", STOP_LIMIT.as_secs())
        })
    }

    /// The end of its log, for an error.
    pub(crate) fn log_tail(&self) -> String {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines.get(lines.len().saturating_sub(LOG_TAIL)..).unwrap_or_default().join("\n")
    }

    fn end(&mut self) -> Result<Option<ExitStatus>> {
        if let Some(status) = self.child.try_wait()? {
            return Ok(Some(status));
        }
        kill(Pid::from_raw(self.child.id().cast_signed()), Signal::SIGTERM)
            .context("cannot stop the agent")?;
        let deadline = Instant::now() + STOP_LIMIT;
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait()? {
                return Ok(Some(status));
            }
            thread::sleep(Duration::from_millis(20));
        }
        self.child.kill()?;
        self.child.wait()?;
        Ok(None)
    }

    fn wait_ready(&mut self) -> Result<()> {
        let deadline = Instant::now() + READY_LIMIT;
        loop {
            if let Some(status) = self.child.try_wait()? {
                bail!("the agent ended with {status} before it was ready; its log:\n{}", self.log_tail());
            }
            if matches!(self.page("/ready"), Ok((200, _))) {
                return Ok(());
            }
            if interrupt::pending() {
                bail!("interrupted");
            }
            if Instant::now() >= deadline {
                bail!(
                    "the agent was not ready after {} s; its log:\n{}",
                    READY_LIMIT.as_secs(),
                    self.log_tail()
                );
            }
            thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // Already stopped in the ordinary case; in an error there is nobody left to tell.
        let _ = self.end();
    }
}

/// The command that starts `binary` with `passwd` in the place of `/etc/passwd`; the process's id stays the same.
fn seeing(passwd: &Path, binary: &Path) -> Command {
    let mut command = Command::new("unshare");
    command.args(["--mount", "--", "sh", "-c", r#"mount --bind "$0" /etc/passwd && exec "$@""#]);
    command.arg(passwd).arg(binary);
    command
}

/// A port that was free a moment ago.
pub(crate) fn free_port() -> Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("cannot find a free port")?;
    listener.local_addr().context("cannot find a free port")
}

fn read_lines(stdout: ChildStdout) -> Receiver<Line> {
    let (sender, receiver) = sync_channel(LINES);
    thread::spawn(move || {
        for text in BufReader::new(stdout).lines().map_while(Result::ok) {
            if sender.send(Line { text, arrived: SystemTime::now() }).is_err() {
                break;
            }
        }
    });
    receiver
}
