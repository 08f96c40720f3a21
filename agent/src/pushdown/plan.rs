//! The plan of a rule set: bits, tables, and masks on demand.

mod tables;

use std::{
    collections::{HashMap, HashSet},
    fmt,
    sync::Arc,
};

use rampart_common::{
    event::{FAMILY_COUNT, Family},
    pushdown::{
        ALL, AddressKey, CLASS_FAILED, CLASS_PATH, CLASS_SOCKET, CLASS_VERBATIM, CallKey, KEY_NUMBERS, Mask,
        Signature,
    },
};
use rampart_rules::{
    catalog::{EventId, ids},
    comparisons::{ComparisonId, Comparisons, Expression},
    rule::{Rule, RuleSet},
    value::Truth,
};

use self::tables::feeds_peers;
use super::{
    automaton::Size,
    bits::Bits,
    call::{Judge, Rules},
    image::Image,
    known::Known,
    paths::{self, Found, Paths},
    process::{ProcessFields, Scope},
    sockets::Classes,
};
use crate::{
    engine::{
        clock::Clock,
        fields::{EventFields, Facts, View},
        push::ProcessMasks,
        shed::Shed,
    },
    event::syscall::{self, SyscallTable},
    state::{self, State, told::Outside},
};

/// What the kernel knows of a rule set, and what else it will be told.
pub struct Plan {
    policy: Arc<RuleSet>,
    /// What it takes for not there.
    shed: Arc<Shed>,
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
    pub(super) needs_all: bool,
    /// Events of which some may be counted in the kernel.
    pub(super) streams: HashSet<EventId>,
    /// A rule asks whether a datagram goes to another peer than the one before.
    pub(super) needs_peers: bool,
    blank: State,
    clock: Clock,
}

impl Plan {
    /// Plans a rule set. `generation` is never 0; see [`Plan::number`].
    pub fn new(policy: Arc<RuleSet>, generation: u32) -> Self {
        Self::without(policy, generation, Arc::default())
    }

    /// Plans a rule set as if some rules did not exist on the events of some families.
    pub fn without(policy: Arc<RuleSet>, generation: u32, shed: Arc<Shed>) -> Self {
        let comparisons = Comparisons::new(&policy);
        let paths = Paths::new(&comparisons, policy.strict());
        let classes = Classes::new(&comparisons);
        let addresses = classes.addresses(generation);
        let needs_peers = policy.rules().iter().any(|rule| rule.uses(|field| field == ids::FD_NAME_CHANGED));
        let state = state::Config { outside: Outside::Told, ..state::Config::default() };
        let mut plan = Self {
            bits: Bits::new(&policy, needs_peers),
            policy,
            shed,
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
            streams: HashSet::new(),
            needs_peers,
            blank: State::new(state),
            clock: Clock::fixed(0, 0),
        };
        plan.needs_all = plan.depends_on_all();
        plan.reduce();
        let rows = syscall::rows().filter(|row| plan.streams_on(row));
        plan.streams = rows.map(|row| row.event).collect();
        plan.draw();
        plan
    }

    /// The rule set's number.
    pub fn generation(&self) -> u32 {
        self.generation
    }

    /// Gives the rule set another number, under which nothing is remembered of it yet.
    pub fn number(&mut self, generation: u32) {
        self.generation = generation;
        self.addresses = self.classes.addresses(generation);
    }

    /// The rules.
    pub fn policy(&self) -> &Arc<RuleSet> {
        &self.policy
    }

    /// What it takes for not there, although it is in [`Plan::policy`].
    pub fn shed(&self) -> &Arc<Shed> {
        &self.shed
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
        let masks = |scope| self.masks_within(facts, scope);
        let unknown = ProcessMasks { masks: [ALL; FAMILY_COUNT], depends_on_epoch: false };
        let Some((lasting, mut now)) = masks(Scope::Process).zip(masks(Scope::Epoch)) else { return unknown };
        // The agent is told of every program that starts, so masks that soon end would gain next to nothing there.
        for family in [Family::Exec, Family::Process] {
            if let (Some(now), Some(lasting)) = (now.get_mut(family as usize), lasting.get(family as usize)) {
                *now = *lasting;
            }
        }
        ProcessMasks { masks: now, depends_on_epoch: now != lasting }
    }

    /// The rules that may match events of any process that runs the image of an event's process.
    pub fn image_masks(&self, facts: &Facts<'_>) -> [Mask; FAMILY_COUNT] {
        self.masks_within(facts, Scope::Image).unwrap_or([ALL; FAMILY_COUNT])
    }

    /// The rules that may match when of the process only that is known; `None` when it is not in the table.
    fn masks_within(&self, facts: &Facts<'_>, known: Scope) -> Option<[Mask; FAMILY_COUNT]> {
        let fields = ProcessFields::new(facts, EventFields::new(facts, View::Lexical), known)?;
        Some(self.masks_of(&fields))
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
            classes: &self.classes,
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
}

impl fmt::Debug for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Plan").field("generation", &self.generation).finish_non_exhaustive()
    }
}
