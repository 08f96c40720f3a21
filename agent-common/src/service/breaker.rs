//! A backend's breaker: closed, open, half-open, in one word that many CPUs update by compare-exchange.
//!
//! The word holds the state, how often it opened (`k`), the failures in a row, the successes while half-open, and when
//! the state began. That time is also the *epoch*: a connection takes it along, and its end counts only if the breaker
//! still is in the state that the connection began in. So late ends of older connections neither close nor open
//! anything.
//!
//! Being open ends by the clock. Whoever comes first then makes it half-open, in which as many connections as there are tokens
//! get through. A token is leased: one that is not back in time is a failed probe, so no probe that vanishes keeps the
//! breaker half-open. A successful probe's token is spent, so a half-open state never sees more probes than tokens.
//!
//! The agent writes [`Order`]s beside the word and never the word: an order that is newer than the word changes what the
//! word means, and the next exchange makes it so.

#![expect(clippy::inline_always, reason = "kernel programs are made of it: a call is not free there")]

use super::signal::{Meaning, Outcome};
use crate::limit::{
    gate::mix,
    gcra::{Cell, TRIES},
};

/// Bits of a time that a stamp leaves out: 131 µs, so that 40 bits last four years.
const STAMP_SHIFT: u32 = 17;
const STAMP_BITS: u32 = 40;
const STAMP_MASK: u64 = (1 << STAMP_BITS) - 1;
/// `k` does not grow beyond this: times are doubled for each.
pub const K_MAX: u32 = 20;
/// Times of a policy stay below this, so that they can be doubled [`K_MAX`] times.
pub const SPAN_MAX: u64 = 1 << 43;
/// Failures in a row that are counted, at most.
pub const FAILURES_MAX: u16 = 1023;

const STATE_MASK: u64 = 3;
const K_SHIFT: u32 = 2;
const K_MASK: u64 = 0x3f;
const FAILURES_SHIFT: u32 = 8;
const FAILURES_MASK: u64 = FAILURES_MAX as u64;
const SUCCESSES_SHIFT: u32 = 18;
const SUCCESSES_MASK: u64 = 0x3f;
const STAMP_AT: u32 = 24;

/// State of a breaker.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Connections get through.
    Closed = 0,
    /// None does.
    Open = 1,
    /// A few do, to see how it is now.
    HalfOpen = 2,
}

/// What a person or the agent wants of a breaker, whatever its state.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// It works by its state.
    Auto = 0,
    /// Nothing gets through.
    ForcedOpen = 1,
    /// Everything gets through.
    ForcedClosed = 2,
    /// Everything gets through; the state shows what would be.
    MetricsOnly = 3,
}

/// Settings of a breaker.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// How long it stays open the first time.
    pub recovery_ns: u64,
    /// How long it stays open at most.
    pub recovery_cap_ns: u64,
    /// A probe's lease.
    pub probe_ns: u64,
    /// How long it stays half-open.
    pub half_open_ns: u64,
    /// Failures in a row that open it.
    pub failure_threshold: u16,
    /// Probes of a half-open state.
    pub half_open_calls: u8,
    /// Successes that close it; at most as many as probes.
    pub half_open_successes: u8,
    /// Width of the random part of the time open, in 256ths of it.
    pub jitter: u32,
    /// Makes that part differ between nodes.
    pub seed: u64,
    /// Always zero.
    pub pad: u64,
}

/// What is wanted of a breaker. Written by the agent only.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Order {
    /// Number of a [`Mode`].
    pub mode: u32,
    /// Always zero.
    pub pad: u32,
    /// Stamp of a reset: whatever began earlier is void, and the breaker closed.
    pub reset: u64,
    /// Stamp of a trip: a breaker that closed earlier is open since then.
    pub trip: u64,
}

/// The word of a breaker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Word(pub u64);

/// The word of a token: `0`, or the epoch of the half-open state and what became of the token there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token(pub u64);

/// A change of state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// State before.
    pub from: State,
    /// The word now.
    pub now: Word,
}

/// Whether a connection gets through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// It does; its end counts for this epoch, and for nothing when that is 0.
    Pass(u64),
    /// It does, as a probe: epoch, index of the token, the token.
    Probe(u64, u8, u64),
    /// It does not.
    Refused,
}

/// The state of one breaker: its word and tokens.
pub trait Cells {
    /// Word or token.
    type Cell: Cell;

    /// The word.
    fn word(&self) -> Self::Cell;
    /// A token, by an index below [`super::abi::TOKENS`].
    fn token(&self, index: u8) -> Option<Self::Cell>;
}

