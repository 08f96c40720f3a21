//! Fields that have no value on any event type a comparison is reached with, and alternatives no event type reaches.
//!
//! Only what the catalogue says for certain counts: which parameters an event has, whether it is about a descriptor
//! at all, and whether that descriptor can be a socket.

use std::collections::HashMap;

use super::event_types::{self, Part};
use crate::{
    catalog::{
        self, CREATES_FD, Class, DESTROYS_FD, EVENTS, EventDef, EventId, FieldId, ParamType, READS_FD,
        USES_FD, WRITES_FD, event_ids as ev, ids,
    },
    diagnostic::{Diagnostic, Severity, code},
    event_set::EventSet,
    rule::Rule,
    typed::{Arg, FieldUse, Node, Right, Test},
};

/// Event types named in a message before it is cut short.
const NAMED: usize = 4;

/// Fields of sockets.
const SOCKET: [FieldId; 24] = [
    ids::FD_IP,
    ids::FD_CIP,
    ids::FD_SIP,
    ids::FD_LIP,
    ids::FD_RIP,
    ids::FD_PORT,
    ids::FD_CPORT,
    ids::FD_SPORT,
    ids::FD_LPORT,
    ids::FD_RPORT,
    ids::FD_NET,
    ids::FD_CNET,
    ids::FD_SNET,
    ids::FD_LNET,
    ids::FD_RNET,
    ids::FD_PROTO,
    ids::FD_CPROTO,
    ids::FD_SPROTO,
    ids::FD_LPROTO,
    ids::FD_RPROTO,
    ids::FD_CIP_NAME,
    ids::FD_SIP_NAME,
    ids::FD_LIP_NAME,
    ids::FD_RIP_NAME,
];

/// Events whose descriptor is of their own making and never a socket.
const NEVER_SOCKETS: [EventId; 23] = [
    ev::OPEN,
    ev::OPENAT,
    ev::OPENAT2,
    ev::CREAT,
    ev::OPEN_BY_HANDLE_AT,
    ev::MEMFD_CREATE,
    ev::PIPE,
    ev::PIPE2,
    ev::EVENTFD,
    ev::EVENTFD2,
    ev::SIGNALFD,
    ev::SIGNALFD4,
    ev::TIMERFD_CREATE,
    ev::INOTIFY_INIT,
    ev::INOTIFY_INIT1,
    ev::USERFAULTFD,
    ev::EPOLL_CREATE,
    ev::EPOLL_CREATE1,
    ev::IO_URING_SETUP,
    ev::BPF,
    ev::PIDFD_OPEN,
    ev::GETDENTS,
    ev::GETDENTS64,
];

/// What is remembered from rule to rule.
#[derive(Default)]
pub(super) struct Lint {
    /// Event types on which a field can have a value; `None` for all.
    known: HashMap<(FieldId, Arg), Option<EventSet>>,
}

impl Lint {
    /// Looks at one rule. One whose condition was already found to be `fixed` is not said to be so again.
    pub(super) fn check(&mut self, rule: &Rule, fixed: bool, found: &mut Vec<Diagnostic>) {
        let parts = event_types::of(&rule.condition);
        let Some(whole) = parts.first() else { return };
        if whole.events.is_empty() {
            if !fixed {
                let message = format!("the condition of rule `{}` is never true", rule.name.escape_debug());
                found.push(
                    Diagnostic::new(code::NEVER_TRUE, message)
                        .at(rule.span)
                        .help("no event type satisfies all of its comparisons of `evt.type`"),
                );
            }
            return;
        }
        self.walk(&rule.condition, &parts, 0, whole.events, found);
    }

    /// Looks at the node at place `at` of `parts`, of which it is known that the event is one of `events`.
    fn walk(
        &mut self,
        node: &Node,
        parts: &[Part],
        at: usize,
        events: EventSet,
        found: &mut Vec<Diagnostic>,
    ) {
        let children = match node {
            Node::Const(_) => return,
            Node::Test(test) => return self.test(test, &events, found),
            Node::All(children) | Node::Any(children) => children,
        };
        let mut next = at + 1;
        for child in children {
            let Some(part) = parts.get(next) else { return };
            let reached = events.intersection(&part.events);
            if !reached.is_empty() {
                self.walk(child, parts, next, reached, found);
            } else if let Some(test) = first_test(child) {
                // Macros written for several rules leave such alternatives behind; they do no harm.
                found.push(
                    Diagnostic::new(code::FIXED_PART, "this alternative is never reached")
                        .severity(Severity::Note)
                        .at(test.span)
                        .help(format!("the event is always {} here", names(&events))),
                );
            }
            next += part.size;
        }
    }

