//! Services while the agent runs: a thread that brings them up, keeps tables and breakers in step with what is known of
//! backends, and tells what happens.
//!
//! Nothing else depends on it. Services that cannot be loaded or attached are a complaint of the agent, not its end. It
//! ends without detaching: services outlive the agent. The thread is the one owner of tables and orders; others ask at
//! the `services::desk`, and health checks, which run in the runtime, tell their results there.

mod asked;
mod draining;
mod known;
mod node;
mod notices;
mod others;
mod report;

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

use jiff::Timestamp;
use rampart_common::service::{
    abi::{Breaker, EVENT_END, EVENT_STATE, Event},
    breaker::{Mode, Order, State, Word, stamp},
};
use tokio::sync::watch;

pub(super) use self::node::unified_root;
use self::{
    draining::Draining,
    known::Known,
    node::{Store, is_served, jiffies_per_second},
    notices::Notices,
    others::Others,
};
use super::{AppError, in_full, tasks::Tasks};
use crate::{
    alert::build::Internal,
    config::{AdminState, Config, Services as Settings},
    container::kubernetes::{self, Watch},
    engine::clock::boot_now_ns,
    kernel::services::{self, Services, ServicesConfig, ServicesError},
    services::{
        check::{self, MARK, Target},
        desk::{Ask, Command, Denied, Desk},
        plan::{Given, Name, Numbers, Plan, SELF_TEST_SERVICE, plan},
        routes,
        tiers::Tiers,
    },
    telemetry::{
        services::{EVENTS, Serving},
        status::Status,
    },
};

/// Name of the thread, and of the tasks of health checks and of the cluster's services.
pub(super) const SERVICES: &str = "services";
const CHECKS: &str = "health checks";
const CLUSTER: &str = "services of the cluster";
/// Time between two looks at events and windows.
const TICK: Duration = Duration::from_millis(250);
/// Time between two signs of life, two plans and two reports.
const BEAT: Duration = Duration::from_secs(1);
/// Time between two comparisons of backends.
const SWEEP: Duration = Duration::from_secs(10);
/// Events taken at a time: what the ring holds.
const EVENTS_MAX: usize = 4096;

