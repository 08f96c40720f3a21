//! `bench nginx`: requests per second of a web server on loopback, connections kept alive and one for each request.
//!
//! One server runs through the whole bench, on a configuration and in a folder of its own.

use std::fs;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::measured::{Goal, Report};
use super::ruleset;
use super::stage::Stage;
use super::watch::{Watched, watched};
use crate::{interrupt, process, toolchain, workspace};

/// Length of one measurement; the client's own limit is a little more.
const SECONDS: u64 = 4;
const CONNECTIONS: u32 = 16;
/// The server starts at once, or not at all.
const START_LIMIT: Duration = Duration::from_secs(10);
const KEPT: Goal = Goal::AtLeast(0.95);

/// How connections are used: its name, and the requests that one connection may carry.
const MODES: [(&str, u32); 2] = [("keepalive", 1000), ("connection", 1)];

/// One measurement of each mode.
type Leg = Vec<(Run, Watched)>;

/// What the client says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Run {
    pub(super) per_second: f64,
    pub(super) p50_us: f64,
    pub(super) p99_us: f64,
}

/// A server that ends with this value.
struct Server {
    child: Child,
    ports: Vec<u16>,
}

/// Measures both modes in every variant.
pub(super) fn run(stage: &Stage) -> Result<Report> {
    if let Err(reason) = toolchain::bench_programs() {
        return Ok(Report::skipped("nginx", &format!("{reason:#}")));
    }
    let server = Server::start(&stage.folder.path().join("nginx"))?;
    let (rules, which) = ruleset::stable();
    let legs = stage.interleave(&rules, |agent| {
        server.ports.iter().map(|port| watched(agent, || request(*port))).collect::<Result<Leg>>()
    })?;
    drop(server);
    let mut results = Vec::new();
    for (index, (mode, _)) in MODES.into_iter().enumerate() {
        let of = move |leg: &Leg, pick: fn(&(Run, Watched)) -> f64| leg.get(index).map_or(0.0, pick);
        let rate = move |leg: &Leg| of(leg, |(run, _)| run.per_second);
        let p99 = move |leg: &Leg| of(leg, |(run, _)| run.p99_us);
        let p50 = move |leg: &Leg| of(leg, |(run, _)| run.p50_us);
        results.extend([
            legs.against(format!("nginx.{mode}.kept"), "ratio", |on, off| rate(on) / rate(off)).goal(KEPT),
            legs.watched(format!("nginx.{mode}.requests_per_s"), "1/s", rate).baseline(legs.alone(rate)),
            legs.watched(format!("nginx.{mode}.p50_us"), "us", p50).baseline(legs.alone(p50)),
            legs.watched(format!("nginx.{mode}.p99_us"), "us", p99).baseline(legs.alone(p99)),
            legs.watched(format!("nginx.{mode}.rejected_percent"), "% of events", |on| {
                of(on, |(_, watched)| watched.rejected_percent())
            }),
            legs.watched(format!("nginx.{mode}.events_per_s"), "events/s", |on| {
                of(on, |(_, watched)| watched.seen) / real(SECONDS)
            }),
            legs.watched(format!("nginx.{mode}.lost"), "events", |on| of(on, |(_, watched)| watched.lost)),
            legs.watched(format!("nginx.{mode}.agent_cpu_percent"), "% of a core", |on| {
                of(on, |(_, watched)| watched.cpu_s) / real(SECONDS) * 100.0
            }),
        ]);
    }
    let mut report = Report::new("nginx", results).note(format!("rules: {which}")).note(format!(
        "nginx with one worker and an access log, wrk with one thread and {CONNECTIONS} connections for {SECONDS} s, \
         a page of 1 KiB over loopback"
    ));
    for (index, (mode, _)) in MODES.into_iter().enumerate() {
        let last = legs.last().and_then(|leg| leg.get(index));
        report.notes.extend(last.map(|(_, seen)| format!("last run of {mode}: {}", seen.by_family())));
    }
    report.notes.extend(stage.about_variants().map(ToOwned::to_owned));
    Ok(report)
}

fn real(seconds: u64) -> f64 {
    Duration::from_secs(seconds).as_secs_f64()
}

fn request(port: u16) -> Result<Run> {
    let program = workspace::program("wrk").context("there is no `wrk`")?;
    let said = said(Command::new(program), &format!("127.0.0.1:{port}"), SECONDS)?;
    read(&said).with_context(|| format!("no numbers in `{}`", said.trim()))
}

/// Runs the client, which `command` starts, against an address; what it says.
pub(super) fn said(mut command: Command, address: &str, seconds: u64) -> Result<String> {
    command.args(["-t1", "--latency", &format!("-c{CONNECTIONS}"), &format!("-d{seconds}s")]);
    command.arg(format!("http://{address}/"));
    let finished = process::bounded(&mut command, Duration::from_secs(seconds + 20))?;
    if !finished.success() {
        bail!("`{}` failed: {}", process::describe(&command), finished.tail());
    }
    Ok(finished.stdout)
}

