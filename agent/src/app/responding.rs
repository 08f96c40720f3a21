//! Responses while the agent runs: a thread that does what rules ask for, ends it when its time is over, and tells what it
//! did.
//!
//! The detection thread hands over a match and goes on. Processes are ended here and now; what others own (the limiter, the
//! services) is asked for at their desks by a task, so that nobody waits for them. Each response is counted, noted in the
//! audit, and told as an alert of the agent's own. What is in force outlives the agent.

mod acting;
mod captures;
pub(super) mod denying;
mod keeping;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU8, AtomicU64, Ordering},
        mpsc::{Receiver, RecvTimeoutError, SyncSender},
    },
    time::{Duration, Instant},
};

use rampart_rules::response::{Action, Kind, Mode};
use serde_json::Value as Json;
use tokio::runtime::Handle;

use self::{
    captures::Captures,
    denying::{Around, Denying, Standing},
    keeping::Shelf,
};
use super::{AppError, limiting::node::now, serving, tasks::Tasks};
use crate::{
    admin::audit::Audit,
    alert::{Alert, build::Internal},
    config::{Config, Responses},
    kernel::quarantine::Quarantines,
    limits::desk::Desk as LimitsDesk,
    responses::{
        Outcome,
        book::Book,
        budget::Budget,
        desk::{Command, Desk, Match},
        guard::{Guard, own_processes},
    },
    services::desk::Desk as ServicesDesk,
    state::procfs::ProcFs,
    telemetry::{
        responses::{Recent, Responding},
        status::Status,
    },
};

/// Name of the thread.
pub(super) const RESPONSES: &str = "responses";
/// Field of an alert that names the channels to tell, separated by commas.
const NOTIFY: &str = "response.notify";
/// Time between two looks at what is over.
const BEAT: Duration = Duration::from_secs(1);

/// The detection thread's end.
#[derive(Clone)]
pub(super) struct Responder {
    desk: Desk,
    mode: Arc<AtomicU8>,
    dropped: Arc<AtomicU64>,
}

