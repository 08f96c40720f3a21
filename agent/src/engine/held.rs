//! Events that wait for what is known of their container.
//!
//! A container's metadata comes a few milliseconds after its first event, and so does the digest of an executable that
//! was not read yet. An event that a rule cannot judge without
//! it, or whose alert would show it, is kept with the value of every field those rules ask for, because the state
//! moves on meanwhile; it is judged anew when the metadata is there or the longest wait is over. Bounded by number
//! and by bytes; when there is no room an event is judged at once, without metadata, and its alert says so.

mod kept;

use std::{collections::VecDeque, sync::Arc};

use rampart_common::event::Family;
use rampart_rules::{
    catalog::{FieldId, ids},
    output::OutputFormat,
    response::Responses,
    rule::{Rule, RuleId, RuleSet},
    typed::{Arg, FieldUse, Right},
    value::{FieldArg, FieldSource, Truth, Value},
    window::Earlier,
};

use self::kept::Kept;
pub(super) use self::kept::Replay;
use super::fields::{self, EventFields, Facts};
use crate::{
    alert::{Wait, WaitOutcome, build::Style},
    event::{ProcessId, syscall::Row},
    state::{
        State,
        cgroup::Container,
        container::table::{Known, KnownNames},
        digest::{FileVersion, KnownDigest},
    },
    trading::Trading,
};

/// Events kept at most.
const EVENTS_MAX: usize = 1024;
/// How long a digest may come after an event was judged without it.
const LATE_NS: u64 = 30_000_000_000;
/// Bytes kept at most.
const BYTES_MAX: usize = 16 << 20;

/// Counters of waits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Waits {
    /// Events waiting now.
    pub waiting: u64,
    /// Waits that ended, by [`WaitOutcome`].
    pub ended: [u64; WaitOutcome::ALL.len()],
}

/// One event that waits.
pub(super) struct Waiting {
    /// Whose metadata it waits for.
    pub(super) container: Option<Arc<Container>>,
    /// Whose digest it waits for.
    pub(super) digest: Option<Box<FileVersion>>,
    /// It was judged once, without the digest.
    pub(super) is_late: bool,
    pub(super) process: ProcessId,
    pub(super) cgroup_id: u64,
    /// Thread and result of the call.
    pub(super) tid: u32,
    pub(super) ret: i64,
    pub(super) family: Family,
    pub(super) time_ns: u64,
    /// The rules it is judged by, also after a reload.
    pub(super) policy: Arc<RuleSet>,
    pub(super) policy_digest: Option<Arc<str>>,
    /// What the fields of trading are, for these rules.
    pub(super) trading: Option<Arc<Trading>>,
    pub(super) views: Vec<View>,
}

/// What one view of the event asks.
pub(super) struct View {
    /// Rules that may match, in order.
    pub(super) rules: Vec<RuleId>,
    pub(super) values: Kept,
    /// What the kernel had counted before the event, by the rules that it was counted for.
    earlier: Vec<(RuleId, Earlier)>,
}

impl View {
    /// What was counted before the event for a rule.
    pub(super) fn earlier(&self, rule: RuleId) -> Earlier {
        self.earlier.iter().find(|(of, _)| *of == rule).map(|(_, earlier)| *earlier).unwrap_or_default()
    }
}

impl Waiting {
    /// Keeps what was counted before the event for the rules that may match it.
    pub(super) fn keep_earlier(&mut self, earlier: impl Fn(&Rule) -> Earlier) {
        for view in &mut self.views {
            let rules = view.rules.iter().filter_map(|id| self.policy.rule(*id));
            let counted = rules.map(|rule| (rule.id, earlier(rule)));
            view.earlier = counted.filter(|(_, earlier)| *earlier != Earlier::default()).collect();
        }
    }

    fn bytes(&self) -> usize {
        self.views.iter().map(|view| view.values.bytes()).sum()
    }
}

