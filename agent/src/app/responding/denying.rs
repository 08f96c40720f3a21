//! `deny` while the agent runs: loads the programs when a rule asks for them, keeps their tables up to date, and says what
//! they do.
//!
//! Nothing of it is pinned: with the agent the programs end, and what they refused goes through again. The next agent refuses
//! by its rules from its start on.

use std::{
    os::unix::ffi::OsStrExt as _,
    path::Path,
    sync::{Arc, mpsc::SyncSender},
};

use rampart_common::{
    deny::{NEEDS_GROUP, Running, Switch},
    wake::CpuBits,
};
use rampart_rules::{
    response::Mode,
    rule::{Rule, RuleSet},
};
use serde_json::{Value as Json, json};

use super::super::{in_full, ports::Wake, refusing::Terms};
use crate::{
    deny::{plan::Plan, protect},
    kernel::{
        Notices,
        deny::{Deny, FIX, Hooks},
    },
    responses::{
        book::{Book, Deed},
        guard::{Guard, SYSTEM},
    },
    state::procfs::ProcFs,
};

/// What it needs of others.
pub(in crate::app) struct Around {
    /// Where the detection thread takes over rings.
    pub(in crate::app) rings: SyncSender<Notices>,
    pub(in crate::app) waker: Arc<dyn Wake>,
    /// Which rules the terms are of.
    pub(in crate::app) terms: Arc<Terms>,
    /// CPUs that nobody may interrupt.
    pub(in crate::app) isolated: Box<CpuBits>,
    /// Whether control groups may be those of pods in a namespace.
    pub(in crate::app) has_namespaces: bool,
    /// The rules in force at the start.
    pub(in crate::app) rules: Arc<RuleSet>,
    /// Whether rules are tried on the path of the file that is opened.
    pub(in crate::app) by_real_path: bool,
}

/// See the module.
pub(super) struct Denying {
    around: Around,
    policy: Arc<RuleSet>,
    plan: Plan,
    kernel: Option<Deny>,
    /// Why there are no programs although there should be.
    absent: Option<String>,
    generation: u32,
}

/// How far things go besides the rules.
#[derive(Clone, Copy)]
pub(super) struct Standing<'a> {
    pub(super) mode: Mode,
    pub(super) guard: &'a Guard,
    pub(super) book: &'a Book,
}

impl Standing<'_> {
    /// Whether what a rule refuses is let through.
    fn is_allowed(self, rule: &str) -> bool {
        self.book.same(&Deed::Allow { rule: rule.to_owned() }).is_some()
    }
}

impl Denying {
    pub(super) fn new(around: Around) -> Self {
        let policy = Arc::clone(&around.rules);
        let plan = planned(&policy, around.by_real_path);
        Self { around, policy, plan, kernel: None, absent: None, generation: 0 }
    }

    /// Takes other rules; they are in force with the next [`Denying::refresh`].
    pub(super) fn rules(&mut self, policy: Arc<RuleSet>) {
        self.plan = planned(&policy, self.around.by_real_path);
        self.policy = policy;
    }

    /// Puts rules, mode and what is protected in force.
    pub(super) fn refresh(&mut self, standing: Standing<'_>, proc: &ProcFs) {
        let wanted = !self.plan.terms.is_empty() && standing.mode > Mode::Off;
        if !wanted {
            if self.kernel.take().is_some() {
                tracing::info!("No rule refuses operations any more");
            }
            self.absent = None;
            return;
        }
        if let Err(why) = self.put(standing, proc) {
            // Half of it must not stay.
            self.kernel = None;
            if self.absent.as_ref() != Some(&why) {
                tracing::error!("Nothing is refused, rules with `deny` only alert: {why}");
            }
            self.absent = Some(why);
        } else {
            self.absent = None;
        }
    }

