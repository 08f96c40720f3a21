//! A collector and a courier as child processes. Dropping one kills it.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::PATIENCE;
use crate::{interrupt, process};

/// Where the programs are.
pub(super) struct Programs {
    pub(super) collector: PathBuf,
    pub(super) courier: PathBuf,
}

/// A running collector.
pub(super) struct Collector {
    child: Child,
    http: SocketAddr,
}

/// Where a collector and its store are.
#[derive(Clone)]
pub(super) struct Site {
    pub(super) store: PathBuf,
    pub(super) grpc: SocketAddr,
    pub(super) http: SocketAddr,
    /// Further settings, by the names of its environment.
    pub(super) settings: Vec<(String, String)>,
    /// The program before it, such as one that enters a namespace.
    pub(super) prefix: Vec<String>,
}

/// A running courier.
pub(super) struct Courier {
    child: Child,
}

/// Where a courier's files are.
pub(super) struct Bag {
    pub(super) spool: PathBuf,
    pub(super) journal: PathBuf,
}

/// What a spool has counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Lost {
    pub(super) shed: u64,
    pub(super) failed: u64,
    pub(super) damaged: u64,
    pub(super) segments: u64,
}

impl Site {
    /// One on loopback, at ports that are free now.
    pub(super) fn on_loopback(store: PathBuf) -> Result<Self> {
        Ok(Self { store, grpc: free()?, http: free()?, settings: Vec::new(), prefix: Vec::new() })
    }

    /// Starts a collector here; it may take a moment until it listens.
    pub(super) fn start(&self, programs: &Programs) -> Result<Collector> {
        let mut words =
            self.prefix.iter().map(String::as_str).chain(programs.collector.to_str()).chain(["serve"]);
        let mut command = Command::new(words.next().context("there is no program")?);
        command
            .args(words)
            .env("RAMPART_COLLECTOR_STORE__PATH", &self.store)
            .env("RAMPART_COLLECTOR_GRPC__LISTEN", self.grpc.to_string())
            .env("RAMPART_COLLECTOR_HTTP__LISTEN", self.http.to_string())
            // What it says of the faults is expected.
            .stderr(Stdio::null())
            .envs(self.settings.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null());
        let child =
            command.spawn().with_context(|| format!("cannot run `{}`", process::describe(&command)))?;
        Ok(Collector { child, http: self.http })
    }

    /// The same, and waits until it is ready.
    pub(super) fn start_ready(&self, programs: &Programs) -> Result<Collector> {
        let mut collector = self.start(programs)?;
        until("the collector does not get ready", || {
            if let Ok(Some(status)) = collector.child.try_wait() {
                bail!("the collector ended with {status}");
            }
            Ok(collector.page("/ready").is_ok())
        })?;
        Ok(collector)
    }
}