/// The stamp of a time.
#[inline(always)]
pub const fn stamp(now: u64) -> u64 {
    (now >> STAMP_SHIFT) & STAMP_MASK
}

/// The time of a stamp.
#[inline(always)]
pub const fn time_of(stamp: u64) -> u64 {
    stamp << STAMP_SHIFT
}

impl State {
    /// The word in pages and messages.
    #[cfg(any(test, feature = "user"))]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half_open",
        }
    }
}

impl Mode {
    /// The mode of a number; unknown ones are [`Mode::Auto`].
    #[inline(always)]
    pub const fn of(number: u32) -> Self {
        match number {
            1 => Self::ForcedOpen,
            2 => Self::ForcedClosed,
            3 => Self::MetricsOnly,
            _ => Self::Auto,
        }
    }

    /// The word in pages and messages.
    #[cfg(any(test, feature = "user"))]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::ForcedOpen => "forced_open",
            Self::ForcedClosed => "forced_closed",
            Self::MetricsOnly => "metrics_only",
        }
    }
}

impl Word {
    #[inline(always)]
    const fn new(state: State, k: u32, failures: u16, successes: u8, stamp: u64) -> Self {
        Self(
            state as u64
                | (k as u64 & K_MASK) << K_SHIFT
                | (failures as u64 & FAILURES_MASK) << FAILURES_SHIFT
                | (successes as u64 & SUCCESSES_MASK) << SUCCESSES_SHIFT
                | (stamp & STAMP_MASK) << STAMP_AT,
        )
    }

    /// The state.
    #[inline(always)]
    pub const fn state(self) -> State {
        match self.0 & STATE_MASK {
            1 => State::Open,
            2 => State::HalfOpen,
            _ => State::Closed,
        }
    }

    /// How often it opened, less what was forgiven.
    #[inline(always)]
    pub const fn k(self) -> u32 {
        (self.0 >> K_SHIFT & K_MASK) as u32
    }

    /// Failures in a row.
    #[inline(always)]
    pub const fn failures(self) -> u16 {
        (self.0 >> FAILURES_SHIFT & FAILURES_MASK) as u16
    }

    /// Successes while half-open.
    #[inline(always)]
    pub const fn successes(self) -> u8 {
        (self.0 >> SUCCESSES_SHIFT & SUCCESSES_MASK) as u8
    }

    /// When the state began, as a stamp; what connections take along as their epoch.
    #[inline(always)]
    pub const fn stamp(self) -> u64 {
        self.0 >> STAMP_AT
    }

    /// When the state began.
    #[inline(always)]
    pub const fn since_ns(self) -> u64 {
        time_of(self.stamp())
    }

    /// What the word means beside an order.
    #[inline(always)]
    #[must_use]
    pub const fn under(self, order: &Order) -> Self {
        let mut word = self;
        if word.stamp() == 0 {
            // Nobody has used it yet. Epoch 0 is none.
            word = Self::new(State::Closed, 0, 0, 0, 1);
        }
        if order.reset > word.stamp() {
            word = Self::new(State::Closed, 0, 0, 0, order.reset);
        }
        if order.trip > word.stamp() && matches!(word.state(), State::Closed) {
            word = Self::new(State::Open, more(word.k()), word.failures(), 0, order.trip);
        }
        word
    }

    /// Until when it stays open, if it is.
    #[inline(always)]
    pub const fn open_until(self, policy: &Policy) -> u64 {
        let k = self.k();
        let doublings = if k == 0 { 0 } else { k - 1 };
        let doublings = if doublings > K_MAX { K_MAX } else { doublings };
        let span = (policy.recovery_ns & (SPAN_MAX - 1)) << doublings;
        let span = if span > policy.recovery_cap_ns { policy.recovery_cap_ns } else { span };
        let width = (span >> 8) * (policy.jitter & 0xff) as u64;
        let random = mix(self.stamp() ^ policy.seed) & 0xff;
        time_of(self.stamp()) + span - (width >> 1) + (width >> 8) * random
    }

    /// A later word: two states never have the same stamp.
    #[inline(always)]
    const fn after(self, state: State, k: u32, failures: u16, now: u64) -> Self {
        let next = stamp(now);
        let next = if next > self.stamp() { next } else { self.stamp() + 1 };
        Self::new(state, k, failures, 0, next)
    }

    /// Opens: out of closed, time spent there in health is forgiven.
    #[inline(always)]
    const fn opened(self, failures: u16, now: u64, policy: &Policy) -> Self {
        let mut k = self.k();
        if matches!(self.state(), State::Closed) && policy.recovery_ns != 0 && now > self.since_ns() {
            let forgiven = (now - self.since_ns()) / policy.recovery_ns;
            k = if forgiven >= k as u64 { 0 } else { k - forgiven as u32 };
        }
        self.after(State::Open, more(k), failures, now)
    }

