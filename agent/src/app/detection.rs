//! The detection thread: ring → detector → outputs. The one owner of the detector; others reach it by command.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{Receiver, TryRecvError},
    },
    time::{Duration, Instant},
};

use rampart_common::{
    counter::FamilyCounters,
    event::{FAMILY_COUNT, Family, SyscallPlan},
};
use rampart_rules::{event_set::EventSet, rule::RuleSet};
use tokio::sync::oneshot;

use super::{
    budgeting::Budgeting,
    enrich::Enrich,
    ports::{Hooks, Records},
    pushing::Pushing,
    refusing::Refusing,
    responding::Responder,
    settle::Settle,
};
use crate::{
    alert::{Alert, INTERNAL_SOURCE, JsonOptions, build::Internal},
    config::Format,
    engine::{Detector, accounting::Counters, clock::boot_now_ns},
    event::syscall::{self, Need},
    kernel::{Incoming, KernelError},
    output::{Fanout, Message},
    policy::Bundle,
    pushdown::Plan,
    telemetry::{
        ready::Latch,
        status::{self, RuleMatches, Status},
    },
};

/// Time between heartbeats.
pub(super) const BEAT: Duration = Duration::from_secs(1);
/// Rounds a thread may take to empty the ring at the end; each hands out thousands of records, and the
/// programs are still attached and may go on filling it.
pub(super) const LAST_ROUNDS: u32 = 64;

/// What the thread is told.
pub(super) enum Command {
    /// Replace the rules, and what the kernel judges by; answered when it is done.
    Swap(Box<Bundle>, Option<Arc<Plan>>, oneshot::Sender<()>),
    /// Replace the rules by the same ones with other members of their lists; answered when it is done.
    Renew(Arc<RuleSet>, Option<Arc<Plan>>, oneshot::Sender<()>),
    /// Let the kernel judge by this: the plan without the rules that are to be left out.
    Replan(Arc<Plan>),
    /// Take what is in the ring and end.
    Stop,
}

/// Hooks shared with the thread, which reads the counters itself: only then are the counters never older than
/// the records it has seen, and no loss looks unexplained.
pub(super) type SharedHooks = Arc<Mutex<dyn Hooks>>;

/// Everything the thread owns.
pub(super) struct Detection<R> {
    /// Where records come from.
    pub(super) records: R,
    /// Where counters come from.
    pub(super) hooks: SharedHooks,
    /// The detector.
    pub(super) detector: Detector,
    /// What the kernel judges by.
    pub(super) pushing: Pushing,
    /// Which rules are left out.
    pub(super) budgeting: Budgeting,
    /// Where it learns about containers.
    pub(super) enrich: Enrich,
    /// Commands; bounded, the sender waits.
    pub(super) commands: Receiver<Command>,
    /// What other threads have to say; bounded, the sender drops and counts.
    pub(super) notices: Receiver<Internal>,
    /// Where it is told what rules ask for.
    pub(super) responder: Responder,
    /// What the kernel refuses.
    pub(super) refusing: Refusing,
    /// Where alerts go.
    pub(super) fanout: Fanout,
    /// Where the heartbeat is written.
    pub(super) status: Arc<Status>,
}

/// What the alerts added up to.
struct Sink {
    responder: Responder,
    fanout: Fanout,
    status: Arc<Status>,
    alerts: u64,
    matches: HashMap<String, RuleMatches>,
}