    fn put(&mut self, standing: Standing<'_>, proc: &ProcFs) -> Result<(), String> {
        let mut tables = self.plan.tables.clone();
        let names = protect::mark(&mut tables, standing.guard.processes(), &SYSTEM);
        protect::spare(&mut tables, standing.guard.nets());
        let needs_group = self.around.has_namespaces && standing.guard.has_namespaces();
        tables.settings.flags = if needs_group { NEEDS_GROUP } else { 0 };
        tables.settings.own = std::process::id();
        let switch = self.switch(standing);
        let is_fresh = self.kernel.is_none();
        if is_fresh {
            self.start()?;
        }
        let Some(kernel) = self.kernel.as_mut() else { return Ok(()) };
        let text = |error: crate::kernel::KernelError| in_full(&error);
        let spared: Vec<u32> = standing.guard.own().collect();
        kernel.protect(&names, &spared).map_err(text)?;
        // 0 says that nothing is in force.
        self.generation = self.generation.checked_add(1).unwrap_or(2);
        let rules = self.plan.terms.iter().map(|term| self.policy.rules().get(term.rule));
        let rules = rules.map(|rule| rule.map_or("", |rule| rule.name.as_str()).into()).collect();
        self.around.terms.put(self.generation, rules, needs_group);
        kernel.publish(self.generation, &tables, switch).map_err(text)?;
        if is_fresh {
            for pid in proc.ids() {
                let _ = self.tell(pid, proc);
            }
            tracing::info!(rules = self.plan.reports.len(), "Operations are refused for rules with `deny`");
        }
        Ok(())
    }

    fn start(&mut self) -> Result<(), String> {
        let hooks = Hooks::look();
        if matches!(hooks, Hooks::Absent(_)) {
            return Err(hooks.fault().unwrap_or_default());
        }
        let mut kernel = Deny::start(&self.around.isolated).map_err(|error| in_full(&error))?;
        if !kernel.is_asked().map_err(|error| in_full(&error))? {
            return Err(format!("the kernel does not ask the programs at its security hooks; {FIX}"));
        }
        let ring = kernel.notices().map_err(|error| in_full(&error))?;
        self.around.rings.try_send(ring).map_err(|_| "the detection thread does not answer".to_owned())?;
        self.around.waker.wake();
        self.kernel = Some(kernel);
        Ok(())
    }

    /// How far the terms go.
    fn switch(&self, standing: Standing<'_>) -> Switch {
        let rule = |at: usize| self.policy.rules().get(at);
        let mode = |at: usize| rule(at).map_or(Mode::Off, |rule| mode_of(rule, standing));
        Switch {
            enforce: self.plan.terms_of(|at| mode(at) == Mode::Enforce),
            observe: self.plan.terms_of(|at| mode(at) == Mode::Observe),
        }
    }

    /// Says what a process runs, as `/proc` has it.
    pub(super) fn tell(&mut self, pid: u32, proc: &ProcFs) -> Option<()> {
        let kernel = self.kernel.as_mut()?;
        let found = proc.read(pid)?;
        let exe = proc.exe(pid)?;
        let exe = exe.as_os_str().as_bytes();
        let exe = exe.strip_suffix(b" (deleted)").unwrap_or(exe);
        let running = Running::new(found.id.start_ticks, given_name(found.task.comm, exe), exe)?;
        if let Err(error) = kernel.running(pid, &running) {
            tracing::warn!("What a process runs is not told: {}", in_full(&error));
        }
        Some(())
    }

    /// Says whether a control group is protected.
    pub(super) fn group(&mut self, id: u64, is_protected: bool) {
        if let Some(kernel) = &mut self.kernel
            && let Err(error) = kernel.group(id, is_protected)
        {
            tracing::warn!("What a control group is, is not told: {}", in_full(&error));
        }
    }

    /// Forgets which groups are protected, for that has changed.
    pub(super) fn forget_groups(&mut self) {
        if let Some(kernel) = &mut self.kernel
            && let Err(error) = kernel.forget_groups()
        {
            tracing::warn!("Control groups are not forgotten: {}", in_full(&error));
        }
    }

    /// Whether anything of a rule can be refused.
    pub(super) fn has(&self, rule: &str) -> bool {
        let is_it = |at: usize| self.policy.rules().get(at).is_some_and(|known| known.name == rule);
        self.kernel.is_some() && self.plan.terms.iter().any(|term| is_it(term.rule))
    }

