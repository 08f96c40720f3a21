//! What the kernel decides of each rule, for people.

mod text;

use rampart_common::{event::Family, pushdown::KEY_NUMBERS};
use rampart_rules::{
    catalog::{EventId, FieldId},
    comparisons::{ComparisonId, Expression},
    condition::ast::Op,
    typed::{FieldUse, Right, Source as Value, Test},
    value::Truth,
};

use self::text::shown;
use super::{
    interval,
    known::Known,
    paths::{self, Found, Presence},
    plan::Plan,
    process::{Scope, scope},
};
use crate::event::syscall::{self, Need, Row};

/// By what the kernel decides a comparison, or why it cannot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Decision {
    /// By whether the call failed.
    Result,
    /// By flags, modes and commands among the arguments.
    Arguments,
    /// By the path.
    Path,
    /// By the path, as far as a part of the text is necessary: what has it goes to the agent.
    PathPart,
    /// By the path as given, when that is already absolute and normal.
    PathAsGiven,
    /// By the socket: its kind, addresses and ports.
    Socket,
    /// By the process, until it runs another program or changes its user or control group.
    Process,
    /// By the process, until a process tree or metadata of containers changes.
    ProcessForNow,
    /// Not: it depends on this event alone.
    Event,
    /// Not: it compares two values of the event, or a computed one.
    Computed,
    /// Not: no part of a text is necessary for it.
    Pattern,
    /// Not: it changes while the process runs.
    Changing,
    /// Not: its list has more members than the kernel's table.
    LargeList,
}

/// What the kernel decides of a rule on some events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventReport {
    /// Family of the events.
    pub family: &'static str,
    /// Names of the events.
    pub events: Vec<&'static str>,
    /// Comparisons beyond the event type, each with how it is decided.
    pub comparisons: Vec<(String, Decision)>,
    /// Whether the kernel can reject these events for this rule at all.
    pub rejectable: bool,
    /// The agent needs these events itself, so none is rejected.
    pub always_sent: bool,
    /// Rules that share the rule's bit: what one of them needs is sent for all.
    pub sharing: usize,
    /// Strings of these comparisons were cut to make the table fit.
    pub cut: bool,
}

impl Decision {
    /// Whether the kernel can decide by it that a rule does not match.
    pub fn in_kernel(self) -> bool {
        !matches!(self, Self::Event | Self::Computed | Self::Pattern | Self::Changing | Self::LargeList)
    }

    /// A heading of few words.
    pub fn name(self) -> &'static str {
        match self {
            Self::Result => "result",
            Self::Arguments => "arguments",
            Self::Path => "path",
            Self::PathPart => "path, in part",
            Self::PathAsGiven => "path as given",
            Self::Socket => "socket",
            Self::Process => "process",
            Self::ProcessForNow => "process, for now",
            Self::Event | Self::Computed | Self::Pattern | Self::Changing | Self::LargeList => "agent",
        }
    }

    /// What a reader should know beyond the heading; empty when there is nothing.
    pub fn note(self) -> &'static str {
        match self {
            Self::Result | Self::Arguments | Self::Path | Self::Socket | Self::Process => "",
            Self::PathPart => "paths without what it needs are ruled out, the agent judges the others",
            Self::PathAsGiven => "if the path was given absolute and without `.`, `..` or double slashes",
            Self::ProcessForNow => "known anew after each change of a process tree or of metadata",
            Self::Event => "depends on this event alone",
            Self::Computed => "compares a computed value or two values",
            Self::Pattern => "no part of the text is necessary",
            Self::Changing => "changes while the process runs",
            Self::LargeList => "the list is larger than the kernel's table",
        }
    }
}

impl Plan {
    /// What the kernel decides of an enabled rule, by its position in the rule set.
    pub fn report(&self, rule: usize) -> Vec<EventReport> {
        let mut reports: Vec<EventReport> = Vec::new();
        let Some(events) = self.policy().rules().get(rule).map(|rule| rule.events) else { return reports };
        for event in events.iter() {
            let Some(row) = syscall::by_event(event) else { continue };
            if row.number.is_none() && row.need != Need::State {
                continue;
            }
            let Some(report) = self.report_on(rule, event, row) else { continue };
            let same = |known: &&mut EventReport| {
                known.family == report.family
                    && known.comparisons == report.comparisons
                    && known.always_sent == report.always_sent
            };
            match reports.iter_mut().find(same) {
                Some(known) => known.events.extend(report.events),
                None => reports.push(report),
            }
        }
        reports
    }

