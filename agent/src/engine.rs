//! Detection: kernel records in, alerts out.
//!
//! [`Detector`] is the single owner of the state; one thread calls it with each record in the order of the ring:
//! decode, account, bring the state up to date, evaluate the rules of the event's type, build alerts. It never
//! waits and does no I/O, except for `/proc` reads for processes whose records were missed.

/// What a detector sees an event against. No method, because the detector's other fields change meanwhile.
macro_rules! context {
    ($detector:expr) => {
        $crate::engine::fields::Context {
            state: &$detector.state,
            clock: &$detector.clock,
            hostname: &$detector.style.hostname,
            arena: &$detector.arena,
            scratch: &$detector.scratch,
            path_limit: $detector.path_limit,
            trading: $detector.trading.as_deref(),
        }
    };
}

pub mod accounting;
pub mod clock;
pub mod fields;
pub mod held;
mod internal;
mod late;
pub mod profile;
pub mod push;
mod refusals;
pub mod shed;
pub mod stats;
mod streams;
mod told;
mod windows;

use std::{fmt, sync::Arc};

use bumpalo::Bump;
use nix::unistd::{SysconfVar, gethostname, sysconf};
use rampart_common::event::Family;
use rampart_rules::{
    catalog::{FieldId, ids},
    event_set::EventSet,
    rule::{Matching, Rule, RuleId, RuleSet},
    value::Truth,
    window::{Windows, Withheld},
};

use self::{
    accounting::{Accounting, Check, Counters},
    clock::{Clock, boot_now_ns, system_offset_ns},
    fields::{EventFields, Facts, Position, Scratch, View, datagram_peer},
    held::Held,
    profile::{Cost, Profile, RuleUse, Stopwatch, Usage},
    push::{Judging, Lessons, Push},
    refusals::{Groups, Refusals},
    shed::Shed,
    stats::{Stats, Tally},
};
use crate::{
    alert::{
        Alert, AlertIds,
        build::{self, Style},
        order::Order,
    },
    event::{
        Event, EventKind, decode, lexical,
        syscall::{Row, SyscallTable},
    },
    state::{self, State, cgroup::CtrTasks},
    trading::Trading,
};

/// How often the clock offset is read again, nanoseconds of event time.
const CLOCK_EVERY_NS: u64 = 1_000_000_000;

/// Of which executables there are digests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Digesting {
    /// Of none.
    #[default]
    Off,
    /// Of all, while a rule asks for one.
    Asked,
    /// Of all, for others that will ask.
    Always,
}

/// Time that an event may wait for a digest where nobody is asked about containers, nanoseconds.
const DIGEST_WAIT_NS: u64 = 100_000_000;

/// Settings of a detector.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of the configuration of its own")]
pub struct Options {
    /// Name of the node, `hostname` in alerts.
    pub hostname: String,
    /// Whether rules on `fd.name` and `fs.path.*` are tried on the real path too.
    pub realpath_matching: bool,
    /// Events whose real paths are looked up although no rule needs them.
    pub placed: EventSet,
    /// Whether alerts show the fields that the catalogue suggests.
    pub suggested_output: bool,
    /// Whether the text form shows times in ISO 8601 and UTC.
    pub iso_time: bool,
    /// Whether Falco's faults are reproduced.
    pub strict_falco: bool,
    /// Digest of the policy, shown in alerts.
    pub policy_digest: Option<Arc<str>>,
    /// What the fields of trading are.
    pub trading: Option<Arc<Trading>>,
    /// Wall minus boot clock in nanoseconds, asked once a second; without it the clock is set from outside.
    pub clock_offset_ns: Option<fn() -> i64>,
    /// Clock and zone to start with.
    pub clock: Clock,
    /// What measures the rules.
    pub stopwatch: Stopwatch,
    /// CPUs whose programs count events side by side.
    pub cpus: usize,
    /// Random number that makes alert ids unique over restarts.
    pub id_seed: u64,
    /// Whether somebody reads the executables whose digests rules ask for, or all.
    pub digests: Digesting,
    /// Longest wait for the metadata of a container, nanoseconds; `None` when nobody looks it up.
    pub metadata_wait_ns: Option<u64>,
    /// State.
    pub state: state::Config,
}

