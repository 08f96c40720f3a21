//! What others do for the same: proxies, one thread each, in front of the same backends.

use std::fmt::Write;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::backend::{PORTS, Running, web};
use super::envoy;
use crate::{process, toolchain, workspace};

/// Somebody else's proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Proxy {
    Haproxy,
    Nginx,
    Envoy,
}

/// A proxy that can be started.
pub(super) struct Ready {
    pub(super) kind: Proxy,
    program: PathBuf,
}

impl Proxy {
    pub(super) const ALL: [Self; 3] = [Self::Haproxy, Self::Nginx, Self::Envoy];

    /// The word in ids.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Haproxy => "haproxy",
            Self::Nginx => "nginx_stream",
            Self::Envoy => "envoy",
        }
    }

    /// Those that can be had here, and what is to be said of all of them.
    pub(super) fn here() -> (Vec<Ready>, Vec<String>) {
        let (mut ready, mut notes) = (Vec::new(), Vec::new());
        if let Err(reason) = toolchain::proxies() {
            notes.push(format!("packages of proxies: {reason:#}"));
        }
        for kind in Self::ALL {
            match kind.find() {
                Ok(program) => {
                    notes.extend(version(&program, kind));
                    ready.push(Ready { kind, program });
                }
                Err(reason) => notes.push(format!("SKIP: {}: {reason:#}", kind.name())),
            }
        }
        (ready, notes)
    }

    fn find(self) -> Result<PathBuf> {
        match self {
            Self::Haproxy => workspace::program("haproxy").context("there is no `haproxy`"),
            Self::Nginx => {
                if !Path::new(toolchain::NGINX_STREAM).is_file() {
                    bail!("there is no `{}`", toolchain::NGINX_STREAM);
                }
                workspace::program("nginx").context("there is no `nginx`")
            }
            Self::Envoy => envoy::install(),
        }
    }

    /// Where it listens for the backends' port.
    pub(super) fn at(self, port: u16) -> SocketAddr {
        let first = match self {
            Self::Haproxy => 100,
            Self::Nginx => 200,
            Self::Envoy => 300,
        };
        SocketAddr::from(([127, 0, 0, 1], port + first))
    }

    fn configuration(self, folder: &Path) -> String {
        match self {
            Self::Haproxy => haproxy(),
            Self::Nginx => nginx(folder),
            Self::Envoy => envoy::configuration(),
        }
    }
}

impl Ready {
    /// Starts it.
    pub(super) fn start(&self, folder: &Path) -> Result<Running> {
        let folder = folder.join(self.kind.name());
        fs::create_dir_all(&folder).with_context(|| format!("cannot create `{}`", folder.display()))?;
        let file = folder.join("proxy.yaml");
        fs::write(&file, self.kind.configuration(&folder))
            .with_context(|| format!("cannot write `{}`", file.display()))?;
        let mut command = Command::new(&self.program);
        match self.kind {
            Proxy::Haproxy => command.arg("-db").arg("-f").arg(&file),
            Proxy::Nginx => command.arg("-c").arg(&file).arg("-p").arg(&folder),
            Proxy::Envoy => {
                command.args(["--concurrency", "1", "--disable-hot-restart", "--log-level", "error", "-c"]);
                command.arg(&file)
            }
        };
        let ports = PORTS.map(|port| self.kind.at(port));
        Running::start(command, &folder.join("output.log"), &ports)
    }
}

fn haproxy() -> String {
    let mut text =
        "global\n  nbthread 1\n  maxconn 4096\ndefaults\n  mode tcp\n  balance roundrobin\n  retries 3\n  \
                    option redispatch\n  timeout connect 5s\n  timeout client 1m\n  timeout server 1m\n"
            .to_owned();
    for port in PORTS {
        let [first, second] = web(port);
        let at = Proxy::Haproxy.at(port);
        // Writing to a string cannot fail.
        let _ = write!(
            text,
            "listen l{port}\n  bind {at}\n  server a {first} check\n  server b {second} check\n"
        );
    }
    text
}

fn nginx(folder: &Path) -> String {
    let servers: Vec<String> = PORTS
        .iter()
        .map(|port| {
            let [first, second] = web(*port);
            let at = Proxy::Nginx.at(*port);
            format!(
                "  upstream u{port} {{ server {first}; server {second}; }}\n  server {{ listen {at}; proxy_pass u{port}; \
                 }}\n"
            )
        })
        .collect();
    format!(
        "load_module {};\nworker_processes 1;\ndaemon off;\nuser root;\npid {at}/nginx.pid;\nerror_log {at}/error.log;\n\
         events {{ worker_connections 4096; }}\nstream {{\n{}}}\n",
        toolchain::NGINX_STREAM,
        servers.concat(),
        at = folder.display(),
    )
}

/// What it says of itself, on one line.
fn version(program: &Path, kind: Proxy) -> Option<String> {
    let option = if kind == Proxy::Envoy { "--version" } else { "-v" };
    let finished = process::bounded(Command::new(program).arg(option), super::ANSWER_LIMIT).ok()?;
    let text = if finished.stdout.trim().is_empty() { finished.stderr } else { finished.stdout };
    let line = text.lines().find(|line| !line.trim().is_empty())?.trim();
    // Envoy says where it is first.
    let line = line.rsplit_once("version: ").map_or(line, |(_, version)| version);
    Some(format!("{}: {line}", kind.name()))
}