/// Reads the client's report.
pub(super) fn read(text: &str) -> Option<Run> {
    let value = |name: &str| text.lines().find_map(|line| line.trim().strip_prefix(name)).map(str::trim);
    Some(Run {
        per_second: value("Requests/sec:")?.parse().ok()?,
        p50_us: microseconds(value("50%")?)?,
        p99_us: microseconds(value("99%")?)?,
    })
}

fn microseconds(text: &str) -> Option<f64> {
    // The longer units first: every one of them ends with the shortest.
    for (unit, scale) in [("us", 1.0), ("ms", 1e3), ("s", 1e6)] {
        if let Some(number) = text.strip_suffix(unit) {
            return number.parse().ok().map(|number: f64| number * scale);
        }
    }
    None
}

impl Server {
    fn start(folder: &Path) -> Result<Self> {
        let write = |name: &str, text: &str| {
            let path = folder.join(name);
            fs::write(&path, text).with_context(|| format!("cannot write `{}`", path.display()))
        };
        for name in ["www", "tmp"] {
            fs::create_dir_all(folder.join(name)).context("cannot create the server's folder")?;
        }
        write("www/index.html", &"x".repeat(1024))?;
        let ports = free_ports(MODES.len())?;
        write("nginx.conf", &configuration(folder, &ports))?;
        let program = workspace::program("nginx").context("there is no `nginx`")?;
        let mut command = Command::new(program);
        command.arg("-c").arg(folder.join("nginx.conf")).arg("-p").arg(folder);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child =
            command.spawn().with_context(|| format!("cannot run `{}`", process::describe(&command)))?;
        let mut server = Self { child, ports };
        server.wait_ready(folder)?;
        Ok(server)
    }

    fn wait_ready(&mut self, folder: &Path) -> Result<()> {
        let deadline = Instant::now() + START_LIMIT;
        let answers = |port: &u16| TcpStream::connect((Ipv4Addr::LOCALHOST, *port)).is_ok();
        while !self.ports.iter().all(answers) {
            let ended = self.child.try_wait().context("cannot ask for the server")?;
            if ended.is_some() || Instant::now() >= deadline || interrupt::pending() {
                let said = fs::read_to_string(folder.join("error.log")).unwrap_or_default();
                bail!("the web server did not start: {}", said.trim_end());
            }
            thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // In order: told to stop, the server also ends its worker.
        let told = kill(Pid::from_raw(self.child.id().cast_signed()), Signal::SIGTERM);
        if told.is_err() {
            let _ = self.child.kill();
        }
        let _ = self.child.wait();
    }
}

fn configuration(folder: &Path, ports: &[u16]) -> String {
    let at = folder.display();
    let servers: Vec<String> = MODES
        .iter()
        .zip(ports)
        .map(|((_, requests), port)| {
            format!("  server {{ listen 127.0.0.1:{port}; root {at}/www; keepalive_requests {requests}; }}\n")
        })
        .collect();
    let servers = servers.concat();
    format!(
        "worker_processes 1;\ndaemon off;\nuser root;\npid {at}/nginx.pid;\nerror_log {at}/error.log;\n\
         events {{ worker_connections 256; }}\nhttp {{\n  access_log {at}/access.log;\n  client_body_temp_path \
         {at}/tmp/body;\n  proxy_temp_path {at}/tmp/proxy;\n  fastcgi_temp_path {at}/tmp/fastcgi;\n  uwsgi_temp_path \
         {at}/tmp/uwsgi;\n  scgi_temp_path {at}/tmp/scgi;\n{servers}}}\n"
    )
}

/// Ports that were free a moment ago.
fn free_ports(count: usize) -> Result<Vec<u16>> {
    // All are held until the last is found, so that they differ.
    let listeners = (0..count)
        .map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))
        .collect::<Result<Vec<TcpListener>, _>>()
        .context("cannot find a free port")?;
    listeners.iter().map(|one| Ok(one.local_addr().context("cannot find a free port")?.port())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_client_s_report_is_read() {
        let text = "Running 4s test @ http://127.0.0.1:1/\n  1 threads and 16 connections\n  Latency Distribution\n     \
                    50%  202.00us\n     75%    1.00ms\n     99%    1.25ms\n  532001 requests in 4.00s\n\
                    Requests/sec: 131104.11\nTransfer/sec:    160.00MB\n";
        let expected = Run { per_second: 131_104.11, p50_us: 202.0, p99_us: 1250.0 };
        assert_eq!(read(text), Some(expected));
        assert_eq!(microseconds("2.00s"), Some(2e6));
        assert_eq!(read("unable to connect"), None);
    }
}
