//! The running agent: answers signals, reloads rules, notices tasks that end, and shuts down in order.

use std::{
    sync::{
        Arc, PoisonError,
        mpsc::{SyncSender, TrySendError},
    },
    time::{Duration, SystemTime},
};

use rampart_rules::{
    rule::{Rule, RuleSet},
    set::Sets,
};
use tokio::{
    sync::{oneshot, watch},
    task::AbortHandle,
    time::{MissedTickBehavior, interval, timeout},
};

use super::{
    AppError,
    bundling::Bundling,
    detection::{Command, SharedHooks, needs_names, wanted},
    footprint, limiting,
    lists::Lists,
    ports::Wake,
    responding, serving,
    tasks::Tasks,
    working::JOBS,
};
use crate::{
    drain::{Grace, Phase, Request, Signals},
    engine::shed::Shed,
    event::syscall,
    jobs::Line,
    limits::desk::{self, Desk},
    output::Fanout,
    policy::{
        Bundle,
        reload::{Reload, Reloader},
    },
    pushdown::Plan,
    responses::desk as responses_desk,
    services::desk as serving_desk,
    telemetry::status::{Fault, Status},
};

/// Time between two looks at the rule files; a change counts at the second look after it.
const LOOK: Duration = Duration::from_secs(1);
/// Time the detection thread has to take new rules: it answers after one batch of events.
const SWAP_MAX: Duration = Duration::from_secs(10);
/// Time the HTTP server has for answers under way.
const ADMIN_MAX: Duration = Duration::from_secs(1);

/// Time the way to the collector has to hand over the last alerts.
const UPLINK_MAX: Duration = Duration::from_secs(2);
/// Time the threads of limits, services and responses have to see that the agent ends.
const LIMITS_MAX: Duration = Duration::from_secs(2);

/// Names of the tasks; outputs are named after themselves.
pub(super) const DETECTION: &str = "detection";
pub(super) const ADMIN: &str = "admin";
pub(super) const UPLINK: &str = "uplink";

/// The running agent.
pub(super) struct Supervisor {
    pub(super) hooks: SharedHooks,
    pub(super) waker: Arc<dyn Wake>,
    pub(super) commands: SyncSender<Command>,
    pub(super) limits: Option<Desk>,
    pub(super) services: Option<serving_desk::Desk>,
    pub(super) responses: responses_desk::Desk,
    pub(super) fanout: Fanout,
    pub(super) outputs: Vec<&'static str>,
    pub(super) status: Arc<Status>,
    pub(super) reloader: Reloader,
    pub(super) bundling: Bundling,
    /// Where jobs come from; `None` when the collector may ask for none.
    pub(super) jobs: Option<Arc<Line>>,
    pub(super) bundle: Bundle,
    pub(super) lists: Lists,
    /// Rules that the kernel is to take for not there.
    pub(super) replan: watch::Receiver<Arc<Shed>>,
    pub(super) tasks: Tasks,
    pub(super) stop_uplink: watch::Sender<bool>,
    pub(super) admin: Option<AbortHandle>,
    pub(super) stop_admin: watch::Sender<bool>,
}