    /// Whether everything that a rule is true of is refused, unless something is not known.
    pub(super) fn is_whole(&self, rule: &str) -> bool {
        let is_it = |at: usize| self.policy.rules().get(at).is_some_and(|known| known.name == rule);
        self.has(rule) && self.plan.reports.iter().any(|report| is_it(report.rule) && report.is_whole)
    }

    /// What pages show; `None` when no rule asks for it.
    pub(super) fn page(&self, standing: Standing<'_>) -> Option<Json> {
        if self.plan.reports.is_empty() {
            return None;
        }
        let counts = self
            .kernel
            .as_ref()
            .and_then(|kernel| kernel.counts(self.plan.terms.len()).ok())
            .unwrap_or_default();
        let undecided = self.kernel.as_ref().and_then(|kernel| kernel.undecided().ok()).unwrap_or_default();
        let rules = self.plan.reports.iter().filter_map(|report| {
            let rule = self.policy.rules().get(report.rule)?;
            let refused: Vec<&str> = report.refused.iter().map(|operation| operation.name()).collect();
            let obstacles: Vec<String> =
                report.obstacles.iter().map(|obstacle| obstacle.why.clone()).collect();
            Some(json!({
                "rule": rule.name,
                "mode": mode_of(rule, standing).name(),
                "allowed": standing.is_allowed(&rule.name),
                "operations": refused,
                "obstacles": obstacles,
            }))
        });
        let sum = |of: fn(&rampart_common::deny::Counts) -> u64| counts.iter().map(of).sum::<u64>();
        let [process, group, path, busy] = undecided;
        Some(json!({
            "active": self.kernel.is_some(),
            "why": self.absent,
            "rules": rules.collect::<Vec<_>>(),
            "refused": sum(|counts| counts.refused),
            "observed": sum(|counts| counts.observed),
            "untold": sum(|counts| counts.untold),
            "undecided": { "process": process, "group": group, "path": path, "busy": busy },
        }))
    }
}

/// Plans rules, and says which of them are not refused for.
fn planned(policy: &RuleSet, by_real_path: bool) -> Plan {
    let plan = Plan::new(policy, by_real_path);
    for report in &plan.reports {
        let Some(rule) = policy.rules().get(report.rule) else { continue };
        for obstacle in &report.obstacles {
            let operation = obstacle.operation.map_or("anything", |operation| operation.name());
            tracing::warn!(
                rule = rule.name,
                operation,
                fix = obstacle.fix,
                "Not refused for the rule, or not in all of its cases: {}",
                obstacle.why
            );
        }
    }
    plan
}

/// How far a rule goes now.
fn mode_of(rule: &Rule, standing: Standing<'_>) -> Mode {
    if standing.is_allowed(&rule.name) {
        return Mode::Off;
    }
    rule.responses.as_ref().map_or(Mode::Off, |responses| responses.mode.min(standing.mode))
}

/// The name that exec gave a process, as far as `/proc` tells: a process can change it, so one that is not that of its
/// executable is not relied on.
fn given_name(comm: [u8; 16], exe: &[u8]) -> Option<&[u8]> {
    let file = Path::new(std::ffi::OsStr::from_bytes(exe)).file_name()?.as_bytes();
    let given = file.get(..15).unwrap_or(file);
    let now = comm.split(|byte| *byte == 0).next()?;
    (given == now).then_some(given)
}

#[cfg(test)]
mod tests {
    use super::given_name;

    #[test]
    fn only_a_name_that_exec_can_have_given_is_relied_on() {
        let comm = |text: &[u8]| {
            let mut comm = [0; 16];
            comm[..text.len()].copy_from_slice(text);
            comm
        };
        assert_eq!(given_name(comm(b"sh"), b"/bin/sh"), Some(&b"sh"[..]));
        assert_eq!(given_name(comm(b"script.sh"), b"/bin/sh"), None);
        let long = b"/usr/lib/a-very-long-name-of-a-program";
        assert_eq!(given_name(comm(b"a-very-long-nam"), long), Some(&b"a-very-long-nam"[..]));
        assert_eq!(given_name(comm(b""), b"/bin/sh"), None);
    }
}
