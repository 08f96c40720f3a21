//! Starts what a case renders to, by the commands and with the files that pods would have: an agent and a collector that
//! trust each other by what Helm made, and an alert by a rule of `customRules` that ends in the store. Where agents join,
//! a stand-in answers for the API server.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, geteuid};
use serde_yaml::Value;

use super::accept::{binary, unpack};
use super::manifest::Manifest;
use super::review::{self, Known};
use crate::checks::Checks;
use crate::{http, interrupt, process};

/// The node that the case's certificate names.
const NODE: &str = "chart-test";
/// What the case's rule is about.
const WATCHED: &str = "/tmp/rampart-chart-test";
/// Loading programs takes seconds, on a busy machine many.
const PATIENCE: Duration = Duration::from_mins(2);
/// The collector's own token, in the test's folder.
const OWN: &str = "token";
const STOP: Duration = Duration::from_secs(20);

/// A program that is ended with this value.
struct Running(Child);

pub(super) fn check(case: &str, manifest: &Manifest, checks: &mut Checks) {
    let name = &format!("{case}: agent and collector start as rendered, and an alert arrives");
    if geteuid().is_root() {
        checks.add(name, started(manifest));
    } else {
        checks.skip(name, "loading kernel programs needs root");
    }
}

fn started(manifest: &Manifest) -> Result<()> {
    let folder = tempfile::tempdir().context("cannot make a folder")?;
    let files = unpack(manifest, folder.path())?;
    let collector_config = files.collector.context("the case has no collector")?;
    let api = papers(manifest, folder.path())?;
    let (grpc, http, admin) = (free()?, free()?, free()?);
    let log = |name: &str| File::create(folder.path().join(name)).context("cannot make a log");
    let mut collector = command(manifest, "StatefulSet", &collector_config)?;
    collector.env("RAMPART_COLLECTOR_GRPC__LISTEN", grpc.to_string());
    collector.env("RAMPART_COLLECTOR_HTTP__LISTEN", http.to_string()).stderr(log("collector.log")?);
    if let Some(api) = api {
        collector.env("RAMPART_COLLECTOR_IDENTITY__KUBERNETES__SERVER", format!("http://{api}"));
        collector.env("RAMPART_COLLECTOR_IDENTITY__KUBERNETES__TOKEN_FILE", folder.path().join(OWN));
    }
    let mut collector = Running::start(&mut collector)?;
    let mut agent = command(manifest, "DaemonSet", &files.agent)?;
    agent.env("RAMPART_NODE__HOSTNAME", NODE).env("NODE_NAME", NODE);
    agent.env("RAMPART_OUTPUT__COLLECTOR__URL", format!("https://localhost:{}", grpc.port()));
    agent.env("RAMPART_ADMIN__LISTEN", admin.to_string()).stderr(log("agent.log")?);
    let mut agent = Running::start(&mut agent)?;
    let outcome = (|| {
        until("the collector is ready", || collector.alive() && page(http, "/ready").is_some())?;
        until("the agent is ready", || agent.alive() && page(admin, "/ready").is_some())?;
        until("the agent reaches the collector", || {
            page(admin, "/metrics").is_some_and(|text| text.contains("\nrampart_collector_connected 1\n"))
        })?;
        fs::write(WATCHED, "").with_context(|| format!("cannot write `{WATCHED}`"))?;
        let arrived = until("the alert is in the store", || {
            drop(File::open(WATCHED));
            page(http, "/alerts").is_some_and(|text| text.contains(WATCHED) && text.contains(NODE))
        });
        let _ = fs::remove_file(WATCHED);
        arrived
    })();
    let ended = [agent.end(), collector.end()].into_iter().collect::<Result<Vec<()>>>();
    let said = |name: &str| {
        let text = fs::read_to_string(folder.path().join(name)).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines.get(lines.len().saturating_sub(10)..).unwrap_or_default().join("\n")
    };
    outcome
        .and(ended.map(drop))
        .with_context(|| format!("agent:\n{}\ncollector:\n{}", said("agent.log"), said("collector.log")))
}

/// The container's command with the built binary and the unpacked configuration.
fn command(manifest: &Manifest, kind: &str, config: &Path) -> Result<Command> {
    let container = pod(manifest, kind)?.get("containers").and_then(|all| all.get(0));
    let container = container.with_context(|| format!("the {kind} has no container"))?;
    let words = |key: &str| -> Vec<String> {
        let list = container.get(key).and_then(Value::as_sequence).into_iter().flatten();
        list.filter_map(|word| word.as_str().map(str::to_owned)).collect()
    };
    let program = words("command");
    let name =
        program.first().and_then(|path| path.rsplit('/').next()).context("a container has no command")?;
    let mut command = Command::new(binary(name)?);
    for word in words("args") {
        if word.starts_with("/etc/rampart/") {
            command.arg(config)
        } else {
            command.arg(word)
        };
    }
    command.stdin(Stdio::null()).stdout(Stdio::null()).process_group(0);
    Ok(command)
}

