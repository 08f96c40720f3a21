//! The detector's side of pushdown: which rules an event is tried on, and what the kernel is to remember.
//!
//! Records say which rules may match; masks that the kernel did not know are computed here and handed out in batches.
//! A process that the kernel keeps asking about (because its threads differ, or because there is no room) is answered
//! now and then only.

use std::{
    fmt,
    hash::{Hash as _, Hasher as _},
    sync::Arc,
};

use rampart_common::{
    event::{AttrTag, FAMILY_COUNT, Family, RECORD_SHADOW, RECORD_UNSPECIALISED, RecordHeader, TaskFacts},
    pushdown::{ALL, CallKey, IMAGE_ENTRIES, ImageKey, KEY_WORDS, Mask, ProcessEntry},
    stream::{StreamCount, StreamKey, StreamTerms},
};
use rampart_rules::{catalog::EventId, rule::Rule, window::Earlier};
use rustc_hash::{FxHashMap, FxHashSet, FxHasher};

pub use super::streams::{Stream, is_connection};
use super::{
    fields::{EventFields, Facts},
    streams::{self, Streams},
};
use crate::event::{Event, ProcessId, syscall::Row};

/// Time between two answers about one process, nanoseconds.
const AGAIN_NS: u64 = 50_000_000;
/// Processes whose last answer is remembered; then all are forgotten.
const ASKED_MAX: usize = 8192;
/// Masks handed out at once; what comes on top is asked for again.
const BATCH_MAX: usize = 1024;

/// What a process says of the rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProcessMasks {
    /// Rules that may match on events of this process, by family.
    pub masks: [Mask; FAMILY_COUNT],
    /// Whether that holds only as long as no process tree, metadata or name file changes.
    pub depends_on_epoch: bool,
}

/// The plan by which the kernel judges.
pub trait Judging: fmt::Debug + Send + Sync {
    /// Its number, never 0.
    fn generation(&self) -> u32;

    /// The rules that may match calls with these facts.
    fn mask_of(&self, key: &CallKey) -> Mask;

