//! The outage of the demo: a service with two backends, of which one dies and comes back, while somebody connects to it all
//! the time.
//!
//! The virtual address leads nowhere but through the agent's programs; the backends are threads of this process. The route
//! is gone when this value is, and the programs with the BPF file system that they are pinned in.

mod feed;
mod shop;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use self::feed::Feed;
use self::shop::{Backend, Clients, Served};
use super::flood::{ip, until};
use crate::agent::Agent;
use crate::{console, interrupt};

/// The service's address; the range is reserved for measurements between networks.
const VIP: &str = "198.18.92.1";
const PORT: u16 = 47_901;
/// Where the backends are.
const PLACES: [(&str, u8); 2] = [("a", 2), ("b", 3)];
/// Failures in a row that open a breaker, and the time until it is tried again.
const THRESHOLD: u64 = 5;
const RECOVERY_SECS: u32 = 5;
/// Connections of one backend that show that it is used.
const ENOUGH: u64 = 20;
/// Clients at a time.
const CLIENTS: usize = 2;
const PATIENCE: Duration = Duration::from_secs(30);
/// The rules of alerts about a breaker, in the order in which they come.
const ALERTS: [&str; 3] = ["open", "half-open", "closed"];

/// The place of the outage.
pub(crate) struct Outage {
    pins: PathBuf,
    backends: [Backend; 2],
}

impl Outage {
    /// Starts the backends. The agent pins its programs below `pins`, in a BPF file system.
    pub(crate) fn prepare(pins: &Path) -> Result<Self> {
        // What a demo that was killed left.
        let _absent = unroute();
        let [a, b] = PLACES.map(|(name, last)| Backend::start(name, last));
        Ok(Self { pins: pins.join("services"), backends: [a?, b?] })
    }

    /// Lines of the agent's configuration.
    pub(crate) fn configuration(&self) -> String {
        let backends: Vec<String> = self
            .backends
            .iter()
            .map(|backend| format!("{}: '{}'", backend.name(), backend.address()))
            .collect();
        format!(
            "services:
  enabled: true
  vip_cidrs: [{VIP}/32]
  pin_dir: {}
  list:
    shop:
      vip: {VIP}:{PORT}
      health: none
      exclude_secs: 0
      slow_start_secs: 0
      breaker: {{failure_threshold: {THRESHOLD}, recovery_timeout_secs: {RECOVERY_SECS}}}
      backends: {{{}}}
",
            self.pins.display(),
            backends.join(", ")
        )
    }

    /// Whether the agent has put the service in force.
    #[expect(clippy::unused_self, reason = "there is no service without its backends")]
    pub(crate) fn is_served(&self, agent: &Agent) -> bool {
        state(agent).is_some() && routed().unwrap_or(false)
    }

    /// Lets clients connect for a moment, without a word; each backend must answer some.
    #[expect(clippy::unused_self, reason = "there is no service without its backends")]
    pub(crate) fn visit(&self) -> Result<()> {
        let clients = Clients::start((VIP, PORT), CLIENTS)?;
        let served = clients.phase(|now| now.a >= ENOUGH && now.b >= ENOUGH);
        if served.a < ENOUGH || served.b < ENOUGH {
            bail!("a answered {}, b {}, failed {}", served.a, served.b, served.failed);
        }
        Ok(())
    }

    /// Lets a backend die and come back, and shows what becomes of connections. True when all went as it should.
    pub(super) fn run(&mut self, agent: &Agent) -> Result<bool> {
        let served = until("the agent does not put its services in force", || self.is_served(agent));
        if let Err(error) = served {
            bail!("{error}; its log:\n{}", agent.log_tail());
        }
        let feed = Feed::listen(agent.address())?;
        let clients = Clients::start((VIP, PORT), CLIENTS)?;
        console::say(format!(
            "    service `shop` at {VIP}:{PORT}, backends a and b, {CLIENTS} clients at a time"
        ));
        let [a, _] = &mut self.backends;

        let begun = clients.phase(|now| now.a >= ENOUGH && now.b >= ENOUGH);
        console::say(line("both serve", begun, agent));

        a.die();
        console::say("    backend a dies");
        let opened = wait("the breaker of a does not open", || state(agent).as_deref() == Some("open"));
        let failed = clients.take();
        console::say(line("until its breaker opened", failed, agent));
        let moved = clients.phase(|now| now.b >= ENOUGH * 2);
        console::say(line("its traffic has moved", moved, agent));

        a.revive()?;
        console::say("    backend a is back, slow with its first answers");
        let closed = wait("the breaker of a does not close", || state(agent).as_deref() == Some("closed"));
        let tried = clients.take();
        console::say(line("until its breaker closed", tried, agent));
        let after = clients.phase(|now| now.a >= ENOUGH && now.b >= ENOUGH);
        console::say(line("both serve again", after, agent));
        drop(clients);

        let alerts = alerted(agent);
        for alert in &alerts {
            console::say(format!("    alert: {alert}"));
        }
        let shown = feed.finish();
        console::say(format!("    page /dashboard showed the breaker of a as: {}", shown.join(" → ")));
        for fault in [&opened, &closed].into_iter().filter_map(|outcome| outcome.as_ref().err()) {
            console::say(format!("    {fault:#}"));
        }
        let is_whole = |served: Served| served.a >= ENOUGH && served.b >= ENOUGH;
        Ok(opened.is_ok()
            && closed.is_ok()
            && is_whole(begun)
            && is_refused_soon(failed)
            && moved.a == 0
            && moved.failed == 0
            && is_whole(after)
            && alerts.len() == ALERTS.len()
            && is_told(&shown))
    }
}

