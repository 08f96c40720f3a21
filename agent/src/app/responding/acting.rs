//! A match becomes deeds: each is checked against what is protected and the budget, done, and noted.

use std::{collections::BTreeMap, net::IpAddr, path::PathBuf};

use ipnet::IpNet;
use rampart_common::service::breaker;
use rampart_rules::{
    response::{Action, Kind, Mode, Scope, Traffic},
    rule::Priority,
};
use serde_json::{Value as Json, json};

use super::{Thread, keeping::group_of, now};
use crate::{
    admin::audit::Record,
    alert::{
        build::Internal,
        order::{Operation, Subject},
    },
    app::{in_full, limiting, serving},
    engine::clock::boot_now_ns,
    limits::{
        desk::{Ask as AskLimits, Wanted},
        entries::{End, Kind as EntryKind},
    },
    responses::{
        Outcome,
        book::{Deed, Doing},
        desk::{Command, Match, Told},
        guard::Candidate,
        kill::{Fault, Killed, Killer},
    },
    services::desk::Ask as AskServices,
    telemetry::responses::Last,
};

/// Who the limiter is told asked for something.
const WHO: &str = "response";

/// Time for which a rule refuses nothing when it refused too much, seconds.
const PAUSE_SECS: u64 = 60;
/// Why something was done that a rule refuses.
const MISSED: &str =
    "the kernel was not certain of it: what the process runs, its control group, or the path";

/// What became of an action, and what is to be known of it.
type Done = (Outcome, String, Json);

impl Thread {
    /// Does what a rule asks for about an event.
    pub(super) fn respond(&mut self, matched: &Match) {
        let mode = self.settings.mode.min(matched.order.responses.mode);
        for action in &matched.order.responses.actions {
            if let Some((outcome, target, details)) = self.act(matched, action, mode) {
                let last = Last { kind: action.kind(), outcome, target, rule: matched.rule.clone() };
                self.note(last, &matched.alert.to_string(), matched.time_ns, &details);
            }
        }
    }

    /// `None` when somebody else was asked, who will tell.
    fn act(&mut self, matched: &Match, action: &Action, mode: Mode) -> Option<Done> {
        let subject = &matched.order.subject;
        let kind = action.kind();
        if *action == Action::Deny {
            return self.denied(matched, mode);
        }
        let target = match self.target(action, subject) {
            Ok(target) => target,
            Err((target, why)) => return Some((Outcome::Refused, target, json!({ "why": why }))),
        };
        if mode < Mode::Enforce {
            return Some((Outcome::Observed, target, Json::Null));
        }
        if !self.budget.take(kind, self.settings.per_minute, boot_now_ns()) {
            let why = format!("more than {} in a minute (`responses.per_minute`)", self.settings.per_minute);
            return Some((Outcome::OverBudget, target, json!({ "why": why })));
        }
        match action {
            Action::Deny => None,
            Action::Kill(scope) => Some(self.kill(*scope, subject, target)),
            Action::BlockIp { ttl_ms } => {
                self.ask(matched, Deed::BlockIp { address: subject.address? }, *ttl_ms);
                None
            }
            Action::LimitIp { policy, ttl_ms } => {
                let deed = Deed::LimitIp { address: subject.address?, policy: policy.clone() };
                self.ask(matched, deed, *ttl_ms);
                None
            }
            Action::OpenBreaker { service, ttl_ms } => {
                self.ask(matched, Deed::OpenBreaker { service: service.clone() }, *ttl_ms);
                None
            }
            Action::Quarantine { traffic, ttl_ms } => {
                Some(self.quarantine(matched, *traffic, *ttl_ms, target))
            }
            Action::Notify { .. } => Some((Outcome::Done, target, Json::Null)),
            Action::Capture { ms } => Some(match self.captures.start(*ms, self.settings.captures_bytes) {
                Ok(file) => (Outcome::Done, target, json!({ "file": file.to_string_lossy() })),
                Err(why) => (Outcome::Failed, target, json!({ "why": why })),
            }),
        }
    }

