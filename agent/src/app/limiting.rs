//! The rate limiter while the agent runs: a thread that brings it up, keeps it alive and tells what it counts.
//!
//! Nothing else depends on it. A limiter that cannot be loaded or attached is a complaint of the agent, not its end,
//! and what an agent before left attached stays in force. It ends without detaching: limits outlive the agent. The
//! thread is the one owner of entries, quotas and tables; others ask at the `limits::desk`.

mod answers;
mod feeds;
mod lists;
pub(super) mod node;
mod notices;
mod places;
mod quotas;
pub(super) mod store;
mod throttling;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    io,
    path::Path,
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError, SyncSender},
    },
    time::{Duration, Instant},
};

use ipnet::IpNet;
use rampart_common::limit::{
    abi::{Control, Sample},
    verdict::Direction,
};

use self::{lists::Lists, node::now, notices::Notices, quotas::Quotas, store::Store, throttling::Throttling};
use super::{AppError, in_full, tasks::Tasks};
use crate::{
    alert::build::Internal,
    config::{Config, Limits},
    engine::clock::boot_now_ns,
    kernel::limiter::{self, Attached, Limiter, LimiterConfig, LimiterError},
    limits::{
        desk::{Ask, Command, Denied, Desk},
        entries::{Entries, Entry, Kind},
        node::node_facts,
        plan::{Given, Granted, Listed, Passing, Plan, PlanError, plan},
        safety,
        seeds::Seeds,
    },
    telemetry::{
        limits::{Limiting, RECENT},
        status::Status,
    },
};

/// Name of the thread.
pub(super) const LIMITS: &str = "limits";
/// Time between two signs of life, and between two looks at the counters.
const BEAT: Duration = Duration::from_secs(1);
/// Time between two looks at the node: interfaces that came, addresses that must not be locked out.
const LOOK: Duration = Duration::from_secs(30);
/// Samples taken at a time; more than a second brings on most nodes.
const SAMPLES: usize = 4096;
/// Samples kept for the report of heavy hitters, and for how long.
const WINDOW_SAMPLES: usize = 16_384;
const WINDOW_NS: u64 = 60_000_000_000;

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

/// Asks the thread for a change on behalf of the agent itself.
pub(super) async fn ask(desk: Option<Desk>, ask: Ask) -> Result<(), String> {
    let answer = match desk {
        Some(desk) => desk.ask(ask).await,
        None => Err(Denied::Off),
    };
    answer.map(drop).map_err(|denied| denied.to_string())
}

/// Starts the thread when limits are on, and says whether it did; takes away what an agent before left otherwise.
pub(super) fn start(
    config: &Config,
    received: Receiver<Command>,
    notices: SyncSender<Internal>,
    tasks: &mut Tasks,
    status: &Arc<Status>,
) -> Result<bool, AppError> {
    let limits = &config.limits;
    if !limits.enabled {
        match limiter::remove(&limits.pin_dir) {
            Ok(true) => tracing::info!("Rate limits are off, those of an agent before are taken away"),
            Ok(false) => {}
            Err(error) => {
                tracing::warn!("Rate limits of an agent before may still be in force: {}", in_full(&error));
            }
        }
        return Ok(false);
    }
    let (limits, state_dir) = (Arc::new(limits.clone()), config.node.state_dir.clone());
    let not_got = feeds::start(&limits, &state_dir, tasks);
    let status = Arc::clone(status);
    tasks
        .thread(LIMITS, move || {
            match Thread::begin(limits, &state_dir, not_got, notices, &status) {
                Ok(mut thread) => thread.run(&received, &status),
                Err(error) => {
                    tracing::error!("Rate limits are not in force: {}", in_full(&error));
                    status.set_limits(Limiting { faults: vec![in_full(&error)], ..Limiting::default() });
                    wait_for_the_end(&received);
                }
            }
            Ok(())
        })
        .map_err(|source| AppError::System { operation: "start a thread", source })?;
    Ok(true)
}

