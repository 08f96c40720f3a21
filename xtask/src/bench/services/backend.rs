//! The backends: a web server at two addresses for what is measured, and small servers that can be killed.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::{interrupt, process, workspace};

/// A server starts at once, or not at all.
const START_LIMIT: Duration = Duration::from_secs(10);
const LOOK: Duration = Duration::from_millis(20);
/// Addresses of the web server. The network namespace has nobody else.
pub(super) const WEB: [&str; 2] = ["127.0.0.2", "127.0.0.3"];
/// Its ports: one keeps connections, the other closes them after each answer.
pub(super) const PORTS: [u16; 2] = [8001, 8002];
/// Requests of a connection at each port.
const REQUESTS: [u32; 2] = [1_000_000, 1];

/// A program that is ended with this value.
pub(super) struct Running {
    child: Child,
}

impl Running {
    /// Starts it and waits until all of `ports` are listened at.
    pub(super) fn start(mut command: Command, log: &Path, ports: &[SocketAddr]) -> Result<Self> {
        let file = fs::File::create(log).with_context(|| format!("cannot write `{}`", log.display()))?;
        command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
        let text = process::describe(&command);
        let child = command.spawn().with_context(|| format!("cannot run `{text}`"))?;
        let mut running = Self { child };
        let deadline = Instant::now() + START_LIMIT;
        while !ports.iter().all(|port| TcpStream::connect(port).is_ok()) {
            let ended = running.child.try_wait()?;
            if ended.is_some() || interrupt::pending() || Instant::now() >= deadline {
                let said = fs::read_to_string(log).unwrap_or_default();
                bail!("`{text}` did not start: {}", said.trim_end());
            }
            thread::sleep(LOOK);
        }
        Ok(running)
    }

    /// CPU time of it and its children so far.
    pub(super) fn worked(&self) -> Result<Duration> {
        let pid = self.child.id();
        let path = format!("/proc/{pid}/task/{pid}/children");
        let children = fs::read_to_string(&path).with_context(|| format!("cannot read `{path}`"))?;
        let children = children.split_whitespace().filter_map(|pid| pid.parse().ok());
        std::iter::once(pid).chain(children).map(crate::bench::usage::run_time).sum()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // In order: told to stop, it also ends its workers.
        if kill(Pid::from_raw(self.child.id().cast_signed()), Signal::SIGTERM).is_err() {
            let _ = self.child.kill();
        }
        let _ = self.child.wait();
    }
}

/// Every address of the web server at a port.
pub(super) fn web(port: u16) -> [String; 2] {
    WEB.map(|address| format!("{address}:{port}"))
}

/// Starts the web server.
pub(super) fn serve(folder: &Path) -> Result<Running> {
    let folder = folder.join("backend");
    let write = |name: &str, text: &str| {
        let path = folder.join(name);
        fs::write(&path, text).with_context(|| format!("cannot write `{}`", path.display()))
    };
    for name in ["www", "tmp"] {
        fs::create_dir_all(folder.join(name)).context("cannot create the server's folder")?;
    }
    write("www/index.html", &"x".repeat(1024))?;
    write("nginx.conf", &configuration(&folder))?;
    let program = workspace::program("nginx").context("there is no `nginx`")?;
    let mut command = Command::new(program);
    command.arg("-c").arg(folder.join("nginx.conf")).arg("-p").arg(&folder);
    let ports = PORTS.map(web).concat().iter().map(|at| at.parse()).collect::<Result<Vec<_>, _>>()?;
    Running::start(command, &folder.join("output.log"), &ports)
}

fn configuration(folder: &Path) -> String {
    let at = folder.display();
    let servers: Vec<String> = PORTS
        .iter()
        .zip(REQUESTS)
        .map(|(port, requests)| {
            let [first, second] = web(*port);
            format!(
                "  server {{ listen {first}; listen {second}; root {at}/www; keepalive_requests {requests}; }}\n"
            )
        })
        .collect();
    let servers = servers.concat();
    format!(
        "worker_processes 1;\ndaemon off;\nuser root;\npid {at}/nginx.pid;\nerror_log {at}/error.log;\n\
         events {{ worker_connections 1024; }}\nhttp {{\n  access_log off;\n  client_body_temp_path {at}/tmp/body;\n  \
         proxy_temp_path {at}/tmp/proxy;\n  fastcgi_temp_path {at}/tmp/fastcgi;\n  uwsgi_temp_path {at}/tmp/uwsgi;\n  \
         scgi_temp_path {at}/tmp/scgi;\n{servers}}}\n"
    )
}

/// A small server of this program's own that answers one byte; it is killed with this value.
pub(super) struct Small {
    child: Child,
}

impl Small {
    pub(super) fn start(address: SocketAddr) -> Result<Self> {
        let program = std::env::current_exe().context("cannot find this program's own file")?;
        let mut command = Command::new(program);
        command.args(["workload", "echo", &address.to_string(), "--cpu", "0"]);
        let mut child = command.stdout(Stdio::piped()).spawn().context("cannot start a small server")?;
        let output = child.stdout.take().context("a small server has no output")?;
        let small = Self { child };
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line)?;
        if line.trim() == "ready" { Ok(small) } else { bail!("the small server at {address} did not start") }
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        // Killed on purpose: a backend that dies says nothing.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