    /// What the kernel has refused is noted, within the budget; and what it should have and did not.
    fn denied(&mut self, matched: &Match, mode: Mode) -> Option<Done> {
        let subject = &matched.order.subject;
        let process = format!("{} ({})", subject.name, subject.process.pid);
        match &matched.order.operation {
            // The kernel itself tells what it would refuse.
            Operation::Done if mode == Mode::Enforce && self.denying.is_whole(&matched.rule) => {
                if self.book.same(&Deed::Allow { rule: matched.rule.clone() }).is_some() {
                    return None;
                }
                let why = self.spared(subject);
                let outcome = if why.is_some() { Outcome::Refused } else { Outcome::Failed };
                let why = why.unwrap_or_else(|| MISSED.to_owned());
                Some((outcome, process, json!({ "why": why })))
            }
            Operation::Done | Operation::Failed => None,
            Operation::Refused(what) => {
                let target = format!("{what} to {process}");
                if self.budget.take(Kind::Deny, self.settings.per_minute, boot_now_ns()) {
                    return Some((Outcome::Done, target, json!({ "operation": what })));
                }
                let most = self.settings.per_minute;
                let why = format!(
                    "more than {most} in a minute (`responses.per_minute`): what the rule refuses goes through for a minute"
                );
                let doing = self.allow(&matched.rule, PAUSE_SECS, &matched.alert.to_string());
                self.paused(&doing, &why);
                Some((Outcome::OverBudget, target, json!({ "why": why, "id": doing.id })))
            }
        }
    }

    /// Why nothing is refused to somebody.
    fn spared(&self, subject: &Subject) -> Option<String> {
        let exe = (!subject.exe.is_empty()).then(|| std::path::Path::new(&subject.exe));
        let pid = subject.process.pid;
        let parent = self.proc.parent(pid).unwrap_or_default();
        if parent == std::process::id() {
            return Some("it is the agent's child".to_owned());
        }
        let candidate = Candidate { pid, parent, exe, in_container: subject.container.is_some() };
        self.guard.process(candidate).or_else(|| self.guard.namespace(subject.namespace.as_deref()))
    }

    /// Tells that a rule refuses nothing for a while.
    fn paused(&self, doing: &Doing, why: &str) {
        let last = Last {
            kind: Kind::Deny,
            outcome: Outcome::OverBudget,
            target: doing.deed.target(),
            rule: doing.rule.clone(),
        };
        self.tell(&last, &doing.alert, 0, &json!({ "why": why, "id": doing.id }));
    }

    /// Notes what the kernel would have refused.
    pub(super) fn observed(&mut self, rule: &str, target: String) {
        let last = Last { kind: Kind::Deny, outcome: Outcome::Observed, target, rule: rule.to_owned() };
        self.note(last, "", 0, &Json::Null);
    }

    /// About whom it is; refused when nobody must be hit, or nobody is there.
    fn target(&self, action: &Action, subject: &Subject) -> Result<String, (String, String)> {
        let process = format!("{} ({})", subject.name, subject.process.pid);
        let container = || {
            let none = || (process.clone(), "it runs in no container".to_owned());
            subject.container.clone().map(|id| format!("container {id}")).ok_or_else(none)
        };
        let spared = |target: String, why: Option<String>| match why {
            Some(why) => Err((target, why)),
            None => Ok(target),
        };
        let namespace = || self.guard.namespace(subject.namespace.as_deref());
        let address = || match subject.address {
            Some(address) => spared(address.to_string(), self.guard.address(address)),
            None => Err((process.clone(), "the event has no remote address".to_owned())),
        };
        match action {
            Action::Kill(Scope::Process) => spared(process.clone(), namespace()),
            Action::Kill(Scope::Tree) => spared(format!("{process} and its descendants"), namespace()),
            Action::Kill(Scope::Container) | Action::Quarantine { .. } => spared(container()?, namespace()),
            Action::BlockIp { .. } => address(),
            Action::LimitIp { policy, .. } => address().map(|address| format!("{address} under {policy}")),
            Action::OpenBreaker { service, .. } => Ok(service.clone()),
            Action::Notify { channel } => Ok(channel.clone()),
            Action::Deny => Ok(process),
            Action::Capture { ms } => Ok(format!("{} s", ms.div_ceil(1000))),
        }
    }

