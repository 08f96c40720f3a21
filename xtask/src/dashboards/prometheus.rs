//! A Prometheus of our own: its configuration, its process and its answers.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::grafana::Variable;
use crate::{http, interrupt, process, workspace};

/// It starts in a second; on a busy machine in some more.
const PATIENCE: Duration = Duration::from_mins(1);
/// Last lines of its log that are shown.
const TAIL: usize = 10;

/// A running server; killed when dropped, as its data is thrown away anyway.
pub(super) struct Prometheus {
    child: Child,
    address: SocketAddr,
    log: PathBuf,
}

impl Prometheus {
    /// Starts one with our alert rules that scrapes an agent and a collector every second.
    pub(super) fn start(folder: &Path, agent: SocketAddr, collector: SocketAddr) -> Result<Self> {
        let rules = workspace::root().join("deploy/prometheus");
        let config = folder.join("prometheus.yaml");
        let text = format!(
            "global: {{scrape_interval: 1s, evaluation_interval: 1s}}\n\
             rule_files: [\"{}/*.rules.yaml\"]\n\
             scrape_configs:\n\
             - {{job_name: rampart, static_configs: [{{targets: [\"{agent}\"]}}]}}\n\
             - {{job_name: rampart-collector, static_configs: [{{targets: [\"{collector}\"]}}]}}\n",
            rules.display()
        );
        fs::write(&config, text).with_context(|| format!("cannot write `{}`", config.display()))?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("cannot find a free port")?;
        let address = listener.local_addr().context("cannot find a free port")?;
        drop(listener);
        let log = folder.join("prometheus.log");
        let mut command = Command::new("prometheus");
        command.arg(format!("--config.file={}", config.display()));
        command.arg(format!("--storage.tsdb.path={}", folder.join("series").display()));
        command.arg(format!("--web.listen-address={address}")).arg("--log.level=warn");
        command.stdin(Stdio::null()).stdout(Stdio::null()).process_group(0);
        command.stderr(File::create(&log).with_context(|| format!("cannot write `{}`", log.display()))?);
        let child =
            command.spawn().with_context(|| format!("cannot run `{}`", process::describe(&command)))?;
        let mut prometheus = Self { child, address, log };
        let ready = interrupt::until(PATIENCE, "Prometheus does not get ready", || {
            if let Some(status) = prometheus.child.try_wait()? {
                bail!("Prometheus ended with {status}");
            }
            Ok(matches!(http::get(address, "/-/ready"), Ok((200, _))))
        });
        ready.with_context(|| prometheus.said())?;
        Ok(prometheus)
    }

    /// The numbers that an expression has now; invalid ones are an error.
    pub(super) fn ask(&self, expression: &str) -> Result<Vec<f64>> {
        let answer = self.get(&format!("/api/v1/query?query={}", http::escape(expression)))?;
        let answer = answer.with_context(|| format!("in `{expression}`"))?;
        let series = answer.pointer("/data/result").and_then(Value::as_array).context("no result")?;
        let number = |one: &Value| one.pointer("/value/1")?.as_str()?.parse().ok();
        Ok(series.iter().filter_map(number).collect())
    }

    /// Whether there is anything to choose.
    pub(super) fn has_values(&self, variable: &Variable) -> Result<bool> {
        let path = format!("/api/v1/label/{}/values?match[]={}", variable.label, variable.metric);
        let answer = self.get(&path)??;
        Ok(answer.pointer("/data").and_then(Value::as_array).is_some_and(|values| !values.is_empty()))
    }

    /// The end of its log.
    pub(super) fn said(&self) -> String {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        let tail = lines.get(lines.len().saturating_sub(TAIL)..).unwrap_or_default();
        format!("Prometheus:\n{}", tail.join("\n"))
    }

    /// The outer error is that it did not answer, the inner one what it complained of.
    fn get(&self, path: &str) -> Result<Result<Value>> {
        let (_, body) = http::get(self.address, path)?;
        let answer: Value = serde_json::from_str(&body).context("Prometheus' answer is no JSON")?;
        if answer.get("status").and_then(Value::as_str) == Some("success") {
            return Ok(Ok(answer));
        }
        let error = answer.get("error").and_then(Value::as_str).unwrap_or("an unknown error");
        Ok(Err(anyhow::anyhow!("{error}")))
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
