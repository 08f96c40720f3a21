//! Operations that the kernel refused for a rule: the alert is made of the refusal, and the call that failed by it is not told
//! again.

use std::{collections::VecDeque, sync::Arc};

use rampart_common::event::{Family, TaskFacts};
use rampart_rules::{
    catalog::ids,
    rule::RuleId,
    value::{FieldArg, FieldSource as _, Value},
    window::Earlier,
};
use rustc_hash::FxHashSet;
use serde_json::Value as Json;

use super::{Detector, EventFields, Facts, View, windows};
use crate::{
    alert::{
        Alert, build,
        order::{Operation, Order},
    },
    event::{EventKind, build::RecordBuilder, decode},
};

/// `EPERM` as a result.
const NOT_PERMITTED: i64 = -1;
/// Field of an alert that says what was refused.
const DENIED: &str = "response.denied";
/// Time in which a failed call belongs to a refusal, nanoseconds.
const SAME_CALL_NS: u64 = 1_000_000_000;
/// Refusals whose calls may still come.
const REFUSALS_MAX: usize = 512;

/// Control groups that are remembered; then all are forgotten.
const GROUPS_MAX: usize = 8192;

/// Control groups that programs are started in.
#[derive(Debug, Default)]
pub(super) struct Groups {
    wanted: bool,
    seen: FxHashSet<u64>,
    fresh: Vec<TaskFacts>,
}

impl Groups {
    /// Notes that a program was started in one.
    pub(super) fn started(&mut self, task: &TaskFacts) {
        if !self.wanted {
            return;
        }
        if self.seen.len() >= GROUPS_MAX {
            self.seen.clear();
        }
        if self.seen.insert(task.cgroup_id) {
            self.fresh.push(*task);
        }
    }
}

/// Refusals that were told, whose calls have not come.
#[derive(Debug, Default)]
pub(super) struct Refusals(VecDeque<(u32, RuleId, u64)>);

impl Refusals {
    fn keep(&mut self, tid: u32, rule: RuleId, time_ns: u64) {
        while self.0.len() >= REFUSALS_MAX {
            self.0.pop_front();
        }
        self.0.push_back((tid, rule, time_ns));
    }

    /// Whether a thread's call that ended like this is one that was refused for the rule, and told as such.
    pub(super) fn take(&mut self, (tid, ret, time_ns): (u32, i64, u64), rule: RuleId) -> bool {
        if ret != NOT_PERMITTED || self.0.is_empty() {
            return false;
        }
        self.0.retain(|(_, _, at)| at.saturating_add(SAME_CALL_NS) >= time_ns);
        let found = self.0.iter().position(|(of, by, at)| *of == tid && *by == rule && *at <= time_ns);
        found.and_then(|at| self.0.remove(at)).is_some()
    }
}

/// What became of an operation, as its call's result tells.
pub(super) fn outcome(ret: i64) -> Operation {
    if ret < 0 { Operation::Failed } else { Operation::Done }
}

impl Detector {
    /// The alert of a rule for which the kernel refused an operation; `record` is what the failed call leaves. The rule was true of
    /// it when it was asked for; whether it may be told now is up to its throttle.
    pub fn on_refusal(&mut self, record: &[u8], what: &str, rule: &str, sink: &mut dyn FnMut(Alert)) {
        let Ok(event) = decode::decode(record) else { return };
        let Some(row) = self.table.of(&event) else { return };
        let policy = Arc::clone(&self.policy);
        let Some(rule) = policy.rules().iter().find(|known| known.name == rule) else { return };
        let (task, now_ns) = (&event.header.task, event.header.time_ns);
        self.refresh_clock(now_ns);
        let context = context!(self);
        let facts = Facts::new(&event, row, context, self.position);
        let fields = EventFields::new(&facts, View::Real);
        self.refusals.keep(task.tid, rule.id, now_ns);
        let moment = || windows::moment(&self.clock, now_ns, Earlier::default());
        if windows::pass(&mut self.windows, rule, &fields, moment).is_ok() {
            self.tally.matched(rule);
            let wall_ns = self.clock.wall_ns(now_ns);
            let mut alert = build::alert(rule, &fields, wall_ns, &self.clock, &self.style, &mut self.ids);
            alert.fields.insert(DENIED.to_owned(), Json::from(what));
            alert.order = rule.responses.as_ref().map(|responses| {
                let operation = Operation::Refused(what.to_owned());
                Order::new(responses, event.process(), task.cgroup_id, (operation, &fields))
            });
            sink(alert);
        }
        self.arena.reset();
    }

    /// The namespace of the pod that a task's process runs in: `Some(None)` when it runs in none, `None` when that is not known
    /// yet.
    pub fn namespace_of(&mut self, task: &TaskFacts) -> Option<Option<String>> {
        let mut record = RecordBuilder::new(EventKind::Exec, Family::Exec);
        record.header.task = *task;
        record.header.syscall = libc::SYS_execve as u32;
        let record = record.build();
        let event = decode::decode(&record).ok()?;
        let row = self.table.of(&event)?;
        // One that is not in the table may be in any.
        self.state.process(event.process())?;
        let context = context!(self);
        let facts = Facts::new(&event, row, context, self.position);
        match EventFields::new(&facts, View::Real).field(ids::K8S_NS_NAME, FieldArg::None) {
            Value::Unknown => None,
            Value::Bytes(name) if !name.is_empty() => Some(Some(String::from_utf8_lossy(name).into_owned())),
            _ => Some(None),
        }
    }

    /// Control groups that programs were started in and that were not asked for before, each with one of its tasks. Nothing is
    /// kept unless `wanted`.
    pub fn fresh_groups(&mut self, wanted: bool) -> Vec<TaskFacts> {
        if wanted != self.groups.wanted {
            self.groups = Groups { wanted, ..Groups::default() };
        }
        std::mem::take(&mut self.groups.fresh)
    }
}
