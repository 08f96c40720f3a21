//! The decision about a packet, from its facts to a verdict with its reason.
//!
//! Order, first answer wins:
//! 1. the limiter is off; a malformed packet and a strict limiter; not IP; vital ICMP;
//! 2. the service, by interface, protocol and destination port; what has no ports is a service of its own;
//! 3. lists of single addresses, then those of prefixes (longest wins): safe, deny, allow (the agent resolved conflicts:
//!    safe > deny > allow);
//! 4. the policy of the address, of its prefix, or of the service;
//! 5. what the packet costs in the policy's unit; nothing costs nothing;
//! 6. a known key is charged; an unknown one passes the gate of prefixes and the budget of new entries first.
//!
//! A key that is known in this generation brings its policy along, and that it is on no list: steps 3 and 4 are skipped.
//!
//! Whatever rejects a packet only counts while the limiter or the policy observes, or when the agent is dead for too
//! long. State moves on all the same, so that observing shows what enforcing would do.

#![expect(clippy::indexing_slicing, reason = "the index is masked to the array's length")]
#![expect(clippy::inline_always, reason = "kernel programs are made of it: a call is not free there")]

use super::{
    abi::{
        CLASSES, Config, Control, ENFORCE, ENTRY_ADDRESS, ENTRY_PREFIX, ENTRY_SOURCE, Entry, EntryKey,
        FLOW_NS, GRANTS, Grant, LIST_ADDRESSES, LIST_PREFIXES, POLICIES, Policy, RULE_ADDRESSES, RULE_ALLOW,
        RULE_DENY, RULE_PREFIXES, RULE_SAFE, Rule, RuleKey, SERVICE_LISTS, SERVICE_PORTLESS, SHAPES,
        SOURCE_BITS_V4, SOURCE_BITS_V6, STRICT, Service, ServiceKey,
    },
    gate::{self, NEAR_SHIFT, mix},
    gcra::{Cell, Limit, Mode, Outcome, STRETCH_ONE, ahead},
    packet::{Address, IP, PORTLESS, Packet, SYN, TCP, UDP, VITAL},
    verdict::{Action, Defect, Direction, Reason, Unit, Verdict},
};

/// Tables, state and clock: maps in the kernel, collections in userspace.
pub trait World {
    /// A word of state.
    type Cell: Cell;
    /// A known key.
    type Known: Known;

    /// Generation in force; 0 = off.
    fn generation(&self) -> u32;
    /// Settings of a slot.
    fn config(&self, slot: u32) -> Option<&Config>;
    /// What the living agent wrote.
    fn control(&self) -> Option<&Control>;
    /// Policy by its index over both slots.
    fn policy(&self, index: u32) -> Option<&Policy>;
    /// Grant by its index over both slots.
    fn grant(&self, index: u32) -> Option<&Grant>;
    /// A service.
    fn service(&self, key: &ServiceKey) -> Option<Service>;
    /// What [`Self::remember`] was told of this, should it be known still. Only quicker than [`Self::service`].
    fn remembered(&self, _seen: &Seen) -> Option<Service> {
        None
    }
    /// Remembers the service of packets like this one.
    fn remember(&self, _seen: &Seen, _service: Service) {}
    /// Rule of a single address.
    fn address_rule(&self, key: &RuleKey) -> Option<Rule>;
    /// Rule of the longest prefix that the address lies in.
    fn prefix_rule(&self, key: &RuleKey) -> Option<Rule>;
    /// A known key.
    fn entry(&self, key: &EntryKey) -> Option<Self::Known>;
    /// Makes a key known. False when it could not be, or when it is known already.
    fn add_entry(&self, key: &EntryKey, entry: &Entry) -> bool;
    /// A cell of the gate.
    fn cell(&self, index: u32) -> Option<Self::Cell>;
    /// The budget of new entries of this CPU.
    fn budget(&self) -> Option<Self::Cell>;
    /// When a UDP flow was last seen.
    fn flow(&self, hash: u64) -> Option<u64>;
    /// Notes that a UDP flow was seen.
    fn set_flow(&self, hash: u64, now: u64);
    /// The boot clock.
    fn now(&self) -> u64;
}

/// What a packet's service follows from.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Generation of the tables; 0 = nothing.
    pub generation: u32,
    /// Interface.
    pub interface: u32,
    /// Destination port, protocol and direction.
    pub flow: u32,
}