impl Default for Options {
    /// Settings for this machine.
    fn default() -> Self {
        let hostname = gethostname().ok().and_then(|name| name.into_string().ok());
        let mut seed = [0; 8];
        // Without randomness ids still differ within a run, and by their time between runs.
        let _ = getrandom::fill(&mut seed);
        Self {
            hostname: hostname.unwrap_or_else(|| "unknown".to_owned()),
            realpath_matching: true,
            placed: EventSet::EMPTY,
            suggested_output: true,
            iso_time: false,
            strict_falco: false,
            policy_digest: None,
            trading: None,
            clock_offset_ns: Some(system_offset_ns),
            clock: Clock::system(),
            stopwatch: Stopwatch::system(),
            cpus: online_cpus(),
            id_seed: u64::from_ne_bytes(seed),
            digests: Digesting::Off,
            metadata_wait_ns: None,
            state: state::Config::default(),
        }
    }
}

/// The detection path. See the module for its place.
pub struct Detector {
    policy: Arc<RuleSet>,
    table: SyscallTable,
    state: State,
    clock: Clock,
    clock_offset_ns: Option<fn() -> i64>,
    next_clock_ns: u64,
    style: Style,
    realpath_matching: bool,
    always_placed: EventSet,
    placed: EventSet,
    path_limit: Option<usize>,
    ids: AlertIds,
    accounting: Accounting,
    counters: Counters,
    counters_ns: u64,
    unexplained: u64,
    tally: Tally,
    position: Position,
    arena: Bump,
    scratch: Scratch,
    matched: Vec<RuleId>,
    held: Held,
    push: Push,
    refusals: Refusals,
    groups: Groups,
    profile: Profile,
    windows: Windows,
    trading: Option<Arc<Trading>>,
    /// When a session may begin or end, nanoseconds of the boot clock.
    session_ns: u64,
    digesting: Digesting,
}

impl Detector {
    /// A detector with an empty state; call [`Detector::bootstrap`] once the kernel side runs.
    pub fn new(policy: Arc<RuleSet>, options: Options) -> Self {
        let mut state = options.state;
        if options.strict_falco {
            state.ctr_tasks = CtrTasks::Any;
        }
        let mut state = State::new(state);
        if options.metadata_wait_ns.is_some() {
            state.containers.ask();
        }
        let placed = options.placed.union(&placed_for(&policy, options.realpath_matching));
        state.ask_digests(wants_digests(options.digests, &policy), 0);
        Self {
            profile: Profile::new(options.stopwatch, options.id_seed, &policy),
            policy,
            table: SyscallTable::new(),
            state,
            clock: options.clock,
            clock_offset_ns: options.clock_offset_ns,
            next_clock_ns: 0,
            style: Style {
                hostname: options.hostname.into(),
                iso_time: options.iso_time,
                suffix: if options.suggested_output { build::suggested_output() } else { None },
                policy_digest: options.policy_digest,
            },
            realpath_matching: options.realpath_matching,
            always_placed: options.placed,
            placed,
            path_limit: options.strict_falco.then_some(lexical::FALCO_LIMIT),
            ids: AlertIds::new(options.id_seed),
            accounting: Accounting::default(),
            counters: Counters::default(),
            counters_ns: 0,
            unexplained: 0,
            tally: Tally::default(),
            position: Position::default(),
            arena: Bump::new(),
            scratch: Scratch::default(),
            matched: Vec::new(),
            held: Held::new(match (options.metadata_wait_ns, options.digests) {
                (Some(wait_ns), _) if wait_ns > 0 => wait_ns,
                (_, Digesting::Off) => 0,
                _ => DIGEST_WAIT_NS,
            }),
            digesting: options.digests,
            push: Push::new(options.cpus),
            refusals: Refusals::default(),
            groups: Groups::default(),
            windows: Windows::default(),
            trading: options.trading,
            session_ns: 0,
        }
    }

    /// Fills the state from `/proc`. Call it after the kernel programs are attached and before the first record is
    /// handed in, so that nothing falls between the two.
    pub fn bootstrap(&mut self) {
        self.bootstrap_at(boot_now_ns());
    }