/// Puts what shows who is who where the configuration expects it; with the stand-in of the API server where it is asked.
fn papers(manifest: &Manifest, folder: &Path) -> Result<Option<SocketAddr>> {
    let of = |who: &str| folder.join(format!("tls-{who}"));
    if manifest.find("Secret", "-agent-tls").is_some() {
        spread(manifest, "Secret", "-collector-tls", &of("collector"))?;
        spread(manifest, "Secret", "-agent-tls", &of("agent"))?;
        return Ok(None);
    }
    spread(manifest, "Secret", "-collector-ca", &of("collector"))?;
    spread(manifest, "ConfigMap", "-collector-ca", &of("agent"))?;
    let agent = pod(manifest, "DaemonSet")?;
    let sources = agent.get("volumes").and_then(Value::as_sequence).into_iter().flatten();
    let sources =
        sources.filter_map(|volume| volume.get("projected")?.get("sources")?.as_sequence()).flatten();
    let mut tokens = sources.filter_map(|source| source.get("serviceAccountToken"));
    let text = |of: Option<&Value>| of.and_then(Value::as_str).unwrap_or_default().to_owned();
    let token = tokens.next().context("the agent's pod gets no token")?;
    let known = Known {
        token: "the pod's own".to_owned(),
        audience: text(token.get("audience")),
        account: format!("default:{}", text(agent.get("serviceAccountName"))),
        node: NODE.to_owned(),
        asker: "the collector's own".to_owned(),
    };
    fs::write(of("agent").join(text(token.get("path"))), &known.token)?;
    fs::write(folder.join(OWN), &known.asker)?;
    review::serve(known).map(Some)
}

/// What the pods of a workload are made of.
fn pod<'a>(manifest: &'a Manifest, kind: &str) -> Result<&'a Value> {
    let object = manifest.find(kind, "");
    let spec = object.and_then(|object| object.get("spec")?.get("template")?.get("spec"));
    spec.with_context(|| format!("the {kind} has no pods"))
}

/// Writes an object's files.
fn spread(manifest: &Manifest, kind: &str, end: &str, folder: &Path) -> Result<()> {
    let object = manifest.find(kind, end).with_context(|| format!("there is no {kind} `…{end}`"))?;
    let data = object.get("data").and_then(Value::as_mapping).context("an object has no data")?;
    fs::create_dir(folder)?;
    for (name, content) in data {
        let (Some(name), Some(content)) = (name.as_str(), content.as_str()) else { continue };
        let content = if kind == "Secret" { decoded(content)? } else { content.as_bytes().to_vec() };
        fs::write(folder.join(name), content)?;
    }
    Ok(())
}

/// Base64 with padding.
fn decoded(text: &str) -> Result<Vec<u8>> {
    let (mut bytes, mut buffer, mut bits) = (Vec::new(), 0_u32, 0);
    for character in text.bytes().filter(|byte| *byte != b'=') {
        let value = match character {
            b'A'..=b'Z' => character - b'A',
            b'a'..=b'z' => character - b'a' + 26,
            b'0'..=b'9' => character - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => bail!("a Secret is no base64"),
        };
        buffer = (buffer << 6) | u32::from(value);
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            bytes.push((buffer >> bits) as u8);
            buffer &= (1 << bits) - 1;
        }
    }
    Ok(bytes)
}

fn free() -> Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("cannot find a free port")?;
    listener.local_addr().context("cannot find a free port")
}

/// The body of a page; none unless it is there.
fn page(address: SocketAddr, path: &str) -> Option<String> {
    let (code, body) = http::get(address, path).ok()?;
    (code == 200).then_some(body)
}

fn until(what: &str, mut holds: impl FnMut() -> bool) -> Result<()> {
    let end = Instant::now() + PATIENCE;
    while !holds() {
        if Instant::now() >= end || interrupt::pending() {
            bail!("not so: {what}");
        }
        thread::sleep(Duration::from_millis(100));
    }
    Ok(())
}

impl Running {
    fn start(command: &mut Command) -> Result<Self> {
        let text = process::describe(command);
        command.spawn().map(Self).with_context(|| format!("cannot run `{text}`"))
    }

    fn alive(&mut self) -> bool {
        matches!(self.0.try_wait(), Ok(None))
    }

    /// Ends it in order.
    fn end(&mut self) -> Result<()> {
        if self.alive() {
            kill(Pid::from_raw(self.0.id().cast_signed()), Signal::SIGTERM)
                .context("cannot stop a program")?;
        }
        let end = Instant::now() + STOP;
        while Instant::now() < end {
            if let Some(status) = self.0.try_wait()? {
                if status.success() {
                    return Ok(());
                }
                bail!("a program ended with {status}");
            }
            thread::sleep(Duration::from_millis(50));
        }
        bail!("a program did not end within {} s", STOP.as_secs())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Ended in order in the ordinary case.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::decoded;

    #[test]
    fn base64_is_decoded_with_and_without_padding() {
        assert_eq!(decoded("aGVsbG8=").unwrap(), b"hello");
        assert_eq!(decoded("aGVsbG8h").unwrap(), b"hello!");
        assert_eq!(decoded("aA==").unwrap(), b"h");
        assert!(decoded("a b").is_err());
    }
}