/// The limiter did not come up, which is known by now: other settings do not help.
fn wait_for_the_end(received: &Receiver<Command>) {
    loop {
        match received.recv() {
            Ok(Command::Change(_)) => {
                tracing::warn!("Rate limits are not in force, their settings are read at the next start");
            }
            Ok(Command::Ask(_, answer)) => {
                // Nobody waiting for it changes nothing.
                let _ = answer.send(Err(Denied::Off));
            }
            Ok(Command::Stop) | Err(_) => return,
        }
    }
}

struct Thread {
    limiter: Limiter,
    limits: Arc<Limits>,
    seeds: Seeds,
    /// How often the seed was changed.
    seed_changes: u64,
    plan: Plan,
    generation: u32,
    attached: BTreeMap<(u32, Direction), Attached>,
    faults: BTreeSet<String>,
    entries: Entries,
    store: Store,
    lists: Lists,
    quotas: Quotas,
    throttling: Throttling,
    notices: Notices,
    /// The newest samples, for the report of heavy hitters.
    window: VecDeque<Sample>,
    /// The newest of them, for people.
    recent: Vec<Sample>,
    samples: u64,
    /// Where the collector's addresses are.
    status: Arc<Status>,
}

impl Thread {
    fn begin(
        limits: Arc<Limits>,
        state_dir: &Path,
        not_got: feeds::Faults,
        notices: SyncSender<Internal>,
        status: &Arc<Status>,
    ) -> Result<Self, Fault> {
        let config = LimiterConfig { entries: limits.max_entries, pins: Some(limits.pin_dir.clone()) };
        let store = Store::new(state_dir);
        let mut lists = Lists::new(state_dir.join(feeds::DIRECTORY), not_got);
        lists.look(&limits);
        let limiter = Limiter::load(&config)?;
        // With other seeds, who has used up what he may would begin anew at each start of an agent.
        let seeds = match limiter.config()? {
            Some(config) => Seeds::of(&config),
            None => Seeds::first(random()?, boot_now_ns()),
        };
        let mut thread = Self {
            limiter,
            throttling: Throttling::new(limits.throttle),
            seeds,
            seed_changes: 0,
            plan: Plan::default(),
            generation: 0,
            attached: BTreeMap::new(),
            faults: BTreeSet::new(),
            entries: store.entries(now()),
            quotas: Quotas::open(&store, &limits),
            store,
            lists,
            notices: Notices::new(notices),
            window: VecDeque::new(),
            recent: Vec::new(),
            samples: 0,
            status: Arc::clone(status),
            limits,
        };
        // What was counted before is nobody's news.
        thread.notices.start(&thread.limiter.tallies()?);
        // Alive before its limits are: a dead agent's heartbeat would let everything pass.
        thread.beat()?;
        thread.put_in_force()?;
        if thread.look_at_quotas()? {
            thread.put_in_force()?;
        }
        thread.report(status)?;
        Ok(thread)
    }

    fn run(&mut self, received: &Receiver<Command>, status: &Status) {
        let mut looked = Instant::now();
        let mut due = Instant::now() + BEAT;
        loop {
            let mut is_changed = false;
            match received.recv_timeout(due.saturating_duration_since(Instant::now())) {
                Ok(Command::Change(limits)) => {
                    let before = std::mem::replace(&mut self.limits, Arc::new(*limits));
                    self.lists.look(&self.limits);
                    if let Err(error) = self.put_in_force() {
                        tracing::error!("Changed rate limits are not in force: {}", in_full(&error));
                        self.limits = before;
                        self.faults.insert(in_full(&error));
                    }
                    self.throttling.set(self.limits.throttle);
                    // Others ask for what is in force by the status.
                    due = Instant::now();
                }
                Ok(Command::Ask(ask, answer)) => {
                    // Nobody waiting for it changes nothing.
                    let _ = answer.send(self.answer(*ask, status));
                }
                Err(RecvTimeoutError::Timeout) => {}
                Ok(Command::Stop) | Err(RecvTimeoutError::Disconnected) => {
                    self.end();
                    return;
                }
            }
            if Instant::now() < due {
                continue;
            }
            due = Instant::now() + BEAT;
            if let Some(notice) = self.throttling.look() {
                self.notices.send(notice);
            }
            let mut outcome = self.beat();
            is_changed |= self.expire() | self.lists.look(&self.limits);
            match self.look_at_quotas() {
                Ok(changed) => is_changed |= changed,
                Err(error) => outcome = outcome.and(Err(error)),
            }
            match self.reseed() {
                Ok(changed) => is_changed |= changed,
                Err(error) => outcome = outcome.and(Err(error)),
            }
            if is_changed || looked.elapsed() >= LOOK {
                looked = Instant::now();
                outcome = outcome.and_then(|()| self.put_in_force());
            }
            if let Err(error) = outcome.and_then(|()| self.report(status)) {
                tracing::error!("Rate limits are not kept up: {}", in_full(&error));
            }
        }
    }