    #[inline(always)]
    const fn closed(self, now: u64) -> Self {
        self.after(State::Closed, self.k(), 0, now)
    }

    /// What the clock alone makes of the word: [`State::HalfOpen`] when its time has come, and the end of that.
    #[inline(always)]
    #[must_use]
    pub const fn at(self, now: u64, policy: &Policy) -> Self {
        match self.state() {
            State::Open if now >= self.open_until(policy) => {
                self.after(State::HalfOpen, self.k(), self.failures(), now)
            }
            // Nobody failed: a success is enough then, and none at all is a failure.
            State::HalfOpen if now >= self.since_ns() + policy.half_open_ns => {
                if self.successes() > 0 {
                    self.closed(now)
                } else {
                    self.opened(self.failures(), now, policy)
                }
            }
            _ => self,
        }
    }
}

#[inline(always)]
const fn more(k: u32) -> u32 {
    if k >= K_MAX { K_MAX } else { k + 1 }
}

/// A token's lease lasts this many nanoseconds times its number: one millisecond, so that 21 bits last half an hour.
const LEASE_SHIFT: u32 = 20;
const LEASE_MASK: u64 = (1 << 22) - 1;
/// The probe's connection stands; its lease may end without meaning anything.
const STANDS: u64 = 1 << 22;
/// The probe succeeded.
const SPENT: u64 = 1 << 23;

impl Token {
    /// Whether the token belongs to this half-open state.
    #[inline(always)]
    pub const fn is_of(self, epoch: u64) -> bool {
        self.0 != 0 && self.0 >> STAMP_AT == epoch
    }

    /// Whether the probe succeeded.
    #[inline(always)]
    pub const fn is_spent(self) -> bool {
        self.0 & SPENT != 0
    }

    /// Whether the connection stands.
    #[inline(always)]
    const fn stands(self) -> bool {
        self.0 & STANDS != 0
    }

    /// When the lease ends.
    #[inline(always)]
    const fn deadline_ns(self) -> u64 {
        time_of(self.0 >> STAMP_AT) + ((self.0 & LEASE_MASK) << LEASE_SHIFT)
    }

    #[inline(always)]
    pub(super) const fn leased(epoch: u64, now: u64, policy: &Policy) -> Self {
        let end = now + policy.probe_ns;
        let begin = time_of(epoch);
        let lease = if end > begin { (end - begin) >> LEASE_SHIFT } else { 0 };
        // One more, because parts of a millisecond are cut off; and never 0, which is a free token.
        let lease = lease + 1;
        Self(epoch << STAMP_AT | if lease > LEASE_MASK { LEASE_MASK } else { lease })
    }
}

/// How many tokens of a half-open state are out, and how many are spent.
pub fn in_flight<C: Cells>(cells: &C, word: Word) -> (u8, u8) {
    let (mut out, mut spent) = (0, 0);
    for index in 0..super::abi::TOKENS as u8 {
        let Some(cell) = cells.token(index) else { continue };
        let token = Token(cell.load());
        if matches!(word.state(), State::HalfOpen) && token.is_of(word.stamp()) {
            if token.is_spent() { spent += 1 } else { out += 1 }
        }
    }
    (out, spent)
}

/// Lets a connection through, or not; may change the state.
#[inline(always)]
pub fn enter<C: Cells>(cells: &C, order: &Order, policy: &Policy, now: u64) -> (Entry, Option<Change>) {
    let mode = Mode::of(order.mode);
    match mode {
        Mode::ForcedOpen => return (Entry::Refused, None),
        Mode::ForcedClosed => return (Entry::Pass(0), None),
        Mode::Auto | Mode::MetricsOnly => {}
    }
    let cell = cells.word();
    let mut change = None;
    for _ in 0..TRIES {
        let old = cell.load();
        let known = Word(old).under(order);
        let word = known.at(now, policy);
        if word != known {
            if !cell.exchange(old, word.0) {
                continue;
            }
            change = Some(Change { from: known.state(), now: word });
        }
        let entry = match word.state() {
            State::Closed => Entry::Pass(word.stamp()),
            State::Open => Entry::Refused,
            State::HalfOpen => match take(cells, word, policy, now) {
                Taken::Probe(index, token) => Entry::Probe(word.stamp(), index, token),
                Taken::None => Entry::Refused,
                Taken::Lapsed => {
                    let next = word.opened(word.failures(), now, policy);
                    if cell.exchange(word.0, next.0) {
                        change = Some(Change { from: word.state(), now: next });
                    }
                    Entry::Refused
                }
            },
        };
        if matches!(mode, Mode::MetricsOnly) && matches!(entry, Entry::Refused) {
            return (Entry::Pass(0), change);
        }
        return (entry, change);
    }
    // Others changed it four times meanwhile; this connection does not wait for them.
    (if matches!(mode, Mode::MetricsOnly) { Entry::Pass(0) } else { Entry::Refused }, change)
}

