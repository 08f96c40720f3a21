//! The detector's side of metadata that comes late: what it wants to know, what it is told, and the events that
//! waited for it.

use std::sync::Arc;

use rampart_rules::{
    catalog::{FieldId, ids},
    rule::{Matching, RuleId},
    value::Truth,
    window::Withheld,
};

use super::{
    Detector,
    fields::Asked,
    held::{Replay, Waiting},
    refusals, windows,
};
use crate::{
    alert::{
        Alert, Wait, WaitOutcome,
        build::{self, Style},
        order::Order,
    },
    state::{
        container::{News, Wanted, table::KnownNames},
        digest::{DigestWanted, KnownDigest},
    },
};

/// Whether a field is the digest of an executable.
pub(super) fn is_digest(field: FieldId) -> bool {
    field == ids::PROC_EXE_SHA256
}

impl Detector {
    /// Keeps an event until the metadata of its container is there; judges it at once when there is no room.
    pub(super) fn hold(&mut self, waiting: Waiting, sink: &mut dyn FnMut(Alert)) {
        if let Err(waiting) = self.held.push(waiting) {
            let wait = self.held.ended(WaitOutcome::QueueFull, 0);
            let matched = self.judge(&waiting, wait, sink);
            self.keep_late(waiting, &matched);
        }
    }

    /// Judges an event that waited, with what is known by now. Gives the rules that matched.
    fn judge(&mut self, waiting: &Waiting, wait: Wait, sink: &mut dyn FnMut(Alert)) -> Vec<RuleId> {
        let wall_ns = self.clock.wall_ns(waiting.time_ns);
        let mut matched = Vec::new();
        let style = Style { policy_digest: waiting.policy_digest.clone(), ..self.style.clone() };
        let same_policy = Arc::ptr_eq(&waiting.policy, &self.policy);
        for view in &waiting.views {
            self.tally.evaluated += 1;
            let asked = waiting.container.as_deref().map(|container| Asked {
                container,
                known: self.state.containers.get(container),
                pod: self.state.containers.pod(container),
                process: self.state.process(waiting.process),
                processes: &self.state.processes,
                arena: &self.arena,
                strict_falco: self.path_limit.is_some(),
            });
            let names = waiting.container.as_ref();
            let names = names.map_or(KnownNames::None, |container| self.state.containers.names(container));
            let digest =
                waiting.digest.as_ref().map_or(KnownDigest::No, |version| self.state.digests.get(**version));
            let trading = waiting.trading.as_deref();
            let (kept, arena) = (&view.values, &self.arena);
            let fields = Replay { kept, asked, digest, arena, names, trading };
            let first = waiting.policy.matching() == Matching::First;
            for id in &view.rules {
                if let Some(position) = same_policy.then(|| waiting.policy.position(*id)).flatten() {
                    self.profile.late(waiting.family, position);
                }
                let Some(rule) = waiting.policy.rule(*id) else { continue };
                if waiting.policy.evaluate_rule(*id, &fields) != Truth::True {
                    continue;
                }
                let mut ends = first && !rule.is_conditional();
                if !matched.contains(&rule.id) {
                    matched.push(rule.id);
                    if self.refusals.take((waiting.tid, waiting.ret, waiting.time_ns), rule.id) {
                        if first {
                            break;
                        }
                        continue;
                    }
                    let moment = || windows::moment(&self.clock, waiting.time_ns, view.earlier(rule.id));
                    let told = match same_policy {
                        true => windows::pass(&mut self.windows, rule, &fields, moment),
                        // What was counted for the rules before is forgotten.
                        false if rule.is_conditional() => Err(Withheld::Inactive),
                        false => Ok(()),
                    };
                    ends |= first && matches!(told, Ok(()) | Err(Withheld::Throttle));
                    if told.is_ok() {
                        if same_policy {
                            self.tally.matched(rule);
                        }
                        let alert = build::alert(rule, &fields, wall_ns, &self.clock, &style, &mut self.ids);
                        let order = rule.responses.as_ref().map(|responses| {
                            let outcome = refusals::outcome(waiting.ret);
                            Order::new(responses, waiting.process, waiting.cgroup_id, (outcome, &fields))
                        });
                        sink(Alert { wait: Some(wait), order, ..alert });
                    }
                }
                if ends {
                    break;
                }
            }
        }
        matched
    }

    /// Keeps an event whose digest may still come, for the rules that ask for it: a large file must not be a way past
    /// them.
    fn keep_late(&mut self, mut waiting: Waiting, matched: &[RuleId]) {
        let digest = waiting.digest.as_ref().map(|version| self.state.digests.get(**version));
        let is_told = waiting.policy.matching() == Matching::First && !matched.is_empty();
        if digest != Some(KnownDigest::Pending) || is_told {
            return;
        }
        let policy = Arc::clone(&waiting.policy);
        let asks = |id: &RuleId| policy.rule(*id).is_some_and(|rule| rule.uses(is_digest));
        for view in &mut waiting.views {
            view.rules.retain(|id| asks(id) && !matched.contains(id));
        }
        if waiting.views.iter().any(|view| !view.rules.is_empty()) {
            self.held.push_late(waiting);
        }
    }

    /// The next executed file that is to be read; the answer goes to [`Detector::on_news`].
    pub fn next_digest(&mut self) -> Option<DigestWanted> {
        self.state.digests.next_request()
    }

    /// Takes a file back that cannot be read now.
    pub fn put_back_digest(&mut self, wanted: DigestWanted) {
        self.state.digests.put_back(wanted);
    }

    /// The next container whose metadata is wanted; the answer goes to [`Detector::on_news`].
    pub fn next_request(&mut self) -> Option<Wanted> {
        self.state.containers.next_request()
    }

    /// Takes a container back that cannot be looked up now.
    pub fn put_back(&mut self, wanted: Wanted) {
        self.state.containers.put_back(wanted);
    }

    /// Takes over what was learned of containers and pods, and judges the events that waited for it. `now_ns` is
    /// the boot clock.
    pub fn on_news(&mut self, news: News, now_ns: u64, sink: &mut dyn FnMut(Alert)) {
        self.state.take_news(news, now_ns);
        self.push.changed();
        self.on_time(now_ns, sink);
    }

    /// Judges the events whose wait is over. `now_ns` is the boot clock.
    pub fn on_time(&mut self, now_ns: u64, sink: &mut dyn FnMut(Alert)) {
        while let Some((waiting, wait)) = self.held.pop(&self.state, now_ns) {
            let may_wait = wait.outcome == WaitOutcome::Timeout && !waiting.is_late;
            let matched = self.judge(&waiting, wait, sink);
            if may_wait {
                self.keep_late(waiting, &matched);
            }
            self.arena.reset();
        }
    }

    /// Judges the events that still wait; the agent is about to end.
    pub fn on_end(&mut self, now_ns: u64, sink: &mut dyn FnMut(Alert)) {
        self.on_time(now_ns, sink);
        while let Some((waiting, wait)) = self.held.pop_any(now_ns) {
            self.judge(&waiting, wait, sink);
            self.arena.reset();
        }
    }

    /// When the next wait is over, nanoseconds of the boot clock.
    pub fn deadline_ns(&self) -> Option<u64> {
        self.held.deadline_ns()
    }
}
