//! The machine against a reference that says the same in plain words, and many threads on one breaker.

extern crate std;

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicU64, AtomicUsize, Ordering},
    thread,
    vec::Vec,
};

use proptest::prelude::*;

use super::*;
use crate::service::abi::TOKENS;

/// A stamp's unit.
const UNIT: u64 = 1 << STAMP_SHIFT;
const SECOND: u64 = 1_000_000_000;
/// When tests begin.
const START: u64 = 1000 * UNIT;

#[derive(Default)]
struct Twin {
    word: AtomicU64,
    tokens: [AtomicU64; TOKENS],
}

impl Cell for &AtomicU64 {
    fn load(&self) -> u64 {
        AtomicU64::load(self, Ordering::SeqCst)
    }

    fn exchange(&self, old: u64, new: u64) -> bool {
        self.compare_exchange(old, new, Ordering::SeqCst, Ordering::SeqCst).is_ok()
    }
}

impl<'a> Cells for &'a Twin {
    type Cell = &'a AtomicU64;

    fn word(&self) -> Self::Cell {
        &self.word
    }

    fn token(&self, index: u8) -> Option<Self::Cell> {
        self.tokens.get(usize::from(index))
    }
}

fn policy() -> Policy {
    Policy {
        recovery_ns: 60 * SECOND,
        recovery_cap_ns: 600 * SECOND,
        probe_ns: 5 * SECOND,
        half_open_ns: 30 * SECOND,
        failure_threshold: 5,
        half_open_calls: 3,
        half_open_successes: 3,
        ..Policy::default()
    }
}

fn state(twin: &Twin) -> State {
    Word(twin.word.load(Ordering::SeqCst)).state()
}

fn fail(twin: &Twin, now: u64) -> Option<Change> {
    let (entry, _) = enter(&twin, &Order::default(), &policy(), now);
    end(twin, entry, Outcome::Refused, now)
}

fn end(twin: &Twin, entry: Entry, outcome: Outcome, now: u64) -> Option<Change> {
    let (epoch, probe) = match entry {
        Entry::Pass(epoch) => (epoch, None),
        Entry::Probe(epoch, index, token) => (epoch, Some((index, token))),
        Entry::Refused => return None,
    };
    ended(&twin, &Order::default(), &policy(), &End { epoch, probe, outcome }, now)
}

fn opened(now: u64) -> Twin {
    let twin = Twin::default();
    for _ in 0..5 {
        fail(&twin, now);
    }
    assert_eq!(state(&twin), State::Open);
    twin
}

#[test]
fn five_failures_in_a_row_open_it_and_a_success_starts_anew() {
    let twin = Twin::default();
    for _ in 0..4 {
        assert_eq!(fail(&twin, START), None);
    }
    let (entry, _) = enter(&&twin, &Order::default(), &policy(), START);
    assert_eq!(end(&twin, entry, Outcome::Success, START), None);
    for _ in 0..4 {
        assert_eq!(fail(&twin, START), None);
    }
    let change = fail(&twin, START).expect("the fifth opens it");
    assert_eq!((change.from, change.now.state(), change.now.k()), (State::Closed, State::Open, 1));
    assert_eq!(enter(&&twin, &Order::default(), &policy(), START + 59 * SECOND).0, Entry::Refused);
}

#[test]
fn the_clock_alone_makes_it_half_open_and_three_get_through() {
    let twin = opened(START);
    let later = START + 61 * SECOND;
    let (first, change) = enter(&&twin, &Order::default(), &policy(), later);
    assert_eq!(change.expect("a change").now.state(), State::HalfOpen);
    let others: Vec<Entry> = (0..10).map(|_| enter(&&twin, &Order::default(), &policy(), later).0).collect();
    let probes = others.iter().filter(|entry| matches!(entry, Entry::Probe(..))).count();
    assert_eq!(probes, 2, "{others:?}");
    end(&twin, first, Outcome::Success, later);
    assert_eq!(enter(&&twin, &Order::default(), &policy(), later).0, Entry::Refused, "its token is spent");
    end(&twin, others[0], Outcome::Success, later);
    let change = end(&twin, others[1], Outcome::Success, later).expect("the third closes it");
    assert_eq!(change.now.state(), State::Closed);
}

