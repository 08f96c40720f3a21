//! The plan of a rule set: bits, tables, and masks on demand.

use std::{collections::HashMap, fmt, sync::Arc};

use rampart_common::{
    event::{EXTRA_MSGHDR, EXTRA_SOCKADDR, EXTRA_SOCKADDR_OUT, FAMILY_COUNT, Family},
    pushdown::{
        ALL, AddressKey, CLASS_FAILED, CLASS_PATH, CLASS_SOCKET, CLASS_VERBATIM, CallKey, KEY_NUMBERS,
        LOOK_NEVER, LOOK_NUMBERS, LOOK_PATH, LOOK_PROCESS, LOOK_SOCKET, Mask, Signature,
    },
};
use rampart_rules::{
    catalog::{EventId, FieldId, ids},
    comparisons::{ComparisonId, Comparisons, Expression},
    rule::{Rule, RuleSet},
    typed::{FieldUse, Right},
    value::{FieldSource, Truth},
};

use super::{
    automaton::Size,
    bits::Bits,
    call::{Judge, Rules},
    image::Image,
    interval,
    known::Known,
    paths::{self, Found, Paths},
    process::{ProcessFields, Scope, scope},
    sockets::{Classes, Ends},
};
use crate::{
    engine::{
        clock::Clock,
        fields::{EventFields, Facts, View},
    },
    event::syscall::{self, Need, Row, SyscallTable},
    state::{self, State, told::Outside},
};

/// What the kernel knows of a rule set, and what else it will be told.
pub struct Plan {
    policy: Arc<RuleSet>,
    generation: u32,
    table: SyscallTable,
    pub(super) comparisons: Comparisons,
    pub(super) bits: Bits,
    pub(super) paths: Paths,
    pub(super) classes: Classes,
    /// What remains of each rule when the event type is known.
    pub(super) by_event: HashMap<EventId, Vec<(usize, Expression)>>,
    /// For each family the different remains of its rules over its event types.
    by_family: Vec<Vec<(usize, Expression)>>,
    pub(super) image: Image,
    addresses: Vec<(u32, AddressKey, u32)>,
    /// A rule asks for the event's place in the stream.
    needs_all: bool,
    /// A rule asks whether a datagram goes to another peer than the one before.
    pub(super) needs_peers: bool,
    blank: State,
    clock: Clock,
}

/// What a process says of the rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProcessMasks {
    /// Rules that may match on events of this process, by family.
    pub masks: [Mask; FAMILY_COUNT],
    /// Whether that holds only as long as no process tree, metadata or name file changes.
    pub depends_on_epoch: bool,
}

impl Plan {
    /// Plans a rule set. `generation` is never 0.
    pub fn new(policy: Arc<RuleSet>, generation: u32) -> Self {
        let comparisons = Comparisons::new(&policy);
        let paths = Paths::new(&comparisons, policy.strict());
        let classes = Classes::new(&comparisons);
        let addresses = classes.addresses(generation);
        let needs_peers = policy.rules().iter().any(|rule| rule.uses(|field| field == ids::FD_NAME_CHANGED));
        let state = state::Config { outside: Outside::Told, ..state::Config::default() };
        let mut plan = Self {
            bits: Bits::new(&policy, needs_peers),
            policy,
            generation,
            table: SyscallTable::new(),
            comparisons,
            paths,
            classes,
            by_event: HashMap::new(),
            by_family: vec![Vec::new(); FAMILY_COUNT],
            image: Image::new(),
            addresses,
            needs_all: false,
            needs_peers,
            blank: State::new(state),
            clock: Clock::fixed(0, 0),
        };
        plan.needs_all = plan.depends_on_all();
        plan.reduce();
        plan.draw();
        plan
    }

    /// The rule set's number.
    pub fn generation(&self) -> u32 {
        self.generation
    }

    /// The rules.
    pub fn policy(&self) -> &Arc<RuleSet> {
        &self.policy
    }

    /// The value of the kernel's table map, [`rampart_common::pushdown::Tables`], in words.
    pub fn image(&self) -> &[u64] {
        self.image.words()
    }

    /// Entries of the address table: prefix bits, key, class.
    pub fn addresses(&self) -> &[(u32, AddressKey, u32)] {
        &self.addresses
    }

    /// The rules that may match calls with these facts.
    pub fn mask_of(&self, key: &CallKey) -> Mask {
        let Some(row) = self.table.number(u32::from(key.syscall)) else { return ALL };
        if key.generation != self.generation {
            return ALL;
        }
        let has = |bit: u8| key.class & bit != 0 && (bit != CLASS_SOCKET || row.family == Family::Net);
        let found = Found { signature: key.signature, verbatim: has(CLASS_VERBATIM) };
        let slots = syscall::numbers(row);
        let mut numbers = [None; KEY_NUMBERS];
        let [first, second, third] = key.numbers;
        if has(CLASS_SOCKET) {
            numbers = [slots.first().and_then(|slot| Some((slot.checked_sub(1)?, third))), None, None];
        } else {
            for ((to, slot), value) in numbers.iter_mut().zip(slots).zip(key.numbers) {
                *to = slot.checked_sub(1).map(|argument| (argument, value));
            }
        }
        self.mask(Known {
            row,
            failed: has(CLASS_FAILED),
            numbers,
            path: (has(CLASS_PATH) && paths::classified(row)).then_some(found),
            socket: has(CLASS_SOCKET).then(|| self.classes.ends(row, first, second)),
        })
    }