impl Drop for Outage {
    fn drop(&mut self) {
        // An agent that ends leaves it on purpose; here nobody takes over.
        let _ = unroute();
    }
}

/// Enough failures to open the breaker and hardly more: those that were on their way.
fn is_refused_soon(served: Served) -> bool {
    (1..=THRESHOLD + CLIENTS as u64).contains(&served.failed)
}

/// The page told of the failure, of its end, and of nothing wrong.
fn is_told(shown: &[String]) -> bool {
    let open = shown.iter().position(|state| state == "open");
    shown.first().is_some_and(|state| state == "closed")
        && shown.last().is_some_and(|state| state == "closed")
        && open.is_some()
}

fn line(what: &str, served: Served, agent: &Agent) -> String {
    let state = state(agent).unwrap_or_else(|| "unknown".to_owned());
    format!(
        "    {what:<26} a answered {:>4}, b {:>4}, failed {:>2}; breaker of a: {state}",
        served.a, served.b, served.failed
    )
}

/// The state of the breaker of backend a.
fn state(agent: &Agent) -> Option<String> {
    let (_, page) = agent.page("/circuit-breakers/shop/a").ok()?;
    let page: Value = serde_json::from_str(&page).ok()?;
    page.get("state").and_then(Value::as_str).map(ToOwned::to_owned)
}

/// What the agent said about the breaker, in the order in which it must come.
fn alerted(agent: &Agent) -> Vec<String> {
    let end = Instant::now() + PATIENCE;
    let mut said = Vec::new();
    while !interrupt::pending()
        && let Some(next) = ALERTS.get(said.len())
    {
        let left = end.saturating_duration_since(Instant::now());
        let Some(line) = agent.line(left) else { break };
        said.extend(about_breaker(&line.text, next));
    }
    said
}

/// What an alert says, if it is of this kind and about backend a.
fn about_breaker(line: &str, kind: &str) -> Option<String> {
    let alert: Value = serde_json::from_str(line).ok()?;
    let text = |path: &str| alert.pointer(path).and_then(Value::as_str);
    let rule = format!("Rampart internal: circuit breaker {kind}");
    let is_ours = text("/rule") == Some(&rule) && text("/output_fields/backend") == Some("a");
    is_ours.then(|| text("/output").unwrap_or(&rule).to_owned())
}

fn wait(complaint: &'static str, mut done: impl FnMut() -> bool) -> Result<()> {
    interrupt::until(PATIENCE, complaint, || Ok(done()))
}

/// Whether what is not served leads nowhere.
fn routed() -> Result<bool> {
    let routes = ip(&["route", "show", "type", "unreachable"]).context("cannot look at the routes")?;
    Ok(routes.lines().any(|route| route.split_whitespace().nth(1) == Some(VIP)))
}

fn unroute() -> Result<String> {
    ip(&["route", "del", "unreachable", VIP])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alerts_are_about_the_backend() {
        let text = r#"{"rule":"Rampart internal: circuit breaker half-open","output":"x","output_fields":{"backend":"a"}}"#;
        assert_eq!(about_breaker(text, "half-open").as_deref(), Some("x"));
        assert_eq!(about_breaker(text, "open"), None);
        assert_eq!(about_breaker(&text.replace("\"a\"", "\"b\""), "half-open"), None);
        assert_eq!(about_breaker("Ready", "open"), None);
    }

    #[test]
    fn the_page_must_tell_of_the_failure_and_of_its_end() {
        let told =
            |states: &[&str]| is_told(&states.iter().map(|state| (*state).to_owned()).collect::<Vec<_>>());
        assert!(told(&["closed", "open", "half_open", "closed"]) && told(&["closed", "open", "closed"]));
        assert!(!told(&["closed"]) && !told(&["closed", "open"]) && !told(&["open", "closed"]) && !told(&[]));
    }

    #[test]
    fn few_connections_fail() {
        let failed = |failed| is_refused_soon(Served { a: 0, b: 0, failed });
        assert!(failed(1) && failed(5) && failed(7) && !failed(0) && !failed(8));
    }
}
