//! The collector of the demo: one beside the agent, with its store in the scratch folder, whose page shows everything that
//! happens, and which is asked at the end whether it has all of it.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, geteuid};
use serde_json::Value;

use crate::agent::free_port;
use crate::{console, interrupt, process, workspace};

/// It opens an empty store; on a busy machine also that takes its time.
const READY_LIMIT: Duration = Duration::from_mins(1);
/// What was acknowledged is there; what is under way comes at once.
const PATIENCE: Duration = Duration::from_secs(30);
const STOP_LIMIT: Duration = Duration::from_secs(15);
const LOOK: Duration = Duration::from_millis(20);
const ANSWER_LIMIT: Duration = Duration::from_secs(10);
/// A browser that starts for the first time.
const PICTURE_LIMIT: Duration = Duration::from_mins(1);
/// What must be in the timeline: a kind, what happened, and what it is about.
const NEEDED: [(&str, &str, Option<&str>); 5] = [
    ("detection", "Credential file read by unexpected program", None),
    ("limits", "rate limit exceeded", Some("198.18.91.2")),
    ("services", "circuit breaker open", Some("shop/a")),
    ("services", "circuit breaker half-open", Some("shop/a")),
    ("services", "circuit breaker closed", Some("shop/a")),
];
/// The browser's names.
const BROWSERS: [&str; 3] = ["chromium", "chromium-browser", "google-chrome"];

/// A running collector; stopped when dropped.
pub(super) struct Collector {
    child: Child,
    grpc: SocketAddr,
    http: SocketAddr,
    folder: PathBuf,
}

impl Collector {
    /// Starts the collector that lies beside the agent's binary.
    pub(super) fn start(agent: &Path, folder: &Path) -> Result<Self> {
        let binary = agent.with_file_name("rampart-collector");
        if !binary.is_file() {
            bail!("`{}` is missing: build it with `cargo xtask build --release`", binary.display());
        }
        let folder = folder.join("collector");
        fs::create_dir_all(&folder).with_context(|| format!("cannot create `{}`", folder.display()))?;
        let (grpc, http) = (free_port()?, free_port()?);
        let mut command = Command::new(&binary);
        command
            .arg("serve")
            .env("RAMPART_COLLECTOR_STORE__PATH", folder.join("collector.db"))
            .env("RAMPART_COLLECTOR_GRPC__LISTEN", grpc.to_string())
            .env("RAMPART_COLLECTOR_HTTP__LISTEN", http.to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(folder.join("log")).context("cannot write the collector's log")?)
            // A group of its own: Ctrl-C reaches this command first, which then stops it in order.
            .process_group(0);
        let child = command.spawn().with_context(|| format!("cannot run `{}`", binary.display()))?;
        let mut collector = Self { child, grpc, http, folder };
        interrupt::until(READY_LIMIT, "the collector does not get ready", || {
            if let Some(status) = collector.child.try_wait()? {
                bail!("the collector ended with {status}; its log:\n{}", collector.log());
            }
            Ok(collector.page("/ready").is_ok())
        })?;
        Ok(collector)
    }

    /// Where its page is.
    pub(super) fn url(&self) -> String {
        format!("http://{}/", self.http)
    }

    /// Lines of the agent's configuration.
    pub(super) fn configuration(&self) -> String {
        let spool = self.folder.join("spool");
        format!("output: {{collector: {{url: 'http://{}', spool_dir: '{}'}}}}\n", self.grpc, spool.display())
    }

    /// Whether intrusion, flood and outage are in its timeline. What is not yet there is waited for.
    pub(super) fn has_everything(&self) -> Result<bool> {
        let mut all = true;
        for (kind, what, about) in NEEDED {
            let query = format!("/timeline?kind={kind}&limit=1000");
            let found =
                interrupt::until(PATIENCE, "it does not come", || Ok(has(&self.page(&query)?, what, about)));
            if interrupt::pending() {
                bail!("interrupted");
            }
            let of = about.map_or_else(String::new, |about| format!(" of {about}"));
            let verdict = if found.is_ok() { "ok" } else { "MISSED" };
            console::say(format!("    {kind:<9} {what}{of}: {verdict}"));
            all &= found.is_ok();
        }
        Ok(all)
    }

    /// Keeps a picture of its page, where there is a browser.
    pub(super) fn picture(&self) -> Result<()> {
        let Some(browser) = BROWSERS.iter().find_map(|name| workspace::program(name)) else {
            console::say("    no picture of the page: `chromium` is not installed");
            return Ok(());
        };
        let folder = workspace::root().join("target/demo");
        fs::create_dir_all(&folder).with_context(|| format!("cannot create `{}`", folder.display()))?;
        let file = folder.join("timeline.png");
        let profile = self.folder.join("browser");
        let mut command = Command::new(browser);
        command.args(["--headless=new", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"]);
        command.args(["--disable-background-networking", "--disable-component-update", "--disable-sync"]);
        command.args(["--hide-scrollbars", "--window-size=1400,1600", "--timeout=8000"]);
        if geteuid().is_root() {
            // Its sandbox refuses root, and the only page is ours.
            command.arg("--no-sandbox");
        }
        command.arg(format!("--user-data-dir={}", profile.display()));
        command.arg(format!("--screenshot={}", file.display())).arg(self.url()).env("HOME", &self.folder);
        let finished = process::bounded(&mut command, PICTURE_LIMIT)?;
        if finished.success() && file.is_file() {
            console::say(format!("    a picture of the page: {}", file.display()));
        } else {
            console::say(format!("    no picture of the page: {}", finished.tail()));
        }
        Ok(())
    }

    fn page(&self, path: &str) -> Result<Value> {
        let mut stream =
            TcpStream::connect_timeout(&self.http, ANSWER_LIMIT).context("cannot reach the collector")?;
        stream.set_read_timeout(Some(ANSWER_LIMIT))?;
        write!(stream, "GET {path} HTTP/1.0\r\nHost: collector\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).context("cannot read the collector's answer")?;
        let (head, body) = answer.split_once("\r\n\r\n").context("the answer has no end of its head")?;
        if head.split(' ').nth(1) != Some("200") {
            bail!("`{path}` is answered with: {body}");
        }
        serde_json::from_str(body).context("the collector's answer is not JSON")
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        // What is gone already needs no end.
        let _ = kill(Pid::from_raw(self.child.id().cast_signed()), Signal::SIGTERM);
        // Also when the user asked to stop: this is how that is done.
        let end = Instant::now() + STOP_LIMIT;
        while matches!(self.child.try_wait(), Ok(None)) {
            if Instant::now() >= end {
                let _ = self.child.kill();
                break;
            }
            thread::sleep(LOOK);
        }
        let _ = self.child.wait();
    }
}

/// Whether a page of the timeline has such an event.
fn has(page: &Value, what: &str, about: Option<&str>) -> bool {
    let events = page.get("events").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let text =
        |event: &Value, name: &str| event.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    events.iter().any(|event| {
        text(event, "what") == what && about.is_none_or(|about| text(event, "about").starts_with(about))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_told_by_what_it_is_and_what_it_is_about() {
        let page = serde_json::json!({"events": [{"what": "rate limit exceeded", "about": "198.18.91.2 at demo"}, {"what": "Shell", "about": null}]});
        assert!(has(&page, "rate limit exceeded", Some("198.18.91.2")) && has(&page, "Shell", None));
        assert!(!has(&page, "rate limit exceeded", Some("198.18.91.3")) && !has(&page, "Shell", Some("x")));
        assert!(!has(&Value::Null, "Shell", None));
    }
}
