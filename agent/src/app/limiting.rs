//! The rate limiter while the agent runs: a thread that brings it up, keeps it alive and tells what it counts.
//!
//! Nothing else depends on it. A limiter that cannot be loaded or attached is a complaint of the agent, not its end,
//! and what an agent before left attached stays in force. It ends without detaching: limits outlive the agent.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    net::IpAddr,
    path::Path,
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    },
    time::{Duration, Instant},
};

use nix::ifaddrs::getifaddrs;
use rampart_common::limit::{
    abi::Control,
    verdict::{Action, Direction},
};

use super::{AppError, in_full, tasks::Tasks};
use crate::{
    config::Limits,
    engine::clock::boot_now_ns,
    kernel::limiter::{self, Attached, Interface, Limiter, LimiterConfig, LimiterError, Wish},
    limits::{
        plan::{Given, Plan, PlanError, plan},
        safety,
    },
    telemetry::{
        limits::{Limiting, RECENT},
        status::Status,
    },
};

/// Name of the thread.
pub(super) const LIMITS: &str = "limits";
/// Commands on their way; the sender is refused when it is full.
const COMMANDS: usize = 4;
/// Time between two signs of life, and between two looks at the counters.
const BEAT: Duration = Duration::from_secs(1);
/// Time between two looks at the node: interfaces that came, addresses that must not be locked out.
const LOOK: Duration = Duration::from_secs(30);
/// Samples taken at a time; more than a second brings on most nodes.
const SAMPLES: usize = 4096;

/// What the thread is told.
pub(super) enum Command {
    /// New settings.
    Change(Box<Limits>),
    /// The agent ends.
    Stop,
}