    /// Chooses another seed when it is time; says whether it was.
    fn reseed(&mut self) -> Result<bool, Fault> {
        let now = boot_now_ns();
        if !self.seeds.are_due(self.limits.hash_seed, &self.plan.tables, now) {
            return Ok(false);
        }
        // One that was chosen and never came into force is left out.
        self.seeds = Seeds::of(&self.plan.tables.config).next(random()?, now);
        Ok(true)
    }

    /// What was used is written down; what is in force stays.
    fn end(&mut self) {
        if let Err(error) = self.look_at_quotas_now() {
            tracing::error!("What was used of quotas is not read: {}", in_full(&error));
        }
        self.quotas.save(&self.store);
    }

    fn beat(&mut self) -> Result<(), Fault> {
        let control = Control { heartbeat_ns: boot_now_ns(), stretch: self.throttling.stretch() };
        Ok(self.limiter.beat(&control)?)
    }

    /// Takes away entries that have ended; says whether there were any.
    fn expire(&mut self) -> bool {
        let over = self.entries.expire(now());
        for entry in &over {
            tracing::info!(kind = entry.kind.name(), net = %entry.net, by = entry.by, "An entry has ended");
        }
        if !over.is_empty() {
            self.keep();
        }
        !over.is_empty()
    }

    /// Keeps the entries for the next agent.
    fn keep(&self) {
        if let Err(error) = self.store.keep(&self.entries) {
            tracing::error!("Lists and grants are not kept for the next start: {error}");
        }
    }

    fn look_at_quotas(&mut self) -> Result<bool, Fault> {
        if self.quotas.is_due(&self.limits) { self.look_at_quotas_now() } else { Ok(false) }
    }

    /// Says whether somebody has used up a quota, or may go on.
    fn look_at_quotas_now(&mut self) -> Result<bool, Fault> {
        let before = self.quotas.closed().to_vec();
        self.quotas.look(&self.limiter, &self.limits, &self.plan.names)?;
        self.quotas.save_when_due(&self.store);
        let after = self.quotas.closed();
        let news: Vec<_> = after.iter().filter(|closed| !before.contains(closed)).collect();
        for notice in notices::used_up(&news, &self.limits) {
            self.notices.send(notice);
        }
        Ok(before != after)
    }

    /// What holds besides the settings.
    fn passing(&self) -> Passing {
        let of = |kind| {
            let until = |entry: &Entry| entry.until.map(|end| end.boot_ns);
            self.entries.of_kind(kind).map(move |entry| Listed { net: entry.net, until_ns: until(entry) })
        };
        let named = |nets: Vec<IpNet>| nets.into_iter().map(Listed::from);
        let granted = |entry: &Entry| {
            let (rate, until_ns) = (entry.rate?, entry.until?.boot_ns);
            Some(Granted { net: entry.net, rate, until_ns })
        };
        Passing {
            allow: of(Kind::Allow).chain(named(self.lists.allow(&self.limits))).collect(),
            deny: of(Kind::Deny).chain(named(self.lists.deny(&self.limits))).collect(),
            grants: self.entries.of_kind(Kind::Grant).filter_map(granted).collect(),
            limited: self
                .entries
                .of_kind(Kind::Limit)
                .filter_map(|entry| Some((entry.net, entry.policy.clone()?)))
                .collect(),
            closed: self.quotas.closed().to_vec(),
        }
    }