/// The event with all that is needed to judge it later, when a rule or an alert depends on what is not known of its
/// container yet. Rules count whose position `among` accepts.
pub(super) fn waiting(
    facts: &Facts<'_>,
    row: &Row,
    views: &[fields::View],
    (policy, trading): (&Arc<RuleSet>, Option<&Arc<Trading>>),
    style: &Style,
    among: impl Fn(usize) -> bool,
) -> Option<Waiting> {
    let (container, digest) = (facts.pending_container(), facts.pending_digest());
    if container.is_none() && digest.is_none() {
        return None;
    }
    let suffix = style.suffix.as_ref();
    let mut waits = false;
    let mut undecided = Vec::new();
    for view in views {
        let source = EventFields::new(facts, *view);
        let mut rules = Vec::new();
        policy.evaluate_among(row.event, &source, &among, |rule, truth| {
            rules.push(rule.id);
            let unknown = |(field, arg): (FieldId, &Arg)| source.field(field, arg.as_ref()) == Value::Unknown;
            // What a namespace protects must be known before something is done.
            let place = rule.responses.is_some().then_some((ids::K8S_NS_NAME, &Arg::None));
            waits = waits || truth == Truth::Unknown || shown(rule, suffix).chain(place).any(unknown);
        });
        undecided.push((source, rules));
    }
    waits.then(|| Waiting {
        container: container.cloned(),
        digest: digest.map(Box::new),
        is_late: false,
        process: facts.process_id(),
        cgroup_id: facts.cgroup_id(),
        tid: facts.call().0,
        ret: facts.call().1,
        family: row.family,
        time_ns: facts.time_ns(),
        policy: Arc::clone(policy),
        policy_digest: style.policy_digest.clone(),
        trading: trading.cloned(),
        views: undecided
            .into_iter()
            .map(|(source, rules)| view((policy, trading), rules, suffix, &source))
            .collect(),
    })
}

/// Keeps the value of every field that these rules and their outputs ask for.
fn view<S: FieldSource>(
    (policy, trading): (&RuleSet, Option<&Arc<Trading>>),
    rules: Vec<RuleId>,
    suffix: Option<&OutputFormat>,
    source: &S,
) -> View {
    let mut values = Kept::default();
    for field in [ids::EVT_TYPE, ids::USER_UID, ids::GROUP_GID] {
        values.keep(field, &Arg::None, source);
    }
    for rule in rules.iter().filter_map(|id| policy.rule(*id)) {
        rule.condition.for_each_test(&mut |test| {
            let mut keep = |used: &FieldUse| values.keep(used.id, &used.arg, source);
            test.left.for_each_field(&mut keep);
            if let Right::Source(right) = &test.right {
                right.for_each_field(&mut keep);
            }
        });
        for (field, arg) in shown(rule, suffix) {
            values.keep(field, arg, source);
        }
        if let Some(window) = &rule.window {
            window.for_each_field(&mut |used| values.keep(used.id, &used.arg, source));
        }
        if rule.responses.is_some() {
            for field in Responses::FIELDS {
                values.keep(field, &Arg::None, source);
            }
        }
    }
    // A role is made of these.
    if let Some(trading) = trading {
        trading.for_each_role_field(&mut |used| values.keep(used.id, &used.arg, source));
    }
    View { rules, values, earlier: Vec::new() }
}

fn shown<'r>(rule: &'r Rule, suffix: Option<&'r OutputFormat>) -> impl Iterator<Item = (FieldId, &'r Arg)> {
    let formats = std::iter::once(&rule.output).chain(suffix);
    formats.flat_map(OutputFormat::fields).map(|field| (field.field, &field.arg))
}

/// The queue.
#[derive(Default)]
pub(super) struct Held {
    queue: VecDeque<Waiting>,
    /// Events that were judged without a digest that may still come.
    late: VecDeque<Waiting>,
    bytes: usize,
    wait_ns: u64,
    ended: [u64; WaitOutcome::ALL.len()],
}

impl Held {
    pub(super) fn new(wait_ns: u64) -> Self {
        Self { wait_ns, ..Self::default() }
    }

    /// Keeps an event, or gives it back for want of room.
    pub(super) fn push(&mut self, waiting: Waiting) -> Result<(), Waiting> {
        let bytes = waiting.bytes();
        if self.wait_ns == 0 || self.queue.len() >= EVENTS_MAX || self.bytes + bytes > BYTES_MAX {
            return Err(waiting);
        }
        self.bytes += bytes;
        self.queue.push_back(waiting);
        Ok(())
    }