#[test]
fn a_failed_probe_opens_it_for_twice_as_long() {
    let twin = opened(START);
    let later = START + 61 * SECOND;
    let (probe, _) = enter(&&twin, &Order::default(), &policy(), later);
    let change = end(&twin, probe, Outcome::TimedOut, later).expect("a change");
    assert_eq!((change.now.state(), change.now.k()), (State::Open, 2));
    assert_eq!(enter(&&twin, &Order::default(), &policy(), later + 119 * SECOND).0, Entry::Refused);
    assert!(matches!(enter(&&twin, &Order::default(), &policy(), later + 121 * SECOND).0, Entry::Probe(..)));
}

#[test]
fn a_probe_that_never_comes_back_is_a_failure_unless_it_stands() {
    let twin = opened(START);
    let one = Policy { half_open_calls: 1, ..policy() };
    let later = START + 61 * SECOND;
    let (probe, _) = enter(&&twin, &Order::default(), &one, later);
    let Entry::Probe(_, index, token) = probe else { panic!("a probe: {probe:?}") };
    let late = later + 6 * SECOND;
    let standing = established(&&twin, index, token);
    assert_ne!(standing, token);
    let (again, change) = enter(&&twin, &Order::default(), &one, late);
    assert!(matches!(again, Entry::Probe(_, 0, _)), "{again:?}");
    assert_eq!(change, None);
    assert_eq!(end(&twin, probe, Outcome::Refused, late), None, "its token is another's");

    let (refused, change) = enter(&&twin, &Order::default(), &one, late + 6 * SECOND);
    assert_eq!(refused, Entry::Refused);
    assert_eq!(change.expect("the lease ended").now.state(), State::Open);
}

#[test]
fn a_half_open_state_ends_by_the_clock() {
    let none = opened(START);
    let begin = START + 61 * SECOND;
    let (probe, _) = enter(&&none, &Order::default(), &policy(), begin);
    end(&none, probe, Outcome::Neutral, begin);
    let (_, change) = enter(&&none, &Order::default(), &policy(), begin + 31 * SECOND);
    assert_eq!(change.expect("a change").now.state(), State::Open, "nothing was learned");

    let one = opened(START);
    let (probe, _) = enter(&&one, &Order::default(), &policy(), begin);
    end(&one, probe, Outcome::Success, begin);
    let (_, change) = enter(&&one, &Order::default(), &policy(), begin + 31 * SECOND);
    assert_eq!(change.expect("a change").now.state(), State::Closed, "a success and no failure");
}

#[test]
fn late_ends_of_older_connections_change_nothing() {
    let twin = Twin::default();
    let (old, _) = enter(&&twin, &Order::default(), &policy(), START);
    for _ in 0..5 {
        fail(&twin, START);
    }
    let later = START + 61 * SECOND;
    let (_probe, _) = enter(&&twin, &Order::default(), &policy(), later);
    for outcome in [Outcome::Success, Outcome::Success, Outcome::Success, Outcome::Reset] {
        assert_eq!(end(&twin, old, outcome, later), None);
    }
    assert_eq!(state(&twin), State::HalfOpen);
}

#[test]
fn orders_reset_trip_and_force() {
    let twin = opened(START);
    let now = START + SECOND;
    let reset = Order { reset: stamp(now), ..Order::default() };
    let (entry, _) = enter(&&twin, &reset, &policy(), now);
    assert_eq!(entry, Entry::Pass(stamp(now)));
    // A reset that is given again by a later stamp is harmless; an older one has no effect any more.
    for _ in 0..5 {
        let end = End { epoch: stamp(now), probe: None, outcome: Outcome::Refused };
        ended(&&twin, &reset, &policy(), &end, now + SECOND);
    }
    assert_eq!(enter(&&twin, &reset, &policy(), now + 2 * SECOND).0, Entry::Refused);

    let other = Twin::default();
    let trip = Order { trip: stamp(now), ..Order::default() };
    assert_eq!(enter(&&other, &trip, &policy(), now).0, Entry::Refused);
    let forced = |mode: Mode| Order { mode: mode as u32, ..Order::default() };
    assert_eq!(enter(&&other, &forced(Mode::ForcedOpen), &policy(), now).0, Entry::Refused);
    assert_eq!(enter(&&twin, &forced(Mode::ForcedClosed), &policy(), now).0, Entry::Pass(0));
    let watched = Order { mode: Mode::MetricsOnly as u32, ..reset };
    assert_eq!(enter(&&twin, &watched, &policy(), now + 2 * SECOND).0, Entry::Pass(0));
}