/// Why a change of the limits did not come into force.
#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error(transparent)]
    Limiter(#[from] LimiterError),
    #[error(transparent)]
    Plan(#[from] PlanError),
    #[error("cannot get a random number")]
    Random(#[source] io::Error),
}

/// Starts the thread when limits are on; takes away what an agent before left otherwise.
pub(super) fn start(
    limits: &Limits,
    tasks: &mut Tasks,
    status: &Arc<Status>,
) -> Result<Option<SyncSender<Command>>, AppError> {
    if !limits.enabled {
        match limiter::remove(&limits.pin_dir) {
            Ok(true) => tracing::info!("Rate limits are off, those of an agent before are taken away"),
            Ok(false) => {}
            Err(error) => {
                tracing::warn!("Rate limits of an agent before may still be in force: {}", in_full(&error));
            }
        }
        return Ok(None);
    }
    let (sender, received) = sync_channel(COMMANDS);
    let (limits, status) = (limits.clone(), Arc::clone(status));
    tasks
        .thread(LIMITS, move || {
            match Thread::begin(limits, &status) {
                Ok(mut thread) => thread.run(&received, &status),
                Err(error) => {
                    tracing::error!("Rate limits are not in force: {}", in_full(&error));
                    status.set_limits(Limiting { fault: Some(in_full(&error)), ..Limiting::default() });
                    wait_for_the_end(&received);
                }
            }
            Ok(())
        })
        .map_err(|source| AppError::System { operation: "start a thread", source })?;
    Ok(Some(sender))
}

/// The limiter did not come up, which is known by now: other settings do not help.
fn wait_for_the_end(received: &Receiver<Command>) {
    while let Ok(Command::Change(_)) = received.recv() {
        tracing::warn!("Rate limits are not in force, their settings are read at the next start");
    }
}

struct Thread {
    limiter: Limiter,
    limits: Limits,
    /// Hashes stay the same as long as the agent runs, so that a new plan does not forget flows.
    seed: u64,
    plan: Plan,
    generation: u32,
    attached: BTreeMap<(u32, Direction), Attached>,
    faults: BTreeSet<String>,
}

impl Thread {
    fn begin(limits: Limits, status: &Status) -> Result<Self, Fault> {
        let mut seed = [0; 8];
        getrandom::fill(&mut seed).map_err(|error| Fault::Random(io::Error::other(error)))?;
        let config = LimiterConfig { entries: limits.max_entries, pins: Some(limits.pin_dir.clone()) };
        let mut thread = Self {
            limiter: Limiter::load(&config)?,
            limits,
            seed: u64::from_ne_bytes(seed),
            plan: Plan::default(),
            generation: 0,
            attached: BTreeMap::new(),
            faults: BTreeSet::new(),
        };
        // Alive before its limits are: a dead agent's heartbeat would let everything pass.
        thread.beat()?;
        thread.put_in_force()?;
        thread.report(status)?;
        Ok(thread)
    }

    fn run(&mut self, received: &Receiver<Command>, status: &Status) {
        let mut looked = Instant::now();
        loop {
            match received.recv_timeout(BEAT) {
                Ok(Command::Change(limits)) => {
                    let before = std::mem::replace(&mut self.limits, *limits);
                    if let Err(error) = self.put_in_force() {
                        tracing::error!("Changed rate limits are not in force: {}", in_full(&error));
                        self.limits = before;
                        self.faults.insert(in_full(&error));
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Ok(Command::Stop) | Err(RecvTimeoutError::Disconnected) => return,
            }
            let mut outcome = self.beat();
            if looked.elapsed() >= LOOK {
                looked = Instant::now();
                outcome = outcome.and_then(|()| self.put_in_force());
            }
            if let Err(error) = outcome.and_then(|()| self.report(status)) {
                tracing::error!("Rate limits are not kept up: {}", in_full(&error));
            }
        }
    }

    fn beat(&mut self) -> Result<(), Fault> {
        Ok(self.limiter.beat(&Control { heartbeat_ns: boot_now_ns(), ..Control::default() })?)
    }

    /// Brings plan and attachments to what settings and node say now. What is so already is left alone.
    fn put_in_force(&mut self) -> Result<(), Fault> {
        let mut faults = BTreeSet::new();
        let interfaces = self.interfaces(&mut faults);
        let indices = interfaces.iter().map(|(name, interface)| (name.clone(), interface.index)).collect();
        let plan = plan(&Given {
            limits: &self.limits,
            safety: &safety::nets(&node_facts()),
            interfaces: &indices,
            numbers: &self.limiter.policy_names()?,
            seed: self.seed,
        })?;
        if self.generation == 0 || plan.tables != self.plan.tables {
            self.generation = self.limiter.publish(&plan.tables)?;
            tracing::info!(
                generation = self.generation,
                policies = plan.names.len(),
                mode = if self.limits.is_enforcing { "enforce" } else { "observe" },
                "Rate limits are in force"
            );
        }
        self.plan = plan;
        self.attach(&interfaces, &mut faults)?;
        for fault in faults.difference(&self.faults) {
            tracing::warn!("Rate limits: {fault}");
        }
        self.faults = faults;
        Ok(())
    }

    /// Interfaces that the settings name, those that are there.
    fn interfaces(&self, faults: &mut BTreeSet<String>) -> BTreeMap<String, Interface> {
        let of_policies = self.limits.policies.values().flat_map(|policy| &policy.interfaces);
        let names: BTreeSet<&String> = self.limits.interfaces.keys().chain(of_policies).collect();
        let mut found = BTreeMap::new();
        for name in names {
            match Interface::find(name) {
                Ok(interface) => {
                    found.insert(name.clone(), interface);
                }
                Err(error) => {
                    faults.insert(format!("the interface `{name}` is not limited: {error}"));
                }
            }
        }
        found
    }

    fn attach(
        &mut self,
        interfaces: &BTreeMap<String, Interface>,
        faults: &mut BTreeSet<String>,
    ) -> Result<(), Fault> {
        let mut wanted = BTreeSet::new();
        for (name, settings) in &self.limits.interfaces {
            let Some(interface) = interfaces.get(name) else { continue };
            for direction in &settings.directions {
                let place = (interface.index, *direction);
                wanted.insert(place);
                if self.attached.contains_key(&place) {
                    continue;
                }
                let wish =
                    if settings.hook == Wish::Auto && self.marks(name) { Wish::Tc } else { settings.hook };
                match self.limiter.attach(interface, *direction, wish) {
                    Ok(attached) => {
                        tell(&attached);
                        self.attached.insert(place, attached);
                    }
                    Err(error) => {
                        faults.insert(in_full(&error));
                    }
                }
            }
        }
        self.attached.retain(|place, _| wanted.contains(place));
        let gone = self.limiter.detach_except(&wanted)?;
        if gone > 0 {
            tracing::info!(gone, "Places are limited no more");
        }
        Ok(())
    }

    /// Whether a policy marks packets of an interface.
    fn marks(&self, interface: &str) -> bool {
        let concerns = |names: &[String]| names.is_empty() || names.iter().any(|name| name == interface);
        let mut policies = self.limits.policies.values();
        policies.any(|policy| policy.action == Action::Mark && concerns(&policy.interfaces))
    }

    fn report(&mut self, status: &Status) -> Result<(), Fault> {
        let samples = self.limiter.samples(SAMPLES)?;
        let before = status.limits();
        let total = before.samples + samples.len() as u64;
        let mut recent = before.recent;
        recent.extend(samples);
        recent.drain(..recent.len().saturating_sub(RECENT));
        status.set_limits(Limiting {
            generation: self.generation,
            names: self.plan.names.clone(),
            attached: self.attached.values().cloned().collect(),
            counted: self.limiter.tallies()?,
            defects: self.limiter.defects()?,
            samples: total,
            recent,
            fault: self.faults.iter().next().cloned(),
        });
        Ok(())
    }
}

fn tell(attached: &Attached) {
    for refused in &attached.refused {
        tracing::info!(
            interface = attached.interface,
            rung = refused.rung.name(),
            "Rate limits are not attached this way: {}",
            refused.reason
        );
    }
    tracing::info!(
        interface = attached.interface,
        direction = attached.direction.name(),
        rung = attached.rung.name(),
        taken_over = attached.is_taken_over,
        "Rate limits are attached"
    );
}

/// What the node says about itself now; what cannot be read says nothing.
fn node_facts() -> safety::Facts {
    let text = |path: &str| fs::read_to_string(Path::new(path)).unwrap_or_default();
    let own = getifaddrs().map(|addresses| {
        let of = |address: nix::ifaddrs::InterfaceAddress| -> Option<IpAddr> {
            let address = address.address?;
            let four = address.as_sockaddr_in().map(|four| IpAddr::from(four.ip()));
            four.or_else(|| address.as_sockaddr_in6().map(|six| IpAddr::from(six.ip())))
        };
        addresses.filter_map(of).collect()
    });
    safety::Facts {
        own: own.unwrap_or_default(),
        routes: text("/proc/net/route"),
        routes6: text("/proc/net/ipv6_route"),
        resolvers: text("/etc/resolv.conf"),
        connections: text("/proc/net/tcp"),
        connections6: text("/proc/net/tcp6"),
        api_server: std::env::var("KUBERNETES_SERVICE_HOST").ok(),
    }
}