    /// The rules that may match events of the process of an event, whatever the event.
    pub fn process_masks(&self, facts: &Facts<'_>) -> ProcessMasks {
        let masks = |with_epoch| {
            let fields = ProcessFields::new(facts, EventFields::new(facts, View::Lexical), with_epoch)?;
            Some(self.masks_of(&fields))
        };
        let unknown = ProcessMasks { masks: [ALL; FAMILY_COUNT], depends_on_epoch: false };
        let Some((lasting, now)) = masks(false).zip(masks(true)) else { return unknown };
        ProcessMasks { masks: now, depends_on_epoch: now != lasting }
    }

    fn masks_of(&self, fields: &ProcessFields<'_, '_>) -> [Mask; FAMILY_COUNT] {
        let mut truths: Vec<Option<Truth>> = vec![None; self.comparisons.len()];
        let mut holds = |id: ComparisonId| {
            let known = truths.get(id.0 as usize).copied().flatten();
            known.unwrap_or_else(|| {
                // Event types are decided already; what else asks for one finds it unknown.
                let truth = self.comparisons.evaluate(id, None, fields);
                if let Some(slot) = truths.get_mut(id.0 as usize) {
                    *slot = Some(truth);
                }
                truth
            })
        };
        let mut masks = [ALL; FAMILY_COUNT];
        for family in Family::ALL {
            let Some(rules) = self.by_family.get(family as usize) else { continue };
            let possible = rules.iter().filter(|(_, rest)| rest.truth(&mut holds) != Truth::False);
            let state = self.needs_peers.then_some(self.state_rule());
            if let Some(mask) = masks.get_mut(family as usize) {
                *mask = self.bits.mask(family, possible.map(|(rule, _)| *rule).chain(state));
            }
        }
        masks
    }

    /// Evaluates those rules of an event type that a mask leaves, in order: calls `on_rule` with each that is not
    /// false, up to the first that is true when only one may match.
    pub fn evaluate<S: FieldSource>(
        &self,
        event: EventId,
        family: Family,
        candidates: &Mask,
        source: &S,
        on_rule: impl FnMut(&Rule, Truth),
    ) {
        let among = |rule| self.bits.contains(family, candidates, rule);
        self.policy.evaluate_among(event, source, among, on_rule);
    }

    /// The rules of a family that a mask leaves, in evaluation order.
    pub fn rules<'a>(&'a self, family: Family, mask: &'a Mask) -> impl Iterator<Item = &'a Rule> {
        let rules = self.policy.rules().iter().enumerate();
        rules
            .filter(move |(at, _)| {
                self.bits.bit(*at, family).is_some() && self.bits.contains(family, mask, *at)
            })
            .map(|(_, rule)| rule)
    }

    /// Size of the automaton.
    pub fn size(&self) -> Size {
        self.paths.size()
    }

    /// Which strings of the rules' comparisons occur in a path: the kernel's walk over the same table.
    pub fn signature(&self, path: &[u8]) -> Signature {
        self.image.signature(path)
    }

    /// The class of a port.
    pub fn port_class(&self, port: u16) -> u16 {
        self.image.port_class(port)
    }

    /// Masks of calls of which only this is known.
    fn mask(&self, known: Known<'_>) -> Mask {
        let rules = Rules {
            comparisons: &self.comparisons,
            paths: &self.paths,
            blank: &self.blank,
            clock: &self.clock,
        };
        let mut judge = Judge::new(rules, known);
        let rest = self.by_event.get(&known.row.event).map_or(&[][..], Vec::as_slice);
        let possible = rest.iter().filter(|(_, rest)| rest.truth(&mut |id| judge.truth(id)) != Truth::False);
        let state = (self.needs_peers && feeds_peers(&known)).then_some(self.state_rule());
        self.bits.mask(known.row.family, possible.map(|(rule, _)| *rule).chain(state))
    }

    /// The agent itself as a rule, see [`Bits::new`].
    fn state_rule(&self) -> usize {
        self.policy.rules().len()
    }

    /// Finds what remains of each rule on each event type.
    fn reduce(&mut self) {
        for event in self.policy.events().iter() {
            let Some(row) = syscall::by_event(event) else { continue };
            let only_type = NoFields;
            let mut rest: Vec<(usize, Expression)> = Vec::new();
            for (at, rule) in self.policy.rules().iter().enumerate() {
                if !rule.events.contains(event) {
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
    fn draw(&mut self) {
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
            image.call(number, &base, &plain, self.looks(row) | never);
        }
        self.image = image;
    }

    /// Whether the agent itself needs the events of a row, so that none is rejected.
    pub(super) fn never(&self, row: &Row) -> bool {
        row.need == Need::State || self.needs_all
    }

    /// What can make a difference to the rules on a call.
    pub(super) fn looks(&self, row: &'static Row) -> u8 {
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
    pub(super) fn some_socket(&self, row: &Row) -> Ends<'_> {
        self.classes.ends(row, libc::AF_UNIX as u64, 0)
    }

    /// Whether a rule asks for the event's place in the stream, which rejected events would change.
    fn depends_on_all(&self) -> bool {
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
fn feeds_peers(call: &Known<'_>) -> bool {
    let addressed = matches!(call.row.plan.extra_kind, EXTRA_SOCKADDR | EXTRA_SOCKADDR_OUT | EXTRA_MSGHDR);
    call.row.family == Family::Net
        && addressed
        && !call.failed
        && call.socket.is_none_or(|socket| socket.is_datagram())
}

/// No field is known.
struct NoFields;

impl FieldSource for NoFields {
    fn field<'a>(
        &'a self,
        _: FieldId,
        _: rampart_rules::value::FieldArg<'_>,
    ) -> rampart_rules::value::Value<'a> {
        rampart_rules::value::Value::Unknown
    }
}

impl fmt::Debug for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Plan").field("generation", &self.generation).finish_non_exhaustive()
    }
}