impl Collector {
    /// Kills it without a word of warning.
    pub(super) fn kill(mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// A page that is there.
    pub(super) fn page(&self, path: &str) -> Result<Value> {
        let mut stream = TcpStream::connect(self.http).context("cannot reach the collector")?;
        stream.set_read_timeout(Some(PATIENCE))?;
        write!(stream, "GET {path} HTTP/1.0\r\nHost: collector\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).context("cannot read the collector's answer")?;
        let (head, body) = answer.split_once("\r\n\r\n").context("the answer has no end of its head")?;
        if head.split(' ').nth(1) != Some("200") {
            bail!("`{path}` is answered with: {body}");
        }
        serde_json::from_str(body).context("the collector's answer is not JSON")
    }

    /// The rule's name of every alert, which tells it from all others.
    pub(super) fn alerts(&self) -> Result<Vec<String>> {
        let (mut alerts, mut before) = (Vec::new(), String::new());
        loop {
            let page = self.page(&format!("/alerts?limit=1000{before}"))?;
            let list = page.get("alerts").and_then(Value::as_array).context("no list of alerts")?;
            let rule = |alert: &Value| Some(alert.pointer("/alert/rule")?.as_str()?.to_owned());
            alerts.extend(list.iter().filter_map(rule));
            match page.get("next").and_then(Value::as_u64) {
                Some(next) => before = format!("&before={next}"),
                None => return Ok(alerts),
            }
        }
    }
}

impl Bag {
    /// Files below a folder.
    pub(super) fn below(folder: &Path) -> Self {
        Self { spool: folder.join("spool"), journal: folder.join("journal") }
    }

    /// Starts a courier that raises so many alerts.
    pub(super) fn send(
        &self,
        programs: &Programs,
        prefix: &[String],
        (to, certificates): (SocketAddr, Option<&Path>),
        count: u64,
    ) -> Result<Courier> {
        let mut words = prefix.iter().map(String::as_str).chain(programs.courier.to_str());
        let mut command = Command::new(words.next().context("there is no program")?);
        command.args(words).arg(to.to_string()).args([&self.spool, &self.journal]).arg(count.to_string());
        command.args(certificates).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let child =
            command.spawn().with_context(|| format!("cannot run `{}`", process::describe(&command)))?;
        Ok(Courier { child })
    }

    /// Alerts that a spool has taken, or was to take.
    pub(super) fn raised(&self) -> Vec<String> {
        let text = fs::read_to_string(&self.journal).unwrap_or_default();
        text.lines().map(ToOwned::to_owned).collect()
    }
}

impl Courier {
    /// Kills it without a word of warning.
    pub(super) fn kill(mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Waits until its spool is empty; gives what it has counted.
    pub(super) fn finish(mut self) -> Result<Lost> {
        until("the spool does not get empty", || Ok(self.child.try_wait()?.is_some()))?;
        let status = self.child.wait()?;
        if !status.success() {
            bail!("the courier ended with {status}");
        }
        let mut text = String::new();
        self.child.stdout.take().context("no output")?.read_to_string(&mut text)?;
        Lost::read(&text).with_context(|| format!("the courier says `{}`", text.trim()))
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        // Killed already in the ordinary case.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Courier {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Lost {
    fn read(text: &str) -> Option<Self> {
        let line = text.lines().find_map(|line| line.strip_prefix("lost: "))?;
        let of = |name: &str| {
            line.split(' ').find_map(|word| word.strip_prefix(name)?.strip_prefix('=')?.parse().ok())
        };
        Some(Self {
            shed: of("shed")?,
            failed: of("failed")?,
            damaged: of("damaged")?,
            segments: of("segments")?,
        })
    }

    /// All of it, and why.
    pub(super) fn text(self) -> String {
        let all = self.alerts();
        let causes = [("shed", self.shed), ("not written", self.failed), ("damaged", self.damaged)];
        let causes: Vec<String> = causes
            .iter()
            .filter(|(_, count)| *count > 0)
            .map(|(cause, count)| format!("{cause} {count}"))
            .collect();
        if causes.is_empty() { all.to_string() } else { format!("{all}: {}", causes.join(", ")) }
    }

    /// Alerts.
    pub(super) const fn alerts(self) -> u64 {
        self.shed + self.failed + self.damaged
    }
}

/// Waits until something holds.
pub(super) fn until(complaint: &'static str, holds: impl FnMut() -> Result<bool>) -> Result<()> {
    interrupt::until(PATIENCE, complaint, holds)
}

fn free() -> Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("cannot find a free port")?;
    listener.local_addr().context("cannot find a free port")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_courier_says_is_read() {
        let lost = Lost::read("x\nlost: shed=1 failed=20 damaged=3 segments=0\n").unwrap();
        assert_eq!((lost.alerts(), lost.segments), (24, 0));
        assert_eq!(lost.text(), "24: shed 1, not written 20, damaged 3");
        assert_eq!(Lost::default().text(), "0");
        assert_eq!(Lost::read("lost: shed=1 failed=x damaged=3 segments=0"), None);
        assert_eq!(Lost::read(""), None);
    }
}