/// State of a known key; its word is the GCRA's.
pub trait Known: Cell {
    /// Generation, policy and grant it has.
    fn terms(&self) -> (u32, u16, u16);
    /// Gives it new ones.
    fn set_terms(&self, generation: u32, policy: u16, grant: u16);
    /// Counts admitted units.
    fn count_used(&self, units: u32);
    /// Counts a packet over the limit.
    fn count_over(&self);
}

/// Where a packet was seen.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// Which way it goes.
    pub direction: Direction,
    /// Index of the interface.
    pub interface: u32,
    /// Packets on the wire that it stands for.
    pub segments: u32,
}

/// What became of a packet, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// What to do.
    pub verdict: Verdict,
    /// Why.
    pub reason: Reason,
    /// Policy that decided; 0 = none.
    pub policy: u32,
    /// It would have been rejected, but verdicts are only observed.
    pub is_observed: bool,
    /// How far over the limit.
    pub excess_ns: u64,
    /// How far the limit lets a key run ahead.
    pub allowed_ns: u64,
    /// When, for packets that a reason rejects.
    pub now_ns: u64,
}

/// How often a UDP flow's time is written: not for every datagram.
const FLOW_TOUCH_NS: u64 = 1_000_000_000;

/// Judges a packet.
#[inline(always)]
pub fn judge<W: World>(world: &W, packet: &Packet, place: &Place) -> Judgement {
    let generation = world.generation();
    if generation == 0 {
        return pass(Reason::Off, 0);
    }
    let slot = generation & 1;
    let Some(config) = world.config(slot) else { return pass(Reason::Off, 0) };
    let case = Case { world, config, packet, place, generation, slot };
    if config.flags & STRICT != 0 && !matches!(packet.defect, Defect::None) {
        return case.reject(Reason::Malformed, world.now());
    }
    if !packet.is(IP) {
        return pass(Reason::NotIp, 0);
    }
    if packet.is(VITAL) {
        return pass(Reason::Vital, 0);
    }
    let service = case.service();
    if service.number == SERVICE_LISTS {
        return case.on_lists(true).unwrap_or(pass(Reason::NoPolicy, 0));
    }
    case.limit(service)
}

#[inline(always)]
const fn pass(reason: Reason, policy: u32) -> Judgement {
    Judgement {
        verdict: Verdict::Pass,
        reason,
        policy,
        is_observed: false,
        excess_ns: 0,
        allowed_ns: 0,
        now_ns: 0,
    }
}

/// A packet that is being judged.
struct Case<'a, W> {
    world: &'a W,
    config: &'a Config,
    packet: &'a Packet,
    place: &'a Place,
    generation: u32,
    slot: u32,
}

/// The terms of a key.
struct Terms<'a> {
    number: u32,
    policy: &'a Policy,
    limit: &'a Limit,
}