    /// The rules that may match events of the process of an event, whatever the event.
    fn process_masks(&self, facts: &Facts<'_>) -> ProcessMasks;

    /// The rules that may match events of any process that runs the image of an event's process.
    fn image_masks(&self, facts: &Facts<'_>) -> [Mask; FAMILY_COUNT];

    /// Whether events of a row can be counted in the kernel for some rule.
    fn streams_on(&self, row: &Row) -> bool;

    /// What is counted of the events that are like this one, which a mask leaves rules for; `None` when each of them has
    /// to be looked at.
    fn stream(&self, facts: &Facts<'_>, candidates: &Mask) -> Option<Stream>;

    /// Whether a rule is one of those in a mask.
    fn is_in(&self, family: Family, mask: &Mask, rule: &Rule) -> bool;

    /// Calls `on_match` with those rules of an event type that a mask leaves and that are true, in order: the first
    /// or all. Asks `tries` about each that is left, by position, before it is evaluated.
    fn evaluate(
        &self,
        event: EventId,
        family: Family,
        candidates: &Mask,
        fields: &EventFields<'_, '_>,
        tries: &mut dyn FnMut(usize) -> bool,
        on_match: &mut dyn FnMut(&Rule),
    );
}

/// What the kernel is to remember.
#[derive(Debug, Default)]
pub struct Lessons {
    /// Masks of calls.
    pub calls: Vec<(CallKey, Mask)>,
    /// Masks of processes by their id.
    pub processes: Vec<(u32, ProcessEntry)>,
    /// Masks of images, by family.
    pub images: Vec<(ImageKey, [Mask; FAMILY_COUNT])>,
    /// When events of streams are counted.
    pub streams: Vec<(StreamKey, StreamTerms)>,
    /// Streams that have long been silent.
    pub silent: Vec<StreamKey>,
    /// Something changed that masks of processes may depend on.
    pub changed: bool,
}

/// Counters since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Masks of calls computed.
    pub calls: u64,
    /// Masks of processes computed.
    pub processes: u64,
    /// Events that the kernel would have rejected and sent as samples.
    pub samples: u64,
    /// Samples that a rule matched: never, unless pushdown is wrong.
    pub disagreements: u64,
    /// Streams that the kernel counts now.
    pub streams: u64,
}

/// When a process was last answered about, and which image it ran.
#[derive(Debug, Default)]
struct Asked(FxHashMap<ProcessId, (u64, u64)>);

impl Asked {
    /// Whether a process is to be answered about now, which is noted. Another image is asked about for the first time.
    fn is_due(&mut self, id: ProcessId, exec_id: u64, now_ns: u64) -> bool {
        if let Some((image, last_ns)) = self.0.get(&id)
            && *image == exec_id
            && now_ns.saturating_sub(*last_ns) < AGAIN_NS
        {
            return false;
        }
        if self.0.len() >= ASKED_MAX {
            self.0.clear();
        }
        self.0.insert(id, (exec_id, now_ns));
        true
    }
}

/// Pushdown as the detector sees it.
#[derive(Debug)]
pub(super) struct Push {
    plan: Option<Arc<dyn Judging>>,
    lessons: Lessons,
    keys: FxHashSet<CallKey>,
    /// Images that were looked at under the plan in force.
    images: FxHashSet<ImageKey>,
    asked: Asked,
    streams: Streams,
    counts: Counts,
}

impl Push {
    /// Nothing is in force, on a machine with so many CPUs.
    pub(super) fn new(cpus: usize) -> Self {
        Self {
            plan: None,
            lessons: Lessons::default(),
            keys: FxHashSet::default(),
            images: FxHashSet::default(),
            asked: Asked::default(),
            streams: Streams::new(cpus),
            counts: Counts::default(),
        }
    }

    /// Puts a plan in force, or none.
    pub(super) fn set(&mut self, plan: Option<Arc<dyn Judging>>) {
        self.plan = plan;
        self.lessons = Lessons { changed: self.lessons.changed, ..Lessons::default() };
        self.keys.clear();
        self.images.clear();
        self.asked.0.clear();
        self.streams.clear();
    }

    /// The rules to try, when the kernel has judged the event by the plan in force. A sample is tried on all rules.
    pub(super) fn candidates(&self, header: &RecordHeader) -> Option<(&dyn Judging, Mask)> {
        let plan = self.plan.as_deref()?;
        let judged = header.generation == plan.generation() && header.flags & RECORD_SHADOW == 0;
        judged.then_some((plan, header.candidates))
    }

    /// Notes whether a sample proves pushdown wrong.
    pub(super) fn sampled(&mut self, header: &RecordHeader, matched: bool) -> bool {
        if header.flags & RECORD_SHADOW == 0 {
            return false;
        }
        self.counts.samples += 1;
        // By another rule set than the present one nothing is proved.
        let current = self.plan.as_deref().is_some_and(|plan| plan.generation() == header.generation);
        let wrong = matched && current;
        self.counts.disagreements += u64::from(wrong);
        wrong
    }

    /// Computes what the kernel did not know at this event.
    pub(super) fn learn(&mut self, event: &Event<'_>, facts: &Facts<'_>) {
        let Some(plan) = self.plan.as_deref() else { return };
        if event.header.generation != plan.generation() {
            return;
        }
        if let Some(key) = event.attr(AttrTag::CallKey).and_then(|attr| key(attr.bytes))
            && self.lessons.calls.len() < BATCH_MAX
            && self.keys.insert(key)
        {
            self.counts.calls += 1;
            self.lessons.calls.push((key, plan.mask_of(&key)));
        }
        let task = &event.header.task;
        let candidates = &event.header.candidates;
        if plan.streams_on(facts.row()) && self.lessons.streams.len() < BATCH_MAX {
            let identity = identity(task, plan.generation());
            let told = self.streams.learn(event, identity, || plan.stream(facts, candidates));
            self.lessons.streams.extend(told);
            self.lessons.silent.extend(self.streams.silent(event.header.time_ns));
        }
        if event.header.flags & RECORD_UNSPECIALISED == 0 || self.lessons.processes.len() >= BATCH_MAX {
            return;
        }
        if !self.asked.is_due(event.process(), task.exec_id, event.header.time_ns) {
            return;
        }
        let masks = plan.process_masks(facts);
        if masks.depends_on_epoch && event.header.epoch == 0 {
            return;
        }
        self.counts.processes += 1;
        let entry = ProcessEntry {
            start_ns: task.start_ns,
            exec_id: task.exec_id,
            cgroup_id: task.cgroup_id,
            epoch: if masks.depends_on_epoch { event.header.epoch } else { 0 },
            uid: task.uid,
            euid: task.euid,
            gid: task.gid,
            egid: task.egid,
            loginuid: task.loginuid,
            generation: plan.generation(),
            identity: identity(task, plan.generation()),
            masks: masks.masks,
        };
        self.lessons.processes.push((task.pid, entry));
    }

    /// Computes the masks of the image that an exec started, if it is the first one to start it.
    pub(super) fn learn_image(&mut self, event: &Event<'_>, facts: &Facts<'_>) {
        if let Some(plan) = self.plan.as_deref() {
            self.lessons.images.extend(image(plan, &mut self.images, event, facts));
        }
    }

    /// Notes that metadata, names or other things beside the records changed.
    pub(super) fn changed(&mut self) {
        self.lessons.changed = true;
    }

    /// What came together since the last call; `None` when nothing did.
    pub(super) fn lessons(&mut self) -> Option<Lessons> {
        let lessons = &self.lessons;
        let masks = lessons.calls.is_empty() && lessons.processes.is_empty() && lessons.images.is_empty();
        let streams = lessons.streams.is_empty() && lessons.silent.is_empty();
        if masks && streams && !lessons.changed {
            return None;
        }
        self.keys.clear();
        Some(std::mem::take(&mut self.lessons))
    }

    /// Counters since the start.
    pub(super) fn counts(&self) -> Counts {
        Counts { streams: self.streams.len() as u64, ..self.counts }
    }

    /// What was counted before an event for a rule that it matches.
    pub(super) fn earlier(
        &self,
        event: &Event<'_>,
        row: &Row,
        counted: Option<&StreamCount>,
        rule: &Rule,
    ) -> Earlier {
        let Some((count, plan)) = counted.zip(self.plan.as_deref()) else { return Earlier::default() };
        let judged = event.header.generation == plan.generation();
        let is_counted = judged && plan.is_in(row.family, &count.matching, rule);
        if is_counted { streams::earlier(count) } else { Earlier::default() }
    }
}

/// The masks of an image that is started for the first time under a plan, if they leave out any rule.
fn image(
    plan: &dyn Judging,
    seen: &mut FxHashSet<ImageKey>,
    event: &Event<'_>,
    facts: &Facts<'_>,
) -> Option<(ImageKey, [Mask; FAMILY_COUNT])> {
    let path = event.attr(AttrTag::ExePath).filter(|attr| attr.flags == 0)?;
    let key = ImageKey::new(plan.generation(), event.header.task.comm, path.bytes)?;
    if seen.len() >= IMAGE_ENTRIES as usize || !seen.insert(key) {
        return None;
    }
    let masks = plan.image_masks(facts);
    (masks != [ALL; FAMILY_COUNT]).then_some((key, masks))
}

/// What the masks of a process rest on, but for the epoch, as one number that is not 0.
fn identity(task: &TaskFacts, generation: u32) -> u64 {
    let mut hasher = FxHasher::default();
    (task.start_ns, task.exec_id, task.cgroup_id).hash(&mut hasher);
    (task.uid, task.euid, task.gid, task.egid, task.loginuid, generation).hash(&mut hasher);
    hasher.finish().max(1)
}

/// The key of an attribute.
fn key(bytes: &[u8]) -> Option<CallKey> {
    let mut words = [0; KEY_WORDS];
    if bytes.len() != size_of_val(&words) {
        return None;
    }
    for (word, chunk) in words.iter_mut().zip(bytes.chunks_exact(8)) {
        *word = u64::from_ne_bytes(chunk.try_into().ok()?);
    }
    Some(CallKey::from_words(words))
}

#[cfg(test)]
mod tests {
    use super::{AGAIN_NS, Asked};
    use crate::event::ProcessId;

    #[test]
    fn a_process_is_answered_about_now_and_then_and_a_new_image_at_once() {
        let id = |pid| ProcessId { pid, start_ticks: 7 };
        let mut asked = Asked::default();
        assert!(asked.is_due(id(1), 5, 100));
        assert!(!asked.is_due(id(1), 5, 100 + AGAIN_NS - 1));
        assert!(asked.is_due(id(2), 5, 101));
        assert!(asked.is_due(id(1), 6, 102));
        assert!(!asked.is_due(id(1), 6, 103));
        assert!(asked.is_due(id(1), 6, 102 + AGAIN_NS));
    }
}
