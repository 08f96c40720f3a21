//! The agent with the services of the bench.

use std::fmt::Write;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::backend::{PORTS, web};
use super::rig::{Pins, Rig};
use crate::agent::{Agent, Setup};

/// Small servers that die; nobody is at the third one.
pub(super) const SMALL: [SocketAddr; 2] = [small(5), small(6)];
const NOBODY: SocketAddr = small(7);
/// First retransmission of a SYN and how many there are, where a service says so. The kernel's own are a second and six.
pub(super) const SYN_MS: u32 = 50;
pub(super) const SYN_RETRIES: u32 = 1;

/// The agent is ready before its services are.
const ATTACH_LIMIT: Duration = Duration::from_mins(1);
const LOOK: Duration = Duration::from_millis(50);

const fn small(last: u8) -> SocketAddr {
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::new(127, 0, 0, last)), 7)
}

/// A virtual address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Vip {
    /// Of the web server, at a port.
    Web(u16),
    /// Of a service whose breaker is open.
    Open,
    /// Of the small servers, where only the breaker helps.
    Breaker,
    /// The same with all that is usual: a client's next connection goes elsewhere.
    Usual,
    /// The same with timers of the SYN.
    Timers,
    /// The same without.
    Silent,
}

impl Vip {
    /// The name of its service.
    pub(super) fn name(self) -> String {
        match self {
            Self::Web(port) => format!("web{port}"),
            Self::Open => "open".to_owned(),
            Self::Breaker => "breaker".to_owned(),
            Self::Usual => "usual".to_owned(),
            Self::Timers => "timers".to_owned(),
            Self::Silent => "silent".to_owned(),
        }
    }

    /// The address.
    pub(super) fn at(self) -> SocketAddr {
        let (last, port) = match self {
            Self::Web(port) => (1, port),
            Self::Open => (2, 80),
            Self::Breaker => (3, 80),
            Self::Usual => (4, 80),
            Self::Timers => (5, 80),
            Self::Silent => (6, 80),
        };
        SocketAddr::from(([198, 18, 91, last], port))
    }
}

/// Starts the agent and waits until its services are in force.
pub(super) fn start(rig: &Rig, pins: &Pins, folder: &Path, binary: &Path) -> Result<Agent> {
    let rules = folder.join("nothing.yaml");
    let rule = "- rule: nothing\n  desc: d\n  condition: evt.type = openat and fd.name = /nowhere\n  output: o\n  \
                priority: INFO\n";
    fs::write(&rules, rule).with_context(|| format!("cannot write `{}`", rules.display()))?;
    let configuration = configuration(rig.cgroup(), &pins.directory());
    let setup = Setup {
        binary,
        folder,
        rules: &[rules],
        matching: "first",
        configuration: &configuration,
        passwd: None,
    };
    let agent = Agent::start_as(&setup)?;
    let end = Instant::now() + ATTACH_LIMIT;
    while !in_force(&agent)? {
        if Instant::now() >= end {
            bail!("the agent does not put services in force; its log:\n{}", agent.log_tail());
        }
        thread::sleep(LOOK);
    }
    Ok(agent)
}

/// Waits until checks say that all backends of a service are up, which have been down before.
pub(super) fn wait_up(agent: &Agent, vip: Vip) -> Result<()> {
    let end = Instant::now() + ATTACH_LIMIT;
    loop {
        let (_, body) = agent.page(&format!("/services/{}", vip.name()))?;
        let page: Value = serde_json::from_str(&body).context("the agent's page of a service is no JSON")?;
        let backends = page.get("backends").and_then(Value::as_array).context("the page has no backends")?;
        let is_up = |backend: &Value| {
            let up = backend.pointer("/health/up").and_then(Value::as_bool);
            up != Some(false) && backend.get("breaker").and_then(Value::as_str) == Some("closed")
        };
        if backends.iter().all(is_up) {
            return Ok(());
        }
        if Instant::now() >= end {
            bail!("the backends of `{}` do not come up: {page}", vip.name());
        }
        thread::sleep(LOOK);
    }
}

fn in_force(agent: &Agent) -> Result<bool> {
    let (_, body) = agent.page("/services")?;
    let page: Value = serde_json::from_str(&body).context("the agent's page of services is no JSON")?;
    Ok(page.get("generation").and_then(Value::as_u64) > Some(0))
}

fn configuration(cgroup: &Path, pins: &Path) -> String {
    let mut text = format!(
        "services:\n  enabled: true\n  vip_cidrs: [198.18.91.0/24]\n  cgroup: {}\n  pin_dir: {}\n  list:\n",
        cgroup.display(),
        pins.display()
    );
    let mut add = |vip: Vip, settings: &str, backends: &[String]| {
        let service = vip.name();
        let backends: Vec<String> =
            ["a", "b"].iter().zip(backends).map(|(name, at)| format!("{name}: '{at}'")).collect();
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "    {service}: {{vip: '{}', {settings}backends: {{{}}}}}",
            vip.at(),
            backends.join(", ")
        );
    };
    for port in PORTS {
        add(Vip::Web(port), "", &web(port));
    }
    let open = "health: none, breaker: {failure_threshold: 1, recovery_timeout_secs: 600}, ";
    add(Vip::Open, open, &[NOBODY.to_string()]);
    let small = SMALL.map(|at| at.to_string());
    add(Vip::Breaker, "health: none, exclude_secs: 0, ", &small);
    add(Vip::Usual, "", &small);
    add(Vip::Silent, "", &small);
    add(Vip::Timers, &format!("syn_timeout_ms: {SYN_MS}, syn_retries: {SYN_RETRIES}, "), &small);
    text
}