enum Taken {
    Probe(u8, u64),
    None,
    Lapsed,
}

/// Takes a token: a free one, or else one whose connection stands for longer than its lease. A probe that is overdue
/// otherwise is a failure, also when there are free tokens.
#[inline(always)]
fn take<C: Cells>(cells: &C, word: Word, policy: &Policy, now: u64) -> Taken {
    let epoch = word.stamp();
    let fresh = Token::leased(epoch, now, policy);
    for _ in 0..TRIES {
        // Index and old token of the best so far; a free one is better.
        let mut best: Option<(u8, u64)> = None;
        let mut is_free = false;
        for index in 0..super::abi::TOKENS as u8 {
            if index >= policy.half_open_calls {
                break;
            }
            let Some(cell) = cells.token(index) else { break };
            let old = Token(cell.load());
            if !old.is_of(epoch) {
                if !is_free {
                    best = Some((index, old.0));
                    is_free = true;
                }
            } else if !old.is_spent() && now >= old.deadline_ns() {
                if !old.stands() {
                    return Taken::Lapsed;
                }
                if best.is_none() {
                    best = Some((index, old.0));
                }
            }
        }
        let Some((index, old)) = best else { return Taken::None };
        let Some(cell) = cells.token(index) else { return Taken::None };
        if cell.exchange(old, fresh.0) {
            return Taken::Probe(index, fresh.0);
        }
    }
    Taken::None
}

/// A probe's connection stands: its lease ends without harm from now on. Gives the token it has then.
#[inline(always)]
pub fn established<C: Cells>(cells: &C, index: u8, token: u64) -> u64 {
    let Some(cell) = cells.token(index) else { return token };
    let next = token | STANDS;
    if cell.exchange(token, next) { next } else { token }
}

/// A connection ended, or told enough before its end; may change the state.
#[inline(always)]
pub fn ended<C: Cells>(cells: &C, order: &Order, policy: &Policy, end: &End, now: u64) -> Option<Change> {
    if end.epoch == 0 {
        return None;
    }
    let meaning = end.outcome.meaning();
    if let Some((index, token)) = end.probe {
        let next = match meaning {
            Meaning::Success => token | SPENT,
            Meaning::Failure | Meaning::Neutral => 0,
        };
        // A token that is not there any more belongs to somebody else.
        if !cells.token(index)?.exchange(token, next) {
            return None;
        }
    }
    let cell = cells.word();
    for _ in 0..TRIES {
        let old = cell.load();
        let known = Word(old).under(order);
        if known.stamp() != end.epoch {
            return None;
        }
        let next = match (known.state(), meaning) {
            (_, Meaning::Neutral) | (State::Open, _) => return None,
            (State::Closed, Meaning::Success) if known.failures() == 0 => return None,
            (State::Closed, Meaning::Success) => Word::new(State::Closed, known.k(), 0, 0, known.stamp()),
            (State::Closed, Meaning::Failure) => {
                let failures =
                    if known.failures() < FAILURES_MAX { known.failures() + 1 } else { FAILURES_MAX };
                if failures >= policy.failure_threshold && policy.failure_threshold != 0 {
                    known.opened(failures, now, policy)
                } else {
                    Word::new(State::Closed, known.k(), failures, 0, known.stamp())
                }
            }
            (State::HalfOpen, Meaning::Success) => {
                let successes = known.successes() + 1;
                if successes >= policy.half_open_successes {
                    known.closed(now)
                } else {
                    Word::new(State::HalfOpen, known.k(), known.failures(), successes, known.stamp())
                }
            }
            (State::HalfOpen, Meaning::Failure) => known.opened(known.failures(), now, policy),
        };
        if cell.exchange(old, next.0) {
            let changed = next.stamp() != known.stamp();
            return changed.then_some(Change { from: known.state(), now: next });
        }
    }
    None
}

/// A connection's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    /// Epoch that it began in; 0 when it says nothing about the backend.
    pub epoch: u64,
    /// Index and token of a probe.
    pub probe: Option<(u8, u64)>,
    /// What it was.
    pub outcome: Outcome,
}

#[cfg(test)]
mod tests;