    /// Keeps an event that was judged once, for the rules that ask for a digest; without room it is judged for good.
    pub(super) fn push_late(&mut self, waiting: Waiting) {
        let bytes = waiting.bytes();
        if self.late.len() < EVENTS_MAX && self.bytes + bytes <= BYTES_MAX {
            self.bytes += bytes;
            self.late.push_back(Waiting { is_late: true, ..waiting });
        }
    }

    /// Takes the first event whose wait is over, in the order of arrival.
    pub(super) fn pop(&mut self, state: &State, now_ns: u64) -> Option<(Waiting, Wait)> {
        let over = |waiting: &Waiting, wait_ns: u64| match arrived(waiting, state) {
            Some(outcome) => Some(outcome),
            None => (waiting.time_ns.saturating_add(wait_ns) <= now_ns).then_some(WaitOutcome::Timeout),
        };
        let find = |queue: &VecDeque<Waiting>, wait_ns| {
            queue.iter().enumerate().find_map(|(index, waiting)| Some((index, over(waiting, wait_ns)?)))
        };
        if let Some((index, outcome)) = find(&self.queue, self.wait_ns) {
            return self.take(index, outcome, now_ns);
        }
        let (index, outcome) = find(&self.late, LATE_NS)?;
        let waiting = self.late.remove(index)?;
        Some(self.ending(waiting, outcome, now_ns))
    }

    /// Takes the first event although its wait is not over.
    pub(super) fn pop_any(&mut self, now_ns: u64) -> Option<(Waiting, Wait)> {
        // Those of the other queue were judged once.
        self.take(0, WaitOutcome::Shutdown, now_ns)
    }

    fn take(&mut self, index: usize, outcome: WaitOutcome, now_ns: u64) -> Option<(Waiting, Wait)> {
        let waiting = self.queue.remove(index)?;
        Some(self.ending(waiting, outcome, now_ns))
    }

    fn ending(&mut self, waiting: Waiting, outcome: WaitOutcome, now_ns: u64) -> (Waiting, Wait) {
        self.bytes = self.bytes.saturating_sub(waiting.bytes());
        let wait = self.ended(outcome, now_ns.saturating_sub(waiting.time_ns));
        (waiting, wait)
    }

    /// Counts a wait that ended.
    pub(super) fn ended(&mut self, outcome: WaitOutcome, waited_ns: u64) -> Wait {
        if let Some(count) = self.ended.get_mut(outcome as usize) {
            *count += 1;
        }
        Wait { millis: waited_ns / 1_000_000, outcome }
    }

    /// When the first wait is over, nanoseconds of the boot clock. Events come in the order of their times, but for
    /// the moment by which two CPUs differ.
    pub(super) fn deadline_ns(&self) -> Option<u64> {
        let at = |queue: &VecDeque<Waiting>, wait_ns| {
            queue.front().map(|waiting| waiting.time_ns.saturating_add(wait_ns))
        };
        [at(&self.queue, self.wait_ns), at(&self.late, LATE_NS)].into_iter().flatten().min()
    }

    pub(super) fn waits(&self) -> Waits {
        Waits { waiting: (self.queue.len() + self.late.len()) as u64, ended: self.ended }
    }
}

/// How the wait ended, unless something is still to come.
fn arrived(waiting: &Waiting, state: &State) -> Option<WaitOutcome> {
    let digest = match waiting.digest.as_ref().map(|version| state.digests.get(**version)) {
        Some(KnownDigest::Pending) => return None,
        Some(KnownDigest::No) => WaitOutcome::Unknown,
        Some(KnownDigest::Yes(_)) | None => WaitOutcome::Arrived,
    };
    let Some(container) = &waiting.container else { return Some(digest) };
    if matches!(state.containers.names(container), KnownNames::Pending) {
        return None;
    }
    match state.containers.get(container) {
        Known::Yes(_) => Some(WaitOutcome::Arrived),
        Known::No => Some(WaitOutcome::Unknown),
        Known::Pending => None,
    }
}

/// A field's argument, owned.
fn owned(arg: FieldArg<'_>) -> Arg {
    match arg {
        FieldArg::None => Arg::None,
        FieldArg::Index(index) => Arg::Index(index),
        FieldArg::Key(key) => Arg::Key(key.into()),
    }
}