impl<R: Records> Detection<R> {
    /// Runs until told to stop, until every sender of commands is gone, or until the ring fails.
    pub(super) fn run(self) -> Result<(), KernelError> {
        let Self { mut records, hooks, mut detector, mut pushing, .. } = self;
        let Self {
            mut budgeting,
            mut enrich,
            commands,
            notices,
            responder,
            mut refusing,
            fanout,
            status,
            ..
        } = self;
        let mut sink =
            Sink { responder, fanout, status: Arc::clone(&status), alerts: 0, matches: HashMap::new() };
        let mut settle = Settle::default();
        let mut next_beat = Instant::now();
        loop {
            let now = Instant::now();
            if now >= next_beat {
                budgeting.look(&mut detector, boot_now_ns(), &mut |alert| sink.take(alert));
                say(&notices, &mut detector, &mut sink);
                beat(&hooks, &mut detector, (&pushing, &budgeting), &mut sink, &mut settle, &status)?;
                next_beat = now + BEAT;
            }
            enrich.exchange(&mut detector, &mut |alert| sink.take(alert));
            refusing.look(&mut records, &mut detector);
            records.wait(until(next_beat, &detector))?;
            drain(&mut records, &mut detector, (&refusing, &mut sink))?;
            enrich.exchange(&mut detector, &mut |alert| sink.take(alert));
            pushing.carry(&hooks, &mut detector)?;
            match commands.try_recv() {
                Ok(Command::Swap(bundle, plan, done)) => {
                    // The programs judge by the new rules from here on. What they judged by the old ones and is in the
                    // ring still is tried on all of the new.
                    detector.set_trading(bundle.trading);
                    detector.swap(bundle.rules, Some(bundle.digest));
                    pushing.put(&hooks, &mut detector, plan)?;
                    budgeting.rules_changed(&detector);
                    // Nobody waiting for the answer changes nothing.
                    let _ = done.send(());
                }
                Ok(Command::Renew(rules, plan, done)) => {
                    detector.renew(rules);
                    pushing.put(&hooks, &mut detector, plan)?;
                    let _ = done.send(());
                }
                Ok(Command::Replan(plan)) => {
                    if budgeting.awaits(&plan, &detector) {
                        pushing.put(&hooks, &mut detector, Some(plan))?;
                        budgeting.in_force(&mut detector);
                    }
                }
                Ok(Command::Stop) | Err(TryRecvError::Disconnected) => break,
                Err(TryRecvError::Empty) => {}
            }
        }
        for _ in 0..LAST_ROUNDS {
            if drain(&mut records, &mut detector, (&refusing, &mut sink))? == 0 {
                break;
            }
        }
        detector.on_end(boot_now_ns(), &mut |alert| sink.take(alert));
        say(&notices, &mut detector, &mut sink);
        beat(&hooks, &mut detector, (&pushing, &budgeting), &mut sink, &mut settle, &status)
    }
}

/// Time until the next heartbeat, or until an event has waited long enough.
pub(super) fn until(next_beat: Instant, detector: &Detector) -> Duration {
    let beat = next_beat.saturating_duration_since(Instant::now());
    let wait = detector.deadline_ns().map(|at| Duration::from_nanos(at.saturating_sub(boot_now_ns())));
    wait.map_or(beat, |wait| wait.min(beat))
}

fn drain(
    records: &mut impl Records,
    detector: &mut Detector,
    (refusing, sink): (&Refusing, &mut Sink),
) -> Result<usize, KernelError> {
    records.drain(&mut |incoming| match incoming {
        Incoming::Event(bytes) => detector.on_record(bytes, &mut |alert| sink.take(alert)),
        Incoming::Answer(message) => detector.on_answer(message, boot_now_ns()),
        Incoming::Notice(bytes) => refusing.notice(bytes, detector, &mut |alert| sink.take(alert)),
    })
}

/// Makes alerts of what other threads have to say.
fn say(notices: &Receiver<Internal>, detector: &mut Detector, sink: &mut Sink) {
    for notice in notices.try_iter() {
        sink.take(detector.internal(notice, boot_now_ns()));
    }
}

