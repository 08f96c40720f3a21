//! The tables that do not depend on events: what remains of each rule, what is known of each call from the start.

use rampart_common::{
    event::{EXTRA_MSGHDR, EXTRA_SOCKADDR, EXTRA_SOCKADDR_OUT, Family},
    pushdown::{
        KEY_NUMBERS, LOOK_NEVER, LOOK_NUMBERS, LOOK_PATH, LOOK_PROCESS, LOOK_SOCKET, LOOK_STREAM, Signature,
    },
};
use rampart_rules::{
    catalog::{FieldId, ids},
    comparisons::{ComparisonId, Expression},
    typed::{FieldUse, Right},
    value::{FieldArg, FieldSource, Truth, Value},
};

use super::Plan;
use crate::{
    event::syscall::{self, Need, Row},
    pushdown::{
        image::Image,
        interval,
        known::Known,
        paths::{self, Found},
        process::{Scope, scope},
        sockets::Ends,
    },
};

impl Plan {
    /// Finds what remains of each rule on each event type.
    pub(super) fn reduce(&mut self) {
        for event in self.policy.events().iter() {
            let Some(row) = syscall::by_event(event) else { continue };
            let only_type = NoFields;
            let mut rest: Vec<(usize, Expression)> = Vec::new();
            for (at, rule) in self.policy.rules().iter().enumerate() {
                if !rule.events.contains(event) || self.shed.contains(row.family, at) {
                    continue;
                }
                let Some(expression) = self.comparisons.rule(at) else { continue };
                let reduced =
                    expression.reduced(&mut |id| self.comparisons.evaluate(id, Some(event), &only_type));
                rest.push((at, reduced));
            }
            if let Some(family) = self.by_family.get_mut(row.family as usize) {
                for one in &rest {
                    if !family.contains(one) {
                        family.push(one.clone());
                    }
                }
            }
            self.by_event.insert(event, rest);
        }
    }

    /// Fills the image.
    pub(super) fn draw(&mut self) {
        let mut image = Image::new();
        self.paths.write(&mut image);
        for (port, class) in self.classes.ports() {
            image.port(port, class);
        }
        for row in syscall::rows() {
            let Some(number) = row.number else { continue };
            let masks = |path: Option<Found>| {
                [false, true].map(|failed| {
                    self.mask(Known { row, failed, numbers: [None; KEY_NUMBERS], path, socket: None })
                })
            };
            let base = masks(None);
            let nothing = Found { signature: Signature::default(), verbatim: true };
            let plain = if paths::classified(row) { masks(Some(nothing)) } else { base };
            let never = if self.never(row) { LOOK_NEVER } else { 0 };
            let stream = if self.streams.contains(&row.event) { LOOK_STREAM } else { 0 };
            image.call(number, &base, &plain, self.looks(row) | never | stream);
        }
        self.image = image;
    }

    /// Whether the agent itself needs the events of a row, so that none is rejected.
    pub(in crate::pushdown) fn never(&self, row: &Row) -> bool {
        row.need == Need::State || self.needs_all
    }

    /// What can make a difference to the rules on a call.
    pub(in crate::pushdown) fn looks(&self, row: &'static Row) -> u8 {
        let mut looks = 0;
        let mut look = |id: ComparisonId| {
            let Some(test) = self.comparisons.test(id) else { return };
            if self.paths.test(id).is_some() && paths::classified(row) {
                looks |= LOOK_PATH;
            }
            let mut field = |used: &FieldUse| {
                if scope(used.id, used.arg.as_ref()) != Scope::Event {
                    looks |= LOOK_PROCESS;
                }
                let known = |numbers, path, socket| {
                    Known { row, failed: false, numbers, path, socket }.has(used.id, used.arg.as_ref())
                };
                let none = [None; KEY_NUMBERS];
                let some =
                    syscall::numbers(row).map(|slot| slot.checked_sub(1).map(|argument| (argument, 0)));
                let path = paths::classified(row).then_some(Found { signature: [0; 2], verbatim: true });
                if known(some, path, None) && !known(none, path, None) {
                    looks |= LOOK_NUMBERS;
                }
                if row.family != Family::Open
                    && known(some, None, Some(self.some_socket(row)))
                    && !known(some, None, None)
                {
                    looks |= LOOK_SOCKET;
                }
            };
            test.left.for_each_field(&mut field);
            if let Right::Source(right) = &test.right {
                right.for_each_field(&mut field);
            }
        };
        for (_, rest) in self.by_event.get(&row.event).into_iter().flatten() {
            rest.for_each(&mut look);
        }
        let call = Known { row, failed: false, numbers: [None; KEY_NUMBERS], path: None, socket: None };
        if self.needs_peers && feeds_peers(&call) {
            looks |= LOOK_SOCKET;
        }
        looks
    }

    /// A socket of which everything is known.
    pub(in crate::pushdown) fn some_socket(&self, row: &Row) -> Ends<'_> {
        self.classes.ends(row, libc::AF_UNIX as u64, 0)
    }

    /// Whether a rule asks for the event's place in the stream, which rejected events would change.
    pub(super) fn depends_on_all(&self) -> bool {
        let of_stream = |field: FieldId| {
            matches!(
                field,
                ids::EVT_NUM
                    | ids::EVT_DELTATIME
                    | ids::EVT_DELTATIME_S
                    | ids::EVT_DELTATIME_NS
                    | ids::EVT_RELTIME
                    | ids::EVT_RELTIME_S
                    | ids::EVT_RELTIME_NS
            )
        };
        let Some(any) = syscall::rows().next() else { return false };
        self.comparisons.ids().filter_map(|id| self.comparisons.test(id)).any(|test| {
            let mut uses = false;
            test.left.for_each_field(&mut |used| uses |= of_stream(used.id));
            if let Right::Source(right) = &test.right {
                right.for_each_field(&mut |used| uses |= of_stream(used.id));
            }
            // Numbers below the first one are a way to write "never" and "always".
            uses && interval::of(test, any, false)
                .is_none_or(|range| interval::truth(test, range) == Truth::Unknown)
        })
    }
}

/// Whether the agent may learn from a call which peer a datagram socket talks to.
pub(super) fn feeds_peers(call: &Known<'_>) -> bool {
    let addressed = matches!(call.row.plan.extra_kind, EXTRA_SOCKADDR | EXTRA_SOCKADDR_OUT | EXTRA_MSGHDR);
    call.row.family == Family::Net
        && addressed
        && !call.failed
        && call.socket.is_none_or(|socket| socket.is_datagram())
}

/// No field is known.
struct NoFields;

impl FieldSource for NoFields {
    fn field<'a>(&'a self, _: FieldId, _: FieldArg<'_>) -> Value<'a> {
        Value::Unknown
    }
}