    /// Brings plan and attachments to what settings and node say now. What is so already is left alone. What does not
    /// fit besides the settings is left out, and complained about.
    fn put_in_force(&mut self) -> Result<(), Fault> {
        let mut passing = self.passing();
        let mut faults = self.lists.faults();
        loop {
            match self.put(&passing, &mut faults) {
                Err(Fault::Plan(error @ PlanError::Grants { .. })) if !passing.grants.is_empty() => {
                    faults.insert(format!("grants are not in force: {error}"));
                    passing.grants.clear();
                }
                Err(Fault::Plan(error @ PlanError::Rules { .. })) if passing != Passing::default() => {
                    faults.insert(format!("lists of files and entries are not in force: {error}"));
                    passing = Passing::default();
                }
                outcome => {
                    outcome?;
                    break;
                }
            }
        }
        for fault in faults.difference(&self.faults) {
            tracing::warn!("Rate limits: {fault}");
        }
        self.faults = faults;
        Ok(())
    }

    /// What the node says about itself.
    fn facts(&self) -> safety::Facts {
        node_facts(self.status.delivery().addresses)
    }

    fn put(&mut self, passing: &Passing, faults: &mut BTreeSet<String>) -> Result<(), Fault> {
        let interfaces = self.interfaces(faults);
        let indices = interfaces.iter().map(|(name, interface)| (name.clone(), interface.index)).collect();
        let plan = plan(&Given {
            limits: &self.limits,
            safety: &safety::nets(&self.facts()),
            interfaces: &indices,
            numbers: &self.limiter.policy_names()?,
            seeds: self.seeds,
            passing,
        })?;
        if self.generation == 0 || plan.tables != self.plan.tables {
            let is_reseeded = self.generation != 0 && plan.tables.config.seed != self.plan.tables.config.seed;
            self.generation = self.limiter.publish(&plan.tables)?;
            self.seed_changes += u64::from(is_reseeded);
            tracing::info!(
                generation = self.generation,
                policies = plan.names.len(),
                mode = if self.limits.is_enforcing { "enforce" } else { "observe" },
                "Rate limits are in force"
            );
        }
        self.plan = plan;
        self.attach(&interfaces, faults)
    }

    fn report(&mut self, status: &Status) -> Result<(), Fault> {
        let samples = self.limiter.samples(SAMPLES)?;
        let counted = self.limiter.tallies()?;
        self.notices.take(&samples, &counted, &self.plan.names, &self.limits);
        self.samples += samples.len() as u64;
        self.recent.extend(samples.iter().copied());
        self.recent.drain(..self.recent.len().saturating_sub(RECENT));
        self.window.extend(samples);
        let since = boot_now_ns().saturating_sub(WINDOW_NS);
        while self.window.len() > WINDOW_SAMPLES
            || self.window.front().is_some_and(|sample| sample.time_ns < since)
        {
            self.window.pop_front();
        }
        status.set_limits(Limiting {
            generation: self.generation,
            names: self.plan.names.clone(),
            attached: self.attached.values().cloned().collect(),
            counted,
            defects: self.limiter.defects()?,
            resets: self.limiter.resets()?,
            samples: self.samples,
            seed_changes: self.seed_changes,
            recent: self.recent.clone(),
            faults: self.faults.iter().cloned().collect(),
            settings: Some(Arc::clone(&self.limits)),
            entries: self.entries.iter().cloned().collect(),
            throttle: self.throttling.state(),
            closed: self.quotas.closed().to_vec(),
            unsaid: self.notices.dropped(),
        });
        Ok(())
    }
}

fn random() -> Result<u64, Fault> {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).map_err(|error| Fault::Random(io::Error::other(error)))?;
    Ok(u64::from_ne_bytes(bytes))
}