/// Compares the kernel's counters with what arrived, and publishes how things are.
fn beat(
    hooks: &SharedHooks,
    detector: &mut Detector,
    (pushing, budgeting): (&Pushing, &Budgeting),
    sink: &mut Sink,
    settle: &mut Settle,
    status: &Status,
) -> Result<(), KernelError> {
    let counted = hooks.lock().unwrap_or_else(PoisonError::into_inner).counters()?;
    let counters = by_family(&counted);
    // The ring is never known to be empty while programs run, so records on their way are not held against it.
    detector.on_counters(&counters, false, boot_now_ns(), &mut |alert| sink.take(alert));
    let counts = detector.stats();
    let evictions = counts.evictions;
    let mut matches: Vec<RuleMatches> = sink.matches.values().cloned().collect();
    matches.sort_by(|one, other| one.rule.cmp(&other.rule));
    status.set_detection(status::Detection {
        beat: Some(Instant::now()),
        records: counts.received,
        decode_errors: counts.decode_errors,
        evaluated: counts.evaluated,
        alerts: sink.alerts,
        matches,
        families: settle.families(&counted),
        processes: counts.processes as u64,
        evictions: evictions.exited + evictions.living,
        gaps: counts.gaps,
        containers: counts.containers,
        waits: counts.waits,
        judged: counts.push,
        windows: counts.windows,
        pushdown: pushing.counts(),
        usage: Arc::new(detector.usage()),
        budgets: budgeting.standing(),
        shed: Arc::clone(detector.shed()),
    });
    status.latches.release(Latch::Detection);
    Ok(())
}

/// Counters in the order of the families.
pub(super) fn by_family(counted: &[(Family, FamilyCounters)]) -> Counters {
    let mut counters = [FamilyCounters::default(); FAMILY_COUNT];
    for (family, count) in counted {
        if let Some(slot) = counters.get_mut(*family as usize) {
            *slot = *count;
        }
    }
    counters
}

impl Sink {
    fn take(&mut self, mut alert: Alert) {
        // First of all: what is to be stopped goes on meanwhile.
        self.responder.take(&mut alert);
        self.alerts += 1;
        if alert.source != INTERNAL_SOURCE {
            if let Some(known) = self.matches.get_mut(&alert.rule) {
                known.count += 1;
                known.priority = alert.priority as u8;
            } else {
                let first = RuleMatches {
                    rule: alert.rule.clone(),
                    priority: alert.priority as u8,
                    source: alert.source.clone(),
                    tags: alert.tags.clone().unwrap_or_default(),
                    count: 1,
                };
                self.matches.insert(alert.rule.clone(), first);
            }
        }
        let alert = Arc::new(alert);
        self.status.recent.keep(Arc::clone(&alert));
        let line: Arc<dyn Message> = alert;
        self.fanout.send(&line);
    }
}

impl Message for Alert {
    fn append(&self, format: Format, out: &mut Vec<u8>) {
        let text = match format {
            Format::Text => self.text(),
            Format::Json => self.json(JsonOptions::default()),
        };
        out.extend_from_slice(text.as_bytes());
    }

    fn alert(&self) -> Option<&Alert> {
        Some(self)
    }
}

/// A rule on more event types than this is on "everything": it does not ask for the most frequent calls.
const FEW_EVENTS: usize = 100;

/// The table of every call that carries details and is not too frequent, and of those that a set of rules names.
pub(super) fn wanted_all(policy: &RuleSet) -> Vec<(u32, SyscallPlan)> {
    let named: Vec<u32> = wanted(&[policy]).into_iter().map(|(number, _)| number).collect();
    syscall::wanted(|row| {
        row.need != Need::NamedByRule || row.number.is_some_and(|number| named.contains(&number))
    })
}

/// The table of calls that a set of rules and the process table need.
pub(crate) fn wanted(policies: &[&RuleSet]) -> Vec<(u32, SyscallPlan)> {
    let union = |few: bool| {
        let rules = policies.iter().flat_map(|policy| policy.rules());
        let asking = rules.filter(|rule| !few || rule.events.len() <= FEW_EVENTS);
        asking.fold(EventSet::EMPTY, |all, rule| all.union(&rule.events))
    };
    let (any, named) = (union(false), union(true));
    syscall::wanted(|row| match row.need {
        Need::State => true,
        Need::Rule => any.contains(row.event),
        Need::NamedByRule => named.contains(row.event),
    })
}

/// Whether a rule asks for the host name of an address.
pub(super) fn needs_names(policies: &[&RuleSet]) -> bool {
    policies.iter().flat_map(|policy| policy.rules()).any(|rule| rule.uses(Detector::is_host_name))
}