    /// Handles one record of the ring.
    pub fn on_record(&mut self, bytes: &[u8], sink: &mut dyn FnMut(Alert)) {
        let event = match decode::decode(bytes) {
            Ok(event) => event,
            Err(error) => return self.tally.undecodable(error),
        };
        self.accounting.record(&event.header);
        let now_ns = event.header.time_ns;
        self.refresh_clock(now_ns);
        self.refresh_session(now_ns);
        // Also in the middle of a long batch nothing waits longer than it may; and in a replay nothing else tells time.
        if self.deadline_ns().is_some_and(|deadline_ns| deadline_ns <= now_ns) {
            self.on_time(now_ns, sink);
        }
        let Some(row) = self.table.of(&event) else {
            self.tally.unknown += 1;
            return;
        };
        self.tally.event(row.event);
        if self.state.observe(&event, Some(row.event)) {
            self.push.changed();
        }
        if self.placed.contains(row.event) {
            self.state.place(&event, row);
        } else {
            self.state.forget_places();
        }
        self.position.number += 1;
        if self.position.first_ns == 0 {
            self.position.first_ns = now_ns;
        }
        self.position.peer_changed =
            datagram_peer(&event).is_some_and(|(socket, peer)| self.state.peers.changed(&socket, peer));
        // A fork is told by the returns of the call that made it; its record is for the process table.
        let wanted = self.policy.events().contains(row.event) && event.kind != EventKind::Fork;
        if wanted || event.kind == EventKind::Exec {
            self.try_rules(&event, row, sink);
        }
        self.position.previous_ns = now_ns;
        self.arena.reset();
    }

    /// Tries the rules on an event, and learns what the kernel is to know.
    fn try_rules(&mut self, event: &Event<'_>, row: &'static Row, sink: &mut dyn FnMut(Alert)) {
        let now_ns = event.header.time_ns;
        let context = context!(self);
        let facts = Facts::new(event, row, context, self.position);
        if event.kind == EventKind::Exec {
            self.push.learn_image(event, &facts);
            self.groups.started(&event.header.task);
        }
        if !self.policy.events().contains(row.event) {
            return;
        }
        let wall_ns = self.clock.wall_ns(now_ns);
        let views: &[View] = if self.realpath_matching && facts.differing_paths().is_some() {
            self.tally.second_views += 1;
            &[View::Lexical, View::Real]
        } else {
            &[View::Lexical]
        };
        self.push.learn(event, &facts);
        let among = |rule| !self.profile.shed().contains(row.family, rule);
        let counted = streams::counted(event);
        let earlier = |rule: &Rule| self.push.earlier(event, row, counted.as_ref(), rule);
        if let Some(mut waiting) =
            held::waiting(&facts, row, views, (&self.policy, self.trading.as_ref()), &self.style, among)
        {
            waiting.keep_earlier(earlier);
            self.hold(waiting, sink);
        } else {
            self.matched.clear();
            let first = self.policy.matching() == Matching::First;
            let candidates = self.push.candidates(&event.header);
            let mut trial = self.profile.begin(row.family);
            for view in views {
                let fields = EventFields::new(&facts, *view);
                let mut is_told = false;
                self.tally.evaluated += 1;
                let mut on_match = |rule: &Rule| {
                    if self.matched.contains(&rule.id) {
                        return;
                    }
                    self.matched.push(rule.id);
                    // Rules that may be no match do not end the search; what they find does.
                    if is_told && first {
                        return;
                    }
                    let call = (event.header.task.tid, event.header.ret, now_ns);
                    if self.refusals.take(call, rule.id) {
                        is_told = true;
                        return;
                    }
                    let moment = || windows::moment(&self.clock, now_ns, earlier(rule));
                    match windows::pass(&mut self.windows, rule, &fields, moment) {
                        Ok(()) => is_told = true,
                        Err(reason) => return is_told |= reason == Withheld::Throttle,
                    }
                    self.tally.matched(rule);
                    let mut alert =
                        build::alert(rule, &fields, wall_ns, &self.clock, &self.style, &mut self.ids);
                    alert.order = rule.responses.as_ref().map(|responses| {
                        let outcome = refusals::outcome(event.header.ret);
                        let group = event.header.task.cgroup_id;
                        Order::new(responses, event.process(), group, (outcome, &fields))
                    });
                    sink(alert);
                };
                match &candidates {
                    Some((plan, mask)) => {
                        let mut tries = |rule| trial.tries(rule);
                        plan.evaluate(row.event, row.family, mask, &fields, &mut tries, &mut on_match);
                    }
                    None => self.policy.evaluate_among(
                        row.event,
                        &fields,
                        |rule| trial.tries(rule),
                        |rule, truth| {
                            if truth == Truth::True {
                                on_match(rule);
                            }
                        },
                    ),
                }
                trial.end();
            }
            if self.push.sampled(&event.header, !self.matched.is_empty()) {
                let alert = self.disagreement(now_ns);
                sink(alert);
            }
        }
    }