impl Supervisor {
    /// Runs until a stop is asked for, or until a task ends that should not.
    pub(super) async fn supervise(&mut self, signals: &mut Signals) -> Result<(), AppError> {
        let mut look = interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                request = signals.next() => match request {
                    Request::Stop => return Ok(()),
                    Request::Reload => {
                        tracing::info!("Reload asked for");
                        self.reload().await;
                    }
                    Request::Reopen => self.fanout.reopen(),
                },
                end = self.tasks.next_end() => {
                    return Err(AppError::Ended { task: end.task, source: end.cause });
                }
                Ok(()) = self.replan.changed() => self.replan(),
                offer = self.bundling.next() => self.take(offer).await,
                sets = self.lists.changed() => self.renew(sets).await,
                _ = look.tick() => {
                    if self.reloader.changed() {
                        tracing::info!("Configuration or rules have changed");
                        self.reload().await;
                    }
                }
            }
        }
    }

    /// Loads and puts in force, or keeps everything as it was and says why.
    pub(super) async fn reload(&mut self) {
        let outcome = match self.reloader.load() {
            Ok(reload) => self.put_in_force(reload).await.map_err(|error| super::in_full(&error)),
            Err(error) => Err(error.to_string()),
        };
        match outcome {
            Ok(bundle) => {
                tracing::info!(rules = bundle.rules.rules().len(), digest = %bundle.digest, "New rules are in force");
                publish(&self.status, &bundle);
                self.status.update_policy(|policy| policy.reloads += 1);
                footprint::lower_soon();
            }
            Err(text) => {
                for line in text.lines() {
                    tracing::error!("{line}");
                }
                tracing::error!("Reload failed, the rules before it stay in force");
                self.status.update_policy(|policy| {
                    policy.failures += 1;
                    policy.fault = Some(Fault { time: SystemTime::now(), text });
                });
            }
        }
    }

    /// Widens what the kernel sends to both rule sets, swaps, then narrows it: no event is missed in between.
    pub(super) async fn put_in_force(&mut self, reload: Reload) -> Result<Bundle, AppError> {
        for warning in &reload.warnings {
            tracing::warn!("{warning}");
        }
        for section in &reload.waiting {
            tracing::warn!(section, "Changed setting takes effect at the next start");
        }
        let new = Arc::clone(&reload.bundle.rules);
        self.set_wanted(&[&self.bundle.rules, &new])?;
        if let Err(error) = self.swap(&reload.bundle).await {
            // The thread has the old rules still; what it no longer needs costs time, not alerts.
            self.set_wanted(&[&self.bundle.rules])?;
            return Err(error);
        }
        self.bundle = reload.bundle.clone();
        if let Some(limits) = &self.limits {
            // Full policy: refuse. The thread takes one a second at the least, and the rules are in force by now.
            if !limits.tell(desk::Command::Change(Box::new(reload.limits.clone()))) {
                tracing::error!("Rate limits stay as they are, their thread does not answer");
            }
        }
        if let Some(services) = &self.services {
            let change = serving_desk::Command::Change(Box::new(reload.services.clone()));
            if !services.tell(change) {
                tracing::error!("Services stay as they are, their thread does not answer");
            }
        }
        self.tell_rules(&new);
        let change = responses_desk::Command::Change(Box::new(reload.responses.clone()));
        if !self.responses.tell(change) {
            tracing::error!("Responses stay as they are, their thread does not answer");
        }
        self.set_wanted(&[&self.bundle.rules])?;
        let bundle = self.reloader.accept(reload);
        self.lists.set(self.reloader.lists());
        Ok(bundle)
    }

    /// Puts other members of lists in force. What is left out of the rules stays so.
    async fn renew(&mut self, sets: Sets) {
        // Those of lists that the configuration had before are followed by those of now.
        let is_known = sets.iter().map(|set| set.name()).eq(self.reloader.lists().keys());
        if sets == self.bundle.sets || !is_known {
            return;
        }
        let bundle = match self.reloader.renew(&self.bundle, sets) {
            Ok(bundle) => bundle,
            Err(error) => {
                return tracing::error!("Lists stay as they are, the rules do not load with them: {error}");
            }
        };
        let shed = Arc::clone(&self.replan.borrow());
        let plan = self.reloader.pushdown();
        let plan = plan.then(|| Arc::new(Plan::without(Arc::clone(&bundle.rules), 1, shed)));
        let (done, answer) = oneshot::channel();
        match self.order(Command::Renew(Arc::clone(&bundle.rules), plan, done), answer).await {
            Ok(()) => {
                self.bundle = bundle;
                self.tell_rules(&self.bundle.rules);
                tracing::info!("Lists have other members, the rules look into them");
            }
            Err(error) => tracing::error!("Lists stay as they are: {}", super::in_full(&error)),
        }
    }

    /// Tells who has operations refused of other rules.
    fn tell_rules(&self, rules: &Arc<RuleSet>) {
        let rules = responses_desk::Command::Rules(Arc::clone(rules));
        if !self.responses.tell(rules) {
            tracing::error!(
                "Operations are refused by the rules of before, the thread of responses does not answer"
            );
        }
    }

    async fn swap(&self, bundle: &Bundle) -> Result<(), AppError> {
        let (done, answer) = oneshot::channel();
        let plan = self.reloader.pushdown().then(|| Arc::new(Plan::new(Arc::clone(&bundle.rules), 1)));
        self.order(Command::Swap(Box::new(bundle.clone()), plan, done), answer).await
    }

    /// Tells the detection thread, and waits until it has done so.
    async fn order(&self, command: Command, answer: oneshot::Receiver<()>) -> Result<(), AppError> {
        // Full policy: refuse. One change at a time is sent, so a full queue means a thread that does not answer.
        match self.commands.try_send(command) {
            Ok(()) => {}
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => return Err(AppError::Busy),
        }
        self.waker.wake();
        match timeout(SWAP_MAX, answer).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(AppError::Busy),
        }
    }

    /// Has the kernel judge by the same rules without those that are left out.
    fn replan(&mut self) {
        let shed = Arc::clone(&self.replan.borrow_and_update());
        let plan = Arc::new(Plan::without(Arc::clone(&self.bundle.rules), 1, shed));
        // A thread that does not answer asks again when it does.
        if self.commands.try_send(Command::Replan(plan)).is_ok() {
            self.waker.wake();
        }
    }

    fn set_wanted(&self, rules: &[&RuleSet]) -> Result<(), AppError> {
        let mut hooks = self.hooks.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(fault) = hooks.see_names(needs_names(rules)) {
            tracing::warn!("Host names of addresses are not seen: {}", super::in_full(&fault));
        }
        hooks.set_wanted(&wanted(rules)).map_err(AppError::Kernel)
    }

    /// Stops intake, drains the engine, lets the outputs finish, ends the server; the programs are detached when
    /// the last owner of the hooks is gone. Fails when the grace is over before everything is handed over.
    pub(super) async fn shut_down(self, limit: Duration) -> Result<(), AppError> {
        let Self { hooks, waker, commands, limits, services, responses, fanout, outputs, jobs, .. } = self;
        let Self { mut tasks, stop_uplink, admin, stop_admin, .. } = self;
        let grace = Grace::start(limit);
        if let Err(error) = hooks.lock().unwrap_or_else(PoisonError::into_inner).set_wanted(&[]) {
            tracing::warn!("Intake could not be stopped before the drain: {}", super::in_full(&error));
        }
        // A thread that ended early needs no command.
        let _ = commands.try_send(Command::Stop);
        drop(commands);
        waker.wake();
        if let Some(limits) = limits {
            // A thread whose queue is full sees its end as well.
            let _ = limits.tell(desk::Command::Stop);
        }
        if let Some(services) = services {
            let _ = services.tell(serving_desk::Command::Stop);
        }
        if let Some(jobs) = jobs {
            // A job that runs is ended, and asked for again.
            jobs.close();
        }
        let mut late = None;
        if !tasks.ended(&[DETECTION], grace.left()).await {
            late = late.or(Some(Phase::Engine));
        }
        // It only counts; what it has in force stays.
        let _ = tasks.ended(&[limiting::LIMITS, serving::SERVICES], LIMITS_MAX).await;
        // After the detector, whose last matches it does.
        let _ = responses.tell(responses_desk::Command::Stop);
        let _ = tasks.ended(&[responding::RESPONSES, JOBS], LIMITS_MAX).await;
        drop(fanout);
        if !tasks.ended(&outputs, grace.left()).await {
            late = late.or(Some(Phase::Outputs));
        }
        // After the outputs: the spool has everything by now, and what does not get through stays in it.
        let _ = stop_uplink.send(true);
        let _ = tasks.ended(&[UPLINK], UPLINK_MAX).await;
        let _ = stop_admin.send(true);
        if !tasks.ended(&[ADMIN], ADMIN_MAX).await
            && let Some(admin) = admin
        {
            // A client that keeps its connection busy must not hold the agent.
            admin.abort();
        }
        drop(hooks);
        match late {
            None => Ok(()),
            Some(phase) => Err(AppError::Grace { phase: phase.name(), secs: limit.as_secs() }),
        }
    }
}

/// Tells the status which rules are in force.
pub(super) fn publish(status: &Status, bundle: &Bundle) {
    for rule in bundle.rules.rules().iter().filter(|rule| !can_fire(rule)) {
        tracing::warn!(rule = rule.name, "Rule cannot fire, none of its events are captured");
    }
    status.update_policy(|policy| {
        policy.digest = bundle.digest.to_string();
        policy.rules = bundle.rules.rules().len();
        policy.sources.clone_from(&bundle.files);
        policy.texts = Arc::clone(&bundle.texts);
        policy.loaded = Some(SystemTime::now());
        policy.fault = None;
    });
}

/// Whether the kernel side sends any event the rule is about.
fn can_fire(rule: &Rule) -> bool {
    rule.events.iter().any(syscall::deliverable)
}
