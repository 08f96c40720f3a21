//! What is looked at: an agent with rate limits, a service and a budget, a collector with a channel, and something that
//! happens to all of them. All of it is gone when this value is.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::agent::{Agent, Setup};
use crate::chaos::Sink;
use crate::demo::{Flood, Outage};
use crate::{http, interrupt, process, workspace};

const PATIENCE: Duration = Duration::from_mins(2);
const STOP: Duration = Duration::from_secs(30);

pub(super) struct Stage {
    agent: Agent,
    collector: Collector,
    flood: Flood,
    outage: Outage,
    /// A file that a rule is about.
    watched: PathBuf,
    /// What the channel leads to.
    _sink: Sink,
}

struct Collector {
    child: Child,
    http: SocketAddr,
    log: PathBuf,
}

impl Stage {
    /// Starts everything below the folder and waits until it works together.
    pub(super) fn open(folder: &Path) -> Result<Self> {
        let binaries = workspace::metadata()?.target_directory.join("debug").into_std_path_buf();
        let sink = Sink::start(Duration::ZERO)?;
        let (collector, grpc) = Collector::start(&binaries.join("rampart-collector"), folder, &sink.url())?;
        let flood = Flood::prepare(folder)?;
        let outage = Outage::prepare(flood.pins())?;
        let watched = folder.join("watched");
        fs::write(&watched, "").context("cannot write the watched file")?;
        let rules = folder.join("rules.yaml");
        let text = format!(
            "- rule: Watched file opened\n  desc: Somebody opened the file.\n  \
             condition: evt.type in (open, openat) and fd.name = {}\n  \
             output: Watched file opened (file=%fd.name)\n  priority: WARNING\n",
            watched.display()
        );
        fs::write(&rules, text).with_context(|| format!("cannot write `{}`", rules.display()))?;
        // `limits` is the last section, and its text goes on.
        let configuration = format!(
            "output: {{collector: {{url: \"http://{grpc}\"}}}}\nbudgets: {{default: 50, window_secs: 2}}\n{}{}  \
             throttle: {{mode: observe}}\n",
            outage.configuration(),
            flood.configuration()
        );
        let agent = Agent::start_as(&Setup {
            binary: &binaries.join("rampart"),
            folder,
            rules: &[rules],
            matching: "first",
            configuration: &configuration,
            passwd: None,
        })?;
        let stage = Self { agent, collector, flood, outage, watched, _sink: sink };
        stage.come_up().with_context(|| format!("the agent's log:\n{}", stage.agent.log_tail()))?;
        Ok(stage)
    }

    pub(super) fn agent(&self) -> SocketAddr {
        self.agent.address()
    }

    pub(super) fn collector(&self) -> SocketAddr {
        self.collector.http
    }

    /// An alert, a flood, and connections to the service.
    pub(super) fn happen(&self) -> Result<()> {
        drop(File::open(&self.watched).context("cannot open the watched file")?);
        self.flood.drench()?;
        self.outage.visit()
    }

    /// Ends agent and collector; each must do so by itself, and without a fault.
    pub(super) fn close(self) -> Result<()> {
        let Self { agent, mut collector, .. } = self;
        let status = agent.stop()?;
        if !status.success() {
            bail!("the agent ended with {status}");
        }
        collector.end()
    }

    fn come_up(&self) -> Result<()> {
        interrupt::until(PATIENCE, "the agent does not reach the collector", || {
            let (_, page) = self.agent.page("/metrics")?;
            Ok(page.contains("\nrampart_collector_connected 1\n"))
        })?;
        interrupt::until(PATIENCE, "the agent does not attach its limits", || {
            Ok(self.flood.is_attached(&self.agent))
        })?;
        interrupt::until(PATIENCE, "the agent does not put its services in force", || {
            Ok(self.outage.is_served(&self.agent))
        })
    }
}

impl Collector {
    /// Starts one whose channel is the given address, and waits until it is ready. Also says where agents reach it.
    fn start(binary: &Path, folder: &Path, channel: &str) -> Result<(Self, SocketAddr)> {
        if !binary.is_file() {
            bail!("`{}` is missing: build it first", binary.display());
        }
        let (grpc, http) = (free()?, free()?);
        let log = folder.join("collector.log");
        let mut command = Command::new(binary);
        command
            .arg("serve")
            .env("RAMPART_COLLECTOR_STORE__PATH", folder.join("collector.db"))
            .env("RAMPART_COLLECTOR_GRPC__LISTEN", grpc.to_string())
            .env("RAMPART_COLLECTOR_HTTP__LISTEN", http.to_string())
            .env("WEBHOOK_ADDRESS", channel)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&log).with_context(|| format!("cannot write `{}`", log.display()))?)
            // Ctrl-C reaches this command first, which then stops it in order.
            .process_group(0);
        let child =
            command.spawn().with_context(|| format!("cannot run `{}`", process::describe(&command)))?;
        let mut collector = Self { child, http, log };
        let ready = interrupt::until(PATIENCE, "the collector does not get ready", || {
            if let Some(status) = collector.child.try_wait()? {
                bail!("the collector ended with {status}");
            }
            Ok(matches!(http::get(http, "/ready"), Ok((200, _))))
        });
        ready.with_context(|| collector.said())?;
        Ok((collector, grpc))
    }

    fn end(&mut self) -> Result<()> {
        kill(Pid::from_raw(self.child.id().cast_signed()), Signal::SIGTERM)
            .context("cannot stop the collector")?;
        let end = Instant::now() + STOP;
        while Instant::now() < end {
            match self.child.try_wait()? {
                Some(status) if status.success() => return Ok(()),
                Some(status) => bail!("the collector ended with {status}; {}", self.said()),
                None => thread::sleep(Duration::from_millis(50)),
            }
        }
        bail!("the collector did not end within {} s; {}", STOP.as_secs(), self.said())
    }

    fn said(&self) -> String {
        format!("the collector's log:\n{}", fs::read_to_string(&self.log).unwrap_or_default())
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        // Ended in order in the ordinary case.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn free() -> Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("cannot find a free port")?;
    listener.local_addr().context("cannot find a free port")
}