    fn kill(&self, scope: Scope, subject: &Subject, target: String) -> Done {
        let killer =
            Killer { proc: &self.proc, guard: &self.guard, in_container: subject.container.is_some() };
        let outcome = match scope {
            Scope::Process => killer.process(subject.process),
            Scope::Tree => killer.tree(subject.process),
            Scope::Container => match self.group(subject) {
                Some(group) => killer.group(&group),
                None => Err(Fault::Gone(subject.process.pid)),
            },
        };
        match outcome {
            Ok(Killed { pids, spared }) => (Outcome::Done, target, json!({ "pids": pids, "spared": spared })),
            Err(fault @ Fault::Protected(..)) => {
                (Outcome::Refused, target, json!({ "why": fault.to_string() }))
            }
            Err(fault) => (Outcome::Failed, target, json!({ "why": fault.to_string() })),
        }
    }

    /// The control group of the event's container.
    fn group(&self, subject: &Subject) -> Option<PathBuf> {
        group_of(self.cgroup_root.as_deref()?, subject.cgroup_id)
    }

    fn quarantine(&mut self, matched: &Match, traffic: Traffic, ttl_ms: u64, target: String) -> Done {
        let failed = |target, why: String| (Outcome::Failed, target, json!({ "why": why }));
        let Some(group) = self.group(&matched.order.subject) else {
            return failed(target, "its control group is gone".to_owned());
        };
        let group = super::keeping::pod_of(&group);
        let Some(id) = super::keeping::id_of(&group) else {
            return failed(target, format!("`{}` is gone", group.display()));
        };
        let root = self.cgroup_root.clone().unwrap_or_default();
        let deed = Deed::Quarantine {
            cgroup_id: id,
            cgroup: group.strip_prefix(&root).unwrap_or(&group).to_string_lossy().into_owned(),
            all: traffic == Traffic::All,
        };
        let doing = doing(matched, deed, ttl_ms);
        // Like an entry of the book, a later end counts.
        let until_ns = self.book.same(&doing.deed).map_or(0, |old| old.until.boot_ns);
        let until_ns = until_ns.max(doing.until.boot_ns);
        match self.quarantines.put(id, &group, traffic, until_ns, &self.settings.protect_nets) {
            Ok(()) => {
                let id = self.keep(doing);
                (Outcome::Done, target, json!({ "id": id, "group": group.to_string_lossy() }))
            }
            Err(error) => failed(target, in_full(&error)),
        }
    }

    /// Asks who owns it; the answer comes back as a command.
    fn ask(&self, matched: &Match, deed: Deed, ttl_ms: u64) {
        let doing = doing(matched, deed, ttl_ms);
        let (limits, services) = (self.others.limits.clone(), self.others.services.clone());
        let secs = ttl_ms.div_ceil(1000);
        let comment = format!("rule `{}`", doing.rule);
        let (desk, time_ns) = (self.desk.clone(), matched.time_ns);
        self.runtime.spawn(async move {
            let entry = |kind, address: IpAddr, policy| {
                AskLimits::Put(Wanted {
                    kind,
                    net: IpNet::from(address),
                    rate: None,
                    policy,
                    secs: Some(secs),
                    by: WHO.to_owned(),
                    comment: Some(comment),
                })
            };
            let result = match doing.deed.clone() {
                Deed::BlockIp { address } => {
                    limiting::ask(limits, entry(EntryKind::Deny, address, None)).await
                }
                Deed::LimitIp { address, policy } => {
                    limiting::ask(limits, entry(EntryKind::Limit, address, Some(policy))).await
                }
                Deed::OpenBreaker { service } => {
                    let ask = AskServices::ForceAll(service, breaker::Mode::ForcedOpen);
                    serving::ask(services, ask).await
                }
                Deed::Quarantine { .. } | Deed::Allow { .. } => Ok(()),
            };
            // A thread that has ended has nothing to note.
            let _ = desk.tell(Command::Told(Box::new(Told { doing, time_ns, result })));
        });
    }

