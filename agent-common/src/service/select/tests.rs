//! Choices over made-up services; breakers answer what the test says.

extern crate std;

use std::{cell::Cell, collections::BTreeMap, vec, vec::Vec};

use proptest::prelude::*;

use super::*;
use crate::service::{
    abi::WEIGHTED,
    breaker::{Policy, Token},
};

struct Twin {
    slots: Vec<u16>,
    connections: BTreeMap<u16, u64>,
    closed: Vec<u16>,
    probing: Vec<u16>,
    cursor: Cell<u32>,
    random: Cell<u32>,
}

impl World for Twin {
    fn slot(&self, index: u32) -> u16 {
        self.slots[index as usize]
    }

    fn connections(&self, backend: u16) -> u64 {
        self.connections.get(&backend).copied().unwrap_or(0)
    }

    fn enter(&self, backend: u16) -> u64 {
        let entry = if self.closed.contains(&backend) {
            Entry::Pass(7)
        } else if self.probing.contains(&backend) {
            Entry::Probe(9, 0, 1)
        } else {
            Entry::Refused
        };
        pack(&Ok(Chosen { backend, entry, is_panic: false }))
    }

    fn enter_any(&self, service: &Service, failed: u16, random: u32) -> u64 {
        ask_members(self, service, failed, random)
    }

    fn next_slot(&self) -> u32 {
        self.cursor.set(self.cursor.get().wrapping_add(1));
        self.cursor.get()
    }

    fn random(&self) -> u32 {
        self.random.set(self.random.get().wrapping_add(1));
        (crate::limit::gate::mix(u64::from(self.random.get())) >> 16) as u32
    }
}

/// Tiers of backends; the slots are those of the first tier, in turns.
fn service(tiers: &[&[u16]], algorithm: u8) -> (Service, Twin) {
    let mut service = Service { algorithm, ..Service::default() };
    let mut place = 0;
    for tier in tiers {
        let start = place;
        for backend in *tier {
            service.members[place] = *backend;
            service.tier_start[place] = start as u8;
            service.tier_size[place] = tier.len() as u8;
            place += 1;
        }
    }
    service.count = place as u8;
    let first = tiers.first().copied().unwrap_or(&[0]);
    let twin = Twin {
        slots: (0..SLOTS).map(|slot| first[slot % first.len()]).collect(),
        connections: BTreeMap::new(),
        closed: tiers.concat(),
        probing: vec![],
        cursor: Cell::new(0),
        random: Cell::new(1),
    };
    (service, twin)
}

fn choose(twin: &Twin, service: &Service, asker: Asker) -> Result<Chosen, Nobody> {
    unpack(super::choose(twin, service, &asker), 0, &Policy::default())
}

fn counted(service: &Service, twin: &Twin, asker: Asker, times: u32) -> BTreeMap<u16, u32> {
    let mut counts = BTreeMap::new();
    for _ in 0..times {
        if let Ok(chosen) = choose(twin, service, asker) {
            *counts.entry(chosen.backend).or_default() += 1;
        }
    }
    counts
}

#[test]
fn round_robin_takes_turns() {
    let (service, twin) = service(&[&[1, 2, 3, 4]], ROUND_ROBIN);
    let counts = counted(&service, &twin, Asker::default(), 400);
    assert_eq!(counts, BTreeMap::from([(1, 100), (2, 100), (3, 100), (4, 100)]));
}

#[test]
fn an_open_breaker_leaves_the_shares_of_the_others() {
    let (service, mut twin) = service(&[&[1, 2, 3, 4]], ROUND_ROBIN);
    twin.closed = vec![1, 2, 3];
    let counts = counted(&service, &twin, Asker::default(), 3000);
    assert_eq!(counts.len(), 3);
    assert!(counts.values().all(|count| (800..1300).contains(count)), "{counts:?}");
}

#[test]
fn the_next_tier_takes_over_and_shares() {
    let (service, mut twin) = service(&[&[1, 2], &[3, 4, 5]], WEIGHTED);
    twin.closed = vec![3, 4, 5];
    let counts = counted(&service, &twin, Asker::default(), 3000);
    assert_eq!(counts.keys().copied().collect::<Vec<_>>(), vec![3, 4, 5]);
    assert!(counts.values().all(|count| (700..1400).contains(count)), "{counts:?}");
}