impl Responder {
    /// Hands over what an alert's rule asks for, and puts into the alert what its readers are to do.
    pub(super) fn take(&self, alert: &mut Alert) {
        let Some(order) = alert.order.take() else { return };
        let mode = mode(self.mode.load(Ordering::Relaxed)).min(order.responses.mode);
        if mode == Mode::Off {
            return;
        }
        let channels = order.responses.actions.iter().filter_map(|action| match action {
            Action::Notify { channel } => Some(channel.as_str()),
            _ => None,
        });
        let channels = channels.collect::<Vec<_>>().join(",");
        if mode == Mode::Enforce && !channels.is_empty() {
            alert.fields.insert(NOTIFY.to_owned(), Json::from(channels));
        }
        let matched = Match { rule: alert.rule.clone(), alert: alert.uuid, time_ns: alert.time_ns, order };
        // Full policy: drop, and count.
        if !self.desk.tell(Command::Do(Box::new(matched))) {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

const fn mode(number: u8) -> Mode {
    match number {
        2 => Mode::Enforce,
        1 => Mode::Observe,
        _ => Mode::Off,
    }
}

/// Whom it asks, and whom it tells.
pub(super) struct Others {
    pub(super) limits: Option<LimitsDesk>,
    pub(super) services: Option<ServicesDesk>,
    pub(super) notices: SyncSender<Internal>,
    /// The configuration that a recorder is given.
    pub(super) config_file: PathBuf,
    /// What refusing operations needs.
    pub(super) around: Around,
}

/// Whom the thread asks, and whom it tells.
struct Asked {
    limits: Option<LimitsDesk>,
    services: Option<ServicesDesk>,
    notices: SyncSender<Internal>,
}

/// Starts the thread.
pub(super) fn start(
    config: &Config,
    (desk, received): (Desk, Receiver<Command>),
    others: Others,
    tasks: &mut Tasks,
    status: &Arc<Status>,
) -> Result<Responder, AppError> {
    let mode = Arc::new(AtomicU8::new(config.responses.mode as u8));
    let responder = Responder { desk: desk.clone(), mode: Arc::clone(&mode), dropped: Arc::default() };
    let mut thread = Thread::new(config, others, (desk, responder.clone()), Handle::current());
    let status = Arc::clone(status);
    tasks
        .thread(RESPONSES, move || {
            thread.begin();
            thread.run(&received, &status);
            Ok(())
        })
        .map_err(|source| AppError::System { operation: "start a thread", source })?;
    Ok(responder)
}

struct Thread {
    settings: Responses,
    guard: Guard,
    budget: Budget,
    book: Book,
    shelf: Shelf,
    proc: ProcFs,
    cgroup_root: Option<PathBuf>,
    quarantines: Quarantines,
    captures: Captures,
    denying: Denying,
    others: Asked,
    desk: Desk,
    responder: Responder,
    runtime: Handle,
    audit: Audit,
    counts: BTreeMap<(Kind, Outcome), u64>,
    recent: Recent,
}

impl Thread {
    fn new(config: &Config, others: Others, (desk, responder): (Desk, Responder), runtime: Handle) -> Self {
        let proc = ProcFs::default();
        let settings = config.responses.clone();
        let state: &Path = &config.node.state_dir;
        Self {
            guard: Guard::new(&settings, own_processes(|pid| proc.parent(pid))),
            budget: Budget::default(),
            book: Book::default(),
            shelf: Shelf::new(state),
            proc,
            cgroup_root: config.services.cgroup.clone().or_else(serving::unified_root),
            quarantines: Quarantines::new(&settings.pin_dir),
            captures: Captures::new(state, &others.config_file),
            denying: Denying::new(others.around),
            audit: Audit::new(state),
            settings,
            others: Asked { limits: others.limits, services: others.services, notices: others.notices },
            desk,
            responder,
            runtime,
            counts: BTreeMap::new(),
            recent: Recent::default(),
        }
    }

    fn run(&mut self, received: &Receiver<Command>, status: &Status) {
        let mut due = Instant::now();
        loop {
            match received.recv_timeout(due.saturating_duration_since(Instant::now())) {
                Ok(Command::Do(matched)) => self.respond(&matched),
                Ok(Command::Told(told)) => self.told(*told),
                Ok(Command::Change(settings)) => {
                    self.settings = *settings;
                    self.guard.change(&self.settings);
                    self.denying.forget_groups();
                    self.refresh();
                    self.responder.mode.store(self.settings.mode as u8, Ordering::Relaxed);
                }
                Ok(Command::Rules(rules)) => {
                    self.denying.rules(rules);
                    self.refresh();
                }
                Ok(Command::Observed { rule, target }) => self.observed(&rule, target),
                Ok(Command::Unknown(pid)) => {
                    // One that is gone by now needs nothing.
                    let _ = self.denying.tell(pid, &self.proc);
                }
                Ok(Command::Group { id, namespace }) => {
                    let is_protected = self.guard.namespace(namespace.as_deref()).is_some();
                    self.denying.group(id, is_protected);
                }
                Ok(Command::Ask(ask, answer)) => self.answer(ask, answer),
                Err(RecvTimeoutError::Timeout) => {}
                Ok(Command::Stop) | Err(RecvTimeoutError::Disconnected) => {
                    self.captures.end();
                    return;
                }
            }
            if Instant::now() >= due {
                due = Instant::now() + BEAT;
                self.expire();
                if let Some((file, outcome)) = self.captures.look() {
                    tracing::info!(file = %file.display(), outcome, "A capture has ended");
                }
            }
            status.set_responses(self.report());
        }
    }

    fn report(&self) -> Responding {
        let now = now();
        Responding {
            mode: self.settings.mode,
            per_minute: self.settings.per_minute,
            counts: self.counts.clone(),
            dropped: self.responder.dropped.load(Ordering::Relaxed),
            in_force: self.book.iter().map(|doing| self.shown(doing, now)).collect(),
            recent: self.recent.clone(),
            deny: self.denying.page(self.standing()),
        }
    }

    /// How far refusing goes.
    fn standing(&self) -> Standing<'_> {
        Standing { mode: self.settings.mode, guard: &self.guard, book: &self.book }
    }

    /// Has the kernel refuse what it is to refuse now.
    pub(super) fn refresh(&mut self) {
        let standing = Standing { mode: self.settings.mode, guard: &self.guard, book: &self.book };
        self.denying.refresh(standing, &self.proc);
    }
}
