//! The detection thread's side of `deny`: notices of the kernel programs become alerts, and what they did not know is told to
//! the thread of responses, which owns them.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError, mpsc::Receiver},
};

use rampart_common::event::TaskFacts;

use super::ports::Records;
use crate::{
    alert::Alert,
    deny::notice::{Notice, Outcome},
    engine::Detector,
    kernel::Notices,
    responses::desk::{Command, Desk},
};

/// Groups whose namespace is awaited at most.
const AWAITED_MAX: usize = 1024;
/// Generations whose rules are known: the one in force and those whose notices may still come.
const GENERATIONS: usize = 4;

/// What both threads know: the rules of the terms, by generation, and whether control groups are asked for.
#[derive(Debug, Default)]
pub(super) struct Terms(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    rules: BTreeMap<u32, Vec<Arc<str>>>,
    groups: bool,
}

impl Terms {
    /// Says which rules the terms of a generation are of; before it is put in force.
    pub(super) fn put(&self, generation: u32, rules: Vec<Arc<str>>, groups: bool) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.groups = groups;
        known.rules.insert(generation, rules);
        while known.rules.len() > GENERATIONS {
            known.rules.pop_first();
        }
    }

    fn rule(&self, generation: u32, term: usize) -> Option<Arc<str>> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.rules.get(&generation)?.get(term).cloned()
    }

    fn groups(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).groups
    }
}

/// See the module.
pub(super) struct Refusing {
    pub(super) terms: Arc<Terms>,
    pub(super) desk: Desk,
    /// Rings to read.
    pub(super) rings: Receiver<Notices>,
    /// Groups whose namespace is not known yet.
    awaited: Vec<TaskFacts>,
}

impl Refusing {
    pub(super) fn new(terms: Arc<Terms>, desk: Desk, rings: Receiver<Notices>) -> Self {
        Self { terms, desk, rings, awaited: Vec::new() }
    }

    /// Takes over a ring, and tells of control groups.
    pub(super) fn look(&mut self, records: &mut impl Records, detector: &mut Detector) {
        for ring in self.rings.try_iter() {
            if let Err(error) = records.watch(ring) {
                tracing::error!(
                    "Refusals are not told, their ring cannot be read: {}",
                    super::in_full(&error)
                );
            }
        }
        self.awaited.extend(detector.fresh_groups(self.terms.groups()));
        self.awaited.truncate(AWAITED_MAX);
        let desk = &self.desk;
        self.awaited.retain(|task| !tell_group(desk, detector, task));
    }

    /// Handles one notice.
    pub(super) fn notice(&self, bytes: &[u8], detector: &mut Detector, sink: &mut dyn FnMut(Alert)) {
        let Some(notice) = Notice::read(bytes) else { return };
        let rule = |term| self.terms.rule(notice.generation, term);
        // Full policy: drop. What is not answered is asked again.
        match notice.outcome {
            Outcome::Refused(term) => {
                if let (Some(rule), Some(record)) = (rule(term), notice.record()) {
                    detector.on_refusal(&record, &notice.text(), &rule, sink);
                }
            }
            Outcome::Observed(term) => {
                if let Some(rule) = rule(term) {
                    let target = target(&notice);
                    let _ = self.desk.tell(Command::Observed { rule, target });
                }
            }
            Outcome::UnknownProcess => {
                let _ = self.desk.tell(Command::Unknown(notice.task.pid));
            }
            Outcome::UnknownGroup => {
                let _ = tell_group(&self.desk, detector, &notice.task);
            }
        }
    }
}

/// What was or would be refused to whom.
fn target(notice: &Notice) -> String {
    let name = notice.task.comm.split(|byte| *byte == 0).next().unwrap_or_default();
    format!("{} to {} ({})", notice.text(), String::from_utf8_lossy(name), notice.task.pid)
}

/// Says in which namespace a group's pod is, if that is known.
fn tell_group(desk: &Desk, detector: &mut Detector, task: &TaskFacts) -> bool {
    let Some(namespace) = detector.namespace_of(task) else { return false };
    desk.tell(Command::Group { id: task.cgroup_id, namespace })
}