#[test]
fn who_failed_just_now_is_the_last_resort() {
    let (service, mut twin) = service(&[&[1, 2]], ROUND_ROBIN);
    let asker = Asker { failed: 1, ..Asker::default() };
    assert_eq!(counted(&service, &twin, asker, 100), BTreeMap::from([(2, 100)]));
    twin.closed = vec![1];
    assert_eq!(counted(&service, &twin, asker, 100), BTreeMap::from([(1, 100)]));
}

#[test]
fn a_probing_backend_is_asked_too() {
    let (service, mut twin) = service(&[&[1]], ROUND_ROBIN);
    twin.closed = vec![];
    twin.probing = vec![1];
    let chosen = choose(&twin, &service, Asker::default()).expect("a probe");
    assert!(matches!(chosen.entry, Entry::Probe(9, 0, _)), "{chosen:?}");
}

#[test]
fn all_down_refuses_or_spreads_and_none_is_empty() {
    let (mut service, mut twin) = service(&[&[1, 2]], ROUND_ROBIN);
    twin.closed = vec![];
    assert_eq!(choose(&twin, &service, Asker::default()), Err(Nobody::Refused));
    service.flags = SPREAD;
    let chosen = choose(&twin, &service, Asker::default()).expect("anybody");
    assert!(chosen.is_panic && chosen.entry == Entry::Pass(0), "{chosen:?}");
    service.count = 0;
    assert_eq!(choose(&twin, &service, Asker::default()), Err(Nobody::Empty));
}

#[test]
fn the_idler_of_two_is_taken() {
    let (service, mut twin) = service(&[&[1, 2]], LEAST_CONNECTIONS);
    twin.connections = BTreeMap::from([(1, 10), (2, 3)]);
    let counts = counted(&service, &twin, Asker::default(), 1000);
    assert!(counts[&2] > 650, "{counts:?}");
}

#[test]
fn sticky_clients_stay_and_come_back_to_one_place() {
    let (service, mut twin) = service(&[&[1, 2, 3]], STICKY);
    let asker = Asker { hash: 77, ..Asker::default() };
    let first = counted(&service, &twin, asker, 50);
    assert_eq!(first.len(), 1);
    let pinned = Asker { pinned: 3, ..asker };
    assert_eq!(counted(&service, &twin, pinned, 50), BTreeMap::from([(3, 50)]));
    twin.closed.retain(|backend| *backend != 3);
    assert_eq!(counted(&service, &twin, pinned, 50).len(), 1, "another one, and always the same");
}

#[test]
fn a_choice_survives_its_packing() {
    let policy = Policy { probe_ns: 5_000_000_000, ..Policy::default() };
    let now = 77_000_000_000;
    let choices = [
        Err(Nobody::Empty),
        Err(Nobody::Refused),
        Ok(Chosen { backend: 1023, entry: Entry::Pass(0), is_panic: false }),
        Ok(Chosen { backend: 1, entry: Entry::Pass((1 << 40) - 1), is_panic: false }),
        Ok(Chosen { backend: 2, entry: Entry::Pass(0), is_panic: true }),
        Ok(Chosen {
            backend: 3,
            entry: Entry::Probe(5, 7, Token::leased(5, now, &policy).0),
            is_panic: false,
        }),
    ];
    for choice in choices {
        assert_eq!(unpack(pack(&choice), now, &policy), choice);
    }
}

proptest! {
    /// Whoever lets somebody through is found, whatever the tables say, and only members are.
    #[test]
    fn nobody_is_overlooked(
        sizes in prop::collection::vec(1_usize..9, 1..4),
        open in prop::collection::vec(any::<bool>(), 32),
        algorithm in 0_u8..4,
        failed in 0_u16..34,
        pinned in 0_u16..34,
        random in any::<u32>(),
    ) {
        let mut next = 1;
        let tiers: Vec<Vec<u16>> = sizes.iter().map(|size| {
            let tier = (next..next + *size as u16).collect::<Vec<_>>();
            next += *size as u16;
            tier
        }).collect();
        let tiers: Vec<&[u16]> = tiers.iter().map(Vec::as_slice).collect();
        let (service, mut twin) = service(&tiers, algorithm);
        twin.random.set(random);
        twin.closed.retain(|backend| !open[usize::from(*backend) % 32]);
        // Members only: the caller checks.
        let failed = if failed < next { failed } else { 0 };
        let asker = Asker { hash: random, failed, pinned: if pinned < next { pinned } else { 0 } };
        match choose(&twin, &service, asker) {
            Ok(chosen) => prop_assert!(twin.closed.contains(&chosen.backend)),
            Err(nobody) => {
                prop_assert_eq!(nobody, Nobody::Refused);
                prop_assert!(twin.closed.is_empty());
            }
        }
    }
}