#[test]
fn health_is_forgiving_and_jitter_bounded() {
    let policy = Policy { jitter: 51, seed: 3, ..policy() };
    let word = Word::new(State::Closed, 4, 0, 0, stamp(START));
    assert_eq!(word.opened(5, START + 121 * SECOND, &policy).k(), 3);
    assert_eq!(word.opened(5, START + 3600 * SECOND, &policy).k(), 1);
    for k in 1..=K_MAX {
        for at in 0..200 {
            let word = Word::new(State::Open, k, 5, 0, stamp(START) + at * 7919);
            let span = (60_u64 << (k - 1)).min(600) * SECOND;
            let until = word.open_until(&policy) - word.since_ns();
            assert!(until >= span * 89 / 100 && until <= span * 111 / 100, "{k}: {until}");
        }
    }
}

#[test]
fn a_thousand_clients_get_three_probes() {
    let twin = opened(START);
    let probes = AtomicUsize::new(0);
    let halves = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..1000 {
            scope.spawn(|| {
                let (entry, change) = enter(&&twin, &Order::default(), &policy(), START + 61 * SECOND);
                probes.fetch_add(usize::from(matches!(entry, Entry::Probe(..))), Ordering::SeqCst);
                halves.fetch_add(usize::from(change.is_some()), Ordering::SeqCst);
            });
        }
    });
    let got = probes.load(Ordering::SeqCst);
    assert!((1..=3).contains(&got), "{got} probes");
    assert_eq!(halves.load(Ordering::SeqCst), 1, "one of them changes the state");
    assert_eq!(in_flight(&&twin, Word(twin.word.load(Ordering::SeqCst))).0, got as u8);
}

/// The same in plain words.
#[derive(Debug, Default)]
struct Plain {
    state: PlainState,
    k: u32,
    began: u64,
    epoch: u32,
    failures: u16,
    successes: u8,
    /// Probe number to (deadline, stands).
    out: BTreeMap<u32, (u64, bool)>,
    spent: usize,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
enum PlainState {
    #[default]
    Closed,
    Open,
    HalfOpen,
}

impl Plain {
    fn become_(&mut self, state: PlainState, now: u64) {
        if state == PlainState::Open {
            if self.state == PlainState::Closed {
                let healthy = (now - self.began.min(now)) / policy().recovery_ns;
                self.k = self.k.saturating_sub(u32::try_from(healthy).unwrap_or(u32::MAX));
            }
            self.k = (self.k + 1).min(K_MAX);
        }
        self.state = state;
        self.began = now;
        self.epoch += 1;
        self.successes = 0;
        if state == PlainState::Closed {
            self.failures = 0;
        }
        self.out.clear();
        self.spent = 0;
    }

    fn clock(&mut self, now: u64) {
        let open = (60_u64 << (self.k.max(1) - 1)).min(600) * SECOND;
        if self.state == PlainState::Open && now >= self.began + open {
            self.become_(PlainState::HalfOpen, now);
        } else if self.state == PlainState::HalfOpen && now >= self.began + 30 * SECOND {
            let next = if self.successes > 0 { PlainState::Closed } else { PlainState::Open };
            self.become_(next, now);
        }
    }

    /// `Some((epoch, is_probe))` when it gets through.
    fn enter(&mut self, number: u32, now: u64) -> Option<(u32, bool)> {
        self.clock(now);
        match self.state {
            PlainState::Closed => Some((self.epoch, false)),
            PlainState::Open => None,
            PlainState::HalfOpen => {
                let over: Vec<(u32, bool)> = self
                    .out
                    .iter()
                    .filter(|(_, (deadline, _))| now > *deadline + 2 * (1 << LEASE_SHIFT))
                    .map(|(number, (_, stands))| (*number, *stands))
                    .collect();
                if over.iter().any(|(_, stands)| !stands) {
                    self.become_(PlainState::Open, now);
                    return None;
                }
                if self.out.len() + self.spent < 3 {
                    self.out.insert(number, (now + 5 * SECOND, false));
                    return Some((self.epoch, true));
                }
                assert!(over.len() <= 1, "the test leaves time between leases");
                let (old, _) = over.first()?;
                self.out.remove(old);
                self.out.insert(number, (now + 5 * SECOND, false));
                Some((self.epoch, true))
            }
        }
    }