/// Why a change of services did not come into force.
#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error(transparent)]
    Services(#[from] ServicesError),
    #[error("no cgroup v2 hierarchy is mounted, and `services.cgroup` names none")]
    NoCgroup,
    #[error("cannot get a random number")]
    Random(#[source] io::Error),
    #[error("cannot start a thread that ends connections")]
    Thread(#[source] io::Error),
}

/// Asks the thread for a change on behalf of the agent itself.
pub(super) async fn ask(desk: Option<Desk>, ask: Ask) -> Result<(), String> {
    let answer = match desk {
        Some(desk) => desk.ask(ask).await,
        None => Err(Denied::Off),
    };
    answer.map(drop).map_err(|denied| denied.to_string())
}

/// Starts the thread and the checks when services are on, and says whether it did; takes away what an agent before left
/// otherwise.
pub(super) fn start(
    config: &Config,
    (desk, received): (Desk, Receiver<Command>),
    notices: SyncSender<Internal>,
    tasks: &mut Tasks,
    status: &Arc<Status>,
) -> Result<bool, AppError> {
    let settings = &config.services;
    if !settings.enabled {
        let nets = settings.vip_cidrs.clone();
        tokio::spawn(async move { routes::remove(&nets).await });
        match services::remove(&settings.pin_dir) {
            Ok(true) => tracing::info!("Services are off, those of an agent before are taken away"),
            Ok(false) => {}
            Err(error) => {
                tracing::warn!("Services of an agent before may still be in force: {}", in_full(&error));
            }
        }
        return Ok(false);
    }
    if settings.kubernetes {
        let (of, desk) = (config.kubernetes.clone(), desk.clone());
        tasks.task(CLUSTER, async move {
            let watch = Watch { node_name: of.node_name, kubeconfig: of.kubeconfig };
            match kubernetes::client(&watch).await {
                Ok(client) => crate::services::kubernetes::run(client, desk).await,
                Err(error) => tracing::error!("Services of the cluster are not watched: {}", in_full(&error)),
            }
            // It ends with the agent.
            std::future::pending().await
        });
    }
    let (targets, wanted) = watch::channel(Arc::default());
    let nets = settings.vip_cidrs.clone();
    tasks.task(CHECKS, async move {
        routes::add(&nets).await;
        check::run(wanted, desk).await;
        Ok(())
    });
    let (settings, state_dir) = (settings.clone(), config.node.state_dir.clone());
    let status = Arc::clone(status);
    tasks
        .thread(SERVICES, move || {
            match Thread::begin(settings, &state_dir, Notices::new(notices), targets.clone()) {
                Ok(mut thread) => thread.run(&received, &status),
                Err(error) => {
                    tracing::error!("Services are not in force: {}", in_full(&error));
                    status.set_services(Serving { fault: Some(in_full(&error)), ..Serving::default() });
                    wait_for_the_end(&received);
                }
            }
            // Its last owner ends the checks.
            drop(targets);
            Ok(())
        })
        .map_err(|source| AppError::System { operation: "start a thread", source })?;
    Ok(true)
}

/// Services did not come up, which is known by now: other settings do not help.
fn wait_for_the_end(received: &Receiver<Command>) {
    loop {
        match received.recv() {
            Ok(Command::Change(_)) => {
                tracing::warn!("Services are not in force, their settings are read at the next start");
            }
            Ok(Command::Ask(_, answer)) => {
                // Nobody waiting for it changes nothing.
                let _ = answer.send(Err(Denied::Off));
            }
            Ok(Command::Checked(..) | Command::Told(..) | Command::Found(_)) => {}
            Ok(Command::Stop) | Err(_) => return,
        }
    }
}

struct Thread {
    services: Services,
    /// What is written in the configuration, and services that are not.
    written: Settings,
    others: Others,
    /// All together, and what does not fit.
    settings: Settings,
    left_out: BTreeSet<String>,
    seed: u64,
    hz: Option<u32>,
    numbers: Numbers,
    tiers: BTreeMap<String, Tiers>,
    plan: Plan,
    generation: u32,
    known: BTreeMap<Name, Known>,
    targets: watch::Sender<Arc<Vec<Target>>>,
    store: Store,
    notices: Notices,
    draining: Draining,
    is_tested: bool,
    panics: BTreeSet<String>,
    faults: BTreeSet<String>,
}

impl Thread {
    fn begin(
        settings: Settings,
        state_dir: &Path,
        notices: Notices,
        targets: watch::Sender<Arc<Vec<Target>>>,
    ) -> Result<Self, Fault> {
        let mut seed = [0; 8];
        getrandom::fill(&mut seed).map_err(|error| Fault::Random(io::Error::other(error)))?;
        let cgroup = settings.cgroup.clone().or_else(unified_root).ok_or(Fault::NoCgroup)?;
        let config = ServicesConfig { cgroup, pins: Some(settings.pin_dir.clone()), probe_mark: MARK };
        let services = Services::load(config)?;
        let before = (services.services_in_force()?, services.backends_in_force()?);
        let numbers = Numbers::in_force(&before.0, &before.1);
        let store = Store::new(state_dir);
        let mut known: BTreeMap<Name, Known> = BTreeMap::new();
        for (name, admin) in store.admin_states() {
            known.entry(name).or_default().ordered_admin = Some(admin);
        }
        let others = Others::open(state_dir, settings.kubernetes);
        let (all, left_out) = others.merged(&settings);
        let mut thread = Self {
            services,
            written: settings,
            others,
            settings: all,
            left_out,
            seed: u64::from_ne_bytes(seed),
            hz: None,
            numbers,
            tiers: BTreeMap::new(),
            plan: Plan::default(),
            generation: 0,
            known,
            targets,
            store,
            notices,
            draining: Draining::default(),
            is_tested: false,
            panics: BTreeSet::new(),
            faults: BTreeSet::new(),
        };
        thread.put_in_force()?;
        let removed = known::removed(&thread.settings, &thread.plan, &before.0, &before.1);
        thread.draining.removed(removed);
        let gone = thread.services.attach(boot_now_ns())?;
        tracing::info!(
            services = thread.settings.list.len(),
            replaced = gone,
            "Services are in force, their programs are attached"
        );
        thread.test();
        Ok(thread)
    }

    /// Whether the programs see a socket of the agent's own.
    fn test(&mut self) {
        let chosen =
            |services: &Services| services.counts(SELF_TEST_SERVICE).map(|counts| counts.chosen).ok();
        let before = chosen(&self.services);
        is_served();
        self.is_tested = chosen(&self.services) > before;
        if !self.is_tested && self.settings.cgroup.is_none() {
            let fault = "the programs do not see the agent's own socket: another program may have taken it, or this is \
                         not the root of all control groups";
            tracing::error!("Services: {fault}");
            self.faults.insert(fault.to_owned());
        }
    }

    fn run(&mut self, received: &Receiver<Command>, status: &Status) {
        let (mut beaten, mut swept) = (Instant::now(), Instant::now());
        status.set_services(self.report());
        loop {
            let mut is_changed = false;
            match received.recv_timeout(TICK) {
                Ok(Command::Stop) | Err(RecvTimeoutError::Disconnected) => return,
                Ok(command) => is_changed = self.take(command),
                Err(RecvTimeoutError::Timeout) => {}
            }
            for command in received.try_iter() {
                match command {
                    Command::Stop => return,
                    command => is_changed |= self.take(command),
                }
            }
            let now_ns = boot_now_ns();
            let outcome = self.look(now_ns).and_then(|is_news| {
                let is_due = beaten.elapsed() >= BEAT;
                if is_due {
                    beaten = Instant::now();
                    self.services.beat(now_ns)?;
                }
                if swept.elapsed() >= SWEEP {
                    swept = Instant::now();
                    self.sweep(now_ns);
                }
                if is_due || is_news || is_changed {
                    self.put_in_force()?;
                }
                // What is asked for to be drained is so before anybody hears of it.
                self.drain(now_ns)?;
                if is_due || is_news || is_changed {
                    status.set_services(self.report());
                }
                Ok(())
            });
            if let Err(error) = outcome {
                tracing::error!("Services are not kept up: {}", in_full(&error));
            }
        }
    }

    /// Looks at events, breakers and windows; true when a breaker is in another state.
    fn look(&mut self, now_ns: u64) -> Result<bool, Fault> {
        let mut is_news = false;
        for event in self.services.events(EVENTS_MAX)? {
            let Some(name) = self.plan.backends.get(&u32::from(event.backend)).cloned() else { continue };
            let known = self.known.entry(name.clone()).or_default();
            match event.kind {
                EVENT_END => keep(&mut known.events, event),
                EVENT_STATE => {
                    is_news = true;
                    if event.to == State::Open as u8 {
                        known.opens += 1;
                        known.flaps.trip(now_ns);
                    }
                    self.notices.breaker(&name, &event, &known.events, now_ns);
                }
                _ => {}
            }
        }
        for (number, name) in self.plan.backends.clone() {
            let Some(settings) = self.settings.list.get(&name.0).map(|service| service.breaker) else {
                continue;
            };
            let tally = self.services.tally(number)?;
            let (breaker, order) = (self.services.breaker(number)?, self.services.order(number)?);
            let known = self.known.entry(name.clone()).or_default();
            known.tally = tally;
            known.breaker = breaker;
            known.order = order;
            known.window.take(crate::services::rates::calls(&tally), now_ns, settings.window);
            let word = Word(breaker.word).under(&order);
            if word.state() == State::Closed
                && let Some(why) = known.window.verdict(&settings)
            {
                let sum = known.window.sum();
                known.window.clear();
                known.opens += 1;
                known.flaps.trip(now_ns);
                known.order = Order { trip: stamp(now_ns).max(word.stamp() + 1), ..order };
                self.services.set_order(number, &known.order)?;
                self.notices.tripped(&name, why, sum);
                is_news = true;
            }
        }
        Ok(is_news)
    }

    /// Ejects backends that do much worse than the others of their tier, and takes back those whose time is over.
    fn sweep(&mut self, now_ns: u64) {
        for (service, settings) in &self.settings.list {
            let ejected = known::sweep(service, settings, &mut self.known, now_ns);
            for (name, until) in ejected {
                self.notices.ejected(&name, until.saturating_sub(now_ns));
            }
        }
    }

    /// Ends connections to backends that are left out, where that is wanted.
    fn drain(&mut self, now_ns: u64) -> Result<(), Fault> {
        let conditions = known::conditions(&self.settings, &self.known, now_ns);
        let left_out = known::left_out(&self.settings, &self.plan, &conditions);
        self.draining.look(left_out, &self.services, &self.notices, now_ns)
    }

    /// Brings the tables to what settings and backends say now. What is so already is left alone.
    fn put_in_force(&mut self) -> Result<(), Fault> {
        let now_ns = boot_now_ns();
        if self.hz.is_none() && self.settings.list.values().any(|service| service.syn_timeout.is_some()) {
            self.hz = jiffies_per_second();
            if self.hz.is_none() {
                self.faults
                    .insert("the kernel does not tell its tick, `syn_timeout_ms` is not used".to_owned());
            }
        }
        for (service, settings) in &self.settings.list {
            for name in known::damp(service, settings, &mut self.known, now_ns) {
                let is_suppressed = self.known.get(&name).is_some_and(|known| known.flaps.is_suppressed());
                self.notices.flaps(&name, is_suppressed);
            }
        }
        let conditions = known::conditions(&self.settings, &self.known, now_ns);
        let given = Given {
            services: &self.settings.list,
            conditions: &conditions,
            hz: self.hz.unwrap_or(0),
            seed: self.seed,
            now_ns,
            now: Timestamp::now(),
        };
        let plan = plan(&given, &mut self.numbers, &mut self.tiers);
        for number in &plan.new {
            self.services.set_breaker(*number, &Breaker::default())?;
            self.services.set_order(*number, &Order::default())?;
        }
        for (number, name) in &plan.backends {
            let order = self.services.order(*number)?;
            let (usual, mode) = (self.usual_mode(name), Mode::of(order.mode));
            if usual != mode && matches!(mode, Mode::Auto | Mode::MetricsOnly) {
                self.services.set_order(*number, &Order { mode: usual as u32, ..order })?;
            }
        }
        if self.generation == 0 || plan.tables != self.plan.tables {
            self.generation = self.services.publish(&plan.tables)?;
        }
        for (service, before) in &plan.moved {
            let now = self.tiers.get(service).and_then(|tiers| tiers.active).unwrap_or(0);
            self.notices.moved(service, *before, now);
        }
        let panics: BTreeSet<String> = plan.panics.iter().cloned().collect();
        for service in panics.difference(&self.panics) {
            self.notices.panic(service, true);
        }
        for service in self.panics.difference(&panics) {
            self.notices.panic(service, false);
        }
        self.panics = panics;
        self.known.retain(|name, known| {
            known.ordered_admin.is_some() || plan.backends.values().any(|own| own == name)
        });
        self.draining.list(known::drains(&self.settings, &plan));
        self.plan = plan;
        let wanted = Arc::new(known::targets(&self.settings, &self.known));
        self.targets.send_if_modified(|targets| {
            let is_other = *targets != wanted;
            *targets = wanted;
            is_other
        });
        Ok(())
    }

    fn report(&self) -> Serving {
        report::report(self)
    }
}

/// Keeps the newest events.
fn keep(events: &mut VecDeque<Event>, event: Event) {
    while events.len() >= EVENTS {
        events.pop_front();
    }
    events.push_back(event);
}

/// What is wanted of a backend: what somebody ordered, or what is written.
const fn admin(ordered: Option<AdminState>, written: AdminState) -> AdminState {
    match ordered {
        Some(ordered) => ordered,
        None => written,
    }
}