    fn report_on(&self, rule: usize, event: EventId, row: &'static Row) -> Option<EventReport> {
        let rest = self.by_event.get(&event)?;
        let (_, expression) = rest.iter().find(|(at, _)| *at == rule)?;
        let mut comparisons: Vec<(String, Decision)> = Vec::new();
        let mut cut = false;
        expression.for_each(&mut |id| {
            let Some(test) = self.comparisons.test(id) else { return };
            if always_same(test, row) {
                return;
            }
            cut |= self.paths.test(id).is_some_and(|path| path.cut);
            let entry = (shown(test), self.decision(id, test, row));
            if !comparisons.contains(&entry) {
                comparisons.push(entry);
            }
        });
        comparisons.sort_by_key(|(_, decision)| *decision);
        Some(EventReport {
            family: row.family.name(),
            events: event.def().map(|def| def.name).into_iter().collect(),
            comparisons,
            rejectable: self.rejectable(expression, row),
            always_sent: self.never(row),
            sharing: self.bits.sharing(rule, row.family),
            cut,
        })
    }

    /// Whether what the kernel decides may make it false.
    fn rejectable(&self, expression: &Expression, row: &'static Row) -> bool {
        match expression {
            Expression::Const(value) => !value,
            Expression::All(parts) => parts.iter().any(|part| self.rejectable(part, row)),
            Expression::Any(parts) => parts.iter().all(|part| self.rejectable(part, row)),
            Expression::Test { comparison, .. } => self
                .comparisons
                .test(*comparison)
                .is_some_and(|test| self.decision(*comparison, test, row).in_kernel()),
        }
    }

    fn decision(&self, id: ComparisonId, test: &Test, row: &'static Row) -> Decision {
        if let Some(path) = self.paths.test(id) {
            match paths::presence(test, row, false) {
                Some(Presence::Shown) if path.is_verbatim() => return Decision::PathAsGiven,
                Some(Presence::Shown) if path.exact && !path.shared => return Decision::Path,
                Some(Presence::Shown) => return Decision::PathPart,
                Some(Presence::Missing) => return Decision::Result,
                Some(Presence::Unknown) => return Decision::Event,
                None => {}
            }
        }
        if interval::of(test, row, true).is_some() {
            return Decision::Result;
        }
        let mut worst = None;
        let mut look = |field: &FieldUse| worst = worst.max(Some(self.source(field, row)));
        test.left.for_each_field(&mut look);
        if let Right::Source(right) = &test.right {
            right.for_each_field(&mut look);
        }
        match worst {
            // Patterns on the path have no strings to search for.
            Some(Decision::Event) if test.op == Op::Regex => Decision::Pattern,
            Some(Decision::Event) if !matches!(test.left, Value::Field(_)) => Decision::Computed,
            Some(Decision::Event | Decision::Socket) if matches!(test.right, Right::Source(_)) => {
                Decision::Computed
            }
            Some(Decision::Socket) if self.classes.leaves_out(id) => Decision::LargeList,
            Some(worst) => worst,
            None => Decision::Result,
        }
    }

    /// How the value of a field is known.
    fn source(&self, field: &FieldUse, row: &'static Row) -> Decision {
        let arg = field.arg.as_ref();
        match scope(field.id, arg) {
            Scope::Image | Scope::Process => return Decision::Process,
            Scope::Epoch => return Decision::ProcessForNow,
            Scope::Event => {}
        }
        let none = [None; KEY_NUMBERS];
        let some = syscall::numbers(row).map(|slot| slot.checked_sub(1).map(|argument| (argument, 0)));
        let path = paths::classified(row).then_some(Found { signature: [0; 2], verbatim: true });
        let known =
            |numbers, path, socket, failed| Known { row, failed, numbers, path, socket }.has(field.id, arg);
        if known(none, path, None, false) || known(none, None, None, true) {
            return Decision::Result;
        }
        if known(some, path, None, false) {
            return Decision::Arguments;
        }
        if row.family != Family::Open && known(some, None, Some(self.some_socket(row)), false) {
            return Decision::Socket;
        }
        if is_of_process(field.id) { Decision::Changing } else { Decision::Event }
    }
}

/// Whether it says nothing: it is the same on every event of a type (`evt.num = 0`, an empty list).
fn always_same(test: &Test, row: &Row) -> bool {
    if matches!(&test.right, Right::Values(_, values) if values.is_empty()) {
        return true;
    }
    let of = |failed| Some(interval::truth(test, interval::of(test, row, failed)?));
    of(false).is_some_and(|truth| truth != Truth::Unknown && of(true) == Some(truth))
}

fn is_of_process(field: FieldId) -> bool {
    use rampart_rules::catalog::Class;
    matches!(field.def().class, Class::Process | Class::User | Class::Group | Class::Container)
}