    /// Learns host names from a DNS message; `now_ns` is the boot clock.
    pub fn on_answer(&mut self, message: &[u8], now_ns: u64) {
        self.state.hosts.learn(message, now_ns);
    }

    /// Whether a field shows the host name of an address, which comes from DNS messages.
    pub fn is_host_name(field: FieldId) -> bool {
        matches!(field, ids::FD_CIP_NAME | ids::FD_SIP_NAME | ids::FD_LIP_NAME | ids::FD_RIP_NAME)
    }

    /// Compares what arrived with the kernel side's counters and raises an alert for each family that lost events
    /// since the last call. `drained` says that the ring was empty when the counters were read, `now_ns` is the
    /// boot clock.
    pub fn on_counters(
        &mut self,
        counters: &Counters,
        drained: bool,
        now_ns: u64,
        sink: &mut dyn FnMut(Alert),
    ) -> Check {
        self.refresh_session(now_ns);
        let check = self.accounting.check(counters);
        let elapsed_ns = now_ns.saturating_sub(if self.counters_ns == 0 { now_ns } else { self.counters_ns });
        for family in Family::ALL {
            let index = family as usize;
            let (Some(new), Some(old)) = (counters.get(index), self.counters.get(index)) else { continue };
            for (cause, count) in [
                ("ring_full", new.ring_full.saturating_sub(old.ring_full)),
                ("error", new.error.saturating_sub(old.error)),
            ] {
                if count > 0 {
                    sink(self.loss(family.name(), cause, count, now_ns, elapsed_ns));
                }
            }
        }
        let unexplained = check.unexplained(drained);
        if unexplained > self.unexplained {
            let count = unexplained - self.unexplained;
            sink(self.loss("unknown", "unexplained", count, now_ns, elapsed_ns));
            self.unexplained = unexplained;
        }
        self.counters = *counters;
        self.counters_ns = now_ns;
        check
    }

    /// Starts the sequence of a CPU at another number than 0; for programs that were running before.
    pub fn set_sequence_base(&mut self, cpu: u32, seq: u64) {
        self.accounting.set_base(cpu, seq);
    }

    /// What the kernel is to remember since the last call.
    pub fn lessons(&mut self) -> Option<Lessons> {
        self.push.lessons()
    }

    /// Says by which plan the kernel judges from now on; `None` when it does not.
    pub fn set_plan(&mut self, plan: Option<Arc<dyn Judging>>) {
        self.push.set(plan);
    }

    /// Replaces what the fields of trading are. Call it before [`Detector::swap`], with what the new rules were loaded
    /// with.
    pub fn set_trading(&mut self, trading: Option<Arc<Trading>>) {
        self.trading = trading;
        self.session_ns = 0;
    }

    /// Replaces the rules; the state stays. The kernel judges by none of them until [`Detector::set_plan`], and none of
    /// them is left out.
    pub fn swap(&mut self, policy: Arc<RuleSet>, digest: Option<Arc<str>>) {
        self.push.set(None);
        self.tally.rules_changed(&self.policy);
        self.profile.rules_changed(&self.policy, &policy);
        self.windows.clear();
        self.placed = self.always_placed.union(&placed_for(&policy, self.realpath_matching));
        self.policy = policy;
        self.style.policy_digest = digest;
        self.state.ask_digests(wants_digests(self.digesting, &self.policy), boot_now_ns());
    }

    /// Replaces the rules by the same ones with other members of their lists; what is counted of them goes on. The kernel
    /// judges by none of them until [`Detector::set_plan`].
    pub fn renew(&mut self, policy: Arc<RuleSet>) {
        self.push.set(None);
        self.policy = policy;
    }