    fn end(&mut self, number: u32, epoch: u32, is_probe: bool, success: Option<bool>, now: u64) {
        if epoch != self.epoch {
            return;
        }
        if is_probe {
            if self.out.remove(&number).is_none() {
                return;
            }
            self.spent += usize::from(success == Some(true));
        }
        match (self.state, success) {
            (PlainState::Closed, Some(true)) => self.failures = 0,
            (PlainState::Closed, Some(false)) => {
                self.failures += 1;
                if self.failures >= 5 {
                    self.become_(PlainState::Open, now);
                }
            }
            (PlainState::HalfOpen, Some(true)) => {
                self.successes += 1;
                if self.successes >= 3 {
                    self.become_(PlainState::Closed, now);
                }
            }
            (PlainState::HalfOpen, Some(false)) => self.become_(PlainState::Open, now),
            _ => {}
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    Enter,
    Stand(prop::sample::Index),
    End(prop::sample::Index, Option<bool>),
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => Just(Step::Enter),
        2 => any::<prop::sample::Index>().prop_map(Step::Stand),
        6 => (any::<prop::sample::Index>(), prop_oneof![
            3 => Just(Some(false)), 2 => Just(Some(true)), 1 => Just(None)
        ]).prop_map(|(which, success)| Step::End(which, success)),
        // Whole units, so that both sides cut nothing off.
        3 => (1_u64..400_000).prop_map(|units| Step::Wait(units * UNIT)),
        1 => (1_u64..6_000_000).prop_map(|units| Step::Wait(units * UNIT)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn the_machine_is_the_reference(steps in prop::collection::vec(step(), 1..120)) {
        let twin = Twin::default();
        let mut plain = Plain { began: UNIT, ..Plain::default() };
        let mut now = START;
        let mut number = 0;
        // Connections: number, the machine's terms, the reference's.
        let mut alive: Vec<(u32, Entry, (u32, bool))> = Vec::new();
        for step in steps {
            // Each step has a stamp of its own, and leases do not end at the same one.
            now += 400 * UNIT;
            match step {
                Step::Wait(span) => now += span,
                Step::Enter => {
                    number += 1;
                    if lease_is_near(&plain, now) {
                        continue;
                    }
                    let (entry, _) = enter(&&twin, &Order::default(), &policy(), now);
                    let expected = plain.enter(number, now);
                    match (entry, expected) {
                        (Entry::Refused, None) => {}
                        (Entry::Pass(_), Some((epoch, false))) => alive.push((number, entry, (epoch, false))),
                        (Entry::Probe(..), Some((epoch, true))) => alive.push((number, entry, (epoch, true))),
                        other => prop_assert!(false, "{other:?} {plain:?}"),
                    }
                }
                Step::Stand(which) => {
                    if alive.is_empty() {
                        continue;
                    }
                    let at = which.index(alive.len());
                    let (number, entry, (epoch, _)) = &mut alive[at];
                    if let Entry::Probe(_, index, token) = entry {
                        *token = established(&&twin, *index, *token);
                        if *epoch == plain.epoch && let Some(out) = plain.out.get_mut(number) {
                            out.1 = true;
                        }
                    }
                }
                Step::End(which, success) => {
                    if alive.is_empty() {
                        continue;
                    }
                    let (number, entry, (epoch, is_probe)) = alive.swap_remove(which.index(alive.len()));
                    let outcome = match success {
                        Some(true) => Outcome::Success,
                        Some(false) => Outcome::Reset,
                        None => Outcome::Neutral,
                    };
                    end(&twin, entry, outcome, now);
                    plain.end(number, epoch, is_probe, success, now);
                }
            }
            let word = Word(twin.word.load(Ordering::SeqCst)).under(&Order::default());
            let same = matches!(
                (word.state(), plain.state),
                (State::Closed, PlainState::Closed)
                    | (State::Open, PlainState::Open)
                    | (State::HalfOpen, PlainState::HalfOpen)
            );
            prop_assert!(same, "{word:?} {plain:?}");
            prop_assert_eq!(word.k(), plain.k);
            prop_assert_eq!(word.successes(), plain.successes);
            if plain.state == PlainState::Closed {
                prop_assert_eq!(word.failures(), plain.failures);
            }
            prop_assert!(in_flight(&&twin, word).0 <= 3);
        }
    }
}

/// Whether a lease ends about now, by the millisecond that tokens cut off, or several have ended.
fn lease_is_near(plain: &Plain, now: u64) -> bool {
    let room = 3 << LEASE_SHIFT;
    let near = plain.out.values().any(|(deadline, _)| now + room > *deadline && now < *deadline + room);
    near || plain.out.values().filter(|(deadline, _)| now >= *deadline).count() > 1
}