    fn test(&mut self, test: &Test, events: &EventSet, found: &mut Vec<Diagnostic>) {
        if *events == EventSet::all() {
            return;
        }
        let mut report = |field: &FieldUse| {
            if let Some(has) = self.has(field)
                && has.intersection(events).is_empty()
            {
                found.push(finding(test, field, events, &has));
            }
        };
        test.left.for_each_field(&mut report);
        if let Right::Source(source) = &test.right {
            source.for_each_field(&mut report);
        }
    }

    /// Event types on which a field can have a value; `None` when that is not known for certain.
    fn has(&mut self, field: &FieldUse) -> Option<EventSet> {
        if !matches!(field.id.def().class, Class::Evt | Class::Fd | Class::Fdlist) {
            return None;
        }
        *self.known.entry((field.id, field.arg.clone())).or_insert_with(|| has(field.id, &field.arg))
    }
}

fn has(id: FieldId, arg: &Arg) -> Option<EventSet> {
    let those = |with: &dyn Fn(&EventDef) -> bool| {
        let rows = EVENTS.iter().zip(0..).filter(|(row, _)| with(row));
        Some(rows.map(|(_, index)| EventId(index)).collect::<EventSet>())
    };
    let class = id.def().class;
    match (id, arg) {
        (ids::EVT_ARG | ids::EVT_RAWARG, Arg::Key(key)) => {
            those(&|row| row.params.iter().any(|param| *param.name == **key))
        }
        (ids::EVT_ARG | ids::EVT_RAWARG, Arg::Index(index)) => {
            those(&|row| (row.params.len() as u64) > *index)
        }
        (ids::EVT_BUFFER, _) => those(&|row| {
            row.flags & (READS_FD | WRITES_FD) != 0
                || row.params.iter().any(|param| param.ty == ParamType::Buffer)
        }),
        _ if class == Class::Fdlist => {
            those(&|row| row.params.iter().any(|param| param.ty == ParamType::FdList))
        }
        _ if class == Class::Fd => {
            let descriptors = those(&about_descriptor)?;
            if SOCKET.contains(&id) {
                let never: EventSet = NEVER_SOCKETS.into_iter().collect();
                return Some(descriptors.intersection(&never.complement()));
            }
            Some(descriptors)
        }
        _ => None,
    }
}

fn about_descriptor(row: &EventDef) -> bool {
    row.flags & (CREATES_FD | DESTROYS_FD | USES_FD | READS_FD | WRITES_FD) != 0
        || row.params.iter().any(|param| matches!(param.ty, ParamType::Fd | ParamType::FdList))
}

fn finding(test: &Test, field: &FieldUse, events: &EventSet, has: &EventSet) -> Diagnostic {
    let name = written(field);
    let always = if test.negated { "true" } else { "false" };
    let finding =
        Diagnostic::new(code::FIELD_NEVER_SET, format!("`{name}` has no value on {} events", names(events)))
            .at(test.span);
    let only = events.iter().next().filter(|_| events.len() == 1).and_then(EventId::def);
    match (&field.arg, only) {
        (Arg::Key(_) | Arg::Index(_), Some(event)) if event.params.is_empty() || event.generic => {
            finding.help(format!("`{}` events have no parameters", event.name))
        }
        (Arg::Key(key), Some(event)) => {
            let known = event.params.iter().map(|param| param.name);
            let all: Vec<String> = known.clone().map(|param| format!("`{param}`")).collect();
            let finding = finding.did_you_mean(key, known);
            match finding.help {
                Some(_) => finding,
                None => finding.help(format!("the parameters of `{}` are {}", event.name, all.join(", "))),
            }
        }
        _ if has.is_empty() => finding.help("no event has it"),
        _ => finding.help(format!("the comparison is always {always} here; {} events have it", names(has))),
    }
}

/// The field as a rule writes it.
fn written(field: &FieldUse) -> String {
    let name = field.id.def().name;
    match &field.arg {
        Arg::None => name.to_owned(),
        Arg::Index(index) => format!("{name}[{index}]"),
        Arg::Key(key) if catalog::is_param(key) => format!("{name}.{key}"),
        Arg::Key(key) => format!("{name}[{key}]"),
    }
}

/// Event types for a message.
fn names(events: &EventSet) -> String {
    let shown: Vec<String> = events.iter().take(NAMED).map(|event| format!("`{event}`")).collect();
    let more = events.len().saturating_sub(shown.len());
    match (shown.as_slice(), more) {
        ([], _) => "no".to_owned(),
        (shown, 0) => match shown.split_last() {
            Some((last, [])) => last.clone(),
            Some((last, others)) => format!("{} or {last}", others.join(", ")),
            None => String::new(),
        },
        (shown, more) => format!("{} or {more} other", shown.join(", ")),
    }
}

fn first_test(node: &Node) -> Option<&Test> {
    match node {
        Node::Const(_) => None,
        Node::Test(test) => Some(test),
        Node::All(parts) | Node::Any(parts) => parts.iter().find_map(first_test),
    }
}