    /// Leaves rules out from now on. What the kernel judges by must not take back more than this does.
    pub fn set_shed(&mut self, shed: Arc<Shed>) {
        self.profile.set_shed(shed);
    }

    /// The rules that are left out.
    pub fn shed(&self) -> &Arc<Shed> {
        self.profile.shed()
    }

    /// What the rules cost on the events of a family, by position.
    pub fn costs(&self, family: Family) -> &[Cost] {
        self.profile.of(family)
    }

    /// What the rules cost and found since the start.
    pub fn usage(&self) -> Usage {
        let rules = self.policy.rules().iter().enumerate();
        let rules = rules.map(|(position, rule)| RuleUse {
            matches: self.tally.matches_of(rule),
            ..self.profile.rule(position)
        });
        Usage {
            rules: rules.collect(),
            family_ns: self.profile.family_ns(),
            policy: Some(Arc::clone(&self.policy)),
        }
    }

    /// The rules in force.
    pub fn policy(&self) -> &Arc<RuleSet> {
        &self.policy
    }

    /// The state, for reading.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Counters since the start.
    pub fn stats(&self) -> Stats {
        Stats {
            waits: self.held.waits(),
            push: self.push.counts(),
            windows: self.windows.counts(),
            ..self.tally.stats(&self.policy, &self.state, &self.accounting)
        }
    }

    fn refresh_clock(&mut self, now_ns: u64) {
        if let Some(offset_ns) = self.clock_offset_ns
            && now_ns >= self.next_clock_ns
        {
            let before = self.clock.offset_ns();
            self.clock.set_offset(offset_ns());
            // A clock that was set makes it another session at once.
            if self.clock.offset_ns().abs_diff(before) > CLOCK_EVERY_NS {
                self.session_ns = 0;
            }
            self.next_clock_ns = now_ns.saturating_add(CLOCK_EVERY_NS);
        }
    }

    /// Takes back what the kernel was told of processes when a session is about to begin or end, and again when it has.
    fn refresh_session(&mut self, now_ns: u64) {
        let Some(trading) = self.trading.as_ref().filter(|_| now_ns >= self.session_ns) else { return };
        let wall_ns = self.clock.wall_ns(now_ns);
        let next = trading.next_change(wall_ns).map(|at| at.saturating_sub(wall_ns));
        self.session_ns = next.map_or(u64::MAX, |wait_ns| now_ns.saturating_add(wait_ns));
        self.push.changed();
    }
}

/// CPUs that run now, whichever of them this process may use.
fn online_cpus() -> usize {
    let online = sysconf(SysconfVar::_NPROCESSORS_ONLN).ok().flatten();
    online.and_then(|count| usize::try_from(count).ok()).unwrap_or(1)
}

/// Whether a rule asks for the digest of an executable.
pub fn asks_for_digests(policy: &RuleSet) -> bool {
    policy.rules().iter().any(|rule| rule.uses(late::is_digest))
}

/// Whether executables are to be read.
fn wants_digests(digesting: Digesting, policy: &RuleSet) -> bool {
    match digesting {
        Digesting::Off => false,
        Digesting::Asked => asks_for_digests(policy),
        Digesting::Always => true,
    }
}

/// The events on which a rule asks for a path that has a real form: an opened file's is in the record, that of other
/// calls has to be looked up.
pub fn placed_for(policy: &RuleSet, realpath_matching: bool) -> EventSet {
    let asks = |field| match field {
        ids::FS_PATH_REALNAME | ids::FS_PATH_REALSOURCE | ids::FS_PATH_REALTARGET => true,
        ids::FS_PATH_NAME | ids::FS_PATH_SOURCE | ids::FS_PATH_TARGET => realpath_matching,
        _ => false,
    };
    let asking = policy.rules().iter().filter(|rule| rule.uses(asks));
    asking.fold(EventSet::EMPTY, |all, rule| all.union(&rule.events))
}

impl fmt::Debug for Detector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Detector").field("tally", &self.tally).finish_non_exhaustive()
    }
}

#[cfg(test)]
#[path = "engine/tests.rs"]
mod tests;