    /// What was asked for is in force, or not.
    pub(super) fn told(&mut self, told: Told) {
        let Told { doing, time_ns, result } = told;
        let (rule, alert, deed) = (doing.rule.clone(), doing.alert.clone(), doing.deed.clone());
        let (outcome, details) = match result {
            Ok(()) => (Outcome::Done, json!({ "id": self.keep(doing) })),
            Err(why) => (Outcome::Failed, json!({ "why": why })),
        };
        let last = Last { kind: deed.kind(), outcome, target: deed.target(), rule };
        self.note(last, &alert, time_ns, &details);
    }

    /// Counts, notes and tells.
    pub(super) fn note(&mut self, last: Last, alert: &str, time_ns: u64, details: &Json) {
        let Last { kind, outcome, ref target, ref rule } = last;
        *self.counts.entry((kind, outcome)).or_default() += 1;
        let what = format!("response {}", kind.name());
        let who = format!("rule `{rule}`");
        let record = Record {
            who: &who,
            what: &what,
            about: target,
            outcome: outcome.name(),
            details: details.clone(),
        };
        if let Err(error) = self.audit.open().and_then(|line| line.write(&record)) {
            tracing::error!(what, target, "A response was not noted: {error}");
        }
        tracing::info!(rule, target, outcome = outcome.name(), "{what}");
        if !matches!(outcome, Outcome::Observed | Outcome::OverBudget) {
            self.tell(&last, alert, time_ns, details);
        }
        self.recent.keep(last);
    }

    fn tell(&self, last: &Last, alert: &str, time_ns: u64, details: &Json) {
        let Last { kind, outcome, target, rule } = last;
        let why = details.get("why").and_then(Json::as_str).map(|why| format!(": {why}")).unwrap_or_default();
        let mut fields = BTreeMap::from([
            ("response.action".to_owned(), Json::from(kind.name())),
            ("response.target".to_owned(), Json::from(target.as_str())),
            ("response.outcome".to_owned(), Json::from(outcome.name())),
            ("response.rule".to_owned(), Json::from(rule.as_str())),
            ("response.alert".to_owned(), Json::from(alert)),
            ("response.time".to_owned(), Json::from(time_ns)),
        ]);
        for (name, value) in details.as_object().into_iter().flatten() {
            fields.insert(format!("response.{name}"), value.clone());
        }
        let notice = Internal {
            what: "response",
            priority: match outcome {
                Outcome::Failed | Outcome::Refused => Priority::Warning,
                Outcome::Expired => Priority::Informational,
                _ => Priority::Notice,
            },
            message: format!("{} {target}: {}{why}, by rule `{rule}`", kind.name(), outcome.name()),
            fields,
        };
        // Full policy: drop. It stands in the audit and is counted.
        if self.others.notices.try_send(notice).is_err() {
            tracing::warn!("A response is not told as an alert, too many wait");
        }
    }
}

fn doing(matched: &Match, deed: Deed, ttl_ms: u64) -> Doing {
    let now = now();
    Doing {
        id: 0,
        deed,
        rule: matched.rule.clone(),
        alert: matched.alert.to_string(),
        made_secs: now.wall_secs,
        until: End::after(now, ttl_ms.div_ceil(1000)),
    }
}