impl<W: World> Case<'_, W> {
    #[inline(always)]
    fn rule_key(&self, service: u16) -> RuleKey {
        RuleKey::new(self.slot as u8, service, self.packet.source)
    }

    /// What a list says; nothing when it holds a policy.
    #[inline(always)]
    fn listed(&self, rule: Rule) -> Option<Judgement> {
        let kind = if rule.until_secs == 0 { rule.kind } else { rule.kind_at(self.world.now()) };
        match kind {
            RULE_SAFE => Some(pass(Reason::Safe, 0)),
            RULE_ALLOW => Some(pass(Reason::Allowed, 0)),
            RULE_DENY => Some(self.reject(Reason::Denied, self.world.now())),
            _ => None,
        }
    }

    /// What the lists say of the source: those of single addresses, and with `prefixes` the others too.
    #[inline(always)]
    fn on_lists(&self, prefixes: bool) -> Option<Judgement> {
        let key = self.rule_key(SERVICE_LISTS);
        if self.config.flags & LIST_ADDRESSES != 0
            && let Some(rule) = self.world.address_rule(&key)
            && let Some(judgement) = self.listed(rule)
        {
            return Some(judgement);
        }
        if prefixes && self.config.flags & LIST_PREFIXES != 0 {
            return self.world.prefix_rule(&key).and_then(|rule| self.listed(rule));
        }
        None
    }

    /// Number [`SERVICE_LISTS`] when there is none.
    #[inline(always)]
    fn service(&self) -> Service {
        if self.packet.is(PORTLESS) {
            let policy = self.config.portless_policy as u16;
            let number = if policy == 0 { SERVICE_LISTS } else { SERVICE_PORTLESS };
            return Service { number, policy };
        }
        let seen = Seen {
            generation: self.generation,
            interface: self.place.interface,
            flow: u32::from(self.packet.destination_port) << 16
                | u32::from(self.packet.protocol) << 8
                | self.place.direction as u32,
        };
        if let Some(service) = self.world.remembered(&seen) {
            return service;
        }
        let service = self.look_up_service();
        self.world.remember(&seen, service);
        service
    }

    #[inline(always)]
    fn look_up_service(&self) -> Service {
        for (index, (interface, protocol, port)) in SHAPES.iter().enumerate() {
            if self.config.shapes >> index & 1 == 0 {
                continue;
            }
            let key = ServiceKey {
                interface: if *interface { self.place.interface } else { 0 },
                port: if *port { self.packet.destination_port } else { 0 },
                protocol: if *protocol { self.packet.protocol } else { 0 },
                has_protocol: u8::from(*protocol),
                slot: self.slot as u8,
                direction: self.place.direction as u8,
                pad: 0,
            };
            if let Some(service) = self.world.service(&key) {
                return service;
            }
        }
        Service { number: SERVICE_LISTS, policy: 0 }
    }

    #[inline(always)]
    fn limit(&self, service: Service) -> Judgement {
        let Self { world, config, packet, .. } = *self;
        let own = if config.flags & RULE_ADDRESSES != 0 {
            world.address_rule(&self.rule_key(service.number))
        } else {
            None
        };
        let is_v4 = packet.source.is_v4();
        let (kind, bits) = match own {
            Some(_) => (ENTRY_ADDRESS, 128),
            None => (ENTRY_SOURCE, if is_v4 { SOURCE_BITS_V4 } else { SOURCE_BITS_V6 }),
        };
        let mut key = entry_key(packet.source, service.number, kind, bits);
        let mut known = world.entry(&key);
        // Plain variables: an optional triple leaves undefined what it does not hold, and the verifier refuses that.
        let (mut is_current, mut number, mut grant) = (false, 0, 0);
        if let Some(known) = &known {
            let terms = known.terms();
            if terms.0 == self.generation {
                (is_current, number, grant) = (true, terms.1, terms.2);
            }
        }
        // An IPv4 entry is of a single address and stands for its lists; an IPv6 one is of a /64, in which a single
        // address may be listed.
        if (!is_current || !is_v4)
            && let Some(judgement) = self.on_lists(!is_current)
        {
            return judgement;
        }
        if !is_current {
            let rule = match own {
                None if config.flags & RULE_PREFIXES != 0 => {
                    world.prefix_rule(&self.rule_key(service.number))
                }
                own => own,
            };
            (number, grant) = rule.map_or((service.policy, 0), |rule| (rule.policy, rule.grant));
        }
        if number == 0 {
            return pass(Reason::NoPolicy, 0);
        }
        let index = self.slot * POLICIES + (u32::from(number) & (POLICIES - 1));
        let Some(policy) = world.policy(index) else { return pass(Reason::NoPolicy, 0) };
        let policy_bits = u32::from(if is_v4 { policy.key_v4 } else { policy.key_v6 });
        if kind == ENTRY_SOURCE && (policy_bits < bits || policy.is_shared != 0) {
            key = entry_key(packet.source, number, ENTRY_PREFIX, policy_bits);
            known = world.entry(&key);
        }
        let units = self.units(policy);
        if units == 0 {
            return pass(Reason::Continues, u32::from(number));
        }
        let now = world.now();
        let flow = if matches!(Unit::of(policy.unit), Unit::NewFlows) && is_udp_flow(packet) {
            let hash = self.flow_hash(config.seed, service.number);
            // Plain numbers again; no flow was seen when the machine booted.
            let (mut seen, mut is_moved) = (world.flow(hash).unwrap_or(0), false);
            if seen == 0 && ahead(config.seeded_ns.wrapping_add(FLOW_NS), now) > 0 {
                seen = world.flow(self.flow_hash(config.seed_before, service.number)).unwrap_or(0);
                is_moved = true;
            }
            if seen != 0 && ahead(now, seen) < FLOW_NS {
                if is_moved || ahead(now, seen) > FLOW_TOUCH_NS {
                    world.set_flow(hash, now);
                }
                return pass(Reason::Continues, u32::from(number));
            }
            Some(hash)
        } else {
            None
        };
        let mut limit = &policy.limit;
        if grant != 0
            && let Some(grant) = world.grant(self.slot * GRANTS + (u32::from(grant) & (GRANTS - 1)))
            && ahead(grant.until_ns, now) > 0
        {
            if grant.limit.mult == 0 {
                let terms = Terms { number: u32::from(number), policy, limit };
                return self.over(Reason::OverQuota, &terms, 0, now);
            }
            limit = &grant.limit;
        }
        let stretch = match world.control() {
            Some(control) => control.stretch[policy.class as usize & (CLASSES - 1)],
            None => STRETCH_ONE,
        };
        let step_ns = limit.step_ns(units, stretch);
        let terms = Terms { number: u32::from(number), policy, limit };
        let judgement = match known {
            Some(known) => {
                if known.terms().0 != self.generation {
                    self.renew(&known, number, grant, limit, now);
                }
                self.charge(&known, &terms, units, step_ns, now)
            }
            None => self.unknown(&key, &terms, grant, units, step_ns, now),
        };
        if let Some(hash) = flow
            && !judgement.reason.rejects()
        {
            world.set_flow(hash, now);
        }
        judgement
    }

    /// Gives a key the terms of this generation.
    #[inline(always)]
    fn renew(&self, known: &W::Known, policy: u16, grant: u16, limit: &Limit, now: u64) {
        let tat = known.load();
        let rebased = limit.rebase(tat, now);
        if rebased != tat {
            // Whoever was quicker has charged this packet's fellow; the next look at the key tries again.
            known.exchange(tat, rebased);
        }
        known.set_terms(self.generation, policy, grant);
    }

    #[inline(always)]
    fn charge(&self, known: &W::Known, terms: &Terms<'_>, units: u32, step_ns: u64, now: u64) -> Judgement {
        match terms.limit.charge(known, now, step_ns, Mode::of(terms.policy.mode)) {
            Outcome::Admitted => {
                known.count_used(units);
                pass(Reason::Within, terms.number)
            }
            Outcome::Over(excess) => {
                known.count_over();
                self.over(Reason::Over, terms, excess, now)
            }
        }
    }

    /// The gate of prefixes and the budget.
    #[inline(always)]
    fn unknown(
        &self,
        key: &EntryKey,
        terms: &Terms<'_>,
        grant: u16,
        units: u32,
        step_ns: u64,
        now: u64,
    ) -> Judgement {
        let Self { world, config, packet, .. } = *self;
        let mut tat = gate::first_tat(terms.limit, now, step_ns, false);
        // Addresses with rules of their own are few and not invented.
        if key.kind != ENTRY_ADDRESS {
            let Some(budget) = world.budget() else { return pass(Reason::WithinPrefix, terms.number) };
            let is_churning = gate::is_churning(budget.load(), now, &config.budget);
            let prefixes = gate::prefixes(packet.source);
            let far_step = gate::cell_step(step_ns, gate::far_shift(is_churning));
            let far = self.cell(terms, prefixes.far, true, now);
            // Looked at before the near cell is charged, which is no use then: most of a flood ends here.
            if let Some(cell) = &far
                && let Outcome::Over(excess) =
                    terms.limit.look(cell.load(), now, far_step, Mode::Throttle).outcome
            {
                return self.over(Reason::OverFar, terms, excess, now);
            }
            let near_step = gate::cell_step(step_ns, NEAR_SHIFT);
            if let Some(cell) = self.cell(terms, prefixes.near, false, now)
                && let Outcome::Over(excess) = terms.limit.charge(&cell, now, near_step, Mode::Throttle)
            {
                return self.over(Reason::OverNear, terms, excess, now);
            }
            if let Some(cell) = far
                && let Outcome::Over(excess) = terms.limit.charge(&cell, now, far_step, Mode::Throttle)
            {
                return self.over(Reason::OverFar, terms, excess, now);
            }
            let place = config.budget.step_ns(1, STRETCH_ONE);
            if let Outcome::Over(_) = config.budget.charge(&budget, now, place, Mode::Throttle) {
                return pass(Reason::WithinPrefix, terms.number);
            }
            tat = gate::first_tat(terms.limit, now, step_ns, is_churning);
        }
        let entry = Entry {
            tat,
            used: u64::from(units),
            generation: self.generation,
            over: 0,
            policy: terms.number as u16,
            grant,
            pad: 0,
        };
        if world.add_entry(key, &entry) {
            return pass(Reason::Within, terms.number);
        }
        // Another CPU was quicker with the same key.
        match world.entry(key) {
            Some(known) => self.charge(&known, terms, units, step_ns, now),
            None => pass(Reason::WithinPrefix, terms.number),
        }
    }

    /// The cell of a prefix, with what was owed at its place under the seed before.
    #[inline(always)]
    fn cell(&self, terms: &Terms<'_>, prefix: Address, far: bool, now: u64) -> Option<W::Cell> {
        let Self { world, config, .. } = *self;
        let cell = world.cell(gate::cell(config.seed, terms.number, prefix, far))?;
        if gate::is_carried(config.seeded_ns, terms.limit, now)
            && let Some(before) = world.cell(gate::cell(config.seed_before, terms.number, prefix, far))
        {
            gate::carry(&cell, before.load(), now);
        }
        Some(cell)
    }

    /// What the packet costs.
    #[inline(always)]
    fn units(&self, policy: &Policy) -> u32 {
        match Unit::of(policy.unit) {
            Unit::Packets => self.place.segments,
            Unit::Bytes => self.packet.bytes,
            Unit::NewFlows if self.packet.is(PORTLESS) => 1,
            Unit::NewFlows if self.packet.protocol == TCP => u32::from(self.packet.is(SYN)),
            Unit::NewFlows => 1,
        }
    }

    #[inline(always)]
    fn flow_hash(&self, seed: u64, service: u16) -> u64 {
        let Packet { source, destination, source_port, destination_port, .. } = self.packet;
        let ports = (u64::from(*source_port) << 16 | u64::from(*destination_port)) << 16 | u64::from(service);
        let hash = mix(mix(seed ^ source.hi).wrapping_add(source.lo));
        mix(mix(mix(hash ^ destination.hi).wrapping_add(destination.lo)) ^ ports)
    }

    /// Rejects for the whole limiter, not for a policy.
    #[inline(always)]
    fn reject(&self, reason: Reason, now: u64) -> Judgement {
        let is_observed = self.observes(now);
        let verdict = if is_observed { Verdict::Pass } else { Verdict::Drop };
        Judgement { verdict, reason, policy: 0, is_observed, excess_ns: 0, allowed_ns: 0, now_ns: now }
    }

    /// Does what the policy does to packets over it.
    #[inline(always)]
    fn over(&self, reason: Reason, terms: &Terms<'_>, excess_ns: u64, now: u64) -> Judgement {
        let action = Action::of(terms.policy.action);
        let is_observed = terms.policy.is_dry != 0 || matches!(action, Action::Observe) || self.observes(now);
        let verdict = match action {
            _ if is_observed => Verdict::Pass,
            Action::Observe => Verdict::Pass,
            Action::Mark => Verdict::Mark(terms.policy.mark),
            Action::Reset if self.has_answer() => Verdict::Reset,
            Action::Reset | Action::Drop => Verdict::Drop,
        };
        let allowed_ns = terms.limit.tau_ns;
        Judgement { verdict, reason, policy: terms.number, is_observed, excess_ns, allowed_ns, now_ns: now }
    }

    /// Whether the packet is such that its sender may be told.
    #[inline(always)]
    fn has_answer(&self) -> bool {
        self.packet.protocol == TCP && !self.packet.is(PORTLESS) && matches!(self.packet.defect, Defect::None)
    }

    /// Whether nothing is enforced: by the switch, or because the agent is dead.
    #[inline(always)]
    fn observes(&self, now: u64) -> bool {
        if self.config.flags & ENFORCE == 0 {
            return true;
        }
        let limit = self.config.dead_man_ns;
        limit != 0 && self.world.control().is_none_or(|control| ahead(now, control.heartbeat_ns) > limit)
    }
}

#[inline(always)]
fn is_udp_flow(packet: &Packet) -> bool {
    packet.protocol == UDP && !packet.is(PORTLESS)
}

#[inline(always)]
const fn entry_key(source: Address, number: u16, kind: u8, bits: u32) -> EntryKey {
    EntryKey { address: source.masked(bits).words(), number, kind, bits: bits as u8 }
}
